//! Whether the partners can be reached: a connection that comes and goes is none.

use headroom_rack::{Mono, UnixMs};
use std::time::Duration;

/// Partners cannot be reached for so long: somebody should know.
const UNREACHABLE: Duration = Duration::from_secs(60);
/// A connection counts once it has stood for so long.
const STEADY: Duration = Duration::from_secs(10);

/// What was seen of the connection.
#[derive(Debug, Default)]
pub(super) struct Reach {
    losses: u32,
    steady_since: Option<Mono>,
    alone_since: Option<(Mono, UnixMs)>,
    lost: bool,
}

impl Reach {
    /// Looks at it. `losses`: how often it was lost so far.
    pub(super) fn see(&mut self, connected: bool, losses: u32, now: Mono, at: UnixMs) {
        let lost = losses != std::mem::replace(&mut self.losses, losses);
        if connected && !lost {
            if now.since(*self.steady_since.get_or_insert(now)) >= STEADY {
                (self.alone_since, self.lost) = (None, false);
            }
            return;
        }
        self.steady_since = None;
        let (since, _) = *self.alone_since.get_or_insert((now, at));
        self.lost |= now.since(since) >= UNREACHABLE;
    }

    /// Since when nobody can be reached, once that has lasted.
    pub(super) fn lost_since(&self) -> Option<UnixMs> {
        self.alone_since.filter(|_| self.lost).map(|(_, at)| at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(line: impl Fn(u64) -> (bool, u32)) -> Vec<u64> {
        let mut reach = Reach::default();
        let lost = |s: &u64| {
            let (connected, losses) = line(*s);
            reach.see(connected, losses, Mono::from_ms(s * 1000), UnixMs::new(s * 1000));
            reach.lost_since().is_some()
        };
        (0..200).filter(lost).collect()
    }

    #[test]
    fn a_connection_that_comes_and_goes_is_none() {
        assert_eq!(found(|s| (true, s as u32 / 5)).first(), Some(&65));
    }

    #[test]
    fn a_short_loss_is_nobodys_matter_and_a_long_one_ends_when_the_connection_stands() {
        assert!(found(|s| (!(20..40).contains(&s), u32::from(s >= 20))).is_empty());
        let seen = found(|s| (!(20..100).contains(&s), u32::from(s >= 20)));
        assert_eq!(seen, (80..110).collect::<Vec<_>>());
    }
}

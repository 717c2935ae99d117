//! Where a feed is between two power levels: what changed, whether it is still on its way, and since
//! when. The events are those of DSX Flex `grid.powerstate.status.v1`.
//!
//! Calm -- limit comes or falls --> Down -- load fits --> Calm -- limit goes or rises --> Up -- caps
//! stand still --> Calm

use headroom_rack::{Mono, UnixMs, Watts};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// A load must fit, or the caps must stand, for this long before the ramp counts as over.
const SETTLED: Duration = Duration::from_secs(2);
/// A ramp up counts as over after this, whatever the caps do.
const LONGEST_UP: Duration = Duration::from_secs(300);

/// What happened to a feed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// A limit came or was tightened.
    StartRampDown,
    /// The load has come to the limit.
    EndRampDown,
    /// A limit was lifted or raised.
    StartRampUp,
    /// The caps have found their new place.
    EndRampUp,
}

/// Which way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Way {
    Down,
    Up,
}

/// What must survive a restart, so that an unchanged limit is no new one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Kept {
    limit: Option<Watts>,
    way: Option<Way>,
    event_since: Option<UnixMs>,
}

/// One feed's way.
#[derive(Debug, Clone, Default)]
pub struct Ramp {
    limit: Option<Watts>,
    way: Option<Way>,
    began: Option<Mono>,
    quiet_since: Option<Mono>,
    event_since: Option<UnixMs>,
}

/// What a feed looks like after a decision.
#[derive(Debug, Clone, Copy)]
pub struct Look {
    /// The limit in force.
    pub limit: Option<Watts>,
    /// What flows.
    pub load: Watts,
    /// Some cap below was raised by this decision.
    pub rising: bool,
    /// By how much a load may exceed its limit and still fit, as a share of it.
    pub tolerance: f64,
}

impl Ramp {
    /// Goes on where an earlier run stood.
    pub fn resume(Kept { limit, way, event_since }: Kept) -> Self {
        Self { limit, way, event_since, ..Self::default() }
    }

    /// What must survive a restart.
    pub fn kept(&self) -> Kept {
        Kept { limit: self.limit, way: self.way, event_since: self.event_since }
    }

    /// One step; what happened, in order.
    pub fn step(&mut self, look: Look, now: Mono, at: UnixMs) -> Vec<Change> {
        let mut changes = Vec::new();
        let way = match (self.limit, look.limit) {
            (None, Some(_)) => Some(Way::Down),
            (Some(_), None) => Some(Way::Up),
            (Some(old), Some(new)) if new < old => Some(Way::Down),
            (Some(old), Some(new)) if new > old => Some(Way::Up),
            _ => None,
        };
        if let Some(way) = way {
            (self.way, self.began, self.quiet_since) = (Some(way), Some(now), None);
            self.event_since =
                look.limit.map(|_| if self.limit.is_some() { self.event_since.unwrap_or(at) } else { at });
            changes.push(if way == Way::Down { Change::StartRampDown } else { Change::StartRampUp });
        }
        self.limit = look.limit;
        if self.way.is_some() {
            // One of an earlier run begins anew.
            self.began.get_or_insert(now);
        }
        let quiet = match self.way {
            Some(Way::Down) => look.limit.is_none_or(|limit| look.load <= limit * (1.0 + look.tolerance)),
            Some(Way::Up) => !look.rising || self.began.is_some_and(|began| now.since(began) >= LONGEST_UP),
            None => return changes,
        };
        if !quiet {
            self.quiet_since = None;
        } else if now.since(*self.quiet_since.get_or_insert(now)) >= SETTLED {
            changes.push(if self.way == Some(Way::Down) { Change::EndRampDown } else { Change::EndRampUp });
            self.way = None;
        }
        changes
    }

    /// Whether it is on its way.
    pub fn in_flight(&self) -> bool {
        self.way.is_some()
    }

    /// How long the limit in force, or its absence, has been so.
    pub fn age(&self, now: Mono) -> Duration {
        self.began.map_or(Duration::MAX, |began| now.since(began))
    }

    /// Since when a limit has been in force, if one is.
    pub fn event_since(&self) -> Option<UnixMs> {
        self.event_since
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_makes_a_ramp_down_and_its_end_a_ramp_up() {
        let mut ramp = Ramp::default();
        let mut at = |s: u64, limit: Option<f64>, load: f64, rising: bool| {
            let look = Look { limit: limit.map(Watts::new), load: Watts::new(load), rising, tolerance: 0.02 };
            let changes = ramp.step(look, Mono::from_ms(s * 1000), UnixMs::new(s * 1000));
            (changes, ramp.in_flight(), ramp.event_since())
        };
        let since = |s: u64| Some(UnixMs::new(s * 1000));
        assert_eq!(at(0, None, 1000.0, false), (vec![], false, None));
        assert_eq!(at(1, Some(750.0), 1000.0, false), (vec![Change::StartRampDown], true, since(1)));
        assert_eq!(at(2, Some(750.0), 760.0, false), (vec![], true, since(1)));
        assert_eq!(at(4, Some(750.0), 750.0, false), (vec![Change::EndRampDown], false, since(1)));
        assert_eq!(at(5, Some(700.0), 750.0, false), (vec![Change::StartRampDown], true, since(1)));
        assert_eq!(at(6, None, 700.0, true), (vec![Change::StartRampUp], true, None));
        assert_eq!(at(7, None, 900.0, true), (vec![], true, None));
        assert_eq!(at(8, None, 1000.0, false), (vec![], true, None));
        assert_eq!(at(10, None, 1000.0, false), (vec![Change::EndRampUp], false, None));
    }
}

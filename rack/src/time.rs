//! Two times that must not be mixed: [`Mono`] judges ages and leases, [`UnixMs`] is history for
//! people. Neither knows a clock: `now` is always an argument.

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// A point on one process's monotonic clock, in milliseconds since an arbitrary start.
/// Comparable only within the process that made it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Mono(u64);

impl Mono {
    /// A point `ms` milliseconds after the start of the clock.
    pub const fn from_ms(ms: u64) -> Self {
        Self(ms)
    }

    /// Milliseconds since the start of the clock.
    pub const fn as_ms(self) -> u64 {
        self.0
    }

    /// Time since `earlier`; zero if `earlier` lies in the future.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    /// The point `d` later, saturating.
    pub fn after(self, d: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(d.as_millis()).unwrap_or(u64::MAX)))
    }
}

/// Wall-clock time in milliseconds since 1970-01-01 UTC. May jump; never used to judge age.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UnixMs(u64);

impl UnixMs {
    /// From milliseconds since 1970-01-01 UTC.
    pub const fn new(ms: u64) -> Self {
        Self(ms)
    }

    /// Milliseconds since 1970-01-01 UTC.
    pub const fn get(self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_is_never_negative() {
        assert_eq!(Mono::from_ms(5).since(Mono::from_ms(9)), Duration::ZERO);
        assert_eq!(Mono::from_ms(9).since(Mono::from_ms(5)), Duration::from_millis(4));
    }
}

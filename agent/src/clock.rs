//! The one place that asks for the time. Cores get it as an argument.

use headroom_rack::{Mono, UnixMs};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A monotonic clock that starts at 0 with the process, and the wall clock.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    start: Instant,
}

impl Clock {
    /// Starts the clock.
    pub fn start() -> Self {
        Self { start: Instant::now() }
    }

    /// Time since the start.
    pub fn now(&self) -> Mono {
        Mono::from_ms(u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX))
    }

    /// Wall-clock time, for people.
    pub fn wall(&self) -> UnixMs {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        UnixMs::new(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }

    /// The instant of a point of this clock, for sleeping until then.
    pub fn instant(&self, at: Mono) -> Instant {
        self.start + Duration::from_millis(at.as_ms())
    }
}

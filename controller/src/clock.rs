//! The only clock of the controller: monotonic time for ages and deadlines, wall-clock time for
//! people and the record. Everything else gets `now` as an argument or asks here.

use headroom_rack::{Mono, UnixMs};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The process's clock. Copies agree with each other.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    start: Instant,
}

impl Clock {
    /// A clock that starts now.
    pub fn start() -> Self {
        Self { start: Instant::now() }
    }

    /// Monotonic time since the start.
    pub fn now(&self) -> Mono {
        Mono::from_ms(u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX))
    }

    /// Time since the start.
    pub fn uptime(&self) -> Duration {
        self.start.elapsed()
    }

    /// Wall-clock time; 0 if the machine's clock stands before 1970.
    pub fn unix(&self) -> UnixMs {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        UnixMs::new(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }

    /// The runtime's instant at which [`Clock::now`] reads `at`, to sleep until.
    pub fn instant(&self, at: Mono) -> tokio::time::Instant {
        tokio::time::Instant::from_std(self.start + Duration::from_millis(at.as_ms()))
    }
}

/// `2026-11-23T19:55:40.123Z`. Days are turned into dates by Howard Hinnant's `civil_from_days`
/// (<https://howardhinnant.github.io/date_algorithms.html>).
pub fn rfc3339(at: UnixMs) -> String {
    let (days, ms) = (at.get() / 86_400_000, at.get() % 86_400_000);
    let z = days + 719_468;
    let era = z / 146_097;
    let day_of_era = z % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (h, m, s) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1000 % 60);
    format!("{year:04}-{month:02}-{day:02}T{h:02}:{m:02}:{s:02}.{:03}Z", ms % 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_written_as_people_and_alertmanager_read_it() {
        assert_eq!(rfc3339(UnixMs::new(0)), "1970-01-01T00:00:00.000Z");
        assert_eq!(rfc3339(UnixMs::new(951_827_696_789)), "2000-02-29T12:34:56.789Z");
        assert_eq!(rfc3339(UnixMs::new(1_795_463_740_123)), "2026-11-23T19:55:40.123Z");
    }
}

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

/// A day since 1970-01-01 as people write it, by Howard Hinnant's `civil_from_days`
/// (<https://howardhinnant.github.io/date_algorithms.html>).
pub fn date_of(days: i64) -> String {
    let z = days + 719_468;
    let (era, of_era) = (z.div_euclid(146_097), z.rem_euclid(146_097));
    let of_era_year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * of_era_year + of_era_year / 4 - of_era_year / 100);
    let month_from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = of_era_year + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

/// `2026-11-23T19:55:40.123Z`.
pub fn rfc3339(at: UnixMs) -> String {
    let (days, ms) = (at.get() / 86_400_000, at.get() % 86_400_000);
    let date = date_of(i64::try_from(days).expect("invariant: a u64 of ms has fewer days"));
    let (h, m, s) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1000 % 60);
    format!("{date}T{h:02}:{m:02}:{s:02}.{:03}Z", ms % 1000)
}

/// Reads a date and time of RFC 3339 (the `date-time` of JSON schemas); `None` for anything else and for times
/// before 1970. Parts of a millisecond are cut off.
pub fn parse_rfc3339(text: &str) -> Option<UnixMs> {
    let number = |range: std::ops::Range<usize>| {
        let digits = text.get(range).filter(|d| d.bytes().all(|b| b.is_ascii_digit()))?;
        digits.parse::<i64>().ok()
    };
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    let (h, m, s) = (number(11..13)?, number(14..16)?, number(17..19)?);
    let marks = text.as_bytes();
    let marked = marks[4] == b'-' && marks[7] == b'-' && marks[13] == b':' && marks[16] == b':';
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days_of_month = [31, if leap { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let longest = *days_of_month.get(usize::try_from(month).ok()?.checked_sub(1)?)?;
    // A leap second is read as the first of the next minute.
    if !marked
        || !matches!(marks[10], b'T' | b't' | b' ')
        || !(1..=longest).contains(&day)
        || h > 23
        || m > 59
        || s > 60
    {
        return None;
    }
    let rest = &text[19..];
    let fraction = rest.strip_prefix('.').map_or(0, |r| r.bytes().take_while(u8::is_ascii_digit).count());
    let (ms, zone) = match rest.strip_prefix('.') {
        Some(_) if fraction == 0 => return None,
        Some(digits) => (format!("{:0<3.3}", &digits[..fraction]).parse::<i64>().ok()?, &digits[fraction..]),
        None => (0, rest),
    };
    let offset_min = match zone.as_bytes() {
        [b'Z' | b'z'] => 0,
        [sign @ (b'+' | b'-'), _, _, b':', _, _] => {
            let at = text.len() - 5;
            let (h, m) = (number(at..at + 2)?, number(at + 3..at + 5)?);
            if h > 23 || m > 59 {
                return None;
            }
            if *sign == b'-' { -(h * 60 + m) } else { h * 60 + m }
        }
        _ => return None,
    };
    // `days_from_civil`, the inverse of the above.
    let y = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (y.div_euclid(400), y.rem_euclid(400));
    let month_from_march = (month + 9) % 12;
    let day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    let days = era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468;
    let seconds = ((days * 24 + h) * 60 + m - offset_min) * 60 + s;
    u64::try_from(seconds * 1000 + ms).ok().map(UnixMs::new)
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

    #[test]
    fn what_is_written_is_read_back_and_zones_are_counted_in() {
        for ms in [0, 951_827_696_789, 1_795_463_740_123, 4_102_444_799_999] {
            assert_eq!(parse_rfc3339(&rfc3339(UnixMs::new(ms))), Some(UnixMs::new(ms)));
        }
        let same = ["2026-11-23T19:55:40.123Z", "2026-11-23t20:55:40.1239+01:00", "2026-11-23 14:25:40.123-05:30"];
        assert!(same.iter().all(|t| parse_rfc3339(t) == Some(UnixMs::new(1_795_463_740_123))));
        assert_eq!(parse_rfc3339("1970-01-01T00:00:01Z"), Some(UnixMs::new(1000)));
    }

    #[test]
    fn what_is_no_moment_is_none() {
        for bad in [
            "",
            "now",
            "2026-11-23",
            "2026-11-23T19:55:40",
            "2026-11-23T19:55:40.Z",
            "2026-02-29T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-00-01T00:00:00Z",
            "2026-11-23T24:00:00Z",
            "2026-11-23T19:55:40+1:00",
            "1969-12-31T23:59:59Z",
            "2026-11-23T19:55:4\u{661}Z",
            "2026-11-23T19:55:40Zx",
            "+026-11-23T19:55:40Z",
        ] {
            assert_eq!(parse_rfc3339(bad), None, "{bad:?}");
        }
    }
}

//! What stands in a cell of time: seconds, seconds since the epoch in one of its units, or a date with
//! a time and perhaps a zone.

/// From here on, a bare number is milliseconds, microseconds or nanoseconds since 1970: as seconds, the least
/// of them would be the year 5138.
const UNITS: [(f64, f64, &str); 3] =
    [(1e17, 1e9, "nanoseconds"), (1e14, 1e6, "microseconds"), (1e11, 1e3, "milliseconds")];

/// Seconds from a plain number or from a date with a time, such as `2025/07/27 00:22:27.858`. Zones count;
/// without one all of a file are in the same.
pub(super) fn seconds(cell: &str) -> Result<f64, String> {
    let wrong = || format!("time {cell:?} is neither seconds nor a date like 2025-07-27 00:22:27.858");
    if let Ok(n) = cell.parse::<f64>() {
        let per_second = UNITS.iter().find(|(from, ..)| n >= *from).map_or(1.0, |(_, per_second, _)| *per_second);
        return if n.is_finite() { Ok(n / per_second) } else { Err(wrong()) };
    }
    let (date, time) = cell.split_once([' ', 'T']).ok_or_else(wrong)?;
    let (time, zone_s) = zone(time).ok_or_else(wrong)?;
    let parts = |text: &str, by: &[char]| -> Option<Vec<f64>> { text.split(by).map(|p| p.parse().ok()).collect() };
    let date = parts(date, &['/', '-']).filter(|d| d.len() == 3).ok_or_else(wrong)?;
    let time = parts(time, &[':']).filter(|t| t.len() == 3).ok_or_else(wrong)?;
    let lawful = (1.0..=12.0).contains(&date[1])
        && (1.0..=31.0).contains(&date[2])
        && (0.0..24.0).contains(&time[0])
        && (0.0..60.0).contains(&time[1])
        && (0.0..61.0).contains(&time[2]);
    if !lawful {
        return Err(wrong());
    }
    Ok(days(date[0], date[1], date[2]) * 86_400.0 + time[0] * 3600.0 + time[1] * 60.0 + time[2] - zone_s)
}

/// What a reader should know of how this time was read.
pub(super) fn unit(cell: &str) -> Option<&'static str> {
    let n = cell.parse::<f64>().ok()?;
    UNITS.iter().find(|(from, ..)| n >= *from).map(|(_, _, name)| *name)
}

/// The time of day and how far its zone is ahead of UTC, s: `Z`, `UTC`, `+02:00`, `-0500` or `+02`.
fn zone(time: &str) -> Option<(&str, f64)> {
    let time = time.trim_end_matches("UTC").trim_end_matches('Z').trim_end();
    let Some(at) = time.find(['+', '-']) else { return Some((time, 0.0)) };
    let (time, zone) = time.split_at(at);
    let digits: String = zone[1..].split(':').collect();
    let (hours, minutes) = match digits.len() {
        2 => (digits.as_str(), "0"),
        4 => digits.split_at_checked(2)?,
        _ => return None,
    };
    let seconds = f64::from(hours.parse::<u8>().ok()?) * 3600.0 + f64::from(minutes.parse::<u8>().ok()?) * 60.0;
    Some((time.trim_end(), if zone.starts_with('-') { -seconds } else { seconds }))
}

/// Days since 1970-01-01 of a Gregorian date (Hinnant, "chrono-compatible low-level date algorithms").
fn days(year: f64, month: f64, day: f64) -> f64 {
    let (y, m) = if month <= 2.0 { (year - 1.0, month + 9.0) } else { (year, month - 3.0) };
    let era = (y / 400.0).floor();
    let of_era = y - era * 400.0;
    let of_year = ((153.0 * m + 2.0) / 5.0).floor() + day - 1.0;
    era * 146_097.0 + of_era * 365.0 + (of_era / 4.0).floor() - (of_era / 100.0).floor() + of_year - 719_468.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zones_count_whichever_way_they_are_written() {
        let noon = seconds("2025-09-03T12:00:00Z").expect("sound");
        for same in [
            "2025-09-03 07:00:00-05:00",
            "2025-09-03T14:00:00.000+0200",
            "2025/09/03 14:00:00 +02",
            "2025-09-03 12:00:00 UTC",
            "2025-09-03 12:00:00",
        ] {
            assert_eq!(seconds(same), Ok(noon), "{same}");
        }
        for wrong in [
            "2025-09-03 12:00:00-5",
            "2025-09-03 12:00:00+aa:00",
            "2025-09-03 12:00:00-05:00:00:0",
            "7/27/2025 1:00:00 PM",
        ] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_number_since_the_epoch_is_read_in_the_unit_that_its_size_tells() {
        for number in ["1753575747", "1753575747000", "1753575747000000", "1753575747000000000"] {
            assert_eq!(seconds(number), Ok(1_753_575_747.0), "{number}");
        }
        assert_eq!((unit("1753575747000"), unit("1753575747")), (Some("milliseconds"), None));
    }
}

//! Calendar dates as days since 1970-01-01, for records that give local times without a zone.

/// Days, with the time of day as fraction, of `YYYY-MM-DD`, or that with ` HH:MM:SS` after it.
///
/// # Errors
/// The text and what would be right.
pub fn days(text: &str) -> Result<f64, String> {
    parse(text).ok_or_else(|| format!("{text:?} must be a date like 2017-04-09 or 2017-04-09 21:36:19"))
}

fn parse(text: &str) -> Option<f64> {
    let (date, time) = text.split_once([' ', 'T']).unwrap_or((text, "00:00:00"));
    let numbers = |text: &str, by: char| -> Option<Vec<u32>> { text.split(by).map(|n| n.parse().ok()).collect() };
    let (&[year, month, day], &[hour, minute, second]) = (&numbers(date, '-')?[..], &numbers(time, ':')?[..]) else {
        return None;
    };
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let length = match month {
        2 => 28 + u32::from(leap),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    };
    let right = (1900..=2200).contains(&year) && (1..=12).contains(&month) && (1..=length).contains(&day);
    let right = right && hour < 24 && minute < 60 && second < 60;
    right.then(|| civil(year, month, day) as f64 + f64::from(hour * 3600 + minute * 60 + second) / 86400.0)
}

/// Days of a date of the Gregorian calendar (Hinnant, "chrono-Compatible Low-Level Date Algorithms").
fn civil(year: u32, month: u32, day: u32) -> i64 {
    let year = i64::from(year) - i64::from(month <= 2);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * (i64::from(month) + if month > 2 { -3 } else { 9 }) + 2) / 5 + i64::from(day) - 1;
    year.div_euclid(400) * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// `YYYY-MM-DD` of a day.
pub fn date(days: f64) -> String {
    let z = days.floor() as i64 + 719_468;
    let of_era = z.rem_euclid(146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let (day, month) = (of_year - (153 * month + 2) / 5 + 1, if month < 10 { month + 3 } else { month - 9 });
    format!("{:04}-{month:02}-{day:02}", year + z.div_euclid(146_097) * 400 + i64::from(month <= 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_days_and_back() {
        assert_eq!(days("1970-01-01"), Ok(0.0));
        assert_eq!(days("2000-03-01 12:00:00"), Ok(11_017.5));
        assert_eq!(days("2017-04-09T00:00:00"), Ok(17_265.0));
        for text in ["2016-02-29", "2019-12-31", "2014-01-01", "1999-03-01"] {
            assert_eq!(date(days(text).unwrap()), text);
        }
    }

    #[test]
    fn dates_that_are_none_are_refused() {
        for text in ["", "2017-02-29", "2017-13-01", "09.04.2017", "2017-04-09 24:00:00", "2017-04-09 1:2"] {
            assert!(days(text).unwrap_err().contains("must be a date"), "{text}");
        }
    }
}

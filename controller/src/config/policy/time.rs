//! When a rule is in force, as people write it: days, dates and times of day.

use super::super::document::{Mistakes, Spot, Table};
use super::super::value::one_of;
use headroom_controller_core::When;

const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

pub(super) fn when(table: &Table<'_>, m: &Mistakes) -> When {
    let words: Vec<(&str, usize)> = DAYS.iter().enumerate().map(|(i, d)| (*d, i)).collect();
    let days = table.get::<Vec<String>>("days").map(|spot| {
        if spot.value.is_empty() {
            let remedy = "name at least one, like days = [\"sat\", \"sun\"], or leave days out for every day";
            m.add(spot.at, "days is empty: the rule would never be in force", remedy);
        }
        let mut on = [false; 7];
        for day in &spot.value {
            if let Some(day) = one_of(&Spot { value: day.clone(), at: spot.at }, "days", &words, m) {
                on[day] = true;
            }
        }
        on
    });
    let dates = table.get::<Vec<String>>("dates").map(|spot| {
        if spot.value.is_empty() {
            let remedy = "name at least one, like dates = [\"2026-12-24\"], or leave dates out for every day";
            m.add(spot.at, "dates is empty: the rule would be in force on no day", remedy);
        }
        let read = |text: &String| {
            let day = day_of(text);
            if day.is_none() {
                m.add(spot.at, format!("{text:?} is no date"), "write dates like \"2026-12-24\"");
            }
            day
        };
        spot.value.iter().filter_map(read).collect()
    });
    let time = |key: &'static str| {
        let spot = table.get::<String>(key)?;
        let minute = minute_of(&spot.value);
        if minute.is_none() {
            m.add(
                spot.at,
                format!("{key} = {:?} is no time of day", spot.value),
                "write 00:00 to 24:00, like \"22:00\"",
            );
        }
        minute
    };
    let (from, to) = (time("from"), time("to"));
    if from.is_some() != to.is_some() {
        m.add(table.at(), "a rule needs both from and to, or neither", "write from = \"22:00\", to = \"06:00\"");
    }
    table.refuse_unknown();
    When { days, dates, minutes: from.zip(to) }
}

/// Minutes of a time of day, `24:00` at most.
fn minute_of(text: &str) -> Option<i64> {
    let (hour, minute) = text.split_once(':')?;
    let (hour, minute): (i64, i64) = (hour.parse().ok()?, minute.parse().ok()?);
    ((0..24).contains(&hour) && (0..60).contains(&minute) || (hour, minute) == (24, 0)).then_some(hour * 60 + minute)
}

/// Days since 1970-01-01 (civil from days, H. Hinnant, *chrono-compatible low-level date algorithms*).
fn day_of(text: &str) -> Option<i64> {
    let mut parts = text.split('-').map(|p| p.parse::<i64>().ok());
    let (year, month, day) = (parts.next()??, parts.next()??, parts.next()??);
    let leap = year % 4 == 0 && year % 100 != 0 || year % 400 == 0;
    let long = [31, if leap { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let last = *long.get(usize::try_from(month - 1).ok()?)?;
    if parts.next().is_some() || !(1970..=9999).contains(&year) || !(1..=last).contains(&day) {
        return None;
    }
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    Some(era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468)
}

pub(super) fn offset(spot: &Spot<String>, m: &Mistakes) -> i64 {
    let (sign, rest) = match spot.value.split_at_checked(1) {
        Some(("+", rest)) => (1, rest),
        Some(("-", rest)) => (-1, rest),
        _ => (0, ""),
    };
    match minute_of(rest).filter(|minutes| sign != 0 && *minutes <= 14 * 60) {
        Some(minutes) => sign * minutes,
        None => {
            m.add(
                spot.at,
                format!("utc_offset = {:?} is not known", spot.value),
                "write -12:00 to +14:00, like \"+01:00\"",
            );
            0
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::date_of;

    #[test]
    fn dates_and_times_of_day_are_read_as_people_write_them() {
        assert_eq!(day_of("1970-01-01"), Some(0));
        assert_eq!(day_of("2026-11-26"), Some(20_783));
        assert_eq!(day_of("2024-02-29"), Some(19_782));
        assert_eq!([day_of("2026-02-29"), day_of("2026-13-01"), day_of("soon"), day_of("2026-1-1-1")], [None; 4]);
        assert_eq!([20_783, 19_782, 0].map(date_of), ["2026-11-26", "2024-02-29", "1970-01-01"]);
        assert_eq!([minute_of("00:00"), minute_of("24:00"), minute_of("6:05")], [Some(0), Some(1440), Some(365)]);
        assert_eq!([minute_of("24:01"), minute_of("12"), minute_of("-1:00")], [None; 3]);
    }
}

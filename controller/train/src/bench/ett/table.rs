//! A multivariate series as CSV: `date,NAME,NAME,...`, one row per step, as the electricity transformer data sets (ETT) are published.
//! The step is seen from the time stamps; nothing else about the data is known here.

/// More mistakes than this are counted, not listed.
const LISTED: usize = 20;

/// The whole file.
#[derive(Debug, Clone, PartialEq)]
pub struct Table {
    /// Names of the columns after the date.
    pub names: Vec<String>,
    /// Values by column, in the file's unit.
    pub columns: Vec<Vec<f64>>,
    /// Seconds from row to row, always the same.
    pub step_s: i64,
}

impl Table {
    /// From the text of a file.
    ///
    /// # Errors
    /// Every wrong line, with what would be right.
    pub fn parse(text: &str) -> Result<Self, Vec<String>> {
        let mut lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
        let header = lines.next().map_or("", |(_, line)| line.trim_start_matches('\u{feff}'));
        let mut names: Vec<String> = header.split(',').map(|name| name.trim().to_owned()).collect();
        let first = names.remove(0);
        if !first.eq_ignore_ascii_case("date") || names.is_empty() {
            return Err(vec![format!("line 1: is {header:?}, must be date,NAME,NAME,... with one name at least")]);
        }
        let mut mistakes = Mistakes::default();
        let mut columns = vec![Vec::new(); names.len()];
        let mut times = Vec::new();
        for (number, line) in lines.map(|(i, line)| (i + 1, line)) {
            match row(line, &names) {
                Ok((time, values)) => {
                    times.push((number, time));
                    columns.iter_mut().zip(values).for_each(|(column, value)| column.push(value));
                }
                Err(why) => mistakes.add(number, &why),
            }
        }
        if mistakes.is_empty() && times.len() < 2 {
            mistakes.add(2, "there must be two rows at least");
        }
        let step_s = if mistakes.is_empty() { check_steps(&times, &mut mistakes) } else { 0 };
        mistakes.result()?;
        Ok(Self { names, columns, step_s })
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.columns.first().map_or(0, Vec::len)
    }
}

/// The most frequent step; rows that keep another are mistakes.
fn check_steps(times: &[(usize, i64)], mistakes: &mut Mistakes) -> i64 {
    let mut steps: Vec<i64> = times.windows(2).map(|pair| pair[1].1 - pair[0].1).collect();
    steps.sort_unstable();
    let step = steps.chunk_by(|a, b| a == b).max_by_key(|run| run.len()).map_or(0, |run| run[0]);
    if step <= 0 {
        mistakes.add(times[1].0, "the dates do not rise: rows must be in the order of time");
        return 0;
    }
    for pair in times.windows(2) {
        let (number, gap) = (pair[1].0, pair[1].1 - pair[0].1);
        if gap != step {
            mistakes.add(number, &format!("is {gap} s after the row before, must be {step} s as between most rows"));
        }
    }
    step
}

fn row(line: &str, names: &[String]) -> Result<(i64, Vec<f64>), String> {
    let fields: Vec<&str> = line.split(',').map(str::trim).collect();
    if fields.len() != names.len() + 1 {
        return Err(format!("has {} fields, must have {}", fields.len(), names.len() + 1));
    }
    let time = seconds(fields[0]).ok_or_else(|| format!("date is {:?}, must be YYYY-MM-DD HH:MM:SS", fields[0]))?;
    let value = |(name, text): (&String, &&str)| {
        let value = text.parse().ok().filter(|v: &f64| v.is_finite());
        value.ok_or_else(|| format!("{name} is {text:?}, must be a number"))
    };
    Ok((time, names.iter().zip(&fields[1..]).map(value).collect::<Result<_, _>>()?))
}

/// Seconds since 1970 without a time zone, of `YYYY-MM-DD HH:MM` with or without `:SS` (a `T` between and `/` in the date will do).
pub fn seconds(text: &str) -> Option<i64> {
    let (date, time) = text.split_once([' ', 'T'])?;
    let date: Vec<i64> = date.split(['-', '/']).map(|part| part.parse().ok()).collect::<Option<_>>()?;
    let time: Vec<i64> = time.split(':').map(|part| part.parse().ok()).collect::<Option<_>>()?;
    let [year, month @ 1..=12, day @ 1..=31] = date[..] else { return None };
    let (hour, minute, second) = match time[..] {
        [hour, minute] => (hour, minute, 0),
        [hour, minute, second] => (hour, minute, second),
        _ => return None,
    };
    let lawful = (0..24).contains(&hour) && (0..60).contains(&minute) && (0..60).contains(&second);
    (lawful && (1..=9999).contains(&year)).then(|| days(year, month, day) * 86400 + hour * 3600 + minute * 60 + second)
}

/// Days since 1970-01-01 in the Gregorian calendar, counting years from March so that the leap day is the last one.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month > 2 { year } else { year - 1 };
    let month_from_march = (month + 9) % 12;
    let day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    // 719468 days from 0000-03-01 to 1970-01-01.
    year * 365 + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + day_of_year - 719_468
}

#[derive(Debug, Default)]
struct Mistakes {
    listed: Vec<String>,
    more: usize,
}

impl Mistakes {
    fn add(&mut self, line: usize, why: &str) {
        if self.listed.len() < LISTED {
            self.listed.push(format!("line {line}: {why}"));
        } else {
            self.more += 1;
        }
    }

    fn is_empty(&self) -> bool {
        self.listed.is_empty()
    }

    fn result(mut self) -> Result<(), Vec<String>> {
        if self.more > 0 {
            self.listed.push(format!("and {} more lines", self.more));
        }
        if self.listed.is_empty() { Ok(()) } else { Err(self.listed) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_step_and_any_number_of_columns_are_seen() {
        let hourly = Table::parse("date,a,b\n2016-12-31 23:00:00,1,2\n2017-01-01 00:00:00,3,4\n").unwrap();
        assert_eq!((hourly.step_s, hourly.rows(), hourly.columns[1].clone()), (3600, 2, vec![2.0, 4.0]));
        let quarter = Table::parse("date,x\n2016-02-28 23:45,1\n2016-02-29 00:00,2\n2016-02-29 00:15,3\n").unwrap();
        assert_eq!((quarter.step_s, quarter.names), (900, vec!["x".to_owned()]));
    }

    #[test]
    fn dates_are_counted_as_in_the_calendar() {
        assert_eq!(seconds("1970-01-02 00:00:01"), Some(86401));
        assert_eq!(seconds("2026-11-26T12:30:00"), Some(1_795_696_200));
        assert_eq!(seconds("2000/03/01 0:00").zip(seconds("2000-02-29 00:00")).map(|(a, b)| a - b), Some(86400));
        for wrong in ["2016-13-01 00:00:00", "2016-01-01", "2016-01-01 24:00:00", "yesterday", ""] {
            assert_eq!(seconds(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn every_wrong_line_is_named_with_what_would_be_right() {
        let text =
            "date,a\n2016-07-01 00:00:00,1\n2016-07-01 01:00:00,x\n2016-07-01 02:00:00,1,2\nno,1\n2016-07-01,NaN\n";
        let mistakes = Table::parse(text).unwrap_err();
        let words = ["line 3: a is \"x\"", "line 4: has 3 fields", "line 5: date is", "line 6: date is"];
        assert_eq!(mistakes.len(), words.len());
        assert!(mistakes.iter().zip(words).all(|(mistake, words)| mistake.starts_with(words)), "{mistakes:?}");
        let gap =
            "date,a\n2016-07-01 00:00:00,1\n2016-07-01 01:00:00,1\n2016-07-01 02:00:00,1\n2016-07-01 04:00:00,1\n";
        assert_eq!(
            Table::parse(gap).unwrap_err(),
            ["line 5: is 7200 s after the row before, must be 3600 s as between most rows"]
        );
        assert!(Table::parse("time,a\n").unwrap_err()[0].contains("date,NAME"));
        assert!(Table::parse("").unwrap_err()[0].contains("date,NAME"));
    }
}

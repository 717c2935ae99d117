//! Traces as the simulator writes them: `time_s,rack,power_watts,limit_watts,utilization_ratio` at
//! one line per rack and second. An empty field is an unknown value.

use super::{DataError, Nameplates, Series, series};
use headroom_predict::Sample;
use headroom_rack::Watts;
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

/// The first line of a trace.
pub const HEADER: &str = "time_s,rack,power_watts,limit_watts,utilization_ratio";
/// More mistakes than this are counted, not listed.
const LISTED: usize = 20;

/// The series of a trace.
///
/// # Errors
/// [`DataError`], with every wrong line.
pub fn read(path: &Path, nameplates: &Nameplates) -> Result<Vec<Series>, DataError> {
    let text = std::fs::read_to_string(path).map_err(|source| DataError::Read { path: path.to_owned(), source })?;
    let rows = rows(&text).map_err(|mistakes| DataError::Csv { path: path.to_owned(), mistakes })?;
    series(path, rows, nameplates)
}

/// Some seconds of some series as a trace that [`read`] reads back.
///
/// # Errors
/// [`DataError::Write`].
pub fn write(path: &Path, parts: &[(&Series, Range<usize>)]) -> Result<(), DataError> {
    let mut text = format!("{HEADER}\n");
    let field = |value: Option<f64>| value.map_or_else(String::new, |v| v.to_string());
    for (series, range) in parts {
        for second in range.clone() {
            let Sample { power, limit, utilization } = series.samples[second];
            let (power, limit) = (field(power.map(Watts::get)), field(limit.map(Watts::get)));
            let time = series.start_s + second as u64;
            text += &format!("{time},{},{power},{limit},{}\n", series.rack, field(utilization));
        }
    }
    std::fs::write(path, text).map_err(|source| DataError::Write { path: path.to_owned(), source })
}

type Rows = BTreeMap<String, BTreeMap<u64, Sample>>;

fn rows(text: &str) -> Result<Rows, Vec<String>> {
    let mut lines = text.lines().enumerate().map(|(i, line)| (i + 1, line));
    match lines.next() {
        Some((_, HEADER)) => {}
        first => return Err(vec![format!("line 1: is {:?}, must be {HEADER:?}", first.map_or("", |f| f.1))]),
    }
    let (mut rows, mut mistakes, mut more) = (Rows::new(), Vec::new(), 0);
    for (number, line) in lines.filter(|(_, line)| !line.trim().is_empty()) {
        match row(line) {
            Ok((rack, second, sample)) => {
                rows.entry(rack).or_default().insert(second, sample);
            }
            Err(why) if mistakes.len() < LISTED => mistakes.push(format!("line {number}: {why}")),
            Err(_) => more += 1,
        }
    }
    if more > 0 {
        mistakes.push(format!("and {more} more lines"));
    }
    if mistakes.is_empty() { Ok(rows) } else { Err(mistakes) }
}

fn row(line: &str) -> Result<(String, u64, Sample), String> {
    let fields: Vec<&str> = line.split(',').map(str::trim).collect();
    let [time, rack, power, limit, utilization] = fields[..] else {
        return Err(format!("has {} fields, must have 5", fields.len()));
    };
    let number = |name: &str, text: &str, low: f64, high: f64| -> Result<Option<f64>, String> {
        if text.is_empty() {
            return Ok(None);
        }
        let value = text.parse().ok().filter(|v| (low..=high).contains(v));
        value.map(Some).ok_or_else(|| format!("{name} is {text:?}, must be empty or a number from {low} to {high:e}"))
    };
    let time = number("time_s", time, 0.0, 1e12)?.ok_or("time_s is empty")?;
    if rack.is_empty() {
        return Err("rack is empty".to_owned());
    }
    let sample = Sample {
        power: number("power_watts", power, 0.0, 1e7)?.map(Watts::new),
        limit: number("limit_watts", limit, 0.0, 1e7)?.map(Watts::new),
        utilization: number("utilization_ratio", utilization, 0.0, 1.0)?,
    };
    Ok((rack.to_owned(), time as u64, sample))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_field_is_unknown() {
        let rows = rows(&format!("{HEADER}\n0,r,,5600,0.5\n1,r,3000.5,,\n")).unwrap();
        assert_eq!(rows["r"][&0].power, None);
        assert_eq!(rows["r"][&1], Sample { power: Some(Watts::new(3000.5)), ..Sample::default() });
    }

    #[test]
    fn a_written_trace_reads_back_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let (first, second) = (dir.path().join("t.csv"), dir.path().join("again").join("t.csv"));
        std::fs::create_dir(dir.path().join("again")).unwrap();
        std::fs::write(&first, format!("{HEADER}\n7,r,100.25,5600,0.5\n8,r,,,\n9,r,3000.5,,1\n")).unwrap();
        let nameplates = Nameplates::parse(&["7300".into()]).unwrap();
        let all = read(&first, &nameplates).unwrap();
        write(&second, &all.iter().map(|s| (s, 0..s.samples.len())).collect::<Vec<_>>()).unwrap();
        assert_eq!(read(&second, &nameplates).unwrap(), all);
    }

    #[test]
    fn every_wrong_line_is_named_with_what_would_be_right() {
        let mistakes = rows(&format!("{HEADER}\n0,r,NaN,1,1\n1,r,2,3\n2,r,1,1,1.5\n3,,1,1,1\n")).unwrap_err();
        assert_eq!(mistakes.len(), 4);
        for (mistake, words) in mistakes.iter().zip(["line 2: power_watts", "line 3: has 4", "line 4: util", "line 5"])
        {
            assert!(mistake.starts_with(words), "{mistake}");
        }
        assert!(rows("time,watts\n").unwrap_err()[0].contains(HEADER));
    }
}

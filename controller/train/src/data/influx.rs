//! What the controller wrote to InfluxDB, exported again: annotated CSV (`influx query --raw`) or line protocol (`influxd inspect
//! export-lp`). Measurements are `headroom_SIGNAL` with tags `rack` and `device` and one field `value`; others are left out and counted.

use super::record::fold;
use super::{DataError, Nameplates, Series, series};
use headroom_predict::Sample;
use headroom_rack::{DeviceId, Signal};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// The signals a rack's sample is made of.
const SIGNALS: [Signal; 3] = [Signal::PduPower, Signal::GpuLimitEnforced, Signal::GpuUtilization];
/// More mistakes than this are counted, not listed.
const LISTED: usize = 20;

/// One value.
#[derive(Debug, Clone, PartialEq)]
struct Point {
    rack: String,
    device: DeviceId,
    signal: Signal,
    second: u64,
    value: f64,
}

/// The series of an export. A second in which one of a rack's devices has no value has none itself, as in the record.
///
/// # Errors
/// [`DataError`], with every wrong line.
pub fn read(path: &Path, nameplates: &Nameplates) -> Result<Vec<Series>, DataError> {
    let text = std::fs::read_to_string(path).map_err(|source| DataError::Read { path: path.to_owned(), source })?;
    let (points, left_out) = points(&text).map_err(|mistakes| DataError::Influx { path: path.to_owned(), mistakes })?;
    if left_out > 0 {
        tracing::info!(file = %path.display(), left_out, "points of other measurements are left out");
    }
    series(path, samples(points), nameplates)
}

fn samples(points: Vec<Point>) -> BTreeMap<String, BTreeMap<u64, Sample>> {
    type Values = BTreeMap<(Signal, DeviceId), f64>;
    type Rack = (BTreeSet<(Signal, DeviceId)>, BTreeMap<u64, Values>);
    let mut racks: BTreeMap<String, Rack> = BTreeMap::new();
    for p in points {
        let (known, seconds) = racks.entry(p.rack).or_default();
        known.insert((p.signal, p.device.clone()));
        seconds.entry(p.second).or_default().insert((p.signal, p.device), p.value);
    }
    racks
        .into_iter()
        .map(|(rack, (known, seconds))| {
            let sample = |values: &Values| fold(known.iter().map(|k| (k.0, &k.1, values.get(k).copied())));
            (rack, seconds.iter().map(|(second, values)| (*second, sample(values))).collect())
        })
        .collect()
}

/// All points, and how many were of no use.
fn points(text: &str) -> Result<(Vec<Point>, usize), Vec<String>> {
    let annotated = ["#datatype", "#group", "#default", ",result", "result,"];
    let first = text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
    let mut table = annotated.iter().any(|start| first.starts_with(start)).then(Table::default);
    let (mut found, mut left_out, mut mistakes, mut more) = (Vec::new(), 0, Vec::new(), 0);
    for (number, line) in text.lines().enumerate() {
        let point = match &mut table {
            Some(table) => table.point(line),
            None if line.trim().is_empty() || line.starts_with('#') => continue,
            None => line_point(line),
        };
        match point {
            Ok(Some(Some(point))) => found.push(point),
            Ok(Some(None)) => left_out += 1,
            Ok(None) => {}
            Err(why) if mistakes.len() < LISTED => mistakes.push(format!("line {}: {why}", number + 1)),
            Err(_) => more += 1,
        }
    }
    if more > 0 {
        mistakes.push(format!("and {more} more lines"));
    }
    if mistakes.is_empty() { Ok((found, left_out)) } else { Err(mistakes) }
}

/// Nothing for a line that is no point; nothing within for a point of another measurement.
type Found = Result<Option<Option<Point>>, String>;

/// A point from its parts as text.
fn point(
    measurement: &str,
    tags: [Option<&str>; 2],
    value: &str,
    second: impl FnOnce() -> Result<u64, String>,
) -> Found {
    let signal = SIGNALS.into_iter().find(|s| measurement.strip_prefix("headroom_") == Some(s.name()));
    let Some(signal) = signal else { return Ok(Some(None)) };
    let [Some(rack), Some(device)] = tags else { return Err("has not both tags, rack and device".to_owned()) };
    let device = DeviceId::new(device).map_err(|why| format!("device {device:?}: {why}"))?;
    let number = value.parse::<f64>().ok().filter(|v| v.is_finite());
    let value = number.ok_or_else(|| format!("value is {value:?}, must be a number"))?;
    Ok(Some(Some(Point { rack: rack.to_owned(), device, signal, second: second()?, value })))
}

/// `measurement,tag=a,tag=b field=1 1700000000000000000`, separators in names behind a backslash.
fn line_point(line: &str) -> Found {
    let parts = split(line.trim(), ' ');
    let [head, fields, time] = &parts[..] else {
        return Err(format!("has {} parts, must be MEASUREMENT,TAGS FIELDS TIME", parts.len()));
    };
    let head = split(head, ',');
    let tag = |name: &str| {
        head[1..].iter().find_map(|tag| match &split(tag, '=')[..] {
            [key, value] if plain(key) == name => Some(plain(value)),
            _ => None,
        })
    };
    let (rack, device) = (tag("rack"), tag("device"));
    let fields = split(fields, ',');
    let value = fields.iter().find_map(|f| f.strip_prefix("value=")).unwrap_or_default();
    let second = || {
        let time: u64 = time.parse().map_err(|_| format!("time is {time:?}, must be a whole number"))?;
        // Nanoseconds, microseconds, milliseconds or seconds: told apart by size for any date from 1973 on.
        Ok(match time {
            100_000_000_000_000_000.. => time / 1_000_000_000,
            100_000_000_000_000.. => time / 1_000_000,
            100_000_000_000.. => time / 1000,
            _ => time,
        })
    };
    point(&plain(&head[0]), [rack.as_deref(), device.as_deref()], value, second)
}

/// Cuts at separators that have no backslash before them.
fn split(text: &str, separator: char) -> Vec<String> {
    let (mut parts, mut escaped) = (vec![String::new()], false);
    for c in text.chars() {
        if c == separator && !escaped {
            parts.push(String::new());
            continue;
        }
        escaped = c == '\\' && !escaped;
        if let Some(part) = parts.last_mut() {
            part.push(c);
        }
    }
    parts
}

fn plain(text: &str) -> String {
    text.replace(['\\'], "")
}

/// The table of annotated CSV that a line belongs to: each has its own header.
#[derive(Debug, Default)]
struct Table {
    header: Vec<String>,
}

impl Table {
    fn point(&mut self, line: &str) -> Found {
        if line.trim().is_empty() || line.starts_with('#') {
            self.header.clear();
            return Ok(None);
        }
        let cells = cells(line);
        if self.header.is_empty() {
            let missing: Vec<&str> = ["_time", "_value", "_measurement", "rack", "device"]
                .into_iter()
                .filter(|name| !cells.iter().any(|cell| cell == name))
                .collect();
            self.header = cells;
            return if missing.is_empty() { Ok(None) } else { Err(format!("the header lacks {}", missing.join(", "))) };
        }
        if cells.len() != self.header.len() {
            return Err(format!("has {} cells, its header {}", cells.len(), self.header.len()));
        }
        let cell = |name: &str| self.header.iter().position(|h| h == name).map(|i| cells[i].as_str());
        if cell("_field").is_some_and(|field| field != "value") {
            return Ok(Some(None));
        }
        let of = |name| cell(name).unwrap_or_default();
        let tags = ["rack", "device"].map(|name| cell(name).filter(|tag| !tag.is_empty()));
        let time = of("_time");
        let second = || rfc3339(time).ok_or_else(|| format!("_time is {time:?}, must be like 2026-11-26T15:04:05Z"));
        point(of("_measurement"), tags, of("_value"), second)
    }
}

/// Cells of one line of CSV, quoted or not.
fn cells(line: &str) -> Vec<String> {
    let (mut cells, mut quoted, mut before) = (vec![String::new()], false, ' ');
    for c in line.trim_end().chars() {
        match c {
            '"' if !quoted && before == '"' => {
                // Two quotes within quotes are one.
                quoted = true;
                if let Some(cell) = cells.last_mut() {
                    cell.push('"');
                }
            }
            '"' => quoted = !quoted,
            ',' if !quoted => cells.push(String::new()),
            c => {
                if let Some(cell) = cells.last_mut() {
                    cell.push(c);
                }
            }
        }
        before = c;
    }
    cells
}

/// Seconds since 1970 of a time such as `2026-11-26T15:04:05.5Z` or `...+01:00` (RFC 3339).
fn rfc3339(text: &str) -> Option<u64> {
    let number = |range: std::ops::Range<usize>| text.get(range)?.parse::<i64>().ok();
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    let (hour, minute, second) = (number(11..13)?, number(14..16)?, number(17..19)?);
    let rest = text.get(19..)?.trim_start_matches(|c: char| c == '.' || c.is_ascii_digit());
    let offset = match rest {
        "Z" | "z" => 0,
        _ => {
            let sign = match rest.chars().next()? {
                '+' => 1,
                '-' => -1,
                _ => return None,
            };
            sign * (rest.get(1..3)?.parse::<i64>().ok()? * 3600 + rest.get(4..6)?.parse::<i64>().ok()? * 60)
        }
    };
    let valid = (1..=12).contains(&month) && (1..=31).contains(&day) && hour < 24 && minute < 60 && second <= 60;
    // Days since 1970 by Hinnant, "chrono-compatible low-level date algorithms", days_from_civil.
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year - era * 400;
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days = era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468;
    let seconds = days * 86_400 + hour * 3600 + minute * 60 + second - offset;
    valid.then_some(seconds).and_then(|s| u64::try_from(s).ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use headroom_rack::Watts;

    fn read_text(text: &str) -> Result<Vec<Series>, DataError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("export");
        std::fs::write(&path, text).unwrap();
        read(&path, &Nameplates::parse(&["7300".into()]).unwrap())
    }

    fn power(all: &[Series]) -> Vec<Option<f64>> {
        all[0].samples.iter().map(|s| s.power.map(Watts::get)).collect()
    }

    #[test]
    fn both_exports_of_the_same_points_give_the_same_series() {
        let name = format!("headroom_{}", Signal::PduPower.name());
        let lines = format!(
            "# DML\n{name},device=pdu-a,rack=r\\ 1 value=1000 1764169445100000000\n\
             {name},device=pdu-b,rack=r\\ 1 value=500.5 1764169445900000000\n\
             {name},device=pdu-a,rack=r\\ 1 value=1001 1764169446000000000\nother,a=b x=1i 1764169446000000000\n"
        );
        let table = format!(
            "#datatype,string,long,dateTime:RFC3339,double,string,string,string,string\n#group,false,false,false,false,true,true,true,true\n\
             #default,_result,,,,,,,\n,result,table,_time,_value,_field,_measurement,device,rack\n\
             ,,0,2025-11-26T15:04:05.1Z,1000,value,{name},pdu-a,r 1\n,,0,2025-11-26T16:04:06+01:00,1001,value,{name},pdu-a,r 1\n\n\
             ,result,table,_time,_value,_field,_measurement,rack,device\n,,1,2025-11-26T15:04:05Z,500.5,value,{name},\"r 1\",pdu-b\n"
        );
        let (a, b) = (read_text(&lines).unwrap(), read_text(&table).unwrap());
        assert_eq!(power(&a), [Some(1500.5), None], "one meter is missing in the second second");
        assert_eq!((a[0].start_s, a[0].rack.as_str()), (1_764_169_445, "r 1"));
        assert_eq!(a, b);
    }

    #[test]
    fn every_wrong_line_is_named() {
        let name = format!("headroom_{}", Signal::PduPower.name());
        let text = format!(
            "{name},device=pdu-a,rack=r value=x 1764169445\n{name},rack=r value=1 1764169445\n{name},device=pdu-a,rack=r value=1\n{name},device=pdu-a,rack=r value=1 soon\n"
        );
        let error = read_text(&text).unwrap_err().to_string();
        for words in
            ["line 1: value is \"x\"", "line 2: has not both tags", "line 3: has 2 parts", "line 4: time is \"soon\""]
        {
            assert!(error.contains(words), "{words}: {error}");
        }
        let error = read_text("#datatype,string\n,result,table,_time,_value\n").unwrap_err().to_string();
        assert!(error.contains("line 2: the header lacks _measurement, rack, device"), "{error}");
    }

    #[test]
    fn times_are_seconds_since_1970() {
        assert_eq!(rfc3339("1970-01-01T00:00:00Z"), Some(0));
        assert_eq!(rfc3339("2000-03-01T00:00:00Z"), Some(951_868_800));
        assert_eq!(rfc3339("2024-02-29T23:59:59.999+00:00"), Some(1_709_251_199));
        for wrong in ["", "2024-13-01T00:00:00Z", "2024-01-01 00:00", "1969-12-31T23:59:59Z", "2024-01-01T00:00:00"] {
            assert_eq!(rfc3339(wrong), None, "{wrong}");
        }
    }
}

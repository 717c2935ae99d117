//! InfluxDB line protocol
//! (<https://docs.influxdata.com/influxdb/v2/reference/syntax/line-protocol/>): the measurement is
//! the metric's name, the labels are tags, the one field is `value`, times are milliseconds.

use crate::metrics::Family;
use headroom_rack::{Snapshot, UnixMs};
use std::fmt::Write;

/// One line. Tags without a value are left out, as the format demands; numbers that are not
/// finite have no form in it and give no line.
pub fn line(measurement: &str, tags: &[(&str, &str)], value: f64, at_ms: u64) -> Option<String> {
    if !value.is_finite() {
        return None;
    }
    let mut text = escaped(measurement, &[',', ' ']);
    for (key, tag) in tags.iter().filter(|(_, tag)| !tag.is_empty()) {
        text.push(',');
        text.push_str(&escaped(key, &[',', '=', ' ']));
        text.push('=');
        text.push_str(&escaped(tag, &[',', '=', ' ']));
    }
    write!(text, " value={value} {at_ms}").expect("writing to a String cannot fail");
    Some(text)
}

fn escaped(text: &str, special: &[char]) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            // A line break ends the point whatever stands before it.
            '\n' | '\r' => out.push_str(r"\ "),
            c if special.contains(&c) => {
                out.push('\\');
                out.push(c);
            }
            c => out.push(c),
        }
    }
    out
}

/// Every value of a Snapshot at the time it was read.
pub fn snapshot_lines(snapshot: &Snapshot) -> impl Iterator<Item = String> + '_ {
    snapshot.readings.iter().filter_map(|(path, reading)| {
        let tags = [("device", path.device.as_str()), ("rack", snapshot.rack.as_str())];
        line(&format!("headroom_{}", path.signal.name()), &tags, reading.ok()?, reading.at.get())
    })
}

/// The controller's own metrics at one moment.
pub fn metric_lines(families: &[Family], at: UnixMs) -> Vec<String> {
    let samples = families.iter().flat_map(|f| f.samples.iter().map(|(labels, value)| (f.name, labels, *value)));
    samples
        .filter_map(|(name, labels, value)| {
            let tags: Vec<(&str, &str)> = labels.iter().map(|(k, v)| (*k, v.as_str())).collect();
            line(name, &tags, value, at.get())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn separators_in_names_are_escaped_and_absent_tags_left_out() {
        let text = line("m x", &[("a,b", "c=d e"), ("empty", "")], 1.5, 7);
        assert_eq!(text.as_deref(), Some(r"m\ x,a\,b=c\=d\ e value=1.5 7"));
        assert_eq!(line("m", &[], f64::NAN, 7), None);
        assert_eq!(line("m", &[("t", "two\nlines")], 0.0, 7).as_deref(), Some(r"m,t=two\ lines value=0 7"));
    }
}

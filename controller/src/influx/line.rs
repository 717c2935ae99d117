//! InfluxDB line protocol
//! (<https://docs.influxdata.com/influxdb/v2/reference/syntax/line-protocol/>): the measurement is
//! the metric's name, the labels are tags, the one field is `value`, times are milliseconds.

use headroom_rack::{Plan, Snapshot};
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

/// What a Plan says about nodes and racks.
pub fn plan_lines(plan: &Plan) -> Vec<String> {
    let at = plan.at.get();
    let mut lines = Vec::new();
    for view in &plan.nodes {
        let node = [("node", view.node.as_str())];
        lines.extend(line("headroom_node_power_watts", &node, view.power.get(), at));
        lines.extend(line("headroom_node_limit_watts", &node, view.limit.get(), at));
        lines.extend(line("headroom_node_rating_watts", &node, view.rating.get(), at));
        lines.extend(line("headroom_node_expected_watts", &node, view.expected.get(), at));
        lines.extend(line("headroom_node_trip_used_ratio", &node, view.trip_used, at));
        if let Some(seconds) = view.time_to_trip_s {
            lines.extend(line("headroom_node_time_to_trip_seconds", &node, seconds, at));
        }
    }
    for cap in &plan.caps {
        let rack = [("rack", cap.rack.as_str())];
        lines.extend(line("headroom_rack_budget_watts", &rack, cap.budget.get(), at));
        lines.extend(line("headroom_rack_capped", &rack, f64::from(u8::from(cap.binding)), at));
    }
    lines
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

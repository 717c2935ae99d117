//! A node's power at 10 Hz, from what `nvidia-smi --query-gpu=timestamp,power.draw --format=csv -lms 100` writes (one row per GPU) or
//! from a plain `time_s,power_watts`. Brought to an even grid: a value holds until the next one; too long without one is no data.

use std::collections::BTreeSet;

/// Steps per second of the grid.
pub const RATE_HZ: f64 = 10.0;
/// More mistakes than this are counted, not listed.
const LISTED: usize = 20;

/// On the grid.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Trace {
    /// Watts; the last known value where nothing is known.
    pub power: Vec<f32>,
    /// Whether a reading belongs to this step.
    pub known: Vec<bool>,
}

impl Trace {
    /// From the text of a file; `gpus` rows make one reading of the node where rows do not name their GPU.
    ///
    /// # Errors
    /// Every wrong line, with what would be right.
    pub fn parse(text: &str, gpus: usize) -> Result<Self, Vec<String>> {
        let header: Vec<&str> = text.lines().next().unwrap_or("").split(',').map(str::trim).collect();
        let column = |names: &[&str]| header.iter().position(|h| names.iter().any(|name| h.starts_with(name)));
        let readings =
            match (column(&["time_s"]), column(&["power_watts"]), column(&["timestamp"]), column(&["power.draw"])) {
                (Some(time), Some(power), ..) => {
                    let rows =
                        rows(text, time, power, None, &|text| text.parse().ok().filter(|s: &f64| s.is_finite()))?;
                    rows.into_iter().map(|(time, _, watts)| (time, watts)).collect()
                }
                (_, _, Some(time), Some(power)) => {
                    let unit = column(&["index", "uuid", "gpu_uuid", "pci.bus_id", "serial"]);
                    nodes(&rows(text, time, power, unit, &seconds)?, gpus)
                }
                _ => {
                    let first = text.lines().next().unwrap_or("");
                    let right =
                        "must have timestamp and power.draw [W] as nvidia-smi writes them, or time_s and power_watts";
                    return Err(vec![format!("line 1: is {first:?}, {right}")]);
                }
            };
        Self::grid(&readings)
    }

    /// From times in s and watts, in the order of time.
    fn grid(readings: &[(f64, f64)]) -> Result<Self, Vec<String>> {
        let mut steps: Vec<f64> = readings.windows(2).map(|pair| pair[1].0 - pair[0].0).collect();
        if let Some(i) = steps.iter().position(|step| *step < 0.0) {
            return Err(vec![format!(
                "reading {}: is {} s before the one ahead of it, must come after it",
                i + 2,
                -steps[i]
            )]);
        }
        steps.sort_by(f64::total_cmp);
        let (Some((first, _)), Some((last, _)), false) = (readings.first(), readings.last(), steps.is_empty()) else {
            return Err(vec![format!("has {} readings, must have two at least", readings.len())]);
        };
        // One reading may be missed, two not.
        let fresh_s = (2.0 / RATE_HZ).max(1.5 * steps[steps.len() / 2]);
        let mut trace = Self::default();
        let mut next = 0;
        for step in 0..=((last - first) * RATE_HZ) as usize {
            let now = first + (step as f64 + 0.5) / RATE_HZ;
            while readings.get(next + 1).is_some_and(|(time, _)| *time <= now) {
                next += 1;
            }
            trace.power.push(readings[next].1 as f32);
            trace.known.push(now - readings[next].0 < fresh_s);
        }
        Ok(trace)
    }
}

/// Time in s, GPU and watts of each row that has a value.
type Rows = Vec<(f64, Option<String>, f64)>;
/// How a time is read.
type Clock<'a> = &'a dyn Fn(&str) -> Option<f64>;

/// Sums of the rows of one reading: until a GPU comes again or, where rows do not name theirs, `gpus` rows. The time is that of the
/// last row; a reading that is not whole is left out.
fn nodes(rows: &Rows, gpus: usize) -> Vec<(f64, f64)> {
    let mut sums = Vec::new();
    let (mut seen, mut sum, mut time): (Vec<&str>, f64, f64) = (Vec::new(), 0.0, 0.0);
    let named = rows.first().is_some_and(|(_, unit, _)| unit.is_some());
    let whole =
        if named { rows.iter().filter_map(|row| row.1.as_deref()).collect::<BTreeSet<_>>().len() } else { gpus };
    for (now, unit, watts) in rows {
        let unit = unit.as_deref().unwrap_or("");
        if named && seen.contains(&unit) {
            // A GPU was left out of the reading before.
            (seen, sum) = (Vec::new(), 0.0);
        }
        seen.push(unit);
        (sum, time) = (sum + watts, time.max(*now));
        if seen.len() == whole {
            sums.push((time, sum));
            (seen, sum) = (Vec::new(), 0.0);
        }
    }
    sums
}

/// Seconds since 1970 of `YYYY/MM/DD HH:MM:SS.mmm`.
fn seconds(text: &str) -> Option<f64> {
    let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
    let fraction: f64 = format!("0.{part}").parse().ok()?;
    Some(crate::bench::ett::seconds(whole)? as f64 + fraction)
}

fn rows(text: &str, time: usize, power: usize, unit: Option<usize>, clock: Clock<'_>) -> Result<Rows, Vec<String>> {
    let (mut mistakes, mut more, mut all) = (Vec::new(), 0, Rows::new());
    for (number, line) in text.lines().enumerate().skip(1).filter(|(_, line)| !line.trim().is_empty()) {
        let fields: Vec<&str> = line.split(',').map(str::trim).collect();
        let at = |i: usize| fields.get(i).copied().unwrap_or("");
        let watts = at(power).trim_end_matches('W').trim_end();
        let absent = watts.is_empty() || watts.starts_with('[');
        let wrong = match (clock(at(time)), watts.parse::<f64>().ok().filter(|w| (0.0..1e7).contains(w))) {
            (None, _) => format!("time is {:?}, must be YYYY/MM/DD HH:MM:SS.mmm, or seconds under time_s", at(time)),
            (Some(_), None) if absent => continue,
            (Some(_), None) => format!("power is {:?}, must be a number of watts from 0 to 1e7", at(power)),
            (Some(time), Some(watts)) => {
                all.push((time, unit.map(|i| at(i).to_owned()), watts));
                continue;
            }
        };
        if mistakes.len() < LISTED {
            mistakes.push(format!("line {}: {wrong}", number + 1));
        } else {
            more += 1;
        }
    }
    if more > 0 {
        mistakes.push(format!("and {more} more lines"));
    }
    if mistakes.is_empty() { Ok(all.into_iter().collect()) } else { Err(mistakes) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_all_gpus_are_one_reading_named_or_not() {
        for named in [false, true] {
            let mut text = format!("timestamp, power.draw [W]{}\n", if named { ", index" } else { "" });
            for tick in 0..20 {
                for gpu in 0..4 {
                    let index = if named { format!(", {gpu}") } else { String::new() };
                    text += &format!(
                        "2025/07/27 00:22:{:02}.{}{gpu:02}, {}.5 W{index}\n",
                        tick / 10,
                        tick % 10,
                        100 + tick
                    );
                }
            }
            let trace = Trace::parse(&text, if named { 8 } else { 4 }).unwrap();
            assert_eq!(trace.power[0], 4.0 * 100.5);
            assert_eq!(trace.power.len(), 20);
            assert_eq!(trace.power[19], 4.0 * 119.5);
            assert!(trace.known.iter().all(|known| *known));
        }
    }

    #[test]
    fn a_plain_file_is_read_and_its_gap_holds_the_last_value_without_counting_as_known() {
        let text = "time_s,power_watts\n0.0,1000\n0.1,1100\n0.2,1200\n1.0,900\n1.1,950\n";
        let trace = Trace::parse(text, 8).unwrap();
        assert_eq!(trace.power[..5], [1000.0, 1100.0, 1200.0, 1200.0, 1200.0]);
        assert_eq!(trace.power[10..], [900.0, 950.0]);
        assert!(trace.known[3] && !trace.known[5] && !trace.known[9] && trace.known[10]);
    }

    #[test]
    fn every_wrong_line_is_named_and_what_is_not_available_is_absent() {
        let error = Trace::parse("time_s,power_watts\n0,1\nx,1\n1,many\n2,-5\n", 8).unwrap_err();
        assert_eq!(error.len(), 3);
        assert!(error[0].starts_with("line 3: time") && error[2].starts_with("line 5: power"), "{error:?}");
        assert!(Trace::parse("a,b\n", 8).unwrap_err()[0].contains("power.draw"));
        assert!(Trace::parse("time_s,power_watts\n0,1\n", 8).unwrap_err()[0].contains("two at least"));
        assert_eq!(Trace::parse("time_s,power_watts\n0,1\n0.1,[N/A]\n0.2,3\n", 8).unwrap().power.len(), 3);
    }
}

//! What is in the data, for people: one line per series and the things that would spoil a training.

use super::Series;
use crate::windows::usable;
use headroom_rack::Watts;
use std::fmt::Write;

/// A table of the series.
pub fn describe(all: &[Series]) -> String {
    let mut text = String::new();
    let _ = writeln!(
        text,
        "{:<24} {:<10} {:>10} {:>8} {:>7} {:>7}   {:>8} {:>8} {:>8} {:>8}   {:>15} {:>8} {:>8}",
        "source",
        "rack",
        "start_s",
        "seconds",
        "known",
        "gap_s",
        "min_W",
        "mean_W",
        "max_W",
        "name_W",
        "limit_W",
        "util",
        "windows"
    );
    for series in all {
        let _ = writeln!(text, "{}", line(series));
    }
    let seconds: usize = all.iter().map(|s| s.samples.len()).sum();
    let windows: usize = all.iter().map(usable).sum();
    let _ = writeln!(text, "{} series, {:.1} rack-hours, {windows} windows", all.len(), seconds as f64 / 3600.0);
    for warning in all.iter().flat_map(warnings) {
        let _ = writeln!(text, "warning: {warning}");
    }
    text
}

fn line(series: &Series) -> String {
    let power: Vec<f64> = series.samples.iter().filter_map(|s| s.power.map(Watts::get)).collect();
    let limit: Vec<f64> = series.samples.iter().filter_map(|s| s.limit.map(Watts::get)).collect();
    let busy: Vec<f64> = series.samples.iter().filter_map(|s| s.utilization).collect();
    let (low, mean, high) = spread(&power);
    let (limit_low, _, limit_high) = spread(&limit);
    format!(
        "{:<24} {:<10} {:>10} {:>8} {:>6.1}% {:>7}   {low:>8.0} {mean:>8.0} {high:>8.0} {:>8.0}   {:>15} {:>8.2} {:>8}",
        series.source,
        series.rack,
        series.start_s,
        series.samples.len(),
        100.0 * power.len() as f64 / series.samples.len() as f64,
        longest_gap(series),
        series.nameplate.get(),
        format!("{limit_low:.0}..{limit_high:.0}"),
        spread(&busy).1,
        usable(series),
    )
}

/// Lowest, mean and highest; NaN (printed as such, computed with nowhere) if there are none.
fn spread(values: &[f64]) -> (f64, f64, f64) {
    let low = values.iter().copied().fold(f64::NAN, f64::min);
    let high = values.iter().copied().fold(f64::NAN, f64::max);
    (low, values.iter().sum::<f64>() / values.len() as f64, high)
}

fn longest_gap(series: &Series) -> usize {
    let (mut longest, mut current) = (0, 0);
    for sample in &series.samples {
        current = if sample.power.is_some() { 0 } else { current + 1 };
        longest = longest.max(current);
    }
    longest
}

fn warnings(series: &Series) -> Vec<String> {
    let name = format!("{} {}", series.source, series.rack);
    let power = || series.samples.iter().filter_map(|s| s.power);
    let mut found = Vec::new();
    let over = power().filter(|p| *p > series.nameplate * 1.1).count();
    if over > 0 {
        found.push(format!("{name}: {over} s above 1.1 times the nameplate: is --nameplate-watts right?"));
    }
    if usable(series) == 0 {
        found.push(format!("{name}: too short or too sparse for a single window"));
    }
    let first = power().next();
    if power().count() > 60 && power().all(|p| Some(p) == first) {
        found.push(format!("{name}: the power never changes: frozen meter?"));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use headroom_predict::Sample;

    #[test]
    fn a_frozen_meter_and_a_wrong_nameplate_are_pointed_out() {
        let sample = Sample { power: Some(Watts::new(900.0)), ..Sample::default() };
        let series = Series {
            source: "a.csv".into(),
            rack: "r".into(),
            nameplate: Watts::new(500.0),
            start_s: 0,
            samples: vec![sample; 120],
        };
        let text = describe(&[series]);
        assert!(text.contains("frozen meter?") && text.contains("is --nameplate-watts right?"), "{text}");
        assert!(text.contains("31 windows"), "{text}");
    }
}

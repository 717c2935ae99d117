//! The comparison as SVG: power against the rating per policy, lost work by band, racks hosted.

use super::play::Policy;
use super::{BANDS, Results};
use std::fmt::Write;

const WIDTH: f64 = 900.0;
const LEFT: f64 = 210.0;
const RIGHT: f64 = 30.0;
/// Colours that stay apart for the colour-blind (Okabe and Ito), one per band.
const COLOURS: [&str; 3] = ["#0072b2", "#e69f00", "#cc79a7"];
const RED: &str = "#d55e00";
const GREY: &str = "#888";

fn begin(height: f64, title: &str) -> String {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" font-size=\"13\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n<text x=\"{LEFT}\" y=\"24\" font-size=\"16\">{}</text>\n",
        escaped(title)
    )
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn text(out: &mut String, x: f64, y: f64, anchor: &str, colour: &str, what: &str) {
    let _ = writeln!(
        out,
        "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" fill=\"{colour}\">{}</text>",
        escaped(what)
    );
}

fn line(out: &mut String, [x1, y1]: [f64; 2], [x2, y2]: [f64; 2], colour: &str, dashes: &str) {
    let _ = writeln!(
        out,
        "<line x1=\"{x1:.1}\" x2=\"{x2:.1}\" y1=\"{y1:.1}\" y2=\"{y2:.1}\" stroke=\"{colour}\" stroke-dasharray=\"{dashes}\"/>"
    );
}

/// What went wrong, in words; nothing if nothing did.
fn fate(trips: u64, stopped: u64) -> String {
    match (trips, stopped) {
        (0, 0) => String::new(),
        (_, 0) => "trips".to_owned(),
        (0, _) => "automation stopped".to_owned(),
        _ => "trips, automation stopped".to_owned(),
    }
}

/// Every plot with the name of its file.
pub fn all(results: &Results) -> Vec<(String, String)> {
    let mut plots = vec![("racks.svg".to_owned(), racks(results)), ("lost.svg".to_owned(), lost(results))];
    for t in 0..results.traces.len() {
        plots.push((format!("power-{}.svg", t + 1), power(results, t)));
    }
    plots
}

/// Load of the breaker over time, one strip per policy.
fn power(results: &Results, trace: usize) -> String {
    const STRIP: f64 = 90.0;
    const TOP: f64 = 60.0;
    // Right of the strips stands their scale.
    const TO: f64 = WIDTH - RIGHT - 20.0;
    let height = TOP + STRIP * Policy::ALL.len() as f64 + 30.0;
    let name = &results.traces[trace].name;
    let mut out = begin(height, &format!("{name}: load of the breaker, share of its rating"));
    text(&mut out, LEFT, 44.0, "start", GREY, "black: mean of each second, grey: its highest, red: the rating");
    for (row, policy) in Policy::ALL.into_iter().enumerate() {
        let figures = &results.runs[&(policy, trace)];
        let most = figures.load.iter().map(|[_, highest]| *highest).fold(1.2_f32, f32::max).min(3.0);
        let bottom = TOP + STRIP * (row as f64 + 1.0) - 12.0;
        let y = |ratio: f32| bottom - f64::from(ratio.min(most) / most) * (STRIP - 20.0);
        let span = figures.load.len().max(2) as f64 - 1.0;
        let x = |second: f64| LEFT + (second / span).min(1.0) * (TO - LEFT);
        text(&mut out, LEFT - 10.0, bottom - 45.0, "end", "black", &policy.word().replace('_', " "));
        let racks = results.racks(policy);
        let lost = format!("{racks} racks, {:.2} % lost", figures.lost_share() * 100.0);
        text(&mut out, LEFT - 10.0, bottom - 29.0, "end", GREY, &lost);
        text(&mut out, LEFT - 10.0, bottom - 13.0, "end", RED, &fate(figures.trips, figures.stopped));
        for half in 0..=(most * 2.0) as u8 {
            let (share, at) = (f32::from(half) / 2.0, y(f32::from(half) / 2.0));
            let (colour, dashes) = if half == 2 { (RED, "4 3") } else { ("#ddd", "none") };
            line(&mut out, [LEFT, at], [TO, at], colour, dashes);
            text(&mut out, TO + 4.0, at + 4.0, "start", GREY, &format!("{:.0} %", share * 100.0));
        }
        if let Some(at_s) = figures.stopped_s {
            line(&mut out, [x(at_s), bottom], [x(at_s), bottom - STRIP + 20.0], RED, "1 2");
        }
        for (which, colour) in [(1, GREY), (0, "black")] {
            let point = |(i, load): (usize, &[f32; 2])| format!("{:.1},{:.1}", x(i as f64), y(load[which]));
            let points: Vec<String> = figures.load.iter().enumerate().map(point).collect();
            let _ = writeln!(out, "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\"/>", points.join(" "));
        }
    }
    let seconds = results.runs.iter().find(|((_, t), _)| *t == trace).map_or(0, |(_, f)| f.load.len());
    text(&mut out, LEFT, height - 12.0, "start", GREY, "0 s");
    text(&mut out, TO, height - 12.0, "end", GREY, &format!("{seconds} s"));
    out + "</svg>\n"
}

/// A horizontal bar with its value.
fn bar(out: &mut String, y: f64, share: f64, colour: &str, label: &str) {
    let width = share.clamp(0.0, 1.0) * (WIDTH - LEFT - RIGHT - 90.0);
    let _ = writeln!(out, "<rect x=\"{LEFT}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"14\" fill=\"{colour}\"/>");
    text(out, LEFT + width + 6.0, y + 12.0, "start", "black", label);
}

fn lost(results: &Results) -> String {
    const GROUP: f64 = 66.0;
    let height = 80.0 + GROUP * Policy::ALL.len() as f64;
    let mut out = begin(height, &format!("Work lost by priority, % of what was wanted, {} racks", results.racks));
    let share = |policy: Policy, band: usize| {
        let sum = results.sum(policy);
        if sum.wanted[band] > 0.0 { sum.lost[band] / sum.wanted[band] } else { 0.0 }
    };
    let most = Policy::ALL.iter().flat_map(|p| (0..BANDS.len()).map(move |b| share(*p, b))).fold(1e-6, f64::max);
    for (b, band) in BANDS.iter().enumerate() {
        let x = LEFT + 120.0 * b as f64;
        let _ = writeln!(out, "<rect x=\"{x}\" y=\"36\" width=\"12\" height=\"12\" fill=\"{}\"/>", COLOURS[b]);
        text(&mut out, x + 18.0, 47.0, "start", "black", band);
    }
    for (row, policy) in Policy::ALL.into_iter().enumerate() {
        let top = 64.0 + GROUP * row as f64;
        text(&mut out, LEFT - 10.0, top + 20.0, "end", "black", &policy.word().replace('_', " "));
        let racks = results.racks(policy);
        let sum = results.sum(policy);
        text(&mut out, LEFT - 10.0, top + 36.0, "end", GREY, &format!("{racks} racks"));
        text(&mut out, LEFT - 10.0, top + 52.0, "end", RED, &fate(sum.trips, sum.stopped));
        for (b, colour) in COLOURS.iter().enumerate() {
            let lost = share(policy, b);
            bar(&mut out, top + 17.0 * b as f64, lost / most, colour, &format!("{:.2}", lost * 100.0));
        }
    }
    out + "</svg>\n"
}

fn racks(results: &Results) -> String {
    const ROW: f64 = 30.0;
    let height = 60.0 + ROW * Policy::ALL.len() as f64;
    let bound = results.setup.bound * 100.0;
    let mut out =
        begin(height, &format!("Racks hosted: no trip, at most {bound:.0} % of the wanted work lost, on every trace"));
    let most = results.hosted.values().copied().max().unwrap_or(1).max(1) as f64;
    for (row, policy) in Policy::ALL.into_iter().enumerate() {
        let top = 44.0 + ROW * row as f64;
        let hosted = results.hosted[&policy];
        text(&mut out, LEFT - 10.0, top + 12.0, "end", "black", &policy.word().replace('_', " "));
        bar(&mut out, top, hosted as f64 / most, COLOURS[0], &hosted.to_string());
    }
    out + "</svg>\n"
}

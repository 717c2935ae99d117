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
    let height = 50.0 + STRIP * Policy::ALL.len() as f64 + 30.0;
    let name = &results.traces[trace].name;
    let mut out = begin(height, &format!("{name}: load of the breaker (black) against its rating (red)"));
    for (row, policy) in Policy::ALL.into_iter().enumerate() {
        let figures = &results.runs[&(policy, trace)];
        let most = figures.load.iter().copied().fold(1.2_f32, f32::max).min(3.0);
        let bottom = 50.0 + STRIP * (row as f64 + 1.0) - 12.0;
        let y = |ratio: f32| bottom - f64::from(ratio.min(most) / most) * (STRIP - 20.0);
        let span = figures.load.len().max(2) as f64 - 1.0;
        let x = |i: usize| LEFT + i as f64 / span * (WIDTH - LEFT - RIGHT);
        text(&mut out, LEFT - 10.0, bottom - 45.0, "end", "black", &policy.word().replace('_', " "));
        let racks = results.racks(policy);
        let lost = format!("{racks} racks, {:.2} % lost", figures.lost_share() * 100.0);
        text(&mut out, LEFT - 10.0, bottom - 29.0, "end", GREY, &lost);
        if figures.trips > 0 {
            text(&mut out, LEFT - 10.0, bottom - 13.0, "end", RED, "trips");
        }
        let (from, to) = (LEFT, WIDTH - RIGHT);
        let _ =
            writeln!(out, "<line x1=\"{from}\" x2=\"{to}\" y1=\"{bottom:.1}\" y2=\"{bottom:.1}\" stroke=\"{GREY}\"/>");
        let one = y(1.0);
        let _ = writeln!(
            out,
            "<line x1=\"{from}\" x2=\"{to}\" y1=\"{one:.1}\" y2=\"{one:.1}\" stroke=\"{RED}\" stroke-dasharray=\"4 3\"/>"
        );
        let points: Vec<String> =
            figures.load.iter().enumerate().map(|(i, r)| format!("{:.1},{:.1}", x(i), y(*r))).collect();
        let _ = writeln!(out, "<polyline points=\"{}\" fill=\"none\" stroke=\"black\"/>", points.join(" "));
    }
    let seconds = results.runs.iter().find(|((_, t), _)| *t == trace).map_or(0, |(_, f)| f.load.len());
    text(&mut out, LEFT, height - 12.0, "start", GREY, "0 s");
    text(&mut out, WIDTH - RIGHT, height - 12.0, "end", GREY, &format!("{seconds} s"));
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
        let trips = results.sum(policy).trips;
        let note = if trips > 0 { format!("{racks} racks, {trips} trips") } else { format!("{racks} racks") };
        text(&mut out, LEFT - 10.0, top + 36.0, "end", if trips > 0 { RED } else { GREY }, &note);
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

//! The comparison as a table for people and as JSON for programs.

mod claims;
mod why;

use super::play::{Figures, Policy, nameplate_watts};
use super::{BANDS, DERATE, Results};
use crate::harness::model_name;
use claims::claims;
use serde_json::{Value, json};
use std::fmt::Write;

/// Percentile of values, 0 to 1; `None` of none.
fn percentile(values: &[f64], share: f64) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = (sorted.len() as f64 * share).ceil() as usize;
    sorted.get(at.saturating_sub(1)).copied()
}

fn per_gpu_hour(figures: &Figures) -> f64 {
    if figures.gpu_hours > 0.0 { figures.cap_changes as f64 / figures.gpu_hours } else { 0.0 }
}

/// The whole report but the plots.
pub fn markdown(results: &Results) -> String {
    let setup = &results.setup;
    let mut out = String::from("# Policies behind one breaker\n\n");
    let _ = writeln!(
        out,
        "A breaker of {:.1} kW (IEC 60898 C, the plant's own bimetal model judges); racks of {} GPUs of 700 W, {:.2} kW each by their \
         plates: {} fill {:.0} % of the rating. Each rack wants what a trace recorded, from a random place in it (seed {}), up to {:.0} s \
         of each; what a limit cuts off is lost, not made up. Racks are of band training, inference and batch in turn. Policies that are told what \
         may flow for ever are told {:.0} % of the rating: ours, static share; the three-band lets 99 % flow by its own rule.\n",
        setup.rating_watts() / 1000.0,
        setup.gpus,
        nameplate_watts(setup) / 1000.0,
        setup.nameplate_racks,
        DERATE * 100.0,
        setup.seed,
        setup.seconds,
        setup.derate * 100.0
    );
    let _ = writeln!(
        out,
        "*Racks hosted*: the most with which, on every trace, nothing trips and at most {:.0} % of the wanted work is lost (not tried beyond \
         {}: with more, every GPU at its floor would draw more than may flow); nameplate's is by its own rule. All other figures are with {} racks, the most that all three of ours and one of the three-bands host but at least 30 % above nameplate (nameplate: {}), all traces together, unless --racks says otherwise. *Lost*: share of \
         wanted work left undone, by the curve below. The three-band and ours come twice, because who protects the important costs the others more: \
         *reactive three band* and *ours all alike* know no priorities, *low first* and the other two of ours do. *To cap*: from an overload of the breaker to limits that end it. *If all rise*: what of the earliest trip that IEC 60898 allows a breaker of type C (2.55 times its rating for 1 s, 2.0 for 10 s) is used up when \
         every rack, after a minute of idling, wants everything from one moment to the next; *and it dies*: when, in that moment, whoever decides dies as well and \
         agents are left to their leases. At 100 % such a breaker may have tripped; the plant's own is a later one. A policy that survives only what its traces held has lost nothing for the rest.\n",
        setup.bound * 100.0,
        setup.most_racks(),
        results.racks,
        setup.nameplate_racks
    );
    table(&mut out, results);
    out.push_str("\n## What was to be reached\n\n");
    for claim in claims(results) {
        let _ = writeln!(out, "* {}: **{}**. {}.", claim.key.replace('_', " "), yes(claim.reached), claim.text);
    }
    out.push_str("\n## Traces\n\n");
    for trace in &results.traces {
        let _ =
            writeln!(out, "* {}: {:.0} s, {}; {}.", trace.name, trace.seconds(), trace.kind, trace.notes.join("; "));
    }
    out.push_str("\n## Trace by trace: share of wanted work lost, %\n\n| trace |");
    Policy::ALL.iter().for_each(|p| {
        let _ = write!(out, " {} |", p.word().replace('_', " "));
    });
    let _ = write!(out, "\n|---|{}", "---:|".repeat(Policy::ALL.len()));
    for (t, trace) in results.traces.iter().enumerate() {
        let _ = write!(out, "\n| {} |", trace.name);
        for policy in Policy::ALL {
            let figures = &results.runs[&(policy, t)];
            let trips = if figures.trips > 0 { " trips" } else { "" };
            let stopped = if figures.stopped > 0 { " stopped" } else { "" };
            let _ = write!(out, " {:.2}{trips}{stopped} |", figures.lost_share() * 100.0);
        }
    }
    out.push_str("\n\n");
    out.push_str(CURVE);
    out
}

fn yes(reached: bool) -> &'static str {
    if reached { "reached" } else { "not reached" }
}

fn table(out: &mut String, results: &Results) {
    out.push_str(
        "| policy | trips | if all rise / and it dies: earliest trip used, % | s over rating | racks hosted | lost, % | training | inference | batch | cap changes per GPU-hour | to cap p50 / p99 / max, ms | runs in which the automation stopped |\n\
         |---|---:|---|---:|---:|---:|---:|---:|---:|---:|---|---:|\n",
    );
    for policy in Policy::ALL {
        let sum = results.sum(policy);
        let [risen, dead] = results.worst[&policy];
        let by_band = |b: usize| if sum.wanted[b] > 0.0 { 100.0 * sum.lost[b] / sum.wanted[b] } else { 0.0 };
        let to_cap = |share| percentile(&sum.to_cap_ms, share).map_or("-".to_owned(), |ms| format!("{ms:.0}"));
        let _ = writeln!(
            out,
            "| {} | {} | {:.0} / {:.0} | {:.1} | {} | {:.2} | {:.2} | {:.2} | {:.2} | {:.1} | {} / {} / {} | {} |",
            policy.word().replace('_', " "),
            sum.trips,
            risen * 100.0,
            dead * 100.0,
            sum.seconds_over_rating,
            results.hosted[&policy],
            sum.lost_share() * 100.0,
            by_band(0),
            by_band(1),
            by_band(2),
            per_gpu_hour(&sum),
            to_cap(0.5),
            to_cap(0.99),
            to_cap(1.0),
            sum.stopped
        );
    }
}

/// The curve, published.
const CURVE: &str = "## The curve from power to work\n\n\
    A limit lowers the clock until the power fits: dynamic power goes with the clock to the 2.4th (CMOS: V^2 f), work with the clock to the \
    sensitivity *s* (0.9 for training and unknown power, 0.6 for serving). Of full speed remains `((P - P0) / (D - P0))^(s / 2.4)` with *D* the power \
    wanted, *P* the power allowed, *P0* = 120 W.\n\n\
    | P of D = 700 W | 600 W | 500 W | 400 W | 300 W | 200 W |\n|---|---:|---:|---:|---:|---:|\n\
    | training | 0.93 | 0.85 | 0.76 | 0.64 | 0.48 |\n| serving | 0.95 | 0.90 | 0.83 | 0.75 | 0.61 |\n\n\
    Published points lie at or above it, so that it flatters nobody who caps: BERT training on V100 held at 150 of 250 W took 6.8 % longer with 13.7 % less energy, \
    that is 0.94 of the speed at 0.81 of the power (McDonald et al., arXiv 2205.09646; the curve gives 0.91); LLM serving with 20 % less peak power lost under 7 % (Patel et al., \
    POLCA, arXiv 2308.12908; the curve gives 0.93). Work counts by the power it wants: a GPU that waits has little to lose.\n";

/// All figures.
pub fn json(results: &Results) -> Value {
    let policies: serde_json::Map<String, Value> = Policy::ALL
        .iter()
        .map(|policy| {
            let traces: serde_json::Map<String, Value> = results
                .traces
                .iter()
                .enumerate()
                .map(|(t, trace)| (trace.name.clone(), figures(&results.runs[&(*policy, t)])))
                .collect();
            let mut all = figures(&results.sum(*policy));
            all["racks_hosted"] = results.hosted[policy].into();
            all["racks"] = results.racks(*policy).into();
            let [risen, dead] = results.worst[policy];
            all["earliest_trip_used_if_all_rise_at_once"] = risen.into();
            all["earliest_trip_used_if_all_rise_as_it_dies"] = dead.into();
            all["traces"] = Value::Object(traces);
            (policy.word().to_owned(), all)
        })
        .collect();
    let claims: serde_json::Map<String, Value> = claims(results)
        .into_iter()
        .map(|c| (c.key.to_owned(), json!({ "reached": c.reached, "says": c.text })))
        .collect();
    let notes: serde_json::Map<String, Value> = results
        .traces
        .iter()
        .map(|t| (t.name.clone(), json!({ "kind": t.kind, "seconds": t.seconds(), "notes": t.notes })))
        .collect();
    json!({
        "nameplate_racks": results.setup.nameplate_racks,
        "rating_watts": results.setup.rating_watts(),
        "lost_work_bound": results.setup.bound,
        "derate": results.setup.derate,
        "seed": results.setup.seed,
        "model": model_name().unwrap_or_else(|why| format!("none: {why}")),
        "traces": notes,
        "policies": policies,
        "reached": claims,
    })
}

fn figures(of: &Figures) -> Value {
    let by_band: serde_json::Map<String, Value> = BANDS
        .iter()
        .enumerate()
        .map(|(b, band)| {
            let share = if of.wanted[b] > 0.0 { of.lost[b] / of.wanted[b] } else { 0.0 };
            ((*band).to_owned(), json!({ "lost_gpu_seconds": of.lost[b], "lost_share": share }))
        })
        .collect();
    let to_cap = |share| percentile(&of.to_cap_ms, share);
    json!({
        "trips": of.trips,
        "thermal_shutdowns": of.shutdowns,
        "automation_stopped": of.stopped,
        "automation_stopped_s": of.stopped_s,
        "seconds_over_rating": of.seconds_over_rating,
        "lost_work_share": of.lost_share(),
        "lost_work": by_band,
        "cap_changes_per_gpu_hour": per_gpu_hour(of),
        "overload_to_cap_ms": { "count": of.to_cap_ms.len(), "p50": to_cap(0.5), "p99": to_cap(0.99), "max": to_cap(1.0) },
    })
}

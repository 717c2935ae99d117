//! What was to be reached, and whether it was. Why not is beside it.

use super::super::play::Policy;
use super::super::{MORE_RACKS, Results};
use super::why;

/// Lost work may be at most this share of the reactive three-band's.
pub(super) const HALF: f64 = 0.5;
/// Losses nearer than this share of the wanted work are alike.
pub(super) const ALIKE: f64 = 1e-4;
/// Times over the rating nearer than this, s, are alike.
const ALIKE_S: f64 = 1.0;

/// One thing that was to be reached, and whether it was.
pub(super) struct Claim {
    pub key: &'static str,
    pub reached: bool,
    pub text: String,
}

pub(super) fn claims(results: &Results) -> Vec<Claim> {
    vec![no_trips(results), more_racks(results), half(results), forecast(results), worst(results), stopped(results)]
}

fn no_trips(results: &Results) -> Claim {
    let of = |value: fn(&super::Figures) -> u64| Policy::OURS.iter().map(|p| value(&results.sum(*p))).sum::<u64>();
    let (trips, shutdowns) = (of(|f| f.trips), of(|f| f.shutdowns));
    let text = format!("ours, in all three ways, trips {trips} time(s) and has {shutdowns} shutdown(s) by heat");
    Claim { key: "no_trips", reached: trips + shutdowns == 0, text }
}

/// Each of ours must host them, not the best of them.
fn more_racks(results: &Results) -> Claim {
    let least = Policy::OURS.iter().map(|p| results.hosted[p]).min().unwrap_or(0);
    let reached = least as f64 >= results.setup.nameplate_racks as f64 * MORE_RACKS - 1e-9;
    let each: Vec<String> =
        Policy::OURS.iter().map(|p| format!("{} {}", p.word().replace('_', " "), results.hosted[p])).collect();
    let mut text = format!("racks hosted: {}; nameplate allows {}", each.join(", "), results.setup.nameplate_racks);
    if !reached {
        text.push_str(&why::not(&why::racks(results)));
    }
    Claim { key: "racks_30_percent_more", reached, text }
}

/// Lost work against the reactive three-band, by who knows what: both without priorities, both with.
fn half(results: &Results) -> Claim {
    let lost = |policy| results.sum(policy).lost_share();
    let said = |policy: Policy| {
        let sum = results.sum(policy);
        let trips = if sum.trips > 0 { format!(" and trips {} time(s)", sum.trips) } else { String::new() };
        format!("{:.2} %{trips}", sum.lost_share() * 100.0)
    };
    let pairs = [(Policy::OursAlike, Policy::ThreeBand), (Policy::OursForecast, Policy::ThreeBandLowFirst)];
    let missed: Vec<Policy> = pairs
        .iter()
        .filter(|(mine, theirs)| lost(*mine) > (lost(*theirs) * HALF).max(ALIKE))
        .map(|(_, theirs)| *theirs)
        .collect();
    let mut text = format!(
        "with all racks alike ours loses {} of the wanted work, the reactive three-band {}; with priorities ours {}, \
         the three-band that cuts the least important first {}; all with {} racks",
        said(pairs[0].0),
        said(pairs[0].1),
        said(pairs[1].0),
        said(pairs[1].1),
        results.racks
    );
    if !missed.is_empty() {
        text.push_str(&why::not(&why::half(results, &missed)));
    }
    Claim { key: "lost_work_at_most_half_of_three_band", reached: missed.is_empty(), text }
}

/// Whether ours survives what no trace held.
fn worst(results: &Results) -> Claim {
    let trips = |policy: &Policy| results.worst[policy].iter().any(|used| *used >= 1.0);
    let ours = Policy::OURS.iter().any(trips);
    let names: Vec<String> = Policy::ALL.iter().filter(|p| trips(p)).map(|p| p.word().replace('_', " ")).collect();
    let who = if names.is_empty() { "nobody".to_owned() } else { names.join(", ") };
    let mut text = format!(
        "a breaker that trips as early as its standard allows may trip when all {} racks rise from idle to full at once, with or \
         without whoever decides dying then, under: {who}",
        results.racks
    );
    if ours && trips(&Policy::Oracle) {
        text.push_str(
            ". The oracle is among them: with every GPU at its floor so many racks draw more than the breaker carries",
        );
    }
    Claim { key: "no_trip_if_all_rise_at_once", reached: !ours, text }
}

/// Whether the forecast helped, and if not, why, trace by trace.
fn forecast(results: &Results) -> Claim {
    let (with, without) = (results.sum(Policy::OursForecast), results.sum(Policy::OursReactive));
    let (a, b) = (without.lost_share(), with.lost_share());
    let saved_s = without.seconds_over_rating - with.seconds_over_rating;
    let sound = with.stopped + without.stopped == 0 && with.trips <= without.trips;
    let reached = sound && b <= a && (a - b > ALIKE || saved_s > ALIKE_S);
    let by_trace = why::forecast(results);
    let of = |word: fn(f64) -> bool| {
        let names: Vec<&str> = by_trace.iter().filter(|t| word(t.gain)).map(|t| t.name).collect();
        if names.is_empty() { "none".to_owned() } else { names.join(", ") }
    };
    let mut text = format!(
        "with forecast {:.2} % lost and {:.1} s over the rating, without {:.2} % and {:.1} s; better on {}, worse on {}",
        b * 100.0,
        with.seconds_over_rating,
        a * 100.0,
        without.seconds_over_rating,
        of(|gain| gain > ALIKE),
        of(|gain| gain < -ALIKE)
    );
    if !reached {
        text.push_str(&why::not(&why::grouped(&by_trace)));
    }
    Claim { key: "forecast_better", reached, text }
}

fn stopped(results: &Results) -> Claim {
    let runs = results.runs.iter().filter(|((policy, _), _)| Policy::OURS.contains(policy));
    let when: Vec<String> = runs
        .filter_map(|((policy, t), figures)| {
            let (who, name) = (policy.word().replace('_', " "), &results.traces[*t].name);
            figures.stopped_s.map(|at_s| format!("{who} on {name} after {at_s:.0} s"))
        })
        .collect();
    let mut text = format!("the automation's own breaker stopped ours in {} run(s)", when.len());
    if !when.is_empty() {
        text.push_str(&format!(": {}", when.join(", ")));
    }
    Claim { key: "automation_never_stopped", reached: when.is_empty(), text }
}

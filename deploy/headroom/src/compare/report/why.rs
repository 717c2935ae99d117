//! Why something was not reached, worked out from the runs: what even the oracle cannot do, what is wanted on
//! average, what is lost without any limit, what stopped.

use super::super::play::{Figures, Policy};
use super::super::trace::Trace;
use super::super::{MORE_RACKS, Results};
use super::claims::{ALIKE, HALF};

/// Reasons as the end of a claim.
pub(super) fn not(reasons: &[String]) -> String {
    format!(". Why not: {}", reasons.join("; "))
}

/// Why ours does not host as many racks as it must.
pub(super) fn racks(results: &Results) -> Vec<String> {
    let least = (results.setup.nameplate_racks as f64 * MORE_RACKS).ceil() as usize;
    let (bound, oracle) = (results.setup.bound * 100.0, results.hosted[&Policy::Oracle]);
    let mut reasons = Vec::new();
    if oracle < least {
        reasons.push(format!("even the oracle, which knows what comes, hosts {oracle} of these {least}"));
    }
    reasons.extend(too_much(results, least));
    let is_over = |t: &usize| Policy::OURS.iter().any(|p| results.runs[&(*p, *t)].lost_share() > results.setup.bound);
    let over: Vec<&str> = (0..results.traces.len()).filter(is_over).map(|t| results.traces[t].name.as_str()).collect();
    if !over.is_empty() {
        reasons.push(format!("with {} racks ours loses more than {bound} % on {}", results.racks, over.join(", ")));
    }
    reasons.extend(stops(results));
    reasons.push(without_limit(results));
    if oracle >= least {
        reasons.push(format!("the oracle, which knows what comes and this very breaker, hosts {oracle}"));
    }
    reasons
}

/// Why ours does not lose at most half of what these lose.
pub(super) fn half(results: &Results, theirs: &[Policy]) -> Vec<String> {
    let oracle = results.sum(Policy::Oracle).lost_share();
    let mut reasons = Vec::new();
    let (beyond, within): (Vec<&Policy>, Vec<&Policy>) =
        theirs.iter().partition(|p| oracle > (results.sum(**p).lost_share() * HALF).max(ALIKE));
    let named =
        |policies: &[&Policy]| policies.iter().map(|p| p.word().replace('_', " ")).collect::<Vec<_>>().join(" and of ");
    let of = oracle * 100.0;
    if !beyond.is_empty() {
        // Who protects the important costs the others more: without priorities it could lose a little less.
        reasons.push(format!(
            "even the oracle, which knows what comes and protects the important, loses {of:.2} %, more than half of {}",
            named(&beyond)
        ));
    }
    if !within.is_empty() {
        reasons.push(format!(
            "the oracle, which knows what comes and this very breaker, loses {of:.2} %, less than half of {}",
            named(&within)
        ));
    }
    reasons.extend(too_much(results, results.racks));
    reasons.extend(stops(results));
    reasons.push(without_limit(results));
    reasons
}

/// Traces of which so many racks want more on average than may flow for ever.
fn too_much(results: &Results, racks: usize) -> Option<String> {
    let wanted = |t: usize| {
        // Whom nobody holds draws what it wants.
        let load = &results.runs[&(Policy::StaticNameplate, t)].load;
        let mean = load.iter().map(|[mean, _]| f64::from(*mean)).sum::<f64>() / load.len().max(1) as f64;
        mean * racks as f64 / results.setup.nameplate_racks as f64
    };
    let over: Vec<String> = results
        .traces
        .iter()
        .enumerate()
        .map(|(t, trace)| (wanted(t), &trace.name))
        .filter(|(wanted, _)| *wanted > results.setup.derate)
        .map(|(wanted, name)| format!("{:.0} % of the rating of {name}", wanted * 100.0))
        .collect();
    let may = results.setup.derate * 100.0;
    (!over.is_empty())
        .then(|| format!("{racks} racks want more on average than the {may:.0} % that may flow: {}", over.join(", ")))
}

fn stops(results: &Results) -> Option<String> {
    let count: u64 = Policy::OURS.iter().map(|p| results.sum(*p).stopped).sum();
    (count > 0)
        .then(|| format!("the automation stopped itself in {count} run(s), and what is lost after is not by decision"))
}

fn without_limit(results: &Results) -> String {
    let lost = results.sum(Policy::StaticNameplate).lost_share() * 100.0;
    format!("{lost:.2} % is lost without any limit, while GPUs rise (static nameplate)")
}

/// What the forecast did on a trace.
pub(super) struct Gain<'r> {
    pub name: &'r str,
    /// Share of the wanted work that it saved.
    pub gain: f64,
    /// Why it saved nothing.
    why: Option<&'static str>,
}

/// By trace.
pub(super) fn forecast(results: &Results) -> Vec<Gain<'_>> {
    let of = |policy, t| &results.runs[&(policy, t)];
    let one = |(t, trace)| {
        let trace: &Trace = trace;
        let (with, without) = (of(Policy::OursForecast, t), of(Policy::OursReactive, t));
        let gain = without.lost_share() - with.lost_share();
        Gain { name: &trace.name, gain, why: reason(with, without, of(Policy::Oracle, t)) }
    };
    results.traces.iter().enumerate().map(one).collect()
}

fn reason(with: &Figures, without: &Figures, oracle: &Figures) -> Option<&'static str> {
    let gain = without.lost_share() - with.lost_share();
    if with.stopped + without.stopped > 0 {
        Some("the automation stopped itself")
    } else if with.trips > without.trips {
        Some("the breaker tripped with it")
    } else if gain > ALIKE {
        None
    } else if with.cap_changes + without.cap_changes == 0 {
        Some("nothing was held")
    } else if gain >= -ALIKE && with.lost_share() <= oracle.lost_share() + ALIKE {
        Some("even the oracle loses as much")
    } else if gain < -ALIKE {
        Some("the room kept for the forecast's band held others more than it saved")
    } else {
        Some("what was held cost the same with it as without")
    }
}

/// Reasons with the traces they are of.
pub(super) fn grouped(gains: &[Gain<'_>]) -> Vec<String> {
    let mut reasons: Vec<&str> = gains.iter().filter_map(|g| g.why).collect();
    reasons.sort_unstable();
    reasons.dedup();
    let names = |why: &str| gains.iter().filter(|g| g.why == Some(why)).map(|g| g.name).collect::<Vec<_>>().join(", ");
    reasons.into_iter().map(|why| format!("{why} ({})", names(why))).collect()
}

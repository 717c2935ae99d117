//! From overload at the racks' own breakers to the limits the agents set, without any controller:
//! the simulated row over Modbus and NVML, four agents, a load that steps over the rating. Prints
//! one JSON line. Each round starts everything anew; every rack of a round is one sample.

use headroom_tests::guarded::{self, BREAKER_AMPERES, SAFE_WATTS};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// What a breaker holds for ever (agent/core/src/guard/trip.rs).
const OVERLOAD: f64 = 1.05;
const GIVE_UP: Duration = Duration::from_secs(20);

fn main() {
    let rounds: usize = std::env::args().nth(1).map_or(25, |n| n.parse().expect("how many rounds"));
    let mut samples: Vec<f64> = Vec::new();
    let mut settled: Vec<f64> = Vec::new();
    for number in 1..=rounds {
        for (set, enforced) in round() {
            samples.push(set);
            settled.push(enforced);
        }
        eprintln!("round {number} of {rounds}: {:.0} ms median so far", quantile(&mut samples.clone(), 0.5));
    }
    let mut sorted = samples.clone();
    let line = json!({
        "samples": samples.len(),
        "median_ms": quantile(&mut sorted, 0.5),
        "p99_ms": quantile(&mut sorted, 0.99),
        "max_ms": quantile(&mut sorted, 1.0),
        "until_in_force_p99_ms": quantile(&mut settled, 0.99),
        "raw_ms": samples.iter().map(|ms| ms.round()).collect::<Vec<_>>(),
    });
    println!("{line}");
}

fn quantile(values: &mut [f64], q: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let last = values.len().saturating_sub(1);
    values.get((q * last as f64).ceil() as usize).copied().unwrap_or(f64::NAN)
}

struct Watched {
    overloaded: Option<Instant>,
    set: Option<Instant>,
    enforced: Option<Instant>,
}

/// Milliseconds from overload to the limit set on every GPU and to it being in force, per rack.
fn round() -> Vec<(f64, f64)> {
    let plant = guarded::plant();
    let agents = guarded::agents(&plant, plant.racks.iter());
    let mut watched: Vec<Watched> =
        plant.racks.iter().map(|_| Watched { overloaded: None, set: None, enforced: None }).collect();
    let begun = Instant::now();
    while watched.iter().any(|w| w.enforced.is_none()) {
        assert!(begun.elapsed() < GIVE_UP, "an agent did not act: {:#}", plant.truth());
        let truth = plant.truth();
        let now = Instant::now();
        for (rack, seen) in plant.racks.iter().zip(&mut watched) {
            look(&truth[&rack.id], rack.gpus, seen, now);
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    drop(agents);
    let ms = |from: Option<Instant>, to: Option<Instant>| match (from, to) {
        (Some(from), Some(to)) => to.saturating_duration_since(from).as_secs_f64() * 1e3,
        _ => f64::NAN,
    };
    watched.iter().map(|w| (ms(w.overloaded, w.set), ms(w.overloaded, w.enforced))).collect()
}

fn look(rack: &Value, gpus: u64, seen: &mut Watched, now: Instant) {
    let amperes = ["pdu-a", "pdu-b"].iter().flat_map(|pdu| (1..=3).map(move |l| (pdu, l)));
    let most =
        amperes.filter_map(|(pdu, l)| rack[*pdu][format!("pdu_current_l{l}_amperes")].as_f64()).fold(0.0, f64::max);
    if most > OVERLOAD * BREAKER_AMPERES {
        seen.overloaded.get_or_insert(now);
    }
    if seen.overloaded.is_none() {
        return;
    }
    let all = |signal: &str| {
        (0..gpus).all(|g| rack[format!("gpu-{g}")][signal].as_f64().is_some_and(|watts| watts < SAFE_WATTS - 1.0))
    };
    let before = seen.overloaded == Some(now);
    assert!(!(before && all("gpu_limit_requested_watts")), "it was held before the overload");
    if all("gpu_limit_requested_watts") {
        seen.set.get_or_insert(now);
    }
    if all("gpu_limit_enforced_watts") {
        seen.enforced.get_or_insert(now);
    }
}

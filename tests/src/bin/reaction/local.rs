//! `rack_local`: no controller, no broker in the path. The load of four racks steps to 2.1 times what their own breakers
//! carry; from the meter's answer that says so to the limits that the guard sets. Each round starts everything anew; every
//! rack of it is a sample.

use crate::driver::{Drivers, Lowered};
use crate::ms;
use crate::tap::Tap;
use headroom_tests::guarded::{self, BREAKER_AMPERES, SAFE_WATTS};
use headroom_tests::plant::Rack;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// From 1.65 on a breaker at 0.8 has less than the 8 s at which the guard acts (agent/core/src/guard.rs and
/// guard/trip.rs); a meter read in the 20 ms of the step may show less, on which nothing has to be done yet.
const ACTS_AT: f32 = 1.7;
const GIVE_UP: Duration = Duration::from_secs(20);

/// One round: a sample for each rack.
pub fn round() -> Vec<Value> {
    let plant = guarded::plant();
    let tapped: Vec<(Vec<Tap>, Rack)> = plant.racks.iter().map(tap).collect();
    let agents = guarded::agents(&plant, tapped.iter().map(|(_, rack)| rack));
    let drivers = Drivers::of(&plant.racks);
    let begun = Instant::now();
    while drivers.asked().values().any(|watts| *watts < SAFE_WATTS - 1.0) {
        assert!(begun.elapsed() < GIVE_UP, "an agent did not set the safe share");
        std::thread::sleep(Duration::from_millis(20));
    }
    let mut lowered = Lowered::from(&drivers);
    assert!(tapped.iter().all(|(taps, _)| told(taps).is_none()), "the load stepped before the agents were ready");
    assert!(lowered.wait(&drivers, GIVE_UP), "an agent did not act: {:#}", plant.truth());
    drop(agents);
    tapped.iter().map(|(taps, rack)| sample(told(taps), lowered.of(&rack.id))).collect()
}

fn sample(told: Option<Instant>, set: Option<(Instant, Instant)>) -> Value {
    let Some((told, (first, last))) = told.zip(set) else { return json!({ "missed": 1 }) };
    json!({ "ms": ms(told, Some(last)), "first_set_ms": ms(told, Some(first)), "all_set_ms": ms(first, Some(last)) })
}

fn told(taps: &[Tap]) -> Option<Instant> {
    taps.iter().filter_map(Tap::first).min()
}

/// The rack with wires of ours to its meters.
fn tap(rack: &Rack) -> (Vec<Tap>, Rack) {
    let mut rack = rack.clone();
    let mut taps = Vec::new();
    for device in rack.devices.iter_mut().filter(|d| d.id.starts_with("pdu-")) {
        let tap = Tap::to(&device.address, ACTS_AT * BREAKER_AMPERES as f32);
        device.address.clone_from(&tap.address);
        taps.push(tap);
    }
    (taps, rack)
}

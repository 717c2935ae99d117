//! Conservation and behaviour of the whole row, in the embedded scenario.

use super::spec::PlantSpec;
use super::*;
use crate::scenario::Scenario;

const DT: f64 = 0.02;
/// When every rack of the embedded scenario is at full activity, and when the load begins to fall.
const FULL_S: f64 = 9.5;
const DIP_S: f64 = 46.0;

fn spec() -> PlantSpec {
    Scenario::load(None).expect("the embedded scenario is valid").plant
}

fn run(plant: &mut Plant, seconds: f64) {
    for _ in 0..(seconds / DT).round() as usize {
        plant.step(DT);
        conserves(plant);
    }
}

/// Power is neither made nor lost on the way from the UPS to the chips.
fn conserves(plant: &Plant) {
    for rack in plant.racks() {
        let consumed: f64 = rack.gpus.iter().map(|g| g.readout.power_instant_watts).sum::<f64>() + rack.host_watts();
        let delivered: f64 = rack.pdus.iter().map(|p| p.output_watts).sum();
        let lost: f64 = rack.pdus.iter().map(|p| p.power_watts - p.output_watts).sum();
        assert!((delivered - consumed).abs() < 1e-6, "{} at {}", rack.spec().id, plant.time_s());
        assert!((lost - 0.02 * rack.inlet_watts()).abs() < 1e-6);
    }
    for (f, feed) in plant.feeds().iter().enumerate() {
        let pdus: f64 = plant.racks().iter().map(|r| r.pdus[f].power_watts).sum();
        let cooling: f64 =
            plant.racks().iter().filter(|r| r.cooling_feed() == f).map(|r| r.cooling.power_watts()).sum();
        let ups: f64 = feed.ups.readout.output_phase_watts.iter().sum();
        assert!((ups - pdus - cooling).abs() < 1e-6, "feed {f}: {ups} != {pdus} + {cooling}");
    }
}

#[test]
fn power_and_energy_are_conserved_from_the_ups_to_the_chips() {
    let mut plant = Plant::new(&spec());
    run(&mut plant, 40.0);
    let racks: f64 = plant.racks().iter().flat_map(|r| &r.pdus).map(|p| p.energy_joules).sum();
    let cooling: f64 = plant.racks().iter().map(|r| r.cooling.energy_joules()).sum();
    let ups = plant.tally().energy_joules;
    assert!(((racks + cooling) / ups - 1.0).abs() < 1e-9, "{racks} + {cooling} != {ups}");
}

#[test]
fn without_control_the_first_ramp_trips_both_breakers_within_the_minute() {
    let mut plant = Plant::new(&spec());
    run(&mut plant, 70.0);
    let trips = &plant.tally().trips;
    assert_eq!(trips.len(), 2, "{trips:?}");
    assert!((FULL_S..DIP_S).contains(&trips[0].at_s), "{trips:?}");
    assert!(plant.tally().peak_load_ratio[0] > 1.25);
    assert!(plant.racks().iter().all(|r| r.gpus.iter().all(|g| g.readout.lost)), "dark racks do not answer");
    assert!(plant.take_events().iter().any(|e| e.kind == "trip"));
}

#[test]
fn no_seed_lets_the_dip_come_before_the_trip() {
    for seed in 2..12 {
        let mut plant = Plant::new(&PlantSpec { seed, ..spec() });
        run(&mut plant, 61.0);
        let trips = &plant.tally().trips;
        assert!(trips.len() == 2 && (FULL_S..DIP_S).contains(&trips[0].at_s), "seed {seed}: {trips:?}");
    }
}

#[test]
fn with_every_gpu_at_400_watts_nothing_ever_trips() {
    let mut plant = Plant::new(&spec());
    for rack in 0..4 {
        for gpu in 0..8 {
            plant.request(rack, gpu, Requests { limit_watts: 400.0, locked_mhz: None });
        }
    }
    run(&mut plant, 60.0);
    let (mut peak, mut peak_second) = (0.0_f64, 0.0_f64);
    for _ in 0..240 {
        let mut second = 0.0;
        for _ in 0..50 {
            run(&mut plant, DT);
            let now = plant.feeds().iter().map(Feed::load_ratio).fold(0.0, f64::max);
            second += now / 50.0;
            peak = peak.max(now);
        }
        peak_second = peak_second.max(second);
    }
    assert!(peak_second < 0.95 && peak_second > 0.85, "{peak_second}, peak {peak}");
    assert!(peak < 1.0, "even the excursions of 20 ms stay below the rating: {peak}");
    assert!(plant.tally().trips.is_empty() && plant.feeds()[0].breaker.heat_ratio() < 0.8);
}

#[test]
fn with_one_feed_gone_the_other_carries_both() {
    let mut plant = Plant::new(&spec());
    run(&mut plant, 2.0);
    let before: f64 = plant.racks().iter().map(Rack::inlet_watts).sum();
    plant.feeds_mut()[0].breaker.step(DT, [headroom_rack::units::Amperes::new(500.0); 3]);
    run(&mut plant, 0.8);
    let rack = &plant.racks()[0];
    assert_eq!(rack.pdus[0].power_watts, 0.0);
    let after: f64 = plant.racks().iter().map(|r| r.pdus[1].power_watts).sum();
    assert!((after / before - 1.0).abs() < 0.1, "{before} {after}");
}

#[test]
fn a_cap_in_time_ends_the_overload_and_its_time_is_counted() {
    let mut plant = Plant::new(&spec());
    while plant.tally().overloads == 0 {
        run(&mut plant, DT);
    }
    let began = plant.time_s();
    run(&mut plant, 2.0);
    for rack in 0..4 {
        for gpu in 0..8 {
            plant.request(rack, gpu, Requests { limit_watts: 350.0, locked_mhz: None });
        }
    }
    run(&mut plant, 10.0);
    let to_cap = &plant.tally().overload_to_cap_ms;
    assert!(!to_cap.is_empty() && (to_cap[0] - 2000.0).abs() < 100.0, "began {began}: {to_cap:?}");
    assert!(plant.tally().trips.is_empty());
}

#[test]
fn utility_lost_puts_the_ups_on_battery_and_the_racks_do_not_notice() {
    let mut plant = Plant::new(&spec());
    run(&mut plant, 2.0);
    plant.feeds_mut()[0].utility = false;
    run(&mut plant, 5.0);
    let ups = &plant.feeds()[0].ups.readout;
    assert!(ups.on_battery && ups.input_volts == 0.0 && ups.battery_charge_ratio < 1.0 && ups.battery_amperes < 0.0);
    assert!(plant.racks()[0].pdus[0].energised);
}

#[test]
fn a_rack_on_air_runs_at_full_power_below_any_slowdown_and_changes_nothing_at_the_others() {
    let mut spec = spec();
    spec.breaker.rating_amperes = 63.0;
    spec.racks.iter_mut().for_each(|r| r.envelope.points = vec![(0.0, 1.0)]);
    let mut liquid = Plant::new(&spec);
    spec.racks[0].medium = super::spec::Medium::Air;
    let mut plant = Plant::new(&spec);
    run(&mut plant, 300.0);
    run(&mut liquid, 300.0);
    let air = plant.racks()[0].cooling.air().expect("an air unit").inlet_celsius;
    assert!((21.0..24.0).contains(&air), "{air}");
    for gpu in &plant.racks()[0].gpus {
        let r = &gpu.readout;
        // 22 degrees and up to 700 W over 0.065 K/W.
        assert!((60.0..70.0).contains(&r.temperature_celsius) && r.sw_thermal_s == 0.0, "{r:?}");
    }
    assert_eq!(plant.racks()[1].gpus[3].readout, liquid.racks()[1].gpus[3].readout);
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let (mut one, mut two) = (Plant::new(&spec()), Plant::new(&spec()));
    run(&mut one, 20.0);
    run(&mut two, 20.0);
    assert_eq!(one.racks()[2].inlet_watts(), two.racks()[2].inlet_watts());
    let mut three = Plant::new(&PlantSpec { seed: 2, ..spec() });
    run(&mut three, 20.0);
    assert_ne!(one.racks()[2].inlet_watts(), three.racks()[2].inlet_watts());
}

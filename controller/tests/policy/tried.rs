//! A policy tried on the record, against the one in force.

use super::{ORDER, program, row, said};
use headroom_controller::clock::Clock;
use headroom_controller::record::{Options, Record};
use headroom_controller_core::{Decider, Fleet, Policy};
use headroom_rack::record::Entry;
use headroom_rack::{DeviceId, Generation, Mode, Mono, RackId, Reading, Signal, SignalPath, Snapshot, UnixMs};
use serde_json::Value;
use std::path::Path;

/// Records how the default row ramps up and is held at its breakers.
fn record_a_ramp(config: &Path, dir: &Path) {
    let topology =
        headroom_controller::config::core_topology(&headroom_controller::config::load_tree(config).unwrap()).unwrap();
    let (record, _) = Record::open(Options::new(dir), Clock::start()).unwrap();
    let mut decider = Decider::new(topology.clone(), Policy::default());
    let mut fleet = Fleet::new(&topology);
    let mut limits = std::collections::VecDeque::from([[400.0; 4]; 2]);
    for second in 0..90 {
        let (now, at) = (Mono::from_ms(1000 + 1000 * second), UnixMs::new(1_795_000_000_000 + 1000 * second));
        let wants: f64 = if second < 20 { 200.0 } else { 700.0 };
        let limit = limits.pop_front().unwrap();
        for (i, limit) in limit.iter().enumerate() {
            let power = wants.min(*limit);
            let reading = |device, signal, value| (SignalPath::new(device, signal), Reading::new(value, at));
            let gpus = (0..8).flat_map(|g| {
                [
                    reading(DeviceId::gpu(g), Signal::GpuPower, power),
                    reading(DeviceId::gpu(g), Signal::GpuLimitEnforced, *limit),
                ]
            });
            let cords = ["pdu-a", "pdu-b"]
                .map(|pdu| reading(DeviceId::new(pdu).unwrap(), Signal::PduPower, (8.0 * power + 1700.0) / 2.0));
            let rack = RackId::new(format!("rack-{}", i + 1)).unwrap();
            let readings = gpus.chain(cords).collect();
            let snapshot =
                Snapshot { rack, boot: 1, seq: second + 1, at, historical: false, readings, receipts: Vec::new() };
            fleet.fold(&snapshot, now);
            record.append(Entry::Snapshot(snapshot));
        }
        let generation = Generation { epoch: 1, counter: second + 1 };
        let plan = decider.decide(&fleet, &Default::default(), now, at, generation, Mode::Automatic);
        limits.push_back(std::array::from_fn(|rack| plan.caps[rack].gpus[0].1.get()));
        record.append(Entry::Plan(plan));
    }
    record.close();
}

#[test]
fn a_policy_under_which_breakers_would_have_tripped_is_not_told_as_the_better_one() {
    let dir = tempfile::tempdir().unwrap();
    let config = row(dir.path());
    record_a_ramp(&config, &dir.path().join("record"));
    let file = dir.path().join("tried.toml");
    let simulate = |floor: u32, more: &[&str]| {
        std::fs::write(&file, format!("{ORDER}[limits]\nfloor_gpu_watts = {floor}\n")).unwrap();
        let args = ["policy", "simulate", file.to_str().unwrap(), "--config", config.to_str().unwrap()];
        program(&[&args, more].concat())
    };
    let output = simulate(700, &["--json"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    let breakers: Vec<&Value> = told["nodes"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|n| n["node"].as_str().unwrap().starts_with("breaker"))
        .collect();
    assert_eq!(breakers.len(), 2, "{told}");
    for node in breakers {
        assert!(node["now"]["tripped_ms"].is_null() && node["now"]["trip_used"].as_f64() < Some(1.0), "{node}");
        assert!(node["then"]["tripped_ms"].is_u64() && node["then"]["over_rating_s"].as_f64() > Some(20.0), "{node}");
    }
    assert_eq!(told["dangers"].as_array().unwrap().len(), 2, "{told}");
    let output = simulate(700, &[]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let table = String::from_utf8(output.stdout).unwrap();
    let verdict = "NOT SAFE: under the policy tried breaker-a, breaker-b would have tripped";
    assert!(table.contains(verdict) && table.lines().last().unwrap().starts_with("NOT SAFE"), "{table}");
    // A policy that holds them as the one in force does is told without a word of that.
    let output = simulate(250, &[]);
    let table = said(&output);
    assert!(!table.contains("NOT SAFE") && !table.contains("WORSE"), "{table}");
    assert_eq!(output.status.code(), Some(0), "{table}");
    // What cannot be tried is no verdict.
    assert_eq!(simulate(250, &["--minutes", "0"]).status.code(), Some(2));
    assert_eq!(simulate(9000, &[]).status.code(), Some(2));
}

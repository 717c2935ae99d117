//! A row whose feed A is on battery, with a UPS that tells much, little or nothing.

use super::super::tests::{decide, fleet_at, snapshot};
use super::*;
use crate::policy::Policy;
use crate::topology::tests::row;
use crate::{BatterySpec, MeterRef, Topology};
use headroom_rack::{DeviceId, LimitKind, RackId, Reading, Signal, SignalPath, Snapshot};
use std::sync::Arc;

const TARGET_S: u64 = 600;

/// The row; rack-1's agent reads `ups-a`, whose battery lasts 200 s at 12 kW if its data are known.
fn topology(known: bool) -> Topology {
    let mut nodes = row().nodes().to_vec();
    let ups = nodes.iter_mut().find(|n| n.id.as_str() == "ups-a").unwrap();
    ups.meter = Some(MeterRef { rack: RackId::new("rack-1").unwrap(), device: DeviceId::new("ups-a").unwrap() });
    let points = [(4000.0, 700.0), (12_000.0, 200.0)].map(|(load, s)| (Watts::new(load), s));
    ups.battery = known.then(|| Arc::new(BatterySpec::new(points, None, 1.0).unwrap()));
    Topology::new(nodes, row().racks().to_vec()).unwrap()
}

fn decider(known: bool) -> Decider {
    let policy = Policy { battery_target: Duration::from_secs(TARGET_S), ..Policy::default() };
    Decider::new(topology(known), policy)
}

/// All racks draw half of 4.1 kW from feed A; the UPS says these.
fn seen(second: u64, ups: &[(Signal, f64)]) -> Fleet {
    let now = Mono::from_ms(second * 1000);
    let mut fleet = fleet_at(&[300.0; 4], &[700.0; 4], now);
    let mut first: Snapshot = snapshot(0, 300.0, 700.0, Some(2050.0));
    for (signal, value) in ups {
        let path = SignalPath::new(DeviceId::new("ups-a").unwrap(), *signal);
        first.readings.insert(path, Reading::new(*value, first.at));
    }
    fleet.fold(&first, now);
    fleet
}

/// What is believed of the UPS after a decision.
fn after(decider: &mut Decider, second: u64, ups: &[(Signal, f64)]) -> (BatteryView, headroom_rack::NodeView) {
    let plan = decide(decider, &seen(second, ups), Mono::from_ms(second * 1000));
    let node = plan.nodes.iter().find(|n| n.node.as_str() == "ups-a").unwrap().clone();
    (decider.batteries().remove(0), node)
}

const ON: (Signal, f64) = (Signal::UpsOnBattery, 1.0);
const OFF: (Signal, f64) = (Signal::UpsOnBattery, 0.0);

#[test]
fn a_battery_that_tells_no_runtime_is_stretched_by_its_data() {
    let mut decider = decider(true);
    let (battery, node) = after(&mut decider, 10, &[ON]);
    assert_eq!((battery.on, battery.told_s, battery.charge), (true, None, Some(1.0)));
    // 8.2 kW lie between 4 kW for 700 s and 12 kW for 200 s.
    let runtime = battery.runtime_s.unwrap();
    assert!((300.0..320.0).contains(&runtime), "{runtime}");
    assert_eq!(node.limit_kind, LimitKind::UpsOverload);
    let data = topology(true).nodes()[0].battery.clone().unwrap();
    assert!((data.runtime_s(node.limit) - TARGET_S as f64).abs() < 1.0, "{}", node.limit);
    assert_eq!(node.time_to_trip_s, Some(runtime), "an empty battery drops the load as a trip does");
}

#[test]
fn the_shorter_of_both_runtimes_is_believed() {
    let told = |runtime_s: f64| after(&mut decider(true), 10, &[ON, (Signal::UpsBatteryRuntime, runtime_s)]).0;
    assert_eq!(told(100.0).runtime_s, Some(100.0));
    let (longer, counted) = (told(5000.0), told(5000.0).counted_s);
    assert_eq!((longer.runtime_s, longer.told_s), (counted, Some(5000.0)));
}

#[test]
fn the_charge_that_is_left_counts_by_what_the_ups_tells_and_by_what_was_given() {
    let half = after(&mut decider(true), 10, &[ON, (Signal::UpsBatteryCharge, 0.5)]).0;
    let full = after(&mut decider(true), 10, &[ON]).0;
    assert!((half.runtime_s.unwrap() / full.runtime_s.unwrap() - 0.5).abs() < 1e-9);
    let mut counting = decider(true);
    let left = (10..=110).map(|second| after(&mut counting, second, &[ON]).0).last().unwrap();
    assert!((full.runtime_s.unwrap() - left.runtime_s.unwrap() - 100.0).abs() < 1.0, "{left:?}");
    let mut frozen = decider(true);
    let says_full = [ON, (Signal::UpsBatteryCharge, 1.0)];
    let frozen = (10..=110).map(|second| after(&mut frozen, second, &says_full).0).last().unwrap();
    assert_eq!(frozen.runtime_s, left.runtime_s, "a charge that does not fall is not believed");
    let mut charging = decider(true);
    after(&mut charging, 10, &[OFF, (Signal::UpsBatteryCharge, 0.4)]);
    assert!((after(&mut charging, 11, &[ON]).0.charge.unwrap() - 0.4).abs() < 0.01, "as it was told before");
}

#[test]
fn a_runtime_that_stands_still_runs_out_and_holds_for_the_load_of_then() {
    let mut decider = decider(false);
    let card = [ON, (Signal::UpsBatteryRuntime, 500.0)];
    let runtime = |d: &mut Decider, second| after(d, second, &card).0.runtime_s.unwrap();
    assert_eq!((runtime(&mut decider, 10), runtime(&mut decider, 70)), (500.0, 440.0));
    let (_, node) = after(&mut decider, 71, &card);
    // 439 s at 8.2 kW where 539 s are wanted.
    assert!((node.limit.get() - 8200.0 * 439.0 / 539.0).abs() < 1.0, "{}", node.limit);
}

#[test]
fn a_runtime_told_once_a_minute_is_not_taken_for_that_of_each_lower_load_since() {
    let mut decider = decider(false);
    let state = decider.battery.values_mut().next().unwrap();
    let told = Told { runtime_s: 500.0, at: Mono::from_ms(0), load: Watts::new(8200.0) };
    (state.told, state.told_s, state.load) = (Some(told), Some(500.0), Watts::new(5000.0));
    let lasting = |state: &State| state.lasting(None, 600.0).unwrap().get().round();
    assert_eq!(lasting(state), 6833.0, "500 of 600 s of 8.2 kW");
    // More than what was told for shortens what was told.
    (state.told_s, state.load) = (Some(400.0), Watts::new(10_250.0));
    assert_eq!(lasting(state), 6833.0, "400 of 600 s of 10.25 kW");
}

#[test]
fn a_card_that_falls_silent_on_battery_lifts_no_limit() {
    for known in [true, false] {
        let mut decider = decider(known);
        let (_, before) = after(&mut decider, 10, &[ON, (Signal::UpsBatteryRuntime, 300.0)]);
        let (battery, silent) = after(&mut decider, 30, &[]);
        assert!(battery.on && silent.limit <= before.limit, "{} {}", before.limit, silent.limit);
        let (battery, back) = after(&mut decider, 31, &[OFF]);
        assert!(!battery.on && back.limit > before.limit);
    }
}

#[test]
fn what_nobody_knows_is_said_and_limits_nothing() {
    let (battery, node) = after(&mut decider(false), 10, &[ON]);
    assert_eq!((battery.runtime_s, battery.read), (None, true));
    assert!(node.limit_kind != LimitKind::UpsOverload, "{node:?}");
}

#[test]
fn the_answer_to_going_on_battery_lies_ready_from_the_data_alone() {
    let mut decider = decider(true);
    after(&mut decider, 10, &[OFF]);
    let answers = decider.answers(&seen(10, &[OFF]));
    let when = headroom_rack::Condition::OnBattery(DeviceId::new("ups-a").unwrap());
    let answer = answers.iter().find(|a| a.when == when).unwrap();
    assert!(answer.gpu.get() < 300.0, "{answer:?}");
}

#[test]
fn a_controller_that_starts_again_goes_on_counting_the_charge_and_the_time() {
    let mut first = decider(true);
    let plans = (10..=110).map(|second| decide(&mut first, &seen(second, &[ON]), Mono::from_ms(second * 1000)));
    let plan = plans.last().unwrap();
    let again = |gap_s: u64| {
        let mut again = decider(true);
        again.restore(&plan, Duration::from_secs(gap_s));
        after(&mut again, 5, &[ON])
    };
    let (left, limit) = (first.batteries().remove(0), plan.nodes.iter().find(|n| n.node.as_str() == "ups-a").unwrap());
    let (battery, node) = again(0);
    assert_eq!((battery.runtime_s, node.limit), (left.runtime_s, limit.limit));
    let (later, lower) = again(20);
    assert!((left.runtime_s.unwrap() - later.runtime_s.unwrap() - 20.0).abs() < 1e-6, "it was in use meanwhile");
    assert!(lower.limit < node.limit, "{} {}", lower.limit, node.limit);
    // Empty after 200 s more: what still stands after two hours has been on the mains since.
    let charged = again(7200).0.charge.unwrap();
    assert!((0.18..0.2).contains(&charged), "{charged}");
    let unknown = decide(&mut decider(false), &seen(10, &[ON]), Mono::from_ms(10_000));
    let kept = unknown.nodes.iter().find(|n| n.node.as_str() == "ups-a").unwrap().battery;
    assert_eq!(kept.map(|left| left.on_s), Some(Some(0.0)), "the time wanted goes on without data too");
    assert!(unknown.nodes.iter().filter(|n| n.node.as_str() != "ups-a").all(|n| n.battery.is_none()));
}

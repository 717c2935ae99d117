//! The row with breakers of 16 A at 240 V, whose meters tell currents.

use super::super::tests::{decide, gpu, snapshot};
use super::*;
use crate::policy::Policy;
use crate::topology::tests::row;
use crate::{MeterRef, NodeSpec};
use headroom_rack::{DeviceId, Plan, RackId, Reading, Signal, SignalPath, Snapshot};

fn metered_row() -> Topology {
    let volts = |node: &NodeSpec| Some(Volts::new(240.0)).filter(|_| node.kind == NodeKind::Breaker);
    let nodes = row().nodes().iter().map(|node| NodeSpec { volts: volts(node), ..node.clone() }).collect();
    Topology::new(nodes, row().racks().to_vec()).unwrap()
}

fn decider() -> Decider {
    Decider::new(metered_row(), Policy::default())
}

/// A rack whose cords carry `over` times the amperes that their power is at 240 V, where its meters tell.
fn told(rack: usize, gpu: f64, limit: f64, over: Option<f64>) -> Snapshot {
    let cord = (gpu * 8.0 + 1700.0) / 2.0;
    let mut snapshot = snapshot(rack, gpu, limit, Some(cord));
    for pdu in ["pdu-a", "pdu-b"].iter().filter(|_| over.is_some()) {
        for signal in [Signal::PduCurrentL1, Signal::PduCurrentL2, Signal::PduCurrentL3] {
            let reading = Reading::new(cord / 720.0 * over.unwrap(), snapshot.at);
            snapshot.readings.insert(SignalPath::new(DeviceId::new(*pdu).unwrap(), signal), reading);
        }
    }
    snapshot
}

/// The Plan after so many seconds of GPUs at `watts`.
fn steady(
    decider: &mut Decider,
    fleet: &mut Fleet,
    seconds: std::ops::Range<u64>,
    watts: f64,
    over: Option<f64>,
) -> Plan {
    let mut plan = None;
    for now in seconds.map(|second| Mono::from_ms(1000 * second)) {
        (0..4).for_each(|rack| fleet.fold(&told(rack, watts, 700.0, over), now));
        plan = Some(decide(decider, fleet, now));
    }
    plan.unwrap()
}

fn breaker(decider: &Decider) -> usize {
    decider.topology.nodes().iter().position(|n| n.id.as_str() == "breaker-a").unwrap()
}

fn more(decider: &Decider) -> f64 {
    decider.currents[breaker(decider)].more()
}

/// Heat of the earliest breaker that the family allows, over that at which it opens, while all GPUs rise at 40 s and a
/// volt less makes it an ampere more; Orders act two seconds later.
fn worst_heat(over: f64, is_told: bool) -> f64 {
    let (mut decider, mut fleet) = (decider(), Fleet::new(&metered_row()));
    let mut pipeline = std::collections::VecDeque::from([[400.0; 4]; 2]);
    let (mut heat, mut worst) = (0.2_f64, 0.0_f64);
    for second in 0..400 {
        let limits = pipeline.pop_front().unwrap();
        let powers: [f64; 4] = limits.map(|limit| if second < 40 { 180.0 } else { limit });
        let amperes: f64 = powers.iter().map(|p| (p * 8.0 + 1700.0) / 2.0 / 720.0 * over).sum();
        let share = 1.0 - (-1.0_f64 / 31.0).exp();
        heat += ((amperes / 16.0).powi(2) - heat) * share;
        worst = worst.max(heat);
        let now = Mono::from_ms(1000 * second + 1000);
        (0..4).for_each(|r| fleet.fold(&told(r, powers[r], limits[r], is_told.then_some(over)), now));
        let plan = decide(&mut decider, &fleet, now);
        pipeline.push_back(std::array::from_fn(|r| gpu(&plan, r)));
    }
    worst / 1.05_f64.powi(2)
}

#[test]
fn a_rise_under_a_low_voltage_trips_a_breaker_known_by_power_and_none_known_by_amperes() {
    // 0.92 of the nominal voltage, and a power factor of 0.95.
    let over = 1.0 / (0.92 * 0.95);
    assert!(worst_heat(over, false) > 1.0, "{}", worst_heat(over, false));
    assert!(worst_heat(over, true) < 1.0, "{}", worst_heat(over, true));
}

#[test]
fn what_is_rated_for_a_current_is_held_by_it_and_a_ups_by_its_power() {
    let (mut amperes, mut watts) = (decider(), decider());
    let [mut fleet, mut other] = [Fleet::new(&metered_row()), Fleet::new(&metered_row())];
    // What flows beyond the 1 % that counts in any case.
    let by_amperes = steady(&mut amperes, &mut fleet, 1..60, 400.0, Some(1.01 * 1.08));
    let by_watts = steady(&mut watts, &mut other, 1..60, (4900.0 * 1.08 - 1700.0) / 8.0, None);
    let of = |plan: &Plan, node: &str| plan.nodes.iter().find(|n| n.node.as_str() == node).unwrap().clone();
    let [a, w] = [&by_amperes, &by_watts].map(|plan| of(plan, "breaker-a"));
    assert!((a.trip_used - w.trip_used).abs() < 1e-9, "{} {}", a.trip_used, w.trip_used);
    assert!((a.limit.get() * 1.08 / w.limit.get() - 1.0).abs() < 1e-9, "{} {}", a.limit, w.limit);
    assert_eq!((a.time_to_trip_s, w.time_to_trip_s), (None, None));
    assert_eq!(more(&watts), 1.0);
    let [a, w] = [&by_amperes, &by_watts].map(|plan| of(plan, "ups-a"));
    assert!((a.limit / w.limit - 1.0).abs() < 1e-9 && a.trip_used == w.trip_used, "{a:?} {w:?}");
}

#[test]
fn meters_that_tell_no_more_than_counts_in_any_case_change_nothing() {
    for over in [0.93, 1.0, 1.01, 1.019] {
        // Nobody wrote with which voltage the other's breakers are rated.
        let (mut with, mut without) = (decider(), Decider::new(row(), Policy::default()));
        let [mut fleet, mut other] = [Fleet::new(&metered_row()), Fleet::new(&row())];
        let plan = steady(&mut with, &mut fleet, 1..30, 420.0, Some(over));
        assert_eq!(plan, steady(&mut without, &mut other, 1..30, 420.0, Some(over)), "{over}");
    }
}

#[test]
fn what_was_learned_at_load_holds_when_the_load_goes_and_when_nobody_tells() {
    let (mut decider, mut fleet) = (decider(), Fleet::new(&metered_row()));
    steady(&mut decider, &mut fleet, 1..5, 10.0, Some(1.3));
    assert_eq!(more(&decider), 1.0, "at idle");
    steady(&mut decider, &mut fleet, 5..8, 420.0, Some(1.1));
    let known = more(&decider);
    assert!((known - 1.1 / 1.01).abs() < 1e-3, "{known}");
    steady(&mut decider, &mut fleet, 8..60, 10.0, Some(1.0));
    assert_eq!(more(&decider), known);
    steady(&mut decider, &mut fleet, 60..120, 420.0, None);
    assert_eq!(more(&decider), known);
    // One of the meters is enough to fall silent.
    for second in 120..180 {
        let now = Mono::from_ms(1000 * second);
        (0..4).for_each(|rack| fleet.fold(&told(rack, 420.0, 700.0, (rack > 0).then_some(1.1)), now));
        decide(&mut decider, &fleet, now);
    }
    assert!((more(&decider) - known).abs() < 1e-3);
    steady(&mut decider, &mut fleet, 180..300, 420.0, Some(1.0));
    assert_eq!(more(&decider), 1.0, "the voltage is back");
}

#[test]
fn a_sag_counts_within_three_seconds_and_one_reading_apart_from_its_power_does_not() {
    let now = |second: u64| Mono::from_ms(1000 * second);
    let mut current = Current::default();
    (0..10).for_each(|s| current.see(None, Some(1.011), 0.9, now(s), 1.0));
    current.see(None, Some(1.3), 0.9, now(10), 1.0);
    assert!(current.more() < 1.03, "{}", current.more());
    (11..40).for_each(|s| current.see(None, Some(1.011), 0.9, now(s), 1.0));
    assert_eq!(current.more(), 1.0);
    (40..43).for_each(|s| current.see(None, Some(1.09 + 0.01 * (s - 40) as f64), 0.9, now(s), 1.0));
    assert!((current.more() - 1.09 / 1.01).abs() < 1e-9, "the least that was seen: {}", current.more());
}

#[test]
fn a_power_factor_at_half_load_may_be_two_points_better_at_full_load() {
    let mut half = Current::default();
    half.see(None, Some(1.031), 0.5, Mono::from_ms(0), 0.0);
    assert_eq!(half.more(), 1.0, "0.97");
    let mut full = Current::default();
    full.see(None, Some(1.031), 0.9, Mono::from_ms(0), 0.0);
    assert!((full.more() - 1.031 / 1.01).abs() < 1e-9);
}

#[test]
fn a_nodes_own_meter_comes_first_and_when_it_is_silent_others_only_raise() {
    let now = |second: u64| Mono::from_ms(1000 * second);
    let mut current = Current::default();
    (0..30).for_each(|s| current.see(Some(1.1), Some(1.02), 0.9, now(s), 1.0));
    (30..99).for_each(|s| current.see(None, Some(1.02), 0.9, now(s), 1.0));
    assert!((current.more() - 1.1 / 1.01).abs() < 1e-9, "{}", current.more());
    (99..103).for_each(|s| current.see(None, Some(1.2), 0.9, now(s), 1.0));
    assert!((current.more() - 1.2 / 1.01).abs() < 1e-9, "{}", current.more());
}

#[test]
fn a_ups_keeps_what_is_before_it_from_the_current_behind_it() {
    let mut nodes = metered_row().nodes().to_vec();
    let main = |feed: &str| NodeId::new(format!("main-{feed}")).unwrap();
    for ups in nodes.iter_mut().filter(|n| n.kind == NodeKind::Ups) {
        ups.parent = Some(main(&ups.feed));
    }
    for feed in ["a", "b"] {
        nodes.push(NodeSpec::new(main(feed), NodeKind::Switchboard, feed, headroom_rack::Watts::new(11_520.0)));
    }
    let meter = |device: &str| {
        let (rack, device) = (RackId::new("rack-1").unwrap(), DeviceId::new(device).unwrap());
        Some(MeterRef { rack, device })
    };
    nodes.iter_mut().filter(|n| n.id == main("a")).for_each(|n| n.meter = meter("main"));
    nodes.iter_mut().filter(|n| n.id.as_str() == "ups-b").for_each(|n| n.meter = meter("ups-b"));
    let topology = Topology::new(nodes, row().racks().to_vec()).unwrap();
    let (mut decider, mut fleet) = (Decider::new(topology.clone(), Policy::default()), Fleet::new(&topology));
    let place = |id: &str| topology.nodes().iter().position(|n| n.id.as_str() == id).unwrap();
    // The breaker behind the UPS of feed A is known by the meter before it, by power alone.
    assert_eq!(decider.metered_by[place("breaker-a")], Some(place("main-a")));
    let own = |id: &str| decider.sources.own[place(id)];
    assert_eq!([own("breaker-a"), own("main-a"), own("ups-b"), own("breaker-b")], [false, true, false, true]);
    steady(&mut decider, &mut fleet, 1..20, 420.0, Some(1.15));
    let more = |id: &str| decider.currents[place(id)].more();
    assert!(more("breaker-a") > 1.13 && more("breaker-b") > 1.13);
    assert_eq!((more("main-a"), more("main-b"), more("ups-a")), (1.0, 1.0, 1.0));
}

//! Losses that are to be survived by the fullest phase, where cords below are uneven.

use super::*;
use crate::NodeSpec;
use crate::topology::BALANCED;

const L1: [f64; 3] = [1.0, 0.0, 0.0];
const L2: [f64; 3] = [0.0, 1.0, 0.0];
const L3: [f64; 3] = [0.0, 0.0, 1.0];

fn id(text: &str) -> NodeId {
    NodeId::new(text).unwrap()
}

fn ups(feed: &str, rating: f64) -> NodeSpec {
    NodeSpec::new(id(&format!("ups-{feed}")), NodeKind::Ups, feed, Watts::new(rating))
}

fn cord(node: &str, share: f64, phases: [f64; 3]) -> FeedShare {
    let meter = if node.ends_with('b') { "pdu-b" } else { "pdu-a" };
    FeedShare { phases, ..FeedShare::new(id(node), share, DeviceId::new(meter).unwrap()) }
}

fn topology(nodes: Vec<NodeSpec>, feeds: [Vec<FeedShare>; 4]) -> Topology {
    let racks = row().racks().iter().cloned().zip(feeds).map(|(rack, feeds)| RackSpec { feeds, ..rack }).collect();
    Topology::new(nodes, racks).unwrap()
}

/// Racks 1 and 2 hang on a, behind a switch to r; rack 3 hangs on r.
fn standby(phases: [f64; 3]) -> Topology {
    let switch = NodeSpec {
        parent: Some(id("ups-a")),
        standby: Some(id("ups-r")),
        ..NodeSpec::new(id("switch-a"), NodeKind::Breaker, "a", Watts::new(90_000.0))
    };
    let moved = || vec![cord("switch-a", 1.0, phases)];
    let other = |phases| vec![cord("ups-r", 1.0, phases)];
    let thirds = if phases == BALANCED { [BALANCED; 2] } else { [L2, L3] };
    topology(
        vec![ups("a", 60_000.0), ups("r", 18_000.0), switch],
        [moved(), moved(), other(thirds[0]), other(thirds[1])],
    )
}

/// What all racks know, drawing these watts a GPU by cords that carry what the plan says; `currents` by phase if their
/// meters tell.
fn seen(topology: &Topology, watts: [f64; 4], currents: Option<[f64; 3]>, now: Mono) -> Fleet {
    let mut fleet = Fleet::new(topology);
    for (rack, (spec, watts)) in topology.racks().iter().zip(watts).enumerate() {
        let mut seen = snapshot(rack, watts, watts, None);
        for cord in &spec.feeds {
            let all = (watts * 8.0 + 1700.0) * cord.share;
            let mut put = |signal, value| {
                seen.readings.insert(SignalPath::new(cord.meter.clone(), signal), Reading::new(value, seen.at));
            };
            put(Signal::PduPower, all);
            let signals = [Signal::PduCurrentL1, Signal::PduCurrentL2, Signal::PduCurrentL3];
            signals.into_iter().zip(currents.into_iter().flatten()).for_each(|(signal, amperes)| put(signal, amperes));
        }
        fleet.fold(&seen, now);
    }
    fleet
}

/// What racks that would draw all they can come to, and the decider.
fn settle(topology: &Topology, currents: Option<[f64; 3]>) -> ([f64; 4], Decider, Fleet) {
    let policy = Policy { release_watts_per_s: 1e6, ..Policy::default() };
    let mut decider = Decider::new(topology.clone(), policy);
    let mut limits = [300.0; 4];
    for second in 1..90 {
        let now = Mono::from_ms(1000 * second);
        let plan = decide(&mut decider, &seen(topology, limits, currents, now), now);
        limits = std::array::from_fn(|r| gpu(&plan, r));
    }
    let fleet = seen(topology, limits, currents, Mono::from_ms(90_000));
    (limits, decider, fleet)
}

fn draws(limit: f64) -> f64 {
    limit * 8.0 + 1700.0
}

fn place(topology: &Topology, node: &str) -> usize {
    topology.nodes().iter().position(|n| n.id.as_str() == node).unwrap()
}

#[test]
fn a_standby_can_take_over_what_hangs_on_one_phase() {
    let topology = standby(L1);
    let (limits, decider, _) = settle(&topology, None);
    let survived = decider.protection[place(&topology, "ups-r")].allowed(3.0) * 18_000.0;
    let on_l1 = draws(limits[0]) + draws(limits[1]);
    assert!(on_l1 <= survived / 3.0 + 1.0, "L1 of r would take {on_l1} W of {survived}: {limits:?}");
    assert!(limits[2] > 400.0 && limits[3] > 400.0, "whose phases have room: {limits:?}");
    let even = settle(&standby(BALANCED), None).0;
    assert!(even[0] > 600.0 && even[1] > 600.0, "the sum fits: {even:?}");
}

#[test]
fn a_standby_can_take_over_what_its_meters_show_on_one_phase() {
    let topology = standby(BALANCED);
    let (limits, decider, _) = settle(&topology, Some([8.0, 2.0, 2.0]));
    let survived = decider.protection[place(&topology, "ups-r")].allowed(3.0) * 18_000.0;
    let on_l1 = limits.map(draws).iter().sum::<f64>() * 8.0 / 12.0;
    let floors = 4.0 * draws(200.0) * 8.0 / 12.0;
    assert!(on_l1 <= (survived / 3.0 + 1.0).max(floors), "L1 of r would take {on_l1} W of {survived}: {limits:?}");
}

#[test]
fn phases_of_a_standby_count_as_soon_as_the_switch_has_moved() {
    let topology = standby(L1);
    let mut decider = Decider::new(topology.clone(), Policy::default());
    let now = Mono::from_ms(1000);
    let fleet = seen(&topology, [300.0; 4], None, now);
    decide(&mut decider, &fleet, now);
    let rest = topology.constrained(0).iter().filter(|(_, share)| *share == 0.0).count();
    assert_eq!(rest, 1, "L1 of r, on which it is not yet");
    let moved = decider.way(0, &[cords::Fate::Switched(topology.without(0, 0, "a").collect())]);
    let r = place(&topology, "ups-r");
    let phase = |p| topology.constraints().iter().position(|c| *c == crate::Constraint::Phase(r, p)).unwrap();
    let path = decider.path_of(0, &moved);
    let on = |p| path.iter().find(|(place, _)| *place == topology.nodes().len() + phase(p)).map(|(_, share)| *share);
    assert_eq!([on(0), on(1)], [Some(1.0), None]);
}

/// Racks 1 and 2 hang on both feeds, 3 and 4 on b alone.
fn mixed(phases: [[f64; 3]; 3]) -> Topology {
    let both = || vec![cord("ups-a", 0.5, phases[0]), cord("ups-b", 0.5, phases[0])];
    let alone = |phases| vec![cord("ups-b", 1.0, phases)];
    topology(vec![ups("a", 60_000.0), ups("b", 24_000.0)], [both(), both(), alone(phases[1]), alone(phases[2])])
}

#[test]
fn the_fullest_phase_survives_a_loss_that_racks_take_over_by_unlike_shares() {
    let topology = mixed([L1, L2, L3]);
    let (limits, decider, _) = settle(&topology, None);
    let survived = decider.protection[place(&topology, "ups-b")].allowed(3.0) * 24_000.0;
    let on_l1 = draws(limits[0]) + draws(limits[1]);
    assert!(on_l1 <= survived / 3.0 + 1.0, "L1 of b would take {on_l1} W of {survived}: {limits:?}");
    assert!(limits[0] > 300.0, "and no more is kept back: {limits:?}");
}

#[test]
fn a_common_node_above_both_feeds_takes_what_moves_from_one_phase_to_another() {
    let below = |feed| NodeSpec { parent: Some(id("grid")), ..ups(feed, 60_000.0) };
    let both = || vec![cord("ups-a", 0.5, L1), cord("ups-b", 0.5, L2)];
    let grid = NodeSpec::new(id("grid"), NodeKind::Transformer, "grid", Watts::new(40_000.0));
    let topology = topology(vec![grid, below("a"), below("b")], std::array::from_fn(|_| both()));
    let grid = place(&topology, "grid");
    let failovers: Vec<usize> = topology.failovers(grid).collect();
    assert!(failovers.len() == 2 && failovers.iter().all(|f| topology.is_mixed(*f)));
    let held = |phase: usize, failover: usize| {
        let wanted = crate::Constraint::Failover { node: grid, failover, phase: Some(phase) };
        let slot = topology.constraints().iter().position(|c| *c == wanted).unwrap();
        topology.constrained(0).iter().find(|(c, _)| *c == slot).map(|(_, share)| *share)
    };
    // Without a all of it is on L2, without b on L1.
    assert_eq!([held(0, failovers[0]), held(1, failovers[0])], [Some(0.0), Some(1.0)]);
    assert_eq!([held(0, failovers[1]), held(1, failovers[1])], [Some(1.0), Some(0.0)]);
}

#[test]
fn a_phase_that_took_over_all_of_a_rack_trips_as_soon_as_if_it_had_carried_it_always() {
    let now = Mono::from_ms(10_000);
    let both = || vec![cord("ups-a", 0.5, L1), cord("ups-b", 0.5, L1)];
    let nodes = || vec![ups("a", 60_000.0), ups("b", 40_000.0)];
    let two = topology(nodes(), std::array::from_fn(|_| both()));
    let one = topology(nodes(), std::array::from_fn(|_| vec![cord("ups-b", 1.0, L1)]));
    let mut lost = Fleet::new(&two);
    for rack in 0..4 {
        let mut seen = snapshot(rack, 300.0, 300.0, None);
        let path = SignalPath::new(DeviceId::new("pdu-b").unwrap(), Signal::PduPower);
        seen.readings.insert(path, Reading::new(draws(300.0), seen.at));
        lost.fold(&seen, now);
    }
    let left = |topology: &Topology, fleet: &Fleet| {
        let plan = decide(&mut Decider::new(topology.clone(), Policy::default()), fleet, now);
        plan.nodes.iter().find(|n| n.node.as_str() == "ups-b").unwrap().time_to_trip_s
    };
    let always = left(&one, &seen(&one, [300.0; 4], None, now));
    assert!(always.is_some() && left(&two, &lost) == always, "{:?} {always:?}", left(&two, &lost));
}

#[test]
fn one_rack_that_hangs_is_reckoned_with_on_its_phase() {
    let on = |phases| {
        let nodes = vec![ups("a", 60_000.0), ups("b", 24_000.0)];
        super::super::lend::hung(&topology(nodes, std::array::from_fn(|_| vec![cord("ups-b", 1.0, phases)])))[1]
    };
    assert!((on(L1) / on(BALANCED) - 3.0).abs() < 1e-9, "{} {}", on(L1), on(BALANCED));
}

/// What each phase of b carries after the loss of a, with the answers that lie ready in force.
fn answered(topology: &Topology, currents: Option<[f64; 3]>) -> ([f64; 3], [f64; 4]) {
    let (mut limits, decider, fleet) = settle(topology, currents);
    let when = headroom_rack::Condition::InletDead(DeviceId::new("pdu-a").unwrap());
    for answer in decider.answers(&fleet).into_iter().filter(|answer| answer.when == when) {
        let rack = topology.racks().iter().position(|r| r.id == answer.rack).unwrap();
        limits[rack] = limits[rack].min(answer.gpu.get());
    }
    let mut carried = [0.0; 3];
    for (spec, limit) in topology.racks().iter().zip(limits) {
        let told = currents.map(|amperes| amperes.map(|a| a / amperes.iter().sum::<f64>()));
        let phases = told.unwrap_or(spec.feeds.last().unwrap().phases);
        carried.iter_mut().zip(phases).for_each(|(sum, part)| *sum += draws(limit) * part);
    }
    (carried, limits)
}

#[test]
fn the_answer_to_a_lost_feed_lets_each_phase_of_the_other_one_carry_all() {
    let both = |phases| vec![cord("ups-a", 0.5, phases), cord("ups-b", 0.5, phases)];
    let nodes = || vec![ups("a", 30_000.0), ups("b", 30_000.0)];
    let planned = topology(nodes(), [both(L1), both(L1), both(L2), both(L3)]);
    let measured = topology(nodes(), std::array::from_fn(|_| both(BALANCED)));
    for (topology, currents, phases) in [(planned, None, 2), (measured, Some([7.0, 5.0, 5.0]), 4)] {
        let (carried, limits) = answered(&topology, currents);
        let most = carried.into_iter().fold(0.0, f64::max);
        assert!(most <= 10_000.0 * 0.95 + 1.0, "{carried:?} by {limits:?}");
        assert!(most >= 10_000.0 * 0.95 - 8.0 * 5.0 * f64::from(phases), "no more is taken: {carried:?} by {limits:?}");
    }
}

#[test]
fn the_answer_to_a_lost_feed_leaves_room_for_racks_that_lose_nothing() {
    let (carried, limits) = answered(&mixed([BALANCED; 3]), None);
    assert!(carried.iter().sum::<f64>() <= 24_000.0 * 0.95 + 1.0, "{carried:?} by {limits:?}");
}

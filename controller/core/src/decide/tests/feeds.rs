//! Phases, cords and feeds: what is uneven, lost or stands by.

use super::*;

#[test]
fn the_answer_to_a_lost_feed_lets_the_other_one_carry_all() {
    let now = Mono::from_ms(10_000);
    let fleet = fleet_at(&[340.0; 4], &[340.0; 4], now);
    let mut decider = Decider::new(row(), Policy::default());
    assert!(decider.answers(&fleet).is_empty(), "nothing is known yet");
    let plan = decide(&mut decider, &fleet, now);
    let answers = decider.answers(&fleet);
    for (pdu, other) in [("pdu-a", "breaker-b"), ("pdu-b", "breaker-a")] {
        let when = headroom_rack::Condition::InletDead(DeviceId::new(pdu).unwrap());
        let of_feed: Vec<&Prepared> = answers.iter().filter(|a| a.when == when).collect();
        assert_eq!(of_feed.len(), 4, "{answers:?}");
        let total: f64 = of_feed.iter().map(|a| 8.0 * a.gpu.get() + 1700.0).sum();
        let rating = plan.nodes.iter().find(|n| n.node.as_str() == other).unwrap().rating;
        assert!(total <= (rating * 0.95).get() + 1.0 || of_feed.iter().all(|a| a.gpu.get() == 200.0), "{total}");
        assert!(of_feed[3].gpu <= of_feed[0].gpu, "batch gives way first");
    }
}

/// The row with each rack's cords on one phase: two racks on L1, one on L2, one on L3.
fn uneven_row() -> Topology {
    let row = row();
    let mut racks = row.racks().to_vec();
    for (rack, phase) in racks.iter_mut().zip([0, 0, 1, 2]) {
        for cord in &mut rack.feeds {
            cord.phases = [0.0; 3];
            cord.phases[phase] = 1.0;
        }
    }
    Topology::new(row.nodes().to_vec(), racks).unwrap()
}

#[test]
fn the_fullest_phase_is_held_and_the_racks_on_the_others_are_left_alone() {
    let topology = uneven_row();
    assert_eq!(topology.constraints().len(), 4 * 3);
    let mut decider = Decider::new(topology, Policy { release_watts_per_s: 1e6, ..Policy::default() });
    let mut plan = None;
    for second in 1..60 {
        let now = Mono::from_ms(1000 * second);
        let limits: [f64; 4] = plan.as_ref().map_or([400.0; 4], |p: &Plan| std::array::from_fn(|r| gpu(p, r)));
        plan = Some(decide(&mut decider, &fleet_at(&limits, &limits, now), now));
    }
    let plan = plan.unwrap();
    // A pole of 16 A at 240 V carries 3.84 kW; two racks on one pole of each feed want 3.65 kW each.
    let on_l1 = (plan.caps[0].budget + plan.caps[1].budget).get() / 2.0;
    assert!(on_l1 <= 3840.0, "L1 of each feed carries {on_l1} W");
    assert!(plan.caps[0].binding && plan.caps[0].bound_by.as_str().starts_with("breaker-"), "{:?}", plan.caps[0]);
    // Alone on its phase, batch has more than training, which shares one.
    assert!(gpu(&plan, 3) > gpu(&plan, 0), "{} {}", gpu(&plan, 3), gpu(&plan, 0));
}

#[test]
fn a_breaker_trips_by_its_fullest_phase_not_by_the_sum() {
    let now = Mono::from_ms(10_000);
    let seconds = |topology: Topology| {
        let plan =
            decide(&mut Decider::new(topology, Policy::default()), &fleet_at(&[650.0; 4], &[700.0; 4], now), now);
        plan.nodes.iter().find(|n| n.node.as_str() == "breaker-a").unwrap().time_to_trip_s
    };
    let (even, uneven) = (seconds(row()).unwrap(), seconds(uneven_row()).unwrap());
    assert!(uneven < even / 2.0, "{uneven} {even}");
}

#[test]
fn what_the_meters_say_of_the_phases_counts_where_the_plan_says_nothing() {
    let now = Mono::from_ms(10_000);
    let mut fleet = fleet_at(&[600.0; 4], &[700.0; 4], now);
    for rack in 0..4 {
        let mut skewed = snapshot(rack, 600.0, 700.0, Some(3250.0));
        for (signal, amperes) in [(Signal::PduCurrentL1, 8.0), (Signal::PduCurrentL2, 3.0), (Signal::PduCurrentL3, 3.0)]
        {
            for pdu in ["pdu-a", "pdu-b"] {
                let path = SignalPath::new(DeviceId::new(pdu).unwrap(), signal);
                skewed.readings.insert(path, Reading::new(amperes, skewed.at));
            }
        }
        fleet.fold(&skewed, now);
    }
    let even = decide(&mut Decider::new(row(), Policy::default()), &fleet_at(&[600.0; 4], &[700.0; 4], now), now);
    let plan = decide(&mut Decider::new(row(), Policy::default()), &fleet, now);
    let share = 8.0 / 14.0 * 3.0;
    for (node, even) in plan.nodes.iter().zip(&even.nodes) {
        assert!((node.limit.get() * share / even.limit.get() - 1.0).abs() < 0.25, "{node:?} {even:?}");
        assert!(node.time_to_trip_s.unwrap_or(1e9) <= even.time_to_trip_s.unwrap_or(1e9));
    }
}

/// Two feeds of their own and one UPS that stands by for both (block redundant).
fn block_redundant() -> Topology {
    let row = row();
    let id = |text: &str| NodeId::new(text).unwrap();
    let node = |name: &str, kind, feed: &str, rating| crate::NodeSpec::new(id(name), kind, feed, Watts::new(rating));
    let nodes = vec![
        node("ups-a", crate::NodeKind::Ups, "a", 30_000.0),
        node("ups-b", crate::NodeKind::Ups, "b", 30_000.0),
        node("ups-r", crate::NodeKind::Ups, "r", 8_000.0),
        crate::NodeSpec {
            parent: Some(id("ups-a")),
            standby: Some(id("ups-r")),
            ..node("breaker-a", crate::NodeKind::Breaker, "a", 30_000.0)
        },
        crate::NodeSpec {
            parent: Some(id("ups-b")),
            standby: Some(id("ups-r")),
            ..node("breaker-b", crate::NodeKind::Breaker, "b", 30_000.0)
        },
    ];
    let mut racks = row.racks().to_vec();
    for (i, rack) in racks.iter_mut().enumerate() {
        let feed = if i < 2 { "a" } else { "b" };
        rack.feeds = vec![crate::FeedShare::new(id(&format!("breaker-{feed}")), 1.0, DeviceId::new("pdu-a").unwrap())];
    }
    Topology::new(nodes, racks).unwrap()
}

#[test]
fn a_standby_can_take_over_each_feed_it_stands_by_for() {
    let topology = block_redundant();
    // One constraint for the loss of a, one for the loss of b; nothing moves anywhere else.
    assert_eq!((topology.constraints().len(), topology.failover_count()), (2, 0));
    let mut decider = Decider::new(topology, Policy { release_watts_per_s: 1e6, ..Policy::default() });
    let now = Mono::from_ms(10_000);
    let mut fleet = Fleet::new(&block_redundant());
    for rack in 0..4 {
        fleet.fold(&snapshot(rack, 650.0, 700.0, Some(8.0 * 650.0 + 1700.0)), now);
    }
    let plan = decide(&mut decider, &fleet, now);
    for pair in [0..2, 2..4] {
        let taken: f64 = plan.caps[pair].iter().map(|c| c.budget.get()).sum();
        assert!(taken <= 8_000.0 * 1.6, "ups-r would take {taken} W");
    }
    assert!(
        plan.caps.iter().any(|c| c.bound_by.as_str() == "ups-r" && c.kind == LimitKind::Redundancy),
        "{:?}",
        plan.caps
    );
}

#[test]
fn racks_that_lost_a_feed_load_the_other_with_all_they_draw() {
    let now = Mono::from_ms(10_000);
    let (power, limit) = (380.0, 700.0);
    let whole = fleet_at(&[power; 4], &[limit; 4], now);
    let mut lost = Fleet::new(&row());
    for rack in 0..4 {
        let mut seen = snapshot(rack, power, limit, None);
        let all = Reading::new(power * 8.0 + 1700.0, UnixMs::new(1));
        seen.readings.insert(SignalPath::new(DeviceId::new("pdu-b").unwrap(), Signal::PduPower), all);
        lost.fold(&seen, now);
    }
    let node = |plan: &Plan, id: &str| plan.nodes.iter().find(|n| n.node.as_str() == id).unwrap().power.get();
    let before = decide(&mut Decider::new(row(), Policy::default()), &whole, now);
    let after = decide(&mut Decider::new(row(), Policy::default()), &lost, now);
    assert!((node(&after, "breaker-b") / node(&before, "breaker-b") - 2.0).abs() < 1e-6);
    assert!(gpu(&after, 3) < gpu(&before, 3) && gpu(&after, 3) >= 200.0, "{} {}", gpu(&after, 3), gpu(&before, 3));
    assert!(!whole.lost_a_cord(&row().racks()[0].id) && lost.lost_a_cord(&row().racks()[0].id));
}

#[test]
fn one_rack_that_lost_its_cord_speaks_for_those_not_heard_since() {
    let (before, now) = (Mono::from_ms(9_500), Mono::from_ms(10_000));
    let mut fleet = fleet_at(&[450.0; 4], &[700.0; 4], before);
    let mut seen = snapshot(0, 450.0, 700.0, None);
    let all = Reading::new(450.0 * 8.0 + 1700.0, UnixMs::new(1));
    seen.readings.insert(SignalPath::new(DeviceId::new("pdu-b").unwrap(), Signal::PduPower), all);
    fleet.fold(&seen, now);
    let decider = Decider::new(row(), Policy::default());
    assert_eq!(decider.live(&fleet, now).keys().copied().collect::<Vec<_>>(), [0, 1, 2, 3]);
    let whole = snapshot(2, 450.0, 700.0, Some(2650.0));
    fleet.fold(&whole, Mono::from_ms(10_200));
    assert!(!decider.live(&fleet, Mono::from_ms(10_200)).contains_key(&2), "heard since, and whole");
}

#[test]
fn a_silent_meter_alone_is_no_lost_cord() {
    let now = Mono::from_ms(10_000);
    let mut fleet = fleet_at(&[450.0; 4], &[700.0; 4], now);
    let mut seen = snapshot(0, 450.0, 700.0, Some(2650.0));
    seen.readings.remove(&SignalPath::new(DeviceId::new("pdu-a").unwrap(), Signal::PduPower));
    fleet.fold(&seen, now);
    assert!(Decider::new(row(), Policy::default()).live(&fleet, now).is_empty());
}

#[test]
fn what_the_survival_of_a_lost_feed_costs_is_told_in_watts() {
    let now = Mono::from_ms(10_000);
    let cost = |feeds: &[&str]| {
        let row = row();
        let mut racks = row.racks().to_vec();
        racks.iter_mut().for_each(|r| {
            r.feeds.retain(|f| feeds.iter().any(|feed| f.node.as_str().ends_with(feed)));
            let share = 1.0 / r.feeds.len() as f64;
            r.feeds.iter_mut().for_each(|f| f.share = share);
        });
        let topology = Topology::new(row.nodes().to_vec(), racks).unwrap();
        let mut decider = Decider::new(topology, Policy::default());
        decide(&mut decider, &fleet_at(&[650.0; 4], &[700.0; 4], now), now);
        decider.redundancy_cost().get()
    };
    // A warm breaker of 11.52 kW carries 1.75 times that for three seconds: half of it on each of two feeds,
    // where at least 0.95 might flow if nothing had to be survived, and at most what the racks want.
    let (kept, two) = (11_520.0 * 1.75, cost(&["a", "b"]));
    assert!(two > 2.0 * 11_520.0 * 0.95 - kept - 100.0 && two < 4.0 * 7300.0 - kept, "{two}");
    assert_eq!(cost(&["a"]), 0.0);
}

/// A fleet of the row in which each rack draws `watts` a GPU, this share of it by cord a.
fn shared(watts: f64, on_a: f64, now: Mono) -> Fleet {
    let mut fleet = Fleet::new(&row());
    for rack in 0..4 {
        let all = watts * 8.0 + 1700.0;
        let mut seen = snapshot(rack, watts, watts.max(400.0), Some(all * (1.0 - on_a)));
        let path = SignalPath::new(DeviceId::new("pdu-a").unwrap(), Signal::PduPower);
        seen.readings.insert(path, Reading::new(all * on_a, seen.at));
        fleet.fold(&seen, now);
    }
    fleet
}

#[test]
fn a_cord_carries_what_its_meter_says_and_not_what_the_plan_says() {
    let now = Mono::from_ms(10_000);
    let mut decider = Decider::new(row(), Policy::default());
    let plan = decide(&mut decider, &shared(400.0, 0.7, now), now);
    let power = |id: &str| plan.nodes.iter().find(|n| n.node.as_str() == id).unwrap().power.get();
    let all = 4.0 * (400.0 * 8.0 + 1700.0);
    assert!((power("breaker-a") - all * 0.7).abs() < 1.0 && (power("breaker-b") - all * 0.3).abs() < 1.0, "{plan:?}");
    assert!(gpu(&plan, 3) < 400.0, "13.7 kW are too much for 11.5: {:?}", plan.caps);
    // What comes to b when a is lost is all that a carries.
    let b = decider.topology.nodes().iter().position(|n| n.id.as_str() == "breaker-b").unwrap();
    let moves = decider.live(&shared(400.0, 0.7, now), now)[&0].moves.clone();
    let moved = moves.iter().find(|(f, _)| decider.topology.failovers(b).contains(f)).unwrap().1;
    assert!((moved - 0.7).abs() < 1e-9, "{moved}");
    let even = Decider::new(row(), Policy::default()).live(&shared(400.0, 0.53, now), now);
    assert!(even.is_empty(), "meters are read apart");
}

/// The same, with what each phase of a UPS carries, W.
fn beside_ups(mut seen: Snapshot, watts: f64) -> Snapshot {
    for phase in [Signal::UpsOutputPowerL1, Signal::UpsOutputPowerL2, Signal::UpsOutputPowerL3] {
        let path = SignalPath::new(DeviceId::new("ups-a").unwrap(), phase);
        seen.readings.insert(path, Reading::new(watts, seen.at));
    }
    seen
}

/// A meter that the agent of this rack of the row reads.
fn read_by(rack: usize) -> Option<crate::topology::MeterRef> {
    Some(crate::topology::MeterRef { rack: row().racks()[rack].id.clone(), device: DeviceId::new("ups-a").unwrap() })
}

#[test]
fn a_load_behind_a_switch_that_has_moved_hangs_on_the_standby_and_on_its_continuous_limit() {
    let now = Mono::from_ms(10_000);
    let topology = block_redundant();
    let mut nodes = topology.nodes().to_vec();
    let at = |nodes: &[crate::NodeSpec], id: &str| nodes.iter().position(|n| n.id.as_str() == id).unwrap();
    let ups = at(&nodes, "ups-a");
    nodes[ups].meter =
        Some(crate::topology::MeterRef { rack: row().racks()[2].id.clone(), device: DeviceId::new("ups-a").unwrap() });
    let topology = Topology::new(nodes, topology.racks().to_vec()).unwrap();
    let mut decider = Decider::new(topology.clone(), Policy::default());
    let mut fleet = Fleet::new(&topology);
    for rack in 0..4 {
        fleet.fold(&beside_ups(snapshot(rack, 400.0, 400.0, Some(8.0 * 400.0 + 1700.0)), 0.0), now);
    }
    let plan = decide(&mut decider, &fleet, now);
    let standby = plan.nodes.iter().find(|n| n.node.as_str() == "ups-r").unwrap();
    assert!((standby.power.get() - 2.0 * 4900.0).abs() < 1.0, "{standby:?}");
    let taken = (plan.caps[0].budget + plan.caps[1].budget).get();
    assert!(taken <= 8_000.0 * 0.95 + 1.0, "ups-r is to carry {taken} W for good");
    assert_eq!((plan.caps[0].bound_by.as_str(), plan.caps[0].kind), ("ups-r", LimitKind::Continuous));
}

#[test]
fn a_root_that_shows_nothing_says_nothing_of_another_one_of_the_same_feed() {
    let now = Mono::from_ms(10_000);
    let row = row();
    let mut nodes = row.nodes().to_vec();
    let id = |text: &str| NodeId::new(text).unwrap();
    for name in ["ups-a2", "ups-b2"] {
        let feed = &name[4..5];
        nodes.push(crate::NodeSpec::new(id(name), crate::NodeKind::Ups, feed, Watts::new(30_000.0)));
    }
    let dead = nodes.iter().position(|n| n.id.as_str() == "ups-a").unwrap();
    nodes[dead].meter = read_by(3);
    let mut racks = row.racks().to_vec();
    for rack in &mut racks[2..] {
        for cord in &mut rack.feeds {
            cord.node = id(if cord.node.as_str().ends_with('a') { "ups-a2" } else { "ups-b2" });
        }
    }
    let topology = Topology::new(nodes, racks).unwrap();
    let mut fleet = Fleet::new(&topology);
    for rack in 0..4 {
        let seen = snapshot(rack, 400.0, 400.0, Some(2450.0));
        fleet.fold(&if rack == 3 { beside_ups(seen, 0.0) } else { seen }, now);
    }
    let live = Decider::new(topology, Policy::default()).live(&fleet, now);
    assert_eq!(live.keys().copied().collect::<Vec<_>>(), [0, 1], "those of the dead root alone");
}

#[test]
fn what_no_rack_draws_is_believed_however_much_and_also_after_the_meter_has_fallen_silent() {
    let row = row();
    let mut nodes = row.nodes().to_vec();
    let at = |id: &str| row.nodes().iter().position(|n| n.id.as_str() == id).unwrap();
    (nodes[at("ups-a")].rating, nodes[at("breaker-a")].rating) = (Watts::new(32_000.0), Watts::new(90_000.0));
    nodes[at("ups-a")].meter = read_by(0);
    let mut racks = row.racks().to_vec();
    for rack in &mut racks {
        rack.feeds.retain(|cord| cord.node.as_str() == "breaker-a");
        rack.feeds[0].share = 1.0;
    }
    let topology = Topology::new(nodes, racks).unwrap();
    let mut decider = Decider::new(topology.clone(), Policy::default());
    let (other, mut limits) = (12_000.0, [300.0; 4]);
    for second in 1..240 {
        let now = Mono::from_ms(1000 * second);
        let mut fleet = Fleet::new(&topology);
        let below: f64 = limits.iter().map(|p| p * 8.0 + 1700.0).sum();
        for (rack, limit) in limits.iter().enumerate() {
            let seen = snapshot(rack, *limit, *limit, Some(limit * 8.0 + 1700.0));
            let told = rack == 0 && second < 120;
            fleet.fold(&if told { beside_ups(seen, (below + other) / 3.0) } else { seen }, now);
        }
        let plan = decide(&mut decider, &fleet, now);
        if [119, 239].contains(&second) {
            let flows = (below + other) / 32_000.0;
            assert!((0.85..0.98).contains(&flows), "{second} s: {below} W of racks beside {other}: {flows}");
        }
        limits = std::array::from_fn(|r| gpu(&plan, r));
    }
}

#[test]
fn a_load_that_hangs_on_one_feed_alone_does_not_take_the_room_that_another_ones_failover_needs() {
    let row = row();
    let mut racks = row.racks().to_vec();
    for rack in &mut racks[2..] {
        rack.feeds.retain(|cord| cord.node.as_str() == "breaker-a");
        rack.feeds[0].share = 1.0;
    }
    let mut nodes = row.nodes().to_vec();
    nodes.iter_mut().filter(|n| n.kind == crate::NodeKind::Breaker).for_each(|n| n.rating = Watts::new(60_000.0));
    nodes.iter_mut().filter(|n| n.kind == crate::NodeKind::Ups).for_each(|n| n.rating = Watts::new(14_000.0));
    let topology = Topology::new(nodes, racks).unwrap();
    let ups = topology.nodes().iter().position(|n| n.id.as_str() == "ups-a").unwrap();
    assert!(topology.failovers(ups).all(|failover| topology.is_mixed(failover)));
    let mut decider = Decider::new(topology, Policy { release_watts_per_s: 1e6, ..Policy::default() });
    let mut limits = [400.0; 4];
    for second in 1..60 {
        let now = Mono::from_ms(1000 * second);
        let mut fleet = Fleet::new(&row);
        for (rack, limit) in limits.iter().enumerate() {
            let all = limit * 8.0 + 1700.0;
            let mut seen = snapshot(rack, *limit, *limit, Some(all / 2.0));
            if rack >= 2 {
                let path = SignalPath::new(DeviceId::new("pdu-a").unwrap(), Signal::PduPower);
                seen.readings.insert(path, Reading::new(all, seen.at));
            }
            fleet.fold(&seen, now);
        }
        let plan = decide(&mut decider, &fleet, now);
        limits = std::array::from_fn(|r| gpu(&plan, r));
    }
    let draws = limits.map(|limit| limit * 8.0 + 1700.0);
    let survived = decider.protection[ups].allowed(3.0) * 14_000.0;
    assert!(draws.iter().sum::<f64>() <= survived + 1.0, "after the loss of b a carries {draws:?} of {survived}");
}

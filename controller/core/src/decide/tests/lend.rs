//! What is lent, and how it is taken back.

use super::*;
use headroom_rack::Condition;

const OVERHEAD: f64 = 1700.0;

/// A row that idles, granted little and lent much.
fn idle() -> (Decider, Plan) {
    let mut decider = Decider::new(row(), Policy::default());
    let mut plan = None;
    for second in 0..60 {
        let now = Mono::from_ms(1000 * second);
        let powers = [100.0; 4];
        let fleet = fleet_at(&powers, &[400.0; 4], now);
        plan = Some(decide(&mut decider, &fleet, now));
    }
    (decider, plan.expect("decided"))
}

fn per_feed(limits: impl Iterator<Item = f64>) -> f64 {
    limits.map(|gpu| (8.0 * gpu + OVERHEAD) / 2.0).sum()
}

#[test]
fn without_orders_racks_fall_back_on_what_lasts() {
    let (decider, plan) = idle();
    let lent = per_feed((0..4).map(|r| gpu(&plan, r)));
    let node = plan.nodes.iter().find(|n| n.node.as_str() == "breaker-a").expect("a node");
    let lasts = node.limit.min(node.rating * 0.95);
    assert!(lent > lasts.get(), "nothing is lent: {lent} W under {lasts}");
    let falls: Vec<Prepared> = (0..4).filter_map(|r| decider.unheard(r)).collect();
    assert!(falls.iter().all(|p| p.when == Condition::NoOrders(2000)), "{falls:?}");
    let left = per_feed((0..4).map(|r| decider.unheard(r).map_or(gpu(&plan, r), |p| p.gpu.get())));
    assert!(left <= lasts.get() + 1.0, "{left} W of {lasts}");
    // Down to whole 5 W for each of 32 GPUs.
    assert!(left > lasts.get() - 100.0, "{left} W of {lasts}");
    assert!(decider.unheard(4).is_none(), "no such rack");
}

#[test]
fn no_two_are_lent_more_than_the_others_could_make_room_for() {
    let (decider, plan) = idle();
    let breaker = decider.topology.nodes().iter().find(|n| n.id.as_str() == "breaker-a").expect("a node");
    let floors = per_feed([200.0; 2].into_iter());
    let alone = breaker.rating.get() * breaker.curve.holds();
    for (one, other) in [(0, 1), (2, 3), (0, 3)] {
        let most = per_feed([one, other].into_iter().map(|rack| gpu(&plan, rack)));
        assert!(most + floors <= alone + 1.0, "racks {one} and {other}: {most} W beside {floors} W under {alone} W");
    }
}

#[test]
fn a_limit_that_nobody_feels_does_not_stand_above_what_its_rack_may_keep_should_its_agent_hang() {
    let (mut decider, before) = idle();
    let breaker = decider.topology.nodes().iter().find(|n| n.id.as_str() == "breaker-a").expect("a node");
    let alone = breaker.rating.get() * breaker.curve.holds();
    // The others can make less room.
    let floor_gpu = Watts::new(400.0);
    decider.set_policy(Policy { floor_gpu, ..Policy::default() });
    let now = Mono::from_ms(60_000);
    let plan = decide(&mut decider, &fleet_at(&[100.0; 4], &[400.0; 4], now), now);
    let most = |plan: &Plan| per_feed([0, 1].into_iter().map(|rack| gpu(plan, rack)));
    let floors = per_feed([floor_gpu.get(); 2].into_iter());
    assert!(most(&before) + floors > alone, "what it had is too much now: {} W", most(&before));
    assert!(most(&plan) + floors <= alone + 1.0, "{} W beside {floors} W under {alone} W", most(&plan));
}

#[test]
fn two_racks_alone_on_a_breaker_may_hang_with_all_that_they_were_lent() {
    let row = row();
    let mut nodes = row.nodes().to_vec();
    nodes.iter_mut().filter(|n| n.kind == NodeKind::Breaker).for_each(|n| n.rating = Watts::new(5000.0));
    let topology = Topology::new(nodes, row.racks()[..2].to_vec()).unwrap();
    let mut decider = Decider::new(topology, Policy::default());
    let holds = 5000.0 * NodeKind::Breaker.curve().holds();
    for second in 0..60 {
        let now = Mono::from_ms(1000 * second);
        let plan = decide(&mut decider, &fleet_at(&[100.0; 4], &[400.0; 4], now), now);
        let most = per_feed((0..2).map(|rack| gpu(&plan, rack)));
        assert!(most <= holds + 1.0, "{most} W under {holds} W");
    }
}

#[test]
fn a_rack_with_a_breaker_of_its_own_is_lent_all_that_that_carries() {
    let row = row();
    let tap = |n: usize| crate::NodeSpec {
        parent: Some(NodeId::new("breaker-a").unwrap()),
        ..crate::NodeSpec::new(NodeId::new(format!("tap-{n}")).unwrap(), NodeKind::Breaker, "a", Watts::new(6000.0))
    };
    let mut nodes = row.nodes().to_vec();
    nodes.iter_mut().for_each(|node| node.rating = Watts::new(90_000.0));
    nodes.extend((0..4).map(tap));
    let mut racks = row.racks().to_vec();
    for (n, rack) in racks.iter_mut().enumerate() {
        rack.feeds.truncate(1);
        rack.feeds[0] = FeedShare { node: tap(n).id, share: 1.0, ..rack.feeds[0].clone() };
    }
    let mut decider = Decider::new(Topology::new(nodes, racks).unwrap(), Policy::default());
    let mut given = 0.0;
    for second in 0..60 {
        let now = Mono::from_ms(1000 * second);
        given = gpu(&decide(&mut decider, &fleet_at(&[100.0; 4], &[400.0; 4], now), now), 0);
    }
    assert!(given > 500.0, "of 6 kW only {given} W for each GPU");
}

#[test]
fn all_bands_share_the_room_to_ramp() {
    let (_, plan) = idle();
    assert!((0..4).all(|r| gpu(&plan, r) == gpu(&plan, 0)), "{:?}", plan.caps);
}

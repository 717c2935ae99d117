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
fn nobody_is_lent_more_than_the_others_could_make_room_for() {
    let (decider, plan) = idle();
    let breaker = decider.topology.nodes().iter().find(|n| n.id.as_str() == "breaker-a").expect("a node");
    let floors = per_feed([200.0; 3].into_iter());
    let alone = breaker.rating.get() * breaker.curve.holds();
    for rack in 0..4 {
        let most = (8.0 * gpu(&plan, rack) + OVERHEAD) / 2.0;
        assert!(most + floors <= alone + 1.0, "rack {rack}: {most} W beside {floors} W under {alone} W");
    }
}

#[test]
fn all_bands_share_the_room_to_ramp() {
    let (_, plan) = idle();
    assert!((0..4).all(|r| gpu(&plan, r) == gpu(&plan, 0)), "{:?}", plan.caps);
}

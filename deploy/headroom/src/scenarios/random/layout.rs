//! Random rows: on a single feed, 2N, or distributed redundant over three or four feeds; with breakers
//! for parts of the row and for single racks or without. Every breaker and UPS carries the floors with
//! any one feed lost, and none the nameplate.

use crate::harness::FLOOR_WATTS;
use headroom_sim::plant::chance::Chance;
use headroom_sim::plant::spec::{BranchSpec, BreakerSpec, PlantSpec};
use headroom_sim::plant::{FEED_NAMES, MAX_FEEDS};
use headroom_sim::scenario::Scenario;
use headroom_sim::trace::draw;

/// Most racks of a row.
const RACKS: f64 = 6.0;

/// A row with its workloads for so many seconds.
pub(super) fn row(chance: &mut Chance, seconds: f64) -> PlantSpec {
    let base = Scenario::load(None).expect("invariant: the embedded scenario is valid").plant;
    let mut plant = base.clone();
    let like = base.racks[0].clone();
    let count = 1 + (chance.unit() * RACKS) as usize;
    let feeds = match chance.unit() {
        u if u < 0.25 => 1,
        u if u < 0.65 => 2,
        u if u < 0.85 => 3,
        _ => MAX_FEEDS,
    };
    plant.racks = (0..count)
        .map(|i| {
            let mut rack = like.clone();
            rack.id = format!("rack-{}", i + 1);
            rack.gpus = 2 + (chance.unit() * 7.0) as usize;
            rack.overhead_watts = rack.gpus as f64 * chance.between(120.0, 260.0);
            rack.cooling_watts = rack.gpus as f64 * 30.0;
            rack.cords = if feeds == 1 { vec![0] } else { vec![i % feeds, (i + 1) % feeds] };
            rack.cooling_feed = rack.cords[usize::from(feeds > 1 && chance.happens(0.5))];
            rack
        })
        .collect();
    let mut plant = draw::spec(&plant, chance, seconds);
    let worst = (0..plant.feed_count()).map(|f| floors(&plant, f, |_| true)).fold(0.0, f64::max);
    let feed = worst * chance.between(1.15, 2.2);
    plant.breaker = base.breaker.clone();
    plant.breaker.rating_amperes = feed / (3.0 * plant.volts);
    plant.ups.rating_watts = feed * chance.between(1.1, 2.5);
    plant.ups.battery_minutes = chance.between(3.0, 10.0);
    branches(&mut plant, chance);
    plant
}

/// What the racks draw on a feed with every GPU at its floor and the feed lost whose loss is worst.
fn floors(plant: &PlantSpec, feed: usize, within: impl Fn(usize) -> bool) -> f64 {
    let mut worst = 0.0_f64;
    for lost in 0..=plant.feed_count() {
        let racks = plant.racks.iter().enumerate().filter(|(i, r)| within(*i) && r.cords.contains(&feed));
        let watts = racks.map(|(_, r)| {
            let alive = r.cords.iter().filter(|f| **f != lost).count().max(1) as f64;
            (r.overhead_watts + r.gpus as f64 * FLOOR_WATTS) / (alive * (1.0 - plant.pdu_loss_ratio))
        });
        worst = worst.max(watts.sum::<f64>());
    }
    worst + plant.racks.iter().filter(|r| r.cooling_feed == feed).map(|r| r.cooling_watts).sum::<f64>()
}

/// None, two groups of racks, or those and a breaker for each rack; on every feed that serves them.
fn branches(plant: &mut PlantSpec, chance: &mut Chance) {
    let depth = (chance.unit() * 3.0) as usize;
    if depth == 0 {
        return;
    }
    let half = plant.racks.len().div_ceil(2);
    let mut found: Vec<BranchSpec> = Vec::new();
    for (feed, name) in FEED_NAMES.iter().enumerate().take(plant.feed_count()) {
        let on: Vec<usize> = (0..plant.racks.len()).filter(|r| plant.racks[*r].cords.contains(&feed)).collect();
        let mut add = |id: String, parent: Option<usize>, racks: Vec<usize>, chance: &mut Chance| {
            let watts = floors(plant, feed, |r| racks.contains(&r)) * chance.between(1.15, 2.2);
            let rating_amperes = watts / (3.0 * plant.volts);
            let breaker = BreakerSpec { rating_amperes, ..plant.breaker.clone() };
            found.push(BranchSpec { id, feed, parent, breaker, racks });
            found.len() - 1
        };
        for (g, group) in [&on[..on.len().min(half)], &on[on.len().min(half)..]].into_iter().enumerate() {
            if group.is_empty() {
                continue;
            }
            let row = add(format!("row-{name}-{g}"), None, group.to_vec(), chance);
            for rack in group.iter().filter(|_| depth == 2 && group.len() > 1) {
                add(format!("tap-{name}-{}", rack + 1), Some(row), vec![*rack], chance);
            }
        }
    }
    plant.branches = found;
}

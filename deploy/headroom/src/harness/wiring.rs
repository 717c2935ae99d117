//! The plant as an operator writes it down: the controller's topology, the rating each agent's guard
//! watches, and the safe share at which the site needs no controller.

use super::FLOOR_WATTS;
use headroom_controller_core::topology::NodeKind;
use headroom_controller_core::{BatterySpec, FeedShare, MeterRef, NodeSpec, RackSpec, Topology};
use headroom_rack::{Amperes, DeviceId, IdError, NodeId, RackId, Volts, Watts};
use headroom_sim::plant::FEED_NAMES;
use headroom_sim::plant::spec::{PlantSpec, RackSpec as PlantRack};
use std::sync::Arc;

/// What a data sheet promises of the runtime at full load: the UPS's own draw is in it.
const DATA_SHEET: f64 = 0.98;
/// Share of a rating the safe share fills: phases are a few per cent uneven, and nobody watches.
const SAFE_SHARE: f64 = 0.9;

pub(super) fn name<T>(text: String, make: impl Fn(String) -> Result<T, IdError>) -> T {
    make(text).expect("invariant: the scenario's names were checked")
}

/// The rack whose agent reads the UPS of a feed.
pub(super) fn reader(plant: &PlantSpec, feed: usize) -> usize {
    feed.min(plant.racks.len() - 1)
}

/// The cord's breaker that the guard of a rack watches: its own if there is one, else the feed's.
pub(super) fn guarded(plant: &PlantSpec, rack: usize) -> Amperes {
    let own = plant.branches.iter().find(|b| b.racks == [rack]).map(|b| &b.breaker);
    Amperes::new(own.unwrap_or(&plant.breaker).rating_amperes)
}

/// Load on one node: what does not depend on the GPUs' limit, and how many GPUs hang there.
#[derive(Default)]
struct Load {
    fixed: f64,
    gpus: f64,
}

/// Share of a rack that a phase of a feed carries while the feed `lost` is dead.
fn carried(rack: &PlantRack, (feed, phase): (usize, usize), lost: Option<usize>) -> f64 {
    let moved = |f: usize| if Some(f) == lost { rack.standby } else { Some(f) };
    let alive = || rack.cords.iter().filter_map(|f| moved(*f));
    let here = alive().filter(|f| *f == feed).count() as f64 / alive().count().max(1) as f64;
    let part = rack.phase.map_or(1.0 / 3.0, |p| if p == phase { 1.0 } else { 0.0 });
    here * part
}

/// The load of `racks` on a phase of a feed while the feed `lost` is dead.
fn load(plant: &PlantSpec, on: (usize, usize), lost: Option<usize>, racks: impl Fn(usize) -> bool) -> Load {
    let mut sum = Load::default();
    for (_, rack) in plant.racks.iter().enumerate().filter(|(r, _)| racks(*r)) {
        let share = carried(rack, on, lost) / (1.0 - plant.pdu_loss_ratio);
        sum.fixed += rack.overhead_watts * share;
        sum.gpus += rack.gpus as f64 * share;
    }
    sum
}

/// The limit per GPU at which every node carries what it must with any one feed lost.
pub(super) fn safe_share(plant: &PlantSpec) -> Watts {
    let rated = |amperes: f64| amperes * plant.volts;
    let mut safe = plant.gpu.max_watts;
    for on in (0..plant.feed_count()).flat_map(|feed| (0..3).map(move |phase| (feed, phase))) {
        let feed = on.0;
        let others = (0..plant.feed_count()).filter(|f| *f != feed).map(Some);
        for lost in others.chain([None]) {
            let cooling = plant.racks.iter().filter(|r| r.cooling_feed == feed).map(|r| r.cooling_watts).sum::<f64>();
            let mut fit = |rating: f64, load: Load| {
                if load.gpus > 0.0 {
                    safe = safe.min((rating * SAFE_SHARE - load.fixed) / load.gpus);
                }
            };
            let all = load(plant, on, lost, |_| true);
            let whole = rated(plant.breaker.rating_amperes).min(plant.ups.rating_watts / 3.0);
            fit(whole, Load { fixed: all.fixed + cooling / 3.0, ..all });
            for branch in plant.branches.iter().filter(|b| b.feed == feed) {
                fit(rated(branch.breaker.rating_amperes), load(plant, on, lost, |r| branch.racks.contains(&r)));
            }
        }
    }
    Watts::new(safe.clamp(FLOOR_WATTS, plant.gpu.max_watts))
}

/// The tree with the racks that are there.
pub(super) fn topology(plant: &PlantSpec, present: &[bool]) -> Topology {
    let rated = |amperes: f64| Watts::new(amperes * plant.volts * 3.0);
    let node = |text: String| name(text, NodeId::new);
    let mut nodes = Vec::new();
    for (f, feed) in FEED_NAMES.iter().enumerate().take(plant.feed_count()) {
        let rack = name(plant.racks[reader(plant, f)].id.clone(), RackId::new);
        let device = name(format!("ups-{feed}"), DeviceId::new);
        let spec = |id: String, kind, parent, rating, meter| NodeSpec {
            parent,
            meter,
            volts: (kind == NodeKind::Breaker).then(|| Volts::new(plant.volts)),
            ..NodeSpec::new(node(id), kind, feed, rating)
        };
        let ups = format!("ups-{feed}");
        let main = format!("breaker-{feed}");
        let meter = Some(MeterRef { rack, device });
        let sheet = [(Watts::new(plant.ups.rating_watts), plant.ups.battery_minutes * 60.0 * DATA_SHEET)];
        let battery = BatterySpec::new(sheet, None, plant.ups.battery_health_ratio).ok().map(Arc::new);
        let source = spec(ups.clone(), NodeKind::Ups, None, Watts::new(plant.ups.rating_watts), meter);
        nodes.push(NodeSpec { battery, ..source });
        let rating = rated(plant.breaker.rating_amperes);
        nodes.push(spec(main.clone(), NodeKind::Breaker, Some(node(ups)), rating, None));
        for branch in plant.branches.iter().filter(|b| b.feed == f) {
            let parent = branch.parent.map_or_else(|| main.clone(), |p| plant.branches[p].id.clone());
            let rating = rated(branch.breaker.rating_amperes);
            nodes.push(spec(branch.id.clone(), NodeKind::Breaker, Some(node(parent)), rating, None));
        }
    }
    let lowest = |rack: usize, feed: usize| {
        // The last branch that names the rack is the lowest: parents come first.
        let branch = plant.branches.iter().rev().find(|b| b.feed == feed && b.racks.contains(&rack));
        node(branch.map_or_else(|| format!("breaker-{}", FEED_NAMES[feed]), |b| b.id.clone()))
    };
    let switch = |rack: &PlantRack| node(format!("switch-{}", rack.id));
    for (r, rack) in plant.racks.iter().enumerate() {
        let Some(standby) = rack.standby else { continue };
        let rating = rated(plant.breaker.rating_amperes);
        nodes.push(NodeSpec {
            parent: Some(lowest(r, rack.cords[0])),
            standby: Some(lowest(r, standby)),
            ..NodeSpec::new(switch(rack), NodeKind::RackPdu, FEED_NAMES[rack.cords[0]], rating)
        });
    }
    let cord = |rack: usize, feed: usize| {
        let spec = &plant.racks[rack];
        let whole = FeedShare::new(
            if spec.standby.is_some() { switch(spec) } else { lowest(rack, feed) },
            1.0 / spec.cords.len() as f64,
            name(format!("pdu-{}", FEED_NAMES[feed]), DeviceId::new),
        );
        let alone = |phase| std::array::from_fn(|p| if p == phase { 1.0 } else { 0.0 });
        FeedShare { phases: spec.phase.map_or(whole.phases, alone), ..whole }
    };
    let safe_gpu = safe_share(plant);
    let racks = plant
        .racks
        .iter()
        .enumerate()
        .filter(|(i, _)| present[*i])
        .map(|(i, r)| RackSpec {
            id: name(r.id.clone(), RackId::new),
            priority: r.workload.word().to_owned(),
            weight: 1.0,
            gpus: u32::try_from(r.gpus).unwrap_or(u32::MAX),
            overhead: Watts::new(r.overhead_watts.max(1.0)),
            gpu_max: Watts::new(plant.gpu.max_watts),
            safe_gpu,
            feeds: r.cords.iter().map(|f| cord(i, *f)).collect(),
            cooling: Some(name("cooling".to_owned(), DeviceId::new)),
            coolant_liters: None,
        })
        .collect();
    Topology::new(nodes, racks).expect("invariant: feeds with ratings, and a rack")
}

//! Answers prepared for what a rack can see by itself: the limits that would be right if a feed were lost
//! now, or if a UPS went on battery. Computed after a decision, from what it believed; they only lower.

use super::Decider;
use super::believe::RackNow;
use super::shape::whole;
use crate::allocate::{Ask, allocate};
use crate::fleet::Fleet;
use crate::topology::{NodeSpec, Topology};
use headroom_rack::{Condition, RackId, Watts};
use std::collections::{BTreeMap, BTreeSet};

/// What the last decision believed and left room for.
#[derive(Debug, Clone, Default)]
pub(super) struct Kept {
    racks: Vec<KeptRack>,
    /// Per node and group what it leaves for racks, W.
    rooms: Vec<f64>,
}

impl Kept {
    /// What of a rack's power no limit moved.
    pub(super) fn overhead(&self, rack: usize) -> Option<Watts> {
        self.racks.get(rack).map(|r| r.overhead)
    }
}

#[derive(Debug, Clone, Copy)]
struct KeptRack {
    floor: f64,
    demand: f64,
    overhead: Watts,
}

/// A limit that lies ready for each GPU of a rack.
#[derive(Debug, Clone, PartialEq)]
pub struct Prepared {
    /// The rack.
    pub rack: RackId,
    /// When it is in force.
    pub when: Condition,
    /// Limit of each GPU.
    pub gpu: Watts,
}

/// What the loss of one feed takes, and the nodes above each rack then with the share that each carries.
#[derive(Debug, Clone)]
pub(super) struct Loss {
    feed: String,
    /// Share of each rack.
    lost: Vec<f64>,
    paths: Vec<Vec<(usize, f64)>>,
}

/// Whether a cord with these nodes above it goes dark with a feed; one behind a transfer switch stays.
fn is_lost(nodes: &[NodeSpec], feed: &str, path: &[usize]) -> bool {
    path.iter().all(|n| nodes[*n].standby.is_none()) && path.first().is_some_and(|n| nodes[*n].feed == feed)
}

/// The losses of all feeds. They depend on the wiring alone.
pub(super) fn losses(topology: &Topology) -> Vec<Loss> {
    let nodes = topology.nodes();
    let feeds: BTreeSet<&str> = nodes.iter().map(|n| n.feed.as_str()).collect();
    let cords = |i: usize| topology.racks()[i].feeds.iter().zip(topology.paths(i));
    let count = topology.racks().len();
    let loss = |feed: &str| {
        let lost: Vec<f64> = (0..count)
            .map(|i| cords(i).filter(|(_, path)| is_lost(nodes, feed, path)).map(|(cord, _)| cord.share).sum())
            .collect();
        let path = |i: usize| {
            let left = (1.0 - lost[i]).max(1e-9);
            let others = cords(i).filter(|(_, path)| !is_lost(nodes, feed, path));
            let mut on: BTreeMap<usize, f64> = BTreeMap::new();
            for (node, share) in others.flat_map(|(cord, path)| path.iter().map(move |n| (*n, cord.share / left))) {
                *on.entry(node).or_default() += share;
            }
            on.into_iter().collect()
        };
        let paths = (0..count).map(path).collect();
        Loss { feed: feed.to_owned(), lost, paths }
    };
    feeds.into_iter().map(loss).collect()
}

impl Decider {
    pub(super) fn keep(&mut self, racks: &[RackNow], asks: &[Ask<'_>], rooms: Vec<f64>) {
        let rack = |(rack, ask): (&RackNow, &Ask<'_>)| KeptRack {
            floor: ask.floor,
            demand: ask.demand,
            overhead: rack.overhead,
        };
        self.kept = Kept { racks: racks.iter().zip(asks).map(rack).collect(), rooms };
    }

    /// The answers to the loss of each feed, and to each UPS going on battery where the policy wants it to
    /// last. None before the first decision.
    pub fn answers(&self, fleet: &Fleet) -> Vec<Prepared> {
        if self.kept.racks.len() != self.topology.racks().len() {
            return Vec::new();
        }
        let mut prepared: Vec<Prepared> = self.losses.iter().flat_map(|loss| self.without(loss)).collect();
        prepared.extend((0..self.topology.nodes().len()).filter_map(|node| self.on_battery(node, fleet)));
        prepared
    }

    /// What each rack may draw when a feed is lost: its power moves to its other cords in proportion. Phases,
    /// cooling and targets keep to what the Orders in force say: an answer never raises one.
    fn without(&self, Loss { feed, lost, paths }: &Loss) -> Vec<Prepared> {
        let nodes = self.topology.nodes();
        let response = self.policy.response.as_secs_f64();
        let survives = |n: usize| {
            let hot = self.protection[n].allowed(2.0 * response).min(self.policy.derate);
            (self.rated(n) * hot).get() - self.other[n]
        };
        let rooms: Vec<f64> =
            (0..nodes.len()).map(|n| if nodes[n].feed == *feed { f64::INFINITY } else { survives(n) }).collect();
        let limits = self.limits_for(&rooms, paths);
        let mut prepared = Vec::new();
        for (i, spec) in self.topology.racks().iter().enumerate() {
            // What hangs on this feed alone goes dark; what does not hang on it has nothing to answer to.
            if !(1e-9..1.0 - 1e-9).contains(&lost[i]) || limits[i] >= spec.gpu_max {
                continue;
            }
            let cords = spec.feeds.iter().zip(self.topology.paths(i));
            prepared.extend(cords.filter(|(_, path)| is_lost(nodes, feed, path)).map(|(cord, _)| Prepared {
                rack: spec.id.clone(),
                when: Condition::InletDead(cord.meter.clone()),
                gpu: limits[i],
            }));
        }
        prepared
    }

    /// What the rack whose agent reads a UPS may draw from the moment it is on battery.
    fn on_battery(&self, node: usize, fleet: &Fleet) -> Option<Prepared> {
        let meter = self.topology.nodes()[node].meter.as_ref()?;
        fleet.battery(&meter.rack, &meter.device)?;
        let lasting = self.would_last(node)?;
        let mut rooms = self.kept.rooms.clone();
        rooms[node] = rooms[node].min(lasting.get() - self.other[node]);
        let i = self.topology.racks().iter().position(|r| r.id == meter.rack)?;
        let gpu = self.limits_for(&rooms, &self.paths)[i];
        let (rack, when) = (meter.rack.clone(), Condition::OnBattery(meter.device.clone()));
        (gpu < self.topology.racks()[i].gpu_max).then_some(Prepared { rack, when, gpu })
    }

    fn limits_for(&self, rooms: &[f64], paths: &[Vec<(usize, f64)>]) -> Vec<Watts> {
        let specs = self.topology.racks().iter();
        let racks = self.kept.racks.iter();
        let asks: Vec<Ask<'_>> = racks
            .zip(paths)
            .enumerate()
            .map(|(i, (kept, shares))| Ask {
                floor: kept.floor,
                demand: kept.demand,
                weight: self.racks[i].wanted.weight,
                band: self.rank(i),
                shares,
            })
            .collect();
        let grants = allocate(rooms, &asks);
        let limit = |(i, spec): (usize, &crate::RackSpec)| {
            let per_gpu = (Watts::new(grants[i].watts) - self.kept.racks[i].overhead) / f64::from(spec.gpus);
            // What nothing keeps below its demand keeps what it has.
            match grants[i].bound_by {
                Some(_) => whole(per_gpu).clamp(self.racks[i].wanted.floor_gpu, self.racks[i].wanted.ceiling_gpu),
                None => spec.gpu_max,
            }
        };
        specs.enumerate().map(limit).collect()
    }
}

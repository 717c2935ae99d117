//! Answers prepared for what a rack can see by itself: the limits that would be right if a feed were lost
//! now, or if a UPS went on battery. Computed after a decision, from what it believed; they only lower.

use super::believe::RackNow;
use super::shape::whole;
use super::{Decider, RackMemory};
use crate::allocate::{Ask, allocate};
use crate::fleet::Fleet;
use crate::topology::{BALANCED, Constraint, Topology};
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
    granted: f64,
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

/// What the loss of one feed leaves.
#[derive(Debug, Clone)]
pub(super) struct Loss {
    feed: String,
    /// The cords of each rack that go dark while others of it live.
    dark: Vec<Vec<usize>>,
    /// What each cord of each rack carries then.
    cords: Vec<Vec<f64>>,
    /// Per rack the nodes above it then, and phases of them that count one by one, with the share that each carries.
    paths: Vec<Vec<(usize, f64)>>,
}

/// The losses of all feeds. They depend on the wiring alone.
pub(super) fn losses(topology: &Topology) -> Vec<Loss> {
    let feeds: BTreeSet<&str> = topology.nodes().iter().map(|n| n.feed.as_str()).collect();
    feeds.into_iter().map(|feed| loss(topology, feed)).collect()
}

fn loss(topology: &Topology, feed: &str) -> Loss {
    let nodes = topology.nodes();
    let phase = |(place, constraint): (usize, &Constraint)| match constraint {
        Constraint::Phase(node, phase) => Some(((*node, *phase), nodes.len() + place)),
        _ => None,
    };
    let phases: BTreeMap<(usize, usize), usize> = topology.constraints().iter().enumerate().filter_map(phase).collect();
    let (mut dark, mut all, mut paths) = (Vec::new(), Vec::new(), Vec::new());
    for (i, rack) in topology.racks().iter().enumerate() {
        let goes: Vec<bool> = (0..rack.feeds.len()).map(|c| topology.goes_dark(i, c, feed)).collect();
        let lost: f64 = rack.feeds.iter().zip(&goes).filter(|(_, goes)| **goes).map(|(cord, _)| cord.share).sum();
        let left = (1.0 - lost).max(1e-9);
        let carried = |c: usize| if goes[c] { 0.0 } else { rack.feeds[c].share / left };
        let cords: Vec<f64> = (0..rack.feeds.len()).map(carried).collect();
        let mut on: BTreeMap<usize, f64> = BTreeMap::new();
        for (c, (share, cord)) in cords.iter().zip(&rack.feeds).enumerate().filter(|(c, _)| !goes[*c]) {
            for node in topology.without(i, c, feed) {
                *on.entry(node).or_default() += share;
                for (p, part) in cord.phases.iter().enumerate().filter(|(_, part)| **part > 0.0) {
                    if let Some(place) = phases.get(&(node, p)) {
                        *on.entry(*place).or_default() += share * part;
                    }
                }
            }
        }
        // What hangs on this feed alone goes dark with its agent.
        let answers = (0..rack.feeds.len()).filter(|c| goes[*c] && lost < 1.0 - 1e-9);
        dark.push(answers.collect());
        all.push(cords);
        paths.push(on.into_iter().collect());
    }
    Loss { feed: feed.to_owned(), dark, cords: all, paths }
}

impl Decider {
    pub(super) fn keep(&mut self, racks: &[RackNow], asks: &[Ask<'_>], rooms: Vec<f64>) {
        let rack = |((rack, ask), memory): ((&RackNow, &Ask<'_>), &RackMemory)| KeptRack {
            floor: ask.floor,
            demand: ask.demand,
            granted: memory.granted.get(),
            overhead: rack.overhead,
        };
        self.kept = Kept { racks: racks.iter().zip(asks).zip(&self.racks).map(rack).collect(), rooms };
    }

    /// The answers to the loss of each feed, and to each UPS going on battery where the policy wants it to
    /// last. None before the first decision.
    pub fn answers(&self, fleet: &Fleet) -> Vec<Prepared> {
        if self.kept.racks.len() != self.topology.racks().len() {
            return Vec::new();
        }
        let mut prepared: Vec<Prepared> = self.losses.iter().flat_map(|loss| self.without(loss, fleet)).collect();
        prepared.extend((0..self.topology.nodes().len()).filter_map(|node| self.on_battery(node, fleet)));
        prepared
    }

    /// What each rack may draw for good when a feed is lost: its power moves to its other cords in proportion, and what
    /// hangs behind a transfer switch to the standby. Who loses no cord sees nothing and goes on with what it has. Cooling
    /// and targets keep to what the Orders in force say: an answer never raises one.
    fn without(&self, loss: &Loss, fleet: &Fleet) -> Vec<Prepared> {
        let nodes = self.topology.nodes();
        let uneven = self.uneven_without(loss, fleet);
        let lasts = |n: usize| {
            let rating = self.rated(n) * (self.policy.derate.min(self.protection[n].holds()) / uneven[n]);
            if nodes[n].feed == loss.feed { f64::INFINITY } else { rating.get() - self.other[n] }
        };
        let phase = |constraint: &Constraint| match constraint {
            Constraint::Phase(node, _) => lasts(*node) / 3.0,
            _ => f64::INFINITY,
        };
        let rooms: Vec<f64> =
            (0..nodes.len()).map(lasts).chain(self.topology.constraints().iter().map(phase)).collect();
        let limits = self.limits_for(&rooms, &loss.paths, |rack| !loss.dark[rack].is_empty());
        let mut prepared = Vec::new();
        for ((spec, dark), gpu) in self.topology.racks().iter().zip(&loss.dark).zip(limits) {
            prepared.extend(dark.iter().filter(|_| gpu < spec.gpu_max).map(|cord| Prepared {
                rack: spec.id.clone(),
                when: Condition::InletDead(spec.feeds[*cord].meter.clone()),
                gpu,
            }));
        }
        prepared
    }

    /// Load of each node's fullest phase over the mean of its phases after a loss, where its phases do not count one by
    /// one: what is known of it now, or more by what the meters of the cords tell.
    fn uneven_without(&self, loss: &Loss, fleet: &Fleet) -> Vec<f64> {
        let mut phases = vec![[0.0; 3]; self.topology.nodes().len()];
        for (i, (cords, kept)) in loss.cords.iter().zip(&self.kept.racks).enumerate() {
            for (c, share) in cords.iter().enumerate().filter(|(_, share)| **share > 0.0) {
                let told = self.phases(fleet, i, c).unwrap_or(BALANCED);
                for node in self.topology.without(i, c, &loss.feed) {
                    phases[node].iter_mut().zip(told).for_each(|(sum, part)| *sum += kept.granted * share * part);
                }
            }
        }
        let uneven = |(n, phases): (usize, [f64; 3])| match phases.iter().sum::<f64>() {
            sum if sum > 0.0 && self.topology.nodes()[n].phases == 3 && !self.topology.is_split(n) => {
                (phases.into_iter().fold(0.0, f64::max) * 3.0 / sum).max(self.uneven[n]).max(1.0)
            }
            _ => 1.0,
        };
        phases.into_iter().enumerate().map(uneven).collect()
    }

    /// What the rack whose agent reads a UPS may draw from the moment it is on battery.
    fn on_battery(&self, node: usize, fleet: &Fleet) -> Option<Prepared> {
        let meter = self.topology.nodes()[node].meter.as_ref()?;
        fleet.battery(&meter.rack, &meter.device)?;
        let lasting = self.would_last(node)?;
        let mut rooms = self.kept.rooms.clone();
        rooms[node] = rooms[node].min(lasting.get() - self.other[node]);
        let i = self.topology.racks().iter().position(|r| r.id == meter.rack)?;
        let gpu = self.limits_for(&rooms, &self.paths, |_| true)[i];
        let (rack, when) = (meter.rack.clone(), Condition::OnBattery(meter.device.clone()));
        (gpu < self.topology.racks()[i].gpu_max).then_some(Prepared { rack, when, gpu })
    }

    /// `gives_way`: who hears of it; the others go on with what they were granted.
    fn limits_for(&self, rooms: &[f64], paths: &[Vec<(usize, f64)>], gives_way: impl Fn(usize) -> bool) -> Vec<Watts> {
        let specs = self.topology.racks().iter();
        let racks = self.kept.racks.iter();
        let asks: Vec<Ask<'_>> = racks
            .zip(paths)
            .enumerate()
            .map(|(i, (kept, shares))| Ask {
                floor: if gives_way(i) { kept.floor } else { kept.granted },
                demand: if gives_way(i) { kept.demand } else { kept.granted },
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

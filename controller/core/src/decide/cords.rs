//! Cords that have lost their feed, and what the others of their rack carry then.
//!
//! A cord is lost when its meter is silent or shows nothing while the rack's other cords carry most of
//! what the rack draws; a feed when the meter at its root shows nothing, or all its cords are lost. Where
//! one rack has just lost a cord, racks not heard since count as having lost theirs too: a feed dies for
//! all at once, and the survivors' breakers do not wait for the last Snapshot. So does a rack none of whose
//! meters speaks: it cannot say that its own cord is alive.
//!
//! Losing a cord only ever adds load to the others; a lost feed keeps the load it had. A lying meter can
//! make this too careful, never too careless.

use super::Decider;
use crate::fleet::{FRESH, Fleet, RackBelief};
use crate::topology::{RackSpec, Topology};
use headroom_rack::{Mono, NodeId, Watts};
use std::collections::{BTreeMap, BTreeSet};

/// The others must carry this much of what a lost cord carried: half of it, as meters are read apart.
const TAKEN_OVER: f64 = 0.5;
/// A circuit that carries less than this share of its rating or of the rack's nameplate carries nothing.
const NOTHING: f64 = 0.01;

/// Per rack the nodes above and its share of each, where cords are lost; nothing where none is.
pub(super) type Live = BTreeMap<usize, Vec<(usize, f64)>>;

/// The feed of each cord, by number in the order of the feeds' names.
#[derive(Debug, Clone)]
pub(super) struct Wiring {
    feeds: usize,
    cords: Vec<Vec<usize>>,
    nodes: Vec<usize>,
}

impl Wiring {
    pub(super) fn new(topology: &Topology) -> Self {
        let names: BTreeSet<&str> = topology.nodes().iter().map(|n| n.feed.as_str()).collect();
        let number: BTreeMap<&str, usize> = names.iter().enumerate().map(|(i, name)| (*name, i)).collect();
        let feed_of: BTreeMap<&NodeId, usize> =
            topology.nodes().iter().map(|n| (&n.id, number[n.feed.as_str()])).collect();
        let cords = topology.racks().iter().map(|r| r.feeds.iter().map(|c| feed_of[&c.node]).collect()).collect();
        let nodes = topology.nodes().iter().map(|n| feed_of[&n.id]).collect();
        Self { feeds: names.len(), cords, nodes }
    }
}

impl RackBelief {
    /// What a cord carries by its meter; `None` if nothing, or if the meter is silent.
    fn carried(&self, spec: &RackSpec, cord: usize) -> Option<Watts> {
        let reading = self.cords.get(&spec.feeds[cord].meter).and_then(|c| c.ok());
        reading.filter(|w| *w > spec.nameplate() * NOTHING)
    }

    /// Not one of its meters shows a load, so that they say of no cord whether it is alive.
    fn is_mute(&self, spec: &RackSpec) -> bool {
        (0..spec.feeds.len()).all(|cord| self.carried(spec, cord).is_none())
    }

    /// Which cords have lost their feed, as far as the rack's own meters tell; nothing if none has.
    pub fn lost_cords(&self, spec: &RackSpec) -> Vec<bool> {
        let carried = |cord: usize| self.carried(spec, cord);
        if (0..spec.feeds.len()).all(|c| carried(c).is_some()) {
            return Vec::new();
        }
        let all = self.gpu_power().map(|g| g + spec.overhead).or_else(|| self.metered());
        let carried: Vec<Option<Watts>> = (0..spec.feeds.len()).map(carried).collect();
        let alive: f64 = spec.feeds.iter().zip(&carried).filter(|(_, c)| c.is_some()).map(|(f, _)| f.share).sum();
        let on_others: Watts = carried.iter().flatten().copied().sum();
        let taken = all.is_some_and(|all| on_others > all * (alive + TAKEN_OVER * (1.0 - alive)));
        carried.iter().map(|c| c.is_none() && taken).collect()
    }
}

impl Decider {
    /// Where racks have lost cords now.
    pub(super) fn live(&self, fleet: &Fleet, now: Mono) -> Live {
        let topology = &self.topology;
        let beliefs: Vec<Option<&RackBelief>> =
            topology.racks().iter().enumerate().map(|(i, r)| fleet.rack_at(i, &r.id)).collect();
        let own: Vec<Vec<bool>> = topology
            .racks()
            .iter()
            .zip(&beliefs)
            .map(|(spec, belief)| belief.map_or_else(Vec::new, |b| b.lost_cords(spec)))
            .collect();
        let dead_roots = self.dead_roots(fleet, now);
        if !dead_roots.contains(&true) && !own.iter().flatten().any(|lost| *lost) {
            return Live::new();
        }
        // When the newest rack that has just lost its cord on each feed was heard.
        let mut since: Vec<Option<Mono>> = vec![None; self.wiring.feeds];
        for ((cords, lost), belief) in self.wiring.cords.iter().zip(&own).zip(&beliefs) {
            for (feed, _) in cords.iter().zip(lost).filter(|(_, lost)| **lost) {
                since[*feed] = since[*feed].max(belief.map(|b| b.arrived));
            }
        }
        let presumed = |rack: usize, feed: usize| {
            let heard = beliefs[rack].map(|b| b.arrived);
            let before = |at| heard.is_none_or(|h| h < at && at.since(h) <= FRESH);
            let mute = || beliefs[rack].is_some_and(|b| b.is_mute(&topology.racks()[rack]));
            since[feed].is_some_and(|at| now.since(at) <= FRESH && (before(at) || mute()))
        };
        let mut live = Live::new();
        for (i, cords) in self.wiring.cords.iter().enumerate() {
            let lost = |c: usize| {
                let feed = cords[c];
                own[i].get(c).copied().unwrap_or(false) || dead_roots[feed] || presumed(i, feed)
            };
            let lost: Vec<usize> = (0..cords.len()).filter(|c| lost(*c)).collect();
            let gone: f64 = lost.iter().map(|c| topology.racks()[i].feeds[*c].share).sum();
            if gone > 0.0 && gone < 1.0 - 1e-9 {
                let dead = |node: usize| lost.iter().any(|c| cords[*c] == self.wiring.nodes[node]);
                let times = |node: usize| if dead(node) { 1.0 } else { 1.0 / (1.0 - gone) };
                live.insert(i, topology.shares(i).iter().map(|(n, share)| (*n, share * times(*n))).collect());
            }
        }
        live
    }

    /// The nodes and constraints above a rack that has lost cords, and last the site: phases of a node carry more
    /// in step with it.
    pub(super) fn path_of(&self, rack: usize, shares: &[(usize, f64)]) -> Vec<(usize, f64)> {
        let topology = &self.topology;
        let site = topology.nodes().len();
        let find = |shares: &[(usize, f64)], node: usize| shares.iter().find(|s| s.0 == node).map(|s| s.1);
        let times = |node: usize| Some(find(shares, node)? / find(topology.shares(rack), node)?);
        let constrained = topology.constrained(rack).iter().map(|(c, share)| {
            let grown = topology.constraints()[*c].phase_of().and_then(times);
            (site + c, share * grown.unwrap_or(1.0))
        });
        shares.iter().copied().chain(constrained).chain(self.grouped(rack, shares)).collect()
    }

    /// Feeds whose root's own meter says that nothing flows.
    fn dead_roots(&self, fleet: &Fleet, now: Mono) -> Vec<bool> {
        let mut dead = vec![false; self.wiring.feeds];
        for (n, spec) in self.topology.nodes().iter().enumerate().filter(|(_, spec)| spec.parent.is_none()) {
            let shown = spec.meter.as_ref().and_then(|m| fleet.meter(&m.rack, &m.device, now));
            dead[self.wiring.nodes[n]] |= shown.is_some_and(|power| power < spec.rating * NOTHING);
        }
        dead
    }
}

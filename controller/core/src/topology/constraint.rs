//! Limits that are no node's own: the phases of a node below which racks are not balanced, what a
//! standby must be able to take over, what the cooling units left after the loss of one can
//! remove. Each is a sum over racks with a share for each, as a node is.

use super::failover::{Failovers, after};
use super::{BALANCED, CoolingSpec, NodeSpec, RackSpec};
use headroom_rack::{NodeId, Watts};
use std::collections::BTreeMap;

/// A limit beside those of the nodes.
#[derive(Debug, Clone, PartialEq)]
pub enum Constraint {
    /// One phase, 0 to 2, of the node at this index.
    Phase(usize, usize),
    /// A node after it took over what hung on a lost feed.
    Standby {
        /// The node.
        node: usize,
        /// Which of its phases, 0 to 2, where these count one by one.
        phase: Option<usize>,
    },
    /// A node after a failover of its own, where the racks below take over unlike shares of what they draw.
    Failover {
        /// The node.
        node: usize,
        /// Which of the topology's failovers.
        failover: usize,
        /// Which of its phases, 0 to 2, where these count one by one.
        phase: Option<usize>,
    },
    /// What a set of cooling units removes.
    Cooling {
        /// The set.
        id: NodeId,
        /// After the loss of the largest.
        left: Watts,
        /// All of them.
        whole: Watts,
    },
}

/// The constraints, and what counts in them.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Constraints {
    pub all: Vec<Constraint>,
    /// Per rack its share in each that it has one in, or has one in once a transfer switch has moved.
    pub racks: Vec<Vec<(usize, f64)>>,
    /// Per rack: cord, constraint, share, where a loss is to be survived by the sum of three phases whose unevenness
    /// nobody planned.
    pub cords: Vec<Vec<(usize, usize, f64)>>,
}

/// What is known while constraints are looked for.
struct Search<'t> {
    nodes: &'t [NodeSpec],
    racks: &'t [RackSpec],
    paths: &'t [Vec<Vec<usize>>],
    switches: &'t [Vec<Option<Switch>>],
    split: &'t [bool],
    /// Rack and cord of all that hangs on each node.
    below: Vec<Vec<(usize, usize)>>,
    found: Vec<Constraint>,
    on: Vec<BTreeMap<usize, f64>>,
    cords: Vec<Vec<(usize, usize, f64)>>,
}

/// `paths[rack][cord]`: the nodes above the cord, from the nearest up; `split`: the nodes whose phases count one by one.
pub(super) fn find(
    nodes: &[NodeSpec],
    racks: &[RackSpec],
    cooling: &[CoolingSpec],
    paths: &[Vec<Vec<usize>>],
    switches: &[Vec<Option<Switch>>],
    split: &[bool],
    failovers: &Failovers,
) -> Constraints {
    let mut below: Vec<Vec<(usize, usize)>> = vec![Vec::new(); nodes.len()];
    for (r, paths) in paths.iter().enumerate() {
        for (c, path) in paths.iter().enumerate() {
            path.iter().for_each(|node| below[*node].push((r, c)));
        }
    }
    let (on, cords) = (vec![BTreeMap::new(); racks.len()], vec![Vec::new(); racks.len()]);
    let mut search = Search { nodes, racks, paths, switches, split, below, found: Vec::new(), on, cords };
    search.phases();
    search.standbys();
    search.failovers(failovers);
    for unit in cooling {
        let Some(left) = unit.left() else { continue };
        let slot = search.found.len();
        let whole = unit.units.iter().copied().sum();
        search.found.push(Constraint::Cooling { id: unit.id.clone(), left, whole });
        for (_, on) in racks.iter().zip(&mut search.on).filter(|(r, _)| unit.racks.contains(&r.id)) {
            on.insert(slot, 1.0);
        }
    }
    let racks = search.on.into_iter().map(|on| on.into_iter().collect()).collect();
    Constraints { all: search.found, racks, cords: search.cords }
}

/// The nodes of three phases below which a cord is, or comes with a transfer switch, that loads them unevenly.
pub(super) fn split(
    nodes: &[NodeSpec],
    racks: &[RackSpec],
    paths: &[Vec<Vec<usize>>],
    switches: &[Vec<Option<Switch>>],
) -> Vec<bool> {
    let uneven = |phases: &[f64; 3]| phases.iter().zip(&BALANCED).any(|(a, b)| (a - b).abs() > 1e-6);
    let mut split = vec![false; nodes.len()];
    for ((rack, paths), switches) in racks.iter().zip(paths).zip(switches) {
        let cords = rack.feeds.iter().zip(paths.iter().zip(switches));
        for (_, (path, switch)) in cords.filter(|(cord, _)| uneven(&cord.phases)) {
            let moved = switch.iter().flat_map(|switch| &switch.above);
            path.iter().chain(moved).for_each(|node| split[*node] = nodes[*node].phases == 3);
        }
    }
    split
}

/// A transfer switch above a cord.
#[derive(Debug, Clone, PartialEq)]
pub struct Switch {
    /// The nodes between it and the rack, from the nearest up, itself the last.
    pub below: Vec<usize>,
    /// Its standby and the nodes above that.
    pub above: Vec<usize>,
}

/// The transfer switch above a cord that is nearest to the rack: it decides.
pub(super) fn switch(nodes: &[NodeSpec], index: &BTreeMap<&NodeId, usize>, path: &[usize]) -> Option<Switch> {
    let place = |id: &Option<NodeId>| id.as_ref().and_then(|id| index.get(id).copied());
    let at = path.iter().position(|n| nodes[*n].standby.is_some())?;
    let above = std::iter::successors(place(&nodes[path[at]].standby), |n| place(&nodes[*n].parent));
    Some(Switch { below: path[..=at].to_vec(), above: above.collect() })
}

impl Search<'_> {
    /// A constraint on a node, or three where its phases count one by one; the number of the first.
    fn add(&mut self, node: usize, make: impl Fn(Option<usize>) -> Constraint) -> usize {
        let first = self.found.len();
        match self.split[node] {
            true => self.found.extend((0..3).map(|phase| make(Some(phase)))),
            false => self.found.push(make(None)),
        }
        first
    }

    /// A cord counts with this share of its rack in the constraints on a node that begin at `first`.
    fn count(&mut self, node: usize, first: usize, (rack, cord): (usize, usize), share: f64) {
        if self.split[node] {
            for (phase, part) in self.racks[rack].feeds[cord].phases.iter().enumerate().filter(|(_, part)| **part > 0.0)
            {
                *self.on[rack].entry(first + phase).or_default() += share * part;
            }
            return;
        }
        *self.on[rack].entry(first).or_default() += share;
        if self.nodes[node].phases == 3 && share > 0.0 {
            self.cords[rack].push((cord, first, share));
        }
    }

    /// Three constraints for each node whose phases count one by one.
    fn phases(&mut self) {
        let all = || (0..self.nodes.len()).filter(|node| self.split[*node]);
        let slots: BTreeMap<usize, usize> = all().enumerate().map(|(i, node)| (node, 3 * i)).collect();
        self.found.extend(all().flat_map(|node| (0..3).map(move |phase| Constraint::Phase(node, phase))));
        for (r, paths) in self.paths.iter().enumerate() {
            for (c, path) in paths.iter().enumerate() {
                // Behind a transfer switch that has not moved a cord loads nothing yet.
                let moved = self.switches[r][c].iter().flat_map(|switch| &switch.above);
                let later = moved.filter(|node| !path.contains(node)).map(|node| (node, 0.0));
                let share = self.racks[r].feeds[c].share;
                for (node, share) in path.iter().map(|node| (node, share)).chain(later) {
                    if let Some(slot) = slots.get(node) {
                        self.count(*node, *slot, (r, c), share);
                    }
                }
            }
        }
    }

    /// One constraint for each node that a standby or its parents are, and each feed they stand by for.
    fn standbys(&mut self) {
        let mut slots: BTreeMap<(usize, &str), usize> = BTreeMap::new();
        for (r, cords) in self.paths.iter().enumerate() {
            for (c, path) in cords.iter().enumerate() {
                let Some(Switch { below, above }) = &self.switches[r][c] else { continue };
                // What follows the switch in the path is what it hangs on.
                let Some(lost) = path.get(below.len()).map(|n| self.nodes[*n].feed.as_str()) else { continue };
                for node in above.iter().copied().filter(|n| !path.contains(n)) {
                    let slot = match slots.get(&(node, lost)) {
                        Some(slot) => *slot,
                        None => self.add(node, |phase| Constraint::Standby { node, phase }),
                    };
                    slots.insert((node, lost), slot);
                    self.count(node, slot, (r, c), self.racks[r].feeds[c].share);
                }
            }
        }
        // What hangs there in any case stays, unless the lost feed fed it.
        for ((node, lost), slot) in slots {
            if self.nodes[node].feed != lost {
                for (r, c) in self.below[node].clone() {
                    self.count(node, slot, (r, c), self.racks[r].feeds[c].share);
                }
            }
        }
    }

    /// One constraint for each failover in which racks take over unlike shares of what they draw.
    fn failovers(&mut self, failovers: &Failovers) {
        for node in 0..self.nodes.len() {
            for failover in failovers.of(node).filter(|failover| failovers.mixed[*failover]) {
                let first = self.add(node, |phase| Constraint::Failover { node, failover, phase });
                for (r, c) in self.below[node].clone() {
                    let shares: Vec<f64> = self.racks[r].feeds.iter().map(|cord| cord.share).collect();
                    let after = after(self.nodes, &self.paths[r], &shares, &failovers.lost[failover]);
                    self.count(node, first, (r, c), after.map_or(shares[c], |after| after[c]));
                }
            }
        }
    }
}

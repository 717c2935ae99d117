//! Limits that are no node's own: the phases of a node below which racks are not balanced, what a
//! standby must be able to take over, what the cooling units left after the loss of one can
//! remove. Each is a sum over racks with a share for each, as a node is.

use super::failover::Failovers;
use super::{BALANCED, CoolingSpec, NodeSpec, RackSpec};
use headroom_rack::{NodeId, Watts};
use std::collections::{BTreeMap, BTreeSet};

/// A limit beside those of the nodes.
#[derive(Debug, Clone, PartialEq)]
pub enum Constraint {
    /// One phase, 0 to 2, of the node at this index.
    Phase(usize, usize),
    /// The node at this index after it took over what hung on a lost feed.
    Standby(usize),
    /// A node after a failover of its own, where the racks below take over unlike shares of what they draw.
    Failover {
        /// The node.
        node: usize,
        /// Which of the topology's failovers.
        failover: usize,
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

impl Constraint {
    /// The node one of whose phases it holds.
    pub fn phase_of(&self) -> Option<usize> {
        match self {
            Self::Phase(node, _) => Some(*node),
            _ => None,
        }
    }
}

/// The constraints and, per rack, its share in each that it has one in.
pub(super) type Constraints = (Vec<Constraint>, Vec<Vec<(usize, f64)>>);

/// `paths[rack][cord]`: the nodes above the cord, from the nearest up.
pub(super) fn find(
    nodes: &[NodeSpec],
    racks: &[RackSpec],
    cooling: &[CoolingSpec],
    paths: &[Vec<Vec<usize>>],
    shares: &[Vec<(usize, f64)>],
    failovers: &Failovers,
) -> Constraints {
    let mut found = Vec::new();
    let mut on: Vec<BTreeMap<usize, f64>> = vec![BTreeMap::new(); racks.len()];
    phases(nodes, racks, paths, &mut found, &mut on);
    standbys(nodes, racks, paths, shares, &mut found, &mut on);
    unlike(failovers, shares, &mut found, &mut on);
    for unit in cooling {
        let Some(left) = unit.left() else { continue };
        let slot = found.len();
        let whole = unit.units.iter().copied().sum();
        found.push(Constraint::Cooling { id: unit.id.clone(), left, whole });
        for (_, on) in racks.iter().zip(&mut on).filter(|(r, _)| unit.racks.contains(&r.id)) {
            on.insert(slot, 1.0);
        }
    }
    (found, on.into_iter().map(|on| on.into_iter().collect()).collect())
}

/// One constraint for each failover in which racks take over unlike shares of what they draw.
fn unlike(
    failovers: &Failovers,
    shares: &[Vec<(usize, f64)>],
    found: &mut Vec<Constraint>,
    on: &mut [BTreeMap<usize, f64>],
) {
    let nodes: BTreeSet<usize> = shares.iter().flatten().map(|(node, _)| *node).collect();
    let all = nodes.into_iter().flat_map(|node| failovers.of(node).map(move |failover| (node, failover)));
    for (node, failover) in all.filter(|(_, failover)| failovers.mixed[*failover]) {
        let slot = found.len();
        found.push(Constraint::Failover { node, failover });
        for ((shares, moves), on) in shares.iter().zip(&failovers.moves).zip(&mut *on) {
            if let Some((_, share)) = shares.iter().find(|(n, share)| *n == node && *share > 0.0) {
                let more = moves.iter().find(|(f, _)| *f == failover).map_or(0.0, |(_, more)| *more);
                on.insert(slot, share + more);
            }
        }
    }
}

/// Three constraints for each three-phase node below which a cord is not balanced.
fn phases(
    nodes: &[NodeSpec],
    racks: &[RackSpec],
    paths: &[Vec<Vec<usize>>],
    found: &mut Vec<Constraint>,
    on: &mut [BTreeMap<usize, f64>],
) {
    let uneven = |phases: &[f64; 3]| phases.iter().zip(&BALANCED).any(|(a, b)| (a - b).abs() > 1e-6);
    let cords = || racks.iter().zip(paths).flat_map(|(rack, paths)| rack.feeds.iter().zip(paths));
    let above = cords().filter(|(cord, _)| uneven(&cord.phases)).flat_map(|(_, path)| path.iter().copied());
    let split: BTreeSet<usize> = above.filter(|node| nodes[*node].phases == 3).collect();
    let slots: BTreeMap<usize, usize> = split.iter().enumerate().map(|(i, n)| (*n, found.len() + 3 * i)).collect();
    found.extend(split.iter().flat_map(|n| (0..3).map(|p| Constraint::Phase(*n, p))));
    for ((rack, paths), on) in racks.iter().zip(paths).zip(on) {
        for (cord, path) in rack.feeds.iter().zip(paths) {
            for slot in path.iter().filter_map(|node| slots.get(node)) {
                for (p, share) in cord.phases.iter().enumerate().filter(|(_, share)| **share > 0.0) {
                    *on.entry(slot + p).or_default() += cord.share * share;
                }
            }
        }
    }
}

/// One constraint for each node that a standby or its parents are, and each feed they stand by for.
fn standbys(
    nodes: &[NodeSpec],
    racks: &[RackSpec],
    paths: &[Vec<Vec<usize>>],
    shares: &[Vec<(usize, f64)>],
    found: &mut Vec<Constraint>,
    on: &mut [BTreeMap<usize, f64>],
) {
    let index: BTreeMap<&NodeId, usize> = nodes.iter().enumerate().map(|(i, n)| (&n.id, i)).collect();
    let parent = |node: usize| nodes[node].parent.as_ref().and_then(|p| index.get(p).copied());
    let up = |node: usize| std::iter::successors(Some(node), |n| parent(*n));
    let mut slots: BTreeMap<(usize, &str), usize> = BTreeMap::new();
    for (r, cords) in paths.iter().enumerate() {
        for (cord, path) in racks[r].feeds.iter().zip(cords) {
            // The transfer switch nearest to the rack decides.
            let Some((at, to)) = path.iter().find_map(|n| Some((*n, *index.get(nodes[*n].standby.as_ref()?)?))) else {
                continue;
            };
            let Some(lost) = parent(at).map(|p| nodes[p].feed.as_str()) else { continue };
            for node in up(to).filter(|n| !path.contains(n)) {
                let slot = *slots.entry((node, lost)).or_insert_with(|| {
                    found.push(Constraint::Standby(node));
                    found.len() - 1
                });
                *on[r].entry(slot).or_default() += cord.share;
            }
        }
    }
    // What hangs there in any case stays, unless the lost feed fed it.
    for ((node, lost), slot) in slots {
        for (r, shares) in shares.iter().enumerate() {
            let own = shares.iter().find(|(n, _)| *n == node).map_or(0.0, |(_, share)| *share);
            if own > 0.0 && nodes[node].feed != lost {
                *on[r].entry(slot).or_default() += own;
            }
        }
    }
}

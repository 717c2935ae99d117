//! What each node carries by the nameplates and safe shares of its racks: on each phase, now and after the
//! loss of a feed or of what a standby stands by for.

use headroom_controller_core::{NodeSpec, Topology};
use headroom_rack::{NodeId, Watts};
use std::collections::{BTreeMap, BTreeSet};

/// A phase this much over the mean is told by its name.
const FULLER: f64 = 1.005;

/// A load in all and on L1, L2, L3. These sum to more where lines are connected to lines.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Carried {
    pub total: Watts,
    phases: [f64; 3],
}

impl Carried {
    fn add(&mut self, watts: Watts, phases: [f64; 3]) {
        self.total += watts;
        for (sum, phase) in self.phases.iter_mut().zip(phases) {
            *sum += watts.get() * phase;
        }
    }

    /// The fullest phase of a three-phase node and what flows there, where phases differ.
    pub fn fullest(&self, node: &NodeSpec) -> Option<(usize, Watts)> {
        let (phase, most) = self.phases.iter().copied().enumerate().max_by(|a, b| a.1.total_cmp(&b.1))?;
        let is_fuller = node.phases == 3 && most * 3.0 > self.total.get() * FULLER;
        is_fuller.then_some((phase, Watts::new(most)))
    }

    /// What to hold against the rating of all phases: the fullest one trips it.
    pub fn of(&self, node: &NodeSpec) -> Watts {
        self.fullest(node).map_or(self.total, |(_, most)| (most * 3.0).max(self.total))
    }

    /// The fullest phase and its share of all, when it lies further than `by` above their mean.
    pub fn uneven(&self, node: &NodeSpec, by: f64) -> Option<(usize, f64)> {
        let all: f64 = self.phases.iter().sum();
        let (phase, most) = self.fullest(node)?;
        let share = most.get() / all;
        (share * 3.0 > 1.0 + by).then_some((phase, share))
    }
}

/// What a node carries.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Load {
    pub nameplate: Carried,
    pub safe: Carried,
    pub safe_after_loss: Carried,
}

/// The load of each node.
pub(super) fn loads(topology: &Topology) -> Vec<Load> {
    let nodes = topology.nodes();
    let mut loads = vec![Load::default(); nodes.len()];
    for (r, rack) in topology.racks().iter().enumerate() {
        for (cord, path) in rack.feeds.iter().zip(topology.paths(r)) {
            for node in path {
                loads[*node].nameplate.add(rack.nameplate() * cord.share, cord.phases);
                loads[*node].safe.add(rack.at(rack.safe_gpu) * cord.share, cord.phases);
            }
        }
    }
    let safe: Vec<Carried> = loads.iter().map(|l| l.safe).collect();
    loads.iter_mut().for_each(|load| load.safe_after_loss = load.safe);
    let mut worse = |node: usize, after: Carried| {
        let known = &mut loads[node].safe_after_loss;
        if after.of(&nodes[node]) > known.of(&nodes[node]) {
            *known = after;
        }
    };
    for feed in nodes.iter().map(|n| n.feed.as_str()).collect::<BTreeSet<_>>() {
        for (node, after) in without(topology, feed, &safe) {
            worse(node, after);
        }
    }
    for (node, after) in taken_over(topology, &safe) {
        worse(node, after);
    }
    loads
}

/// Nodes that carry more when a feed is lost. A rack draws the same from its other cords, in proportion; a cord
/// behind a transfer switch stays. What gets less of one rack keeps its share of it, to be on the safe side.
fn without(topology: &Topology, feed: &str, safe: &[Carried]) -> BTreeMap<usize, Carried> {
    let nodes = topology.nodes();
    let mut after: BTreeMap<usize, Carried> = BTreeMap::new();
    for (r, rack) in topology.racks().iter().enumerate() {
        let is_lost = |path: &[usize]| {
            let is_switched = path.iter().any(|n| nodes[*n].standby.is_some());
            !is_switched && path.first().is_some_and(|n| nodes[*n].feed == feed)
        };
        let cords = || rack.feeds.iter().zip(topology.paths(r));
        let lost: f64 = cords().filter(|(_, path)| is_lost(path)).map(|(cord, _)| cord.share).sum();
        if lost <= 0.0 || lost >= 1.0 - 1e-9 {
            continue;
        }
        let more = rack.at(rack.safe_gpu) * (1.0 / (1.0 - lost) - 1.0);
        let gone: BTreeSet<usize> = cords().filter(|(_, p)| is_lost(p)).flat_map(|(_, p)| p.iter().copied()).collect();
        for (cord, path) in cords().filter(|(_, path)| !is_lost(path)) {
            // What both cords hang on carries the same as before.
            for node in path.iter().filter(|n| !gone.contains(n) && nodes[**n].feed != feed) {
                after.entry(*node).or_insert(safe[*node]).add(more * cord.share, cord.phases);
            }
        }
    }
    after
}

/// What a standby and what is above it carry after a transfer, once for each feed they stand by for.
fn taken_over(topology: &Topology, safe: &[Carried]) -> Vec<(usize, Carried)> {
    let nodes = topology.nodes();
    let index: BTreeMap<&NodeId, usize> = nodes.iter().enumerate().map(|(i, n)| (&n.id, i)).collect();
    let parent = |node: usize| nodes[node].parent.as_ref().and_then(|p| index.get(p).copied());
    let mut found: BTreeMap<(usize, &str), Carried> = BTreeMap::new();
    for (r, rack) in topology.racks().iter().enumerate() {
        for (cord, path) in rack.feeds.iter().zip(topology.paths(r)) {
            let Some((lost, to)) = switch(nodes, &index, path) else { continue };
            for node in std::iter::successors(Some(to), |n| parent(*n)).filter(|n| !path.contains(n)) {
                // What hangs there in any case stays, unless the lost feed fed it.
                let own = if nodes[node].feed == lost { Carried::default() } else { safe[node] };
                let carried = found.entry((node, lost)).or_insert(own);
                carried.add(rack.at(rack.safe_gpu) * cord.share, cord.phases);
            }
        }
    }
    found.into_iter().map(|((node, _), carried)| (node, carried)).collect()
}

/// The transfer switch nearest to the rack: the feed it leaves and where it goes.
fn switch<'t>(nodes: &'t [NodeSpec], index: &BTreeMap<&NodeId, usize>, path: &[usize]) -> Option<(&'t str, usize)> {
    let (at, to) = path.iter().find_map(|n| Some((*n, *index.get(nodes[*n].standby.as_ref()?)?)))?;
    let lost = *index.get(nodes[at].parent.as_ref()?)?;
    Some((nodes[lost].feed.as_str(), to))
}

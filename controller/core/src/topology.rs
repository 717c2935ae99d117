//! The electrical tree as validated data: UPSs and breakers with their ratings, racks with their
//! shares. What each of them is stands in `spec.rs`. A parsed [`Topology`] has no cycle, no dangling parent and no missing rating.

mod constraint;
mod failover;
mod spec;

pub use constraint::{Constraint, Switch};
pub use spec::{BALANCED, CoolingSpec, FeedShare, MeterRef, NodeKind, NodeSpec, RackSpec};

use constraint::Constraints;
use failover::Failovers;
use headroom_rack::{NodeId, RackId};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// One mistake in a topology.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum TopologyError {
    /// Two nodes or racks share a name.
    #[error("{0:?} is named twice; give each node and rack a name of its own")]
    Twice(String),
    /// A parent or cord names no node.
    #[error("{child:?} hangs on {parent:?}, which is not a [[node]]")]
    Unknown {
        /// What hangs there.
        child: String,
        /// The missing node.
        parent: String,
    },
    /// Following parents comes back.
    #[error("{0:?} hangs on itself through its parents; a tree has a root")]
    Cycle(String),
    /// A number is out of its range.
    #[error("{of:?}: {what} is {got}, must be {must}")]
    Range {
        /// The node or rack.
        of: String,
        /// Which number.
        what: &'static str,
        /// What it is.
        got: f64,
        /// What would be right.
        must: &'static str,
    },
    /// There is nothing to control.
    #[error("there is no [[rack]]; name at least one")]
    NoRack,
}

impl TopologyError {
    /// The node or rack it is about.
    pub fn of(&self) -> Option<&str> {
        match self {
            Self::Twice(of) | Self::Cycle(of) | Self::Range { of, .. } | Self::Unknown { child: of, .. } => Some(of),
            Self::NoRack => None,
        }
    }
}

/// A validated tree. Nodes come parents before children.
#[derive(Debug, Clone, PartialEq)]
pub struct Topology {
    nodes: Vec<NodeSpec>,
    racks: Vec<RackSpec>,
    /// Where each rack stands.
    places: HashMap<RackId, usize>,
    shares: Vec<Vec<(usize, f64)>>,
    failovers: Failovers,
    split: Vec<bool>,
    constraints: Constraints,
    /// Per rack, the set of units that cools it, if one does.
    cooled_by: Vec<Option<NodeId>>,
    /// Per rack and cord, the nodes above it from the nearest up.
    paths: Vec<Vec<Vec<usize>>>,
    switches: Vec<Vec<Option<Switch>>>,
}

impl Topology {
    /// Checks and orders the tree.
    ///
    /// # Errors
    /// Every mistake at once.
    pub fn new(nodes: Vec<NodeSpec>, racks: Vec<RackSpec>) -> Result<Self, Vec<TopologyError>> {
        Self::with_cooling(nodes, racks, &[])
    }

    /// Checks and orders the tree, with the cooling units that serve it.
    ///
    /// # Errors
    /// Every mistake at once.
    pub fn with_cooling(
        nodes: Vec<NodeSpec>,
        racks: Vec<RackSpec>,
        cooling: &[CoolingSpec],
    ) -> Result<Self, Vec<TopologyError>> {
        let mut errors = Vec::new();
        let mut names = BTreeSet::new();
        let all = nodes.iter().map(|n| n.id.as_str()).chain(racks.iter().map(|r| r.id.as_str()));
        errors.extend(all.filter(|name| !names.insert(*name)).map(|n| TopologyError::Twice(n.to_owned())));
        let by_id: BTreeMap<&NodeId, &NodeSpec> = nodes.iter().map(|n| (&n.id, n)).collect();
        let unknown = |child: &str, parent: &NodeId| TopologyError::Unknown {
            child: child.to_owned(),
            parent: parent.as_str().to_owned(),
        };
        for node in &nodes {
            for above in [&node.parent, &node.standby].into_iter().flatten().filter(|p| !by_id.contains_key(p)) {
                errors.push(unknown(node.id.as_str(), above));
            }
            positive(&mut errors, node.id.as_str(), "rating", node.rating.get());
            if ancestors(&by_id, &node.id).is_none() {
                errors.push(TopologyError::Cycle(node.id.as_str().to_owned()));
            }
        }
        if racks.is_empty() {
            errors.push(TopologyError::NoRack);
        }
        for rack in &racks {
            let id = rack.id.as_str();
            for cord in rack.feeds.iter().filter(|c| !by_id.contains_key(&c.node)) {
                errors.push(unknown(id, &cord.node));
            }
            positive(&mut errors, id, "weight", rack.weight);
            positive(&mut errors, id, "gpus", f64::from(rack.gpus));
            positive(&mut errors, id, "gpu_max_watts", rack.gpu_max.get());
            positive(&mut errors, id, "safe_gpu_watts", rack.safe_gpu.get());
            positive(&mut errors, id, "coolant_liters", rack.coolant_liters());
            let sum: f64 = rack.feeds.iter().map(|c| c.share).sum();
            if rack.feeds.iter().any(|c| c.share <= 0.0) || (sum - 1.0).abs() > 1e-6 {
                let (what, must) = ("the sum of its feed shares", "1, each above 0");
                errors.push(TopologyError::Range { of: id.to_owned(), what, got: sum, must });
            }
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        let mut ordered: Vec<NodeSpec> = nodes.clone();
        ordered.sort_by_key(|n| ancestors(&by_id, &n.id).map_or(0, |a| a.len()));
        let index: BTreeMap<&NodeId, usize> = ordered.iter().enumerate().map(|(i, n)| (&n.id, i)).collect();
        let path = |cord: &FeedShare| -> Vec<usize> {
            ancestors(&by_id, &cord.node).unwrap_or_default().into_iter().map(|node| index[node]).collect()
        };
        let paths: Vec<Vec<Vec<usize>>> = racks.iter().map(|r| r.feeds.iter().map(path).collect()).collect();
        let switch = |path: &Vec<usize>| constraint::switch(&ordered, &index, path);
        let switches: Vec<Vec<Option<Switch>>> = paths.iter().map(|cords| cords.iter().map(switch).collect()).collect();
        drop(index);
        let shares: Vec<Vec<(usize, f64)>> = racks
            .iter()
            .zip(&paths)
            .map(|(rack, paths)| {
                let mut on: BTreeMap<usize, f64> = BTreeMap::new();
                for (cord, path) in rack.feeds.iter().zip(paths) {
                    for node in path {
                        *on.entry(*node).or_default() += cord.share;
                    }
                }
                on.into_iter().collect()
            })
            .collect();
        let split = constraint::split(&ordered, &racks, &paths, &switches);
        let failovers = Failovers::find(&ordered, &racks, &paths, &split);
        let constraints = constraint::find(&ordered, &racks, cooling, &paths, &switches, &split, &failovers);
        let places = racks.iter().enumerate().map(|(place, r)| (r.id.clone(), place)).collect();
        let sets: HashMap<&RackId, &NodeId> =
            cooling.iter().flat_map(|set| set.racks.iter().map(|rack| (rack, &set.id))).collect();
        let cooled_by = racks.iter().map(|rack| sets.get(&rack.id).copied().cloned()).collect();
        Ok(Self { nodes: ordered, racks, places, shares, failovers, split, constraints, cooled_by, paths, switches })
    }

    /// The nodes, parents before children.
    pub fn nodes(&self) -> &[NodeSpec] {
        &self.nodes
    }

    /// The racks as configured.
    pub fn racks(&self) -> &[RackSpec] {
        &self.racks
    }

    /// For the rack at `index`: each node above it and the share of the rack it carries.
    pub fn shares(&self, index: usize) -> &[(usize, f64)] {
        &self.shares[index]
    }

    /// The failovers of the node at `index`: one for each other feed whose loss brings it more load.
    pub fn failovers(&self, index: usize) -> std::ops::Range<usize> {
        self.failovers.of(index)
    }

    /// How many failovers there are in all.
    pub fn failover_count(&self) -> usize {
        self.failovers.count()
    }

    /// For the rack at `index`: each failover that moves some of its power, and the share of the rack
    /// that comes on top of what the failover's node carries already.
    pub fn moves(&self, index: usize) -> &[(usize, f64)] {
        &self.failovers.moves[index]
    }

    /// The same if its cords carry these shares of it, which are not what the plan says.
    pub fn moves_with(&self, index: usize, shares: &[f64]) -> Vec<(usize, f64)> {
        let moved = failover::moved(&self.nodes, &self.paths[index], shares);
        let slot = |node: usize, feed: &str| self.failovers(node).find(|slot| self.failovers.lost[*slot] == feed);
        moved.into_iter().filter_map(|(node, feed, more)| Some((slot(node, feed)?, more))).collect()
    }

    /// What each cord of the rack at `index` carries after the loss of the feed of a failover, if they carry these
    /// shares now.
    pub fn after(&self, index: usize, failover: usize, shares: &[f64]) -> Vec<f64> {
        let after = failover::after(&self.nodes, &self.paths[index], shares, &self.failovers.lost[failover]);
        after.unwrap_or_else(|| shares.to_vec())
    }

    /// Whether the racks below the node of this failover take over unlike shares of what they draw, so that what one
    /// may draw depends on what another draws.
    pub fn is_mixed(&self, failover: usize) -> bool {
        self.failovers.mixed[failover]
    }

    /// The parent of each node.
    pub fn above(&self) -> Vec<Option<usize>> {
        let place: HashMap<&NodeId, usize> = self.nodes.iter().enumerate().map(|(i, n)| (&n.id, i)).collect();
        self.nodes.iter().map(|n| n.parent.as_ref().and_then(|p| place.get(p).copied())).collect()
    }

    /// Limits that are no node's own.
    pub fn constraints(&self) -> &[Constraint] {
        &self.constraints.all
    }

    /// For the rack at `index`: each constraint it counts in and its share; 0 in one in which it counts once a transfer
    /// switch has moved.
    pub fn constrained(&self, index: usize) -> &[(usize, f64)] {
        &self.constraints.racks[index]
    }

    /// For the rack at `index`: cord, constraint and share, where a loss is to be survived by the sum of three phases
    /// whose unevenness nobody planned.
    pub fn constrained_cords(&self, index: usize) -> &[(usize, usize, f64)] {
        &self.constraints.cords[index]
    }

    /// Whether the phases of the node at `index` have constraints of their own.
    pub fn is_split(&self, index: usize) -> bool {
        self.split[index]
    }

    /// The set of units that cools the rack at `index`, if one does.
    pub fn cooled_by(&self, index: usize) -> Option<&NodeId> {
        self.cooled_by[index].as_ref()
    }

    /// For the rack at `index` and each of its cords: the nodes above, from the nearest up.
    pub fn paths(&self, index: usize) -> &[Vec<usize>] {
        &self.paths[index]
    }

    /// Whether a cord of the rack at `index` goes dark with a feed.
    pub fn goes_dark(&self, index: usize, cord: usize, feed: &str) -> bool {
        failover::is_lost(&self.nodes, feed, &self.paths[index][cord])
    }

    /// The nodes above a cord of the rack at `index` that does not go dark with a feed: those above its standby if
    /// its transfer switch hangs on that feed.
    pub fn without(&self, index: usize, cord: usize, feed: &str) -> impl Iterator<Item = usize> {
        let path = &self.paths[index][cord][..];
        let fed = |switch: &&Switch| path.get(switch.below.len()).is_some_and(|n| self.nodes[*n].feed == feed);
        let (near, far) = match self.switches[index][cord].as_ref().filter(fed) {
            Some(switch) => (&switch.below[..], &switch.above[..]),
            None => (path, &[][..]),
        };
        near.iter().chain(far).copied()
    }

    /// For the rack at `index` and each of its cords: the transfer switch above it, if there is one.
    pub fn switches(&self, index: usize) -> &[Option<Switch>] {
        &self.switches[index]
    }

    /// The configuration of one rack.
    pub fn rack(&self, id: &RackId) -> Option<&RackSpec> {
        Some(&self.racks[*self.places.get(id)?])
    }
}

fn positive(errors: &mut Vec<TopologyError>, of: &str, what: &'static str, got: f64) {
    if !(got.is_finite() && got > 0.0) {
        errors.push(TopologyError::Range { of: of.to_owned(), what, got, must: "a number above 0" });
    }
}

/// The node itself and all above it; `None` when they go round in a circle.
fn ancestors<'a>(by_id: &BTreeMap<&'a NodeId, &'a NodeSpec>, id: &NodeId) -> Option<Vec<&'a NodeId>> {
    let mut path = Vec::new();
    let mut next = by_id.get(id);
    while let Some(node) = next {
        if path.contains(&&node.id) {
            return None;
        }
        path.push(&node.id);
        next = node.parent.as_ref().and_then(|p| by_id.get(p));
    }
    Some(path)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use headroom_rack::{DeviceId, Watts};

    /// Two feeds of 11.52 kW, four racks of 8 GPUs, as the embedded row.
    pub(crate) fn row() -> Topology {
        let node = |id: &str, kind, parent: Option<&str>, rating| NodeSpec {
            parent: parent.map(|p| NodeId::new(p).unwrap()),
            ..NodeSpec::new(NodeId::new(id).unwrap(), kind, id.rsplit('-').next().unwrap(), Watts::new(rating))
        };
        let cord = |f: &str| {
            FeedShare::new(
                NodeId::new(format!("breaker-{f}")).unwrap(),
                0.5,
                DeviceId::new(format!("pdu-{f}")).unwrap(),
            )
        };
        let rack = |n: u32, priority: &str| RackSpec {
            id: RackId::new(format!("rack-{n}")).unwrap(),
            priority: priority.to_owned(),
            weight: 1.0,
            gpus: 8,
            overhead: Watts::new(1700.0),
            gpu_max: Watts::new(700.0),
            safe_gpu: Watts::new(400.0),
            feeds: vec![cord("a"), cord("b")],
            cooling: Some(DeviceId::new("cooling").unwrap()),
            coolant_liters: None,
        };
        Topology::new(
            vec![
                node("breaker-a", NodeKind::Breaker, Some("ups-a"), 11_520.0),
                node("breaker-b", NodeKind::Breaker, Some("ups-b"), 11_520.0),
                node("ups-a", NodeKind::Ups, None, 30_000.0),
                node("ups-b", NodeKind::Ups, None, 30_000.0),
            ],
            vec![rack(1, "training"), rack(2, "training"), rack(3, "inference"), rack(4, "batch")],
        )
        .unwrap()
    }

    #[test]
    fn parents_come_before_children_and_shares_reach_the_root() {
        let topology = row();
        assert_eq!(topology.nodes()[0].kind, NodeKind::Ups);
        assert_eq!(topology.shares(0), &[(0, 0.5), (1, 0.5), (2, 0.5), (3, 0.5)]);
    }

    #[test]
    fn the_loss_of_a_feed_doubles_the_other_of_two_and_adds_half_where_three_share() {
        let two_n = row();
        assert_eq!(two_n.failovers(0).len(), 1);
        assert_eq!(two_n.moves(0).iter().map(|m| m.1).collect::<Vec<_>>(), [0.5; 4]);
        let ups = |feed: &str| {
            NodeSpec::new(NodeId::new(format!("ups-{feed}")).unwrap(), NodeKind::Ups, feed, Watts::new(20_000.0))
        };
        let on = |n: u32, feeds: [&str; 2]| RackSpec {
            id: RackId::new(format!("rack-{n}")).unwrap(),
            feeds: feeds.map(|f| FeedShare::new(ups(f).id, 0.5, DeviceId::new(format!("pdu-{f}")).unwrap())).to_vec(),
            ..two_n.racks()[0].clone()
        };
        let racks = vec![on(1, ["a", "b"]), on(2, ["b", "c"]), on(3, ["a", "c"])];
        let shared = Topology::new(["a", "b", "c"].map(ups).to_vec(), racks).unwrap();
        let mut more = vec![0.0; shared.failover_count()];
        (0..3).for_each(|r| shared.moves(r).iter().for_each(|(slot, share)| more[*slot] += share));
        // Each UPS carries one rack's worth; losing either of the others brings half a rack.
        assert_eq!(more, vec![0.5; 6]);
    }

    #[test]
    fn every_mistake_is_reported_at_once() {
        let good = row();
        let mut nodes = good.nodes().to_vec();
        nodes[0].parent = Some(nodes[2].id.clone());
        nodes[1].rating = Watts::ZERO;
        let mut racks = good.racks().to_vec();
        racks[0].feeds[0].share = 0.7;
        racks[1].feeds[0].node = NodeId::new("nowhere").unwrap();
        let errors = Topology::new(nodes, racks).unwrap_err();
        let text = errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
        for part in ["through its parents", "rating is 0", "feed shares is 1.2", "\"nowhere\""] {
            assert!(text.contains(part), "{part} missing in\n{text}");
        }
    }
}

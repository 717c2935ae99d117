//! The electrical tree as validated data: UPSs and breakers with their ratings, racks with their
//! shares. A parsed [`Topology`] has no cycle, no dangling parent and no missing rating.

use headroom_rack::{DeviceId, NodeId, RackId, Watts};
use std::collections::{BTreeMap, BTreeSet};

/// What a node is; decides which overload curve protects it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NodeKind {
    /// An uninterruptible power supply, judged by an overload table.
    Ups,
    /// A miniature circuit breaker of IEC 60898-1 type C, judged by a thermal image.
    Breaker,
}

/// The meter in a node's circuit: a device of the agent that reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MeterRef {
    /// The agent's rack.
    pub rack: RackId,
    /// The device within it.
    pub device: DeviceId,
}

/// One node above the racks.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeSpec {
    /// Its name.
    pub id: NodeId,
    /// What it is.
    pub kind: NodeKind,
    /// The feed it belongs to, such as `a`.
    pub feed: String,
    /// The node it hangs on; none for the root of a feed.
    pub parent: Option<NodeId>,
    /// Continuous rating, all phases, before derating.
    pub rating: Watts,
    /// The meter in the circuit, if there is one.
    pub meter: Option<MeterRef>,
}

/// How much of a rack one cord carries.
#[derive(Debug, Clone, PartialEq)]
pub struct FeedShare {
    /// The node the cord hangs on.
    pub node: NodeId,
    /// Share of the rack's power, above 0 and at most 1; all cords of a rack sum to 1.
    pub share: f64,
    /// The PDU that meters the cord.
    pub meter: DeviceId,
}

/// One rack.
#[derive(Debug, Clone, PartialEq)]
pub struct RackSpec {
    /// Its name.
    pub id: RackId,
    /// The priority band, one of the policy's.
    pub priority: String,
    /// Weight of its share inside the band, above 0.
    pub weight: f64,
    /// Number of GPUs.
    pub gpus: u32,
    /// Power of everything but the GPUs, at most.
    pub overhead: Watts,
    /// Highest limit of one GPU.
    pub gpu_max: Watts,
    /// Limit of one GPU at which the whole site is safe without a controller.
    pub safe_gpu: Watts,
    /// Its cords.
    pub feeds: Vec<FeedShare>,
    /// The device that cools it, if it is read.
    pub cooling: Option<DeviceId>,
}

impl RackSpec {
    /// What it draws at most.
    pub fn nameplate(&self) -> Watts {
        self.at(self.gpu_max)
    }

    /// What it draws at most with every GPU limited to `gpu`.
    pub fn at(&self, gpu: Watts) -> Watts {
        self.overhead + gpu * f64::from(self.gpus)
    }
}

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

/// A validated tree. Nodes come parents before children.
#[derive(Debug, Clone, PartialEq)]
pub struct Topology {
    nodes: Vec<NodeSpec>,
    racks: Vec<RackSpec>,
    shares: Vec<Vec<(usize, f64)>>,
    /// Per node, where in the list of failovers its own begin; one more at the end.
    failovers: Vec<usize>,
    moves: Vec<Vec<(usize, f64)>>,
}

impl Topology {
    /// Checks and orders the tree.
    ///
    /// # Errors
    /// Every mistake at once.
    pub fn new(nodes: Vec<NodeSpec>, racks: Vec<RackSpec>) -> Result<Self, Vec<TopologyError>> {
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
            if let Some(parent) = node.parent.as_ref().filter(|p| !by_id.contains_key(p)) {
                errors.push(unknown(node.id.as_str(), parent));
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
        let shares: Vec<Vec<(usize, f64)>> = racks
            .iter()
            .map(|rack| {
                let mut on: BTreeMap<usize, f64> = BTreeMap::new();
                for cord in &rack.feeds {
                    for node in ancestors(&by_id, &cord.node).unwrap_or_default() {
                        *on.entry(index[node]).or_default() += cord.share;
                    }
                }
                on.into_iter().collect()
            })
            .collect();
        drop(index);
        let (failovers, moves) = failovers(&ordered, &racks, &shares);
        Ok(Self { nodes: ordered, racks, shares, failovers, moves })
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
        self.failovers[index]..self.failovers[index + 1]
    }

    /// How many failovers there are in all.
    pub fn failover_count(&self) -> usize {
        self.failovers[self.nodes.len()]
    }

    /// For the rack at `index`: each failover that moves some of its power, and the share of the rack
    /// that comes on top of what the failover's node carries already.
    pub fn moves(&self, index: usize) -> &[(usize, f64)] {
        &self.moves[index]
    }

    /// The configuration of one rack.
    pub fn rack(&self, id: &RackId) -> Option<&RackSpec> {
        self.racks.iter().find(|r| r.id == *id)
    }
}

/// What the loss of each feed moves where. A rack that loses a feed draws the same from its other
/// cords, in proportion: 2N doubles the other one, distributed redundancy spreads it.
fn failovers(
    nodes: &[NodeSpec],
    racks: &[RackSpec],
    shares: &[Vec<(usize, f64)>],
) -> (Vec<usize>, Vec<Vec<(usize, f64)>>) {
    let feed_of: BTreeMap<&NodeId, &str> = nodes.iter().map(|n| (&n.id, n.feed.as_str())).collect();
    let mut partners: Vec<BTreeSet<&str>> = vec![BTreeSet::new(); nodes.len()];
    let mut found: Vec<Vec<(usize, &str, f64)>> = Vec::with_capacity(racks.len());
    for (rack, above) in racks.iter().zip(shares) {
        let mut on_feed: BTreeMap<&str, f64> = BTreeMap::new();
        for cord in &rack.feeds {
            *on_feed.entry(feed_of[&cord.node]).or_default() += cord.share;
        }
        let mut moved = Vec::new();
        for (node, share) in above {
            let others = on_feed.iter().filter(|(feed, lost)| **feed != nodes[*node].feed && **lost < 1.0 - 1e-9);
            for (feed, lost) in others {
                partners[*node].insert(feed);
                moved.push((*node, *feed, share * (1.0 / (1.0 - lost) - 1.0)));
            }
        }
        found.push(moved);
    }
    let mut first = vec![0];
    for feeds in &partners {
        first.push(first[first.len() - 1] + feeds.len());
    }
    let slot = |node: usize, feed: &str| first[node] + partners[node].iter().take_while(|f| **f != feed).count();
    let moves = found.iter().map(|rack| rack.iter().map(|(n, f, more)| (slot(*n, f), *more)).collect()).collect();
    (first, moves)
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

    /// Two feeds of 11.52 kW, four racks of 8 GPUs, as the embedded row.
    pub(crate) fn row() -> Topology {
        let node = |id: &str, kind, parent: Option<&str>, rating| NodeSpec {
            id: NodeId::new(id).unwrap(),
            kind,
            feed: id.rsplit('-').next().unwrap().to_owned(),
            parent: parent.map(|p| NodeId::new(p).unwrap()),
            rating: Watts::new(rating),
            meter: None,
        };
        let cord = |f: &str| FeedShare {
            node: NodeId::new(format!("breaker-{f}")).unwrap(),
            share: 0.5,
            meter: DeviceId::new(format!("pdu-{f}")).unwrap(),
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
        let ups = |feed: &str| NodeSpec {
            id: NodeId::new(format!("ups-{feed}")).unwrap(),
            kind: NodeKind::Ups,
            feed: feed.to_owned(),
            parent: None,
            rating: Watts::new(20_000.0),
            meter: None,
        };
        let on = |n: u32, feeds: [&str; 2]| RackSpec {
            id: RackId::new(format!("rack-{n}")).unwrap(),
            feeds: feeds
                .map(|f| FeedShare { node: ups(f).id, share: 0.5, meter: DeviceId::new(format!("pdu-{f}")).unwrap() })
                .to_vec(),
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

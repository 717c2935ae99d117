//! The electrical tree as validated data: UPSs and breakers with their ratings, racks with their
//! shares. A parsed [`Topology`] has no cycle, no dangling parent and no missing rating.

mod constraint;
mod failover;

pub use constraint::Constraint;

use crate::battery::BatterySpec;
use crate::trip::Curve;
use failover::Failovers;
use headroom_rack::{DeviceId, NodeId, RackId, Volts, Watts};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// What a node is; decides how it is told and which curve it has if nobody names one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NodeKind {
    /// What the grid operator delivers at one point.
    Utility,
    /// A transformer.
    Transformer,
    /// An uninterruptible power supply, judged by an overload table; may run on battery.
    Ups,
    /// A switchboard, by its main breaker.
    Switchboard,
    /// A busway, by the breaker that feeds it.
    Busway,
    /// A floor PDU or remote power panel, by its main breaker.
    Pdu,
    /// A circuit breaker or fuse.
    Breaker,
    /// The strip in the rack, by its own breaker or the plug's rating.
    RackPdu,
}

impl NodeKind {
    /// All kinds with their words, from the grid down.
    pub const ALL: [(Self, &'static str); 8] = [
        (Self::Utility, "utility"),
        (Self::Transformer, "transformer"),
        (Self::Ups, "ups"),
        (Self::Switchboard, "switchboard"),
        (Self::Busway, "busway"),
        (Self::Pdu, "pdu"),
        (Self::Breaker, "breaker"),
        (Self::RackPdu, "rack-pdu"),
    ];

    /// Its word in files and interfaces.
    pub fn word(self) -> &'static str {
        Self::ALL.iter().find(|(kind, _)| *kind == self).map_or("", |(_, word)| word)
    }

    /// The family of its protection if nobody names one.
    pub fn usual_family(self) -> &'static str {
        match self {
            Self::Utility | Self::Switchboard => "iec60947-tm",
            Self::Transformer => "transformer-dry",
            Self::Ups => "ups-market",
            Self::Busway | Self::Pdu | Self::Breaker | Self::RackPdu => "iec60898-c",
        }
    }
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
    /// Continuous rating, all phases, at its ambient temperature, before the policy's derating.
    pub rating: Watts,
    /// The meter in the circuit, if there is one.
    pub meter: Option<MeterRef>,
    /// When it trips at the earliest.
    pub curve: Arc<Curve>,
    /// Phases it carries, 1 or 3; its fullest phase trips it.
    pub phases: u32,
    /// Nominal voltage that its rating in amperes was written with: phase to neutral, of a circuit of one phase that
    /// across its load; none: rated in watts.
    pub volts: Option<Volts>,
    /// The node that takes over what hangs here when the parent fails (a transfer switch).
    pub standby: Option<NodeId>,
    /// How long the battery of a UPS lasts, if its data are known.
    pub battery: Option<Arc<BatterySpec>>,
}

impl NodeSpec {
    /// A root without a meter, with the usual curve of its kind.
    pub fn new(id: NodeId, kind: NodeKind, feed: &str, rating: Watts) -> Self {
        let curve = kind.curve();
        Self {
            id,
            kind,
            feed: feed.to_owned(),
            parent: None,
            rating,
            meter: None,
            curve,
            phases: 3,
            volts: None,
            standby: None,
            battery: None,
        }
    }
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
    /// Share of the cord's power on each phase. Sums to 1; to more where lines are connected to lines,
    /// whose currents do not add up in phase.
    pub phases: [f64; 3],
}

/// A cord that loads all phases alike.
pub const BALANCED: [f64; 3] = [1.0 / 3.0; 3];

impl FeedShare {
    /// A balanced cord.
    pub fn new(node: NodeId, share: f64, meter: DeviceId) -> Self {
        Self { node, share, meter, phases: BALANCED }
    }
}

/// Cooling units that serve a set of racks together.
#[derive(Debug, Clone, PartialEq)]
pub struct CoolingSpec {
    /// The name of the set.
    pub id: NodeId,
    /// The racks whose heat they remove.
    pub racks: Vec<RackId>,
    /// What each unit removes.
    pub units: Vec<Watts>,
}

impl CoolingSpec {
    /// What is removed after the loss of the largest unit; `None` when there is only one, whose loss
    /// no cap survives for long.
    pub fn left(&self) -> Option<Watts> {
        let largest = self.units.iter().copied().reduce(Watts::max)?;
        (self.units.len() > 1).then(|| self.units.iter().copied().sum::<Watts>() - largest)
    }
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
    /// Coolant in the loop that takes its heat, l, if somebody wrote it.
    pub coolant_liters: Option<f64>,
}

/// Coolant in a loop of which nobody wrote how much, l for each watt of GPUs: 60 l for a rack of 120 kW, which warm by
/// half a kelvin a second when they stand still.
const LITERS_PER_WATT: f64 = 0.5e-3;

impl RackSpec {
    /// Coolant in its loop, l.
    pub fn coolant_liters(&self) -> f64 {
        self.coolant_liters.unwrap_or(LITERS_PER_WATT * self.gpu_max.get() * f64::from(self.gpus))
    }

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
    constraints: Vec<Constraint>,
    constrained: Vec<Vec<(usize, f64)>>,
    /// Per rack and cord, the nodes above it from the nearest up.
    paths: Vec<Vec<Vec<usize>>>,
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
        let failovers = Failovers::find(&ordered, &racks, &paths, &shares);
        let (constraints, constrained) = constraint::find(&ordered, &racks, cooling, &paths, &shares, &failovers);
        let places = racks.iter().enumerate().map(|(place, r)| (r.id.clone(), place)).collect();
        Ok(Self { nodes: ordered, racks, places, shares, failovers, constraints, constrained, paths })
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

    /// The node at `index` and all above it.
    pub fn up(&self, index: usize) -> Vec<usize> {
        let place = |id: &NodeId| self.nodes[..].iter().position(|n| n.id == *id);
        std::iter::successors(Some(index), |n| self.nodes[*n].parent.as_ref().and_then(place)).collect()
    }

    /// Limits that are no node's own.
    pub fn constraints(&self) -> &[Constraint] {
        &self.constraints
    }

    /// For the rack at `index`: each constraint it counts in and its share.
    pub fn constrained(&self, index: usize) -> &[(usize, f64)] {
        &self.constrained[index]
    }

    /// For the rack at `index` and each of its cords: the nodes above, from the nearest up.
    pub fn paths(&self, index: usize) -> &[Vec<usize>] {
        &self.paths[index]
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

//! What an operator should look at in a tree that can be read: racks on one feed, uneven phases, ratings
//! that promise more than what feeds them, safe shares that are not safe.

use crate::config::{Rack, Tree};
use headroom_controller_core::topology::NodeKind;
use headroom_controller_core::{Constraint, NodeSpec, Topology};
use headroom_rack::{NodeId, Watts};
use std::collections::{BTreeMap, BTreeSet};

/// A phase may lie this far above the mean of the three before somebody should swap plugs.
const UNEVEN: f64 = 0.10;

/// Something to look at.
#[derive(Debug, Clone, PartialEq)]
pub struct Warning {
    /// The node, rack or set of cooling units.
    pub of: String,
    /// What is odd.
    pub problem: String,
    /// What could be done.
    pub remedy: String,
}

/// Everything to look at, racks first.
pub fn lint(tree: &Tree, topology: &Topology) -> Vec<Warning> {
    let mut found = Vec::new();
    for (r, rack) in topology.racks().iter().enumerate() {
        one_feed(topology, r, rack.id.as_str(), &mut found);
    }
    let by_id: BTreeMap<&NodeId, &NodeSpec> = topology.nodes().iter().map(|n| (&n.id, n)).collect();
    let used: BTreeSet<&NodeId> = topology.nodes().iter().flat_map(|n| n.parent.iter().chain(&n.standby)).collect();
    for (node, load) in topology.nodes().iter().zip(loads(topology)) {
        let of = node.id.as_str();
        let mut say = |problem: String, remedy: &str| {
            found.push(Warning { of: of.to_owned(), problem, remedy: remedy.to_owned() });
        };
        if let Some(above) = node.parent.as_ref().and_then(|p| by_id.get(p))
            && node.rating > above.rating * 1.0001
        {
            say(
                format!(
                    "is rated {} and hangs on {:?}, rated {}",
                    kw(node.rating),
                    above.id.as_str(),
                    kw(above.rating)
                ),
                "check both ratings; the parent trips first",
            );
        }
        if node.kind == NodeKind::Ups && node.meter.is_none() {
            say("has no meter: nobody sees it go on battery".to_owned(), "add meter = \"RACK/DEVICE\"");
        }
        if load.nameplate == Watts::ZERO && !used.contains(&node.id) {
            say("carries nothing".to_owned(), "hang a rack on it, or take it out");
        }
        if load.safe > node.rating * 1.0001 {
            say(
                format!("carries {} with every GPU at its safe share, rated {}", kw(load.safe), kw(node.rating)),
                "lower safe_gpu_watts: without a controller this must hold for ever",
            );
        } else if load.safe_after_loss > node.rating * node.curve.holds() {
            say(
                format!(
                    "carries {} with every GPU at its safe share once another feed is lost, rated {}",
                    kw(load.safe_after_loss),
                    kw(node.rating)
                ),
                "lower safe_gpu_watts, or the loss of a feed while no controller runs takes both",
            );
        }
        if let Some((phase, share)) = load.uneven() {
            say(
                format!(
                    "carries {:.0} % of its racks' nameplates on L{}, {:.0} % above the mean of its phases",
                    share * 100.0,
                    phase + 1,
                    (share * 3.0 - 1.0) * 100.0
                ),
                "move cords to another phase: the fullest phase trips it",
            );
        }
    }
    for unit in tree.cooling.iter().filter(|c| c.units.len() < 2) {
        found.push(Warning {
            of: unit.id.to_string(),
            problem: "is one cooling unit alone: its loss stops its racks".to_owned(),
            remedy: "name a second unit, or expect the racks at their floor when it fails".to_owned(),
        });
    }
    found
}

fn one_feed(topology: &Topology, r: usize, id: &str, found: &mut Vec<Warning>) {
    let (paths, nodes) = (topology.paths(r), topology.nodes());
    let feeds: BTreeSet<&str> = paths.iter().filter_map(|p| Some(nodes[*p.first()?].feed.as_str())).collect();
    let switched = paths.iter().any(|p| p.iter().any(|n| nodes[*n].standby.is_some()));
    let mut say = |problem: String, remedy: &str| {
        found.push(Warning { of: id.to_owned(), problem, remedy: remedy.to_owned() });
    };
    if feeds.len() == 1 && !switched {
        let feed = feeds.into_iter().next().unwrap_or_default();
        say(
            format!("hangs on feed {feed:?} alone: the loss of that feed stops it"),
            "give it a second cord on another feed",
        );
        return;
    }
    let common = paths.iter().map(|p| p.iter().copied().collect::<BTreeSet<_>>()).reduce(|a, b| &a & &b);
    let shared = common.into_iter().flatten().filter(|n| paths.len() > 1 && nodes[*n].kind != NodeKind::Utility).min();
    if let Some(shared) = shared.filter(|_| !switched) {
        say(
            format!("has all its cords behind {:?}", nodes[shared].id.as_str()),
            "hang the second cord on something that does not fail with the first",
        );
    }
}

/// What a node carries, by the nameplates and safe shares of its racks.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Load {
    pub nameplate: Watts,
    pub safe: Watts,
    pub safe_after_loss: Watts,
    phases: [f64; 3],
}

impl Load {
    /// The fullest phase and its share of all, when it lies too far above the mean.
    fn uneven(&self) -> Option<(usize, f64)> {
        let total: f64 = self.phases.iter().sum();
        let (phase, most) = self.phases.iter().copied().enumerate().max_by(|a, b| a.1.total_cmp(&b.1))?;
        (total > 0.0 && most / total * 3.0 > 1.0 + UNEVEN).then(|| (phase, most / total))
    }
}

/// The load of each node.
pub(super) fn loads(topology: &Topology) -> Vec<Load> {
    let nodes = topology.nodes();
    let mut loads = vec![Load::default(); nodes.len()];
    let mut moved = vec![Watts::ZERO; topology.failover_count()];
    let mut taken = vec![Watts::ZERO; topology.constraints().len()];
    for (r, rack) in topology.racks().iter().enumerate() {
        let safe = rack.at(rack.safe_gpu);
        for (node, share) in topology.shares(r) {
            loads[*node].nameplate += rack.nameplate() * *share;
            loads[*node].safe += safe * *share;
        }
        topology.moves(r).iter().for_each(|(failover, more)| moved[*failover] += safe * *more);
        topology.constrained(r).iter().for_each(|(constraint, share)| taken[*constraint] += safe * *share);
        for (cord, path) in rack.feeds.iter().zip(topology.paths(r)) {
            for node in path.iter().filter(|n| nodes[**n].phases == 3) {
                for (sum, phase) in loads[*node].phases.iter_mut().zip(cord.phases) {
                    *sum += rack.nameplate().get() * cord.share * phase;
                }
            }
        }
    }
    for (n, load) in loads.iter_mut().enumerate() {
        load.safe_after_loss = load.safe + moved[topology.failovers(n)].iter().copied().fold(Watts::ZERO, Watts::max);
    }
    for (constraint, taken) in topology.constraints().iter().zip(taken) {
        if let Constraint::Standby(node) = constraint {
            loads[*node].safe_after_loss = loads[*node].safe_after_loss.max(taken);
        }
    }
    loads
}

pub(super) fn kw(power: Watts) -> String {
    format!("{:.1} kW", power.get() / 1e3)
}

/// The racks of a set of cooling units are known by name; this is what they want at most.
pub(super) fn heat(racks: &[Rack], names: &[headroom_rack::RackId]) -> Watts {
    let of = |r: &&Rack| names.contains(&r.id);
    racks.iter().filter(of).map(|r| r.overhead + r.gpu_max * f64::from(r.gpus)).sum()
}

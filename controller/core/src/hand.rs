//! What stands over the automation: limits that a person has pinned, racks whose Orders a person wants to
//! be decided and not sent, racks that the automation's own breaker holds at the safe share.

use crate::topology::Topology;
use headroom_rack::{NodeId, RackId, Watts};
use std::collections::{BTreeMap, BTreeSet};

/// What a person has set at one node or rack.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Hand {
    /// A limit that stands, W: at a node the most that may flow through it, at a rack its budget.
    pub pin: Option<Watts>,
    /// Decided, not sent.
    pub advisory: bool,
}

/// Everything that stands over the automation.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Hands {
    /// By node.
    pub nodes: BTreeMap<NodeId, Hand>,
    /// By rack.
    pub racks: BTreeMap<RackId, Hand>,
    /// Racks that get no more than their safe share.
    pub safe: BTreeSet<RackId>,
}

impl Hands {
    /// The racks that get no Orders: those put in advisory mode and all below nodes that are.
    pub fn advised(&self, topology: &Topology) -> BTreeSet<RackId> {
        let over = |node: usize| self.nodes.get(&topology.nodes()[node].id).is_some_and(|hand| hand.advisory);
        let advised = |(i, id): (usize, &RackId)| {
            self.racks.get(id).is_some_and(|hand| hand.advisory)
                || topology.paths(i).iter().any(|path| path.iter().any(|node| over(*node)))
        };
        let racks = topology.racks().iter().map(|spec| &spec.id).enumerate();
        racks.filter(|rack| advised(*rack)).map(|(_, id)| id.clone()).collect()
    }

    /// The budgets that are pinned, of racks that are not among `advised`.
    pub fn pins(&self, advised: &BTreeSet<RackId>) -> BTreeMap<RackId, Watts> {
        let ordered = self.racks.iter().filter(|(rack, _)| !advised.contains(*rack));
        ordered.filter_map(|(rack, hand)| Some((rack.clone(), hand.pin?))).collect()
    }
}

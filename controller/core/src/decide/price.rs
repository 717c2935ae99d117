//! What it costs the racks that the loss of any one feed, UPS or cooling unit is survived. Reckoned after a decision,
//! from what it believed, when somebody asks: it must not delay one.

use super::Decider;
use super::limit::{Hold, NodeNow};
use crate::allocate::{Ask, Grant, allocate};
use headroom_rack::Watts;
use std::sync::Arc;

/// What the last decision would have shared out if no loss had to be survived.
#[derive(Debug, Clone, Default)]
pub(super) struct Alone {
    /// Per node, constraint and group what it would leave for racks, W. Empty where that is what it leaves.
    rooms: Vec<f64>,
    /// Floor and demand of each rack, W.
    asks: Vec<(f64, f64)>,
    paths: Arc<Vec<Vec<(usize, f64)>>>,
    /// What all racks together were granted, W.
    granted: f64,
}

impl Alone {
    pub(super) fn new(
        (nodes, held): (&[NodeNow], &[Hold]),
        (asks, grants): (&[Ask<'_>], &[Grant]),
        paths: &Arc<Vec<Vec<(usize, f64)>>>,
        rooms: impl FnOnce() -> Vec<f64>,
    ) -> Self {
        let binds = nodes.iter().any(|n| n.alone > n.room) || held.iter().any(|h| h.alone > h.limit);
        if !binds || grants.iter().all(|g| g.bound_by.is_none()) {
            return Self::default();
        }
        Self {
            rooms: rooms(),
            asks: asks.iter().map(|ask| (ask.floor, ask.demand)).collect(),
            paths: Arc::clone(paths),
            granted: grants.iter().map(|g| g.watts).sum(),
        }
    }
}

impl Decider {
    /// What it cost the racks in the last decision, in watts they wanted, that the loss of any one feed, UPS
    /// or cooling unit is survived.
    pub fn redundancy_cost(&self) -> Watts {
        let Alone { rooms, asks, paths, granted } = &self.alone;
        if rooms.is_empty() {
            return Watts::ZERO;
        }
        let of = asks.iter().zip(paths.iter()).enumerate();
        let ask = of.map(|(i, ((floor, demand), shares))| {
            let (weight, band) = (self.racks[i].wanted.weight, self.rank(i));
            Ask { floor: *floor, demand: *demand, weight, band, shares }
        });
        let asks: Vec<Ask<'_>> = ask.collect();
        let without: f64 = allocate(rooms, &asks).iter().map(|g| g.watts).sum();
        (Watts::new(without) - Watts::new(*granted)).max(Watts::ZERO)
    }
}

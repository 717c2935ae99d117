//! How much more current flows through each node than its power says, where meters tell it ([`crate::fleet::Drawn`]):
//! by the node's own meter, or else by the cords below it, each with its power. What is rated for a current then counts
//! as loaded by so much more, and what it leaves is so much less power. No meter makes it less than what counts without
//! one ([`CURRENT`]).
//!
//! Learned at load: what supplies draw at idle says nothing of what trips. Where nobody tells any more, the last holds.

use super::believe::RackNow;
use super::limit::Below;
use super::{Decider, OTHER_S};
use crate::fleet::{FRESH, Fleet, Shown};
use crate::topology::{NodeKind, Topology};
use crate::trip::CURRENT;
use headroom_rack::{Mono, NodeId, Volts};
use std::time::Duration;

/// Nothing is learned below this share of the rating: supplies at idle have power factors of 0.9 and less, and a breaker
/// so loaded is far from its trip.
const LOADED: f64 = 1.0 / 3.0;
/// From this share of the rating on a power factor is that of the load that trips; below it goes for up to [`LIGHT`]
/// worse than it will be then, as supplies at a fifth of their load may have 0.95 and reach 0.99 (80 PLUS Titanium).
const FULL: f64 = 2.0 / 3.0;
const LIGHT: f64 = 0.02;
/// What is more by less stays with [`CURRENT`]: what meters of class 1 differ by.
const TRIFLE: f64 = 1.01;
/// Power and current of a meter may be of different moments on a load that swings. What is more by as much for so long
/// is, and then holds at once.
const CLEAR: f64 = 0.01;
const SURE: Duration = Duration::from_secs(2);

/// A node through which more current flows than counts without a meter that tells it.
#[derive(Debug, Clone, PartialEq)]
pub struct CurrentView {
    /// The node.
    pub node: NodeId,
    /// Its current over what its power would be at the nominal voltage.
    pub over: f64,
}

/// What is known of the current at one node.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Current {
    /// Over what the power says.
    known: Option<f64>,
    /// Its own meter has told it.
    own: bool,
    /// Since when more is seen than is known, and the least of that.
    above: Option<(Mono, f64)>,
}

impl Current {
    /// Over what counts without a meter; at least 1.
    pub(super) fn more(&self) -> f64 {
        self.known.map(|known| known / CURRENT).filter(|more| *more > TRIFLE).unwrap_or(1.0)
    }

    /// Takes in what its own meter and the cords `below` say at a `load` over the rating.
    fn see(&mut self, own: Option<f64>, below: Option<f64>, load: f64, now: Mono, dt_s: f64) {
        self.own |= own.is_some();
        let Some(seen) = own.or(below).filter(|_| load >= LOADED) else { return };
        let seen = if load < FULL { seen - LIGHT } else { seen };
        let known = *self.known.get_or_insert(seen);
        // Where the node's own meter falls silent, what others know of it may only be worse.
        let seen = if own.is_none() && self.own { seen.max(known) } else { seen };
        let mut smooth = known + (seen - known) * super::follows(dt_s, OTHER_S);
        if seen > known + CLEAR {
            let (since, least) = self.above.get_or_insert((now, seen));
            *least = least.min(seen);
            if now.since(*since) >= SURE {
                smooth = smooth.max(*least);
            }
        } else {
            self.above = None;
        }
        self.known = Some(smooth);
    }
}

/// Currents of cords, each with the power on it.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Told {
    watts: f64,
    current_watts: f64,
}

/// Where what is known of the current at a node comes from.
#[derive(Debug, Clone)]
pub(super) struct Sources {
    /// Per node whether the meter by which it is known speaks of its current: one before a UPS does not, behind it.
    own: Vec<bool>,
    /// Per rack and cord how many of the nodes above it carry its current: a UPS draws its own.
    reach: Vec<Vec<usize>>,
}

impl Sources {
    pub(super) fn new(topology: &Topology, metered_by: &[Option<usize>]) -> Self {
        let nodes = topology.nodes();
        let is_ups = |node: &usize| nodes[*node].kind == NodeKind::Ups;
        let above = topology.above();
        let up = |node: usize| std::iter::successors(Some(node), |node| above[*node]);
        let speaks = |(node, by): (usize, &Option<usize>)| {
            by.is_some_and(|by| !is_ups(&node) && !up(node).take_while(|n| *n != by).any(|n| is_ups(&n)))
        };
        let reach = |path: &Vec<usize>| path.iter().position(is_ups).unwrap_or(path.len());
        Self {
            own: metered_by.iter().enumerate().map(speaks).collect(),
            reach: (0..topology.racks().len()).map(|r| topology.paths(r).iter().map(reach).collect()).collect(),
        }
    }
}

impl Decider {
    /// Every node through which more current flows than its power says, as of the last decision.
    pub fn currents(&self) -> Vec<CurrentView> {
        let nodes = self.topology.nodes().iter().zip(&self.currents).filter(|(_, current)| current.more() > 1.0);
        nodes.map(|(spec, current)| CurrentView { node: spec.id.clone(), over: current.more() * CURRENT }).collect()
    }

    /// Adds what the meters of a rack's cords tell to the nodes above.
    pub(super) fn tell_currents(&self, fleet: &Fleet, i: usize, rack: &RackNow, now: Mono, below: &mut [Below]) {
        let spec = &self.topology.racks()[i];
        let Some(belief) = fleet.rack_at(i, &spec.id) else { return };
        let cords = spec.feeds.iter().zip(self.topology.paths(i)).zip(&self.sources.reach[i]);
        for (c, (((cord, path), reach), drawn)) in cords.zip(&belief.drawn).enumerate() {
            let (Some(drawn), Some(node)) = (drawn, path.first()) else { continue };
            let node = &self.topology.nodes()[*node];
            let Some(over) = drawn.over_power(node.volts, node.phases, cord.phases.iter().sum()) else { continue };
            let watts = rack.power.get() * self.cord(i, c);
            let is_last = drawn.is_last() || belief.age(now) > FRESH;
            for node in &path[..*reach] {
                // What a meter told last may have been at idle.
                let known = self.currents[*node].known.filter(|_| is_last);
                let over = known.map_or(over, |known| known.max(over));
                let told = &mut below[*node].told;
                told.watts += watts;
                told.current_watts += watts * over;
            }
        }
    }

    /// Learns the current at a node that carries `load` over its rating, with what the meter it is known by shows now and
    /// what the cords below told; `lines`: what the phases of these sum to. Says how much more it is than counts without
    /// meters, at least 1.
    pub(super) fn learn_current(
        &mut self,
        i: usize,
        shown: Option<&Shown>,
        (told, lines): (Told, f64),
        load: f64,
        now: Mono,
        dt_s: f64,
    ) -> f64 {
        let nodes = self.topology.nodes();
        let spec = &nodes[i];
        if spec.kind == NodeKind::Ups {
            return 1.0;
        }
        let nominal = || -> Option<Volts> { nodes[self.metered_by[i]?].volts.or(spec.volts) };
        let drawn = shown.filter(|_| self.sources.own[i]).and_then(|shown| shown.drawn);
        let own = drawn.and_then(|drawn| drawn.over_power(nominal(), spec.phases, lines));
        let below = (told.watts > 0.0).then(|| told.current_watts / told.watts);
        let current = &mut self.currents[i];
        current.see(own, below, load, now, dt_s);
        current.more()
    }
}

#[cfg(test)]
mod tests;

//! What each node carries, and the least of all that limits it.

use super::believe::RackNow;
use super::cords::Live;
use super::{Decider, OTHER_S};
use crate::fleet::{Battery, Fleet, METER_TOLERANCE};
use crate::topology::{NodeKind, NodeSpec};
use crate::trip::HOLDS_FOR_EVER;
use headroom_rack::{LimitKind, Mono, Quality, Watts};
use std::time::Duration;

pub(super) struct NodeNow {
    pub power: Watts,
    pub quality: Quality,
    /// Drawn there by something no rack accounts for: losses, cooling.
    pub other: Watts,
    pub expected: Watts,
    pub limit: Watts,
    pub kind: LimitKind,
    /// What may flow for twice the response time.
    pub ramp: Watts,
}

/// What the racks below a node add up to.
#[derive(Clone, Copy, Default)]
struct Below {
    power: Watts,
    expected: Watts,
    demand: Watts,
    uncertain: bool,
}

impl Decider {
    pub(super) fn limit(
        &mut self,
        fleet: &Fleet,
        racks: &[RackNow],
        live: &Live,
        now: Mono,
        dt_s: f64,
    ) -> Vec<NodeNow> {
        let topology = &self.topology;
        let mut below = vec![Below::default(); topology.nodes().len()];
        let mut moved = vec![0.0; topology.failover_count()];
        for (i, rack) in racks.iter().enumerate() {
            let lost = live.get(&i);
            for (node, share) in lost.map_or_else(|| topology.shares(i), Vec::as_slice) {
                let below = &mut below[*node];
                below.power += rack.power * *share;
                below.expected += rack.expected * *share;
                below.demand += rack.demand * *share;
                below.uncertain |= rack.quality != Quality::Measured;
            }
            // What has moved already does not move again.
            for (failover, share) in topology.moves(i).iter().filter(|_| lost.is_none()) {
                moved[*failover] += rack.demand.get() * share;
            }
        }
        let mut nodes = Vec::with_capacity(below.len());
        for (i, below) in below.into_iter().enumerate() {
            let more = self.topology.failovers(i).map(|f| moved[f]).fold(0.0, f64::max);
            nodes.push(self.limit_node(i, &below, Watts::new(more), fleet, now, dt_s));
        }
        nodes
    }

    fn limit_node(&mut self, i: usize, below: &Below, more: Watts, fleet: &Fleet, now: Mono, dt_s: f64) -> NodeNow {
        let topology = self.topology.clone();
        let spec = &topology.nodes()[i];
        let response = self.policy.response.as_secs_f64();
        let metered = spec.meter.as_ref().and_then(|m| fleet.meter(&m.rack, &m.device, now));
        let known = !below.uncertain;
        let (power, quality) = match metered {
            Some(own) if own >= below.power * (1.0 - METER_TOLERANCE) && known => (own, Quality::Measured),
            Some(own) => (own.max(below.power), Quality::Summed),
            None => (below.power, if known { Quality::Summed } else { Quality::Aged }),
        };
        self.protection[i] = self.protection[i].after(power / spec.rating, dt_s);
        let protection = self.protection[i];
        let seen = (power - below.power).max(Watts::ZERO).min(spec.rating * 0.1).get();
        self.other[i] += (seen - self.other[i]) * (1.0 - (-dt_s / OTHER_S).exp());
        let other = Watts::new(self.other[i]);
        let continuous = spec.rating * self.policy.derate;
        let alone = self.alone().as_secs_f64();
        let hot = spec.rating * protection.allowed(alone);
        let mut limits = vec![(self.continuous(i, spec, power, dt_s, alone), LimitKind::Continuous)];
        limits.push(match spec.kind {
            NodeKind::Ups => (hot, LimitKind::UpsOverload),
            NodeKind::Breaker => (hot, LimitKind::TimeToTrip),
        });
        if more > below.demand * 1e-3 {
            // Of what flows after the loss, this share flows already.
            let share = below.demand / (below.demand + more);
            limits.push((spec.rating * (protection.allowed(response) * share), LimitKind::Redundancy));
        }
        let lasting = self.stretch(i, spec, power, fleet, now);
        limits.extend(lasting.map(|watts| (watts, LimitKind::UpsOverload)));
        let least = limits.into_iter().reduce(|least, next| if next.0 < least.0 { next } else { least });
        let (limit, kind) = least.unwrap_or((continuous, LimitKind::Continuous));
        // A battery does not come back by cooling down: nothing beyond is lent.
        let ramp = if lasting.is_some() { limit } else { hot.max(limit) };
        NodeNow { power, quality, other, expected: below.expected + other, limit, kind, ramp }
    }

    /// How long what is allowed now may flow: twice the response time, or the lease of an Order and the
    /// response, if whoever gave it dies the moment after.
    pub(super) fn alone(&self) -> Duration {
        (self.policy.response * 2).max(self.policy.lease + self.policy.response)
    }

    /// What a node may carry so that what lasts stays at its derated rating. A continuous rating is one
    /// for hours (UL 489: three and more); the strip of a breaker forgets in half a minute. So a breaker
    /// may carry peaks that one of the derated size would survive, and is back at the derated rating
    /// when its image is full. A UPS has no such mercy: its electronics are rated for what flows.
    fn continuous(&mut self, i: usize, spec: &NodeSpec, power: Watts, dt_s: f64, alone: f64) -> Watts {
        let derated = spec.rating * self.policy.derate;
        if spec.kind == NodeKind::Ups {
            return derated;
        }
        let small = derated / HOLDS_FOR_EVER;
        self.lasting[i] = self.lasting[i].after(power / small, dt_s);
        (small * self.lasting[i].allowed(alone)).max(derated)
    }

    /// What a UPS on battery can give so that it lasts as long as the policy wants.
    fn stretch(&mut self, i: usize, spec: &NodeSpec, power: Watts, fleet: &Fleet, now: Mono) -> Option<Watts> {
        let meter = spec.meter.as_ref().filter(|_| spec.kind == NodeKind::Ups)?;
        match fleet.battery(&meter.rack, &meter.device) {
            Some(Battery { on: true, runtime_s }) => {
                let since = *self.battery[i].get_or_insert(now);
                let left_s = (self.policy.battery_target.checked_sub(now.since(since))?).as_secs_f64();
                // Runtime falls at least in step with the load (Peukert, a little faster).
                let lasting = power * (runtime_s? / left_s.max(1.0));
                Some(lasting).filter(|_| left_s > 0.0)
            }
            Some(Battery { on: false, .. }) => {
                self.battery[i] = None;
                None
            }
            None => None,
        }
    }

    /// What the target from outside leaves for the racks, in watts; without one, everything.
    pub(super) fn site_room(&self, nodes: &[NodeNow]) -> f64 {
        let roots = self.topology.nodes().iter().zip(nodes).filter(|(spec, _)| spec.parent.is_none());
        let other: Watts = roots.map(|(_, node)| node.other).sum();
        self.target.map_or(f64::INFINITY, |target| (target - other).get())
    }
}

//! The decision: believe, expect, limit, allocate, shape, explain; in that order, once per call.
//!
//! * **believe**: power of every node now, by its own meter or by the sum below, whichever is
//!   larger beyond the tolerance; a stale rack ages towards the worst it could draw.
//! * **expect**: the forecast's 99 % quantile over the response time, never below what is drawn.
//! * **limit**, per node: the least of continuous rating times derating, what the trip image still
//!   allows over twice the response time, and what must be left so that the loss of the other
//!   feed is survived for one response time.
//! * **allocate**: floors, then bands, then weighted fair share ([`crate::allocate`]). What nobody
//!   demands is lent out as room to ramp, but only as far as a ramp of everybody to the lent caps
//!   at once would still leave twice the response time before any trip.
//! * **shape**: tighten at once, release slowly, ignore trifles.
//! * **explain**: each cap names the node that bound it, the kind of limit and the margin.

use crate::allocate::{Ask, Grant, allocate};
use crate::demand;
use crate::fleet::{FRESH, Fleet, METER_TOLERANCE, SILENT};
use crate::policy::Policy;
use crate::topology::{NodeKind, NodeSpec, RackSpec, Topology};
use crate::trip::Protection;
use headroom_rack::{
    Cap, DeviceId, Forecast, Generation, LimitKind, Mode, Mono, NodeId, NodeView, Plan, Quality, RackId, UnixMs, Watts,
};
use std::collections::BTreeMap;
use std::time::Duration;

/// GPU limits are whole multiples of this: boards round, and people read them.
const STEP_WATTS: f64 = 5.0;
/// A limit is not raised by less than this, so that it does not follow noise.
const TRIFLE_WATTS: f64 = 10.0;
/// A rack counts as held below its demand from this share of it on: demand is an estimate with room
/// to grow in it, and nobody should be told of less.
const HELD: f64 = 0.05;
/// A rack that was just kept below its demand is lent nothing for this long: demand that hovers
/// around what fits would otherwise be lent and taken back each second.
const LEND_AFTER: Duration = Duration::from_secs(20);
/// Losses, fans and cooling change slowly; what two meters read half a second apart on a swinging
/// load differ by does not, and must not move a cap. Time constant, s.
const OTHER_S: f64 = 15.0;
/// A limit that was just lowered is not raised for this long, so that a load that swings faster is
/// held at the lower end of what fits.
const RAISE_AFTER: Duration = Duration::from_secs(5);
/// The forecast quantile that is shown as what may come.
const QUANTILE: f64 = 0.99;
/// The forecast quantile a rack is given room for. Caps hold whatever comes; this decides how often a
/// rack has to wait a second for its room, against how much room others are refused in vain.
const WANTED_QUANTILE: f64 = 0.9;
/// Specific heat of the coolant, J/(l K): water at 30 degrees Celsius; 25 % glycol is 4 % lower.
const COOLANT_J_PER_L_K: f64 = 4160.0;

/// The decision with its memory: trip images, demands held, budgets given.
#[derive(Debug, Clone)]
pub struct Decider {
    topology: Topology,
    policy: Policy,
    protection: Vec<Protection>,
    demand: BTreeMap<RackId, Watts>,
    gpu_limit: BTreeMap<RackId, Watts>,
    /// When each rack's limit was last lowered.
    lowered: BTreeMap<RackId, Mono>,
    /// Smoothed power of everything in each rack but its GPUs.
    overhead: BTreeMap<RackId, Watts>,
    /// Smoothed power at each node that no rack accounts for.
    other: Vec<f64>,
    /// When each rack was last kept below its demand.
    bound: BTreeMap<RackId, Mono>,
    last: Option<Mono>,
}

struct RackNow {
    power: Watts,
    quality: Quality,
    overhead: Watts,
    expected: Watts,
    demand: Watts,
    /// What it can take without any agent.
    worst: Watts,
    /// The agent answers, so a new cap will take effect.
    reachable: bool,
    cooling: Option<Watts>,
}

struct NodeNow {
    power: Watts,
    quality: Quality,
    /// Drawn there by something no rack accounts for: losses, cooling.
    other: Watts,
    expected: Watts,
    limit: Watts,
    kind: LimitKind,
    /// What may flow for twice the response time.
    ramp: Watts,
}

impl Decider {
    /// A decider that knows no history: breakers are taken for warm, as if at their continuous limit.
    pub fn new(topology: Topology, policy: Policy) -> Self {
        let fresh = |n: &NodeSpec| match n.kind {
            NodeKind::Ups => Protection::Ups { used: 0.0 },
            NodeKind::Breaker => Protection::breaker_at(policy.derate),
        };
        let protection: Vec<Protection> = topology.nodes().iter().map(fresh).collect();
        let other = vec![0.0; protection.len()];
        Self {
            topology,
            policy,
            protection,
            demand: BTreeMap::new(),
            gpu_limit: BTreeMap::new(),
            lowered: BTreeMap::new(),
            overhead: BTreeMap::new(),
            bound: BTreeMap::new(),
            other,
            last: None,
        }
    }

    /// The used share of each node's trip image.
    pub fn trip_state(&self) -> BTreeMap<NodeId, f64> {
        let nodes = self.topology.nodes().iter().zip(&self.protection);
        nodes.map(|(n, p)| (n.id.clone(), p.used())).collect()
    }

    /// Takes over the trip images of an earlier run; nodes it does not name keep theirs.
    pub fn restore(&mut self, used: &BTreeMap<NodeId, f64>) {
        for (node, protection) in self.topology.nodes().iter().zip(&mut self.protection) {
            if let Some(used) = used.get(&node.id) {
                *protection = Protection::with_used(node.kind, *used);
            }
        }
    }

    /// One decision. Calling it again with the same `now` and facts gives the same Plan.
    pub fn decide(
        &mut self,
        fleet: &Fleet,
        forecasts: &BTreeMap<RackId, Forecast>,
        now: Mono,
        at: UnixMs,
        generation: Generation,
        mode: Mode,
    ) -> Plan {
        let dt_s = self.last.map_or(0.0, |last| now.since(last).as_secs_f64());
        self.last = Some(now);
        let topology = self.topology.clone();
        let racks: Vec<RackNow> =
            topology.racks().iter().map(|spec| self.believe(spec, fleet, forecasts.get(&spec.id), now, dt_s)).collect();
        let nodes = self.nodes(&topology, fleet, &racks, now, dt_s);
        let asks: Vec<Ask> = topology
            .racks()
            .iter()
            .zip(&racks)
            .enumerate()
            .map(|(i, (spec, rack))| self.ask(spec, rack, topology.shares(i)))
            .collect();
        let room =
            |limit: fn(&NodeNow) -> Watts| -> Vec<f64> { nodes.iter().map(|n| (limit(n) - n.other).get()).collect() };
        let grants = allocate(&room(|n| n.limit), &asks);
        for (spec, _) in topology.racks().iter().zip(&grants).filter(|(_, g)| g.bound_by.is_some()) {
            self.bound.insert(spec.id.clone(), now);
        }
        let lent = self.lend(&topology, &racks, &grants, &asks, &room(|n| n.ramp), now);
        let caps = topology
            .racks()
            .iter()
            .zip(&racks)
            .enumerate()
            .map(|(i, (spec, rack))| {
                let budget = if mode == Mode::Safe { spec.at(spec.safe_gpu) } else { Watts::new(lent[i]) };
                let gpu = self.shape(spec, rack, budget, now, dt_s);
                self.explain(spec, rack, &grants[i], gpu, &nodes, &topology)
            })
            .collect();
        let nodes = topology
            .nodes()
            .iter()
            .zip(nodes.iter().zip(&self.protection))
            .map(|(spec, (node, protection))| NodeView {
                node: spec.id.clone(),
                power: node.power,
                quality: node.quality,
                expected: node.expected,
                limit: node.limit,
                limit_kind: node.kind,
                rating: spec.rating,
                time_to_trip_s: protection.time_to_trip_s(node.power / spec.rating),
                trip_used: protection.used(),
            })
            .collect();
        Plan { generation, at, mode, caps, nodes }
    }

    fn believe(
        &mut self,
        spec: &RackSpec,
        fleet: &Fleet,
        forecast: Option<&Forecast>,
        now: Mono,
        dt_s: f64,
    ) -> RackNow {
        let belief = fleet.rack(&spec.id);
        let age = belief.map_or(Duration::MAX, |b| b.age(now));
        let reachable = age <= SILENT && belief.is_some_and(|b| !b.dead);
        let settled = self.policy.lease + self.policy.response;
        let given = self.gpu_limit.get(&spec.id).copied();
        // Without an agent nothing enforces less than what was last set; once the lease is surely
        // over, the safe share does. A rack never heard of may be at its nameplate.
        let worst = match (belief, given) {
            (Some(_), _) if age > settled => spec.at(spec.safe_gpu),
            (Some(_), Some(given)) => spec.at(given.max(spec.safe_gpu)),
            _ => spec.nameplate(),
        };
        let seen = belief.and_then(|b| b.power(spec));
        let (power, quality) = match (seen, belief) {
            (Some(power), Some(b)) if age <= FRESH && b.metered().is_some() => (power, Quality::Measured),
            (Some(power), _) if age <= FRESH => (power, Quality::Summed),
            (Some(power), _) if age <= SILENT => {
                let share = age.saturating_sub(FRESH).as_secs_f64() / (SILENT - FRESH).as_secs_f64();
                (power + (worst.max(power) - power) * share, Quality::Aged)
            }
            _ => (worst, Quality::Nameplate),
        };
        let overhead = self.overhead(spec, belief.map_or(spec.overhead, |b| demand::overhead(b, spec)), dt_s);
        let upper =
            |quantile| forecast.and_then(|f| f.upper(quantile, self.policy.response)).unwrap_or(power).max(power);
        let expected = upper(QUANTILE);
        let wanted = match belief.filter(|_| reachable) {
            Some(b) => demand::now(b, spec, overhead).max(upper(WANTED_QUANTILE)),
            // Still under its last Orders: it may want what it wanted.
            None if age <= settled => self.demand.get(&spec.id).map_or(worst, |held| held.max(worst)),
            None => worst,
        };
        let held = demand::hold(self.demand.get(&spec.id).copied(), wanted, spec, dt_s);
        let demand = held.min(spec.nameplate().max(power));
        self.demand.insert(spec.id.clone(), demand);
        let cooling = belief.filter(|_| reachable).and_then(|b| {
            let rise = self.policy.coolant_limit_celsius - b.supply_celsius?;
            Some(Watts::new(b.flow_lpm? / 60.0 * COOLANT_J_PER_L_K * rise.max(0.0)))
        });
        RackNow { power, quality, overhead, expected, demand, worst, reachable, cooling }
    }

    fn overhead(&mut self, spec: &RackSpec, seen: Watts, dt_s: f64) -> Watts {
        let known = self.overhead.entry(spec.id.clone()).or_insert(seen);
        *known = *known + (seen - *known) * (1.0 - (-dt_s / OTHER_S).exp());
        *known
    }

    fn nodes(&mut self, topology: &Topology, fleet: &Fleet, racks: &[RackNow], now: Mono, dt_s: f64) -> Vec<NodeNow> {
        let response = self.policy.response.as_secs_f64();
        let specs = topology.nodes();
        let sum = |node: usize, of: &dyn Fn(usize) -> Watts| -> Watts {
            (0..racks.len())
                .flat_map(|r| topology.shares(r).iter().filter(|s| s.0 == node).map(move |s| (r, s.1)))
                .map(|(r, share)| of(r) * share)
                .sum()
        };
        (0..specs.len())
            .map(|i| {
                let spec = &specs[i];
                let below = sum(i, &|r| racks[r].power);
                let metered = spec.meter.as_ref().and_then(|m| fleet.meter(&m.rack, &m.device, now));
                let known = racks.iter().all(|r| matches!(r.quality, Quality::Measured));
                let (power, quality) = match metered {
                    Some(own) if own >= below * (1.0 - METER_TOLERANCE) && known => (own, Quality::Measured),
                    Some(own) => (own.max(below), Quality::Summed),
                    None => (below, if known { Quality::Summed } else { Quality::Aged }),
                };
                let before = self.protection[i];
                self.protection[i] = before.after(power / spec.rating, dt_s);
                let protection = self.protection[i];
                let seen = (power - below).max(Watts::ZERO).min(spec.rating * 0.1).get();
                self.other[i] += (seen - self.other[i]) * (1.0 - (-dt_s / OTHER_S).exp());
                let other = Watts::new(self.other[i]);
                let expected = sum(i, &|r| racks[r].expected) + other;
                // If the other feed fails, every rack that hangs here with one cord brings its whole load.
                let whole = (0..racks.len())
                    .filter(|r| topology.shares(*r).iter().any(|s| s.0 == i))
                    .map(|r| racks[r].demand)
                    .sum::<Watts>();
                let here = sum(i, &|r| racks[r].demand);
                let own_share = if whole > Watts::ZERO { here / whole } else { 1.0 };
                let continuous = spec.rating * self.policy.derate;
                let hot = spec.rating * protection.allowed(2.0 * response);
                let survive = spec.rating * (protection.allowed(response) * own_share);
                let kind = match spec.kind {
                    NodeKind::Ups => LimitKind::UpsOverload,
                    NodeKind::Breaker => LimitKind::TimeToTrip,
                };
                let (limit, kind) = [(hot, kind), (survive, LimitKind::Redundancy)]
                    .into_iter()
                    .filter(|(watts, kind)| *kind != LimitKind::Redundancy || own_share < 0.999 && *watts > Watts::ZERO)
                    .fold(
                        (continuous, LimitKind::Continuous),
                        |least, other| if other.0 < least.0 { other } else { least },
                    );
                NodeNow { power, quality, other, expected, limit, kind, ramp: hot.max(limit) }
            })
            .collect()
    }

    fn ask(&self, spec: &RackSpec, rack: &RackNow, shares: &[(usize, f64)]) -> Ask {
        let floor = rack.overhead + self.policy.floor_gpu.min(spec.gpu_max) * f64::from(spec.gpus);
        // A rack nobody can reach takes what it takes; the others have to make room.
        let floor = if rack.reachable { floor } else { rack.worst.max(floor) };
        let cooled = rack.cooling.map_or(rack.demand, |c| rack.demand.min(c));
        Ask {
            floor: floor.get(),
            demand: cooled.max(floor).get(),
            weight: spec.weight,
            band: self.policy.rank(&spec.priority),
            shares: shares.to_vec(),
        }
    }

    /// What is left over becomes room to ramp, most important bands first, up to what a sudden ramp
    /// of all would leave twice the response time for.
    fn lend(
        &self,
        topology: &Topology,
        racks: &[RackNow],
        grants: &[Grant],
        asks: &[Ask],
        ramp: &[f64],
        now: Mono,
    ) -> Vec<f64> {
        let more: Vec<Ask> = asks
            .iter()
            .zip(grants)
            .zip(topology.racks().iter().zip(racks))
            .map(|((ask, grant), (spec, rack))| {
                let full = spec.nameplate() - spec.overhead + rack.overhead;
                let top = rack.cooling.map_or(full, |c| full.min(c)).get();
                let bound = self.bound.get(&spec.id).is_some_and(|at| now.since(*at) < LEND_AFTER);
                let demand = if bound { grant.watts } else { top.max(grant.watts) };
                Ask { floor: grant.watts, demand, ..ask.clone() }
            })
            .collect();
        allocate(ramp, &more).iter().map(|g| g.watts).collect()
    }

    fn shape(&mut self, spec: &RackSpec, rack: &RackNow, budget: Watts, now: Mono, dt_s: f64) -> Watts {
        let per_gpu = (budget - rack.overhead) / f64::from(spec.gpus);
        let whole = Watts::new((per_gpu.get() / STEP_WATTS + 1e-6).floor() * STEP_WATTS);
        let target = whole.clamp(self.policy.floor_gpu.min(spec.gpu_max), spec.gpu_max);
        let before = self.gpu_limit.get(&spec.id).copied().unwrap_or(spec.safe_gpu);
        let rise = self.policy.release_watts_per_s * dt_s / f64::from(spec.gpus);
        // An Order that cannot arrive must not loosen what is in force when the rack comes back.
        let trifle = (target - before).get() < TRIFLE_WATTS && target < spec.gpu_max;
        let settling = self.lowered.get(&spec.id).is_some_and(|at| now.since(*at) < RAISE_AFTER);
        let shaped = match target > before {
            false => target,
            true if trifle || settling || !rack.reachable => before,
            true => target.min(before + Watts::new(rise)),
        };
        if shaped < before {
            self.lowered.insert(spec.id.clone(), now);
        }
        self.gpu_limit.insert(spec.id.clone(), shaped);
        shaped
    }

    fn explain(
        &self,
        spec: &RackSpec,
        rack: &RackNow,
        grant: &Grant,
        gpu: Watts,
        nodes: &[NodeNow],
        topology: &Topology,
    ) -> Cap {
        let budget = rack.overhead + gpu * f64::from(spec.gpus);
        let index = topology.racks().iter().position(|r| r.id == spec.id).unwrap_or(0);
        let tightest = topology
            .shares(index)
            .iter()
            .map(|s| s.0)
            .min_by(|a, b| {
                (nodes[*a].limit - nodes[*a].power).get().total_cmp(&(nodes[*b].limit - nodes[*b].power).get())
            })
            .unwrap_or(0);
        let node = grant.bound_by.unwrap_or(tightest);
        let cooled = rack.cooling.is_some_and(|c| c < rack.demand);
        let binding = budget < rack.demand * (1.0 - HELD) && gpu < spec.gpu_max;
        let kind = match grant.bound_by {
            _ if cooled => LimitKind::Cooling,
            Some(node) => nodes[node].kind,
            None => LimitKind::Device,
        };
        let at = &topology.nodes()[node];
        Cap {
            rack: spec.id.clone(),
            budget,
            gpus: (0..spec.gpus).map(|i| (DeviceId::gpu(i), gpu)).collect(),
            bound_by: at.id.clone(),
            kind,
            margin: nodes[node].limit - nodes[node].power,
            margin_s: self.protection[node].time_to_trip_s(nodes[node].power / at.rating),
            expected: rack.demand,
            binding,
        }
    }
}

#[cfg(test)]
mod tests;

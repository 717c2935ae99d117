//! The decision: believe, expect, limit, allocate, shape, explain; in that order, once per call.
//!
//! * **believe**: power of every node now, by its own meter or by the sum below, whichever is
//!   larger beyond the tolerance; a stale rack ages towards the worst it could draw; what GPUs draw
//!   beyond a limit they do not keep counts like losses.
//!   A rack that has lost a cord loads the others with all it draws ([`cords`]).
//! * **expect**: the forecast's 99 % quantile over the response time, never below what is drawn.
//! * **limit**, per node: the least of continuous rating times derating (of the fullest phase; short peaks pass a
//!   device with a thermal image, see `peaks`; by amperes where meters tell them, [`current`]), what the trip image still allows until it is taken back ([`lend`]),
//!   what must be left so that the loss of any other feed is
//!   survived for one response time, what a battery gives over the time it is to last ([`battery`]); for all
//!   together a target from outside.
//! * **allocate**: floors, then bands, then weighted fair share ([`crate::allocate`]). What nobody
//!   demands is lent out as room to ramp, but only as far as a ramp of everybody to the lent caps
//!   at once would trip nothing before it is taken back, whoever dies meanwhile ([`lend`]).
//! * **shape**: tighten at once, release slowly, ignore trifles ([`stand`]); what a rack may draw goes to the
//!   GPUs that want it ([`spread`]).
//!   GPUs on their way to overheat are kept from it, each by itself ([`heat`]).
//! * **explain**: each cap names the node that bound it, the kind of limit and the margin.
//! * Beside it, for people: what set-points of the cooling could be ([`advise`]).
//!
//! Each step walks racks and the nodes above them once: the time grows with their number, not with
//! its square.

mod advise;
mod answer;
mod battery;
mod believe;
mod coolant;
mod cords;
mod current;
mod hands;
mod heat;
mod lend;
mod limit;
mod outside;
mod phases;
mod price;
mod shape;
mod slack;
mod spread;
mod stand;

pub use advise::{Change, CoolingAdvice};
pub use answer::Prepared;
pub use battery::BatteryView;
pub use current::CurrentView;
pub use heat::CoolantView;

use crate::allocate::{Ask, Grant, allocate};
use crate::fleet::Fleet;
use crate::policy::Policy;
use crate::topology::{NodeSpec, RackSpec, Topology};
use crate::trip::Protection;
use believe::RackNow;
use cords::Wiring;
use hands::Over;
use headroom_rack::{Cap, DeviceId, Forecast, Generation, Mode, Mono, NodeId, NodeView, Plan, RackId, UnixMs, Watts};
use limit::{Hold, NodeNow};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// A rack that was just kept below its demand is lent nothing more for this long: demand that hovers
/// around what fits would otherwise be lent and taken back each second.
const LEND_AFTER: Duration = Duration::from_secs(10);
/// Kept below its demand is who draws what was granted or nearly so; to one that draws less, the rest of a
/// demand held from its last peak is no loss.
const NEAR: f64 = 1.05;
/// Losses, fans and cooling change slowly; what two meters read half a second apart on a swinging
/// load differ by does not, and must not move a cap. Time constant, s.
const OTHER_S: f64 = 15.0;

/// The decision with its memory: trip images, demands held, budgets given.
#[derive(Debug, Clone)]
pub struct Decider {
    topology: Arc<Topology>,
    policy: Policy,
    protection: Vec<Protection>,
    /// Mean square of each node's load over its rating: short peaks pass, what lasts is held at the derated
    /// rating.
    lasting: Vec<f64>,
    racks: Vec<RackMemory>,
    /// Smoothed power at each node that no rack accounts for.
    other: Vec<f64>,
    /// The same before it is cut at 0: what its meter shows beyond the racks'.
    beyond: Vec<f64>,
    /// Load of each node over its rating at the last decision.
    loads: Vec<Option<f64>>,
    /// How much of what they were granted the racks below each node draw at once, 0 to 1.
    together: Vec<f64>,
    /// What each node carries over its rating for as long as it takes an Order to act.
    allowed: Vec<f64>,
    /// What may be granted at each node so that what lasts stays at its derated rating, over the rating.
    eased: Vec<f64>,
    /// Smoothed load of each node's fullest phase over the mean of its phases.
    uneven: Vec<f64>,
    /// The same of what each constraint holds.
    leans: Vec<f64>,
    currents: Vec<current::Current>,
    sources: Arc<current::Sources>,
    /// What is known of the battery of each UPS, by node.
    battery: BTreeMap<usize, battery::State>,
    /// What the policy lets flow through each node, if it says.
    capped: Vec<Option<Watts>>,
    /// What a person lets flow through each node, if one says.
    pinned: Vec<Option<Watts>>,
    /// What somebody outside may limit; the site as a whole comes first.
    groups: Vec<outside::Group>,
    /// For the answers that lie ready.
    kept: answer::Kept,
    losses: Arc<Vec<answer::Loss>>,
    /// When a limit from outside last held.
    targeted: Option<Mono>,
    wiring: Arc<Wiring>,
    /// How much more than their safe share racks below each node can draw whose agents hang at once, over the node's
    /// rating.
    hung: Arc<Vec<f64>>,
    /// By whose meter each node is known.
    metered_by: Arc<Vec<Option<usize>>>,
    /// Per rack the nodes above it, the constraints it counts in and, last, its groups.
    paths: Arc<Vec<Vec<(usize, f64)>>>,
    gpu_ids: Vec<DeviceId>,
    /// For what the survival of a loss costs.
    alone: price::Alone,
    /// What the building's set-points could be.
    advising: advise::Advising,
    last: Option<Mono>,
    /// When it decided first.
    began: Option<Mono>,
    /// When last nobody was heard.
    deaf: Option<Mono>,
}

/// What the policy says of one rack.
#[derive(Debug, Clone, Copy, Default)]
struct Wanted {
    band: usize,
    weight: f64,
    floor_gpu: Watts,
    ceiling_gpu: Watts,
}

impl Wanted {
    fn of(spec: &RackSpec, policy: &Policy) -> Self {
        let band = policy.band(&spec.id, &spec.priority);
        let bounds = policy.bounds(&spec.id, band);
        // A floor is a promise, a ceiling a wish: where they contradict, the floor holds.
        let floor_gpu = bounds.floor_gpu.unwrap_or(policy.floor_gpu).min(spec.gpu_max);
        let ceiling_gpu = bounds.ceiling_gpu.unwrap_or(spec.gpu_max).min(spec.gpu_max).max(floor_gpu);
        Self { band: policy.rank(band), weight: bounds.weight.unwrap_or(spec.weight), floor_gpu, ceiling_gpu }
    }
}

/// What the policy lets flow through each node.
fn capped(topology: &Topology, policy: &Policy) -> Vec<Option<Watts>> {
    topology.nodes().iter().map(|n| policy.nodes.get(&n.id).copied()).collect()
}

/// Limit of the GPUs of a rack on average; `None`: it has none.
pub fn mean_limit(cap: &Cap) -> Option<Watts> {
    let count = Some(cap.gpus.len()).filter(|n| *n > 0)?;
    Some(cap.gpus.iter().map(|(_, watts)| *watts).sum::<Watts>() * (1.0 / count as f64))
}

/// Share of the way to what is seen that a mean of time constant `over_s` goes in `dt_s`.
fn follows(dt_s: f64, over_s: f64) -> f64 {
    1.0 - (-dt_s / over_s).exp()
}

/// What is remembered of one rack.
#[derive(Debug, Clone, Default)]
struct RackMemory {
    /// What the policy says of it.
    wanted: Wanted,
    /// What stands over it.
    over: Over,
    demand: Option<Watts>,
    /// What it was granted last.
    granted: Watts,
    /// What it falls back on without Orders, W.
    falls_to: f64,
    /// Limit of its GPUs, on average.
    gpu_limit: Option<Watts>,
    /// The same as last given, by an earlier run of the controller too.
    given: Option<Watts>,
    spread: spread::Spread,
    /// Mean of what was right for it, W, while what lasts holds it.
    mean: Option<f64>,
    /// When its limit was last lowered.
    lowered: Option<Mono>,
    /// When it was last kept below its demand.
    bound: Option<Mono>,
    /// Smoothed power of everything in it but its GPUs.
    overhead: Option<Watts>,
    /// Smoothed share of it that each cord carries by its meter; empty until all have been seen to carry.
    cords: Vec<f64>,
    /// Power its GPUs draw beyond limits they do not keep.
    unruly: Watts,
    /// Since when one of its GPUs says that a higher limit is in force than was asked for.
    defies: Option<Mono>,
    heat: heat::Heat,
}

impl Decider {
    /// A decider that knows no history: breakers are taken for warm, as if at their continuous limit.
    pub fn new(topology: Topology, policy: Policy) -> Self {
        let fresh = |n: &NodeSpec| Protection::at(Arc::clone(&n.curve), policy.derate).by_power();
        let protection: Vec<Protection> = topology.nodes().iter().map(fresh).collect();
        let count = protection.len();
        let groups = vec![outside::site(&topology)];
        let metered_by = limit::metered_by(&topology);
        let remember = |r: &RackSpec| RackMemory { wanted: Wanted::of(r, &policy), ..RackMemory::default() };
        Self {
            paths: outside::paths(&topology, &groups, &vec![true; topology.racks().len()]),
            racks: topology.racks().iter().map(remember).collect(),
            capped: capped(&topology, &policy),
            pinned: vec![None; count],
            gpu_ids: (0..topology.racks().iter().map(|r| r.gpus).max().unwrap_or(0)).map(DeviceId::gpu).collect(),
            other: vec![0.0; count],
            beyond: vec![0.0; count],
            loads: vec![None; count],
            together: vec![1.0; count],
            eased: vec![1.0; count],
            allowed: vec![f64::INFINITY; count],
            battery: battery::states(&topology),
            wiring: Arc::new(Wiring::new(&topology)),
            hung: Arc::new(lend::hung(&topology)),
            sources: Arc::new(current::Sources::new(&topology, &metered_by)),
            metered_by: Arc::new(metered_by),
            losses: Arc::new(answer::losses(&topology)),
            uneven: vec![1.0; count],
            leans: vec![1.0; topology.constraints().len()],
            currents: vec![current::Current::default(); count],
            topology: Arc::new(topology),
            protection,
            alone: price::Alone::default(),
            advising: advise::Advising::default(),
            lasting: vec![policy.derate.powi(2); count],
            policy,
            groups,
            kept: answer::Kept::default(),
            targeted: None,
            last: None,
            began: None,
            deaf: None,
        }
    }

    /// Takes another policy; what was learned of the plant stays.
    pub fn set_policy(&mut self, policy: Policy) {
        for (memory, spec) in self.racks.iter_mut().zip(self.topology.racks()) {
            memory.wanted = Wanted::of(spec, &policy);
        }
        self.capped = capped(&self.topology, &policy);
        self.policy = policy;
        self.regroup();
    }

    /// The policy in force.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// The used share of each node's trip image.
    pub fn trip_state(&self) -> BTreeMap<NodeId, f64> {
        let nodes = self.topology.nodes().iter().zip(&self.protection);
        nodes.map(|(n, p)| (n.id.clone(), p.used())).collect()
    }

    /// Takes over trip images and batteries of the last Plan of an earlier run, `gap` ago. Nobody looked since:
    /// until the leases were over, each node counts as loaded as it was then, and after that as at its
    /// continuous limit, which the safe shares keep. Nodes that the Plan does not name keep theirs.
    pub fn restore(&mut self, last: &Plan, gap: Duration) {
        let leased = gap.min(self.policy.lease + self.policy.response);
        let seen: BTreeMap<&NodeId, &NodeView> = last.nodes.iter().map(|n| (&n.node, n)).collect();
        for (place, (node, protection)) in self.topology.nodes().iter().zip(&mut self.protection).enumerate() {
            let Some(seen) = seen.get(&node.id) else { continue };
            if let (Some(left), Some(state)) = (seen.battery, self.battery.get_mut(&place)) {
                state.restore(left, node.battery.as_deref(), seen.power, gap.as_secs_f64());
            }
            let mut image = Protection::with_used(Arc::clone(&node.curve), seen.trip_used).by_power();
            let derate = self.policy.derate;
            image.advance((seen.power / node.rating).max(derate), leased.as_secs_f64());
            image.advance(derate, (gap - leased).as_secs_f64());
            *protection = image;
        }
        let given: BTreeMap<&RackId, Watts> =
            last.caps.iter().filter_map(|c| Some((&c.rack, mean_limit(c)?))).collect();
        for (memory, spec) in self.racks.iter_mut().zip(self.topology.racks()) {
            memory.given = memory.given.or(given.get(&spec.id).copied());
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
        self.began.get_or_insert(now);
        if self.is_targeted() {
            self.targeted = Some(now);
        }
        let topology = Arc::clone(&self.topology);
        self.listen(fleet, now);
        self.learn_cords(fleet, now, dt_s);
        let live = self.live(fleet, now);
        let mut paths = Arc::clone(&self.paths);
        for (rack, way) in &live {
            Arc::make_mut(&mut paths)[*rack] = self.path_of(*rack, way);
        }
        let racks: Vec<RackNow> = topology
            .racks()
            .iter()
            .enumerate()
            .map(|(i, spec)| self.believe(i, fleet, forecasts.get(&spec.id), now, dt_s))
            .collect();
        let nodes = self.limit(fleet, &racks, &live, now, dt_s);
        self.lean(fleet, &racks, dt_s);
        let held = self.hold(&racks, &nodes);
        let asks: Vec<Ask<'_>> = racks.iter().enumerate().map(|(i, rack)| self.ask(i, rack, &paths[i], now)).collect();
        let outside = self.outside(&nodes, &racks, dt_s);
        let room = |limit: fn(&NodeNow) -> Watts, held_to: fn(&Hold) -> f64| -> Vec<f64> {
            let nodes = nodes.iter().map(|n| (limit(n) - n.other).get());
            nodes.chain(held.iter().map(held_to)).chain(outside.iter().copied()).collect()
        };
        let rooms = room(|n| n.room, |h| h.limit);
        let grants = allocate(&rooms, &asks);
        let alone = || room(|n| n.alone, |h| h.alone);
        self.alone = price::Alone::new((&nodes, &held), (&asks, &grants), &paths, alone);
        let taken = self.taken(&asks, &racks);
        let given = taken.as_ref().map(|asks| allocate(&rooms, asks));
        let (asks, given) = (taken.unwrap_or(asks), given.unwrap_or_else(|| grants.clone()));
        for (memory, grant) in self.racks.iter_mut().zip(&given) {
            memory.granted = Watts::new(grant.watts);
        }
        // Whoever gets no Orders is shown what it would get.
        let grants: Vec<Grant> = self
            .racks
            .iter()
            .zip(grants.into_iter().zip(&given))
            .map(|(memory, (would, given))| if memory.over.advised { would } else { *given })
            .collect();
        for ((memory, grant), rack) in self.racks.iter_mut().zip(&grants).zip(&racks) {
            if grant.bound_by.is_some() && grant.watts < rack.power.get() * NEAR {
                memory.bound = Some(now);
            }
        }
        let ramp = room(|n| n.ramp, |h| h.ramp);
        let below = lend::Below::new(&asks, &given, ramp.len());
        let holds = room(|n| n.holds, |h| h.holds);
        let lent = self.lend(&racks, (&asks, &given), &below, (&ramp, &holds), now);
        let lent = self.stand(
            &racks,
            &given,
            &lent,
            &stand::Places { ramp: &ramp, paths: &paths, nodes: &nodes, held: &held },
            now,
            dt_s,
        );
        self.fall_back((&asks, &given), &lent, &below, &room(|n| n.lasts, |h| h.lasts));
        self.keep(&racks, &asks, rooms);
        let caps = racks
            .iter()
            .enumerate()
            .map(|(i, rack)| {
                let spec = &topology.racks()[i];
                let over = self.racks[i].over;
                let free = if over.advised { grants[i].watts } else { lent[i] };
                // Stopped, it still lowers what a breaker does not carry.
                let most = if mode == Mode::Safe || over.safe { spec.at(spec.safe_gpu).get() } else { f64::INFINITY };
                let budget = Watts::new(free.min(most));
                let gpu = self.shape(i, rack, budget, now, dt_s);
                let limits = self.spread(i, gpu, fleet.rack_at(i, &spec.id).filter(|_| rack.reachable), dt_s);
                let mut cap = self.explain(i, rack, &grants[i], gpu, &nodes, &held);
                cap.gpus = self.gpu_ids.iter().cloned().zip(limits).collect();
                self.keep_cool(i, rack, &mut cap);
                cap
            })
            .collect();
        let nodes = topology
            .nodes()
            .iter()
            .enumerate()
            .zip(nodes.iter().zip(&self.protection))
            .map(|((place, spec), (node, protection))| NodeView {
                node: spec.id.clone(),
                power: node.power,
                quality: node.quality,
                expected: node.expected,
                limit: node.limit,
                limit_kind: node.kind,
                rating: spec.rating,
                time_to_trip_s: node.drops_s,
                trip_used: protection.used(),
                battery: self.battery_left(place),
            })
            .collect();
        Plan { generation, at, mode, caps, nodes }
    }

    fn ask<'t>(&self, index: usize, rack: &RackNow, shares: &'t [(usize, f64)], now: Mono) -> Ask<'t> {
        let spec = &self.topology.racks()[index];
        let wanted = self.racks[index].wanted;
        let floor = rack.overhead + wanted.floor_gpu * f64::from(spec.gpus);
        let most = rack.overhead + wanted.ceiling_gpu * f64::from(spec.gpus);
        // A rack nobody can reach takes what it takes; the others have to make room.
        let floor = if rack.reachable { floor } else { rack.worst.max(floor) };
        // What a rack that was just held has, it goes on asking for: a limit that sinks with its load would cut
        // the next rise.
        let has = self.racks[index].gpu_limit.filter(|_| self.is_bound(index, now));
        let wants = has.map_or(rack.demand, |gpu| rack.demand.max(rack.overhead + gpu * f64::from(spec.gpus)));
        let cooled = rack.cooling.map_or(wants, |c| wants.min(c)).min(most);
        let demand =
            self.racks[index].over.pin.map_or(cooled, |pin| rack.cooling.map_or(pin, |c| pin.min(c)).min(most));
        Ask {
            floor: floor.get(),
            demand: demand.max(floor).get(),
            weight: wanted.weight,
            band: self.rank(index),
            shares,
        }
    }

    /// A rack was kept below its demand just now.
    fn is_bound(&self, index: usize, now: Mono) -> bool {
        self.racks[index].bound.is_some_and(|at| now.since(at) < LEND_AFTER)
    }
}

#[cfg(test)]
mod tests;

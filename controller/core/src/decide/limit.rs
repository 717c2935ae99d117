//! What each node carries, and the least of all that limits it.

use super::believe::RackNow;
use super::cords::{Live, Way};
use super::current::Told;
use super::{Decider, OTHER_S};
use crate::fleet::{Fleet, METER_TOLERANCE};
use crate::topology::{Constraint, NodeKind, NodeSpec, Topology};
use headroom_rack::{LimitKind, Mono, Quality, Watts};
use std::time::Duration;

/// No peaks, and nothing lent beyond a limit, for so long after a target from outside was lifted: breakers cooled down while it held, and the
/// load that waited would otherwise come back higher than it went.
const NO_REBOUND: Duration = Duration::from_secs(120);

/// Over how long a load counts as lasting, s. Far below the hours of a continuous rating and of the order in which
/// cables and terminals warm (5 to 20 min for small cables in air, IEC 60853-2), far above a trip.
const LASTS_S: f64 = 300.0;

/// What was left of the mean is used up, or what was too much made good, over this, s: a tenth of what it is the
/// mean of, so that no deep caps follow upon none.
const EVENS_S: f64 = 30.0;
/// No load that lasts is held below this share of the derated rating to make good what was too much.
const LEAST: f64 = 0.9;
/// What lasts leaves changes by this share or not at all.
const STEP: f64 = 0.015;

/// Time constant in which it is learned how much of what they were granted racks draw, s.
const TOGETHER_S: f64 = 20.0;
/// Racks are never taken to draw less than this share of what they were granted.
const LEAST_TOGETHER: f64 = 0.6;

pub(super) struct NodeNow {
    pub power: Watts,
    pub quality: Quality,
    /// Drawn there by something no rack accounts for: losses, cooling.
    pub other: Watts,
    pub expected: Watts,
    /// What it carries for ever without a trip.
    pub holds: Watts,
    pub limit: Watts,
    /// The limit without what passes as a short peak.
    pub lasts: Watts,
    pub kind: LimitKind,
    /// What may be granted in all: racks do not draw all they are granted at once.
    pub room: Watts,
    /// The same if no loss had to be survived.
    pub alone: Watts,
    /// The limit that the room comes from.
    pub by: LimitKind,
    /// What may flow until Orders run out.
    pub ramp: Watts,
    /// Seconds until it trips, or drops its load on an empty battery, if the power of now stays.
    pub drops_s: Option<f64>,
}

/// What a constraint leaves for its racks, W.
pub(super) struct Hold {
    pub limit: f64,
    /// The limit if no loss had to be survived, W.
    pub alone: f64,
    pub ramp: f64,
    /// The limit without what passes as a short peak or because peaks seldom meet, W.
    pub lasts: f64,
    /// What is carried for ever without a trip, W.
    pub holds: f64,
    pub kind: LimitKind,
    /// What flows of it now, W.
    pub power: f64,
}

/// What the racks below a node add up to.
#[derive(Clone, Copy, Default)]
pub(super) struct Below {
    power: Watts,
    expected: Watts,
    demand: Watts,
    /// Granted by the last decision.
    granted: Watts,
    /// What each phase carries beyond a third of the power.
    skew: [f64; 3],
    /// What the meters of cords tell of currents.
    pub told: Told,
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
            let way = live.get(&i);
            for (node, share) in way.map_or_else(|| topology.shares(i), |way| &way.shares) {
                let below = &mut below[*node];
                below.power += rack.power * *share;
                below.expected += rack.expected * *share;
                below.demand += rack.demand * *share;
                below.granted += self.racks[i].granted * *share;
                below.uncertain |= rack.quality != Quality::Measured;
            }
            self.skew(fleet, i, rack, way, &mut below);
            self.tell_currents(fleet, i, rack, now, &mut below);
            for (failover, share) in way.map_or_else(|| topology.moves(i), |way| &way.moves) {
                let of = if topology.is_mixed(*failover) { self.racks[i].granted } else { rack.demand };
                moved[*failover] += of.get() * share;
            }
        }
        let mut nodes = Vec::with_capacity(below.len());
        for (i, below) in below.into_iter().enumerate() {
            let most = |mixed: bool| {
                let of = self.topology.failovers(i).filter(|f| self.topology.is_mixed(*f) == mixed);
                Watts::new(of.map(|f| moved[f]).fold(0.0, f64::max))
            };
            let more = [most(false), most(true)];
            nodes.push(self.limit_node(i, &below, more, fleet, now, dt_s));
        }
        nodes
    }

    /// `more`: what a failover brings where all racks take over alike, and where they do not, which a constraint of its
    /// own holds and is only shown here.
    fn limit_node(
        &mut self,
        i: usize,
        below: &Below,
        [more, unlike]: [Watts; 2],
        fleet: &Fleet,
        now: Mono,
        dt_s: f64,
    ) -> NodeNow {
        let topology = self.topology.clone();
        let spec = &topology.nodes()[i];
        let response = self.policy.response.as_secs_f64();
        let meter = self.metered_by[i].and_then(|node| topology.nodes()[node].meter.as_ref());
        let shown = meter.and_then(|m| fleet.metered(&m.rack, &m.device, now));
        let metered = shown.map(|shown| shown.power);
        let known = !below.uncertain;
        let taught = Watts::new(self.other[i]);
        let fits = metered.is_some_and(|own| known && own >= below.power * (1.0 - METER_TOLERANCE));
        let (power, quality) = match metered {
            Some(own) if fits => (own, Quality::Measured),
            Some(own) if known => (own.max(below.power + taught), Quality::Summed),
            Some(own) => (own.max(below.power), Quality::Summed),
            // What a meter taught before it fell silent still flows.
            None => (below.power + taught, if known { Quality::Summed } else { Quality::Aged }),
        };
        let seen_phases = shown.and_then(|shown| shown.phases);
        // Where the constraints know the phases, they hold them; elsewhere the whole node gives way.
        let split = topology.is_split(i);
        let lines = if split { below.lines() } else { 1.0 };
        let uneven = uneven(spec, below, seen_phases, lines);
        let uneven = if seen_phases.is_none() && meter.is_some() { uneven.max(self.uneven[i]) } else { uneven };
        let load = power / spec.rating;
        let current = self.learn_current(i, shown.as_ref(), (below.told, lines), load, now, dt_s);
        let ratio = load * uneven * current;
        // Decisions come when loads rise: what flows now did not flow all the time since the one before.
        let before = self.loads[i].replace(ratio).unwrap_or(ratio);
        self.protection[i].advance(before, dt_s * 0.5);
        self.protection[i].advance(ratio, dt_s * 0.5);
        let smooth = if dt_s > 0.0 { super::follows(dt_s, OTHER_S) } else { 1.0 };
        self.uneven[i] += (uneven - self.uneven[i]) * smooth;
        let rating = self.rated(i);
        let rating = if split { rating } else { rating * (1.0 / self.uneven[i].max(1.0)) };
        // Both signs: a node's meter and those of racks that swing are read apart, and half of that would be a bias.
        let seen = metered.map(|own| (own - below.power).max(below.power * -METER_TOLERANCE).min(spec.rating).get());
        if let Some(seen) = seen.filter(|seen| known || *seen > self.beyond[i]) {
            self.beyond[i] += (seen - self.beyond[i]) * super::follows(dt_s, OTHER_S);
            self.other[i] = self.beyond[i].max(0.0);
        }
        let other = Watts::new(self.other[i]);
        let continuous = rating * self.policy.derate;
        let hot = rating * self.hot(i);
        let holds = rating * self.protection[i].holds();
        let peaks = self.peaks(i, spec, (before * before + ratio * ratio) * 0.5, now, dt_s);
        let lasts = continuous * peaks;
        // The mean may be met by a mean: only what trips has to hold against all that was granted at once.
        let together = self.coincidence(i, below, dt_s);
        let eased = match spec.curve.is_thermal() && !self.is_calming(now) {
            true => (lasts - other).max(Watts::ZERO) / together + other,
            false => lasts,
        };
        let eased = if self.is_calming(now) { eased } else { rating * self.steady(i, eased / rating) };
        let mut limits = Vec::with_capacity(4);
        limits.push(match spec.kind {
            NodeKind::Ups => (hot, LimitKind::UpsOverload),
            _ => (hot, LimitKind::TimeToTrip),
        });
        // A breaker that cooled under a limit from outside leaves more: also that is a rebound.
        let allowed = self.protection[i].allowed(response);
        let allowed = if self.is_calming(now) { allowed.min(self.allowed[i]) } else { allowed };
        self.allowed[i] = allowed;
        // Of what racks draw through it after the loss, this share flows already; what is no rack's stays.
        let survived = rating * allowed - other;
        let before = |now: Watts, more: Watts| survived.max(Watts::ZERO) * (now / (now + more)) + other;
        if more > below.demand * 1e-3 {
            limits.push((before(below.demand, more), LimitKind::Redundancy));
        }
        limits.extend(self.most(i).map(|watts| (watts, LimitKind::External)));
        let lasting = self.stretch(i, spec, power, fleet, now, dt_s);
        limits.extend(lasting.map(|watts| (watts, LimitKind::UpsOverload)));
        let least = |lasts: Watts, redundant: bool| {
            let others = limits.iter().filter(|(_, kind)| redundant || *kind != LimitKind::Redundancy);
            others.fold((lasts, LimitKind::Continuous), |least, next| if next.0 < least.0 { *next } else { least })
        };
        let ((limit, kind), (room, by), (alone, _)) = (least(lasts, true), least(eased, true), least(eased, false));
        let lasts = limit.min(continuous);
        let shown = (unlike > below.granted * 1e-3).then(|| (before(below.granted, unlike), LimitKind::Redundancy));
        let (limit, kind) = shown.filter(|shown| shown.0 < limit).unwrap_or((limit, kind));
        // A battery does not come back by cooling down: nothing beyond is lent.
        let ramp = match (lasting, self.most(i)) {
            (Some(_), _) => room,
            _ if self.is_calming(now) => room,
            (None, Some(most)) => hot.max(room).min(most),
            (None, None) => hot.max(room),
        };
        let trips_s = self.protection[i].time_to_trip_s(ratio);
        let empty_s = if spec.kind == NodeKind::Ups { self.empty_s(i) } else { None };
        let drops_s = trips_s.into_iter().chain(empty_s).reduce(f64::min);
        let expected = below.expected + other;
        NodeNow { power, quality, other, expected, holds, limit, lasts, kind, room, by, alone, ramp, drops_s }
    }

    /// The power that is the rated current of a node.
    pub(super) fn rated(&self, i: usize) -> Watts {
        self.topology.nodes()[i].rating * (1.0 / self.currents[i].more())
    }

    /// What may be granted at a node over its rating, as it is or as it was if it is nearly that.
    fn steady(&mut self, i: usize, share: f64) -> f64 {
        let stands = &mut self.eased[i];
        if (share / *stands - 1.0).abs() > STEP {
            *stands = share;
        }
        *stands
    }

    /// How much of what they were granted racks draw together: peaks seldom meet. A mean, because what it is for
    /// is a mean as well.
    fn coincidence(&mut self, i: usize, below: &Below, dt_s: f64) -> f64 {
        let now = match below.granted > Watts::ZERO {
            true => (below.power / below.granted).clamp(LEAST_TOGETHER, 1.0),
            false => 1.0,
        };
        let fade = super::follows(dt_s, TOGETHER_S);
        let known = &mut self.together[i];
        *known += (now - *known) * fade;
        *known
    }

    /// Adds what the cords of a rack load one phase more than another with, by their meters or, where
    /// these do not tell, by the plan.
    fn skew(&self, fleet: &Fleet, i: usize, rack: &RackNow, way: Option<&Way>, below: &mut [Below]) {
        for c in 0..self.topology.racks()[i].feeds.len() {
            let Some(phases) = self.phases(fleet, i, c) else { continue };
            let share = way.map_or_else(|| self.cord(i, c), |way| way.cords[c]);
            for (node, share) in self.loads((i, c), way, share) {
                let watts = rack.power.get() * share;
                for (skew, phase) in below[node].skew.iter_mut().zip(phases) {
                    *skew += watts * (phase - 1.0 / 3.0);
                }
            }
        }
    }

    /// What each constraint leaves for its racks, and what flows of it.
    pub(super) fn hold(&self, racks: &[RackNow], nodes: &[NodeNow]) -> Vec<Hold> {
        let mut power = vec![0.0; self.topology.constraints().len()];
        for (i, rack) in racks.iter().enumerate() {
            for (c, share) in self.topology.constrained(i) {
                power[*c] += rack.power.get() * share;
            }
        }
        let same =
            |limit, alone, kind, power| Hold { limit, alone, ramp: limit, lasts: limit, holds: limit, kind, power };
        let hold = |(c, (constraint, power)): (usize, (&Constraint, f64))| match constraint {
            Constraint::Phase(node, _) => {
                let node = &nodes[*node];
                let third = |limit: Watts| (limit - node.other).get() / 3.0;
                let [limit, alone, ramp] = [node.room, node.alone, node.ramp].map(third);
                let [lasts, holds] = [node.lasts, node.holds].map(third);
                Hold { limit, alone, ramp, lasts, holds, kind: node.by, power }
            }
            Constraint::Standby { node, phase } => {
                let limit = self.survived(c, *node, *phase, nodes[*node].other);
                same(limit, f64::INFINITY, LimitKind::Redundancy, power)
            }
            // As where all racks take over alike: what is lent is taken back when a feed is lost.
            Constraint::Failover { node, phase, .. } => {
                let limit = self.survived(c, *node, *phase, nodes[*node].other);
                let all = same(f64::INFINITY, f64::INFINITY, LimitKind::Redundancy, power);
                Hold { limit, ..all }
            }
            Constraint::Cooling { left, whole, .. } => same(left.get(), whole.get(), LimitKind::Cooling, power),
        };
        self.topology.constraints().iter().zip(power).enumerate().map(hold).collect()
    }

    /// By how much a node may exceed its derated rating now, or how far it must stay below, so that what lasts is at it. A
    /// continuous rating is one for hours (UL 489: three and more), so the mean of the squared load over
    /// [`LASTS_S`] stays below the square of the derated rating; whether a peak trips is the trip image's
    /// business alone. Devices without a thermal image, a UPS above all, are rated for what flows.
    fn peaks(&mut self, i: usize, spec: &NodeSpec, square: f64, now: Mono, dt_s: f64) -> f64 {
        if !spec.curve.is_thermal() {
            return 1.0;
        }
        let most = self.policy.derate.powi(2);
        let mean = &mut self.lasting[i];
        *mean += (square - *mean) * super::follows(dt_s, LASTS_S);
        if self.is_calming(now) {
            return 1.0;
        }
        let grown = (EVENS_S / LASTS_S).exp();
        let least = most * LEAST.powi(2);
        (((grown * most - self.lasting[i]) / (grown - 1.0)).max(least) / most).sqrt()
    }

    /// A target from outside was lifted just now: whoever asked for less does not want a rebound when it is over.
    pub(super) fn is_calming(&self, now: Mono) -> bool {
        self.targeted.is_some_and(|at| now.since(at) < NO_REBOUND)
    }
}

/// By whose meter each node is known: its own, or that of the node above it where all that flows there flows
/// through this one, as through the breaker behind a UPS.
pub(super) fn metered_by(topology: &Topology) -> Vec<Option<usize>> {
    let nodes = topology.nodes();
    let above = topology.above();
    let mut ways = vec![0_usize; nodes.len()];
    above.iter().flatten().for_each(|parent| ways[*parent] += 1);
    let racks = 0..topology.racks().len();
    racks.flat_map(|rack| topology.paths(rack)).filter_map(|path| path.first()).for_each(|node| ways[*node] += 1);
    let find = |node: usize| {
        let mut at = node;
        // As many steps as there are nodes end any chain.
        for _ in nodes {
            match above[at] {
                _ if nodes[at].meter.is_some() => return Some(at),
                Some(parent) if ways[parent] == 1 => at = parent,
                _ => return None,
            }
        }
        None
    };
    (0..nodes.len()).map(find).collect()
}

impl Below {
    /// What the shares of the phases sum to: more than 1 where lines are connected to lines.
    fn lines(&self) -> f64 {
        let sum: f64 = self.skew.iter().sum();
        if self.power > Watts::ZERO { (1.0 + sum / self.power.get()).max(1.0) } else { 1.0 }
    }
}

/// Load of the fullest phase over the mean of the three, at least 1: by the node's own meter, whose shares sum to 1, or
/// else by the cords below it.
fn uneven(spec: &NodeSpec, below: &Below, own: Option<[f64; 3]>, lines: f64) -> f64 {
    if spec.phases != 3 {
        return 1.0;
    }
    let third = below.power.get() / 3.0;
    let phases = own
        .map(|own| own.map(|share| share * lines))
        .or_else(|| (third > 0.0).then(|| below.skew.map(|skew| (1.0 + skew / third) / 3.0)));
    phases.map_or(1.0, |p| p.into_iter().fold(0.0, f64::max) * 3.0).max(1.0)
}

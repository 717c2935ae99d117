//! What each rack draws now, what it will and what it wants.

use super::coolant::Bounds;
use super::{Decider, OTHER_S};
use crate::demand;
use crate::fleet::{FRESH, Fleet, GpuBelief, RackBelief, SILENT, is_beyond};
use crate::topology::RackSpec;
use headroom_rack::{Forecast, Mono, Quality, Watts};
use std::time::Duration;

/// After so long without a word the watchdog of the service manager has killed an agent that hangs, and what comes
/// after it (`ExecStopPost=`) has set the safe share: `WatchdogSec=10s`, and as long as that may take.
const WATCHDOG: Duration = Duration::from_secs(15);

/// The forecast quantile that is shown as what may come.
const QUANTILE: f64 = 0.99;
/// The forecast quantile a rack is given room for. Caps hold whatever comes; this decides how often a
/// rack has to wait a second for its room, against how much room others are refused in vain.
const WANTED_QUANTILE: f64 = 0.9;
/// Belief in a GPU that does not keep its limit grows by this share of the rack's nameplate in a
/// second: a limit just lowered takes effect within two or three, and must not count.
const UNRULY_PER_S: f64 = 0.015;

/// When the bus is back, all agents are within so long: they try again after 5 s at most, and not in step.
const COMING_BACK: Duration = Duration::from_secs(15);

/// A limit read back that is not the one asked for counts from then on: Orders and Snapshots take a while.
const DEFIES: Duration = Duration::from_secs(4);

pub(super) struct RackNow {
    pub power: Watts,
    pub quality: Quality,
    /// Power of everything that no limit moves: losses, fans, GPUs that keep none.
    pub overhead: Watts,
    pub expected: Watts,
    pub demand: Watts,
    /// What it can take without any agent.
    pub worst: Watts,
    /// What it can take while it gets no Orders.
    pub taken: Watts,
    /// At least half of its GPUs are held by their limits.
    pub pressed: bool,
    /// The agent answers, so a new cap will take effect.
    pub reachable: bool,
    pub cooling: Option<Watts>,
}

impl Decider {
    /// Whether a meter in a circuit above each of its cords, read by somebody else, shows what a rack draws that does not
    /// say so itself.
    fn is_watched(&self, rack: usize, fleet: &Fleet, now: Mono) -> bool {
        let id = &self.topology.racks()[rack].id;
        let shows = |node: &usize| {
            let meter = self.metered_by[*node].and_then(|node| self.topology.nodes()[node].meter.as_ref());
            meter.is_some_and(|m| m.rack != *id && fleet.meter(&m.rack, &m.device, now).is_some())
        };
        self.topology.paths(rack).iter().all(|path| path.iter().any(shows))
    }

    /// Notes when nobody is heard.
    pub(super) fn listen(&mut self, fleet: &Fleet, now: Mono) {
        let is_heard = |(i, spec): (usize, &RackSpec)| fleet.rack_at(i, &spec.id).is_some_and(|b| b.age(now) <= SILENT);
        if !self.topology.racks().iter().enumerate().any(is_heard) {
            self.deaf = Some(now);
        }
    }

    /// Nobody is heard, or all are only just coming back.
    fn is_deaf(&self, now: Mono) -> bool {
        self.deaf.is_some_and(|deaf| now.since(deaf) <= COMING_BACK)
    }

    /// What a rack can draw without its agent. Nothing enforces less than what was last set; once the lease is surely
    /// over and a hung agent killed, `settled`, the safe share does. An agent that nobody can kill, as its driver hangs,
    /// leaves what it set: a meter above shows what flows then, or else it counts, unless nobody at all is heard, for
    /// then it is the bus. A rack never heard of may be at its nameplate.
    fn worst(&self, rack: usize, fleet: &Fleet, now: Mono, settled: Duration) -> Watts {
        let spec = &self.topology.racks()[rack];
        let since = fleet.rack_at(rack, &spec.id).map(|belief| belief.arrived).or(self.began);
        let silent = since.map_or(Duration::ZERO, |since| now.since(since));
        match self.racks[rack].given {
            _ if silent > settled && (self.is_deaf(now) || self.is_watched(rack, fleet, now)) => spec.at(spec.safe_gpu),
            Some(given) => spec.at(given.max(spec.safe_gpu)),
            None => spec.nameplate(),
        }
    }

    pub(super) fn believe(
        &mut self,
        index: usize,
        fleet: &Fleet,
        forecast: Option<&Forecast>,
        now: Mono,
        dt_s: f64,
    ) -> RackNow {
        let belief = fleet.rack_at(index, &self.topology.racks()[index].id);
        let age = belief.map_or(Duration::MAX, |b| b.age(now));
        let leased = self.policy.lease + self.policy.response;
        let settled = if self.is_deaf(now) { leased } else { leased.max(WATCHDOG) };
        let worst = self.worst(index, fleet, now, settled);
        let spec = &self.topology.racks()[index];
        let policy = &self.policy;
        let memory = &mut self.racks[index];
        let reachable = age <= SILENT && belief.is_some_and(|b| !b.dead);
        let seen = belief.and_then(|b| b.power(spec));
        // One that did not keep its limit while it was heard is not known to keep it now.
        let worst = seen.filter(|_| age <= settled).map_or(worst, |power| worst.max(power));
        let (power, quality) = match (seen, belief) {
            (Some(power), Some(b)) if age <= FRESH && b.metered().is_some() => (power, Quality::Measured),
            (Some(power), _) if age <= FRESH => (power, Quality::Summed),
            (Some(power), _) if age <= SILENT => {
                let share = age.saturating_sub(FRESH).as_secs_f64() / (SILENT - FRESH).as_secs_f64();
                (power + (worst.max(power) - power) * share, Quality::Aged)
            }
            _ => (worst, Quality::Nameplate),
        };
        let seen = belief.map_or(spec.overhead, |b| demand::overhead(b, spec));
        let known = memory.overhead.unwrap_or(seen);
        let smooth = known + (seen - known) * super::follows(dt_s, OTHER_S);
        memory.overhead = Some(smooth);
        let growth = spec.nameplate() * (UNRULY_PER_S * dt_s);
        let asked = |gpu: usize| memory.spread.of(gpu).or(memory.gpu_limit);
        let defies = belief.is_some_and(|b| defies(b, asked));
        memory.defies = defies.then(|| memory.defies.unwrap_or(now));
        let asked = |gpu: usize| asked(gpu).filter(|_| memory.defies.is_some_and(|at| now.since(at) >= DEFIES));
        memory.unruly = belief.map_or(memory.unruly, |b| unruly(b, spec, asked).min(memory.unruly + growth));
        let overhead = smooth + memory.unruly;
        let upper = |quantile| forecast.and_then(|f| f.upper(quantile, policy.response)).unwrap_or(power).max(power);
        let expected = upper(QUANTILE);
        let wanted = match belief.filter(|_| reachable) {
            // A Forecast knows better than a flat allowance how far a rack will grow; what a held GPU
            // would draw is not in it.
            Some(b) if forecast.is_some() => {
                let least = demand::now(b, spec, smooth, demand::GROWTH_FORESEEN);
                least.max(upper(WANTED_QUANTILE) + demand::held(b, spec))
            }
            Some(b) => demand::now(b, spec, smooth, demand::GROWTH),
            // Still under its last Orders: it may want what it wanted.
            None if age <= settled => memory.demand.map_or(worst, |held| held.max(worst)),
            None => worst,
        };
        let held = demand::hold(memory.demand, wanted, spec, dt_s);
        let demand = held.min(spec.nameplate().max(power));
        memory.demand = Some(demand);
        if let Some(belief) = belief.filter(|_| reachable) {
            let bounds = Bounds::of(policy, spec, belief);
            memory.heat.see(belief, power, &bounds);
        }
        let cooling = memory.heat.carried();
        let known = belief.filter(|_| reachable && quality != Quality::Aged);
        let pressed = known.is_some_and(|b| demand::pressed(b) * 2 >= spec.gpus as usize);
        let taken = super::hands::without_orders(spec, belief, overhead).max(expected);
        RackNow { power, quality, overhead, expected, demand, worst, taken, pressed, reachable, cooling }
    }
}

/// Whether a GPU of a rack has a higher limit than was asked for: a board may not go so low, and an agent may only watch.
fn defies(belief: &RackBelief, asked: impl Fn(usize) -> Option<Watts>) -> bool {
    let higher =
        |(i, gpu): (usize, &GpuBelief)| gpu.limit.zip(asked(i)).is_some_and(|(limit, asked)| is_beyond(limit, asked));
    belief.gpus.iter().enumerate().any(higher)
}

/// What the GPUs of a rack draw beyond the limits that they say are in force or, where these are not what was asked
/// for, beyond that.
fn unruly(belief: &RackBelief, spec: &RackSpec, asked: impl Fn(usize) -> Option<Watts>) -> Watts {
    let beyond = |(i, gpu): (usize, &GpuBelief)| {
        let (power, limit) = (gpu.power.ok()?, gpu.limit?);
        let limit = asked(i).filter(|asked| is_beyond(limit, *asked)).unwrap_or(limit);
        Some(if is_beyond(power, limit) { power - limit } else { Watts::ZERO })
    };
    let gpus = belief.gpus.iter().enumerate().filter_map(beyond);
    gpus.sum::<Watts>().min(spec.gpu_max * f64::from(spec.gpus))
}

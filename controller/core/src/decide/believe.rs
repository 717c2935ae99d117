//! What each rack draws now, what it will and what it wants.

use super::coolant::Bounds;
use super::{Decider, OTHER_S};
use crate::demand;
use crate::fleet::{FRESH, RackBelief, SILENT};
use crate::topology::RackSpec;
use headroom_rack::{Forecast, Mono, Quality, Watts};
use std::time::Duration;

/// The forecast quantile that is shown as what may come.
const QUANTILE: f64 = 0.99;
/// The forecast quantile a rack is given room for. Caps hold whatever comes; this decides how often a
/// rack has to wait a second for its room, against how much room others are refused in vain.
const WANTED_QUANTILE: f64 = 0.9;
/// A GPU regulated to its limit stays under it; above this share of it, it does not keep it.
const KEEPS: f64 = 1.05;
const KEEPS_WATTS: f64 = 10.0;
/// Belief in a GPU that does not keep its limit grows by this share of the rack's nameplate in a
/// second: a limit just lowered takes effect within two or three, and must not count.
const UNRULY_PER_S: f64 = 0.015;

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
    pub(super) fn believe(
        &mut self,
        index: usize,
        belief: Option<&RackBelief>,
        forecast: Option<&Forecast>,
        now: Mono,
        dt_s: f64,
    ) -> RackNow {
        let spec = &self.topology.racks()[index];
        let policy = &self.policy;
        let memory = &mut self.racks[index];
        let age = belief.map_or(Duration::MAX, |b| b.age(now));
        let reachable = age <= SILENT && belief.is_some_and(|b| !b.dead);
        let settled = policy.lease + policy.response;
        // Without an agent nothing enforces less than what was last set; once the lease is surely
        // over, the safe share does. A rack never heard of may be at its nameplate.
        let worst = match (belief, memory.gpu_limit) {
            (Some(_), _) if age > settled => spec.at(spec.safe_gpu),
            (Some(_), Some(given)) => spec.at(given.max(spec.safe_gpu)),
            _ => spec.nameplate(),
        };
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
        memory.unruly = belief.map_or(memory.unruly, |b| unruly(b, spec).min(memory.unruly + growth));
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
            let bounds = Bounds {
                limit_celsius: policy.coolant_limit_celsius,
                air_celsius: policy.inlet_limit_celsius,
                response_s: policy.response.as_secs_f64(),
                liters: spec.coolant_liters(),
                dark: (policy.inlet_limit_celsius.is_some() && belief.lost_cords(spec).contains(&true))
                    .then(|| spec.nameplate()),
            };
            memory.heat.see(belief, power, &bounds);
        }
        let cooling = memory.heat.carried();
        let known = belief.filter(|_| reachable && quality != Quality::Aged);
        let pressed = known.is_some_and(|b| demand::pressed(b) * 2 >= spec.gpus as usize);
        let taken = super::hands::without_orders(spec, belief, overhead).max(expected);
        RackNow { power, quality, overhead, expected, demand, worst, taken, pressed, reachable, cooling }
    }
}

/// What the GPUs of a rack draw beyond the limits that they say are in force.
fn unruly(belief: &RackBelief, spec: &RackSpec) -> Watts {
    let beyond = |power: Watts, limit: Watts| match power > limit * KEEPS + Watts::new(KEEPS_WATTS) {
        true => power - limit,
        false => Watts::ZERO,
    };
    let gpus = belief.gpus.iter().filter_map(|g| Some(beyond(g.power.ok()?, g.limit?)));
    gpus.sum::<Watts>().min(spec.gpu_max * f64::from(spec.gpus))
}

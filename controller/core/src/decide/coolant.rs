//! The coolant of one rack: how warm it is where it leaves the rack, what it carries away, and how many seconds are
//! left until its limit.
//!
//! The return side of the loop holds heat capacity `C` and is flushed by the flow `F`:
//! `C dT/dt = P - F c (T - Ts)`, so `T` goes to `T8 = Ts + P / (F c)` with `tau = C / (F c)` and reaches a limit `L` below
//! that after `tau ln((T8 - T) / (T8 - L))`; without flow after `C (L - T) / P`. A supply that warms by `r` a second
//! brings `T8` there after `(L - T8) / r` and `T` at most `tau` later, as late as `(L - T) / r` if that is sooner. What is
//! carried for ever at the limit is `F c (L - Ts)`. A rack may give no more heat than that, and no more than would take it to the limit within the response time if all flow were lost
//! this moment.
//!
//! A return sensor sits in the pipe: of coolant that stands still in the rack it knows nothing. While it is flushed too
//! slowly, or not read, the equation above goes on from what was known, and the warmer is believed.
//!
//! Where a cooler tells no flow and the policy has a limit for the air at the inlets, its supply is that air. Of it no
//! heat balance is known, so power follows the temperature: air may warm no faster than leaves [`AIR_AHEAD_S`] until
//! its limit, and each kelvin that it warms beyond that takes the share [`AIR_PER_K`] of the power, each one that it
//! stays behind gives as much back. Power so comes to rest where what is removed holds the air, below the limit.
//! A cooler that falls silent together with a cord of its rack may have lost its power with it: what the rack draws
//! then warms its air and its metal, until it is heard again.

use crate::fleet::RackBelief;
use crate::policy::Policy;
use crate::topology::RackSpec;
use headroom_rack::Watts;

/// Heat capacity of the coolant, J/(l K): water at 30 degrees Celsius; 25 % glycol is 4 % lower.
pub(super) const J_PER_L_K: f64 = 4160.0;
/// Share of the loop's volume on the return side, which alone takes up the heat when nothing circulates: the whole
/// loop warms half as fast.
const RETURN_SIDE: f64 = 0.5;
/// Flushed within this, s, a return sensor shows what leaves the rack.
const FLUSHED_S: f64 = 30.0;
/// Time constant that smooths how the supply warms, s: sensors tell tenths or whole kelvins.
const RISE_S: f64 = 15.0;
/// A supply that warms more slowly does not warm, K/s: half a kelvin a minute is the valve at work.
const LEAST_RISE: f64 = 0.008;
/// What lies further ahead is not foretold, s.
const FAR_S: f64 = 3600.0;
/// Air is kept so far from its limit, s: rooms and their chillers are slow.
const AIR_AHEAD_S: f64 = 120.0;
/// Share of the power that a kelvin too much takes, 1/K. A room in which full power is worth a kelvin in 5 to 30 s
/// comes to rest with 15 to 100 s, no faster than [`RISE_S`] lets its warming be known.
const AIR_PER_K: f64 = 0.3;
/// A rack that has so much more than it draws is held no longer.
const AIR_FREE: f64 = 1.25;
/// What is given back begins no further below what is drawn than this share of it.
const AIR_BACK: f64 = 0.8;
/// What a rack draws counts as its mean over this, s: steps of training and checkpoints are no news to a room.
const DRAWN_S: f64 = 30.0;
/// Heat that metal and air around a rack take up, J/K for each watt of its nameplate: a server of 10.2 kW weighs 130 kg (NVIDIA DGX
/// H100), its metals take up 0.47 kJ/(kg K); the air of 15 m3 of room adds a quarter, which is left out.
const STILL_J_PER_K_PER_W: f64 = 6.0;
/// Air this far below its limit again lets a rack go, K.
const AIR_SPARE_K: f64 = 1.0;

/// What the coolant of a rack must keep to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// Highest temperature where it leaves the rack.
    pub limit_celsius: f64,
    /// Highest temperature of the air at the inlets, where the site has one.
    pub air_celsius: Option<f64>,
    /// From a measurement to an enforced limit, s.
    pub response_s: f64,
    /// Coolant in the loop, l.
    pub liters: f64,
    /// The nameplate of the rack if its cooler may be without power.
    pub dark: Option<Watts>,
}

impl Bounds {
    /// Of a rack as it is heard.
    pub(super) fn of(policy: &Policy, spec: &RackSpec, belief: &RackBelief) -> Self {
        let is_dark = policy.inlet_limit_celsius.is_some() && belief.lost_cords(spec).contains(&true);
        Self {
            limit_celsius: policy.coolant_limit_celsius,
            air_celsius: policy.inlet_limit_celsius,
            response_s: policy.response.as_secs_f64(),
            liters: spec.coolant_liters(),
            dark: is_dark.then(|| spec.nameplate()),
        }
    }

    /// Heat capacity of the return side, J/K.
    fn capacity(&self) -> f64 {
        self.liters * RETURN_SIDE * J_PER_L_K
    }
}

/// What is known of one loop.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Loop {
    flow_w_per_k: Option<f64>,
    supply: Option<f64>,
    rise_k_per_s: f64,
    /// Where it leaves the rack, as believed.
    celsius: Option<f64>,
    /// The most heat, as last known.
    most: Option<Watts>,
    left_s: Option<f64>,
    /// Mean of what is drawn.
    drawn: Option<Watts>,
}

impl Loop {
    /// Takes in what was heard `dt_s` after the last time, of a rack that draws `power`.
    pub(super) fn see(&mut self, belief: &RackBelief, power: Watts, dt_s: f64, bounds: &Bounds) {
        if let Some(before) = self.supply.zip(belief.supply_celsius).map(|(a, b)| b - a).filter(|_| dt_s > 0.0) {
            self.rise_k_per_s += (before / dt_s - self.rise_k_per_s) * super::follows(dt_s, RISE_S);
        }
        self.supply = belief.supply_celsius.or(self.supply);
        self.flow_w_per_k = belief.flow_lpm.map(|flow| flow.max(0.0) / 60.0 * J_PER_L_K).or(self.flow_w_per_k);
        match (self.flow_w_per_k, self.supply) {
            (Some(flow), Some(supply)) => self.liquid(flow, supply, belief, power.get(), dt_s, bounds),
            (None, Some(_)) => self.air(belief.supply_celsius, power, dt_s, bounds),
            _ => {}
        }
    }

    fn liquid(&mut self, flow: f64, supply: f64, belief: &RackBelief, power: f64, dt_s: f64, bounds: &Bounds) {
        let capacity = bounds.capacity();
        let settled = supply + power / flow.max(1e-9);
        let told = belief.return_celsius;
        let reckoned = match self.celsius {
            Some(celsius) if flow * dt_s > capacity * 1e-6 => {
                settled + (celsius - settled) * (-dt_s * flow / capacity).exp()
            }
            Some(celsius) => celsius + power * dt_s / capacity,
            // Nothing was known: as it flowed, or else as it stands in the pipes.
            None => told.unwrap_or(if capacity < flow * FLUSHED_S { settled } else { supply }),
        };
        let celsius = match told {
            Some(told) if capacity <= flow * FLUSHED_S => told,
            Some(told) => reckoned.max(told),
            None => reckoned.max(supply),
        };
        self.celsius = Some(celsius);
        let limit = bounds.limit_celsius;
        let rise = self.rise();
        let carried = flow * (limit - supply - rise * bounds.response_s);
        let unflushed = capacity * (limit - celsius) / bounds.response_s;
        self.most = Some(Watts::new(carried.min(unflushed).max(0.0)));
        let by_heat = match (limit - celsius, settled - limit) {
            (left, _) if left <= 0.0 => Some(0.0),
            (left, _) if flow * left < power * 1e-6 => (power > 0.0).then(|| capacity * left / power),
            (left, over) if over > 0.0 => Some(capacity / flow * ((over + left) / over).ln()),
            _ => None,
        };
        let by_supply = (rise > 0.0).then(|| {
            let (direct, below) = ((limit - celsius).max(0.0) / rise, (limit - settled) / rise);
            if below > 0.0 { direct.min(below + capacity / flow.max(1e-9)).max(below) } else { direct }
        });
        self.left_s = by_heat.into_iter().chain(by_supply).reduce(f64::min).filter(|s| *s < FAR_S);
    }

    fn air(&mut self, told: Option<f64>, power: Watts, dt_s: f64, bounds: &Bounds) {
        let (Some(limit), Some(known)) = (bounds.air_celsius, self.supply) else { return };
        if let Some(nameplate) = bounds.dark.filter(|_| told.is_none()) {
            self.rise_k_per_s = self.rise_k_per_s.max(power / (nameplate * STILL_J_PER_K_PER_W));
        }
        let warms = self.rise_k_per_s > LEAST_RISE;
        // What falls silent while it warms goes on.
        let celsius = told.unwrap_or(if warms { known + self.rise_k_per_s * dt_s } else { known });
        (self.supply, self.celsius) = (Some(celsius), Some(celsius));
        let drawn = self.drawn.map_or(power, |mean| mean + (power - mean) * super::follows(dt_s, DRAWN_S));
        self.drawn = Some(drawn);
        let left = limit - celsius;
        let by_rise = warms.then(|| left / self.rise_k_per_s);
        self.left_s = if left <= 0.0 { Some(0.0) } else { by_rise.filter(|s| *s < FAR_S) };
        let rise = if warms { self.rise_k_per_s } else { self.rise_k_per_s.min(0.0) };
        let beyond_k = (rise - left / AIR_AHEAD_S) * dt_s;
        let follow = (-AIR_PER_K * beyond_k).exp();
        self.most = match self.most {
            _ if left <= 0.0 => Some(Watts::ZERO),
            held if beyond_k > 0.0 => Some(held.unwrap_or(drawn).min(drawn) * follow),
            Some(held) if left >= AIR_SPARE_K && told.is_some() => {
                Some(held.max(drawn * AIR_BACK) * follow).filter(|most| *most < drawn * AIR_FREE)
            }
            held => held,
        };
    }

    /// The most heat that the rack may give; `None`: nothing is known.
    pub(super) fn most(&self) -> Option<Watts> {
        self.most
    }

    /// Seconds until the limit if heat, flow and supply go on as they are; `None`: not within an hour, or not known.
    pub(super) fn left_s(&self) -> Option<f64> {
        self.left_s
    }

    /// Where it leaves the rack, or at the inlets, degrees Celsius.
    pub(super) fn celsius(&self) -> Option<f64> {
        self.celsius
    }

    /// Flow, W/K; `None`: it never told one.
    pub(super) fn flow_w_per_k(&self) -> Option<f64> {
        self.flow_w_per_k
    }

    /// How fast the supply warms, K/s; 0 while that is the valve at work.
    fn rise(&self) -> f64 {
        if self.rise_k_per_s > LEAST_RISE { self.rise_k_per_s } else { 0.0 }
    }

    /// The warmest supply at which a flow of `w_per_k` carries `power` W, and a loss of all flow leaves the response time,
    /// degrees Celsius: where `most` of a loop that has settled is that power.
    pub(super) fn supply_for(&self, power: f64, w_per_k: f64, bounds: &Bounds) -> f64 {
        let unflushed = power * bounds.response_s / bounds.capacity();
        bounds.limit_celsius - power / w_per_k.max(1e-9) - unflushed.max(self.rise() * bounds.response_s)
    }

    /// The least flow that does the same with the supply of now, l/min; `None`: none does, or the loop is not known.
    pub(super) fn flow_for(&self, power: f64, bounds: &Bounds) -> Option<f64> {
        self.flow_w_per_k?;
        let left = self.supply_for(power, f64::INFINITY, bounds) - self.supply?;
        (left > 0.0).then(|| power / left * 60.0 / J_PER_L_K)
    }

    /// How much warmer air may become that was `warmest` degrees Celsius at most, K: so that at full power it is not at its
    /// limit before a loss of its cooling is known and answered. `None`: it has no limit.
    pub(super) fn air_room_k(&self, warmest: f64, bounds: &Bounds) -> Option<f64> {
        let unanswered = (RISE_S + bounds.response_s) / STILL_J_PER_K_PER_W;
        Some(bounds.air_celsius? - unanswered.max(self.rise() * AIR_AHEAD_S) - warmest)
    }
}

#[cfg(test)]
mod tests;

//! How warm the supply of a cooler may be, and how cool it must be where cooling holds racks back. Advised, never
//! written: set-points are the building's, and everything else here is safe without their ever being changed.
//!
//! What a loop can take is reckoned by [`super::coolant`]: at the warmest supply that is advised it still carries what is
//! wanted, and a loss of all flow still leaves a response time. GPUs follow their coolant kelvin by kelvin. Of air no heat
//! balance is known: it may warm by what its warmest hour left, less what would be used up before a loss is answered.

use super::Decider;
use super::coolant::Bounds;
use crate::fleet::{Fleet, SILENT};
use headroom_rack::{Cap, LimitKind, Mono, NodeId, Plan, RackId, Watts};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Advice is reckoned so often: nobody turns a valve each second.
const EVERY: Duration = Duration::from_secs(1);
/// A warmer supply is advised for the peaks of one to two of these.
const WINDOW: Duration = Duration::from_secs(1800);
/// A cooler supply is advised when cooling held a rack back for so long: a peak that passes is not worth a valve.
const HELD: Duration = Duration::from_secs(15);
/// And until nothing was held back for so long.
const CALM: Duration = Duration::from_secs(120);
/// Coolant on its way to its limit so soon calls for a cooler supply before it holds anything back, s.
const AHEAD_S: f64 = 600.0;
/// Set-points are written in halves of a kelvin.
const STEP_K: f64 = 0.5;
/// What was advised stays until it is off by this much: a number that moves each minute is not followed.
const STAYS_K: f64 = 1.0;
/// Sensors tell whole kelvins or half ones; so much is left to them.
const SENSOR_K: f64 = 1.0;
/// A unit this far above its set-point does not keep it.
const UNKEPT_K: f64 = 2.0;
/// No cooler supply is advised: ASHRAE's coolest class of liquid cooling (W17), 2 K above the highest dew point that it
/// recommends for the air of data centres (15 degrees).
const COOLEST_CELSIUS: f64 = 17.0;
/// No warmer supply of liquid is advised: the hottest class that servers are sold for (ASHRAE W45).
const WARMEST_CELSIUS: f64 = 45.0;

/// Which way a supply could go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// It must be cooler: cooling holds its racks back, or will within minutes.
    Cooler,
    /// It is as it should be.
    Keep,
    /// It could be warmer, which saves energy.
    Warmer,
}

impl Change {
    /// Its word in interfaces.
    pub fn word(self) -> &'static str {
        match self {
            Self::Cooler => "cooler",
            Self::Keep => "keep",
            Self::Warmer => "warmer",
        }
    }
}

/// What the supply of one cooler could be set to.
#[derive(Debug, Clone, PartialEq)]
pub struct CoolingAdvice {
    /// The cooler: a set of units, or `RACK/DEVICE`.
    pub cooler: NodeId,
    /// The racks that it serves and that tell of their cooling.
    pub racks: Vec<RackId>,
    /// Which way.
    pub change: Change,
    /// Supply now, the warmest of the racks', degrees Celsius.
    pub supply_celsius: f64,
    /// Set-point now, degrees Celsius, where a unit tells it.
    pub setpoint_celsius: Option<f64>,
    /// The warmest supply at which cooling holds nothing back, degrees Celsius, in steps of half a kelvin; that of now
    /// where it is to be kept. `None`: none down to 17 degrees does.
    pub at_most_celsius: Option<f64>,
    /// The least flow that would do instead with the supply of now, l/min; of a liquid loop that must be cooler and serves one rack.
    pub flow_at_least_lpm: Option<f64>,
    /// What the racks want, or wanted at most in the last half hour to hour: what the advice is for.
    pub wanted: Watts,
    /// How much of that cooling holds back now.
    pub held: Watts,
}

impl CoolingAdvice {
    /// In words.
    pub fn words(&self) -> String {
        let (cooler, now, kilowatts) = (&self.cooler, self.supply_celsius, self.wanted.get() / 1000.0);
        let flow = self.flow_at_least_lpm;
        let text = match (self.change, self.at_most_celsius, flow) {
            (Change::Warmer, Some(most), _) => {
                return format!(
                    "{cooler}: its supply may be as warm as {most:.1} C ({now:.1} now) for the {kilowatts:.1} kW of the last hour"
                );
            }
            (Change::Cooler, Some(most), Some(flow)) => {
                format!(
                    "{cooler}: a supply of {most:.1} C or less ({now:.1} now), or a flow of {flow:.0} l/min or more,"
                )
            }
            (Change::Cooler, Some(most), None) => format!("{cooler}: a supply of {most:.1} C or less ({now:.1} now)"),
            (Change::Cooler, None, Some(flow)) => {
                format!("{cooler}: a flow of {flow:.0} l/min or more (no supply above dew point does, {now:.1} C now)")
            }
            (Change::Cooler, None, None) => {
                return format!(
                    "{cooler}: neither a cooler supply nor more flow alone carries {kilowatts:.1} kW: see its pumps, valve and filters"
                );
            }
            _ => {
                return format!(
                    "{cooler}: its supply is right at {now:.1} C for the {kilowatts:.1} kW of the last hour"
                );
            }
        };
        let held = match self.held.get() {
            held if held >= 1.0 => format!(", {:.1} more than cooling leaves now", held / 1000.0),
            _ => String::new(),
        };
        let unkept = match self.unkept() {
            Some(set) => format!("; its set-point of {set:.1} C is not kept: see its pumps, valve and filters first"),
            None => String::new(),
        };
        format!("{text} would carry the {kilowatts:.1} kW its racks want{held}{unkept}")
    }

    /// The set-point, if the supply is well above it.
    pub fn unkept(&self) -> Option<f64> {
        self.setpoint_celsius.filter(|set| self.supply_celsius > set + UNKEPT_K)
    }
}

/// The extremes of some time.
#[derive(Debug, Clone, Copy)]
struct Extremes {
    /// Most that was wanted, W.
    wanted: f64,
    /// Least flow, W/K; infinite where none is told.
    flow: f64,
    /// Warmest supply, degrees Celsius.
    supply: f64,
    /// Supply at which the warmest GPU would have been at its limit with what was wanted, degrees Celsius.
    gpus: f64,
}

impl Extremes {
    fn with(self, other: Self) -> Self {
        Self {
            wanted: self.wanted.max(other.wanted),
            flow: self.flow.min(other.flow),
            supply: self.supply.max(other.supply),
            gpus: self.gpus.min(other.gpus),
        }
    }
}

/// What is remembered of one rack.
#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    /// Since when, and what since then.
    lately: Option<(Mono, Extremes)>,
    /// Of the window before.
    before: Option<Extremes>,
    /// First and last moment at which cooling held it back.
    held: Option<(Mono, Mono)>,
}

impl Seen {
    fn see(&mut self, seen: Extremes, is_held: bool, now: Mono) {
        self.lately = match self.lately {
            Some((since, extremes)) if now.since(since) < WINDOW => Some((since, extremes.with(seen))),
            lately => {
                self.before = lately.map(|(_, extremes)| extremes);
                Some((now, seen))
            }
        };
        self.held = match self.held.filter(|(_, last)| now.since(*last) < CALM) {
            held if is_held => Some((held.map_or(now, |(first, _)| first), now)),
            held => held,
        };
    }

    /// Cooling holds it back, and not only for a moment.
    fn is_short(&self) -> bool {
        self.held.is_some_and(|(first, last)| last.since(first) >= HELD)
    }

    /// Of one to two windows; `None`: too little was seen to know what a supply is good for.
    fn extremes(&self) -> Option<Extremes> {
        let (_, lately) = self.lately?;
        Some(self.before?.with(lately))
    }
}

/// What one rack asks of its supply.
struct Wish {
    is_short: bool,
    supply: f64,
    setpoint: Option<f64>,
    at_most: f64,
    flow_lpm: Option<f64>,
    wanted: f64,
    held: f64,
}

/// The advice with its memory.
#[derive(Debug, Clone, Default)]
pub(super) struct Advising {
    seen: Vec<Seen>,
    said: Arc<Vec<CoolingAdvice>>,
    last: Option<Mono>,
}

impl Decider {
    /// What the coolers of the racks could be set to, as of `plan`, the last decision. Reckoned at most once a second.
    pub fn advise(&mut self, fleet: &Fleet, plan: &Plan, now: Mono) -> Arc<Vec<CoolingAdvice>> {
        let mut advising = std::mem::take(&mut self.advising);
        if advising.last.is_none_or(|last| now.since(last) >= EVERY) {
            advising.last = Some(now);
            advising.seen.resize_with(self.topology.racks().len(), Seen::default);
            // Per cooler how many racks it serves, and what those that tell of it ask.
            let mut served: BTreeMap<NodeId, (usize, Vec<(usize, Wish)>)> = BTreeMap::new();
            for ((i, seen), cap) in advising.seen.iter_mut().enumerate().zip(&plan.caps) {
                let cooler = self.topology.cooled_by(i).cloned().unwrap_or_else(|| self.cooler(i));
                let (racks, wishes) = served.entry(cooler).or_default();
                *racks += 1;
                wishes.extend(self.wish(i, seen, cap, fleet, now).map(|wish| (i, wish)));
            }
            let advice = |(cooler, (racks, wishes)): (NodeId, (usize, Vec<(usize, Wish)>))| {
                let before = advising.said.binary_search_by(|a| a.cooler.cmp(&cooler)).ok();
                let before = before.map(|i| &advising.said[i]);
                (!wishes.is_empty()).then(|| self.one(cooler, &wishes, racks == wishes.len(), before))
            };
            advising.said = Arc::new(served.into_iter().filter_map(advice).collect());
        }
        let said = Arc::clone(&advising.said);
        self.advising = advising;
        said
    }

    fn wish(&self, index: usize, seen: &mut Seen, cap: &Cap, fleet: &Fleet, now: Mono) -> Option<Wish> {
        let (spec, memory) = (&self.topology.racks()[index], &self.racks[index]);
        let belief = fleet.rack_at(index, &spec.id).filter(|b| !b.dead && b.age(now) <= SILENT)?;
        let (supply, wanted) = (belief.supply_celsius?, memory.demand?);
        let (heat, bounds) = (&memory.heat, Bounds::of(&self.policy, spec, belief));
        let coolant = heat.coolant();
        if coolant.flow_w_per_k().is_some() && belief.flow_lpm.is_none() {
            // It was told once; what it is now nobody knows.
            return None;
        }
        // What a set of units cannot remove, no supply of theirs makes it remove.
        let by_supply = self.topology.cooled_by(index) != Some(&cap.bound_by);
        let is_bound = cap.kind == LimitKind::Cooling && cap.binding && by_supply;
        let is_near = heat.coolant_s().is_some_and(|left| left < AHEAD_S);
        let drawn = belief.power(spec).unwrap_or(wanted);
        let more = (wanted - drawn).max(Watts::ZERO) * (1.0 / f64::from(spec.gpus.max(1)));
        let of_now = Extremes {
            wanted: wanted.get(),
            flow: coolant.flow_w_per_k().unwrap_or(f64::INFINITY),
            supply,
            gpus: heat.room_k(more).map_or(f64::INFINITY, |room| supply + room),
        };
        seen.see(of_now, is_bound || is_near, now);
        let is_short = seen.is_short();
        let of = if is_short { of_now } else { seen.extremes()? };
        let by_coolant = match coolant.flow_w_per_k() {
            Some(_) => coolant.supply_for(of.wanted, of.flow, &bounds).min(WARMEST_CELSIUS),
            None => supply + coolant.air_room_k(of.supply, &bounds)?,
        };
        let given = memory.overhead.unwrap_or(spec.overhead) + cap.gpus.iter().map(|(_, limit)| *limit).sum::<Watts>();
        Some(Wish {
            is_short,
            supply,
            setpoint: belief.supply_setpoint_celsius,
            at_most: by_coolant.min(of.gpus) - SENSOR_K,
            flow_lpm: coolant.flow_for(of.wanted, &bounds).filter(|_| is_short),
            wanted: of.wanted,
            held: if is_bound { (wanted - given).max(Watts::ZERO).get() } else { 0.0 },
        })
    }

    /// `whole`: every rack that it serves is known; what is not heard may need what there is.
    fn one(
        &self,
        cooler: NodeId,
        wishes: &[(usize, Wish)],
        whole: bool,
        before: Option<&CoolingAdvice>,
    ) -> CoolingAdvice {
        let short = wishes.iter().any(|(_, w)| w.is_short);
        let all = || wishes.iter().map(|(_, w)| w);
        let supply = all().map(|w| w.supply).fold(f64::NEG_INFINITY, f64::max);
        let least = all().map(|w| w.at_most).fold(f64::INFINITY, f64::min);
        let at_most = Some((least / STEP_K).floor() * STEP_K).filter(|most| *most >= COOLEST_CELSIUS);
        let change = match at_most {
            _ if short => Change::Cooler,
            Some(most) if whole && most >= supply + STAYS_K => Change::Warmer,
            _ => Change::Keep,
        };
        let stays = before.filter(|b| b.change == change).and_then(|b| b.at_most_celsius);
        let at_most = match change {
            // It holds nothing back, whatever flow and demand at their worst together would say.
            Change::Keep => Some(supply),
            _ => at_most.map(|most| stays.filter(|stays| (most - stays).abs() < STAYS_K).unwrap_or(most)),
        };
        CoolingAdvice {
            cooler,
            racks: wishes.iter().map(|(i, _)| self.topology.racks()[*i].id.clone()).collect(),
            change,
            supply_celsius: supply,
            setpoint_celsius: all().filter_map(|w| w.setpoint).reduce(f64::max),
            at_most_celsius: at_most,
            flow_at_least_lpm: if let [(_, one)] = wishes { one.flow_lpm } else { None },
            wanted: Watts::new(all().map(|w| w.wanted).sum()),
            held: Watts::new(all().map(|w| w.held).sum()),
        }
    }
}

#[cfg(test)]
mod tests;

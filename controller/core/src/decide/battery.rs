//! How long the battery of each UPS lasts, and what it may give so that it lasts as long as the policy wants.
//!
//! Two know it: the UPS, where it tells a runtime, and the data of its battery with the load that flows now and the
//! charge that is left. The shorter is believed. The charge is what the UPS tells or what is counted here from the
//! time on battery (a share `dt / runtime(load)` each second, Peukert's law again), whichever is less. A runtime told
//! holds for the load of then and from then on: many cards tell whole minutes, some stand still.
//! Both are in each Plan, so that a controller that starts again goes on counting.

use super::Decider;
use crate::battery::BatterySpec;
use crate::fleet::{Battery, Fleet};
use crate::topology::{NodeKind, NodeSpec, Topology};
use headroom_rack::{BatteryLeft, Mono, NodeId, Watts};
use std::collections::BTreeMap;
use std::time::Duration;

/// From empty to full where the UPS does not tell its charge, s: chargers of UPSs are sold with 90 % in 3 to 8 hours.
const RECHARGE_S: f64 = 10.0 * 3600.0;
/// Less charge than this counts as this, so that no limit is infinitely far from a trifle.
const LEAST_CHARGE: f64 = 1e-3;

/// What is remembered of the battery of one UPS.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct State {
    /// For how long it has carried the load, s.
    on_s: Option<f64>,
    /// Share left of what it holds when full.
    charge: f64,
    /// Somebody reads whether it carries the load.
    read: bool,
    told: Option<Told>,
    /// Runtime left at the load of now, s, by what the UPS told last.
    told_s: Option<f64>,
    /// The same by its data and charge.
    counted_s: Option<f64>,
    load: Watts,
}

/// A runtime as a UPS told it.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Told {
    runtime_s: f64,
    /// When it was told first.
    at: Mono,
    /// The load of then.
    load: Watts,
}

impl Default for State {
    fn default() -> Self {
        Self { on_s: None, charge: 1.0, read: false, told: None, told_s: None, counted_s: None, load: Watts::ZERO }
    }
}

impl State {
    /// Goes on from what was left `gap_s` ago. Nobody looked: a battery in use counts as used until it was empty, and
    /// since the load still stands, the mains must have been back from then on.
    pub(super) fn restore(&mut self, left: BatteryLeft, data: Option<&BatterySpec>, load: Watts, gap_s: f64) {
        (self.charge, self.on_s) = (left.charge, left.on_s.map(|on_s| on_s + gap_s));
        if let (Some(_), Some(full_s)) = (left.on_s, data.map(|data| data.runtime_s(load))) {
            let used_s = (full_s * left.charge).min(gap_s);
            self.charge = (left.charge - used_s / full_s + (gap_s - used_s) / RECHARGE_S).clamp(0.0, 1.0);
        }
    }

    /// What is believed, s; `None`: nobody knows.
    fn runtime_s(&self) -> Option<f64> {
        self.told_s.into_iter().chain(self.counted_s).reduce(f64::min)
    }

    /// The most it may give to last for `left_s`.
    fn lasting(&self, data: Option<&BatterySpec>, left_s: f64) -> Option<Watts> {
        // Runtime falls at least in step with the load (Peukert). What a UPS tells holds for the load of then: one that
        // tells it once a minute would otherwise lower the load again and again by what it told of the highest.
        let told = self.told.zip(self.told_s).map(|(told, told_s)| self.load.max(told.load) * (told_s / left_s));
        let counted = data.map(|data| data.load_for(left_s / self.charge.max(LEAST_CHARGE)));
        told.into_iter().chain(counted).reduce(Watts::min)
    }
}

/// The battery of a UPS as the last decision saw it.
#[derive(Debug, Clone, PartialEq)]
pub struct BatteryView {
    /// The UPS.
    pub node: NodeId,
    /// It carries the load, as far as anybody can tell.
    pub on: bool,
    /// Somebody reads whether it does.
    pub read: bool,
    /// Load of the UPS.
    pub load: Watts,
    /// Runtime left at this load as the UPS tells it, s.
    pub told_s: Option<f64>,
    /// The same by the battery's data and charge, s.
    pub counted_s: Option<f64>,
    /// The shorter of both, which is believed, s.
    pub runtime_s: Option<f64>,
    /// Share left of what it holds when full, where its data are known.
    pub charge: Option<f64>,
    /// How long the policy wants it to last from the beginning; none: it does not say.
    pub target: Option<Duration>,
}

/// Nothing known yet of the battery of any UPS.
pub(super) fn states(topology: &Topology) -> BTreeMap<usize, State> {
    let upses = topology.nodes().iter().enumerate().filter(|(_, spec)| spec.kind == NodeKind::Ups);
    upses.map(|(node, _)| (node, State::default())).collect()
}

impl Decider {
    /// Takes in what is known of the battery of a UPS that carries `load`, and says what it can give so that it
    /// lasts as long as the policy wants; `None`: it is not in use, or nothing is known or wanted.
    pub(super) fn stretch(
        &mut self,
        i: usize,
        spec: &NodeSpec,
        load: Watts,
        fleet: &Fleet,
        now: Mono,
        dt_s: f64,
    ) -> Option<Watts> {
        let meter = spec.meter.as_ref().filter(|_| spec.kind == NodeKind::Ups)?;
        let heard: Option<Battery> = fleet.battery(&meter.rack, &meter.device);
        let state = self.battery.get_mut(&i)?;
        state.load = load;
        state.read |= heard.is_some();
        // A card that falls silent while the battery is in use has not brought the mains back.
        let on = heard.map_or(state.on_s.is_some(), |battery| battery.on);
        state.on_s = on.then(|| state.on_s.map_or(0.0, |on_s| on_s + dt_s));
        match heard.map(|battery| battery.runtime_s) {
            Some(Some(runtime_s)) if state.told.is_none_or(|told| told.runtime_s != runtime_s) => {
                state.told = Some(Told { runtime_s, at: now, load });
            }
            // On the mains a runtime that is no longer told is worth nothing; on battery the last one runs out.
            Some(None) if !on => state.told = None,
            _ => {}
        }
        let on_s = state.on_s;
        state.told_s = state.told.map(|told| {
            let gone_s = on_s.map_or(0.0, |on_s| on_s.min(now.since(told.at).as_secs_f64()));
            let more_load = (told.load / load).min(1.0);
            (told.runtime_s * more_load - gone_s).max(0.0)
        });
        let data = spec.battery.as_deref();
        let full_s = data.map(|data| data.runtime_s(load));
        if let Some(full_s) = full_s {
            let change = if on { -dt_s / full_s } else { dt_s / RECHARGE_S };
            state.charge = (state.charge + change).clamp(0.0, 1.0);
        }
        match heard.and_then(|battery| battery.charge) {
            Some(told) if on => state.charge = state.charge.min(told),
            Some(told) => state.charge = told,
            None => {}
        }
        state.counted_s = full_s.map(|full_s| full_s * state.charge);
        let left_s = self.policy.battery_target.as_secs_f64() - state.on_s?;
        state.lasting(data, left_s.max(1.0)).filter(|_| left_s > 0.0)
    }

    /// What a UPS could give from now on if it went on battery, to last as long as the policy wants.
    pub(super) fn would_last(&self, node: usize) -> Option<Watts> {
        let target = Some(self.policy.battery_target).filter(|target| !target.is_zero())?;
        self.battery.get(&node)?.lasting(self.topology.nodes()[node].battery.as_deref(), target.as_secs_f64())
    }

    /// Seconds until the battery of a UPS is empty while it carries the load.
    pub(super) fn empty_s(&self, node: usize) -> Option<f64> {
        self.battery.get(&node).filter(|state| state.on_s.is_some())?.runtime_s()
    }

    /// What the battery of a node has left, if it is in use or its data are known.
    pub(super) fn battery_left(&self, node: usize) -> Option<BatteryLeft> {
        let state = self.battery.get(&node)?;
        let told = state.on_s.is_some() || self.topology.nodes()[node].battery.is_some();
        told.then_some(BatteryLeft { charge: state.charge, on_s: state.on_s })
    }

    /// The battery of every UPS that somebody reads or whose battery is known, as of the last decision.
    pub fn batteries(&self) -> Vec<BatteryView> {
        let upses = self.battery.iter().map(|(node, state)| (&self.topology.nodes()[*node], state));
        let known = upses.filter(|(spec, state)| state.read || spec.battery.is_some());
        let view = |(spec, state): (&NodeSpec, &State)| BatteryView {
            node: spec.id.clone(),
            on: state.on_s.is_some(),
            read: state.read,
            load: state.load,
            told_s: state.told_s,
            counted_s: state.counted_s,
            runtime_s: state.runtime_s(),
            charge: spec.battery.as_ref().map(|_| state.charge),
            target: Some(self.policy.battery_target).filter(|target| !target.is_zero()),
        };
        known.map(view).collect()
    }
}

#[cfg(test)]
mod tests;

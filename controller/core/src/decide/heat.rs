//! Seconds until a rack overheats: by its coolant while the loop is known ([`super::coolant`]), and by the margins
//! of its GPUs in any case. A loop that falls silent keeps its last limit, and its GPUs go on telling.
//!
//! A GPU may warm no faster than leaves [`AHEAD_S`] until its limit: power is what its heat balance allows,
//! `P = P0 - C (rise - margin / AHEAD_S)`. That needs no knowledge of the loop, ends at the limit and never
//! beyond it, and is no limit at all where nothing warms. A wrong `C` makes it approach in steps.

use super::Decider;
use super::believe::RackNow;
use super::coolant::{Bounds, Loop};
use crate::fleet::{GpuBelief, RackBelief};
use crate::topology::RackSpec;
use headroom_rack::{Cap, LimitKind, Mono, RackId, Watts};

/// So many seconds a GPU is kept away from its limit: an Order acts within a response time, a cold plate
/// follows its power with 16 s ([`GPU_K_PER_W`] at [`GPU_J_PER_K`]), and one more to be wrong by.
const AHEAD_S: f64 = 20.0;
/// From coolant to die through a cold plate at full flow.
const GPU_K_PER_W: f64 = 0.045;
/// Die, lid and cold plate of one board: about 0.9 kg of copper.
const GPU_J_PER_K: f64 = 350.0;
/// Kept from the temperature at which a GPU slows itself: boards tell whole kelvins.
const SPARE_K: f64 = 2.0;
/// Time constant that smooths the rise of a temperature told in whole kelvins, s.
const RISE_S: f64 = 4.0;
/// Temperature at which a GPU that tells no margin counts as at its limit: H100 and A100 slow themselves
/// between 85 and 89 degrees Celsius.
const GPU_CELSIUS: f64 = 85.0;

/// What is remembered of the heat in one rack.
#[derive(Debug, Clone, Default)]
pub(super) struct Heat {
    coolant: Loop,
    gpus: Vec<Gpu>,
    seen: Option<Mono>,
}

#[derive(Debug, Clone, Default)]
struct Gpu {
    margin_k: Option<f64>,
    rise_k_per_s: f64,
    /// What it may draw, as last known.
    ceiling: Option<Watts>,
}

impl Gpu {
    fn see(&mut self, belief: &GpuBelief, dt_s: f64) {
        let told = belief.temperature_margin_kelvins.or_else(|| Some(GPU_CELSIUS - belief.temperature_celsius?));
        let (Some(margin), Ok(power)) = (told, belief.power) else { return };
        if let Some(before) = self.margin_k.filter(|_| dt_s > 0.0) {
            let rise = (before - margin) / dt_s;
            self.rise_k_per_s += (rise - self.rise_k_per_s) * super::follows(dt_s, RISE_S);
        }
        self.margin_k = Some(margin);
        let left = margin - SPARE_K;
        let balance = power - Watts::new(GPU_J_PER_K * (self.rise_k_per_s - left / AHEAD_S));
        self.ceiling = Some(if left > 0.0 { balance.max(Watts::ZERO) } else { Watts::ZERO });
    }

    fn seconds_left(&self) -> Option<f64> {
        let left = (self.margin_k? - SPARE_K).max(0.0);
        (self.rise_k_per_s > 0.0).then(|| left / self.rise_k_per_s)
    }
}

impl Heat {
    /// Takes in what was heard of a rack, once per Snapshot.
    pub(super) fn see(&mut self, belief: &RackBelief, power: Watts, bounds: &Bounds) {
        if self.seen == Some(belief.arrived) {
            return;
        }
        let dt_s = self.seen.map_or(0.0, |seen| belief.arrived.since(seen).as_secs_f64());
        self.seen = Some(belief.arrived);
        self.coolant.see(belief, power, dt_s, bounds);
        self.gpus.resize_with(belief.gpus.len(), Gpu::default);
        for (gpu, belief) in self.gpus.iter_mut().zip(&belief.gpus) {
            gpu.see(belief, dt_s);
        }
    }

    /// What is known of the rack's coolant.
    pub(super) fn coolant(&self) -> &Loop {
        &self.coolant
    }

    /// How much warmer the GPUs' coolant or air may become until the first of them is at its limit, each drawing `more`
    /// than now, K; `None`: no GPU tells.
    pub(super) fn room_k(&self, more: Watts) -> Option<f64> {
        let margin = self.gpus.iter().filter_map(|gpu| gpu.margin_k).reduce(f64::min)?;
        Some(margin - SPARE_K - more.get() * GPU_K_PER_W)
    }

    /// What the rack's coolant can take; `None`: it never told.
    pub(super) fn carried(&self) -> Option<Watts> {
        self.coolant.most()
    }

    /// Seconds until its coolant is at its limit; `None`: not within an hour, or not known.
    pub(super) fn coolant_s(&self) -> Option<f64> {
        self.coolant.left_s()
    }
}

/// Coolant, or air at the inlets, on its way to its limit.
#[derive(Debug, Clone, PartialEq)]
pub struct CoolantView {
    /// Whose.
    pub rack: RackId,
    /// Where it leaves the rack, or the air at the inlets, degrees Celsius.
    pub celsius: f64,
    /// Seconds until the limit if heat, flow and supply go on as they are.
    pub left_s: f64,
}

impl Decider {
    /// Every rack whose coolant would be at its limit within an hour, as of the last decision.
    pub fn coolants(&self) -> Vec<CoolantView> {
        let racks = self.topology.racks().iter().zip(&self.racks);
        let view = |(spec, memory): (&RackSpec, &super::RackMemory)| {
            let (celsius, left_s) = (memory.heat.coolant.celsius()?, memory.heat.coolant_s()?);
            Some(CoolantView { rack: spec.id.clone(), celsius, left_s })
        };
        racks.filter_map(view).collect()
    }

    /// Lowers the limits of GPUs that are about to overheat, down to the floor, and says so.
    pub(super) fn keep_cool(&self, index: usize, rack: &RackNow, cap: &mut Cap) {
        let floor = self.racks[index].wanted.floor_gpu;
        let heat = &self.racks[index].heat;
        let mut nearest = f64::INFINITY;
        for ((id, limit), gpu) in cap.gpus.iter_mut().zip(&heat.gpus) {
            let Some(ceiling) = gpu.ceiling.map(|c| super::shape::whole(c).max(floor)) else { continue };
            if ceiling >= *limit {
                continue;
            }
            *limit = ceiling;
            (cap.kind, cap.binding) = (LimitKind::Cooling, true);
            let left_s = gpu.seconds_left().unwrap_or(f64::MAX);
            if left_s < nearest {
                nearest = left_s;
                cap.bound_by = super::shape::part(&cap.rack, id.as_str());
            }
            cap.margin = rack.cooling.map_or(Watts::ZERO, |c| c - rack.power);
            let coolant_s = heat.coolant_s();
            cap.margin_s = gpu.seconds_left().into_iter().chain(cap.margin_s).chain(coolant_s).reduce(f64::min);
        }
    }
}

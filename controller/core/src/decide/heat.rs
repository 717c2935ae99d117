//! Seconds until a rack overheats: by what its loop carries away while the loop is known, and by the margins
//! of its GPUs in any case. A loop that falls silent keeps its last limit, and its GPUs go on telling.
//!
//! A GPU may warm no faster than leaves [`AHEAD_S`] until its limit: power is what its heat balance allows,
//! `P = P0 - C (rise - margin / AHEAD_S)`. That needs no knowledge of the loop, ends at the limit and never
//! beyond it, and is no limit at all where nothing warms. A wrong `C` makes it approach in steps.

use super::Decider;
use super::believe::RackNow;
use crate::fleet::{GpuBelief, RackBelief};
use headroom_rack::{Cap, LimitKind, Mono, Watts};

/// Specific heat of the coolant, J/(l K): water at 30 degrees Celsius; 25 % glycol is 4 % lower.
const COOLANT_J_PER_L_K: f64 = 4160.0;
/// So many seconds a GPU is kept away from its limit: an Order acts within a response time, a cold plate
/// follows its power with 16 s (0.045 K/W at [`GPU_J_PER_K`]), and one more to be wrong by.
const AHEAD_S: f64 = 20.0;
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
    /// What its loop can carry away, as last known.
    carried: Option<Watts>,
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
            self.rise_k_per_s += (rise - self.rise_k_per_s) * (1.0 - (-dt_s / RISE_S).exp());
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
    pub(super) fn see(&mut self, belief: &RackBelief, limit_celsius: f64) {
        if self.seen == Some(belief.arrived) {
            return;
        }
        let dt_s = self.seen.map_or(0.0, |seen| belief.arrived.since(seen).as_secs_f64());
        self.seen = Some(belief.arrived);
        if let (Some(flow), Some(supply)) = (belief.flow_lpm, belief.supply_celsius) {
            let rise = (limit_celsius - supply).max(0.0);
            self.carried = Some(Watts::new(flow / 60.0 * COOLANT_J_PER_L_K * rise));
        }
        self.gpus.resize_with(belief.gpus.len(), Gpu::default);
        for (gpu, belief) in self.gpus.iter_mut().zip(&belief.gpus) {
            gpu.see(belief, dt_s);
        }
    }

    /// What the rack's loop can carry away; `None`: it never told.
    pub(super) fn carried(&self) -> Option<Watts> {
        self.carried
    }
}

impl Decider {
    /// Lowers the limits of GPUs that are about to overheat, down to the floor, and says so.
    pub(super) fn keep_cool(&self, index: usize, rack: &RackNow, cap: &mut Cap) {
        let floor = self.racks[index].wanted.floor_gpu;
        let heat = &self.racks[index].heat;
        for ((_, limit), gpu) in cap.gpus.iter_mut().zip(&heat.gpus) {
            let Some(ceiling) = gpu.ceiling.map(|c| super::shape::whole(c).max(floor)) else { continue };
            if ceiling >= *limit {
                continue;
            }
            *limit = ceiling;
            (cap.kind, cap.binding) = (LimitKind::Cooling, true);
            cap.margin = rack.cooling.map_or(Watts::ZERO, |c| c - rack.power);
            cap.margin_s = gpu.seconds_left().into_iter().chain(cap.margin_s).reduce(f64::min);
        }
    }
}

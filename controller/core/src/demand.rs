//! How much a rack wants, had nobody capped it. A GPU pressed against its limit may want all it
//! can get; one below it wants what it draws and some room to grow. Demand rises at once and
//! falls slowly, so that synchronous training steps do not make two racks trade power for ever.

use crate::fleet::{GpuBelief, RackBelief};
use crate::topology::RackSpec;
use headroom_rack::Watts;

/// A GPU above this share of its limit counts as held by it: the driver regulates to a mean a few
/// per cent below the limit.
const AT_LIMIT: f64 = 0.95;
/// Room to grow for a GPU below its limit. One that is given just what it wants must not count as held by it.
pub const GROWTH: f64 = 1.1;
/// The same where a Forecast tells how far the load will grow: just enough not to count as held.
pub const GROWTH_FORESEEN: f64 = 1.06;
const GROWTH_WATTS: f64 = 10.0;
/// Demand falls by this share of the nameplate in a second.
const DECAY_PER_S: f64 = 0.1;

/// How many GPUs are held by their limits.
pub fn pressed(belief: &RackBelief) -> usize {
    let is_held =
        |gpu: &&GpuBelief| matches!((gpu.power, gpu.limit), (Ok(power), Some(limit)) if power >= limit * AT_LIMIT);
    belief.gpus.iter().filter(is_held).count()
}

/// What the GPUs held by their limits may want on top of what they draw.
pub fn held(belief: &RackBelief, spec: &RackSpec) -> Watts {
    let more = |gpu: &GpuBelief| match (gpu.power, gpu.limit) {
        (Ok(power), Some(limit)) if power < limit * AT_LIMIT => Watts::ZERO,
        (Ok(power), _) => (spec.gpu_max - power).max(Watts::ZERO),
        _ => spec.gpu_max,
    };
    belief.gpus.iter().map(more).sum()
}

/// What one GPU wants that may draw up to `most`, with room to grow by `growth` (a factor), without memory.
pub fn of(gpu: &GpuBelief, most: Watts, growth: f64) -> Watts {
    match (gpu.power, gpu.limit) {
        (Ok(power), Some(limit)) if power < limit * AT_LIMIT => (power * growth + Watts::new(GROWTH_WATTS)).min(most),
        _ => most,
    }
}

/// Demand of a rack from its GPUs on top of its overhead, without memory.
pub fn now(belief: &RackBelief, spec: &RackSpec, overhead: Watts, growth: f64) -> Watts {
    overhead + belief.gpus.iter().map(|gpu| of(gpu, spec.gpu_max, growth)).sum::<Watts>()
}

/// Power of everything in the rack but its GPUs: measured where both are known, never below half
/// of what the configuration says nor above twice that.
pub fn overhead(belief: &RackBelief, spec: &RackSpec) -> Watts {
    match (belief.metered(), belief.gpu_power()) {
        (Some(metered), Some(gpus)) if !belief.contradicts(spec) => {
            // PDU and GPU readings are up to a second apart on a ramp: never trust a fall below spec.
            (metered - gpus).clamp(spec.overhead, spec.overhead * 2.0)
        }
        _ => spec.overhead,
    }
}

/// Demand with memory: up at once, down slowly.
pub fn hold(previous: Option<Watts>, now: Watts, spec: &RackSpec, dt_s: f64) -> Watts {
    match previous {
        Some(previous) => now.max(previous - spec.nameplate() * (DECAY_PER_S * dt_s)),
        None => now,
    }
}

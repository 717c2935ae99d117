//! Replays recorded power: each GPU wants what one of the recorded GPUs drew, from a place of its own
//! in the recording, round and round. What a limit cuts off is not made up later: the recording goes on.

use crate::plant::gpu::Demand;
use crate::plant::spec::{GpuSpec, ReplaySpec};

/// A recording being played.
#[derive(Debug, Clone)]
pub struct Replay {
    spec: ReplaySpec,
    gpu: GpuSpec,
    time_s: f64,
}

/// Recorded draw below this has no process behind it: between the idle draw of an H100 (72 to 101 W)
/// and that with a process loaded (120 W).
const LOADED_WATTS: f64 = 110.0;

impl Replay {
    /// Starts at the spec's place in the recording.
    pub fn new(spec: &ReplaySpec, gpu: &GpuSpec) -> Self {
        Self { spec: spec.clone(), gpu: gpu.clone(), time_s: spec.start_s }
    }

    /// See [`super::Workload::step`]. Busy time stands for activity, so that work counts by the power
    /// it wants: a GPU that waits at 150 W has little to lose.
    pub fn step(&mut self, dt: f64, demands: &mut [Demand]) {
        let rows = &self.spec.watts;
        let at = (self.time_s / self.spec.step_s) as usize % rows.len().max(1);
        self.time_s += dt;
        let Some(row) = rows.get(at).filter(|row| !row.is_empty()) else {
            demands.fill(Demand::default());
            return;
        };
        for (g, demand) in demands.iter_mut().enumerate() {
            let watts = f64::from(row[g % row.len()]);
            let loaded = watts >= LOADED_WATTS;
            let base = if loaded { self.gpu.loaded_watts } else { self.gpu.idle_watts };
            let activity = ((watts - base) / (self.gpu.max_watts - base)).clamp(0.0, 1.05);
            *demand = Demand {
                // An idle GPU runs at a low clock that nobody set; what it draws above its least is no work left undone.
                busy: if loaded { activity.min(1.0) } else { 0.0 },
                intensity: activity.max(1.0),
                loaded,
                memory_ratio: if loaded { 0.8 } else { 0.0 },
                clock_sensitivity: self.spec.clock_sensitivity,
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn a_gpu_wants_what_was_recorded_and_the_end_is_followed_by_the_beginning() {
        let watts = Arc::new(vec![vec![70.0, 700.0], vec![410.0, 700.0]]);
        let spec = ReplaySpec { word: "training", watts, step_s: 1.0, start_s: 1.0, clock_sensitivity: 0.9 };
        let mut replay = Replay::new(&spec, &GpuSpec::h100());
        let mut demands = [Demand::default(); 3];
        replay.step(1.0, &mut demands);
        assert!((demands[0].busy - 0.5).abs() < 1e-9 && demands[0].loaded, "{:?}", demands[0]);
        assert_eq!((demands[1].busy, demands[2].busy), (1.0, demands[0].busy));
        replay.step(1.0, &mut demands);
        assert_eq!((demands[0].busy, demands[0].loaded), (0.0, false));
    }
}

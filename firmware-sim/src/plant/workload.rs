//! What runs on a rack's GPUs: generators of demand, each documented with its source. They see the
//! speed at which their work goes on, so that a capped rack is slower, not idler.

pub mod batch;
pub mod envelope;
pub mod inference;
pub mod replay;
pub mod training;

use super::chance::Chance;
use super::gpu::Demand;
use super::spec::{GpuSpec, WorkloadSpec};

/// A running workload.
#[derive(Debug, Clone)]
pub enum Workload {
    /// Synchronous training.
    Training(training::Training),
    /// Serving of a language model.
    Inference(inference::Inference),
    /// Independent jobs.
    Batch(batch::Batch),
    /// Recorded power.
    Replay(replay::Replay),
    /// Nothing.
    Idle,
}

impl Workload {
    /// Starts a workload on `gpus` GPUs of kind `gpu`.
    pub fn new(spec: &WorkloadSpec, gpus: usize, gpu: &GpuSpec, chance: Chance) -> Self {
        match spec {
            WorkloadSpec::Training(spec) => Self::Training(training::Training::new(spec, gpus, chance)),
            WorkloadSpec::Inference(spec) => Self::Inference(inference::Inference::new(spec, gpus, chance)),
            WorkloadSpec::Batch(spec) => Self::Batch(batch::Batch::new(spec, gpus, chance)),
            WorkloadSpec::Replay(spec) => Self::Replay(replay::Replay::new(spec, gpu)),
            WorkloadSpec::Idle => Self::Idle,
        }
    }

    /// Advances by `dt` seconds at `level` (0 to 1) and writes the demand of each GPU. `speeds` are
    /// the GPUs' speeds of the last step, 0 to 1.
    pub fn step(&mut self, dt: f64, level: f64, speeds: &[f64], demands: &mut [Demand]) {
        match self {
            Self::Training(w) => w.step(dt, level, speeds, demands),
            Self::Inference(w) => w.step(dt, level, speeds, demands),
            Self::Batch(w) => w.step(dt, level, speeds, demands),
            Self::Replay(w) => w.step(dt, demands),
            Self::Idle => demands.fill(Demand::default()),
        }
    }
}

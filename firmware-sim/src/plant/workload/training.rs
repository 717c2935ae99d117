//! Synchronous training: all GPUs compute, then all exchange gradients, then again; now and then
//! all wait for a checkpoint.
//!
//! Sources: Choukse et al., "Power Stabilization for AI Training Datacenters" (arXiv 2508.14318):
//! power of a whole job swings between compute and communication phases in step; Llama 3 report
//! (arXiv 2407.21783, section 3.3.4): checkpoints and collectives move all GPUs at once; an
//! 8 x H100 node at 10 Hz: plateaus near full power, 150 W for seconds to minutes at checkpoints.

use crate::plant::chance::Chance;
use crate::plant::gpu::Demand;
use crate::plant::spec::TrainingSpec;

/// A training job over all GPUs of a rack.
#[derive(Debug, Clone)]
pub struct Training {
    spec: TrainingSpec,
    /// Position in the step, 0 to 1.
    phase: f64,
    to_checkpoint_s: f64,
    checkpoint_left_s: f64,
    /// Time since the last checkpoint: the first batches come from a cold input pipeline.
    warm_s: f64,
    /// Small lasting differences between GPUs: silicon and placement.
    lean: Vec<f64>,
    chance: Chance,
}

/// Intensity while a checkpoint is written.
const CHECKPOINT_INTENSITY: f64 = 0.06;
/// The recorded node needs one to two seconds back to full power.
const WARM_UP_S: f64 = 1.5;

impl Training {
    /// Starts at the beginning of a step.
    pub fn new(spec: &TrainingSpec, gpus: usize, mut chance: Chance) -> Self {
        let lean = (0..gpus).map(|_| 1.0 + 0.015 * chance.normal()).collect();
        Self {
            spec: spec.clone(),
            phase: 0.0,
            to_checkpoint_s: spec.checkpoint_every_s,
            checkpoint_left_s: 0.0,
            warm_s: WARM_UP_S,
            lean,
            chance,
        }
    }

    /// See [`super::Workload::step`]. The slowest GPU sets the pace.
    pub fn step(&mut self, dt: f64, level: f64, speeds: &[f64], demands: &mut [Demand]) {
        let pace = speeds.iter().copied().fold(1.0, f64::min).max(0.05);
        let intensity = if self.checkpoint_left_s > 0.0 {
            self.checkpoint_left_s -= dt;
            self.warm_s = 0.0;
            CHECKPOINT_INTENSITY
        } else {
            self.to_checkpoint_s -= dt;
            let collective = self.phase > 1.0 - self.spec.collective_ratio;
            // Collectives wait for the network, not for the SM clock.
            self.phase += dt / self.spec.step_s * if collective { 1.0 } else { pace };
            if self.phase >= 1.0 {
                self.phase -= 1.0;
                if self.to_checkpoint_s <= 0.0 {
                    self.checkpoint_left_s = self.spec.checkpoint_s * self.chance.between(0.8, 1.3);
                    self.to_checkpoint_s = self.spec.checkpoint_every_s * self.chance.between(0.9, 1.1);
                }
            }
            self.warm_s += dt;
            let warm = (self.warm_s / WARM_UP_S).min(1.0);
            warm * if collective { self.spec.collective_intensity } else { self.spec.compute_intensity }
        };
        for (demand, lean) in demands.iter_mut().zip(&self.lean) {
            *demand = Demand {
                busy: if level > 0.01 { 0.97 } else { 0.0 },
                intensity: (intensity * level * lean / 0.97).min(1.2),
                loaded: level > 0.01,
                memory_ratio: if level > 0.01 { 0.86 } else { 0.0 },
                clock_sensitivity: 0.9,
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn intensities(speed: f64, seconds: f64) -> Vec<f64> {
        let mut job = Training::new(&TrainingSpec::typical(), 4, Chance::new(1, "t"));
        let mut demands = [Demand::default(); 4];
        (0..(seconds / 0.02) as usize)
            .map(|_| {
                job.step(0.02, 1.0, &[speed; 4], &mut demands);
                demands.iter().map(|d| d.busy * d.intensity).sum::<f64>() / 4.0
            })
            .collect()
    }

    fn steps(values: &[f64]) -> usize {
        values.windows(2).filter(|w| w[0] > 0.9 && (0.3..0.9).contains(&w[1])).count()
    }

    #[test]
    fn all_gpus_swing_together_and_wait_at_checkpoints() {
        let values = intensities(1.0, 200.0);
        assert!(values.iter().any(|v| *v > 0.95) && values.iter().any(|v| *v < 0.1));
        let waiting = values.iter().filter(|v| **v < 0.1).count() as f64 * 0.02;
        assert!((5.0..15.0).contains(&waiting), "two checkpoints in 200 s, waited {waiting}");
    }

    #[test]
    fn slower_gpus_take_fewer_steps() {
        let (full, slow) = (steps(&intensities(1.0, 80.0)), steps(&intensities(0.5, 80.0)));
        assert!(full >= 38 && slow < full * 2 / 3, "{full} {slow}");
    }
}

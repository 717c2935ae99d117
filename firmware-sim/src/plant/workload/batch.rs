//! Independent jobs, one per GPU, nearly back to back. Lengths are exponential, as the short end of
//! the job lengths in published cluster traces (Weng et al., "MLaaS in the Wild", NSDI 2022:
//! most jobs are short, many GPUs wait in between).

use crate::plant::chance::Chance;
use crate::plant::gpu::Demand;
use crate::plant::spec::BatchSpec;

#[derive(Debug, Clone)]
struct Slot {
    /// The slot is in use above this level.
    threshold: f64,
    left_s: f64,
    intensity: f64,
    gap: bool,
}

/// A queue of jobs on the GPUs of a rack.
#[derive(Debug, Clone)]
pub struct Batch {
    spec: BatchSpec,
    slots: Vec<Slot>,
    chance: Chance,
}

impl Batch {
    /// Starts with a first job per GPU.
    pub fn new(spec: &BatchSpec, gpus: usize, mut chance: Chance) -> Self {
        let slots = (0..gpus)
            .map(|i| Slot {
                threshold: (i as f64 + 0.5) / gpus as f64,
                left_s: chance.exponential(spec.job_s),
                intensity: chance.between(spec.intensity.0, spec.intensity.1),
                gap: false,
            })
            .collect();
        Self { spec: spec.clone(), slots, chance }
    }

    /// See [`super::Workload::step`]. The level says how many GPUs have work.
    pub fn step(&mut self, dt: f64, level: f64, speeds: &[f64], demands: &mut [Demand]) {
        for ((slot, demand), speed) in self.slots.iter_mut().zip(demands).zip(speeds) {
            let active = level >= slot.threshold;
            if active {
                slot.left_s -= dt * if slot.gap { 1.0 } else { speed.max(0.05) };
                if slot.left_s <= 0.0 {
                    slot.gap = !slot.gap && self.spec.gap_s > 0.0;
                    slot.left_s = self.chance.exponential(if slot.gap { self.spec.gap_s } else { self.spec.job_s });
                    slot.intensity = self.chance.between(self.spec.intensity.0, self.spec.intensity.1);
                }
            }
            let running = active && !slot.gap;
            *demand = Demand {
                busy: if running { 0.99 } else { 0.0 },
                intensity: if running { slot.intensity / 0.99 } else { 0.0 },
                loaded: active,
                memory_ratio: if active { 0.6 } else { 0.0 },
                clock_sensitivity: 0.8,
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_level_says_how_many_gpus_work() {
        let mut queue = Batch::new(&BatchSpec { gap_s: 0.0, ..BatchSpec::typical() }, 8, Chance::new(1, "b"));
        let mut demands = [Demand::default(); 8];
        for (level, working) in [(0.0, 0), (0.5, 4), (1.0, 8)] {
            queue.step(0.02, level, &[1.0; 8], &mut demands);
            assert_eq!(demands.iter().filter(|d| d.busy > 0.0).count(), working, "level {level}");
        }
    }

    #[test]
    fn jobs_end_and_new_ones_differ() {
        let mut queue = Batch::new(&BatchSpec::typical(), 1, Chance::new(1, "b"));
        let mut demands = [Demand::default()];
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..50_000 {
            queue.step(0.02, 1.0, &[1.0], &mut demands);
            seen.insert((demands[0].intensity * 1e6) as u64);
        }
        assert!(seen.len() > 5, "1000 s hold about sixteen jobs, saw {}", seen.len());
    }
}

//! Random scenarios and random limits for traces.

use crate::plant::chance::Chance;
use crate::plant::spec::*;

/// A plant like `base` with everything a forecaster cannot see drawn anew. Names, GPU counts and
/// overheads stay: with them the nameplate stays known.
pub fn spec(base: &PlantSpec, chance: &mut Chance, length_s: f64) -> PlantSpec {
    let mut spec = base.clone();
    spec.seed = chance.bits();
    spec.breaker.rating_amperes = 1e6;
    spec.ups.rating_watts = 1e8;
    spec.pdu_loss_ratio = base.pdu_loss_ratio * chance.between(0.6, 1.5);
    spec.gpu.settle_s = base.gpu.settle_s * chance.between(0.6, 1.8);
    spec.gpu.idle_watts = chance.between(68.0, 90.0);
    spec.gpu.loaded_watts = chance.between(105.0, 140.0);
    for rack in &mut spec.racks {
        rack.workload = workload(chance);
        rack.envelope = envelope(chance, length_s);
    }
    spec
}

fn workload(chance: &mut Chance) -> WorkloadSpec {
    match chance.unit() {
        r if r < 0.40 => WorkloadSpec::Training(TrainingSpec {
            step_s: chance.between(0.6, 8.0),
            collective_ratio: chance.between(0.05, 0.3),
            compute_intensity: chance.between(0.7, 1.08),
            collective_intensity: chance.between(0.3, 0.85),
            checkpoint_every_s: chance.between(40.0, 400.0),
            checkpoint_s: chance.between(2.0, 30.0),
        }),
        r if r < 0.72 => {
            let prefill_tokens_per_s = chance.between(30_000.0, 90_000.0);
            // From a third of what the engine can take to a little more than it can.
            let requests_per_s = prefill_tokens_per_s / 1200.0 * chance.between(0.3, 1.1);
            WorkloadSpec::Inference(InferenceSpec {
                requests_per_s,
                prefill_tokens_per_s,
                decode_tokens_per_s: chance.between(20.0, 60.0),
                batch_limit: chance.between(128.0, 768.0) as usize,
            })
        }
        r if r < 0.97 => WorkloadSpec::Batch(BatchSpec {
            job_s: chance.lognormal(60.0, 0.8).clamp(8.0, 900.0),
            gap_s: chance.between(0.5, 15.0),
            intensity: (chance.between(0.3, 0.8), chance.between(0.8, 1.08)),
        }),
        _ => WorkloadSpec::Idle,
    }
}

/// Plateaus and ramps: plateaus of ten seconds to ten minutes, ramps of one second to one minute,
/// sometimes a sine-like drift of many small points.
fn envelope(chance: &mut Chance, length_s: f64) -> EnvelopeSpec {
    let mut points = vec![(0.0, level(chance))];
    let mut time_s = 0.0;
    while time_s < length_s {
        let last = points.last().map_or(0.0, |p| p.1);
        time_s += chance.lognormal(60.0, 1.0).clamp(8.0, 600.0);
        points.push((time_s, last));
        if chance.happens(0.2) {
            for _ in 0..6 {
                time_s += chance.between(5.0, 30.0);
                let near = (points.last().map_or(0.0, |p| p.1) + 0.12 * chance.normal()).clamp(0.0, 1.0);
                points.push((time_s, near));
            }
        } else {
            time_s += chance.lognormal(8.0, 0.9).clamp(0.5, 60.0);
            points.push((time_s, level(chance)));
        }
    }
    EnvelopeSpec { points, repeat_from_s: None }
}

/// Often full, often light, otherwise anything.
fn level(chance: &mut Chance) -> f64 {
    match chance.unit() {
        r if r < 0.4 => 1.0,
        r if r < 0.6 => chance.between(0.0, 0.2),
        _ => chance.between(0.2, 1.0),
    }
}

/// The limit of a rack's GPUs over time.
#[derive(Debug, Clone)]
pub struct Limits {
    low_watts: f64,
    high_watts: f64,
    limit_watts: f64,
    left_s: f64,
    rule: Rule,
}

#[derive(Debug, Clone, Copy)]
enum Rule {
    /// No limit below the board's own.
    Free,
    /// One limit for a while.
    Hold,
    /// Steps of a few percent, as a controller makes them every second.
    Wander,
    /// Just around what the GPUs draw, where a limit begins to bite.
    Follow,
    /// Slow release upwards.
    Release,
}

impl Limits {
    /// Starts without a limit.
    pub fn new(gpu: &GpuSpec, chance: &mut Chance) -> Self {
        let left_s = chance.between(10.0, 200.0);
        Self {
            low_watts: gpu.min_watts,
            high_watts: gpu.max_watts,
            limit_watts: gpu.max_watts,
            left_s,
            rule: Rule::Free,
        }
    }

    /// The limit after `dt` more seconds; `gpu_watts` is the mean draw of a GPU.
    pub fn step(&mut self, dt: f64, gpu_watts: f64, chance: &mut Chance) -> f64 {
        self.left_s -= dt;
        if self.left_s <= 0.0 {
            self.left_s = chance.lognormal(45.0, 0.8).clamp(5.0, 300.0);
            self.rule = match chance.unit() {
                r if r < 0.35 => Rule::Free,
                r if r < 0.60 => Rule::Hold,
                r if r < 0.75 => Rule::Wander,
                r if r < 0.88 => Rule::Follow,
                _ => Rule::Release,
            };
            if matches!(self.rule, Rule::Hold | Rule::Release) {
                self.limit_watts = chance.between(self.low_watts, self.high_watts);
            }
        }
        let every_second = chance.happens(dt);
        match self.rule {
            Rule::Free => self.limit_watts = self.high_watts,
            Rule::Hold => {}
            Rule::Wander if every_second => self.limit_watts *= 1.0 + 0.06 * chance.normal(),
            Rule::Follow if every_second => self.limit_watts = gpu_watts * chance.between(0.8, 1.15),
            Rule::Wander | Rule::Follow => {}
            Rule::Release => self.limit_watts += 15.0 * dt,
        }
        self.limit_watts = self.limit_watts.clamp(self.low_watts, self.high_watts);
        self.limit_watts
    }
}

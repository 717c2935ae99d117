//! Serving of a language model with continuous batching over all GPUs of the rack. A documented
//! generator, not a recorded trace.
//!
//! Its figures follow the public Azure LLM inference trace 2023, conversation (Patel et al.,
//! "Splitwise", arXiv 2311.18677; 19,366 requests in 58 minutes): arrivals nearly Poisson
//! (coefficient of variation 1.09), prompts with median 1,020 and 95th percentile 4,083 tokens,
//! answers with median 129, mean 211 and 95th percentile 451 tokens, the rate drifting by a factor
//! of two within minutes. Prompts draw full power, decoding far less (Patel et al., "POLCA",
//! arXiv 2308.12908).

use crate::plant::chance::Chance;
use crate::plant::gpu::Demand;
use crate::plant::spec::InferenceSpec;
use std::collections::VecDeque;

/// A serving engine.
#[derive(Debug, Clone)]
pub struct Inference {
    spec: InferenceSpec,
    to_arrival_s: f64,
    /// Prompt and answer tokens of waiting requests.
    waiting: VecDeque<(f64, f64)>,
    /// Answer tokens left of each running sequence.
    running: Vec<f64>,
    /// Slow drift of the rate around 1.
    drift: f64,
    lean: Vec<f64>,
    chance: Chance,
}

/// Requests beyond this many waiting are turned away by the front end.
const WAITING_LIMIT: usize = 200;
/// Intensity of a prompt pass, of decoding one sequence, and what a full batch adds.
const PREFILL: f64 = 1.05;
const DECODE: f64 = 0.15;
const DECODE_FULL: f64 = 0.35;

impl Inference {
    /// Starts empty.
    pub fn new(spec: &InferenceSpec, gpus: usize, mut chance: Chance) -> Self {
        let lean = (0..gpus).map(|_| 1.0 + 0.02 * chance.normal()).collect();
        Self {
            spec: spec.clone(),
            to_arrival_s: 0.0,
            waiting: VecDeque::new(),
            running: Vec::new(),
            drift: 1.0,
            lean,
            chance,
        }
    }

    fn arrive(&mut self, dt: f64, level: f64) {
        // Mean-reverting over two minutes, deviation 0.12.
        self.drift += dt / 120.0 * (1.0 - self.drift) + 0.12 * (2.0 * dt / 120.0_f64).sqrt() * self.chance.normal();
        let rate = self.spec.requests_per_s * level * self.drift.clamp(0.6, 1.5);
        if rate <= 0.01 {
            return;
        }
        self.to_arrival_s -= dt;
        while self.to_arrival_s <= 0.0 {
            self.to_arrival_s += self.chance.exponential(1.0 / rate);
            // Log-normal through the trace's median and 95th percentile, cut at its longest prompt.
            let prompt = self.chance.lognormal(1020.0, 0.84).clamp(8.0, 4200.0);
            let answer = self.chance.lognormal(150.0, 0.75).clamp(4.0, 1000.0);
            self.offer(prompt, answer);
        }
    }

    fn offer(&mut self, prompt: f64, answer: f64) {
        if self.waiting.len() < WAITING_LIMIT {
            self.waiting.push_back((prompt, answer));
        }
    }

    /// See [`super::Workload::step`]. Tensor-parallel: the slowest GPU sets the pace.
    pub fn step(&mut self, dt: f64, level: f64, speeds: &[f64], demands: &mut [Demand]) {
        self.arrive(dt, level);
        let pace = speeds.iter().copied().fold(1.0, f64::min).max(0.05);
        let Load { busy, mix, prefill, fullness } = self.serve(dt, pace);
        for (demand, lean) in demands.iter_mut().zip(&self.lean) {
            *demand = Demand {
                busy,
                intensity: if busy > 0.0 { mix * lean / busy } else { 0.0 },
                loaded: true,
                memory_ratio: 0.75 + 0.2 * fullness,
                clock_sensitivity: 0.3 + 0.6 * prefill,
            };
        }
    }

    /// Works for `dt` seconds at this pace.
    fn serve(&mut self, dt: f64, pace: f64) -> Load {
        let capacity = self.spec.prefill_tokens_per_s * pace * dt;
        let mut left = capacity;
        while left > 0.0 && self.running.len() < self.spec.batch_limit {
            let Some(front) = self.waiting.front_mut() else { break };
            let taken = front.0.min(left);
            front.0 -= taken;
            left -= taken;
            if front.0 <= 0.0 {
                let (_, answer) = self.waiting.pop_front().expect("invariant: the front was just seen");
                self.running.push(answer);
            }
        }
        let prefill = 1.0 - left / capacity;
        let tokens = self.spec.decode_tokens_per_s * pace.sqrt() * dt * (1.0 - 0.4 * prefill);
        self.running.iter_mut().for_each(|tokens_left| *tokens_left -= tokens);
        let batch = self.running.len();
        self.running.retain(|tokens_left| *tokens_left > 0.0);
        let fullness = batch as f64 / self.spec.batch_limit as f64;
        let decode = if batch == 0 { 0.0 } else { DECODE + DECODE_FULL * fullness };
        let busy: f64 = if batch == 0 { prefill } else { 1.0 };
        let mix = prefill * PREFILL + (1.0 - prefill) * decode;
        Load { busy, mix, prefill, fullness }
    }
}

/// What a step of serving came to: share of time busy, mean intensity, share of prompts, of the batch.
struct Load {
    busy: f64,
    mix: f64,
    prefill: f64,
    fullness: f64,
}

/// One recorded request.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Arrival {
    /// Seconds since the first.
    pub at_s: f64,
    /// Tokens of its prompt.
    pub prompt_tokens: f64,
    /// Tokens of its answer.
    pub answer_tokens: f64,
}

/// The intensity, as in [`Demand`] times its busy share, of an engine that serves recorded arrivals (in the order of
/// their times) at full clock: one value every `step_s` seconds up to the last arrival.
pub fn recorded(arrivals: &[Arrival], spec: &InferenceSpec, step_s: f64) -> Vec<f64> {
    let mut engine = Inference::new(spec, 1, Chance::new(0, "recorded"));
    let seconds = arrivals.last().map_or(0.0, |a| a.at_s);
    let mut next = arrivals.iter().peekable();
    let mut intensity = Vec::with_capacity((seconds / step_s) as usize + 1);
    while (intensity.len() as f64) * step_s <= seconds {
        let now_s = intensity.len() as f64 * step_s;
        while let Some(arrival) = next.next_if(|a| a.at_s <= now_s) {
            engine.offer(arrival.prompt_tokens, arrival.answer_tokens);
        }
        intensity.push(engine.serve(step_s, 1.0).mix);
    }
    intensity
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mean_intensity(level: f64, speed: f64) -> f64 {
        let mut engine = Inference::new(&InferenceSpec::typical(), 8, Chance::new(3, "i"));
        let mut demands = [Demand::default(); 8];
        let (mut sum, mut n) = (0.0, 0.0);
        for i in 0..6000 {
            engine.step(0.02, level, &[speed; 8], &mut demands);
            if i > 1500 {
                sum += demands[0].busy * demands[0].intensity;
                n += 1.0;
            }
        }
        sum / n
    }

    #[test]
    fn more_requests_draw_more_up_to_nearly_everything() {
        let (idle, light, full) = (mean_intensity(0.0, 1.0), mean_intensity(0.1, 1.0), mean_intensity(1.0, 1.0));
        assert!(idle == 0.0 && (0.15..0.4).contains(&light) && (0.85..1.1).contains(&full), "{idle} {light} {full}");
    }

    #[test]
    fn arrivals_and_lengths_follow_the_trace() {
        let mut engine = Inference::new(&InferenceSpec::typical(), 1, Chance::new(5, "i"));
        let (mut prompts, mut answers) = (Vec::new(), Vec::new());
        for _ in 0..20_000 {
            engine.arrive(0.02, 1.0);
            for (prompt, answer) in engine.waiting.drain(..) {
                prompts.push(prompt);
                answers.push(answer);
            }
        }
        let mean = |v: &[f64]| v.iter().sum::<f64>() / v.len() as f64;
        assert!((15_000..25_000).contains(&prompts.len()), "50 a second for 400 s: {}", prompts.len());
        assert!((1000.0..1400.0).contains(&mean(&prompts)), "{}", mean(&prompts));
        assert!((180.0..230.0).contains(&mean(&answers)), "{}", mean(&answers));
    }
}

//! `bench speed`: how many rows a second the shipped forecaster's network learns from, on random rows,
//! with the optimiser, clipping and schedule of `fit`. `tests/bench/train-vs-pytorch` does the same in PyTorch.

use crate::engine::{self, Clip, Device, Job, Loss, Plan, Precision, Rows, Step, Trainer, Watch, Workers};
use crate::network::Network;
use crate::weights::{Shape, Weights};
use crate::windows::TARGETS;
use anyhow::Result;
use burn::tensor::backend::AutodiffBackend;
use clap::Args;
use headroom_predict::{FEATURES, QUANTILES};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// Rows that are learnt from again and again.
const ROWS: usize = 16_384;
/// Memory and caches settle in this time.
const SETTLE: Duration = Duration::from_millis(500);
/// And in so many steps: a GPU's kernels are compiled as they are first met, which takes longer.
const SETTLE_STEPS: usize = 40;

/// Options of `bench speed`.
#[derive(Debug, Args)]
pub struct Options {
    /// Hidden units; the shipped forecaster has 128.
    #[arg(long, default_value_t = 128, value_parser = clap::value_parser!(u16).range(1..=4096))]
    width: u16,
    /// Residual blocks; the shipped forecaster has 2.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(0..=64))]
    blocks: u16,
    /// Rows per step.
    #[arg(long, default_value_t = 512, value_parser = clap::value_parser!(u16).range(1..))]
    batch: u16,
    /// How long to measure, s.
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// Where to learn: cpu, cpu:THREADS, cuda or cuda:0,1.
    #[arg(long, value_name = "DEVICE", default_value = "cpu")]
    device: Device,
    /// Products of matrices in 16 bits (bfloat16): for GPUs.
    #[arg(long)]
    mixed_precision: bool,
    /// Rows of one replica's share of a batch; the default is that of `fit`.
    #[arg(long)]
    shard_rows: Option<usize>,
}

/// Measures.
///
/// # Errors
/// The device cannot be used.
pub fn run(options: &Options) -> Result<Value> {
    let mut chance = crate::chance::Chance::new(1, "speed");
    let mut rows = Rows::new(FEATURES, TARGETS);
    rows.inputs = (0..ROWS * FEATURES).map(|_| chance.normal() as f32).collect();
    rows.targets = (0..ROWS * TARGETS).map(|_| chance.normal() as f32).collect();
    let (samples_per_s, parameters, workers) = engine::on(&options.device, Measure { options, rows })?;
    Ok(json!({
        "bench": "speed",
        "samples_per_s": samples_per_s.round(),
        "batch": options.batch,
        "parameters": parameters,
        "device": options.device.to_string(),
        "workers": workers,
        "network": {"features": FEATURES, "width": options.width, "blocks": options.blocks, "horizons": TARGETS, "quantiles": QUANTILES},
    }))
}

struct Measure<'a> {
    options: &'a Options,
    rows: Rows,
}

impl Job for Measure<'_> {
    /// Rows per second, numbers in the network, threads or devices at work.
    type Out = (f64, usize, usize);

    fn run<B: AutodiffBackend>(self, workers: &Workers<B::Device>) -> Result<Self::Out> {
        let options = self.options;
        let shape = Shape { width: options.width.into(), blocks: options.blocks.into() };
        let weights = Weights::random(shape, 1);
        let plan = Plan {
            // More than there will be time for.
            epochs: 1_000_000,
            batch: Some(options.batch.into()),
            clip: Some(Clip::Norm(1.0)),
            weight_decay: 1e-3,
            precision: if options.mixed_precision { Precision::Mixed } else { Precision::Full },
            shard_rows: options.shard_rows.unwrap_or(Plan::default().shard_rows),
            ..Plan::default()
        };
        let mut trainer = Trainer::<B, _>::new(Network::<B>::new(&weights, workers.main()), plan, workers);
        let loss = Loss::Pinball { quantiles: QUANTILES.map(|q| q as f32).to_vec() };
        let mut clock = Clock::new(options);
        while !clock.is_over() {
            // The clock ends an epoch when its time is over.
            drop(trainer.epoch(&self.rows, None, &loss, &mut clock));
        }
        Ok((clock.samples_per_s(), weights.parameters(), workers.count()))
    }
}

/// Watches a training and tells its speed over all its time after settling.
struct Clock {
    begin: Instant,
    end: Option<Instant>,
    seconds: Duration,
    steps: usize,
    rows: usize,
    batch: usize,
    last: Instant,
}

impl Clock {
    fn new(options: &Options) -> Self {
        let begin = Instant::now() + SETTLE;
        let seconds = Duration::try_from_secs_f64(options.seconds).unwrap_or(Duration::from_secs(5));
        Self { begin, end: None, seconds, steps: 0, rows: 0, batch: options.batch.into(), last: begin }
    }

    fn is_over(&self) -> bool {
        self.end.is_some_and(|end| self.last >= end)
    }

    fn samples_per_s(&self) -> f64 {
        self.rows as f64 / (self.last - self.begin).as_secs_f64().max(1e-9)
    }
}

impl Watch for Clock {
    fn step(&mut self, _: &Step) -> Result<()> {
        let now = Instant::now();
        self.steps += 1;
        if self.end.is_none() {
            if now >= self.begin && self.steps >= SETTLE_STEPS {
                // The step that ends now began before: time counts from its end.
                (self.begin, self.end, self.last) = (now, Some(now + self.seconds), now);
            }
            return Ok(());
        }
        self.rows += self.batch;
        self.last = now;
        anyhow::ensure!(!self.is_over(), "time is over");
        Ok(())
    }
}

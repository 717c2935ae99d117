//! `bench mnist`: a small convolutional network on images of handwritten digits, five epochs, beside a linear softmax. Any set of the same
//! four idx files will do (the classes and the size of the images are read from them).

mod idx;
mod network;

use super::median;
use crate::engine::{self, Device, Job, Learnable, Loss, Plan, Precision, Source, Trainer, Workers, layer::Init};
use crate::progress::Progress;
use crate::stop::Stop;
use anyhow::Result;
use burn::tensor::backend::AutodiffBackend;
use clap::Args;
use idx::Images;
use network::{Convolutions, Linear};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::time::Instant;

/// The last training images, on which an epoch is judged: one in twelve, as 5,000 of 60,000.
const JUDGED_SHARE: usize = 12;

/// Options of `bench mnist`.
#[derive(Debug, Args)]
pub struct Options {
    /// Where the four files are: train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte,
    /// t10k-labels-idx1-ubyte, each plain or with .gz.
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// One network is trained for each; the figures are medians.
    #[arg(long, value_name = "N", value_delimiter = ',', default_value = "1,2,3")]
    seeds: Vec<u64>,
    /// Passes over the training images.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..))]
    epochs: u16,
    /// Where to learn: cpu, cpu:THREADS, cuda or cuda:0,1.
    #[arg(long, value_name = "DEVICE", default_value = "cpu")]
    device: Device,
    /// Products of matrices in 16 bits (bfloat16): for GPUs.
    #[arg(long)]
    mixed_precision: bool,
}

/// Trains and measures.
///
/// # Errors
/// Files that are not as they should be, or a training that fails or is stopped.
pub fn run(options: &Options, stop: &Stop) -> Result<Value> {
    let (train, test) = idx::read_all(&options.dir)?;
    let judged = train.labels.len() / JUDGED_SHARE;
    let (train, validation) = train.split(train.labels.len() - judged);
    let mut runs = Vec::new();
    for seed in &options.seeds {
        let started = Instant::now();
        let one = |convolutions| {
            let parts = [&train, &validation, &test];
            engine::on(&options.device, Fit { convolutions, parts, options, seed: *seed, stop })
        };
        let (linear, network) = (one(false)?, one(true)?);
        runs.push(json!({
            "seed": seed,
            "test_accuracy": network.test,
            "validation_accuracy": network.validation,
            "linear_test_accuracy": linear.test,
            "parameters": network.parameters,
            "training_images_per_s": network.images_per_s,
            "seconds": started.elapsed().as_secs_f64().round(),
        }));
        eprintln!("seed {seed}: test accuracy {:.4}, linear softmax {:.4}", network.test, linear.test);
    }
    let middle = |key: &str| median(&runs.iter().filter_map(|r| r[key].as_f64()).collect::<Vec<_>>());
    Ok(json!({
        "bench": "mnist",
        "test_accuracy": middle("test_accuracy"),
        "validation_accuracy": middle("validation_accuracy"),
        "epochs": options.epochs,
        "train_images": train.rows(),
        "test_images": test.rows(),
        "device": options.device.to_string(),
        "seeds": options.seeds,
        "runs": runs,
        "baselines": {"linear_softmax_test_accuracy": middle("linear_test_accuracy")},
    }))
}

/// One network, one seed.
struct Fit<'a> {
    convolutions: bool,
    parts: [&'a Images; 3],
    options: &'a Options,
    seed: u64,
    stop: &'a Stop,
}

struct Fitted {
    test: f64,
    validation: f64,
    parameters: usize,
    images_per_s: f64,
}

impl Job for Fit<'_> {
    type Out = Fitted;

    fn run<B: AutodiffBackend>(self, workers: &Workers<B::Device>) -> Result<Fitted> {
        let init = &mut Init::new(self.seed, workers.main());
        let Images { height, width, classes, .. } = *self.parts[0];
        if self.convolutions {
            let network = Convolutions::<B>::new(init, height, width, classes);
            self.train::<B, _>(network, 4e-3, workers)
        } else {
            self.train::<B, _>(Linear::<B>::new(init, height * width, classes), 1e-3, workers)
        }
    }
}

impl Fit<'_> {
    fn train<B: AutodiffBackend, N: Learnable<B>>(
        &self,
        network: N,
        rate: f64,
        workers: &Workers<B::Device>,
    ) -> Result<Fitted> {
        let plan = Plan {
            epochs: self.options.epochs.into(),
            batch: Some(128),
            rate,
            weight_decay: 1e-2,
            seed: self.seed,
            shard_rows: 64,
            precision: if self.options.mixed_precision { Precision::Mixed } else { Precision::Full },
            ..Plan::default()
        };
        let [train, validation, test] = self.parts;
        let parameters = engine::parameters(&network);
        let name = format!("seed {}  {}", self.seed, if self.convolutions { "convolutions" } else { "linear" });
        let mut progress = Progress::new(plan.steps(train.rows()) * plan.epochs, 0)
            .stopped_by(self.stop)
            .counting("images")
            .named(&name);
        let mut trainer = Trainer::<B, N>::new(network, plan, workers);
        // Handwriting moves by a pixel or two; for a linear map that only blurs.
        let train = if self.convolutions { train.moving() } else { train.clone() };
        trainer.fit(&train, Some(validation), &Loss::CrossEntropy { smoothing: 0.0 }, &mut progress)?;
        let best = trainer.network().valid();
        let rates: Vec<f64> = trainer.state().epochs.iter().map(|e| e.rows_per_s).collect();
        Ok(Fitted {
            test: accuracy::<B, N>(&best, test, workers),
            validation: accuracy::<B, N>(&best, validation, workers),
            parameters,
            images_per_s: median(&rates).round(),
        })
    }
}

/// Share of images whose class gets the largest output.
fn accuracy<B: AutodiffBackend, N: Learnable<B>>(
    network: &N::InnerModule,
    images: &Images,
    workers: &Workers<B::Device>,
) -> f64 {
    let answers = engine::predict::<B::InnerBackend, _>(network, images, workers);
    let rows = answers.chunks_exact(images.classes);
    let right = rows.zip(&images.labels).filter(|(row, label)| largest(row) == usize::from(**label));
    right.count() as f64 / images.labels.len() as f64
}

fn largest(row: &[f32]) -> usize {
    (0..row.len()).max_by(|a, b| row[*a].total_cmp(&row[*b])).unwrap_or(0)
}

//! `bench inference`: how long the network takes for one answer and for many, on one thread, run by what the controller runs it with
//! ([`Net`]: tract, with products as operators of our own). `tests/bench/infer-vs-onnxruntime` does the same with onnxruntime.

use super::median;
use crate::chance::Chance;
use anyhow::{Context, Result, anyhow, ensure};
use clap::Args;
use headroom_predict::{FEATURES, Net};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Options of `bench inference`.
#[derive(Debug, Args)]
pub struct Options {
    /// The model, such as controller/models/rack-power.onnx.
    #[arg(long, value_name = "FILE")]
    model: PathBuf,
    /// Windows per answer.
    #[arg(long, value_name = "N", value_delimiter = ',', default_value = "1,256")]
    batch: Vec<usize>,
    /// How long to measure each batch, s.
    #[arg(long, default_value_t = 1.0)]
    seconds: f64,
}

/// Measures.
///
/// # Errors
/// The model cannot be read or run.
pub fn run(options: &Options) -> Result<Value> {
    let path = options.model.display();
    let bytes = std::fs::read(&options.model).with_context(|| format!("{path} cannot be read"))?;
    let net = Net::load(&bytes).map_err(|why| anyhow!("{path} is not a model of {FEATURES} features: {why}"))?;
    let mut results = Vec::new();
    for batch in &options.batch {
        ensure!(*batch >= 1, "--batch 0: a number from 1 on would be right");
        let mut chance = Chance::new(1, "inference");
        let numbers: Vec<f32> = (0..batch * FEATURES).map(|_| chance.unit() as f32).collect();
        let windows: Vec<&[f32]> = numbers.chunks_exact(FEATURES).collect();
        let end = Instant::now() + Duration::try_from_secs_f64(options.seconds).unwrap_or(Duration::from_secs(1));
        let mut microseconds = Vec::new();
        while Instant::now() < end || microseconds.len() < 20 {
            let started = Instant::now();
            let answers = net.run_all(&windows);
            microseconds.push(started.elapsed().as_secs_f64() * 1e6);
            if let Some(Err(why)) = answers.into_iter().find(Result::is_err) {
                return Err(anyhow!("{path}: {why}"));
            }
        }
        let least = microseconds.iter().copied().fold(f64::MAX, f64::min);
        results.push(
            json!({"batch": batch, "us_median": median(&microseconds), "us_least": least, "runs": microseconds.len()}),
        );
    }
    Ok(json!({"bench": "inference", "model": path.to_string(), "features": FEATURES, "results": results}))
}

//! `bench inference`: how long tract takes for one answer and for many, on one thread, as the controller runs it: a plan with a fixed
//! number of windows, large batches in pieces. `tests/bench/infer-vs-onnxruntime` does the same with onnxruntime.

use super::median;
use crate::chance::Chance;
use anyhow::{Context, Result, ensure};
use clap::Args;
use headroom_predict::{FEATURES, OUTPUTS};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tract_onnx::prelude::*;

/// Options of `bench inference`.
#[derive(Debug, Args)]
pub struct Options {
    /// The model, such as controller/models/rack-power.onnx.
    #[arg(long, value_name = "FILE")]
    model: PathBuf,
    /// Windows per answer.
    #[arg(long, value_name = "N", value_delimiter = ',', default_value = "1,256")]
    batch: Vec<usize>,
    /// Windows per run of tract at most.
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = piece)]
    piece: usize,
    /// How long to measure each batch, s.
    #[arg(long, default_value_t = 1.0)]
    seconds: f64,
}

fn piece(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|n| *n >= 1).ok_or_else(|| "a number from 1 on would be right".to_owned())
}

/// Measures.
///
/// # Errors
/// The model cannot be read or run.
pub fn run(options: &Options) -> Result<Value> {
    let path = options.model.display();
    let bytes = std::fs::read(&options.model).with_context(|| format!("{path} cannot be read"))?;
    let mut results = Vec::new();
    for batch in &options.batch {
        ensure!(*batch >= 1, "--batch 0: a number from 1 on would be right");
        let piece = options.piece.min(*batch);
        let plan = tract_onnx::onnx()
            .model_for_read(&mut std::io::Cursor::new(&bytes))?
            .with_input_fact(0, f32::fact([piece, FEATURES]).into())?
            .into_optimized()
            .with_context(|| format!("{path} is not a model of {FEATURES} features"))?
            .into_runnable()?;
        let mut chance = Chance::new(1, "inference");
        // The last piece is filled up, as the controller does it.
        let windows: Vec<f32> = (0..batch.div_ceil(piece) * piece * FEATURES).map(|_| chance.unit() as f32).collect();
        let answer = || -> TractResult<Vec<f32>> {
            let mut answers = Vec::with_capacity(batch.div_ceil(piece) * piece * OUTPUTS);
            for windows in windows.chunks_exact(piece * FEATURES) {
                let input = Tensor::from_shape(&[piece, FEATURES], windows)?;
                let output = plan.run(tvec!(input.into()))?;
                answers.extend(output[0].to_plain_array_view::<f32>()?.iter());
            }
            Ok(answers)
        };
        let end = Instant::now() + Duration::try_from_secs_f64(options.seconds).unwrap_or(Duration::from_secs(1));
        let mut microseconds = Vec::new();
        while Instant::now() < end || microseconds.len() < 20 {
            let started = Instant::now();
            let answers = answer()?;
            microseconds.push(started.elapsed().as_secs_f64() * 1e6);
            ensure!(answers.iter().all(|a| a.is_finite()), "{path} answers a number that is none");
        }
        let least = microseconds.iter().copied().fold(f64::MAX, f64::min);
        results.push(
            json!({"batch": batch, "us_median": median(&microseconds), "us_least": least, "runs": microseconds.len()}),
        );
    }
    Ok(
        json!({"bench": "inference", "model": path.to_string(), "features": FEATURES, "piece": options.piece, "results": results}),
    )
}

//! `bench power`: a node's power 1, 5, 10 and 30 s ahead on a run that the training has not seen, beside the last value and a linear map of
//! the 30 s before. Runs of other jobs are few and differ in period and duration, so each network of the ensemble is judged on a run that it has
//! not learnt from.
//!
//! The answer is mixed from the networks and the baselines, which see 30 s ([`experts`]), and from a memory of the run so far, 300 s at most, by
//! `headroom_predict::mixture`, which the controller uses as well. Shares are learnt on the training runs and go on being learnt on the test run,
//! from outcomes that have come true by then. It has a mean (judged by squared errors), a median (judged by absolute ones) and quantiles; the
//! 99 % quantile is held to its coverage.

mod experts;
mod features;
mod fit;
mod measure;
mod net;
mod reference;
mod trace;
mod windows;

use super::{median, read_text};
use crate::engine::Device;
use crate::options::Usage;
use crate::stop::Stop;
use anyhow::Result;
use clap::Args;
use fit::Model;
use headroom_predict::bound;
use headroom_predict::mixture::Said;
use measure::Measure;
use reference::Reference;
use serde_json::{Map, Value, json};
use std::path::PathBuf;
use trace::Trace;
use windows::Windows;

/// Steps of a window: 30 s.
const HISTORY: usize = 300;
/// How far ahead, in s.
const HORIZONS_S: [u32; HORIZONS] = [1, 5, 10, 30];
/// How many.
const HORIZONS: usize = 4;
/// How far ahead, in steps.
const STEPS: [usize; HORIZONS] = [10, 50, 100, 300];
/// Probabilities, as the shipped forecaster's.
const QUANTILES: [f32; 3] = [0.5, 0.9, 0.99];

/// Options of `bench power`.
#[derive(Debug, Args)]
pub struct Options {
    /// Runs to learn from: what nvidia-smi writes (timestamp, power.draw [W], ...) or time_s,power_watts; plain or gzipped.
    #[arg(long, value_name = "FILE", num_args = 1.., required = true)]
    train: Vec<PathBuf>,
    /// The run to forecast.
    #[arg(long, value_name = "FILE")]
    test: PathBuf,
    /// Rows that make one reading of the node, where rows do not name their GPU.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..))]
    gpus: u16,
    /// One ensemble is trained for each; the figures are medians.
    #[arg(long, value_name = "N", value_delimiter = ',', default_value = "1,2,3")]
    seeds: Vec<u64>,
    /// Where to learn: cpu, cpu:THREADS, cuda or cuda:0,1.
    #[arg(long, value_name = "DEVICE", default_value = "cpu")]
    device: Device,
}

/// Trains and measures.
///
/// # Errors
/// Files that cannot be used, or a training that fails or is stopped.
pub fn run(options: &Options, stop: &Stop) -> Result<Value> {
    let mut wrong = Vec::new();
    let mut read = |path: &PathBuf| -> Result<Trace> {
        let parsed = Trace::parse(&read_text(path)?, options.gpus.into());
        Ok(parsed.unwrap_or_else(|mistakes| {
            wrong.push(format!("{} cannot be used:\n{}", path.display(), mistakes.join("\n")));
            Trace::default()
        }))
    };
    let train = options.train.iter().map(&mut read).collect::<Result<Vec<Trace>>>()?;
    let test = read(&options.test)?;
    // A part to learn from and one to judge on, each a window and the farthest horizon long.
    let least = 4 * (HISTORY + STEPS[HORIZONS - 1]);
    for (path, trace) in options.train.iter().chain([&options.test]).zip(train.iter().chain([&test])) {
        if wrong.is_empty() && trace.power.len() < least {
            let have = trace.power.len() as f64 / trace::RATE_HZ;
            wrong.push(format!("{} is {have} s long, must be {} s", path.display(), least as f64 / trace::RATE_HZ));
        }
    }
    if !wrong.is_empty() {
        return Err(Usage(wrong.join("\n")).into());
    }
    let mut windows = Windows::default();
    windows.add(test, 1);
    let references = fit::references(&train)?;
    let mut baselines = Map::new();
    for (name, reference) in [("persistence", &references.0), ("linear", &references.1)] {
        baselines.insert(name.to_owned(), scores(&windows, &reference_answers(reference, &windows), false));
    }
    let mut by_seed = Vec::new();
    for seed in &options.seeds {
        let model = Model::learn(&train, *seed, &options.device, stop)?;
        let (answers, shares) = model.answers(&windows, &options.device)?;
        let result = scores(&windows, &answers, true);
        eprintln!("seed {seed}: {result}");
        by_seed.push(json!({"seed": seed, "horizons": result, "shares": shares}));
    }
    let mut horizons = Map::new();
    for horizon in HORIZONS_S.map(|h| h.to_string()) {
        let mut model = Map::new();
        for key in ["mae", "rmse", "pinball", "coverage", "coverage_before_conformal", "bound_above_before_watts"] {
            let values: Vec<f64> = by_seed.iter().filter_map(|seed| seed["horizons"][&horizon][key].as_f64()).collect();
            model.insert(key.to_owned(), json!(rounded(median(&values))));
        }
        let [persistence, linear] = ["persistence", "linear"].map(|name| baselines[name][&horizon].clone());
        horizons.insert(horizon, json!({"model": model, "persistence": persistence, "linear": linear}));
    }
    Ok(json!({
        "bench": "power", "unit": "W", "windows": windows.len(), "history_s": 30, "seeds": options.seeds, "quantiles": QUANTILES,
        "horizons": horizons, "by_seed": by_seed,
        "judged": "mae: median, rmse: mean, pinball: mean over the quantiles, coverage: outcomes at or below the 99 % bound",
        "coverage_aimed_at": 1.0 - bound::MISSES,
    }))
}

fn rounded(value: f64) -> f64 {
    (value * 1e4).round() / 1e4
}

fn reference_answers(reference: &Reference, windows: &Windows) -> Vec<Vec<Said>> {
    let answer = |i| {
        let points = reference.points(windows.values(i));
        let quantiles = reference.quantiles(points);
        let said = |h: usize| Said {
            mean: Some(points[h]),
            quantiles: quantiles[h],
            bound: quantiles[h][QUANTILES.len() - 1],
        };
        (0..HORIZONS).map(said).collect()
    };
    (0..windows.len()).map(answer).collect()
}

/// By horizon. What is judged by absolute errors is the median or, for the baselines, their one value.
fn scores(windows: &Windows, answers: &[Vec<Said>], adaptive: bool) -> Value {
    let mut all = Map::new();
    for (h, horizon) in HORIZONS_S.iter().enumerate() {
        let outcomes: Vec<Option<f32>> = (0..windows.len()).map(|i| windows.outcomes(i)[h]).collect();
        let loss = |measure: Measure, pick: &dyn Fn(&Said) -> f32| {
            measure.of(outcomes.iter().zip(answers).filter_map(|(o, said)| o.map(|o| (pick(&said[h]), o))))
        };
        let mean = |said: &Said| said.mean.unwrap_or(f32::NAN);
        let median = |said: &Said| if adaptive { said.quantiles[0] } else { mean(said) };
        let raw = |said: &Said| said.quantiles[QUANTILES.len() - 1];
        let known = outcomes.iter().flatten().count() as f64;
        let coverage = |bound: &dyn Fn(&Said) -> f32| {
            let held = outcomes.iter().zip(answers).filter(|(o, said)| o.is_some_and(|o| o <= bound(&said[h]))).count();
            rounded(held as f64 / known)
        };
        let pinball = QUANTILES.iter().enumerate().map(|(q, quantile)| {
            let last = q + 1 == QUANTILES.len();
            loss(Measure::Pinball(*quantile), &|said| if last { said.bound } else { said.quantiles[q] })
        });
        let mut score = json!({
            "mae": rounded(2.0 * loss(Measure::Pinball(0.5), &median)),
            "rmse": rounded(loss(Measure::RootMeanSquare, &mean)),
            "pinball": rounded(pinball.sum::<f64>() / QUANTILES.len() as f64),
            "coverage": coverage(&|said| said.bound),
        });
        if adaptive {
            let above = answers.iter().map(|said| f64::from(said[h].bound - raw(&said[h]))).sum::<f64>();
            score["coverage_before_conformal"] = json!(coverage(&raw));
            score["bound_above_before_watts"] = json!(rounded(above / answers.len() as f64));
        }
        all.insert(horizon.to_string(), score);
    }
    Value::Object(all)
}

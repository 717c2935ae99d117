//! `bench ett`: long-horizon forecasts of a multivariate series in the form of the electricity transformer data sets (ETT), by the
//! protocol of Informer (Zhou et al., AAAI 2021) and its successors: look-back 336, all windows of the test part, errors of standardised
//! values over steps and columns. Nothing here knows a data set: the borders follow from the time stamps.
//!
//! The forecast is the mean of an ensemble with equal weights. Its members learn by the absolute error, which outliers of the training
//! part pull less than the squared one; each stops at its best epoch on the validation part. The test part is only ever answered to.

mod moments;
mod nets;
mod series;
mod table;

use super::{median, read_text};
use crate::engine::{self, Device, Job, Loss, Plan, Source, Trainer, Workers, layer::Init};
use crate::options::Usage;
use crate::progress::Progress;
use crate::stop::Stop;
use anyhow::Result;
use burn::module::AutodiffModule;
use burn::tensor::backend::AutodiffBackend;
use clap::Args;
use moments::{Map, Moments};
use nets::{Forecaster, Level, Member};
use serde::Serialize;
use serde_json::{Value, json};
use series::{Errors, Part, Series, Windows};
use std::path::PathBuf;
use std::time::Instant;
use table::Table;

pub use table::seconds;

/// Rows of one look-back, as in the published tables with the longest look-back that all of them share.
const LOOK_BACK: usize = 336;
/// Penalties of the closed-form map to choose from on the validation part.
const PENALTIES: [f64; 6] = [1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1];
/// Rows of one epoch at most: neighbouring windows say nearly the same.
const ROWS: usize = 65_536;
/// Rows on which an epoch is judged at most.
const JUDGED_ROWS: usize = 20_000;
/// Rows per step.
const BATCH: usize = 256;

/// The ensemble: the floor's own form with a better loss, and three networks that differ in how much they are held back.
const MEMBERS: [Member; 4] = [
    Member { name: "line", level: Level::Last, line: true, width: 0, dropout: 0.0, epochs: 6, rate: 5e-4 },
    Member { name: "narrow", level: Level::Mean, line: true, width: 128, dropout: 0.3, epochs: 8, rate: 1e-3 },
    Member { name: "wide", level: Level::Mean, line: true, width: 256, dropout: 0.5, epochs: 10, rate: 5e-4 },
    Member { name: "no line", level: Level::Mean, line: false, width: 512, dropout: 0.7, epochs: 8, rate: 2e-4 },
];

/// Options of `bench ett`.
#[derive(Debug, Args)]
pub struct Options {
    /// The series: date,NAME,NAME,... with one row per step, plain or gzipped; 20 months of 30 days at least.
    #[arg(long, value_name = "FILE")]
    csv: PathBuf,
    /// Steps to forecast.
    #[arg(long, value_name = "STEPS", value_delimiter = ',', default_value = "96")]
    horizon: Vec<usize>,
    /// One ensemble is trained for each; the figures are medians.
    #[arg(long, value_name = "N", value_delimiter = ',', default_value = "1,2,3")]
    seeds: Vec<u64>,
    /// Where to learn: cpu, cpu:THREADS, cuda or cuda:0,1.
    #[arg(long, value_name = "DEVICE", default_value = "cpu")]
    device: Device,
}

/// Mean squared and absolute error of standardised values.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
struct Score {
    mse: f64,
    mae: f64,
}

impl From<Errors> for Score {
    fn from(errors: Errors) -> Self {
        Self { mse: rounded(errors.mse()), mae: rounded(errors.mae()) }
    }
}

fn rounded(value: f64) -> f64 {
    (value * 1e5).round() / 1e5
}

/// Runs it; the answer is the last line's object.
///
/// # Errors
/// The file cannot be used, or a training fails or is stopped.
pub fn run(options: &Options, stop: &Stop) -> Result<Value> {
    let text = read_text(&options.csv)?;
    let wrong =
        |mistakes: Vec<String>| Usage(format!("{} cannot be used:\n{}", options.csv.display(), mistakes.join("\n")));
    let table = Table::parse(&text).map_err(wrong)?;
    let series = Series::of(&table).map_err(wrong)?;
    if options.horizon.contains(&0) {
        return Err(Usage("--horizon is 0, must be 1 at least".to_owned()).into());
    }
    for horizon in &options.horizon {
        for part in [Part::Train, Part::Validation, Part::Test] {
            series.starts(part, LOOK_BACK, *horizon).map_err(|why| wrong(vec![why]))?;
        }
    }
    eprintln!("{}: {} columns, a row every {} s", options.csv.display(), table.names.len(), table.step_s);
    let mut horizons = Vec::new();
    for horizon in &options.horizon {
        horizons.push((horizon.to_string(), one_horizon(&series, *horizon, options, stop)?));
    }
    let pick = |key: &str| match &horizons[..] {
        [(_, only)] => only[key].clone(),
        all => all.iter().map(|(horizon, result)| (horizon.clone(), result[key].clone())).collect::<Value>(),
    };
    let keys = ["mse", "mae", "validation", "by_seed", "baselines"];
    let mut summary = json!({
        "bench": "ett", "columns": table.names, "step_s": table.step_s, "look_back": LOOK_BACK, "horizon": options.horizon,
        "seeds": options.seeds, "chosen": "equal-weight ensemble", "members": MEMBERS,
    });
    for key in keys {
        summary[key] = pick(key);
    }
    Ok(summary)
}

fn one_horizon(series: &Series, horizon: usize, options: &Options, stop: &Stop) -> Result<Value> {
    let windows = |part| Windows::new(series, part, LOOK_BACK, horizon).map_err(anyhow::Error::msg);
    let (validation, test) = (windows(Part::Validation)?, windows(Part::Test)?);
    let (map, baselines) = baselines(series, horizon, &test)?;
    eprintln!("horizon {horizon}: {baselines}");
    let mut by_seed = Vec::new();
    for seed in &options.seeds {
        let started = Instant::now();
        let mut sums = [vec![0.0; validation.rows() * horizon], vec![0.0; test.rows() * horizon]];
        let mut members = Vec::new();
        for member in &MEMBERS {
            let train = windows(Part::Train)?.thinned(ROWS);
            let judge = windows(Part::Validation)?.thinned(JUDGED_ROWS);
            let parts = [&validation, &test];
            let answers = engine::on(
                &options.device,
                Fit { member, map: &map, train: &train, judge: &judge, parts, seed: *seed, stop },
            )?;
            let [own_validation, _] = [0, 1].map(|i| Score::from(Errors::of(&answers[i], parts[i])));
            eprintln!(
                "  seed {seed}, {}: validation {own_validation:?}, {:.0} s",
                member.name,
                started.elapsed().as_secs_f64()
            );
            members.push(json!({"name": member.name, "validation": own_validation}));
            for (sum, answers) in sums.iter_mut().zip(answers) {
                sum.iter_mut().zip(answers).for_each(|(sum, answer)| *sum += answer / MEMBERS.len() as f32);
            }
        }
        let [validation, test] =
            [(&sums[0], &validation), (&sums[1], &test)].map(|(sum, windows)| Score::from(Errors::of(sum, windows)));
        eprintln!("  seed {seed}: test {test:?}, validation {validation:?}, {:.0} s", started.elapsed().as_secs_f64());
        by_seed.push(
            json!({"seed": seed, "mse": test.mse, "mae": test.mae, "validation": validation, "members": members}),
        );
    }
    let middle = |path: &str| {
        let values: Vec<f64> = by_seed.iter().filter_map(|seed| seed.pointer(path).and_then(Value::as_f64)).collect();
        rounded(median(&values))
    };
    Ok(json!({
        "mse": middle("/mse"), "mae": middle("/mae"),
        "validation": {"mse": middle("/validation/mse"), "mae": middle("/validation/mae")},
        "by_seed": by_seed, "baselines": baselines,
    }))
}

/// Persistence and the closed-form maps on the test part; also the map that subtracts the last value.
fn baselines(series: &Series, horizon: usize, test: &Windows<'_>) -> Result<(Map, Value)> {
    let moments = |part| Moments::of(series, part, LOOK_BACK, horizon).map_err(anyhow::Error::msg);
    let (train, validation) = (moments(Part::Train)?, moments(Part::Validation)?);
    let fitted = |subtracting| -> Result<(Map, Value)> {
        let mut best: Option<(f64, f64, Map)> = None;
        for penalty in PENALTIES {
            let map = train.fit(penalty, subtracting)?;
            let loss = validation.mse(&map);
            if best.as_ref().is_none_or(|(least, ..)| loss < *least) {
                best = Some((loss, penalty, map));
            }
        }
        let (loss, penalty, map) = best.expect("invariant: there are penalties to choose from");
        let score = Score::from(Errors::of(&map.answers((0..test.rows()).map(|row| test.history(row))), test));
        let result = json!({"mse": score.mse, "mae": score.mae, "validation_mse": rounded(loss), "ridge": penalty});
        Ok((map, result))
    };
    let (map, subtracting) = fitted(true)?;
    let (_, plain) = fitted(false)?;
    let last = |row| std::iter::repeat_n(test.history(row)[LOOK_BACK - 1], horizon);
    let persistence = Score::from(Errors::of(&(0..test.rows()).flat_map(last).collect::<Vec<_>>(), test));
    Ok((map, json!({"persistence": persistence, "linear_after_last_value": subtracting, "linear": plain})))
}

/// Trains one member and answers to the parts.
struct Fit<'a> {
    member: &'a Member,
    map: &'a Map,
    train: &'a Windows<'a>,
    judge: &'a Windows<'a>,
    parts: [&'a Windows<'a>; 2],
    seed: u64,
    stop: &'a Stop,
}

impl Job for Fit<'_> {
    type Out = [Vec<f32>; 2];

    fn run<B: AutodiffBackend>(self, workers: &Workers<B::Device>) -> Result<Self::Out> {
        let init = &mut Init::new(self.seed, workers.main());
        let network = Forecaster::<B>::new(self.member, self.map, LOOK_BACK, init);
        let plan = Plan {
            epochs: self.member.epochs,
            batch: Some(BATCH),
            rate: self.member.rate,
            seed: self.seed,
            ..Plan::default()
        };
        let name = format!("seed {}  {}", self.seed, self.member.name);
        let steps = plan.steps(self.train.rows()) * plan.epochs;
        let mut progress = Progress::new(steps, 0).stopped_by(self.stop).named(&name);
        let mut trainer = Trainer::<B, _>::new(network, plan, workers);
        trainer.fit(self.train, Some(self.judge), &Loss::Mae, &mut progress)?;
        let network = trainer.network().valid();
        Ok(self.parts.map(|part| engine::predict(&network, part, workers)))
    }
}

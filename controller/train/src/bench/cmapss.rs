//! `bench cmapss`: remaining life of turbofan engines at the last cycle of each test record, in the
//! format of NASA's C-MAPSS sets. Learns from the train file alone; targets are capped at 125 cycles;
//! errors are told against the RUL file as it is (raw) and capped.

use super::{Learning, median};
use crate::life::measure::{coverage, nasa_score, rmse};
use crate::life::{cmapss, conditions::Conditions, model};
use crate::stop::Stop;
use crate::tabular::linear::Linear;
use anyhow::Result;
use clap::Args;
use serde_json::{Value, json};
use std::path::PathBuf;

/// Options of `bench cmapss`.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// Where train_SUBSET.txt, test_SUBSET.txt and RUL_SUBSET.txt are, plain or with .gz.
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// Which files.
    #[arg(long, value_name = "NAME", default_value = "FD001")]
    subset: String,
    /// How to learn.
    #[command(flatten)]
    learning: Learning,
}

/// Trains once per seed; figures are medians over seeds.
///
/// # Errors
/// [`crate::table::TableError`] for the data, others for failures on the way.
pub fn run(options: &Options, stop: &Stop) -> Result<Value> {
    let Options { dir, subset, learning: Learning { seeds, device } } = options;
    let data = cmapss::read(dir, subset)?;
    let train: Vec<&_> = data.train.iter().collect();
    let test: Vec<&_> = data.test.iter().collect();
    let mut runs = Vec::new();
    for seed in seeds {
        let recipe = model::Recipe::new(*seed);
        let made = model::make(&train, &recipe, device, &mut stop.attend())?;
        let lives: Vec<model::Life> = test.iter().filter_map(|unit| made.model.answer(unit)).collect();
        let truth = capped(&data.remaining, recipe.cap);
        let intervals: Vec<(f64, f64)> = lives.iter().map(|l| (l.low, l.high)).collect();
        let mut run = errors(&lives.iter().map(|l| l.mean).collect::<Vec<_>>(), &data.remaining, recipe.cap);
        run["seed"] = json!(seed);
        run["coverage"] = json!(coverage(&intervals, &truth));
        run["interval_width"] = json!(lives.iter().map(|l| l.high - l.low).sum::<f64>() / lives.len() as f64);
        run["validation_rmse"] = json!(made.unseen_rmse);
        eprintln!("seed {seed}: {run}");
        runs.push(run);
    }
    let middle = |key: &str| median(&runs.iter().filter_map(|r| r[key].as_f64()).collect::<Vec<_>>());
    let recipe = model::Recipe::new(0);
    let conditions = Conditions::fit(&train);
    Ok(json!({
        "bench": "cmapss",
        "subset": subset,
        "predicted": format!("cycles left at the last cycle of each test unit, from its record so far; trained on cycles left, at most {}", recipe.cap),
        "train_units": train.len(),
        "test_units": test.len(),
        "operating_conditions": conditions.count(),
        "sensors_used": conditions.sensors(),
        "rmse_clipped": middle("rmse_clipped"),
        "rmse_raw": middle("rmse_raw"),
        "score": middle("score"),
        "coverage": middle("coverage"),
        "coverage_nominal": model::COVERAGE,
        "interval_width": middle("interval_width"),
        "validation_rmse": middle("validation_rmse"),
        "seeds": seeds,
        "runs": runs,
        "baselines": baselines(&data, &conditions, recipe.cap),
    }))
}

fn capped(lives: &[f64], cap: f64) -> Vec<f64> {
    lives.iter().map(|l| l.min(cap)).collect()
}

fn errors(predicted: &[f64], remaining: &[f64], cap: f64) -> Value {
    let truth = capped(remaining, cap);
    json!({
        "rmse_clipped": rmse(predicted, &truth),
        "rmse_raw": rmse(predicted, remaining),
        "score": nasa_score(predicted, remaining),
    })
}

/// The mean target, a line on age, a linear map of all features, fitted on the same training rows.
fn baselines(data: &cmapss::Subset, conditions: &Conditions, cap: f64) -> Value {
    let units = |units: &'_ [crate::life::Unit], after: &[f64]| {
        model::examples(conditions, &units.iter().collect::<Vec<_>>(), after, cap)
    };
    let train = units(&data.train, &vec![0.0; data.train.len()]);
    let test = units(&data.test, &data.remaining);
    let width = train.rows.widths.0;
    let targets: Vec<f64> = train.rows.targets.iter().map(|t| f64::from(*t)).collect();
    let last: Vec<&[f32]> = test
        .rows
        .inputs
        .chunks_exact(width)
        .enumerate()
        .filter(|(i, _)| test.units.get(i + 1) != Some(&test.units[*i]))
        .map(|(_, row)| row)
        .collect();
    let judge = |answer: &dyn Fn(&[f32]) -> f64| {
        let predicted: Vec<f64> = last.iter().map(|row| answer(row).clamp(0.0, cap)).collect();
        errors(&predicted, &data.remaining, cap)
    };
    let mean = targets.iter().sum::<f64>() / targets.len().max(1) as f64;
    let ages: Vec<f32> = train.rows.inputs.chunks_exact(width).map(|row| row[width - 1]).collect();
    let by_age = Linear::fit(&ages, 1, &targets);
    let linear = Linear::fit(&train.rows.inputs, width, &targets);
    json!({
        "constant_mean": judge(&|_| mean),
        "linear_on_age": judge(&|row| by_age.answer(&row[width - 1..])),
        "linear_on_features": judge(&|row| linear.answer(row)),
    })
}

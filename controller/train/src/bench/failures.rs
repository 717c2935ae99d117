//! `bench failures`: which units fail next. The record is stopped at a day; models learn from what was
//! known then, rank the units in place by risk, and are judged by Harrell's concordance against what
//! happened afterwards.

use crate::engine::{Device, Silent};
use crate::failures::concordance::{concordance, within};
use crate::failures::landmark::Landmark;
use crate::failures::model::{Hazards, Past, STEP_DAYS, design, networks, risks};
use crate::failures::{dates, stays};
use crate::life::measure::median;
use anyhow::{Result, ensure};
use serde_json::{Value, json};
use std::path::PathBuf;

/// Share of all failures before the split, if no day is given: more than half to learn from, enough to judge by.
const LEARNT_SHARE: f64 = 0.6;

/// Trains once per seed; figures are medians over seeds.
///
/// # Errors
/// [`crate::table::TableError`] for the data; a split with nothing before or after it.
pub fn run(paths: &[PathBuf], split: Option<f64>, seeds: &[u64], device: &Device) -> Result<Value> {
    let history = stays::read(paths)?;
    ensure!(!history.failures.is_empty(), "the record has no failures: event is empty in every line");
    let place = ((history.failures.len() as f64 * LEARNT_SHARE) as usize).min(history.failures.len() - 1);
    // From midnight: a day, not the second of one failure.
    let split = split.unwrap_or_else(|| history.failures[place].at.floor());
    let past = Past::before(&history, split)?;
    let test = past.layout.landmark(&history, split, history.end);
    ensure!(test.failures() > 0, "no unit in place on {} failed afterwards: choose an earlier split", dates::date(split));
    let quarter = |day: &f64| (day / 91.3).floor() as i64;
    let cohorts: Vec<i64> = test.first_seen.iter().map(quarter).collect();
    let judge = |risks: &[f64]| {
        json!({
            "concordance": concordance(&test.times, &test.failed, risks),
            "concordance_within_cohort": within(&cohorts, &test.times, &test.failed, risks),
        })
    };
    let linear = Hazards::fit(&past, &|_| true);
    let baselines = json!({
        "location_only": judge(&Hazards::fit(&past, &|name| name.starts_with("place")).risks(&test)),
        "age_only": judge(&Hazards::fit(&past, &|name| name.starts_with("age")).risks(&test)),
        "linear_cox": judge(&linear.risks(&test)),
    });
    let mut runs = Vec::new();
    for seed in seeds {
        let ensemble = networks(&past, &design(*seed), device, &mut Silent)?;
        let mut run = judge(&risks(&ensemble, &test));
        run["seed"] = json!(seed);
        eprintln!("seed {seed}: {run}");
        runs.push(run);
    }
    let middle = |key: &str| median(&runs.iter().filter_map(|r| r[key].as_f64()).collect::<Vec<_>>());
    Ok(json!({
        "bench": "failures",
        "predicted": "which of the units in place at the split fails first, from the record before the split",
        "split": dates::date(split),
        "record_ends": dates::date(history.end),
        "train_landmarks": past.landmarks.len(),
        "landmark_step_days": STEP_DAYS,
        "train_failures": past.landmarks.iter().map(Landmark::failures).sum::<usize>(),
        "test_units": test.units.len(),
        "test_failures": test.failures(),
        "features": past.layout.names().len(),
        "concordance": middle("concordance"),
        "concordance_within_cohort": middle("concordance_within_cohort"),
        "cohort": "units first seen in the same quarter of a year",
        "seeds": seeds,
        "runs": runs,
        "baselines": baselines,
    }))
}

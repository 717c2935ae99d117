//! `bench failures`: which units fail next. The record is stopped at a day; models learn from what was
//! known then, rank the units in place by risk, and are judged by Harrell's concordance against what
//! happened afterwards.

use super::{Learning, median};
use crate::failures::concordance::{concordance, within};
use crate::failures::landmark::Landmark;
use crate::failures::model::{self, Hazards, Past, STEP_DAYS, design, networks, risks};
use crate::failures::{dates, stays};
use crate::options::Usage;
use crate::stop::Stop;
use anyhow::{Result, bail};
use clap::Args;
use serde_json::{Value, json};
use std::path::PathBuf;

/// Options of `bench failures`.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// Every CSV in it with the columns SN,location,insert,remove,event is read, plain or gzipped.
    #[arg(long, value_name = "DIR", required_unless_present = "file")]
    dir: Option<PathBuf>,
    /// Such files by name.
    #[arg(value_name = "FILE", conflicts_with = "dir")]
    file: Vec<PathBuf>,
    /// The day on which the record is stopped; without it, the day by which 60 % of the failures had happened.
    #[arg(long, value_name = "YYYY-MM-DD", value_parser = dates::days)]
    split: Option<f64>,
    /// How to learn.
    #[command(flatten)]
    learning: Learning,
}

/// Trains once per seed; figures are medians over seeds.
///
/// # Errors
/// [`crate::table::TableError`] for the data; a split with nothing before or after it.
pub fn run(options: &Options, stop: &Stop) -> Result<Value> {
    let Learning { seeds, device } = &options.learning;
    let mut paths = options.file.clone();
    if let Some(dir) = &options.dir {
        let (stays, others) = stays::find(dir)?;
        paths = stays;
        others.iter().for_each(|path| eprintln!("{} is no record of stays and is left out", path.display()));
    }
    let history = stays::read(&paths)?;
    let middle_day = model::split(&history)?;
    let split = options.split.unwrap_or(middle_day);
    let past = Past::before(&history, split)?;
    let test = past.layout.landmark(&history, split, history.end);
    if test.failures() == 0 {
        let day = dates::date(split);
        bail!(Usage(format!("no unit in place on {day} failed afterwards: choose an earlier --split")));
    }
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
        let ensemble = networks(&past, &design(*seed), device, &mut stop.attend())?;
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

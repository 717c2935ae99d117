//! `bench battery`: state of health, one cell left out. Each cell in turn is forecast by models that
//! learnt from the others; nothing of it is used for learning or stopping. A forecast is made at every
//! cycle from the cell's own capacities up to it, 1, 10 and 50 cycles ahead, and of the cycles left to
//! 80 % and 70 % of its first capacity.

use super::{Learning, median};
use crate::battery::cells::{self, Cell};
use crate::battery::forecast::{self, Forecasts};
use crate::life::measure::rmse;
use crate::options::Usage;
use crate::stop::Stop;
use anyhow::{Result, bail};
use clap::Args;
use serde_json::{Value, json};
use std::path::PathBuf;

/// Options of `bench battery`.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// Where the records are: CSV, plain or gzipped, with cycle, capacity_ah or capacity, and battery
    /// if a file holds more than one cell.
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// How to learn.
    #[command(flatten)]
    learning: Learning,
}

const HORIZONS: [usize; 3] = [1, 10, 50];
const ENDS: [f64; 2] = [0.8, 0.7];

/// Trains once per seed, cell and horizon; figures are medians over seeds of means over cells.
///
/// # Errors
/// [`crate::table::TableError`] for the data, others for failures on the way.
pub fn run(options: &Options, stop: &Stop) -> Result<Value> {
    let Options { dir, learning: Learning { seeds, device } } = options;
    let (cells, others) = cells::read_dir(dir)?;
    for path in &others {
        eprintln!("{} is no capacity record and is left out", path.display());
    }
    if cells.len() < 3 {
        bail!(Usage(format!("{} has {} cells, must have 3: one is left out", dir.display(), cells.len())));
    }
    let mut horizons = Vec::new();
    for horizon in HORIZONS {
        let of = |held_out, seed| forecast::health(&cells, held_out, horizon, seed, device, &mut stop.attend());
        let mut figures = judge(&cells, seeds, &of)?;
        figures["horizon_cycles"] = json!(horizon);
        eprintln!("{horizon} cycles ahead: {figures}");
        horizons.push(figures);
    }
    let mut ends = Vec::new();
    for end in ENDS {
        let reached = cells.iter().filter(|c| crate::battery::features::end_of_life(&c.health, end).is_some()).count();
        if reached < 3 {
            ends.push(json!({"end_of_life": end, "why_not": format!("{reached} cells reached it, 3 are needed")}));
            continue;
        }
        let of = |held_out, seed| forecast::remaining(&cells, held_out, end, seed, device, &mut stop.attend());
        let mut figures = judge(&cells, seeds, &of)?;
        figures["end_of_life"] = json!(end);
        eprintln!("cycles to {end}: {figures}");
        ends.push(figures);
    }
    Ok(json!({
        "bench": "battery",
        "predicted": "capacity as a share of the median of the cell's first five, a number of cycles ahead of each cycle, from the cell's own capacities up to that cycle; learnt from the other cells",
        "cells": cells.iter().map(|c| json!({"name": c.name, "cycles": c.health.len()})).collect::<Vec<_>>(),
        "rmse": horizons[0]["rmse"],
        "horizons": horizons,
        "remaining_cycles": ends,
        "both_neighbours_rmse": both_neighbours(&cells),
        "both_neighbours": "told with hindsight: the mean of the cycle before and the cycle after; by how much it misses shows how unsteady single measurements are",
        "seeds": seeds,
    }))
}

/// Errors of networks and baselines by cell, and their means.
fn judge(cells: &[Cell], seeds: &[u64], of: &dyn Fn(usize, u64) -> Result<Forecasts>) -> Result<Value> {
    let mut by_seed = Vec::new();
    let mut by_cell = serde_json::Map::new();
    for seed in seeds {
        let (mut model, mut linear, mut naive) = (Vec::new(), Vec::new(), Vec::new());
        for (held_out, cell) in cells.iter().enumerate() {
            let forecasts = of(held_out, *seed)?;
            if forecasts.truth.is_empty() {
                continue;
            }
            let error = |of: &[f64]| rmse(of, &forecasts.truth);
            model.push(error(&forecasts.model));
            linear.push(error(&forecasts.linear));
            naive.push(error(&forecasts.naive));
            let entry = by_cell.entry(cell.name.clone()).or_insert_with(
                || json!({"seeds": [], "linear": linear.last(), "naive": naive.last(), "forecasts": forecasts.truth.len()}),
            );
            if let Some(seeds) = entry["seeds"].as_array_mut() {
                seeds.push(json!(model.last()));
            }
        }
        by_seed.push((mean(&model), mean(&linear), mean(&naive)));
    }
    let (linear, naive) = by_seed.first().map_or((f64::NAN, f64::NAN), |s| (s.1, s.2));
    let model: Vec<f64> = by_seed.iter().map(|s| s.0).collect();
    Ok(json!({
        "rmse": median(&model),
        "rmse_by_seed": model,
        "baselines": {"linear": linear, "naive": naive},
        "cells": by_cell,
    }))
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// See the text in the result.
fn both_neighbours(cells: &[Cell]) -> f64 {
    let of = |cell: &Cell| {
        let (truth, middle): (Vec<f64>, Vec<f64>) =
            cell.health.windows(3).map(|w| (w[1], f64::midpoint(w[0], w[2]))).unzip();
        rmse(&middle, &truth)
    };
    mean(&cells.iter().map(of).collect::<Vec<_>>())
}

//! `fit --task remaining-life`: from an operator's record of units to a run folder with `config.json`,
//! `metrics.json`, `model.onnx`, `manifest.json`, and `lives.csv`, the remaining life of every unit
//! that still runs.

use super::conditions::Conditions;
use super::measure::rmse;
use super::model::{self, COVERAGE, Made, Recipe};
use super::{features, onnx, tidy};
use crate::engine::{Device, Watch};
use crate::run_folder::opening::{Opening, Reach};
use crate::run_folder::write_whole;
use anyhow::{Result, ensure};
use headroom_predict::file_hash;
use serde::{Deserialize, Serialize};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// Rows on which tract and the trainer are compared.
const COMPARED: usize = 64;

/// What is asked for.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Order {
    /// The model's name.
    pub name: String,
    /// What the data is.
    pub description: String,
    /// Terms under which it may be used.
    pub licence: String,
    /// How the model is made.
    pub recipe: Recipe,
}

/// What a model of remaining life says of itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Always `remaining_life`.
    pub task: String,
    /// The model's name.
    pub name: String,
    /// SHA-256 of `schema`: another hash means other features.
    pub schema_hash: String,
    /// Settings, sensors and what is made of them.
    pub schema: String,
    /// SHA-256 of `model.onnx`.
    pub onnx_sha256: String,
    /// What the three outputs are.
    pub outputs: [String; 3],
    /// Share of outcomes that an interval is to hold.
    pub coverage_nominal: f64,
    /// Longest life told, cycles.
    pub cap_cycles: f64,
    /// Takes operating conditions out of the sensors before features are made.
    pub conditions: Conditions,
    /// Lowest value of each feature in the training part.
    pub feature_min: Vec<f32>,
    /// Highest value of each feature in the training part.
    pub feature_max: Vec<f32>,
    /// Seed of the training.
    pub seed: u64,
    /// Revision of the source tree.
    pub revision: String,
    /// What the data is.
    pub description: String,
    /// Terms under which it may be used.
    pub licence: String,
    /// Units that ran to failure, and their cycles.
    pub units: usize,
    /// Cycles of those units.
    pub cycles: usize,
    /// All that was read, of running units as well; cycles as they are numbered.
    pub data: Reach<f64>,
    /// Errors on units that the answering network never saw.
    pub measured: Measured,
}

/// Errors on units that the answering network never saw.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Measured {
    /// Cycles, against lives capped at the longest told.
    pub rmse_cycles: f64,
    /// The same of the mean life, told always.
    pub constant_rmse_cycles: f64,
    /// Share of outcomes within their interval.
    pub coverage: f64,
}

/// Trains, or goes on with it, and leaves a complete run folder; what it did, for the last line on stdout.
///
/// # Errors
/// [`crate::options::Usage`] and [`crate::table::TableError`] for what the user gave, others for failures on the way.
pub fn fit(
    order: &Order,
    csv: &[PathBuf],
    (out, resumed): (&Path, bool),
    device: &Device,
    watch: &mut dyn Watch,
) -> Result<serde_json::Value> {
    let opening = Opening::check("remaining-life", order, csv, out, resumed)?;
    let fleet = tidy::read(csv)?;
    let units: Vec<&super::Unit> = fleet.failed.iter().collect();
    opening.begin(order, csv)?;
    let made = model::make(&units, &order.recipe, device, watch)?;
    let examples = model::examples(&made.model.conditions, &units, &vec![0.0; units.len()], order.recipe.cap);
    let onnx = onnx::encode(&order.name, &made.model);
    let width = examples.rows.widths.0;
    let rows: Vec<&[f32]> = examples.rows.inputs.chunks_exact(width).collect();
    let spread: Vec<&[f32]> = rows.iter().step_by((rows.len() / COMPARED).max(1)).copied().collect();
    let parity = onnx::parity(&onnx, &made.model, &spread)?;
    ensure!(
        parity <= onnx::PARITY,
        "tract differs from the trainer by {parity:.1e}, at most {:.0e} is right",
        onnx::PARITY
    );
    let targets: Vec<f64> = examples.rows.targets.iter().map(|t| f64::from(*t)).collect();
    let manifest = manifest(order, &fleet, &made, &onnx, &targets);
    let write = |name: &str, bytes: &[u8]| write_whole(&out.join(name), bytes);
    write("model.onnx", &onnx)?;
    write("manifest.json", &serde_json::to_vec_pretty(&manifest)?)?;
    write("lives.csv", lives(&made, &fleet.running).as_bytes())?;
    let summary = serde_json::json!({
        "task": manifest.task, "name": order.name, "units_failed": fleet.failed.len(), "units_running": fleet.running.len(),
        "operating_conditions": made.model.conditions.count(), "sensors_used": made.model.conditions.sensors(),
        "measured": manifest.measured, "best_epochs": made.epochs, "parity": parity, "onnx_sha256": manifest.onnx_sha256,
    });
    write("metrics.json", &serde_json::to_vec_pretty(&summary)?)?;
    Ok(summary)
}

fn manifest(order: &Order, fleet: &tidy::Fleet, made: &Made, onnx: &[u8], targets: &[f64]) -> Manifest {
    let schema = format!("settings {:?}; sensors {:?}; {}", fleet.settings, fleet.sensors, features::schema());
    let mean = targets.iter().sum::<f64>() / targets.len() as f64;
    Manifest {
        task: "remaining_life".to_owned(),
        name: order.name.clone(),
        schema_hash: file_hash(schema.as_bytes()),
        schema,
        onnx_sha256: file_hash(onnx),
        outputs: ["mean_cycles", "low_cycles", "high_cycles"].map(str::to_owned),
        coverage_nominal: COVERAGE,
        cap_cycles: order.recipe.cap,
        conditions: made.model.conditions.clone(),
        feature_min: made.model.ensemble.columns.min.clone(),
        feature_max: made.model.ensemble.columns.max.clone(),
        seed: order.recipe.design.plan.seed,
        revision: crate::fit::revision(),
        description: order.description.clone(),
        licence: order.licence.clone(),
        units: fleet.failed.len(),
        cycles: targets.len(),
        data: Reach {
            rows: fleet.rows,
            units: fleet.failed.len() + fleet.running.len(),
            from: fleet.cycles[0],
            to: fleet.cycles[1],
        },
        measured: Measured {
            rmse_cycles: made.unseen_rmse,
            constant_rmse_cycles: rmse(&vec![mean; targets.len()], targets),
            coverage: made.unseen_coverage,
        },
    }
}

/// The units that still run, those with the shortest life first.
fn lives(made: &Made, running: &[super::Unit]) -> String {
    let mut all: Vec<(&super::Unit, model::Life)> =
        running.iter().filter_map(|unit| Some((unit, made.model.answer(unit)?))).collect();
    all.sort_by(|a, b| a.1.mean.total_cmp(&b.1.mean));
    let mut text = "unit,cycles_seen,remaining_cycles,low_cycles,high_cycles\n".to_owned();
    for (unit, life) in all {
        let _ = writeln!(text, "{},{},{:.1},{:.1},{:.1}", unit.name, unit.cycles(), life.mean, life.low, life.high);
    }
    text
}

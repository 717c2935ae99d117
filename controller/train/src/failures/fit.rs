//! `fit --task failure-risk`: from a record of stays and failures to a run folder with `config.json`, `metrics.csv`, `loss.svg`, `metrics.json`,
//! `model.onnx`, `manifest.json`, and `risks.csv`: every unit in place at the end of the record, the riskiest first.
//!
//! The record is stopped once, on the day by which most of the failures had happened: networks and baselines that know no more are measured
//! on what came afterwards. The networks that are exported have then learnt from the whole record.

use super::concordance::concordance;
use super::landmark::{Landmark, Layout};
use super::model::{self, Hazards, Past, STEP_DAYS};
use super::stays::History;
use super::{dates, onnx, stays};
use crate::engine::{Device, Watch};
use crate::options::Usage;
use crate::run_folder::opening::{Opening, Reach};
use crate::run_folder::write_whole;
use crate::tabular::{Design, Ensemble};
use anyhow::{Result, bail, ensure};
use headroom_predict::file_hash;
use serde::{Deserialize, Serialize};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// Rows on which tract and the trainer are compared.
const COMPARED: usize = 64;
/// Who is in place this many days before the record ends is in place at its end.
const STILL_DAYS: f64 = 0.5;

/// What is asked for.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Order {
    /// The model's name.
    pub name: String,
    /// What the data is.
    pub description: String,
    /// Terms under which it may be used.
    pub licence: String,
    /// How the networks are made.
    pub design: Design,
}

/// What a model of failure risk says of itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Always `failure_risk`.
    pub task: String,
    /// The model's name.
    pub name: String,
    /// SHA-256 of `schema`: another hash means other features.
    pub schema_hash: String,
    /// Names of the features.
    pub schema: String,
    /// How places become features.
    pub layout: Layout,
    /// SHA-256 of `model.onnx`.
    pub onnx_sha256: String,
    /// What the output is: the logarithm of how many times likelier than usual a unit fails next.
    pub outputs: [String; 1],
    /// Days for which each training row looks ahead.
    pub step_days: f64,
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
    /// All that was read, by days.
    pub data: Reach<String>,
    /// Failures in the record.
    pub failures: usize,
    /// Errors on what came after the day on which the record was stopped.
    pub measured: Measured,
}

/// Harrell's concordance (0.5: as good as chance) on what came after `split`, of those who knew only what came before.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Measured {
    /// The day on which the record was stopped.
    pub split: String,
    /// Units in place then.
    pub units: usize,
    /// How many of them failed afterwards.
    pub failures: usize,
    /// Of networks made as these.
    pub concordance: f64,
    /// Of proportional hazards on all features.
    pub linear_concordance: f64,
    /// Of proportional hazards on the place alone.
    pub location_only_concordance: f64,
}

/// Trains, or goes on with it, and leaves a complete run folder; what it did, for the last line on stdout.
///
/// # Errors
/// [`Usage`] and [`crate::table::TableError`] for what the user gave, others for failures on the way.
pub fn fit(
    order: &Order,
    csv: &[PathBuf],
    (out, resumed): (&Path, bool),
    device: &Device,
    watch: &mut dyn Watch,
) -> Result<serde_json::Value> {
    let opening = Opening::check("failure-risk", order, csv, out, resumed)?;
    let history = stays::read(csv)?;
    let split = model::split(&history)?;
    let past = Past::before(&history, split)?;
    let whole = Past::before(&history, history.end)?;
    opening.begin(order, csv)?;
    let write = |name: &str, bytes: &[u8]| write_whole(&out.join(name), bytes);
    let measured = measured(&history, split, &past, &model::networks(&past, &order.design, device, watch)?)?;
    let ensemble = model::networks(&whole, &order.design, device, watch)?;
    let onnx = onnx::encode(&order.name, &ensemble);
    let rows: Vec<&[f32]> = whole.landmarks.iter().flat_map(|l| &l.features).map(Vec::as_slice).collect();
    let spread: Vec<&[f32]> = rows.iter().step_by((rows.len() / COMPARED).max(1)).copied().collect();
    let parity = onnx::parity(&onnx, &ensemble, &spread)?;
    ensure!(
        parity <= onnx::PARITY,
        "tract differs from the trainer by {parity:.1e}, at most {:.0e} is right",
        onnx::PARITY
    );
    let manifest = manifest(order, &history, &whole.layout, &ensemble, &onnx, measured);
    let still = whole.layout.landmark(&history, history.end - STILL_DAYS, history.end);
    write("model.onnx", &onnx)?;
    write("manifest.json", &serde_json::to_vec_pretty(&manifest)?)?;
    write("risks.csv", risks(&history, &still, &ensemble).as_bytes())?;
    let summary = serde_json::json!({
        "task": manifest.task, "name": order.name, "from": manifest.data.from, "to": manifest.data.to, "units": manifest.data.units,
        "failures": manifest.failures, "units_in_place": still.failed.iter().filter(|failed| !**failed).count(),
        "measured": manifest.measured, "parity": parity, "onnx_sha256": manifest.onnx_sha256,
    });
    write("metrics.json", &serde_json::to_vec_pretty(&summary)?)?;
    Ok(summary)
}

fn measured(history: &History, split: f64, past: &Past, ensemble: &Ensemble) -> Result<Measured> {
    let test = past.layout.landmark(history, split, history.end);
    if test.failures() == 0 {
        bail!(Usage(format!(
            "no unit in place on {} failed afterwards: there is nothing to measure by",
            dates::date(split)
        )));
    }
    let judge = |risks: &[f64]| concordance(&test.times, &test.failed, risks);
    Ok(Measured {
        split: dates::date(split),
        units: test.units.len(),
        failures: test.failures(),
        concordance: judge(&model::risks(ensemble, &test)),
        linear_concordance: judge(&Hazards::fit(past, &|_| true).risks(&test)),
        location_only_concordance: judge(&Hazards::fit(past, &|name| name.starts_with("place")).risks(&test)),
    })
}

fn manifest(
    order: &Order,
    history: &History,
    layout: &Layout,
    ensemble: &Ensemble,
    onnx: &[u8],
    measured: Measured,
) -> Manifest {
    let schema = layout.names().join(", ");
    let start = history.stays.iter().map(|stay| stay.from).fold(history.end, f64::min);
    Manifest {
        task: "failure_risk".to_owned(),
        name: order.name.clone(),
        schema_hash: file_hash(schema.as_bytes()),
        schema,
        layout: layout.clone(),
        onnx_sha256: file_hash(onnx),
        outputs: ["risk_ln".to_owned()],
        step_days: STEP_DAYS,
        feature_min: ensemble.columns.min.clone(),
        feature_max: ensemble.columns.max.clone(),
        seed: order.design.plan.seed,
        revision: crate::fit::revision(),
        description: order.description.clone(),
        licence: order.licence.clone(),
        data: Reach {
            rows: history.rows,
            units: history.units.len(),
            from: dates::date(start),
            to: dates::date(history.end),
        },
        failures: history.failures.len(),
        measured,
    }
}

/// The units in place that have not failed, the riskiest first.
fn risks(history: &History, still: &Landmark, ensemble: &Ensemble) -> String {
    let place = |unit: usize| {
        // Sorted by unit and time.
        let stay = history.stays[..history.stays.partition_point(|stay| stay.unit <= unit)].last();
        let numbers = stay.map(|stay| history.places[stay.place].iter().map(u32::to_string).collect::<Vec<_>>());
        numbers.unwrap_or_default().join("-")
    };
    let all = still.units.iter().zip(&still.failed).zip(model::risks(ensemble, still));
    let mut all: Vec<(usize, f64)> =
        all.filter(|((_, failed), _)| !**failed).map(|((u, _), risk)| (*u, risk)).collect();
    all.sort_by(|a, b| b.1.total_cmp(&a.1));
    let mut text = "unit,place,times_the_usual_risk\n".to_owned();
    for (unit, risk) in all {
        let _ = writeln!(
            text,
            "{},{},{:.3}",
            history.units[unit],
            place(unit),
            risk.clamp(-onnx::LARGEST, onnx::LARGEST).exp()
        );
    }
    text
}

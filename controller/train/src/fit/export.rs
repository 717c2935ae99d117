//! From weights to a model that may be shipped: ONNX, the proof that tract gives the trainer's own
//! answers, measured errors, manifest.

use super::prepare::Parts;
use crate::chance::Chance;
use crate::metrics;
use crate::network::answers;
use crate::onnx;
use crate::options::Recipe;
use crate::run_folder::{Prepared, RunFolder};
use crate::scale::Scale;
use crate::weights::Weights;
use crate::windows::{TARGETS, Windows};
use anyhow::{Context, Result, ensure};
use headroom_predict::{
    FEATURES, HORIZONS_S, Manifest, Measured, Predictor, QUANTILES, Scaling, WINDOW_S, feature, file_hash, schema_hash,
};
use serde::Serialize;
use std::path::Path;

/// tract and the trainer may differ by this much, in nameplates. Rounding is some 1e-6; one weight
/// that is wrong by 0.01 shifts answers by more than 1e-4.
pub const PARITY: f64 = 1e-5;
/// Windows that are compared.
const COMPARED: usize = 64;
/// Windows that are kept beside the model.
const KEPT: usize = 8;

/// What a training or an export left behind, also the last line on stdout.
#[derive(Debug, Clone, Serialize)]
pub struct Exported {
    /// The model's name.
    pub name: String,
    /// Numbers in the network.
    pub parameters: usize,
    /// SHA-256 of `model.onnx`.
    pub onnx_sha256: String,
    /// Size of `model.onnx`.
    pub onnx_bytes: usize,
    /// Largest difference between tract and the trainer, nameplates.
    pub parity: f64,
    /// Mean pinball loss over horizons and quantiles, W: part, method, loss.
    pub pinball_watts: Vec<(String, String, f64)>,
    /// In detail.
    #[serde(skip)]
    pub measured: Vec<Measured>,
}

/// Writes the model of a finished training, with its errors on the test parts.
pub(super) fn finish(
    recipe: &Recipe,
    folder: &RunFolder,
    prepared: &Prepared,
    parts: &Parts,
    best: &Weights,
) -> Result<Exported> {
    let mut measured = Vec::new();
    for (name, windows) in [("test-time", &parts.test_time), ("test-rack", &parts.test_rack)] {
        if !windows.is_empty() {
            let model = answers(best, windows, &prepared.scale);
            measured.extend(metrics::score(name, "model", windows, &model));
            measured.extend(metrics::score(name, "persistence", windows, &prepared.references.persistence(windows)));
            measured.extend(metrics::score(name, "linear", windows, &prepared.references.linear(windows)));
            measured.extend(metrics::score(name, "reactive", windows, &windows.reactive));
        }
    }
    let exported = write(recipe, folder, prepared, best, &parts.test_time, measured)?;
    let state = folder.checkpoint()?.state;
    folder.write_metrics(&serde_json::json!({
        "best_epoch": state.best_epoch,
        "best_validation_loss": state.best_loss,
        "epochs": state.epochs.len(),
        "result": &exported,
        "measured": &exported.measured,
    }))?;
    Ok(exported)
}

/// Writes the best model so far of a training that may still be under way: without measured errors.
///
/// # Errors
/// The run folder `run` holds no checkpoint, or the model fails its checks.
pub fn export(run: &Path, out: &Path) -> Result<Exported> {
    let from = RunFolder::new(run);
    let (recipe, prepared, checkpoint) = (from.recipe()?, from.prepared()?, from.checkpoint()?);
    let probes = probes(&prepared.scale);
    let to = RunFolder::new(out);
    to.create()?;
    let best = Weights::from_list(recipe.shape, &checkpoint.best).map_err(anyhow::Error::msg)?;
    write(&recipe, &to, &prepared, &best, &probes, Vec::new())
}

fn write(
    recipe: &Recipe,
    folder: &RunFolder,
    prepared: &Prepared,
    weights: &Weights,
    probes: &Windows,
    measured: Vec<Measured>,
) -> Result<Exported> {
    let onnx = onnx::encode(&recipe.name, weights, &prepared.scale);
    let manifest = manifest(recipe, prepared, &onnx, &measured);
    let manifest_json = serde_json::to_vec(&manifest).context("the manifest is not JSON")?;
    let predictor = Predictor::load(&onnx, &manifest_json).context("the predictor refuses the model")?;
    let mut probes = Probes::answer(weights, &prepared.scale, probes);
    let parity = parity(&predictor, &probes)?;
    ensure!(
        parity <= PARITY,
        "tract differs from the trainer by {parity:.1e} nameplates, at most {PARITY:.0e} is right"
    );
    folder.write_model(&onnx, &manifest)?;
    probes.windows.truncate(KEPT);
    folder.write_probes(&probes)?;
    let mut pinball_watts = Vec::new();
    for m in &measured {
        let key = (m.part.clone(), m.method.clone());
        if !pinball_watts.iter().any(|(part, method, _)| (part, method) == (&key.0, &key.1)) {
            let loss = metrics::overall(&measured, &key.0, &key.1);
            pinball_watts.push((key.0, key.1, loss));
        }
    }
    Ok(Exported {
        name: recipe.name.clone(),
        parameters: weights.parameters(),
        onnx_sha256: manifest.onnx_sha256,
        onnx_bytes: onnx.len(),
        parity,
        pinball_watts,
        measured,
    })
}

fn manifest(recipe: &Recipe, prepared: &Prepared, onnx: &[u8], measured: &[Measured]) -> Manifest {
    let scale = &prepared.scale;
    Manifest {
        name: recipe.name.clone(),
        schema_hash: schema_hash(),
        schema: feature::schema(),
        onnx_sha256: file_hash(onnx),
        window_s: WINDOW_S,
        horizons_s: HORIZONS_S.to_vec(),
        quantiles: QUANTILES.to_vec(),
        seed: recipe.seed,
        revision: revision(),
        data: prepared.data.clone(),
        measured: measured.to_vec(),
        feature_min: scale.min.clone(),
        feature_max: scale.max.clone(),
        scaling: Scaling {
            feature_mean: scale.mean.clone(),
            feature_deviation: scale.deviation.clone(),
            output_scale: scale.output.clone(),
        },
    }
}

/// Inputs with the trainer's own answers, so that a program without the trainer can tell whether it
/// runs the network rightly.
#[derive(Debug, Serialize)]
struct Probes {
    windows: Vec<Probe>,
}

#[derive(Debug, Serialize)]
struct Probe {
    features: Vec<f32>,
    answer: Vec<f32>,
}

impl Probes {
    /// Windows spread over all.
    fn answer(weights: &Weights, scale: &Scale, all: &Windows) -> Self {
        let compared = COMPARED.min(all.len());
        let windows = (0..compared).map(|i| {
            let i = i * all.len() / compared;
            let one = Windows {
                features: all.row(i).to_vec(),
                targets: all.outcome(i).to_vec(),
                nameplates: vec![all.nameplates[i]],
                reactive: Vec::new(),
            };
            Probe { answer: answers(weights, &one, scale), features: one.features }
        });
        Self { windows: windows.collect() }
    }
}

/// Largest difference between tract's answers and the trainer's own.
fn parity(predictor: &Predictor, probes: &Probes) -> Result<f64> {
    let mut largest = 0.0_f64;
    for probe in &probes.windows {
        let theirs = predictor.answer(&probe.features).map_err(anyhow::Error::msg)?;
        let differences = probe.answer.iter().zip(&theirs).map(|(a, b)| f64::from((a - b).abs()));
        largest = differences.fold(largest, f64::max);
    }
    Ok(largest)
}

/// Inputs like those of the training part, where its windows are no longer at hand.
fn probes(scale: &Scale) -> Windows {
    let mut chance = Chance::new(0, "probes");
    let features = (0..COMPARED * FEATURES).map(|i| {
        let (low, high) = (scale.min[i % FEATURES], scale.max[i % FEATURES]);
        low + (high - low) * chance.unit() as f32
    });
    Windows {
        features: features.collect(),
        targets: vec![0.0; COMPARED * TARGETS],
        nameplates: vec![1.0; COMPARED],
        reactive: Vec::new(),
    }
}

/// The revision of the source tree this runs in; `unknown` elsewhere.
pub fn revision() -> String {
    let git = |arguments: &[&str]| {
        let output = std::process::Command::new("git").args(arguments).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    // Another project's revision would say nothing: it must hold this crate.
    git(&["rev-parse", "--verify", "HEAD:controller/train/Cargo.toml"])
        .and_then(|_| git(&["rev-parse", "HEAD"]))
        .unwrap_or_else(|| "unknown".to_owned())
}

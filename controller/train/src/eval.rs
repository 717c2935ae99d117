//! How good a model is on other data: run as the controller runs it (tract, window by window), beside
//! the fallback and, where the run folder has them, the references.

use crate::data::Series;
use crate::metrics;
use crate::run_folder::RunFolder;
use crate::windows::{Take, Windows};
use anyhow::{Context, Result, ensure};
use headroom_predict::{Features, Measured, Predictor};
use headroom_rack::Watts;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// What came out.
#[derive(Debug)]
pub struct Evaluation {
    /// By method and horizon.
    pub measured: Vec<Measured>,
    /// The last line on stdout.
    pub summary: serde_json::Value,
}

/// Evaluates the model in `dir` on every `stride`-th window of the series.
///
/// # Errors
/// The model is refused or fails, or there are no windows.
pub fn evaluate(dir: &Path, all: &[Series], stride: usize) -> Result<Evaluation> {
    let predictor = load(dir)?;
    let mut windows = Windows::default();
    for series in all {
        windows.add(series, 0..series.samples.len(), Take { stride, damage: None, reactive: true });
    }
    ensure!(!windows.is_empty(), "the data has no window: 90 s with known power are needed");
    let mut answers = Vec::new();
    let mut microseconds = Vec::new();
    let mut outside = 0_usize;
    for i in 0..windows.len() {
        let row = windows.row(i);
        let started = Instant::now();
        let answer = predictor.answer(row).map_err(anyhow::Error::msg).context("the network fails")?;
        microseconds.push(started.elapsed().as_secs_f64() * 1e6);
        answers.extend(answer);
        let nameplate = Watts::new(f64::from(windows.nameplates[i]));
        outside += usize::from(predictor.is_outside(&Features { values: row.to_vec(), last: nameplate, nameplate }));
    }
    let mut measured = metrics::score("eval", "model", &windows, &answers);
    if let Ok(prepared) = RunFolder::new(dir).prepared() {
        let references = &prepared.references;
        measured.extend(metrics::score("eval", "persistence", &windows, &references.persistence(&windows)));
        measured.extend(metrics::score("eval", "linear", &windows, &references.linear(&windows)));
    }
    measured.extend(metrics::score("eval", "reactive", &windows, &windows.reactive));
    microseconds.sort_by(f64::total_cmp);
    let at = |share: f64| (microseconds[((microseconds.len() - 1) as f64 * share) as usize] * 10.0).round() / 10.0;
    let pinball = |method: &str| Some(metrics::overall(&measured, "eval", method)).filter(|loss| loss.is_finite());
    let summary = serde_json::json!({
        "model": predictor.name(),
        "windows": windows.len(),
        "pinball_watts": {
            "model": pinball("model"),
            "persistence": pinball("persistence"),
            "linear": pinball("linear"),
            "reactive": pinball("reactive"),
        },
        "coverage": coverage(&measured),
        "outside_trained_range_ratio": outside as f64 / windows.len() as f64,
        "inference_us": {"p50": at(0.5), "p99": at(0.99)},
    });
    Ok(Evaluation { measured, summary })
}

/// The model's coverage, mean over the horizons.
fn coverage(measured: &[Measured]) -> Vec<f64> {
    let model: Vec<&Measured> = measured.iter().filter(|m| m.method == "model").collect();
    let mean = |q: usize| model.iter().map(|m| m.coverage[q]).sum::<f64>() / model.len() as f64;
    (0..headroom_predict::QUANTILES.len()).map(|q| (mean(q) * 1e4).round() / 1e4).collect()
}

/// `model.onnx` with `manifest.json` as a training leaves them, or `NAME.onnx` with
/// `NAME.manifest.json` as they are shipped.
fn load(dir: &Path) -> Result<Predictor> {
    let read = |path: &Path| std::fs::read(path).with_context(|| format!("{} cannot be read", path.display()));
    let mut models: Vec<PathBuf> = Vec::new();
    for file in std::fs::read_dir(dir).with_context(|| format!("{} cannot be read", dir.display()))? {
        let path = file?.path();
        models.extend((path.extension().is_some_and(|e| e == "onnx")).then_some(path));
    }
    let [onnx] = &models[..] else {
        anyhow::bail!("{} has {} .onnx files, must have one", dir.display(), models.len());
    };
    let beside = onnx.with_extension("manifest.json");
    let manifest = if beside.exists() { beside } else { dir.join("manifest.json") };
    Predictor::load(&read(onnx)?, &read(&manifest)?).with_context(|| format!("{} is refused", onnx.display()))
}

//! What a training is made of: everything that decides its result, kept as `config.json` in the run
//! folder, so that it can be repeated and resumed.

use crate::data::Nameplates;
use crate::engine::{Clip, Device, Plan};
use crate::weights::Shape;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// A wrong choice of the user, as opposed to a failure on the way.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Usage(pub String);

/// What is learnt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Task {
    /// The power of a rack over the next half minute, as quantiles.
    Forecast,
    /// The cycles units still run, with an interval.
    RemainingLife,
    /// Which units fail next.
    FailureRisk,
}

/// Everything that decides the result, beside the data.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// What is learnt.
    pub task: Task,
    /// Where it runs.
    pub device: Device,
    /// The model's name.
    pub name: String,
    /// Seed of weights, order and damage.
    pub seed: u64,
    /// Passes over the training part.
    pub epochs: usize,
    /// Windows per step.
    pub batch: usize,
    /// Highest learning rate.
    pub rate: f64,
    /// AdamW's decay.
    pub weight_decay: f64,
    /// Size of the network.
    pub shape: Shape,
    /// Seconds between training windows.
    pub stride: usize,
    /// Epochs without a better validation loss before it stops.
    pub patience: usize,
    /// Racks for test only, as named by the user.
    pub hold_out_racks: Vec<String>,
    /// What racks draw at most.
    pub nameplates: Nameplates,
    /// Terms of the data.
    pub licence: String,
    /// What the data is.
    pub description: String,
}

/// Where the data is and where the results go.
#[derive(Debug, Clone)]
pub struct Places {
    /// Traces.
    pub csv: Vec<PathBuf>,
    /// The controller's record.
    pub record: Option<PathBuf>,
    /// The run folder.
    pub out: PathBuf,
    /// Go on from the checkpoint in it.
    pub resume: bool,
}

/// Names every field of `ours` that `theirs` has not or has otherwise, fields of fields with a dot.
pub fn differences(ours: &serde_json::Value, theirs: &serde_json::Value) -> Vec<String> {
    fn walk(name: &str, ours: &serde_json::Value, theirs: &serde_json::Value, all: &mut Vec<String>) {
        if let serde_json::Value::Object(fields) = ours
            && theirs.is_object()
        {
            for (field, value) in fields {
                let dotted = if name.is_empty() { field.clone() } else { format!("{name}.{field}") };
                walk(&dotted, value, &theirs[field], all);
            }
        } else if ours != theirs {
            all.push(format!("{name} is {ours}, was {theirs}"));
        }
    }
    let mut all = Vec::new();
    walk("", ours, theirs, &mut all);
    all
}

impl Recipe {
    /// Names every field in which two recipes differ.
    pub fn differences(&self, other: &Self) -> Vec<String> {
        let value = |r: &Self| serde_json::to_value(r).unwrap_or_default();
        differences(&value(self), &value(other))
    }

    /// How the engine trains it: AdamW, a warm-up and half a cosine, gradients of length 1 at most.
    pub fn plan(&self) -> Plan {
        Plan {
            epochs: self.epochs,
            batch: Some(self.batch),
            rate: self.rate,
            weight_decay: self.weight_decay,
            clip: Some(Clip::Norm(1.0)),
            seed: self.seed,
            patience: Some(self.patience),
            ..Plan::default()
        }
    }

    /// Checks the numbers.
    ///
    /// # Errors
    /// Every wrong one.
    pub fn check(&self) -> Result<(), Usage> {
        let rules = [
            (self.epochs >= 1, "--epochs must be at least 1"),
            (self.batch >= 1, "--batch must be at least 1"),
            (self.rate > 0.0 && self.rate <= 1.0, "--rate must be above 0 and at most 1"),
            (self.weight_decay >= 0.0 && self.weight_decay < 1.0, "--weight-decay must be from 0 to less than 1"),
            ((1..=4096).contains(&self.shape.width), "--width must be from 1 to 4096"),
            (self.shape.blocks <= 64, "--blocks must be at most 64"),
            (self.stride >= 1, "--stride must be at least 1 s"),
            (self.patience >= 1, "--patience must be at least 1"),
        ];
        let wrong: Vec<&str> = rules.iter().filter(|(holds, _)| !holds).map(|(_, words)| *words).collect();
        if wrong.is_empty() { Ok(()) } else { Err(Usage(wrong.join("; "))) }
    }
}

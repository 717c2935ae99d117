//! A model of failure risk: networks that tell how many times likelier than usual a unit fails next,
//! and linear proportional hazards to hold them against. Both learn from the same landmarks, one
//! every [`STEP_DAYS`] before the split, each with what happened until the next.

use super::cox;
use super::landmark::{Landmark, Layout};
use super::onnx::LARGEST;
use super::stays::History;
use crate::engine::{Columns, Criterion, Device, Plan, Rows, Watch};
use crate::options::Usage;
use crate::tabular::{self, Design, Ensemble};
use anyhow::{Result, bail};
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
use serde::{Deserialize, Serialize};

/// Days between landmarks, and for which each looks ahead.
pub const STEP_DAYS: f64 = 90.0;
/// Failures below which nothing can be learnt.
const FEWEST_FAILURES: usize = 20;
/// Steps that a network makes at least, however small the record: fewer do not move it from where it starts.
const FEWEST_STEPS: usize = 500;
/// Share of all failures before the split, if no day is given: more than half to learn from, enough to judge by.
const LEARNT_SHARE: f64 = 0.6;

/// The day by which most of the failures had happened, from midnight: a day, not the second of one failure.
///
/// # Errors
/// There are none.
pub fn split(history: &History) -> Result<f64, Usage> {
    let place = (history.failures.len() as f64 * LEARNT_SHARE) as usize;
    let failure = history.failures.get(place.min(history.failures.len().saturating_sub(1)));
    let none = || Usage("the record has no failures: event is empty in every line".to_owned());
    failure.map(|failure| failure.at.floor()).ok_or_else(none)
}

/// Training landmarks, oldest first.
#[derive(Debug)]
pub struct Past {
    /// What features there are.
    pub layout: Layout,
    /// The landmarks.
    pub landmarks: Vec<Landmark>,
}

impl Past {
    /// What is known of a record at `split`: nothing later enters.
    ///
    /// # Errors
    /// Fewer than two steps of record, or too few failures.
    pub fn before(history: &History, split: f64) -> Result<Self> {
        let start = history.stays.iter().map(|s| s.from).fold(f64::INFINITY, f64::min);
        let layout = Layout::at(history, split);
        let steps = ((split - start) / STEP_DAYS).floor() as usize;
        // At the first days nothing has failed yet: the second step is the first to look back on one.
        let days = (1..steps).rev().map(|k| split - k as f64 * STEP_DAYS);
        let landmarks: Vec<Landmark> = days.map(|day| layout.landmark(history, day, day + STEP_DAYS)).collect();
        let failures: usize = landmarks.iter().map(Landmark::failures).sum();
        if failures < FEWEST_FAILURES {
            bail!(Usage(format!(
                "{failures} failures within {} steps of {STEP_DAYS} days before the split, {FEWEST_FAILURES} are needed",
                landmarks.len()
            )));
        }
        Ok(Self { layout, landmarks })
    }

    /// Rows of all landmarks.
    fn rows(&self) -> impl Iterator<Item = &Vec<f32>> {
        self.landmarks.iter().flat_map(|l| &l.features)
    }
}

/// How the networks are made.
pub fn design(seed: u64) -> Design {
    let plan =
        Plan { epochs: 8, batch: Some(1024), rate: 2e-3, weight_decay: 1e-2, seed, shard_rows: 512, ..Plan::default() };
    Design { hidden: vec![32, 16], dropout: 0.1, folds: 4, plan }
}

/// Trains the networks. A row's targets are whether it failed and how often a unit of its landmark
/// would have in its time in service: as in Cox's model, how dangerous a time was for all is taken out.
///
/// # Errors
/// Failures on the way.
pub fn networks(past: &Past, design: &Design, device: &Device, watch: &mut dyn Watch) -> Result<Ensemble> {
    let mut rows = Rows::new(past.layout.names().len(), 2);
    let mut groups = Vec::new();
    let count: usize = past.landmarks.iter().map(|l| l.units.len()).sum();
    let failures: usize = past.landmarks.iter().map(Landmark::failures).sum();
    let mut design = design.clone();
    let steps = design.plan.steps(count * (design.folds - 1) / design.folds);
    design.plan.epochs = design.plan.epochs.max(FEWEST_STEPS.div_ceil(steps.max(1)));
    // Brings the mean loss near 1, whatever share of rows fails.
    let weight = count as f64 / failures.max(1) as f64;
    for landmark in &past.landmarks {
        let rate = landmark.failures() as f64 / landmark.times.iter().sum::<f64>().max(1.0);
        for (i, features) in landmark.features.iter().enumerate() {
            let failed = f64::from(u8::from(landmark.failed[i]));
            rows.push(features, &[(failed * weight) as f32, (landmark.times[i] * rate * weight) as f32]);
            groups.push(landmark.units[i]);
        }
    }
    Ok(tabular::fit(&rows, &groups, 1, &design, &Poisson, device, watch)?.ensemble)
}

/// The log risk of each unit of a landmark.
pub fn risks(ensemble: &Ensemble, landmark: &Landmark) -> Vec<f64> {
    landmark.features.iter().map(|row| f64::from(ensemble.answer(row)[0])).collect()
}

/// Linear proportional hazards on some of the features.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Hazards {
    which: Vec<usize>,
    columns: Columns,
    /// Of standardised features.
    pub weights: Vec<f64>,
}

impl Hazards {
    /// Fits to the features whose name `takes`.
    pub fn fit(past: &Past, takes: &dyn Fn(&str) -> bool) -> Self {
        let names = past.layout.names();
        let which: Vec<usize> = (0..names.len()).filter(|k| takes(&names[*k])).collect();
        let chosen = |row: &Vec<f32>| which.iter().map(|k| row[*k]).collect::<Vec<f32>>();
        let all: Vec<f32> = past.rows().flat_map(chosen).collect();
        let mut hazards = Self { columns: Columns::of(&all, which.len()), which, weights: Vec::new() };
        let scaled: Vec<Vec<Vec<f64>>> =
            past.landmarks.iter().map(|l| l.features.iter().map(|row| hazards.scaled(row)).collect()).collect();
        let strata: Vec<cox::Stratum<'_>> = past
            .landmarks
            .iter()
            .zip(&scaled)
            .map(|(l, rows)| cox::Stratum {
                rows: rows.iter().map(Vec::as_slice).collect(),
                times: &l.times,
                failed: &l.failed,
            })
            .collect();
        hazards.weights = cox::fit(&strata);
        hazards
    }

    fn scaled(&self, row: &[f32]) -> Vec<f64> {
        let mut chosen: Vec<f32> = self.which.iter().map(|k| row[*k]).collect();
        self.columns.normalise(&mut chosen);
        chosen.into_iter().map(f64::from).collect()
    }

    /// The log risk of each unit of a landmark.
    pub fn risks(&self, landmark: &Landmark) -> Vec<f64> {
        landmark.features.iter().map(|row| cox::dot(&self.scaled(row), &self.weights)).collect()
    }
}

/// Piecewise-exponential likelihood (Friedman, "Piecewise Exponential Models for Survival Data with
/// Covariates", 1982): targets are failures and failures expected, answers log risks.
struct Poisson;

impl Criterion for Poisson {
    fn loss<B: Backend>(&self, answers: Tensor<B, 2>, targets: Tensor<B, 2>) -> Tensor<B, 1> {
        let log = answers.clamp(-LARGEST, LARGEST);
        let (failed, expected) = (targets.clone().narrow(1, 0, 1), targets.narrow(1, 1, 1));
        (log.clone().exp() * expected - log * failed).mean()
    }
}

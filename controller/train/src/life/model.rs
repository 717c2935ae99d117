//! A model of remaining life: features, networks, and intervals widened until they hold what they say.

use super::conditions::Conditions;
use super::{Unit, features};
use crate::engine::{Criterion, Device, Optimiser, Plan, Rows, Watch};
use crate::options::Usage;
use crate::tabular::{self, Design, Ensemble};
use anyhow::{Result, bail};
use burn::tensor::Tensor;
use burn::tensor::activation::relu;
use burn::tensor::backend::Backend;
use serde::{Deserialize, Serialize};

/// Share of outcomes that an interval is to hold.
pub const COVERAGE: f64 = 0.9;
/// Weight of the interval's loss beside that of the mean: enough to learn it, too little to bend the mean.
const INTERVAL_WEIGHT: f64 = 0.1;
/// Mean, low and high end.
const OUTPUTS: usize = 3;

/// How a model is made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// Lives longer than this count as this: far from failure nothing shows how far.
    pub cap: f64,
    /// The networks.
    pub design: Design,
}

impl Recipe {
    /// What held-out training engines of FD001 chose; see `BENCH-tasks.md`.
    pub fn new(seed: u64) -> Self {
        let plan = Plan {
            epochs: 60,
            batch: Some(256),
            optimiser: Optimiser::adam(),
            weight_decay: 4e-4,
            rate: 2e-3,
            seed,
            ..Plan::default()
        };
        Self { cap: 125.0, design: Design { hidden: vec![128, 64], dropout: 0.0, folds: 5, plan } }
    }
}

/// Remaining life in cycles, with the interval that is to hold [`COVERAGE`] of the outcomes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Life {
    /// Expected.
    pub mean: f64,
    /// Low end.
    pub low: f64,
    /// High end.
    pub high: f64,
}

/// See the file's head.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Model {
    /// What is normal.
    pub conditions: Conditions,
    /// The networks; answers in shares of the cap.
    pub ensemble: Ensemble,
    /// By how many cycles each end of an interval is moved out (in, if negative).
    pub widening: f64,
    /// Longest life told.
    pub cap: f64,
}

/// A model with what its making showed.
#[derive(Debug)]
pub struct Made {
    /// The model.
    pub model: Model,
    /// Error on training units by the networks that never saw them, cycles.
    pub unseen_rmse: f64,
    /// Share of those outcomes that the widened intervals hold; near [`COVERAGE`] by construction.
    pub unseen_coverage: f64,
    /// Best epoch of each network.
    pub epochs: Vec<usize>,
}

/// Features and targets of training units; what baselines are fitted on, too.
#[derive(Debug)]
pub struct Examples {
    /// Features as they are; targets in cycles, capped.
    pub rows: Rows,
    /// Index of the unit of each row.
    pub units: Vec<usize>,
}

/// Every cycle of every unit is an example; a unit's last cycle has `after_last` cycles left.
pub fn examples(conditions: &Conditions, units: &[&Unit], after_last: &[f64], cap: f64) -> Examples {
    let mut rows = Rows::new(features::width(conditions.sensors()), 1);
    let mut of = Vec::new();
    for (index, (unit, after)) in units.iter().zip(after_last).enumerate() {
        for (t, row) in features::all(&conditions.normalise(unit)).iter().enumerate() {
            let left = (unit.cycles() - 1 - t) as f64 + after;
            rows.push(row, &[left.min(cap) as f32]);
            of.push(index);
        }
    }
    Examples { rows, units: of }
}

/// Makes a model from units that ran to failure.
///
/// # Errors
/// Too few units, nothing that varies, or failures on the way.
pub fn make(units: &[&Unit], recipe: &Recipe, device: &Device, watch: &mut dyn Watch) -> Result<Made> {
    let folds = recipe.design.folds;
    let needed = 2 * folds;
    if units.len() < needed {
        bail!(Usage(format!("{} units ran to failure, {needed} are needed at least", units.len())));
    }
    let conditions = Conditions::fit(units);
    if conditions.sensors() == 0 {
        bail!(Usage("no sensor varies within a condition: nothing can be learnt".to_owned()));
    }
    let Examples { mut rows, units: groups } = examples(&conditions, units, &vec![0.0; units.len()], recipe.cap);
    rows.targets.iter_mut().for_each(|t| *t /= recipe.cap as f32);
    let fitted = tabular::fit(&rows, &groups, OUTPUTS, &recipe.design, &MeanAndInterval, device, watch)?;
    let truth: Vec<f64> = rows.targets.iter().map(|t| f64::from(*t) * recipe.cap).collect();
    let mut model = Model { conditions, ensemble: fitted.ensemble, widening: 0.0, cap: recipe.cap };
    let unseen = |model: &Model| fitted.unseen.iter().map(|answer| model.life(answer)).collect::<Vec<_>>();
    model.widening = widening(&unseen(&model), &truth);
    let lives = unseen(&model);
    let means: Vec<f64> = lives.iter().map(|l| l.mean).collect();
    let intervals: Vec<(f64, f64)> = lives.iter().map(|l| (l.low, l.high)).collect();
    Ok(Made {
        unseen_rmse: super::measure::rmse(&means, &truth),
        unseen_coverage: super::measure::coverage(&intervals, &truth),
        epochs: fitted.epochs,
        model,
    })
}

/// By how much intervals must grow to hold [`COVERAGE`] of outcomes that their network never saw
/// (Romano, Patterson and Candes, "Conformalized Quantile Regression", NeurIPS 2019; over folds as in
/// Barber et al., "Predictive inference with the jackknife+", 2021). Holds for units like those of
/// the training, not for others.
fn widening(lives: &[Life], truth: &[f64]) -> f64 {
    let mut missed: Vec<f64> = lives.iter().zip(truth).map(|(l, t)| (l.low - t).max(t - l.high)).collect();
    missed.sort_by(f64::total_cmp);
    let rank = ((missed.len() + 1) as f64 * COVERAGE).ceil() as usize;
    missed.get(rank.saturating_sub(1)).or(missed.last()).copied().unwrap_or(0.0)
}

impl Model {
    /// The remaining life at a unit's last cycle.
    pub fn answer(&self, unit: &Unit) -> Option<Life> {
        let features = features::all(&self.conditions.normalise(unit));
        features.last().map(|row| self.life(&self.ensemble.answer(row)))
    }

    /// From the networks' answer to cycles.
    pub fn life(&self, answer: &[f32]) -> Life {
        let cycles = |k: usize| f64::from(answer[k]) * self.cap;
        let mean = cycles(0).clamp(0.0, self.cap);
        let (low, high) = (cycles(1).min(cycles(2)), cycles(2).max(cycles(1)));
        let low = (low - self.widening).clamp(0.0, self.cap);
        Life { mean, low: low.min(mean), high: (high + self.widening).clamp(0.0, self.cap).max(mean) }
    }
}

/// Squared error of the mean and pinball loss of both ends.
struct MeanAndInterval;

impl Criterion for MeanAndInterval {
    fn loss<B: Backend>(&self, answers: Tensor<B, 2>, targets: Tensor<B, 2>) -> Tensor<B, 1> {
        let missed = |k: usize| targets.clone() - answers.clone().narrow(1, k, 1);
        let pinball = |k: usize, q: f64| (missed(k) * q + relu(missed(k).neg())).mean();
        let tail = (1.0 - COVERAGE) / 2.0;
        let mean = missed(0);
        (mean.clone() * mean).mean() + (pinball(1, tail) + pinball(2, 1.0 - tail)) * INTERVAL_WEIGHT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_grow_until_they_hold_what_they_say() {
        let lives = vec![Life { mean: 50.0, low: 45.0, high: 55.0 }; 99];
        let truth: Vec<f64> = (1..=99).map(f64::from).collect();
        // 40 on each side and the 10 between are to be held: 90 of 99 lie within 45 of the middle.
        let by = widening(&lives, &truth);
        assert_eq!(by, 40.0);
    }

    #[test]
    fn lives_count_down_to_what_is_left_and_are_capped() {
        let unit = |cycles: usize| Unit {
            name: "u".to_owned(),
            settings: vec![vec![0.0]; cycles],
            sensors: (0..cycles).map(|t| vec![t as f64]).collect(),
        };
        let units = [unit(3), unit(2)];
        let units: Vec<&Unit> = units.iter().collect();
        let all = examples(&Conditions::fit(&units), &units, &[0.0, 130.0], 125.0);
        assert_eq!(
            (all.rows.targets.as_slice(), all.units.as_slice()),
            (&[2.0, 1.0, 0.0, 125.0, 125.0][..], &[0, 0, 0, 1, 1][..])
        );
    }
}

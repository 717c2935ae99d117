//! What a network has to beat, fitted on the same training part: persistence and a linear model,
//! each with the quantiles of its own training errors around it.

use crate::ridge;
use crate::scale::Scale;
use crate::windows::{TARGETS, Windows};
use headroom_predict::{FEATURES, QUANTILES};
use serde::{Deserialize, Serialize};

/// Penalty on the linear model's weights, per window: keeps features that say the same apart.
const RIDGE: f64 = 1e-4;

/// Both references.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct References {
    scale: Scale,
    /// Least-squares weights by horizon, last the constant.
    weights: Vec<Vec<f64>>,
    persistence: Vec<f32>,
    linear: Vec<f32>,
}

impl References {
    /// Fits both.
    pub fn fit(train: &Windows, scale: &Scale) -> Self {
        let weights = least_squares(train, scale);
        let mut references = Self { scale: scale.clone(), weights, persistence: Vec::new(), linear: Vec::new() };
        let points = references.points(train);
        references.linear = error_quantiles(train, &points);
        references.persistence = error_quantiles(train, &vec![0.0; points.len()]);
        references
    }

    /// The last value, with the quantiles of its training errors.
    pub fn persistence(&self, windows: &Windows) -> Vec<f32> {
        around(&vec![0.0; windows.len() * TARGETS], &self.persistence)
    }

    /// The linear model, with the quantiles of its training errors.
    pub fn linear(&self, windows: &Windows) -> Vec<f32> {
        around(&self.points(windows), &self.linear)
    }

    fn points(&self, windows: &Windows) -> Vec<f32> {
        let mut row = [0.0; FEATURES];
        let mut points = Vec::with_capacity(windows.len() * TARGETS);
        for i in 0..windows.len() {
            self.scale.normalise(windows.row(i), &mut row);
            for weights in &self.weights {
                let sum: f64 = row.iter().zip(weights).map(|(x, w)| f64::from(*x) * w).sum();
                points.push((sum + weights[FEATURES]) as f32);
            }
        }
        points
    }
}

/// Quantile by horizon of outcome minus point.
fn error_quantiles(train: &Windows, points: &[f32]) -> Vec<f32> {
    (0..TARGETS)
        .flat_map(|h| {
            let mut errors: Vec<f32> =
                (0..train.len()).map(|i| train.outcome(i)[h] - points[i * TARGETS + h]).collect();
            errors.sort_by(f32::total_cmp);
            QUANTILES.map(|q| errors[((errors.len() as f64 * q) as usize).min(errors.len() - 1)])
        })
        .collect()
}

fn around(points: &[f32], offsets: &[f32]) -> Vec<f32> {
    let by_horizon = offsets.chunks_exact(QUANTILES.len()).cycle();
    points.iter().zip(by_horizon).flat_map(|(p, offsets)| offsets.iter().map(move |o| p + o)).collect()
}

/// Ridge regression by the normal equations.
fn least_squares(train: &Windows, scale: &Scale) -> Vec<Vec<f64>> {
    const N: usize = FEATURES + 1;
    let mut gram = vec![0.0; N * N];
    let mut right = vec![vec![0.0; N]; TARGETS];
    let mut row32 = [0.0; FEATURES];
    for i in 0..train.len() {
        scale.normalise(train.row(i), &mut row32);
        let row: Vec<f64> = row32.iter().map(|v| f64::from(*v)).chain([1.0]).collect();
        for (a, value) in row.iter().enumerate() {
            for (sum, other) in gram[a * N..=a * N + a].iter_mut().zip(&row) {
                *sum += value * other;
            }
        }
        for (right, outcome) in right.iter_mut().zip(train.outcome(i)) {
            right.iter_mut().zip(&row).for_each(|(sum, value)| *sum += value * f64::from(*outcome));
        }
    }
    // The penalty makes the equations solvable, whatever the features.
    let penalty = vec![RIDGE * train.len() as f64; N];
    ridge::solve(gram, &penalty, &right).unwrap_or_else(|_| vec![vec![0.0; N]; TARGETS])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chance::Chance;

    #[test]
    fn a_linear_process_is_found_and_persistence_covers_its_own_errors() {
        let mut chance = Chance::new(1, "test");
        let mut train = Windows::default();
        for _ in 0..2000 {
            let row: Vec<f32> = (0..FEATURES).map(|_| chance.between(-1.0, 1.0) as f32).collect();
            train.targets.extend((0..TARGETS).map(|h| 0.3 * row[5] - 0.1 * row[h] + 0.05));
            train.features.extend(row);
            train.nameplates.push(1000.0);
        }
        let references = References::fit(&train, &Scale::fit(&train));
        let score = |answers: &[f32]| crate::metrics::score("t", "m", &train, answers);
        let (linear, persistence) = (score(&references.linear(&train)), score(&references.persistence(&train)));
        assert!(linear[0].pinball_watts < 0.01 * persistence[0].pinball_watts, "{linear:?}");
        assert!(persistence[3].coverage.iter().zip(QUANTILES).all(|(c, q)| (c - q).abs() < 0.01));
    }
}

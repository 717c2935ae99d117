//! What the model has to beat, from the same training windows: the last value, and one closed-form linear map per horizon from the 300
//! values of the window. Each gives quantiles by adding those of its own training errors.

use super::{HISTORY, HORIZONS, QUANTILES, windows::Windows};
use crate::ridge;
use anyhow::Result;

/// Penalty on the map's weights per window, in kW.
const PENALTY: f64 = 1e-3;

/// One of the two.
#[derive(Debug, Clone, PartialEq)]
pub struct Reference {
    /// By horizon: weights of the values' differences from the last one, of the last one, and the constant; none: the last value.
    weights: Option<Vec<Vec<f64>>>,
    /// By horizon and quantile, W.
    offsets: [[f32; QUANTILES.len()]; HORIZONS],
}

impl Reference {
    /// The last value.
    pub fn persistence(train: &Windows) -> Self {
        Self { weights: None, offsets: [[0.0; QUANTILES.len()]; HORIZONS] }.with_offsets(train)
    }

    /// The linear map.
    ///
    /// # Errors
    /// [`ridge::Singular`].
    pub fn linear(train: &Windows) -> Result<Self> {
        const N: usize = HISTORY + 1;
        let mut weights = Vec::new();
        let (mut moments, mut right, mut n) = (vec![0.0; N * N], vec![vec![0.0; N]; HORIZONS], 0.0);
        for i in 0..train.len() {
            let Some(outcomes) = train.all_outcomes(i) else { continue };
            let values = train.values(i);
            let row = inputs(values);
            for a in 0..N {
                moments[a * N..=a * N + a].iter_mut().zip(&row).for_each(|(sum, other)| *sum += row[a] * other);
            }
            for (right, outcome) in right.iter_mut().zip(outcomes) {
                let change = f64::from(outcome - values[HISTORY - 1]) / 1000.0;
                right.iter_mut().zip(&row).for_each(|(sum, value)| *sum += value * change);
            }
            n += 1.0;
        }
        let mut penalty = vec![PENALTY * n; N];
        penalty[HISTORY] = 0.0;
        weights.extend(ridge::solve(moments, &penalty, &right)?);
        Ok(Self { weights: Some(weights), offsets: [[0.0; QUANTILES.len()]; HORIZONS] }.with_offsets(train))
    }

    fn with_offsets(mut self, train: &Windows) -> Self {
        let mut errors: [Vec<f32>; HORIZONS] = Default::default();
        for i in 0..train.len() {
            for ((errors, point), outcome) in errors.iter_mut().zip(self.points(train.values(i))).zip(train.outcomes(i))
            {
                errors.extend(outcome.map(|outcome| outcome - point));
            }
        }
        for (offsets, errors) in self.offsets.iter_mut().zip(&mut errors) {
            errors.sort_by(f32::total_cmp);
            let last = errors.len().saturating_sub(1);
            *offsets =
                QUANTILES.map(|q| errors.get(((errors.len() as f32 * q) as usize).min(last)).copied().unwrap_or(0.0));
        }
        self
    }

    /// One value per horizon, W.
    pub fn points(&self, values: &[f32]) -> [f32; HORIZONS] {
        let last = values[HISTORY - 1];
        let Some(weights) = &self.weights else { return [last; HORIZONS] };
        let row = inputs(values);
        std::array::from_fn(|h| {
            let change: f64 = weights[h].iter().zip(&row).map(|(w, x)| w * x).sum();
            last + (change * 1000.0) as f32
        })
    }

    /// Quantiles around points.
    pub fn quantiles(&self, points: [f32; HORIZONS]) -> [[f32; QUANTILES.len()]; HORIZONS] {
        std::array::from_fn(|h| self.offsets[h].map(|offset| points[h] + offset))
    }
}

/// Differences from the last value, the last value, and 1; in kW.
fn inputs(values: &[f32]) -> Vec<f64> {
    let last = f64::from(values[HISTORY - 1]) / 1000.0;
    let before = values[..HISTORY - 1].iter().map(|v| f64::from(*v) / 1000.0 - last);
    before.chain([last, 1.0]).collect()
}

//! What is known of the numbers before training: mean, deviation and range of each feature, and how
//! large changes are at each horizon. Fitted on the training part only.

use crate::windows::{TARGETS, Windows};
use headroom_predict::FEATURES;
use serde::{Deserialize, Serialize};

/// Deviations below this do not count as variation: the feature is passed on unscaled.
const FLAT: f64 = 1e-6;

/// See the module.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Scale {
    /// Mean of each feature.
    pub mean: Vec<f32>,
    /// Standard deviation of each feature, 1 where it does not vary.
    pub deviation: Vec<f32>,
    /// Lowest value.
    pub min: Vec<f32>,
    /// Highest value.
    pub max: Vec<f32>,
    /// Standard deviation of the change at each horizon, in nameplates.
    pub output: Vec<f32>,
}

impl Scale {
    /// Fits to the training part.
    pub fn fit(train: &Windows) -> Self {
        let columns = Columns::of(&train.features, FEATURES);
        let outputs = Columns::of(&train.targets, TARGETS);
        let narrow = |v: &[f64]| v.iter().map(|v| *v as f32).collect();
        Self {
            mean: narrow(&columns.mean),
            deviation: narrow(&columns.deviation),
            min: columns.min,
            max: columns.max,
            output: narrow(&outputs.deviation),
        }
    }

    /// Appends one window's features as the network wants them. The ONNX file does the same two
    /// operations in the same order, so that both give the same bits.
    pub fn normalise(&self, row: &[f32], out: &mut Vec<f32>) {
        let scaled =
            row.iter().zip(&self.mean).zip(&self.deviation).map(|((v, mean), deviation)| (v - mean) / deviation);
        out.extend(scaled);
    }
}

struct Columns {
    mean: Vec<f64>,
    deviation: Vec<f64>,
    min: Vec<f32>,
    max: Vec<f32>,
}

impl Columns {
    fn of(values: &[f32], width: usize) -> Self {
        let n = (values.len() / width).max(1) as f64;
        let mut sum = vec![0.0; width];
        let (mut min, mut max) = (vec![f32::MAX; width], vec![f32::MIN; width]);
        for row in values.chunks_exact(width) {
            for (i, v) in row.iter().enumerate() {
                sum[i] += f64::from(*v);
                min[i] = min[i].min(*v);
                max[i] = max[i].max(*v);
            }
        }
        let mean: Vec<f64> = sum.iter().map(|s| s / n).collect();
        let mut squares = vec![0.0; width];
        for row in values.chunks_exact(width) {
            for (i, v) in row.iter().enumerate() {
                squares[i] += (f64::from(*v) - mean[i]).powi(2);
            }
        }
        let deviation = squares.iter().map(|s| (s / n).sqrt()).map(|d| if d < FLAT { 1.0 } else { d }).collect();
        Self { mean, deviation, min, max }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flat_feature_is_not_divided_by_zero() {
        let columns = Columns::of(&[1.0, 5.0, 3.0, 5.0], 2);
        assert_eq!((columns.mean, columns.deviation), (vec![2.0, 5.0], vec![1.0, 1.0]));
        assert_eq!((columns.min, columns.max), (vec![1.0, 5.0], vec![3.0, 5.0]));
    }
}

//! What is known of the numbers before training: mean, deviation and range of each feature, and how
//! large changes are at each horizon. Fitted on the training part only.

use crate::engine::Columns;
use crate::windows::{TARGETS, Windows};
use headroom_predict::FEATURES;
use serde::{Deserialize, Serialize};

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

    /// Writes one window's features as the network wants them. The ONNX file does the same two
    /// operations in the same order, so that both give the same bits.
    pub fn normalise(&self, row: &[f32], out: &mut [f32]) {
        for ((out, v), (mean, deviation)) in out.iter_mut().zip(row).zip(self.mean.iter().zip(&self.deviation)) {
            *out = (v - mean) / deviation;
        }
    }
}

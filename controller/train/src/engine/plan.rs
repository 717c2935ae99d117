//! How to train: everything that decides the result, beside network, data and loss.

use super::network::Precision;
use super::optimiser::Optimiser;
use super::schedule::Schedule;
use serde::{Deserialize, Serialize};

/// Limits on gradients before they are used.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Clip {
    /// The length of all gradients together, as PyTorch's `clip_grad_norm_`.
    Norm(f64),
    /// Each number.
    Value(f64),
}

/// See the module.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// Passes over the training part, at most.
    pub epochs: usize,
    /// Rows per step; nothing: all of them (full-batch descent), 1: stochastic descent.
    pub batch: Option<usize>,
    /// How gradients become steps.
    pub optimiser: Optimiser,
    /// The highest learning rate.
    pub rate: f64,
    /// The rate over the training.
    pub schedule: Schedule,
    /// L2 penalty: added to the gradient, except with AdamW, which shrinks the weights directly.
    pub weight_decay: f64,
    /// Limits on gradients.
    pub clip: Option<Clip>,
    /// Seed of order, augmentation and dropout. (That of the weights is the network's.)
    pub seed: u64,
    /// Epochs without a better validation loss before it stops; nothing: never.
    pub patience: Option<usize>,
    /// Rows of one replica's share of a batch on a core; a GPU takes all of its part. Decides rounding, not results.
    pub shard_rows: usize,
    /// How matrix products are computed.
    pub precision: Precision,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            epochs: 20,
            batch: Some(256),
            optimiser: Optimiser::adam_w(),
            rate: 1e-3,
            schedule: Schedule::default(),
            weight_decay: 0.0,
            clip: None,
            seed: 1,
            patience: None,
            shard_rows: 128,
            precision: Precision::Full,
        }
    }
}

impl Plan {
    /// Steps in one epoch over `rows` rows.
    pub fn steps(&self, rows: usize) -> usize {
        rows.div_ceil(self.rows_per_step(rows))
    }

    /// Rows in one step over `rows` rows, except the last.
    pub fn rows_per_step(&self, rows: usize) -> usize {
        self.batch.unwrap_or(rows).clamp(1, rows.max(1))
    }
}

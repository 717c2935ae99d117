//! Losses: what training makes small. All are means over rows and columns, as in PyTorch.

use burn::tensor::activation::{log_softmax, relu};
use burn::tensor::backend::Backend;
use burn::tensor::{Tensor, TensorData};
use serde::{Deserialize, Serialize};

/// What training makes small. A loss of your own implements this; it must be a mean over the rows,
/// because a batch is cut into shards.
pub trait Criterion: Sync {
    /// Answers `[rows, outputs]` against targets `[rows, targets]` to one number.
    fn loss<B: Backend>(&self, answers: Tensor<B, 2>, targets: Tensor<B, 2>) -> Tensor<B, 1>;
}

/// The usual ones.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Loss {
    /// Mean squared error.
    Mse,
    /// Mean absolute error.
    Mae,
    /// Quadratic up to `delta`, then linear (Huber, "Robust Estimation of a Location Parameter", 1964).
    Huber {
        /// Where it turns linear.
        delta: f64,
    },
    /// Classes: one output per class, one target: its number. `smoothing` of the weight goes to all
    /// classes alike (Szegedy et al., 2016).
    CrossEntropy {
        /// From 0 to less than 1.
        smoothing: f64,
    },
    /// Yes or no: outputs are logits, targets probabilities.
    Bernoulli,
    /// Quantiles: output `t * quantiles + q` is quantile `q` of target `t` (Koenker and Bassett,
    /// "Regression Quantiles", Econometrica 46, 1978).
    Pinball {
        /// Each between 0 and 1.
        quantiles: Vec<f32>,
    },
}

impl Criterion for Loss {
    fn loss<B: Backend>(&self, answers: Tensor<B, 2>, targets: Tensor<B, 2>) -> Tensor<B, 1> {
        match self {
            Self::Mse => {
                let missed = answers - targets;
                (missed.clone() * missed).mean()
            }
            Self::Mae => (answers - targets).abs().mean(),
            Self::Huber { delta } => {
                let size = (answers - targets).abs();
                let near = size.clone().clamp_max(*delta);
                // near^2 / 2 + delta (size - near): the second part is 0 below delta.
                (near.clone() * near.clone() * 0.5 + (size - near) * *delta).mean()
            }
            Self::CrossEntropy { smoothing } => cross_entropy(answers, targets, *smoothing),
            Self::Bernoulli => {
                // max(x, 0) - x t + ln(1 + e^-|x|): cannot overflow.
                let small = (answers.clone().abs().neg().exp() + 1.0).log();
                (relu(answers.clone()) - answers * targets + small).mean()
            }
            Self::Pinball { quantiles } => {
                let [rows, columns] = targets.dims();
                let q = quantiles.len();
                let weights = TensorData::new(quantiles.clone(), [1, 1, q]);
                let weights = Tensor::<B, 3>::from_data(weights, &answers.device());
                let missed = targets.reshape([rows, columns, 1]) - answers.reshape([rows, columns, q]);
                (missed.clone() * weights + relu(missed.neg())).mean()
            }
        }
    }
}

fn cross_entropy<B: Backend>(logits: Tensor<B, 2>, classes: Tensor<B, 2>, smoothing: f64) -> Tensor<B, 1> {
    let [rows, _] = logits.dims();
    let log = log_softmax(logits, 1);
    let index = classes.reshape([rows, 1]).int();
    let right = log.clone().gather(1, index).mean();
    if smoothing <= 0.0 {
        return right.neg();
    }
    (right * (1.0 - smoothing) + log.mean() * smoothing).neg()
}

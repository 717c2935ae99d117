//! The network: features to mean and quantiles per horizon, in units of the window's swing from its last value. The mean is for those
//! who count squared errors, the median (the first quantile) for those who count absolute ones.

use super::features::FEATURES;
use super::{HORIZONS, QUANTILES};
use crate::engine::layer::{Dense, Init};
use crate::engine::{Criterion, Network, Pass};
use burn::module::Module;
use burn::tensor::activation::relu;
use burn::tensor::backend::Backend;
use burn::tensor::{Tensor, TensorData};

/// Answers per horizon: the mean, then the quantiles.
pub const ANSWERS: usize = 1 + QUANTILES.len();
/// Hidden units.
const WIDTH: usize = 96;
/// Share of them dropped while learning.
const DROPOUT: f64 = 0.15;
/// Changes beyond so many units count as this many: a job that starts after a still window must not drown the rest.
pub const MOST: f32 = 5.0;

/// Two hidden layers, the second one residual.
#[derive(Module, Debug)]
pub struct Swing<B: Backend> {
    first: Dense<B>,
    second: Dense<B>,
    last: Dense<B>,
}

impl<B: Backend> Swing<B> {
    /// With random weights; answers start near the last value.
    pub fn new(init: &mut Init<'_, B>) -> Self {
        Self {
            first: init.dense_with_gain(FEATURES, WIDTH, 1.0),
            second: init.dense_with_gain(WIDTH, WIDTH, 1.0),
            last: init.dense_with_gain(WIDTH, HORIZONS * ANSWERS, 0.1),
        }
    }
}

impl<B: Backend> Network<B> for Swing<B> {
    fn forward(&self, x: Tensor<B, 2>, pass: &Pass) -> Tensor<B, 2> {
        let rows = x.dims()[0];
        let h = pass.dropout(relu(self.first.forward(x, pass)), DROPOUT);
        let h = h.clone() + pass.dropout(relu(self.second.forward(h, pass)), DROPOUT);
        let y = self.last.forward(h, pass).reshape([rows, HORIZONS, ANSWERS]);
        // Each quantile lies above the one before by a positive step.
        let mut all = vec![y.clone().narrow(2, 0, 1)];
        let mut quantile = y.clone().narrow(2, 1, 1);
        all.push(quantile.clone());
        for q in 2..ANSWERS {
            quantile = quantile + softplus(y.clone().narrow(2, q, 1) - 2.0);
            all.push(quantile.clone());
        }
        Tensor::cat(all, 2).reshape([rows, HORIZONS * ANSWERS])
    }
}

/// `ln(1 + e^x)`, in a form that cannot overflow.
fn softplus<B: Backend, const D: usize>(x: Tensor<B, D>) -> Tensor<B, D> {
    relu(x.clone()) + (x.abs().neg().exp() + 1.0).log()
}

/// Squared error of the mean plus twice the pinball losses of the quantiles.
#[derive(Debug, Clone, Copy)]
pub struct MeanAndQuantiles;

impl Criterion for MeanAndQuantiles {
    fn loss<B: Backend>(&self, answers: Tensor<B, 2>, targets: Tensor<B, 2>) -> Tensor<B, 1> {
        let rows = targets.dims()[0];
        let answers = answers.reshape([rows, HORIZONS, ANSWERS]);
        let targets = targets.clamp(-MOST, MOST).reshape([rows, HORIZONS, 1]);
        let missed = answers.clone().narrow(2, 0, 1) - targets.clone();
        let weights = TensorData::new(QUANTILES.to_vec(), [1, 1, QUANTILES.len()]);
        let weights = Tensor::<B, 3>::from_data(weights, &targets.device());
        let above = targets - answers.narrow(2, 1, QUANTILES.len());
        let pinball = (above.clone() * weights + relu(above.neg())).mean() * (2.0 * QUANTILES.len() as f64);
        (missed.clone() * missed).mean() + pinball
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::numbers;
    use burn_flex::{Flex, FlexDevice};

    #[test]
    fn quantiles_never_cross() {
        let network = Swing::<Flex>::new(&mut Init::new(3, &FlexDevice));
        let x: Vec<f32> = (0..20 * FEATURES).map(|i| ((i * 7919) % 100) as f32 / 5.0 - 10.0).collect();
        let x = Tensor::from_data(TensorData::new(x, [20, FEATURES]), &FlexDevice);
        let y = numbers(network.forward(x, &Pass::answering()));
        assert!(y.chunks_exact(ANSWERS).all(|a| a[1..].windows(2).all(|q| q[0] <= q[1])));
    }

    #[test]
    fn the_loss_is_the_squared_error_and_the_pinball_loss() {
        let answers: Vec<f32> = [1.0, 0.0, 0.5, 2.0].repeat(HORIZONS);
        let answers = Tensor::<Flex, 2>::from_data(TensorData::new(answers, [1, HORIZONS * ANSWERS]), &FlexDevice);
        let targets = Tensor::from_data(TensorData::new(vec![1.5_f32; HORIZONS], [1, HORIZONS]), &FlexDevice);
        let loss = numbers(MeanAndQuantiles.loss(answers, targets))[0];
        // 0.5^2 + 2 (0.5 * 1.5 + 0.9 * 1.0 + 0.01 * 0.5)
        assert!((loss - (0.25 + 2.0 * (0.75 + 0.9 + 0.005))).abs() < 1e-5, "{loss}");
    }
}

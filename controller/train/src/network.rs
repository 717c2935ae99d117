//! The network in burn: the layers of [`Weights`], forward pass and loss. With [`crate::learn`] the
//! only place that knows burn.

use crate::weights::{Dense, Weights};
use crate::windows::TARGETS;
use burn::module::{Module, Param, ParamId};
use burn::tensor::activation::relu;
use burn::tensor::backend::Backend;
use burn::tensor::{Tensor, TensorData};
use headroom_predict::QUANTILES;

/// One layer.
#[derive(Module, Debug)]
pub struct Layer<B: Backend> {
    weight: Param<Tensor<B, 2>>,
    bias: Param<Tensor<B, 1>>,
}

/// See [`Weights`].
#[derive(Module, Debug)]
pub struct Network<B: Backend> {
    input: Layer<B>,
    /// First and second layers of the blocks in turn.
    blocks: Vec<Layer<B>>,
    head: Layer<B>,
    skip: Layer<B>,
}

impl<B: Backend> Layer<B> {
    /// `id` names the layer's parameters in the optimiser's checkpoint, so it must not change.
    fn new(dense: &Dense, id: u64, device: &B::Device) -> Self {
        let weight = TensorData::new(dense.weight.clone(), [dense.inputs, dense.outputs]);
        let bias = TensorData::new(dense.bias.clone(), [dense.outputs]);
        let parameter = |n| ParamId::from(2 * id + n + 1);
        Self {
            weight: Param::initialized(parameter(0), Tensor::from_data(weight, device).require_grad()),
            bias: Param::initialized(parameter(1), Tensor::from_data(bias, device).require_grad()),
        }
    }

    fn dense(&self) -> Dense {
        let [inputs, outputs] = self.weight.val().dims();
        Dense { inputs, outputs, weight: numbers(self.weight.val()), bias: numbers(self.bias.val()) }
    }

    fn forward(&self, x: Tensor<B, 2>) -> Tensor<B, 2> {
        x.matmul(self.weight.val()) + self.bias.val().unsqueeze()
    }
}

/// The numbers of a tensor, row by row.
pub fn numbers<B: Backend, const D: usize>(tensor: Tensor<B, D>) -> Vec<f32> {
    tensor.into_data().to_vec().expect("invariant: every tensor here is of f32")
}

/// `ln(1 + e^x)`, in a form that cannot overflow.
fn softplus<B: Backend>(x: Tensor<B, 2>) -> Tensor<B, 2> {
    relu(x.clone()) + (x.abs().neg().exp() + 1.0).log()
}

impl<B: Backend> Network<B> {
    /// From plain weights.
    pub fn new(weights: &Weights, device: &B::Device) -> Self {
        let mut ids = 0..;
        let mut layer = |dense| Layer::new(dense, ids.next().expect("invariant: endless"), device);
        Self {
            input: layer(&weights.input),
            blocks: weights.blocks.iter().flatten().map(&mut layer).collect(),
            head: layer(&weights.head),
            skip: layer(&weights.skip),
        }
    }

    /// To plain weights.
    pub fn weights(&self) -> Weights {
        Weights {
            input: self.input.dense(),
            blocks: self.blocks.chunks_exact(2).map(|pair| [pair[0].dense(), pair[1].dense()]).collect(),
            head: self.head.dense(),
            skip: self.skip.dense(),
        }
    }

    /// Normalised features to normalised changes: windows x horizons x quantiles, ascending.
    pub fn forward(&self, x: Tensor<B, 2>) -> Tensor<B, 3> {
        let mut h = relu(self.input.forward(x.clone()));
        for pair in self.blocks.chunks_exact(2) {
            h = h.clone() + pair[1].forward(relu(pair[0].forward(h)));
        }
        let raw = self.head.forward(h) + self.skip.forward(x);
        let part = |i: usize| raw.clone().narrow(1, i * TARGETS, TARGETS);
        let median = part(0);
        let upper = median.clone() + softplus(part(1));
        let highest = upper.clone() + softplus(part(2));
        Tensor::stack(vec![median, upper, highest], 2)
    }
}

/// Mean pinball loss; see [`crate::metrics::pinball`]. `outcomes` is windows x horizons.
pub fn loss<B: Backend>(answers: Tensor<B, 3>, outcomes: Tensor<B, 2>) -> Tensor<B, 1> {
    let quantiles = QUANTILES.map(|q| q as f32);
    let quantiles = Tensor::<B, 1>::from_floats(quantiles, &answers.device()).reshape([1, 1, QUANTILES.len()]);
    let missed = outcomes.unsqueeze_dim::<3>(2) - answers;
    (missed.clone() * quantiles + relu(missed.neg())).mean()
}

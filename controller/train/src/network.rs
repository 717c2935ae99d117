//! The network of the rack forecast: the layers of [`Weights`] on the engine, and rows for it.

use crate::chance::Chance;
use crate::engine::{self, Pass, Source, Workers, numbers};
use crate::scale::Scale;
use crate::weights::{Dense, Weights};
use crate::windows::{TARGETS, Windows};
use burn::module::{Module, Param, ParamId};
use burn::tensor::activation::relu;
use burn::tensor::backend::Backend;
use burn::tensor::{Tensor, TensorData};
use burn_flex::{Flex, FlexDevice};
use headroom_predict::{FEATURES, OUTPUTS, QUANTILES};

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
    fn new(dense: &Dense, device: &B::Device) -> Self {
        let weight = TensorData::new(dense.weight.clone(), [dense.inputs, dense.outputs]);
        let bias = TensorData::new(dense.bias.clone(), [dense.outputs]);
        Self {
            weight: Param::initialized(ParamId::new(), Tensor::from_data(weight, device).require_grad()),
            bias: Param::initialized(ParamId::new(), Tensor::from_data(bias, device).require_grad()),
        }
    }

    fn dense(&self) -> Dense {
        let [inputs, outputs] = self.weight.val().dims();
        Dense { inputs, outputs, weight: numbers(self.weight.val()), bias: numbers(self.bias.val()) }
    }

    fn forward(&self, x: Tensor<B, 2>, pass: &Pass) -> Tensor<B, 2> {
        pass.matmul(x, self.weight.val()) + self.bias.val().unsqueeze()
    }
}

/// `ln(1 + e^x)`, in a form that cannot overflow.
fn softplus<B: Backend>(x: Tensor<B, 2>) -> Tensor<B, 2> {
    relu(x.clone()) + (x.abs().neg().exp() + 1.0).log()
}

impl<B: Backend> Network<B> {
    /// From plain weights.
    pub fn new(weights: &Weights, device: &B::Device) -> Self {
        let layer = |dense| Layer::new(dense, device);
        Self {
            input: layer(&weights.input),
            blocks: weights.blocks.iter().flatten().map(layer).collect(),
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
}

impl<B: Backend> engine::Network<B> for Network<B> {
    /// Normalised features to normalised changes: horizons x quantiles, ascending.
    fn forward(&self, x: Tensor<B, 2>, pass: &Pass) -> Tensor<B, 2> {
        let mut h = relu(self.input.forward(x.clone(), pass));
        for pair in self.blocks.chunks_exact(2) {
            h = h.clone() + pair[1].forward(relu(pair[0].forward(h, pass)), pass);
        }
        let raw = self.head.forward(h, pass) + self.skip.forward(x, pass);
        let part = |i: usize| raw.clone().narrow(1, i * TARGETS, TARGETS);
        let median = part(0);
        let upper = median.clone() + softplus(part(1));
        let highest = upper.clone() + softplus(part(2));
        Tensor::stack::<3>(vec![median, upper, highest], 2).flatten(1, 2)
    }
}

/// Windows as the network wants them.
#[derive(Debug, Clone, Copy)]
pub struct Normalised<'a> {
    /// What was known and what came.
    pub windows: &'a Windows,
    /// Fitted on the training part.
    pub scale: &'a Scale,
}

impl Source for Normalised<'_> {
    fn rows(&self) -> usize {
        self.windows.len()
    }

    fn widths(&self) -> (usize, usize) {
        (FEATURES, TARGETS)
    }

    fn fill(&self, row: usize, _: Option<&mut Chance>, inputs: &mut [f32], targets: &mut [f32]) {
        self.scale.normalise(self.windows.row(row), inputs);
        for (target, (outcome, scale)) in
            targets.iter_mut().zip(self.windows.outcome(row).iter().zip(&self.scale.output))
        {
            *target = outcome / scale;
        }
    }
}

/// Answers in nameplates, as the ONNX file gives them: [`OUTPUTS`] per window.
pub fn answers(weights: &Weights, windows: &Windows, scale: &Scale) -> Vec<f32> {
    let network = Network::<Flex>::new(weights, &FlexDevice);
    let workers = Workers::new(vec![FlexDevice], 1);
    let mut answers = engine::predict(&network, &Normalised { windows, scale }, &workers);
    for row in answers.chunks_exact_mut(OUTPUTS) {
        let by_horizon = scale.output.iter().flat_map(|s| [*s; QUANTILES.len()]);
        row.iter_mut().zip(by_horizon).for_each(|(answer, scale)| *answer *= scale);
    }
    answers
}

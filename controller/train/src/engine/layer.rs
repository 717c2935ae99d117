//! Seeded layers: [`Init`] makes them, the same for the same seed on every device and in every thread.
//! Parameters exist from the start (burn's own are made on first use, and a clone made before
//! would draw other numbers).

use super::network::Pass;
use crate::chance::Chance;
use burn::module::{Module, Param, ParamId};
use burn::tensor::backend::Backend;
use burn::tensor::{Tensor, TensorData};

/// Makes the layers of one network.
#[derive(Debug)]
pub struct Init<'a, B: Backend> {
    chance: Chance,
    device: &'a B::Device,
}

/// `y = x W + b` on the last dimension.
#[derive(Module, Debug)]
pub struct Dense<B: Backend> {
    /// One row per input.
    pub weight: Param<Tensor<B, 2>>,
    /// One number per output.
    pub bias: Option<Param<Tensor<B, 1>>>,
}

/// Layer normalisation of the last dimension (Ba, Kiros and Hinton, 2016), epsilon 1e-5 as in
/// PyTorch.
#[derive(Module, Debug)]
pub struct Norm<B: Backend> {
    /// Gain, one number per feature.
    pub gain: Param<Tensor<B, 1>>,
    /// Offset, one number per feature.
    pub offset: Param<Tensor<B, 1>>,
}

/// Added to the variance in [`Norm`].
pub const NORM_EPSILON: f64 = 1e-5;

impl<'a, B: Backend> Init<'a, B> {
    /// From a seed, on a device.
    pub fn new(seed: u64, device: &'a B::Device) -> Self {
        Self { chance: Chance::new(seed, "weights"), device }
    }

    /// A parameter of given numbers, row by row.
    pub fn parameter<const D: usize>(&mut self, shape: [usize; D], values: Vec<f32>) -> Param<Tensor<B, D>> {
        let tensor = Tensor::from_data(TensorData::new(values, shape), self.device).require_grad();
        Param::initialized(ParamId::new(), tensor)
    }

    /// Uniform in [-bound, bound).
    pub fn uniform<const D: usize>(&mut self, shape: [usize; D], bound: f64) -> Param<Tensor<B, D>> {
        let n = shape.iter().product();
        let values = (0..n).map(|_| self.chance.between(-bound, bound) as f32).collect();
        self.parameter(shape, values)
    }

    /// All the same number.
    pub fn constant<const D: usize>(&mut self, shape: [usize; D], value: f32) -> Param<Tensor<B, D>> {
        self.parameter(shape, vec![value; shape.iter().product()])
    }

    /// A layer as PyTorch starts it: weights and bias uniform within `1 / sqrt(inputs)`.
    pub fn dense(&mut self, inputs: usize, outputs: usize) -> Dense<B> {
        let bound = 1.0 / (inputs as f64).sqrt();
        Dense { weight: self.uniform([inputs, outputs], bound), bias: Some(self.uniform([outputs], bound)) }
    }

    /// Uniform weights of deviation `gain / sqrt(inputs)`, no bias yet (He et al., "Delving Deep into
    /// Rectifiers", ICCV 2015, with gain sqrt(2) before a relu; 0 starts with a silent layer).
    pub fn dense_with_gain(&mut self, inputs: usize, outputs: usize, gain: f64) -> Dense<B> {
        let weight = self.uniform([inputs, outputs], gain * (3.0 / inputs as f64).sqrt());
        Dense { weight, bias: Some(self.constant([outputs], 0.0)) }
    }

    /// Layer normalisation that starts as plain standardisation.
    pub fn norm(&mut self, features: usize) -> Norm<B> {
        Norm { gain: self.constant([features], 1.0), offset: self.constant([features], 0.0) }
    }
}

impl<B: Backend> Dense<B> {
    /// `[.., inputs]` to `[.., outputs]`.
    pub fn forward<const D: usize>(&self, x: Tensor<B, D>, pass: &Pass) -> Tensor<B, D> {
        let [inputs, outputs] = self.weight.val().dims();
        let mut shape = x.dims();
        // One large product instead of one for each leading index.
        let rows = shape.iter().product::<usize>() / inputs;
        let mut y = pass.matmul(x.reshape([rows, inputs]), self.weight.val());
        if let Some(bias) = &self.bias {
            y = y + bias.val().unsqueeze();
        }
        shape[D - 1] = outputs;
        y.reshape(shape)
    }
}

impl<B: Backend> Norm<B> {
    /// Normalises the last dimension.
    pub fn forward<const D: usize>(&self, x: Tensor<B, D>) -> Tensor<B, D> {
        let centred = x.clone() - x.mean_dim(D - 1);
        let deviation = ((centred.clone() * centred.clone()).mean_dim(D - 1) + NORM_EPSILON).sqrt();
        centred / deviation * self.gain.val().unsqueeze() + self.offset.val().unsqueeze()
    }
}

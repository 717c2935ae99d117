//! The network in burn: layers with relu and dropout between them.

use crate::engine::layer::{Dense, Init};
use crate::engine::{Network, Pass};
use burn::module::Module;
use burn::tensor::Tensor;
use burn::tensor::activation::relu;
use burn::tensor::backend::Backend;

/// See the file's head.
#[derive(Module, Debug)]
pub(super) struct Layers<B: Backend> {
    layers: Vec<Dense<B>>,
    dropout: f64,
}

impl<B: Backend> Layers<B> {
    /// `sizes`: inputs, hidden layers, outputs.
    pub fn new(sizes: &[usize], dropout: f64, init: &mut Init<'_, B>) -> Self {
        let gain = |last: bool| if last { 1.0 } else { std::f64::consts::SQRT_2 };
        let pairs = sizes.windows(2).enumerate();
        let layers = pairs.map(|(i, s)| init.dense_with_gain(s[0], s[1], gain(i + 2 == sizes.len()))).collect();
        Self { layers, dropout }
    }
}

impl<B: Backend> Network<B> for Layers<B> {
    fn forward(&self, x: Tensor<B, 2>, pass: &Pass) -> Tensor<B, 2> {
        let mut h = x;
        for (i, layer) in self.layers.iter().enumerate() {
            h = layer.forward(h, pass);
            if i + 1 < self.layers.len() {
                h = pass.dropout(relu(h), self.dropout);
            }
        }
        h
    }
}

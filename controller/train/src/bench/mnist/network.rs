//! Two convolutions and two dense layers; and the linear map they are held against.

use crate::engine::image::{patches, pool};
use crate::engine::layer::{Dense, Init};
use crate::engine::{Network, Pass};
use burn::module::Module;
use burn::tensor::Tensor;
use burn::tensor::activation::relu;
use burn::tensor::backend::Backend;

const FIRST: (usize, usize) = (5, 16);
const SECOND: (usize, usize) = (3, 32);
const HIDDEN: usize = 128;
/// Share of the hidden units that rest in a step.
const DROPOUT: f64 = 0.3;
const RELU_GAIN: f64 = std::f64::consts::SQRT_2;

/// Convolution, pool, convolution, pool, two dense layers.
#[derive(Module, Debug)]
pub struct Convolutions<B: Backend> {
    first: Dense<B>,
    second: Dense<B>,
    hidden: Dense<B>,
    classes: Dense<B>,
    #[module(skip)]
    size: (usize, usize),
}

/// One linear map: the softmax is part of the loss.
#[derive(Module, Debug)]
pub struct Linear<B: Backend> {
    map: Dense<B>,
}

/// Rows or columns left after a convolution without a rim and a pool over pairs.
fn after(size: usize, kernel: usize) -> usize {
    (size + 1).saturating_sub(kernel) / 2
}

/// The smallest image that leaves something after both convolutions.
pub(super) const LEAST: usize = 12;

impl<B: Backend> Convolutions<B> {
    /// For images of this size.
    pub fn new(init: &mut Init<'_, B>, height: usize, width: usize, classes: usize) -> Self {
        let left = |size| after(after(size, FIRST.0), SECOND.0);
        Self {
            first: init.dense_with_gain(FIRST.0 * FIRST.0, FIRST.1, RELU_GAIN),
            second: init.dense_with_gain(SECOND.0 * SECOND.0 * FIRST.1, SECOND.1, RELU_GAIN),
            hidden: init.dense_with_gain(left(height) * left(width) * SECOND.1, HIDDEN, RELU_GAIN),
            classes: init.dense_with_gain(HIDDEN, classes, 1.0),
            size: (height, width),
        }
    }
}

impl<B: Backend> Network<B> for Convolutions<B> {
    fn forward(&self, x: Tensor<B, 2>, pass: &Pass) -> Tensor<B, 2> {
        let (rows, (height, width)) = (x.dims()[0], self.size);
        let x = x.reshape([rows, height, width, 1]);
        let x = relu(pool(self.first.forward(patches(x, FIRST.0), pass)));
        let x = relu(pool(self.second.forward(patches(x, SECOND.0), pass)));
        let x = relu(self.hidden.forward(x.flatten(1, 3), pass));
        self.classes.forward(pass.dropout(x, DROPOUT), pass)
    }
}

impl<B: Backend> Linear<B> {
    /// From so many numbers to so many classes.
    pub fn new(init: &mut Init<'_, B>, inputs: usize, classes: usize) -> Self {
        Self { map: init.dense(inputs, classes) }
    }
}

impl<B: Backend> Network<B> for Linear<B> {
    fn forward(&self, x: Tensor<B, 2>, pass: &Pass) -> Tensor<B, 2> {
        self.map.forward(x, pass)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_image_leaves_something() {
        assert_eq!(after(after(LEAST, FIRST.0), SECOND.0), 1);
        assert_eq!(after(after(LEAST - 1, FIRST.0), SECOND.0), 0);
    }
}

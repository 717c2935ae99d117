//! Two convolutions, written as matrix products of patches: the CPU backend multiplies matrices well
//! and convolves slowly. Images are rows x columns x channels, so that a patch is a few long copies.

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

/// The square patch at each place, as channels: first side by side along columns, then along rows, which
/// are 2 `size` copies instead of `size`^2.
fn patches<B: Backend>(x: Tensor<B, 4>, size: usize) -> Tensor<B, 4> {
    let [_, height, width, _] = x.dims();
    let columns = (0..size).map(|i| x.clone().narrow(2, i, width + 1 - size)).collect();
    let x = Tensor::cat(columns, 3);
    let rows = (0..size).map(|i| x.clone().narrow(1, i, height + 1 - size)).collect();
    Tensor::cat(rows, 3)
}

/// The largest of each 2 x 2 places; an odd row or column at the end is left out.
fn pool<B: Backend>(x: Tensor<B, 4>) -> Tensor<B, 4> {
    let [rows, height, width, channels] = x.dims();
    let (h, w) = (height / 2, width / 2);
    let x = if height % 2 == 1 { x.narrow(1, 0, 2 * h) } else { x };
    let x = if width % 2 == 1 { x.narrow(2, 0, 2 * w) } else { x };
    let x = larger(x.reshape([rows * h, 2, 2 * w * channels]));
    larger(x.reshape([rows * h * w, 2, channels])).reshape([rows, h, w, channels])
}

fn larger<B: Backend>(pairs: Tensor<B, 3>) -> Tensor<B, 3> {
    let (a, b) = (pairs.clone().narrow(1, 0, 1), pairs.narrow(1, 1, 1));
    a.max_pair(b)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::numbers;
    use burn_flex::{Flex, FlexDevice};

    #[test]
    fn patches_and_pools_are_those_of_a_convolution() {
        let values: Vec<f32> = (0..2 * 5 * 4 * 2).map(|i| (i * 7 % 23) as f32).collect();
        let at = |n: usize, y: usize, x: usize, c: usize| values[((n * 5 + y) * 4 + x) * 2 + c];
        let data = burn::tensor::TensorData::new(values.clone(), [2, 5, 4, 2]);
        let image = Tensor::<Flex, 4>::from_data(data, &FlexDevice);
        let found = patches(image.clone(), 3);
        assert_eq!(found.dims(), [2, 3, 2, 18]);
        let found = numbers(found);
        let pooled = numbers(pool(image));
        for n in 0..2 {
            for (y, x) in (0..3).flat_map(|y| (0..2).map(move |x| (y, x))) {
                for (dy, dx, c) in (0..18).map(|i| (i / 6, i / 2 % 3, i % 2)) {
                    let place = ((n * 3 + y) * 2 + x) * 18 + dy * 6 + dx * 2 + c;
                    assert_eq!(found[place], at(n, y + dy, x + dx, c));
                }
            }
            for (y, x, c) in (0..8).map(|i| (i / 4, i / 2 % 2, i % 2)) {
                let four = [(0, 0), (0, 1), (1, 0), (1, 1)].map(|(dy, dx)| at(n, 2 * y + dy, 2 * x + dx, c));
                let largest = four.into_iter().fold(f32::MIN, f32::max);
                assert_eq!(pooled[((n * 2 + y) * 2 + x) * 2 + c], largest);
            }
        }
    }

    #[test]
    fn the_smallest_image_leaves_something() {
        assert_eq!(after(after(LEAST, FIRST.0), SECOND.0), 1);
        assert_eq!(after(after(LEAST - 1, FIRST.0), SECOND.0), 0);
    }
}

//! Convolution as a matrix product of patches: the CPU backend multiplies matrices well and convolves
//! slowly. Images are `[rows, height, width, channels]`, so that a patch is a few long copies.

use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

/// The square patch at each place, as channels: first side by side along columns, then along rows, which
/// are 2 `size` copies instead of `size`^2.
pub fn patches<B: Backend>(x: Tensor<B, 4>, size: usize) -> Tensor<B, 4> {
    let [_, height, width, _] = x.dims();
    let columns = (0..size).map(|i| x.clone().narrow(2, i, width + 1 - size)).collect();
    let x = Tensor::cat(columns, 3);
    let rows = (0..size).map(|i| x.clone().narrow(1, i, height + 1 - size)).collect();
    Tensor::cat(rows, 3)
}

/// The largest of each 2 x 2 places; an odd row or column at the end is left out.
pub fn pool<B: Backend>(x: Tensor<B, 4>) -> Tensor<B, 4> {
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
}

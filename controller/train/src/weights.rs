//! The network's numbers and shape as plain data: between burn, the checkpoint and the ONNX file.

use crate::chance::Chance;
use headroom_predict::{FEATURES, OUTPUTS};
use serde::{Deserialize, Serialize};

/// Size of the hidden part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shape {
    /// Hidden units.
    pub width: usize,
    /// Residual blocks of two layers each.
    pub blocks: usize,
}

/// One layer: `y = x W + b`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Dense {
    /// Length of x.
    pub inputs: usize,
    /// Length of y.
    pub outputs: usize,
    /// W, row by row, one row per input.
    pub weight: Vec<f32>,
    /// b.
    pub bias: Vec<f32>,
}

/// A residual multilayer perceptron with a linear path beside it:
/// `h = relu(input(x)); h += second(relu(first(h))) ...; raw = head(h) + skip(x)`.
/// `raw` holds, in this order, the median and two increments, one number per horizon each; a
/// quantile is the one below plus softplus of its increment, so they can never cross.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Weights {
    /// Features to hidden units.
    pub input: Dense,
    /// First and second layer of each block.
    pub blocks: Vec<[Dense; 2]>,
    /// Hidden units to raw outputs.
    pub head: Dense,
    /// Features to raw outputs: what is linear needs no hidden units.
    pub skip: Dense,
}

impl Dense {
    /// Random weights of the given gain: uniform with deviation `gain / sqrt(inputs)` (He et al.,
    /// "Delving Deep into Rectifiers", ICCV 2015, with gain sqrt(2) before a relu).
    fn random(inputs: usize, outputs: usize, gain: f64, chance: &mut Chance) -> Self {
        let bound = gain * (3.0 / inputs as f64).sqrt();
        let weight = (0..inputs * outputs).map(|_| chance.between(-bound, bound) as f32).collect();
        Self { inputs, outputs, weight, bias: vec![0.0; outputs] }
    }
}

impl Weights {
    /// Where training starts: near persistence, since what comes out of the network is small.
    pub fn random(shape: Shape, seed: u64) -> Self {
        let chance = &mut Chance::new(seed, "weights");
        let relu = std::f64::consts::SQRT_2;
        let width = shape.width;
        Self {
            input: Dense::random(FEATURES, width, relu, chance),
            blocks: (0..shape.blocks)
                .map(|_| [Dense::random(width, width, relu, chance), Dense::random(width, width, 0.2, chance)])
                .collect(),
            head: Dense::random(width, OUTPUTS, 0.1, chance),
            skip: Dense::random(FEATURES, OUTPUTS, 0.02, chance),
        }
    }

    /// From the engine's list: weight and bias of every layer in the order of [`Weights::layers`].
    ///
    /// # Errors
    /// The list is not of a network of this shape.
    pub fn from_list(shape: Shape, list: &[Vec<f32>]) -> Result<Self, String> {
        let mut weights = Self::random(shape, 0);
        let mut layers: Vec<&mut Dense> = [&mut weights.input]
            .into_iter()
            .chain(weights.blocks.iter_mut().flatten())
            .chain([&mut weights.head, &mut weights.skip])
            .collect();
        let fits = |(dense, pair): (&&mut Dense, &[Vec<f32>])| {
            pair.len() == 2 && pair[0].len() == dense.weight.len() && pair[1].len() == dense.bias.len()
        };
        if list.len() != 2 * layers.len() || !layers.iter().zip(list.chunks(2)).all(fits) {
            return Err(format!("{} parameters are not those of a network of {shape:?}", list.len()));
        }
        for (dense, pair) in layers.iter_mut().zip(list.chunks_exact(2)) {
            dense.weight.clone_from(&pair[0]);
            dense.bias.clone_from(&pair[1]);
        }
        Ok(weights)
    }

    /// Every layer, in a fixed order.
    pub fn layers(&self) -> Vec<&Dense> {
        [&self.input].into_iter().chain(self.blocks.iter().flatten()).chain([&self.head, &self.skip]).collect()
    }

    /// How many numbers it has.
    pub fn parameters(&self) -> usize {
        self.layers().iter().map(|d| d.weight.len() + d.bias.len()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_survive_their_file_to_the_bit() {
        let weights = Weights::random(Shape { width: 16, blocks: 1 }, 3);
        let text = serde_json::to_string(&weights).unwrap();
        assert_eq!(serde_json::from_str::<Weights>(&text).unwrap(), weights);
        assert_eq!(weights, Weights::random(Shape { width: 16, blocks: 1 }, 3));
    }

    #[test]
    fn weights_survive_the_engines_list_and_another_shape_is_refused() {
        let shape = Shape { width: 16, blocks: 2 };
        let weights = Weights::random(shape, 3);
        let list: Vec<Vec<f32>> = weights.layers().iter().flat_map(|d| [d.weight.clone(), d.bias.clone()]).collect();
        assert_eq!(Weights::from_list(shape, &list).unwrap(), weights);
        assert!(Weights::from_list(Shape { width: 16, blocks: 1 }, &list).is_err());
    }
}

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
}

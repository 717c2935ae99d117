//! One trained network as plain numbers.

use serde::{Deserialize, Serialize};

/// Layers with relu between them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Member {
    /// Inputs, hidden layers, outputs.
    pub sizes: Vec<usize>,
    /// Of each layer in turn: weights, one row per input; then one bias per output.
    pub parameters: Vec<Vec<f32>>,
}

impl Member {
    /// The answer to one normalised row.
    pub fn answer(&self, row: &[f32]) -> Vec<f32> {
        let mut h = row.to_vec();
        for (i, layer) in self.parameters.chunks_exact(2).enumerate() {
            let outputs = layer[1].len();
            let mut next = layer[1].clone();
            for (x, weights) in h.iter().zip(layer[0].chunks_exact(outputs)) {
                if *x != 0.0 {
                    next.iter_mut().zip(weights).for_each(|(sum, w)| *sum += x * w);
                }
            }
            if i + 2 < self.sizes.len() {
                next.iter_mut().for_each(|v| *v = v.max(0.0));
            }
            h = next;
        }
        h
    }

    /// How many numbers there are.
    pub fn len(&self) -> usize {
        self.parameters.iter().map(Vec::len).sum()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_done_by_hand() {
        let member = Member {
            sizes: vec![2, 2, 1],
            parameters: vec![vec![1.0, -1.0, 2.0, 0.0], vec![0.5, 0.0], vec![1.0, 10.0], vec![-1.0]],
        };
        // Hidden: 3 + 8 + 0.5 and max(0, -3); out: 11.5 - 1.
        assert_eq!(member.answer(&[3.0, 4.0]), [10.5]);
        assert_eq!(member.len(), 9);
    }
}

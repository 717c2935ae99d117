//! What a network must be, and what one forward pass is given.

use crate::chance::Chance;
use burn::module::{AutodiffModule, Module};
use burn::tensor::backend::{AutodiffBackend, Backend};
use burn::tensor::{FloatDType, Tensor, TensorData};
use serde::{Deserialize, Serialize};
use std::cell::Cell;

/// A network on flat rows; it reshapes inside as it likes, but rows must not look at each other (no
/// batch normalisation): a batch is cut into shards.
pub trait Network<B: Backend>: Module<B> {
    /// `[rows, inputs]` to `[rows, outputs]`.
    fn forward(&self, x: Tensor<B, 2>, pass: &Pass) -> Tensor<B, 2>;
}

/// A network that can be trained: what `#[derive(Module)]` with [`Network`] for every backend gives.
pub trait Learnable<B: AutodiffBackend>: Network<B> + AutodiffModule<B, InnerModule: Network<B::InnerBackend>> {}
impl<B: AutodiffBackend, N> Learnable<B> for N where
    N: Network<B> + AutodiffModule<B, InnerModule: Network<B::InnerBackend>>
{
}

/// How matrix products are computed. Weights, losses and optimiser stay in 32 bits either way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// 32 bits.
    #[default]
    Full,
    /// bfloat16 products with 32-bit weights (Micikevicius et al., "Mixed Precision Training", ICLR
    /// 2018; bfloat16 has the range of 32 bits, so the loss needs no scaling).
    Mixed,
}

/// One forward pass: learning or answering, and where its dropout comes from.
#[derive(Debug, Clone)]
pub struct Pass {
    learning: Option<Draw>,
    precision: Precision,
}

#[derive(Debug, Clone)]
struct Draw {
    seed: u64,
    /// Index in the batch of this pass's first row: the same row drops the same units in any shard.
    first_row: usize,
    rows: usize,
    calls: Cell<u64>,
}

impl Pass {
    /// Answers: nothing is dropped.
    pub fn answering() -> Self {
        Self { learning: None, precision: Precision::Full }
    }

    /// Learns on `rows` rows of a batch from `first_row` on; `seed` is that of the step.
    pub fn learning(seed: u64, first_row: usize, rows: usize, precision: Precision) -> Self {
        Self { learning: Some(Draw { seed, first_row, rows, calls: Cell::new(0) }), precision }
    }

    /// Whether it learns.
    pub fn is_learning(&self) -> bool {
        self.learning.is_some()
    }

    /// Sets each number to 0 with probability `share` and scales the others so that the expectation
    /// stays (Srivastava et al., "Dropout", JMLR 15, 2014). Only while learning. The first dimension
    /// must be the rows, or rows times something.
    pub fn dropout<B: Backend, const D: usize>(&self, x: Tensor<B, D>, share: f64) -> Tensor<B, D> {
        let Some(draw) = &self.learning else { return x };
        if share <= 0.0 {
            return x;
        }
        let call = draw.calls.replace(draw.calls.get() + 1);
        let shape = x.shape();
        let per_row = shape.num_elements() / draw.rows.max(1);
        // Four decisions of 16 bits from each random number.
        let limit = (share.min(1.0) * 65536.0).round() as u64;
        let kept = if limit < 65536 { (65536.0 / (65536 - limit) as f64) as f32 } else { 0.0 };
        let mut mask = Vec::with_capacity(shape.num_elements());
        for row in draw.first_row..draw.first_row + draw.rows {
            let mut chance = Chance::keyed([draw.seed, call, row as u64]);
            let mut bits = 0;
            for i in 0..per_row {
                bits = if i % 4 == 0 { chance.bits() } else { bits >> 16 };
                mask.push(if bits & 0xffff < limit { 0.0 } else { kept });
            }
        }
        let mask = Tensor::from_data(TensorData::new(mask, shape), &x.device());
        x * mask
    }

    /// A matrix product in this pass's precision.
    pub fn matmul<B: Backend, const D: usize>(&self, a: Tensor<B, D>, b: Tensor<B, D>) -> Tensor<B, D> {
        match self.precision {
            Precision::Full => a.matmul(b),
            Precision::Mixed => a.cast(FloatDType::BF16).matmul(b.cast(FloatDType::BF16)).cast(FloatDType::F32),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn_flex::{Flex, FlexDevice};

    fn dropped(first_row: usize, rows: usize, share: f64) -> Vec<f32> {
        let x = Tensor::<Flex, 2>::ones([rows, 37], &FlexDevice);
        let y = Pass::learning(5, first_row, rows, Precision::Full).dropout(x, share);
        crate::engine::numbers(y)
    }

    #[test]
    fn dropout_keeps_the_expectation_and_the_share() {
        for share in [0.1, 0.25, 0.5] {
            let all = dropped(0, 4000, share);
            let n = all.len() as f64;
            let mean = all.iter().map(|v| f64::from(*v)).sum::<f64>() / n;
            let zero = all.iter().filter(|v| **v == 0.0).count() as f64 / n;
            // Five standard errors of the share.
            let tolerance = 5.0 * (share * (1.0 - share) / n).sqrt();
            assert!((zero - share).abs() < tolerance, "{zero} of {share}");
            assert!((mean - 1.0).abs() < tolerance / (1.0 - share), "{mean}");
        }
    }

    #[test]
    fn a_row_drops_the_same_units_in_whichever_shard_it_is() {
        let whole = dropped(0, 10, 0.3);
        let parts = [dropped(0, 4, 0.3), dropped(4, 6, 0.3)].concat();
        assert_eq!(whole, parts);
        assert_ne!(whole[..37], whole[37..74]);
    }

    #[test]
    fn an_answering_pass_drops_nothing_and_a_share_of_one_drops_all() {
        let x = Tensor::<Flex, 2>::ones([3, 5], &FlexDevice);
        assert_eq!(crate::engine::numbers(Pass::answering().dropout(x, 0.9)), [1.0; 15]);
        assert_eq!(dropped(0, 2, 1.0), [0.0; 74]);
    }
}

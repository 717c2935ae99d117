//! The networks. Each maps one column's look-back to its horizon, the same for all columns, after taking the level (and the spread) of
//! the look-back out and before putting it back (Kim et al., "Reversible Instance Normalization", ICLR 2022, without the affine part).

use super::moments::Map;
use crate::engine::layer::{Dense, Init};
use crate::engine::{Network, Pass};
use burn::module::Module;
use burn::tensor::activation::gelu;
use burn::tensor::backend::Backend;
use burn::tensor::{Tensor, TensorData};
use serde::Serialize;

/// Added to the variance of a look-back.
const EPSILON: f64 = 1e-5;

/// What a look-back is measured from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Its last value, in the unit of the series.
    Last,
    /// Its mean, in its standard deviations.
    Mean,
}

/// A member of the ensemble.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Member {
    /// Its name in the results.
    pub name: &'static str,
    /// What the look-back is measured from.
    pub level: Level,
    /// Whether it has a straight line from input to output, started at the closed-form map.
    pub line: bool,
    /// Hidden units of two residual layers; 0: none.
    pub width: usize,
    /// Share of hidden units dropped while learning.
    pub dropout: f64,
    /// Passes over the training part.
    pub epochs: usize,
    /// Highest learning rate.
    pub rate: f64,
}

/// `line(z) + last(h + gelu(second(h)))` with `h = gelu(first(z))`, `z` the normalised look-back.
#[derive(Module, Debug)]
pub struct Forecaster<B: Backend> {
    line: Option<Dense<B>>,
    hidden: Option<Hidden<B>>,
    dropout: f64,
    is_scaled: bool,
}

/// The part that is not linear.
#[derive(Module, Debug)]
pub struct Hidden<B: Backend> {
    first: Dense<B>,
    second: Dense<B>,
    last: Dense<B>,
}

impl<B: Backend> Forecaster<B> {
    /// With random hidden layers; its line is the map's.
    pub fn new(member: &Member, map: &Map, look_back: usize, init: &mut Init<'_, B>) -> Self {
        let horizon = map.weights.len();
        let line = member.line.then(|| {
            let mut line = init.dense_with_gain(look_back, horizon, 0.0);
            line.weight = init.parameter([look_back, horizon], transposed(map, look_back));
            line
        });
        let hidden = (member.width > 0).then(|| Hidden {
            first: init.dense_with_gain(look_back, member.width, 1.0),
            second: init.dense_with_gain(member.width, member.width, 1.0),
            last: init.dense_with_gain(member.width, horizon, 0.1),
        });
        Self { line, hidden, dropout: member.dropout, is_scaled: member.level == Level::Mean }
    }
}

/// One row per step of the look-back, as layers want it; the constant is left out.
fn transposed(map: &Map, look_back: usize) -> Vec<f32> {
    (0..look_back).flat_map(|i| map.weights.iter().map(move |row| row[i] as f32)).collect()
}

impl<B: Backend> Network<B> for Forecaster<B> {
    fn forward(&self, x: Tensor<B, 2>, pass: &Pass) -> Tensor<B, 2> {
        let [rows, look_back] = x.dims();
        let (level, spread) = if self.is_scaled {
            let mean = x.clone().mean_dim(1);
            let away = x.clone() - mean.clone();
            (mean, (away.powi_scalar(2).mean_dim(1) + EPSILON).sqrt())
        } else {
            let one = Tensor::from_data(TensorData::new(vec![1.0_f32; rows], [rows, 1]), &x.device());
            (x.clone().narrow(1, look_back - 1, 1), one)
        };
        let z = (x - level.clone()) / spread.clone();
        let mut y = self.line.as_ref().map(|line| line.forward(z.clone(), pass));
        if let Some(hidden) = &self.hidden {
            let h = pass.dropout(gelu(hidden.first.forward(z, pass)), self.dropout);
            let more = pass.dropout(gelu(hidden.second.forward(h.clone(), pass)), self.dropout);
            let bent = hidden.last.forward(h + more, pass);
            y = Some(y.map_or(bent.clone(), |y| y + bent));
        }
        let y = y.expect("invariant: a member has a line or hidden layers");
        y * spread + level
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::numbers;
    use burn_flex::{Flex, FlexDevice};

    const MEMBER: Member =
        Member { name: "test", level: Level::Mean, line: true, width: 0, dropout: 0.0, epochs: 1, rate: 1e-3 };

    fn answer(member: &Member, input: &[f32]) -> Vec<f32> {
        let map = Map { look_back: 4, weights: vec![vec![0.1, 0.2, 0.3, 0.4, 0.0], vec![0.0, 0.0, 0.0, 1.0, 0.0]] };
        let init = &mut Init::<Flex>::new(1, &FlexDevice);
        let network = Forecaster::new(member, &map, 4, init);
        let x = Tensor::from_data(TensorData::new(input.to_vec(), [1, 4]), &FlexDevice);
        numbers(network.forward(x, &Pass::answering()))
    }

    #[test]
    fn a_line_starts_as_the_closed_form_map_whatever_its_level() {
        for level in [Level::Last, Level::Mean] {
            let y = answer(&Member { level, ..MEMBER }, &[1.0, 2.0, 3.0, 7.0]);
            assert!((y[0] - 4.2).abs() < 1e-5 && (y[1] - 7.0).abs() < 1e-5, "{y:?}");
        }
    }

    #[test]
    fn answers_move_with_the_level_and_with_the_mean_level_also_with_the_scale() {
        let member = Member { width: 8, ..MEMBER };
        let y = answer(&member, &[1.0, 2.0, 4.0, 3.0]);
        let moved = answer(&member, &[21.0, 22.0, 24.0, 23.0]);
        let larger = answer(&member, &[10.0, 20.0, 40.0, 30.0]);
        for ((y, moved), larger) in y.iter().zip(moved).zip(larger) {
            assert!((y + 20.0 - moved).abs() < 1e-4 && (y * 10.0 - larger).abs() < 1e-3, "{y} {moved} {larger}");
        }
        assert_ne!(y, answer(&MEMBER, &[1.0, 2.0, 4.0, 3.0]));
    }

    #[test]
    fn a_flat_look_back_gives_a_number() {
        let y = answer(&Member { width: 8, ..MEMBER }, &[5.0; 4]);
        assert!(y.iter().all(|y| (y - 5.0).abs() < 0.1), "{y:?}");
    }
}

//! How gradients become steps. Formulas and defaults are PyTorch's (burn's differ: Adam's epsilon,
//! momentum's dampening, clipping per parameter); tests hold them against PyTorch's numbers.

use burn::tensor::backend::Backend;
use burn::tensor::{Tensor, TensorData};
use serde::{Deserialize, Serialize};

/// The rule. Whether descent is full-batch, stochastic or mini-batch is [`super::Plan::batch`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Optimiser {
    /// Gradient descent, with momentum if not 0 (Polyak, 1964; `nesterov` looks ahead: Sutskever et
    /// al., ICML 2013).
    Descent {
        /// From 0 to less than 1.
        momentum: f64,
        /// Needs momentum.
        nesterov: bool,
    },
    /// Duchi, Hazan and Singer, "Adaptive Subgradient Methods", JMLR 12, 2011.
    Adagrad {
        /// Against division by 0.
        epsilon: f64,
    },
    /// Tieleman and Hinton, "Lecture 6.5", 2012; centred: Graves, 2013.
    RmsProp {
        /// How long squares are remembered.
        memory: f64,
        /// Against division by 0.
        epsilon: f64,
        /// From 0 to less than 1.
        momentum: f64,
        /// Divides by the variance instead of the mean square.
        centred: bool,
    },
    /// Kingma and Ba, "Adam", ICLR 2015.
    Adam {
        /// Memory of the mean.
        beta1: f64,
        /// Memory of the squares.
        beta2: f64,
        /// Against division by 0.
        epsilon: f64,
    },
    /// Loshchilov and Hutter, "Decoupled Weight Decay Regularization", ICLR 2019.
    AdamW {
        /// Memory of the mean.
        beta1: f64,
        /// Memory of the squares.
        beta2: f64,
        /// Against division by 0.
        epsilon: f64,
    },
}

impl Optimiser {
    /// Plain gradient descent.
    pub const fn descent() -> Self {
        Self::Descent { momentum: 0.0, nesterov: false }
    }

    /// With the usual epsilon.
    pub const fn adagrad() -> Self {
        Self::Adagrad { epsilon: 1e-10 }
    }

    /// With the usual memory, no momentum.
    pub const fn rms_prop() -> Self {
        Self::RmsProp { memory: 0.99, epsilon: 1e-8, momentum: 0.0, centred: false }
    }

    /// With the paper's numbers.
    pub const fn adam() -> Self {
        Self::Adam { beta1: 0.9, beta2: 0.999, epsilon: 1e-8 }
    }

    /// With the paper's numbers.
    pub const fn adam_w() -> Self {
        Self::AdamW { beta1: 0.9, beta2: 0.999, epsilon: 1e-8 }
    }
}

/// One parameter's step.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stride {
    /// Learning rate.
    pub rate: f64,
    /// L2 penalty.
    pub decay: f64,
    /// Steps so far, this one counted.
    pub count: i32,
}

/// What an optimiser remembers of one parameter: flat tensors, none before the first step.
pub(super) type Memory<B> = Vec<Tensor<B, 1>>;

impl Optimiser {
    /// The parameter after one step.
    pub(super) fn step<B: Backend>(
        &self,
        memory: &mut Memory<B>,
        stride: Stride,
        parameter: Tensor<B, 1>,
        gradient: Tensor<B, 1>,
    ) -> Tensor<B, 1> {
        let Stride { rate, decay, count } = stride;
        let decoupled = matches!(self, Self::AdamW { .. });
        let (parameter, g) = match decay != 0.0 {
            true if decoupled => (parameter * (1.0 - rate * decay), gradient),
            true => (parameter.clone(), gradient + parameter * decay),
            false => (parameter, gradient),
        };
        match *self {
            Self::Descent { momentum: 0.0, .. } => parameter - g * rate,
            Self::Descent { momentum, nesterov } => {
                let moving = match memory.pop() {
                    Some(before) => before * momentum + g.clone(),
                    None => g.clone(),
                };
                memory.push(moving.clone());
                let ahead = if nesterov { g + moving * momentum } else { moving };
                parameter - ahead * rate
            }
            Self::Adagrad { epsilon } => {
                let sum = remembered(memory, 0, &g) + g.clone() * g.clone();
                *memory = vec![sum.clone()];
                parameter - g / (sum.sqrt() + epsilon) * rate
            }
            Self::RmsProp { memory: share, epsilon, momentum, centred } => {
                let squares = remembered(memory, 0, &g) * share + g.clone() * g.clone() * (1.0 - share);
                let mean = centred.then(|| remembered(memory, 1, &g) * share + g.clone() * (1.0 - share));
                let moving = (momentum > 0.0).then(|| remembered(memory, 1 + usize::from(centred), &g) * momentum);
                let spread = match &mean {
                    Some(mean) => squares.clone() - mean.clone() * mean.clone(),
                    None => squares.clone(),
                };
                let step = g / (spread.sqrt() + epsilon);
                let moving = moving.map(|moving| moving + step.clone());
                *memory = [Some(squares), mean, moving.clone()].into_iter().flatten().collect();
                parameter - moving.unwrap_or(step) * rate
            }
            Self::Adam { beta1, beta2, epsilon } | Self::AdamW { beta1, beta2, epsilon } => {
                let mean = remembered(memory, 0, &g) * beta1 + g.clone() * (1.0 - beta1);
                let squares = remembered(memory, 1, &g) * beta2 + g.clone() * g * (1.0 - beta2);
                *memory = vec![mean.clone(), squares.clone()];
                // Both start at 0 and are too small at first by these factors.
                let (short1, short2) = (1.0 - beta1.powi(count), 1.0 - beta2.powi(count));
                let spread = squares.sqrt() / short2.sqrt() + epsilon;
                parameter - mean / spread * (rate / short1)
            }
        }
    }
}

fn remembered<B: Backend>(memory: &Memory<B>, slot: usize, like: &Tensor<B, 1>) -> Tensor<B, 1> {
    memory.get(slot).cloned().unwrap_or_else(|| like.zeros_like())
}

/// To plain numbers.
pub(super) fn plain<B: Backend>(memory: &[Memory<B>]) -> Vec<Vec<Vec<f32>>> {
    memory.iter().map(|slots| slots.iter().cloned().map(super::numbers).collect()).collect()
}

/// From plain numbers.
pub(super) fn recall<B: Backend>(plain: &[Vec<Vec<f32>>], device: &B::Device) -> Vec<Memory<B>> {
    let tensor = |values: &Vec<f32>| Tensor::from_data(TensorData::new(values.clone(), [values.len()]), device);
    plain.iter().map(|slots| slots.iter().map(tensor).collect()).collect()
}

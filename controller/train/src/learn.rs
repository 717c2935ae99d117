//! One optimiser step after another: AdamW (Loshchilov and Hutter, "Decoupled Weight Decay
//! Regularization", ICLR 2019) on the CPU. With [`crate::network`] the only place that knows burn;
//! another backend or optimiser is added here.

use crate::network::{Network, loss, numbers};
use crate::weights::Weights;
use crate::windows::TARGETS;
use burn::backend::Autodiff;
use burn::grad_clipping::GradientClippingConfig;
use burn::module::AutodiffModule;
use burn::optim::adaptor::OptimizerAdaptor;
use burn::optim::{AdamW, AdamWConfig, GradientsParams, Optimizer};
use burn::record::{FullPrecisionSettings, NamedMpkBytesRecorder, Recorder};
use burn::tensor::{Tensor, TensorData};
use burn_flex::{Flex, FlexDevice};
use headroom_predict::FEATURES;

type Cpu = Autodiff<Flex>;

/// Network and optimiser.
pub struct Learner {
    network: Network<Cpu>,
    optimizer: OptimizerAdaptor<AdamW, Network<Cpu>, Cpu>,
    device: FlexDevice,
}

impl std::fmt::Debug for Learner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Learner").finish_non_exhaustive()
    }
}

/// The optimiser's state cannot be written or read.
#[derive(Debug, thiserror::Error)]
#[error("the optimiser's state is not usable: {0}")]
pub struct OptimizerState(String);

impl Learner {
    /// Starts from weights, without momentum.
    pub fn new(weights: &Weights, weight_decay: f32) -> Self {
        let device = FlexDevice;
        let optimizer = AdamWConfig::new()
            .with_epsilon(1e-8)
            .with_weight_decay(weight_decay)
            .with_grad_clipping(Some(GradientClippingConfig::Norm(1.0)))
            .init();
        Self { network: Network::new(weights, &device), optimizer, device }
    }

    /// One step on normalised features and outcomes; the loss before the step.
    pub fn step(&mut self, features: Vec<f32>, outcomes: Vec<f32>, rate: f64) -> f32 {
        let n = features.len() / FEATURES;
        let x = Tensor::<Cpu, 2>::from_data(TensorData::new(features, [n, FEATURES]), &self.device);
        let y = Tensor::<Cpu, 2>::from_data(TensorData::new(outcomes, [n, TARGETS]), &self.device);
        let loss = loss(self.network.forward(x), y);
        let value = numbers(loss.clone())[0];
        let gradients = GradientsParams::from_grads(loss.backward(), &self.network);
        self.network = self.optimizer.step(rate, self.network.clone(), gradients);
        value
    }

    /// Answers to normalised features, normalised: horizons times quantiles per window.
    pub fn answers(&self, features: Vec<f32>) -> Vec<f32> {
        let n = features.len() / FEATURES;
        let x = Tensor::<Flex, 2>::from_data(TensorData::new(features, [n, FEATURES]), &self.device);
        numbers(self.network.valid().forward(x))
    }

    /// The weights now.
    pub fn weights(&self) -> Weights {
        self.network.weights()
    }

    /// The optimiser's state for a checkpoint.
    ///
    /// # Errors
    /// [`OptimizerState`].
    pub fn optimizer_state(&self) -> Result<Vec<u8>, OptimizerState> {
        let recorder = NamedMpkBytesRecorder::<FullPrecisionSettings>::default();
        Recorder::<Cpu>::record(&recorder, self.optimizer.to_record(), ()).map_err(|e| OptimizerState(e.to_string()))
    }

    /// Goes on from a checkpoint.
    ///
    /// # Errors
    /// [`OptimizerState`].
    pub fn restore_optimizer(mut self, state: Vec<u8>) -> Result<Self, OptimizerState> {
        let recorder = NamedMpkBytesRecorder::<FullPrecisionSettings>::default();
        let record =
            Recorder::<Cpu>::load(&recorder, state, &self.device).map_err(|e| OptimizerState(e.to_string()))?;
        self.optimizer = self.optimizer.load_record(record);
        Ok(self)
    }
}

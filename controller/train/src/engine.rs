//! The engine: any network, any data, one way of training. In short:
//!
//! 1. A network is a burn module that implements [`Network`]: `[rows, inputs]` in, `[rows, outputs]` out, made of the
//!    seeded layers in [`layer`] ([`layer::Dense`], [`layer::Norm`]) or of burn's own; dropout by [`Pass::dropout`].
//! 2. Data is a [`Source`]: it writes row `i` into two slices, so windows need not exist before they are used. [`Rows`] holds
//!    all of them in memory. [`Columns`] fits mean and deviation on the training part.
//! 3. [`Plan`] says batch, optimiser, schedule, decay, clipping, seed, patience. [`Loss`] (or your own [`Criterion`]) says what is wrong.
//! 4. `Trainer::new(network, plan, workers).fit(&train, Some(&validation), &loss, &mut watch)` trains, stops early, and leaves the
//!    best weights in the network; [`predict()`] answers. [`on`] picks the device: `engine::on(&Device::default(), job)`.
//!
//! ```no_run
//! use burn::module::{AutodiffModule, Module};
//! use burn::tensor::{Tensor, backend::{AutodiffBackend, Backend}};
//! use headroom_train::engine::{self, Job, Loss, Network, Pass, Plan, Rows, Trainer, Workers, layer::{Dense, Init}};
//!
//! #[derive(Module, Debug)]
//! struct Two<B: Backend> { first: Dense<B>, second: Dense<B> }
//! impl<B: Backend> Network<B> for Two<B> {
//!     fn forward(&self, x: Tensor<B, 2>, pass: &Pass) -> Tensor<B, 2> {
//!         let h = burn::tensor::activation::relu(self.first.forward(x, pass));
//!         self.second.forward(pass.dropout(h, 0.1), pass)
//!     }
//! }
//! struct Fit { train: Rows, validation: Rows }
//! impl Job for Fit {
//!     type Out = Vec<f32>;
//!     fn run<B: AutodiffBackend>(self, workers: &Workers<B::Device>) -> anyhow::Result<Vec<f32>> {
//!         let init = &mut Init::new(1, workers.main());
//!         let network = Two::<B> { first: init.dense(8, 32), second: init.dense(32, 1) };
//!         let plan = Plan { epochs: 20, batch: Some(256), seed: 1, ..Plan::default() };
//!         let mut trainer = Trainer::<B, _>::new(network, plan, workers);
//!         trainer.fit(&self.train, Some(&self.validation), &Loss::Mse, &mut engine::Silent)?;
//!         Ok(engine::predict(&trainer.network().valid(), &self.validation, workers))
//!     }
//! }
//! # let (train, validation) = (Rows::new(8, 1), Rows::new(8, 1));
//! let answers = engine::on(&engine::Device::default(), Fit { train, validation });
//! ```
//!
//! A batch is cut into shards of [`Plan::shard_rows`] rows whose gradients are added in a fixed order, on as many threads as there are
//! cores or on several GPUs: the number of cores does not change a result, only the time it takes.

mod columns;
mod device;
pub mod image;
pub mod layer;
mod loss;
mod network;
mod optimiser;
mod parameters;
mod plan;
mod schedule;
mod source;
mod step;
mod trainer;

pub use columns::Columns;
pub use device::{Device, DeviceError, Job, Workers, on};
pub use loss::{Criterion, Loss};
pub use network::{Learnable, Network, Pass, Precision};
pub use optimiser::Optimiser;
pub use parameters::{numbers, parameters, restore, values};
pub use plan::{Clip, Plan};
pub use schedule::{Schedule, Shape as ScheduleShape};
pub use source::{Rows, Source, Subset};
pub use step::{evaluate, predict};
pub use trainer::{Checkpoint, Epoch, Silent, State, Step, Trainer, Watch};

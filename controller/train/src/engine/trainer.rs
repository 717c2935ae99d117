//! A training: epoch after epoch until the plan is done or validation no longer gets better. Its
//! whole state is a [`Checkpoint`]: going on from one gives the same numbers as never having stopped.

use super::device::Workers;
use super::loss::Criterion;
use super::network::Learnable;
use super::optimiser::{Memory, Stride, plain, recall};
use super::parameters::{restore, update, values};
use super::plan::Plan;
use super::source::Source;
use super::step::{Batch, evaluate, learn};
use crate::chance::Chance;
use anyhow::{Result, ensure};
use burn::tensor::backend::AutodiffBackend;
use serde::{Deserialize, Serialize};
use std::time::Instant;

/// One finished epoch.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Epoch {
    /// From 1.
    pub epoch: usize,
    /// Mean loss while learning.
    pub train_loss: f64,
    /// Loss on the validation part after it; without one, that of training.
    pub validation_loss: f64,
    /// Learning rate at its end.
    pub rate: f64,
    /// Training rows per second.
    #[serde(alias = "windows_per_s")]
    pub rows_per_s: f64,
}

/// A step within an epoch, for those who watch.
#[derive(Debug, Clone, Copy)]
pub struct Step {
    /// Steps done in all epochs.
    pub done: usize,
    /// Steps of all epochs.
    pub total: usize,
    /// Mean loss of the epoch so far.
    pub loss: f64,
    /// Learning rate.
    pub rate: f64,
    /// Rows per second in this epoch.
    pub rows_per_s: f64,
}

/// Somebody who watches; an error from it ends the training.
pub trait Watch {
    /// Before the first epoch of a network that may go on from where it stood, if that was kept.
    ///
    /// # Errors
    /// What was kept cannot be read.
    fn begin(&mut self) -> Result<Option<Checkpoint>> {
        Ok(None)
    }

    /// After each epoch and after [`Watch::epoch`], with how to get what is needed to go on from here.
    ///
    /// # Errors
    /// It cannot be kept.
    fn keep(&mut self, _checkpoint: &dyn Fn() -> Checkpoint) -> Result<()> {
        Ok(())
    }

    /// After each step.
    ///
    /// # Errors
    /// Its own reasons to stop.
    fn step(&mut self, _step: &Step) -> Result<()> {
        Ok(())
    }

    /// After each epoch; `better` if it is the best so far, `done`: steps in all epochs.
    ///
    /// # Errors
    /// Its own reasons to stop.
    fn epoch(&mut self, _epoch: &Epoch, _better: bool, _done: usize) -> Result<()> {
        Ok(())
    }
}

/// Nobody watches.
#[derive(Debug, Clone, Copy)]
pub struct Silent;
impl Watch for Silent {}

/// Where a training stands.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct State {
    /// Finished epochs.
    pub epochs: Vec<Epoch>,
    /// The one with the lowest validation loss.
    pub best_epoch: usize,
    /// That loss; nothing before the first epoch.
    pub best_loss: Option<f64>,
}

/// Everything that is needed to go on, as plain numbers.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Checkpoint {
    /// Weights now, by parameter.
    pub weights: Vec<Vec<f32>>,
    /// Weights with the lowest validation loss.
    pub best: Vec<Vec<f32>>,
    /// The optimiser's memory, by parameter.
    pub memory: Vec<Vec<Vec<f32>>>,
    /// Steps the optimiser has made.
    pub steps: u64,
    /// Where the training stands.
    pub state: State,
}

/// Network, optimiser and state.
#[derive(Debug)]
pub struct Trainer<B: AutodiffBackend, N> {
    network: N,
    plan: Plan,
    workers: Workers<B::Device>,
    memory: Vec<Memory<B::InnerBackend>>,
    steps: u64,
    best: Vec<Vec<f32>>,
    state: State,
}

impl<B: AutodiffBackend, N: Learnable<B>> Trainer<B, N> {
    /// Before the first epoch.
    pub fn new(network: N, plan: Plan, workers: &Workers<B::Device>) -> Self {
        let best = values(&network);
        let memory = best.iter().map(|_| Memory::new()).collect();
        Self { network, plan, workers: workers.clone(), memory, steps: 0, best, state: State::default() }
    }

    /// The network as it is now; after [`Trainer::fit`] with the best weights.
    pub fn network(&self) -> &N {
        &self.network
    }

    /// Where the training stands.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// The weights with the lowest validation loss so far.
    pub fn best(&self) -> &[Vec<f32>] {
        &self.best
    }

    /// Whether the plan wants another epoch.
    pub fn goes_on(&self) -> bool {
        let done = self.state.epochs.len();
        done < self.plan.epochs && self.plan.patience.is_none_or(|patience| done - self.state.best_epoch < patience)
    }

    /// Trains to the end and takes the best weights.
    ///
    /// # Errors
    /// As [`Trainer::epoch`].
    pub fn fit<C: Criterion>(
        &mut self,
        train: &dyn Source,
        validation: Option<&dyn Source>,
        criterion: &C,
        watch: &mut dyn Watch,
    ) -> Result<()> {
        while self.goes_on() {
            self.epoch(train, validation, criterion, watch)?;
            watch.keep(&|| self.checkpoint())?;
        }
        self.take_best();
        Ok(())
    }

    /// Puts the best weights so far into the network.
    pub fn take_best(&mut self) {
        if let Ok(network) = restore(self.network.clone(), &self.best) {
            self.network = network;
        }
    }

    /// One pass over the training part, in an order that depends on seed and epoch alone.
    ///
    /// # Errors
    /// No rows, a loss that is no longer a number, or what the watcher says.
    pub fn epoch<C: Criterion>(
        &mut self,
        train: &dyn Source,
        validation: Option<&dyn Source>,
        criterion: &C,
        watch: &mut dyn Watch,
    ) -> Result<Epoch> {
        let number = self.state.epochs.len() + 1;
        let mut order: Vec<usize> = (0..train.rows()).collect();
        ensure!(!order.is_empty(), "the training part has no rows");
        Chance::new(self.plan.seed, &format!("epoch/{number}")).shuffle(&mut order);
        let (size, steps) = (self.plan.rows_per_step(order.len()), self.plan.steps(order.len()));
        let (started, mut sum, mut seen, mut rate) = (Instant::now(), 0.0, 0, self.plan.rate);
        for (i, rows) in order.chunks(size).enumerate() {
            let done = (number - 1) * steps + i;
            rate = self.plan.schedule.rate(done, steps, self.plan.epochs, self.plan.rate);
            let batch = Batch { source: train, rows, epoch: number as u64, step: done as u64 };
            let loss = self.step(&batch, criterion, rate);
            ensure!(loss.is_finite(), "the loss is no longer a number in epoch {number}: try a lower rate");
            sum += loss * rows.len() as f64;
            seen += rows.len();
            let rows_per_s = seen as f64 / started.elapsed().as_secs_f64().max(1e-9);
            let total = steps * self.plan.epochs;
            watch.step(&Step { done: done + 1, total, loss: sum / seen as f64, rate, rows_per_s })?;
        }
        let rows_per_s = seen as f64 / started.elapsed().as_secs_f64().max(1e-9);
        let train_loss = sum / seen as f64;
        let validation_loss = match validation {
            Some(source) => evaluate::<B::InnerBackend, _, _>(&self.network.valid(), source, criterion, &self.workers),
            None => train_loss,
        };
        ensure!(validation_loss.is_finite(), "the validation loss is no longer a number in epoch {number}");
        let epoch = Epoch { epoch: number, train_loss, validation_loss, rate, rows_per_s };
        self.state.epochs.push(epoch);
        let better = self.state.best_loss.is_none_or(|best| validation_loss < best);
        if better {
            (self.state.best_epoch, self.state.best_loss) = (number, Some(validation_loss));
            self.best = values(&self.network);
        }
        watch.epoch(&epoch, better, number * steps)?;
        Ok(epoch)
    }

    fn step<C: Criterion>(&mut self, batch: &Batch<'_>, criterion: &C, rate: f64) -> f64 {
        let (loss, gradients) = learn::<B, N, C>(&self.network, batch, criterion, &self.plan, &self.workers);
        if !loss.is_finite() {
            return loss;
        }
        self.steps += 1;
        let count = i32::try_from(self.steps).unwrap_or(i32::MAX);
        let stride = Stride { rate, decay: self.plan.weight_decay, count };
        let (optimiser, memory) = (self.plan.optimiser, &mut self.memory);
        self.network = update::<B, N, _>(self.network.clone(), gradients, |index, parameter, gradient| {
            optimiser.step(&mut memory[index], stride, parameter, gradient)
        });
        loss
    }

    /// Everything needed to go on.
    pub fn checkpoint(&self) -> Checkpoint {
        Checkpoint {
            weights: values(&self.network),
            best: self.best.clone(),
            memory: plain(&self.memory),
            steps: self.steps,
            state: self.state.clone(),
        }
    }

    /// Goes on from a checkpoint of the same network and plan.
    ///
    /// # Errors
    /// The checkpoint is of another network.
    pub fn resume(mut self, checkpoint: Checkpoint) -> Result<Self> {
        let other = |why: String| anyhow::anyhow!("the checkpoint is of another network: {why}");
        restore(self.network.clone(), &checkpoint.best).map_err(other)?;
        self.network = restore(self.network, &checkpoint.weights).map_err(other)?;
        ensure!(checkpoint.memory.len() == checkpoint.weights.len(), "the checkpoint is of another optimiser");
        self.memory = recall(&checkpoint.memory, self.workers.main());
        (self.steps, self.best, self.state) = (checkpoint.steps, checkpoint.best, checkpoint.state);
        Ok(self)
    }
}

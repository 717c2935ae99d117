//! A training from data to model: split, scale, learn with checkpoints and early stopping, then
//! export, check that tract gives the same answers, and measure on data it never saw.

mod export;
mod prepare;

pub use export::{Exported, export, revision};

use crate::engine::{self, Checkpoint, Job, Loss, Trainer, Workers};
use crate::network::{Network, Normalised};
use crate::options::{Places, Recipe, Usage};
use crate::progress::Progress;
use crate::run_folder::RunFolder;
use crate::scale::Scale;
use crate::stop::Stop;
use crate::weights::Weights;
use anyhow::{Context, Result};
use burn::tensor::backend::AutodiffBackend;
use headroom_predict::QUANTILES;
use prepare::Parts;

/// Trains, and leaves a complete run folder.
///
/// # Errors
/// [`Usage`] and [`crate::data::DataError`] for what the user gave, others for failures on the way.
pub fn fit(recipe: &Recipe, places: &Places, stop: &Stop) -> Result<Exported> {
    recipe.check()?;
    let folder = RunFolder::new(&places.out);
    if places.resume {
        let before = folder.recipe().context("there is no training to resume")?;
        let differences = recipe.differences(&before);
        if !differences.is_empty() {
            return Err(Usage(format!("this is not the training to resume: {}", differences.join("; "))).into());
        }
    } else if folder.is_used() {
        let place = places.out.display();
        return Err(Usage(format!("{place} already holds a training: add --resume or name another --out")).into());
    }
    let (parts, prepared) = prepare::prepare(recipe, places)?;
    folder.create()?;
    if places.resume && folder.prepared()?.fingerprint != prepared.fingerprint {
        return Err(Usage("this is not the training to resume: the data has changed".to_owned()).into());
    }
    folder.write_recipe(recipe)?;
    folder.write_prepared(&prepared)?;
    let checkpoint = if places.resume { folder.checkpoint().ok() } else { None };
    let learn = Learn { recipe, parts: &parts, scale: &prepared.scale, folder: &folder, checkpoint, stop };
    let best = engine::on(&recipe.device, learn)?;
    export::finish(recipe, &folder, &prepared, &parts, &best)
}

/// The part of a training that runs on a device.
struct Learn<'a> {
    recipe: &'a Recipe,
    parts: &'a Parts,
    scale: &'a Scale,
    folder: &'a RunFolder,
    checkpoint: Option<Checkpoint>,
    stop: &'a Stop,
}

impl Job for Learn<'_> {
    type Out = Weights;

    fn run<B: AutodiffBackend>(self, workers: &Workers<B::Device>) -> Result<Weights> {
        let recipe = self.recipe;
        let plan = recipe.plan();
        let steps = plan.steps(self.parts.train.len());
        let weights = Weights::random(recipe.shape, recipe.seed);
        let mut trainer = Trainer::<B, _>::new(Network::new(&weights, workers.main()), plan, workers);
        if let Some(checkpoint) = self.checkpoint {
            trainer = trainer.resume(checkpoint)?;
        }
        let loss = Loss::Pinball { quantiles: QUANTILES.map(|q| q as f32).to_vec() };
        let train = Normalised { windows: &self.parts.train, scale: self.scale };
        let validation = Normalised { windows: &self.parts.validation, scale: self.scale };
        let done = trainer.state().epochs.len() * steps;
        let progress = Progress::new(steps * recipe.epochs, done).stopped_by(self.stop);
        let mut watch = progress.counting("windows");
        while trainer.goes_on() {
            trainer.epoch(&train, Some(&validation), &loss, &mut watch)?;
            self.folder.write_epochs(&trainer.state().epochs)?;
            self.folder.write_checkpoint(&trainer.checkpoint())?;
        }
        Weights::from_list(recipe.shape, trainer.best()).map_err(anyhow::Error::msg)
    }
}

//! A training from data to model: split, scale, learn with checkpoints and early stopping, then
//! export, check that tract gives the same answers, and measure on data it never saw.

mod export;
mod prepare;

pub use export::{Exported, export};

use crate::chance::Chance;
use crate::learn::Learner;
use crate::options::{Places, Recipe, Usage};
use crate::progress::Progress;
use crate::run_folder::{Checkpoint, Epoch, RunFolder, State};
use crate::scale::Scale;
use crate::schedule;
use crate::stop::Stop;
use crate::weights::Weights;
use crate::windows::{TARGETS, Windows};
use anyhow::{Context, Result};
use headroom_predict::{FEATURES, OUTPUTS, QUANTILES};
use prepare::Parts;

/// Windows per forward pass where nothing is learnt.
const ANSWER_BATCH: usize = 4096;

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
    let best = learn(recipe, &parts, &prepared.scale, &folder, checkpoint, stop)?;
    export::finish(recipe, &folder, &prepared, &parts, &best)
}

fn learn(
    recipe: &Recipe,
    parts: &Parts,
    scale: &Scale,
    folder: &RunFolder,
    checkpoint: Option<Checkpoint>,
    stop: &Stop,
) -> Result<Weights> {
    let (mut learner, mut best, mut state) = match checkpoint {
        Some(c) => {
            let learner = Learner::new(&c.weights, recipe.weight_decay).restore_optimizer(c.optimizer)?;
            (learner, c.best, c.state)
        }
        None => {
            let weights = Weights::random(recipe.shape, recipe.seed);
            (Learner::new(&weights, recipe.weight_decay), weights, State::default())
        }
    };
    let steps = parts.train.len().div_ceil(recipe.batch);
    let total = steps * recipe.epochs;
    let mut progress = Progress::new(total, state.epochs.len() * steps);
    while state.epochs.len() < recipe.epochs && state.epochs.len() - state.best_epoch < recipe.patience {
        let number = state.epochs.len() + 1;
        let (train_loss, windows_per_s) =
            epoch(&mut learner, recipe, &parts.train, scale, number, &mut progress, stop)?;
        let validation_loss = normalised_loss(&learner, &parts.validation, scale);
        let rate = schedule::rate(number * steps - 1, total, recipe.rate);
        state.epochs.push(Epoch { epoch: number, train_loss, validation_loss, rate, windows_per_s });
        let better = state.best_loss.is_none_or(|loss| validation_loss < loss);
        if better {
            (state.best_epoch, state.best_loss, best) = (number, Some(validation_loss), learner.weights());
        }
        let mark = if better { " *" } else { "" };
        progress.epoch(
            number * steps,
            &format!("epoch {number:>3}  loss {train_loss:.5}  validation {validation_loss:.5}{mark:<2}  rate {rate:.1e}  {windows_per_s:.0} windows/s"),
        );
        folder.write_epochs(&state.epochs)?;
        folder.write_checkpoint(&Checkpoint {
            weights: learner.weights(),
            best: best.clone(),
            optimizer: learner.optimizer_state()?,
            state: state.clone(),
        })?;
    }
    Ok(best)
}

/// One pass in an order that depends on seed and epoch alone: a resumed training takes the same.
fn epoch(
    learner: &mut Learner,
    recipe: &Recipe,
    train: &Windows,
    scale: &Scale,
    number: usize,
    progress: &mut Progress,
    stop: &Stop,
) -> Result<(f64, f64)> {
    let mut order: Vec<usize> = (0..train.len()).collect();
    Chance::new(recipe.seed, &format!("epoch/{number}")).shuffle(&mut order);
    let steps = order.len().div_ceil(recipe.batch);
    let (started_s, mut sum, mut seen) = (progress.seconds(), 0.0, 0);
    for (i, batch) in order.chunks(recipe.batch).enumerate() {
        stop.check()?;
        let done = (number - 1) * steps + i;
        let rate = schedule::rate(done, steps * recipe.epochs, recipe.rate);
        let (features, outcomes) = gather(train, batch, scale);
        let loss = f64::from(learner.step(features, outcomes, rate));
        anyhow::ensure!(loss.is_finite(), "the loss is no longer a number in epoch {number}: try a lower --rate");
        sum += loss * batch.len() as f64;
        seen += batch.len();
        let speed = seen as f64 / (progress.seconds() - started_s).max(1e-9);
        progress.step(done + 1, sum / seen as f64, rate, speed);
    }
    Ok((sum / seen as f64, seen as f64 / (progress.seconds() - started_s).max(1e-9)))
}

/// Normalised features and outcomes of some windows.
fn gather(windows: &Windows, which: &[usize], scale: &Scale) -> (Vec<f32>, Vec<f32>) {
    let mut features = Vec::with_capacity(which.len() * FEATURES);
    let mut outcomes = Vec::with_capacity(which.len() * TARGETS);
    for i in which {
        scale.normalise(windows.row(*i), &mut features);
        outcomes.extend(windows.outcome(*i).iter().zip(&scale.output).map(|(y, scale)| y / scale));
    }
    (features, outcomes)
}

/// Answers in nameplates, as the ONNX file gives them.
fn answers(learner: &Learner, windows: &Windows, scale: &Scale) -> Vec<f32> {
    let all: Vec<usize> = (0..windows.len()).collect();
    let mut answers = Vec::with_capacity(windows.len() * OUTPUTS);
    for batch in all.chunks(ANSWER_BATCH) {
        let (features, _) = gather(windows, batch, scale);
        let by_horizon = scale.output.iter().flat_map(|s| [*s; QUANTILES.len()]).cycle();
        answers.extend(learner.answers(features).into_iter().zip(by_horizon).map(|(a, scale)| a * scale));
    }
    answers
}

/// The loss of training, on other windows.
fn normalised_loss(learner: &Learner, windows: &Windows, scale: &Scale) -> f64 {
    let answers = answers(learner, windows, scale);
    let mut sum = 0.0;
    for (i, answer) in answers.chunks_exact(OUTPUTS).enumerate() {
        for (k, predicted) in answer.iter().enumerate() {
            let (h, q) = (k / QUANTILES.len(), k % QUANTILES.len());
            let outcome = f64::from(windows.outcome(i)[h]);
            let loss = crate::metrics::pinball(QUANTILES[q], outcome, f64::from(*predicted));
            sum += loss / f64::from(scale.output[h]);
        }
    }
    sum / answers.len() as f64
}

//! Several networks trained on parts of the groups; see [`crate::tabular`].

use super::member::Member;
use super::network::Layers;
use crate::chance::Chance;
use crate::engine::layer::Init;
use crate::engine::{self, Columns, Criterion, Device, Job, Plan, Rows, Source, Subset, Trainer, Watch, Workers};
use anyhow::{Result, ensure};
use burn::tensor::backend::AutodiffBackend;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How it is made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Design {
    /// Units of the hidden layers.
    pub hidden: Vec<usize>,
    /// Share of hidden units dropped while learning.
    pub dropout: f64,
    /// Networks; each learns without one of so many parts of the groups.
    pub folds: usize,
    /// How each is trained. Its seed decides parts and weights, too.
    pub plan: Plan,
}

/// Networks that answer together.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ensemble {
    /// Scale of the features, fitted on all training rows.
    pub columns: Columns,
    /// The networks.
    pub members: Vec<Member>,
}

/// What a training gives.
#[derive(Debug, Clone)]
pub struct Fitted {
    /// The networks.
    pub ensemble: Ensemble,
    /// The answer to each training row by the network that never saw its group.
    pub unseen: Vec<Vec<f32>>,
    /// Best epoch of each network.
    pub epochs: Vec<usize>,
    /// Validation loss of each network at its best epoch.
    pub losses: Vec<f64>,
}

/// Trains on rows of features as they are (they are normalised here). `groups` says to which group
/// each row belongs; rows of one group are never in learning and validation at once.
///
/// # Errors
/// Fewer groups than parts, a loss that is no longer a number, or what the watcher says.
pub fn fit<C: Criterion>(
    rows: &Rows,
    groups: &[usize],
    outputs: usize,
    design: &Design,
    criterion: &C,
    device: &Device,
    watch: &mut dyn Watch,
) -> Result<Fitted> {
    let (width, _) = rows.widths();
    ensure!(groups.len() == rows.rows(), "invariant: a group for each row");
    let columns = Columns::of(&rows.inputs, width);
    let mut scaled = rows.clone();
    columns.normalise(&mut scaled.inputs);
    let parts = parts(groups, design)?;
    let sizes: Vec<usize> = [width].into_iter().chain(design.hidden.iter().copied()).chain([outputs]).collect();
    let mut fitted = Fitted {
        ensemble: Ensemble { columns, members: Vec::new() },
        unseen: vec![Vec::new(); groups.len()],
        epochs: Vec::new(),
        losses: Vec::new(),
    };
    for part in 0..design.folds {
        let is_held_out = |row: &usize| parts[*row] == part;
        let (held_out, learnt): (Vec<usize>, Vec<usize>) = (0..groups.len()).partition(is_held_out);
        let mut plan = design.plan.clone();
        plan.seed = Chance::keyed([design.plan.seed, part as u64, 1]).bits();
        let job = Fold {
            train: Subset { of: &scaled, rows: learnt },
            validation: Subset { of: &scaled, rows: held_out.clone() },
            sizes: &sizes,
            dropout: design.dropout,
            plan,
            criterion,
            watch,
        };
        let (parameters, epoch, loss) = engine::on(device, job)?;
        let member = Member { sizes: sizes.clone(), parameters };
        for row in held_out {
            fitted.unseen[row] = member.answer(&scaled.inputs[row * width..(row + 1) * width]);
        }
        fitted.ensemble.members.push(member);
        fitted.epochs.push(epoch);
        fitted.losses.push(loss);
    }
    Ok(fitted)
}

/// The part in which each row is held out: groups in random order, dealt out in turn.
fn parts(groups: &[usize], design: &Design) -> Result<Vec<usize>> {
    let mut all: Vec<usize> = groups.to_vec();
    all.sort_unstable();
    all.dedup();
    let (count, folds) = (all.len(), design.folds);
    ensure!(folds >= 2 && count >= folds, "{count} groups cannot be divided into {folds} parts: more data is needed");
    Chance::new(design.plan.seed, "parts").shuffle(&mut all);
    let of: BTreeMap<usize, usize> = all.into_iter().enumerate().map(|(i, group)| (group, i % folds)).collect();
    Ok(groups.iter().map(|group| of[group]).collect())
}

struct Fold<'a, C> {
    train: Subset<'a>,
    validation: Subset<'a>,
    sizes: &'a [usize],
    dropout: f64,
    plan: Plan,
    criterion: &'a C,
    watch: &'a mut dyn Watch,
}

impl<C: Criterion> Job for Fold<'_, C> {
    type Out = (Vec<Vec<f32>>, usize, f64);

    fn run<B: AutodiffBackend>(self, workers: &Workers<B::Device>) -> Result<Self::Out> {
        let network = Layers::<B>::new(self.sizes, self.dropout, &mut Init::new(self.plan.seed, workers.main()));
        let mut trainer = Trainer::new(network, self.plan, workers);
        if let Some(checkpoint) = self.watch.begin()? {
            trainer = trainer.resume(checkpoint)?;
        }
        trainer.fit(&self.train, Some(&self.validation), self.criterion, self.watch)?;
        let state = trainer.state();
        Ok((trainer.best().to_vec(), state.best_epoch, state.best_loss.unwrap_or(f64::NAN)))
    }
}

impl Ensemble {
    /// The mean answer to one row of features as they are.
    pub fn answer(&self, features: &[f32]) -> Vec<f32> {
        let mut row = features.to_vec();
        self.columns.normalise(&mut row);
        let mut mean: Vec<f32> = Vec::new();
        for member in &self.members {
            let answer = member.answer(&row);
            mean.resize(answer.len(), 0.0);
            mean.iter_mut().zip(answer).for_each(|(sum, v)| *sum += v);
        }
        mean.iter_mut().for_each(|v| *v /= self.members.len() as f32);
        mean
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{Loss, Silent};

    fn design(folds: usize) -> Design {
        let plan = Plan { epochs: 25, batch: Some(64), rate: 5e-3, ..Plan::default() };
        Design { hidden: vec![16], dropout: 0.0, folds, plan }
    }

    fn rows(chance: &mut Chance) -> (Rows, Vec<usize>) {
        let mut rows = Rows::new(2, 1);
        for _ in 0..600 {
            let x = [chance.between(-1.0, 1.0) as f32, chance.between(5.0, 9.0) as f32];
            rows.push(&x, &[x[0].abs()]);
        }
        (rows, (0..600).map(|i| i / 20).collect())
    }

    #[test]
    fn it_learns_what_no_line_can_and_repeats_itself() {
        let (rows, groups) = rows(&mut Chance::new(1, "test"));
        let fit = || fit(&rows, &groups, 1, &design(3), &Loss::Mse, &Device::default(), &mut Silent).unwrap();
        let fitted = fit();
        // The best line through |x| misses by 0.29 on average.
        let missed = |x: f32| (fitted.ensemble.answer(&[x, 7.0])[0] - x.abs()).abs();
        assert!(missed(-0.8) < 0.1 && missed(0.8) < 0.1 && missed(0.0) < 0.2, "{}", missed(-0.8));
        assert!(fitted.unseen.iter().all(|answer| answer.len() == 1));
        assert_eq!(fitted.ensemble, fit().ensemble);
    }

    #[test]
    fn a_group_is_never_on_both_sides() {
        let groups: Vec<usize> = (0..100).map(|i| i / 7).collect();
        let parts = parts(&groups, &design(4)).unwrap();
        assert!(groups.windows(2).zip(parts.windows(2)).all(|(g, p)| g[0] != g[1] || p[0] == p[1]));
        assert!((0..4).all(|part| parts.contains(&part)));
        assert!(super::parts(&[1, 1, 2], &design(4)).unwrap_err().to_string().contains("2 groups"));
    }
}

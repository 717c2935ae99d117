//! Forecasts of one cell by networks that learnt from others, beside what they have to beat.

use super::cells::Cell;
use super::features::{self, WINDOW};
use crate::engine::{Device, Loss, Optimiser, Plan, Rows, Watch};
use crate::tabular::linear::Linear;
use crate::tabular::{self, Design};
use anyhow::{Result, ensure};

/// Added to both lives before their ratio is taken, cycles: near the end the ratio must not run away.
const SOFT: f64 = 5.0;
/// Networks, each without one part of the training cells' cycles.
const FOLDS: usize = 4;
/// Cycles in a row that are held out together. Whole cells would be a stricter judge, but with few of
/// them each network would miss a whole kind of cell.
const BLOCK: usize = 25;

/// Truth and what was forecast, cycle by cycle.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Forecasts {
    /// What came.
    pub truth: Vec<f64>,
    /// By the networks.
    pub model: Vec<f64>,
    /// By ridge regression on the same features, from the same cells.
    pub linear: Vec<f64>,
    /// Without learning: the last value, or a straight line to the end of life.
    pub naive: Vec<f64>,
}

/// How the networks are made.
fn design(seed: u64) -> Design {
    let optimiser = Optimiser::adam();
    let plan =
        Plan { epochs: 60, batch: Some(128), optimiser, rate: 2e-3, weight_decay: 5e-3, seed, ..Plan::default() };
    Design { hidden: vec![32], dropout: 0.0, folds: FOLDS, plan }
}

/// An example: features, what is learnt, truth, the naive forecast.
struct Example {
    features: Vec<f32>,
    target: f64,
    truth: f64,
    naive: f64,
}

/// The health of `cells[held_out]` `horizon` cycles ahead, from cycle [`WINDOW`] on.
///
/// # Errors
/// Fewer than two other cells, or failures on the way.
pub fn health(
    cells: &[Cell],
    held_out: usize,
    horizon: usize,
    seed: u64,
    device: &Device,
    watch: &mut dyn Watch,
) -> Result<Forecasts> {
    let examples = |cell: &Cell| -> Vec<Example> {
        let ends = WINDOW..=cell.health.len().saturating_sub(horizon);
        let example = |end: usize| {
            let (now, truth) = (cell.health[end - 1], cell.health[end - 1 + horizon]);
            Example { features: features::next(&cell.health[..end]), target: truth - now, truth, naive: now }
        };
        ends.map(example).collect()
    };
    forecast(cells, held_out, &examples, &|e, change| e.naive + change, seed, device, watch)
}

/// The cycles that `cells[held_out]` has left to `end`, from cycle [`WINDOW`] to then; none if it does
/// not come to that. Learnt is by how much the straight line is wrong, as the log of a ratio, because
/// kinds of cells live tens or hundreds of cycles.
///
/// # Errors
/// Fewer than two other cells that reached `end`, or failures on the way.
pub fn remaining(
    cells: &[Cell],
    held_out: usize,
    end: f64,
    seed: u64,
    device: &Device,
    watch: &mut dyn Watch,
) -> Result<Forecasts> {
    let examples = |cell: &Cell| -> Vec<Example> {
        let last = features::end_of_life(&cell.health, end).unwrap_or(0);
        let example = |t: usize| {
            let past = &cell.health[..=t];
            let (truth, naive) = ((last - t) as f64, features::straight_line(past, end));
            let target = ((truth + SOFT) / (naive + SOFT)).ln();
            Example { features: features::to_end(past, end), target, truth, naive }
        };
        (WINDOW - 1..last).map(example).collect()
    };
    let lives = |e: &Example, log: f64| ((e.naive + SOFT) * log.exp() - SOFT).max(0.0);
    forecast(cells, held_out, &examples, &lives, seed, device, watch)
}

fn forecast(
    cells: &[Cell],
    held_out: usize,
    examples: &dyn Fn(&Cell) -> Vec<Example>,
    back: &dyn Fn(&Example, f64) -> f64,
    seed: u64,
    device: &Device,
    watch: &mut dyn Watch,
) -> Result<Forecasts> {
    let test = examples(&cells[held_out]);
    if test.is_empty() {
        return Ok(Forecasts::default());
    }
    let others: Vec<(usize, Vec<Example>)> = cells
        .iter()
        .enumerate()
        .filter(|(i, _)| *i != held_out)
        .map(|(i, cell)| (i, examples(cell)))
        .filter(|(_, examples)| !examples.is_empty())
        .collect();
    ensure!(others.len() >= 2, "{} cells to learn from, 2 are needed: give three cells or more", others.len());
    let all = || others.iter().flat_map(|(i, examples)| examples.iter().map(|e| (*i, e)));
    let targets: Vec<f64> = all().map(|(_, e)| e.target).collect();
    let scale = (targets.iter().map(|t| t * t).sum::<f64>() / targets.len() as f64).sqrt().max(1e-9);
    let width = test[0].features.len();
    let mut rows = Rows::new(width, 1);
    all().for_each(|(_, e)| rows.push(&e.features, &[(e.target / scale) as f32]));
    let groups = others.iter().flat_map(|(i, examples)| (0..examples.len()).map(move |t| (*i, t / BLOCK)));
    let longest = others.iter().map(|(_, examples)| examples.len()).max().unwrap_or(0) / BLOCK + 1;
    let groups: Vec<usize> = groups.map(|(cell, block)| cell * longest + block).collect();
    let linear = Linear::fit(&rows.inputs, width, &targets);
    let design = design(seed);
    let ensemble = tabular::fit(&rows, &groups, 1, &design, &Loss::Mse, device, watch)?.ensemble;
    Ok(Forecasts {
        truth: test.iter().map(|e| e.truth).collect(),
        model: test.iter().map(|e| back(e, f64::from(ensemble.answer(&e.features)[0]) * scale)).collect(),
        linear: test.iter().map(|e| back(e, linear.answer(&e.features))).collect(),
        naive: test.iter().map(|e| e.naive).collect(),
    })
}

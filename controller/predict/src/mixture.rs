//! The forecast of one series, made online: what comes in is held against what was said, and what is said is a mix. Own forecasts (a smoother
//! present, and the memory of stays in [`crate::stays`]) and those that are given from outside (a network's, the baseline's) are mixed by shares
//! that outcomes settle ([`crate::pool`]), for each horizon and target, with an ear for whether power stands or moves; the highest quantile is held to its coverage ([`crate::bound`]).
//!
//! `bench power` and the controller play the same [`Mixture`]: steps come one by one, [`Mixture::observe`] is told each one that is over,
//! [`Mixture::say`] asks for what comes. Nothing counts before it has come. A step without a value holds the last one and teaches nothing;
//! after [`GAP_S`] of them the run is forgotten, what was learnt about the forecasts is not. Which network speaks is not known here.
//!
//! Bounded: [`stays::MEMORY_S`] of values and, per horizon, the rows that are still to come true.

use crate::QUANTILES;
use crate::bound::{Bound, Sides, Step};
use crate::pool::{MOST, Pool, Present, State, Target};
use crate::stays::{self, Renewal};
use std::sync::Arc;

/// A silence so long ends a run, s: twice the furthest answer of the memory.
pub const GAP_S: f64 = 2.0 * stays::FURTHEST_S;
/// Power moves while it is off the fastest smoother present by more than this share of the run's swing. Chosen on the training folds of
/// `bench power` alone; from 0.05 to 0.15 all is much the same there.
const MOVING: f32 = 0.1;
/// The highest value known is taken so much higher.
const ABOVE: f32 = 1.01;

/// What is forecast, and of what it is mixed.
#[derive(Debug, Clone, PartialEq)]
pub struct Shape {
    /// Steps per second.
    pub rate_hz: f64,
    /// Seconds ahead, each a whole number of steps and at most [`stays::FURTHEST_S`].
    pub horizons_s: Vec<u32>,
    /// Whether the mean is said at each horizon, before the quantiles.
    pub mean: bool,
    /// Probabilities that rise; the quantile of the last one is held to its coverage.
    pub quantiles: [f64; QUANTILES.len()],
    /// Spans of the smoother presents, s, the fastest first; one at least.
    pub medians_s: Vec<f64>,
    /// Spans that tell the present level to the memory, s.
    pub levels_s: Vec<f64>,
    /// Forecasts from outside. The first is the last value's, with quantiles.
    pub outside: usize,
    /// A run is young for so long, s.
    pub young_s: f32,
    /// Which way the highest quantile may be moved.
    pub sides: Sides,
}

/// What is known from elsewhere, W.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Others {
    /// No highest quantile is above this, unless this run itself was.
    pub ceiling: f32,
    /// The highest value of other runs.
    pub highest: f32,
}

/// What is said at one horizon, W.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Said {
    /// The mean, where it is a target.
    pub mean: Option<f32>,
    /// The quantiles, which rise, before the last one is held to its coverage.
    pub quantiles: [f32; QUANTILES.len()],
    /// The last quantile, held to its coverage.
    pub bound: f32,
}

/// Whether the step that a forecast is made in is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Newest {
    /// It is the one observed last.
    Observed,
    /// It is the one after that; until it has a value it holds the last one.
    Open,
}

/// What was said and is still to come true: a ring of rows for each horizon, all in one piece.
#[derive(Debug, Clone)]
struct Pending {
    /// By horizon its delay in steps and its first row.
    rings: Vec<(usize, usize)>,
    /// Numbers to a row.
    width: usize,
    /// Per row one more than the step it was said at; 0: nothing was.
    said_at: Vec<u64>,
    /// Per row what was there.
    present: Vec<Present>,
    /// Per row by target its forecasts and the mix; then the bound.
    numbers: Vec<f32>,
}

/// See the module.
#[derive(Debug, Clone)]
pub struct Mixture {
    shape: Arc<Shape>,
    others: Others,
    /// The last [`stays::MEMORY_S`] and up to a fifth as many before them, so that they lie in one piece.
    past: Vec<f32>,
    renewal: Renewal,
    pending: Pending,
    pools: Vec<Pool>,
    bounds: Vec<Bound>,
    /// Steps that are over.
    steps: u64,
    /// Step at which this run began.
    began: u64,
    /// Steps since the last known value.
    silent: u64,
}

impl Shape {
    /// Forecasts that are mixed: smoother presents, memories, those from outside.
    pub fn forecasts(&self) -> usize {
        self.own() + self.outside
    }

    fn own(&self) -> usize {
        self.medians_s.len() + self.levels_s.len()
    }

    fn delay(&self, horizon_s: u32) -> usize {
        (f64::from(horizon_s) * self.rate_hz).round().max(1.0) as usize
    }

    /// Targets at each horizon.
    pub fn targets(&self) -> usize {
        usize::from(self.mean) + QUANTILES.len()
    }

    fn pools(&self, one: impl Fn(Target) -> Pool) -> Vec<Pool> {
        let targets = || self.mean.then_some(Target::Mean).into_iter().chain(self.quantiles.map(Target::Quantile));
        self.horizons_s.iter().flat_map(|_| targets().map(&one)).collect()
    }

    /// By horizon and target: equal shares until outcomes say otherwise.
    pub fn equal(&self) -> Vec<Pool> {
        self.pools(|target| Pool::new(target, self.forecasts()))
    }

    /// By horizon and target: the last forecast from outside that is there speaks alone until enough is known.
    pub fn led(&self) -> Vec<Pool> {
        self.pools(|target| Pool::led_by_the_last(target, self.forecasts()))
    }
}

impl Mixture {
    /// Of a series of which nothing is known yet; `pools` by horizon and target, as [`Shape::equal`] and [`Shape::led`] give them or
    /// [`Mixture::into_pools`] of another series.
    pub fn new(shape: Arc<Shape>, others: Others, pools: Vec<Pool>) -> Self {
        Self {
            pending: Pending::new(&shape),
            bounds: vec![Bound::new(shape.sides); shape.horizons_s.len()],
            past: Vec::new(),
            renewal: Renewal::default(),
            pools,
            steps: 0,
            began: 0,
            silent: 0,
            shape,
            others,
        }
    }

    /// What was learnt about the forecasts.
    pub fn into_pools(self) -> Vec<Pool> {
        self.pools
    }

    /// By horizon and target.
    pub fn pools(&self) -> &[Pool] {
        &self.pools
    }

    fn kept(&self) -> usize {
        (stays::MEMORY_S * self.shape.rate_hz) as usize
    }

    /// Forgets the run: what was drawn, and what was said and has not come true.
    pub fn forget(&mut self) {
        self.past.clear();
        self.renewal = Renewal::default();
        self.pending.said_at.fill(0);
        (self.began, self.silent) = (self.steps, 0);
    }

    /// A step that is over: its value, if it is known and a number.
    pub fn observe(&mut self, value: Option<f32>) {
        let value = value.filter(|value| value.is_finite());
        match value {
            Some(value) => {
                self.learn(value);
                self.push(value);
                self.silent = 0;
            }
            None => {
                self.silent += 1;
                if let Some(last) = self.past.last().copied() {
                    self.push(last);
                }
            }
        }
        self.steps += 1;
        if self.silent as f64 >= GAP_S * self.shape.rate_hz {
            self.forget();
        }
        if self.past.is_empty() {
            self.began = self.steps;
        }
    }

    fn push(&mut self, value: f32) {
        let kept = self.kept();
        if self.past.len() > kept + kept / 5 {
            let from = self.past.len() - kept;
            self.past.copy_within(from.., 0);
            self.past.truncate(kept);
        }
        self.past.push(value);
    }

    /// Holds what was said of the step that now ends against its value.
    fn learn(&mut self, outcome: f32) {
        let (targets, forecasts) = (self.shape.targets(), self.shape.forecasts());
        for h in 0..self.bounds.len() {
            let Some((row, present)) = self.pending.due(h, self.steps) else { continue };
            for (kind, pool) in self.pools[h * targets..(h + 1) * targets].iter_mut().enumerate() {
                let row = &row[kind * (forecasts + 1)..];
                pool.learn(&row[..forecasts], present, row[forecasts], outcome);
            }
            self.bounds[h].learn(outcome > row[row.len() - 1]);
        }
    }

    /// What comes, by horizon. `outside` are the forecasts from outside, each by horizon and target; one that is absent, of another length or
    /// not all numbers counts as absent. None where neither the run nor anybody outside says anything.
    pub fn say(&mut self, newest: Newest, outside: &[Option<&[f32]>]) -> Option<Vec<Said>> {
        let shape = Arc::clone(&self.shape);
        let (targets, forecasts, own) = (shape.targets(), shape.forecasts(), shape.own());
        let all = shape.horizons_s.len() * targets;
        let sound = |row: &&[f32]| row.len() == all && row.iter().all(|value| value.is_finite());
        let mut given = [None; MOST];
        for (place, row) in given.iter_mut().zip(outside).take(shape.outside) {
            *place = row.filter(sound);
        }
        let outside = &given[..shape.outside.min(MOST)];
        let now = match newest {
            Newest::Observed => self.steps.checked_sub(1)?,
            Newest::Open => self.steps,
        };
        let held = self.past.last().copied().filter(|_| newest == Newest::Open);
        held.iter().for_each(|value| self.push(*value));
        let mut present = Present::default();
        for i in (0..outside.len()).filter(|i| outside[*i].is_some()) {
            present = present.with(own + i);
        }
        let mut rows = vec![0.0; all * (forecasts + 1)];
        if let Some(last) = outside.first().copied().flatten().filter(|_| !self.past.is_empty()) {
            present = (0..own).fold(present, Present::with);
            self.own(last, &mut rows);
        }
        let passed_s = (now + 1).saturating_sub(self.began) as f32 / shape.rate_hz as f32;
        let seen = self.seen();
        present = present.in_state(self.state(&seen));
        if held.is_some() {
            self.past.pop();
        }
        for (i, row) in rows.chunks_exact_mut(forecasts + 1).enumerate() {
            for (place, outside) in row[own..forecasts].iter_mut().zip(outside) {
                *place = outside.map_or(0.0, |values| values[i]);
            }
            row[forecasts] = self.pools[i].mix(&row[..forecasts], present)?;
        }
        let youth = (1.0 - passed_s / shape.young_s).max(0.0);
        let first = usize::from(shape.mean);
        let mut said = Vec::with_capacity(shape.horizons_s.len());
        for (h, rows) in rows.chunks_exact(targets * (forecasts + 1)).enumerate() {
            let mixed = |i: usize| rows[i * (forecasts + 1) + forecasts];
            let mut quantiles: [f32; QUANTILES.len()] = std::array::from_fn(|q| mixed(first + q));
            let top = &mut quantiles[QUANTILES.len() - 1];
            *top = top.min(seen.ceiling);
            let mut floor = f32::MIN;
            for quantile in &mut quantiles {
                floor = floor.max(*quantile);
                *quantile = floor;
            }
            let [median, upper, quantile] = quantiles;
            let step = Step { median, upper, quantile, highest: seen.highest, high: seen.high, youth };
            let bound = self.bounds[h].of(&step);
            self.pending.keep(h, now, present, rows, bound);
            said.push(Said { mean: shape.mean.then(|| mixed(0)), quantiles, bound });
        }
        Some(said)
    }

    /// The forecasts of the run itself, into rows by horizon and target; `last` is the last value's.
    fn own(&mut self, last: &[f32], rows: &mut [f32]) {
        let shape = Arc::clone(&self.shape);
        let (targets, width) = (shape.targets(), shape.forecasts() + 1);
        let newest = self.past.len() - 1;
        let now = self.past[newest];
        let mut medians = [0.0; MOST];
        let medians = &mut medians[..shape.medians_s.len().min(MOST)];
        for (median, span_s) in medians.iter_mut().zip(&shape.medians_s) {
            *median = self.smooth(*span_s);
        }
        // As far above a smoother present as the last value's quantiles are above it.
        let from = |level: f32, i: usize| level + last[i] - now;
        for (i, row) in rows.chunks_exact_mut(width).enumerate() {
            row.iter_mut().zip(&*medians).for_each(|(place, level)| *place = from(*level, i));
        }
        let memories = stays::recall(&self.past, shape.rate_hz, &shape.levels_s, &mut self.renewal);
        let smoothest = medians.last().copied().unwrap_or(now);
        for m in 0..shape.levels_s.len() {
            let memory = memories.as_ref().and_then(|memories| memories.get(m));
            for (h, ahead_s) in shape.horizons_s.iter().enumerate() {
                let expected = memory.map(|memory| memory.at((*ahead_s).into()));
                for kind in 0..targets {
                    let i = h * targets + kind;
                    rows[i * width + shape.medians_s.len() + m] =
                        match (expected, kind.checked_sub(usize::from(shape.mean))) {
                            (None, _) => from(smoothest, i),
                            (Some(expected), None) => expected.mean(),
                            (Some(expected), Some(q)) => expected.quantile(shape.quantiles[q]),
                        };
                }
            }
        }
    }

    /// The middle of the newest values.
    fn smooth(&self, span_s: f64) -> f32 {
        let span = ((span_s * self.shape.rate_hz).round() as usize).clamp(1, self.past.len());
        stays::median(&self.past[self.past.len() - span..])
    }

    fn state(&self, seen: &Seen) -> State {
        let (Some(span_s), Some(now)) = (self.shape.medians_s.first(), self.past.last()) else { return State::Low };
        let (swing, off) = (seen.high - seen.low, now - self.smooth(*span_s));
        match () {
            () if !stays::is_swing(seen.low, seen.high) => State::Low,
            () if off > MOVING * swing => State::Rising,
            () if off < -MOVING * swing => State::Falling,
            () if *now > f32::midpoint(seen.low, seen.high) => State::High,
            () => State::Low,
        }
    }

    /// What this run and others say of the lowest and highest values.
    fn seen(&self) -> Seen {
        let past = &self.past[self.past.len().saturating_sub(self.kept())..];
        let (low, high) = if past.is_empty() { (0.0, 0.0) } else { stays::range(past) };
        let highest = self.others.highest.max(high) * ABOVE;
        // No part of a run is above what no value of it is.
        let own = if !past.is_empty() && self.others.ceiling < high {
            let top = self.shape.quantiles[QUANTILES.len() - 1] as f32;
            let index = ((past.len() as f32 * top) as usize).min(past.len() - 1);
            *past.to_vec().select_nth_unstable_by(index, f32::total_cmp).1
        } else {
            self.others.ceiling
        };
        Seen { low, high, highest, ceiling: self.others.ceiling.max(own) }
    }
}

#[derive(Debug, Clone, Copy)]
struct Seen {
    low: f32,
    high: f32,
    highest: f32,
    ceiling: f32,
}

impl Pending {
    fn new(shape: &Shape) -> Self {
        let width = shape.targets() * (shape.forecasts() + 1) + 1;
        let (mut rings, mut rows) = (Vec::new(), 0);
        for horizon_s in &shape.horizons_s {
            let delay = shape.delay(*horizon_s);
            rings.push((delay, rows));
            // A row is said before the outcome of the one a delay before it is heard.
            rows += delay + 1;
        }
        let (present, numbers) = (vec![Present::default(); rows], vec![0.0; rows * width]);
        Self { rings, width, said_at: vec![0; rows], present, numbers }
    }

    fn place(&self, h: usize, step: u64) -> usize {
        let (delay, first) = self.rings[h];
        first + (step % (delay as u64 + 1)) as usize
    }

    /// What was said, a horizon before, of the step that is now over.
    fn due(&self, h: usize, now: u64) -> Option<(&[f32], Present)> {
        let then = now.checked_sub(self.rings[h].0 as u64)?;
        let place = self.place(h, then);
        let row = &self.numbers[place * self.width..(place + 1) * self.width];
        (self.said_at[place] == then + 1).then(|| (row, self.present[place]))
    }

    fn keep(&mut self, h: usize, step: u64, present: Present, rows: &[f32], bound: f32) {
        let place = self.place(h, step);
        (self.said_at[place], self.present[place]) = (step + 1, present);
        let numbers = &mut self.numbers[place * self.width..(place + 1) * self.width];
        numbers[..rows.len()].copy_from_slice(rows);
        numbers[rows.len()] = bound;
    }
}

#[cfg(test)]
mod tests;

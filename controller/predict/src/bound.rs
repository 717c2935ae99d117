//! An upper bound that is held to its coverage while it runs, by its debt: the misses that it should have had by now less those that it had.
//! A small debt either way is chance and changes nothing; a growing one moves the bound down from the 99 % quantile to the 90 % quantile and
//! then the median, or up to the highest value known, and beyond those by [`GAIN`] (the saturating integrator of Angelopoulos, Candes and
//! Tibshirani, "Conformal PID Control for Time Series Prediction", NeurIPS 2023). An outcome counts when it has come true, `delay` windows
//! later, never before. While a run is young the bound leans to the highest value: nothing is known yet of what the job will do.
//!
//! Guarantee, for any series whatever (no exchangeability, no stationarity): as long as no outcome lies further than B times the run's
//! highest value from the quantiles and the highest value known, the share of misses after T outcomes differs from [`MISSES`] by at most
//! ([`LOWEST`] + B / [`GAIN`] + 1 + delay) / T, once the run is no longer young. It says nothing about a single window: misses come
//! together when a job starts that nothing announced.
//!
//! A controller does not let a bound fall ([`Sides::Upper`]): what covers too much costs throughput, what covers too little a breaker. Then the
//! share of misses after T outcomes is at most [`MISSES`] + ([`FULL`] + B / [`GAIN`] + 1 + delay) / T, and a long calm earns nothing that
//! a job could be missed for.

/// The share of misses aimed at.
pub const MISSES: f32 = 0.01;
/// A debt so large in misses is chance.
const CHANCE: f32 = 12.0;
/// At this debt the bound has reached the 90 % quantile or, the other way, the highest value.
const FULL: f32 = 25.0;
/// At this debt it has reached the median.
const LOWEST: f32 = 35.0;
/// Beyond, it moves by so much of the run's highest value per miss.
const GAIN: f32 = 0.02;

/// What a bound is made from, all in W.
#[derive(Debug, Clone, Copy, Default)]
pub struct Step {
    /// The median.
    pub median: f32,
    /// The 90 % quantile.
    pub upper: f32,
    /// The 99 % quantile before, at least the 90 % quantile.
    pub quantile: f32,
    /// The highest value known, of this run and others.
    pub highest: f32,
    /// The highest value of this run of late: the scale of moves.
    pub high: f32,
    /// How young the run is: 1 at its start, 0 when it is not young.
    pub youth: f32,
}

/// Which way a bound may move.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sides {
    /// Either way: its coverage is to be neither too low nor too high.
    Both,
    /// Up from the 99 % quantile, never below it.
    Upper,
}

/// The bound at one horizon of one series.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bound {
    sides: Sides,
    /// Misses that it should have had by now less those that it had.
    debt: f32,
}

impl Bound {
    /// Nothing is owed yet.
    pub fn new(sides: Sides) -> Self {
        Self { sides, debt: 0.0 }
    }

    /// Whether an outcome was above the bound that was said for it.
    pub fn learn(&mut self, missed: bool) {
        self.debt += MISSES - if missed { 1.0 } else { 0.0 };
        if self.sides == Sides::Upper {
            self.debt = self.debt.min(0.0);
        }
    }

    /// The bound now.
    pub fn of(&self, step: &Step) -> f32 {
        let debt = self.debt;
        let part = |from: f32, to: f32| ((debt.abs() - from) / (to - from)).clamp(0.0, 1.0);
        let between = |from: f32, to: f32, part: f32| from + (to - from) * part;
        let highest = step.highest.max(step.quantile);
        let held = if debt > 0.0 {
            let down = between(step.quantile, step.upper, part(CHANCE, FULL));
            between(down, step.median, part(FULL, LOWEST)) - GAIN * step.high * (debt - LOWEST).max(0.0)
        } else {
            between(step.quantile, highest, part(CHANCE, FULL)) + GAIN * step.high * (-debt - FULL).max(0.0)
        };
        between(held, highest, step.youth)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(quantile: f32) -> Step {
        let [median, upper] = [0.8, 0.9].map(|share| share * quantile);
        Step { median, upper, quantile, highest: quantile, high: 1000.0, ..Step::default() }
    }

    fn owing(debt: f32) -> Bound {
        Bound { debt, ..Bound::new(Sides::Both) }
    }

    /// SplitMix64 (Steele, Lea and Flood 2014), 0 to 1: tests need numbers, the crate must not have chance.
    fn noise(i: usize) -> f32 {
        let mut z = (i as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 40) as f32 / (1u64 << 24) as f32
    }

    /// Every bound that was said; an outcome is heard of `delay` later.
    fn said(sides: Sides, step: Step, outcomes: &[f32], delay: usize) -> Vec<f32> {
        let (mut bound, mut said) = (Bound::new(sides), Vec::new());
        for now in 0..outcomes.len() {
            if let Some(then) = now.checked_sub(delay) {
                bound.learn(outcomes[then] > said[then]);
            }
            said.push(bound.of(&step));
        }
        said
    }

    fn covered(sides: Sides, quantile: f32, outcomes: &[f32]) -> f32 {
        let said = said(sides, step(quantile), outcomes, 10);
        said.iter().zip(outcomes).filter(|(bound, outcome)| outcome <= bound).count() as f32 / outcomes.len() as f32
    }

    #[test]
    fn a_bound_too_low_or_too_high_ends_at_the_coverage_aimed_at() {
        let outcomes: Vec<f32> = (0..20_000).map(|i| 1000.0 * noise(i)).collect();
        for quantile in [500.0, 1500.0, 2000.0] {
            let share = covered(Sides::Both, quantile, &outcomes);
            assert!((share - (1.0 - MISSES)).abs() < 0.005, "{quantile}: {share}");
        }
        let share = covered(Sides::Upper, 500.0, &outcomes);
        assert!((share - (1.0 - MISSES)).abs() < 0.005, "{share}");
        assert_eq!(said(Sides::Upper, step(1500.0), &outcomes, 10), vec![1500.0; 20_000], "it never falls");
    }

    #[test]
    fn a_change_of_the_noise_is_followed() {
        let outcomes: Vec<f32> = (0..20_000).map(|i| noise(i) * if i < 10_000 { 1000.0 } else { 3000.0 }).collect();
        for sides in [Sides::Both, Sides::Upper] {
            let share = covered(sides, 990.0, &outcomes);
            assert!((share - (1.0 - MISSES)).abs() < 0.01, "{sides:?}: {share}");
        }
    }

    #[test]
    fn a_little_debt_changes_nothing_and_a_young_run_is_bounded_by_the_highest_value() {
        let mut one = Step { highest: 4000.0, ..step(1000.0) };
        assert_eq!([11.0, -11.0].map(|debt| owing(debt).of(&one)), [1000.0; 2]);
        assert_eq!([25.0, 35.0, 36.0].map(|debt| owing(debt).of(&one)), [900.0, 800.0, 780.0]);
        assert_eq!([-25.0, -26.0].map(|debt| owing(debt).of(&one)), [4000.0, 4020.0]);
        one.youth = 1.0;
        assert_eq!(owing(0.0).of(&one), 4000.0);
    }

    #[test]
    fn an_outcome_does_not_count_before_it_has_come() {
        let bounds = said(Sides::Both, Step { highest: 1500.0, ..step(1000.0) }, &[2000.0; 40], 15);
        assert_eq!(bounds[..15 + 11], [1000.0; 15 + 11]);
        assert!(bounds[15 + 13] > 1000.0 && bounds.is_sorted(), "{bounds:?}");
    }
}

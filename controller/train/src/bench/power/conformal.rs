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

/// One window, all in W.
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
    /// What came.
    pub outcome: Option<f32>,
}

/// The bounds of consecutive windows, each made from outcomes known by then.
pub fn bounds(steps: &[Step], delay: usize) -> Vec<f32> {
    let mut debt = 0.0;
    let mut bounds: Vec<f32> = Vec::with_capacity(steps.len());
    for (now, step) in steps.iter().enumerate() {
        let heard = now.checked_sub(delay).and_then(|then| steps[then].outcome.map(|outcome| outcome > bounds[then]));
        if let Some(missed) = heard {
            debt += MISSES - if missed { 1.0 } else { 0.0 };
        }
        bounds.push(bound(step, debt));
    }
    bounds
}

fn bound(step: &Step, debt: f32) -> f32 {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chance::Chance;

    fn step(quantile: f32) -> Step {
        let [median, upper] = [0.8, 0.9].map(|share| share * quantile);
        Step { median, upper, quantile, highest: quantile, high: 1000.0, ..Step::default() }
    }

    fn covered(quantile: f32, noise: impl Fn(usize, &mut Chance) -> f32, delay: usize) -> f64 {
        let mut chance = Chance::new(5, "conformal");
        let steps: Vec<Step> =
            (0..20_000).map(|i| Step { outcome: Some(noise(i, &mut chance)), ..step(quantile) }).collect();
        let bounds = bounds(&steps, delay);
        let hits = steps.iter().zip(&bounds).filter(|(s, b)| s.outcome.is_some_and(|o| o <= **b)).count();
        hits as f64 / steps.len() as f64
    }

    #[test]
    fn a_bound_too_low_or_too_high_ends_at_the_coverage_aimed_at() {
        for quantile in [500.0, 1500.0, 2000.0] {
            let share = covered(quantile, |_, chance| chance.between(0.0, 1000.0) as f32, 10);
            assert!((share - (1.0 - f64::from(MISSES))).abs() < 0.005, "{quantile}: {share}");
        }
    }

    #[test]
    fn a_change_of_the_noise_is_followed() {
        let share =
            covered(990.0, |i, chance| chance.between(0.0, if i < 10_000 { 1000.0 } else { 3000.0 }) as f32, 10);
        assert!((share - (1.0 - f64::from(MISSES))).abs() < 0.01, "{share}");
    }

    #[test]
    fn a_little_debt_changes_nothing_and_a_young_run_is_bounded_by_the_highest_value() {
        let mut one = Step { highest: 4000.0, ..step(1000.0) };
        assert_eq!([bound(&one, 11.0), bound(&one, -11.0)], [1000.0; 2]);
        assert_eq!([bound(&one, 25.0), bound(&one, 35.0), bound(&one, 36.0)], [900.0, 800.0, 780.0]);
        assert_eq!([bound(&one, -25.0), bound(&one, -26.0)], [4000.0, 4020.0]);
        one.youth = 1.0;
        assert_eq!(bound(&one, 0.0), 4000.0);
    }

    #[test]
    fn an_outcome_does_not_count_before_it_has_come() {
        let all = vec![Step { outcome: Some(2000.0), highest: 1500.0, ..step(1000.0) }; 40];
        let bounds = bounds(&all, 15);
        assert_eq!(bounds[..15 + 11], [1000.0; 15 + 11]);
        assert!(bounds[15 + 13] > 1000.0 && bounds.is_sorted(), "{bounds:?}");
    }
}

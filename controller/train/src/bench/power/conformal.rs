//! An upper bound that learns from its own misses while it runs (quantile tracking: Angelopoulos, Candes and Tibshirani, "Conformal PID
//! Control for Time Series Prediction", NeurIPS 2023; Gibbs and Candes, "Adaptive Conformal Inference", NeurIPS 2021). The quantile of
//! the network is moved up after each miss and down a little after each outcome that it covered, in parts of the window's highest value.
//! An outcome counts when it has come true, `delay` windows later, never before.
//!
//! Guarantee, for any series whatever (no exchangeability, no stationarity): as long as the move that would have covered each outcome stays
//! within +-B, the share of misses after T outcomes differs from [`MISSES`] by at most (B + GAIN (1 + delay)) / (GAIN T). It says nothing
//! about a single window: misses come together when a job starts that nothing announced.

/// The share of misses aimed at. Below 1 %, because misses come in bursts and are heard of late.
pub const MISSES: f32 = 0.008;
/// What one miss moves the bound by, as a part of the window's highest value.
const GAIN: f32 = 0.02;

/// One window: the quantile, the scale of moves (both W), and what came, if it is known.
#[derive(Debug, Clone, Copy)]
pub struct Step {
    /// The quantile before.
    pub quantile: f32,
    /// The window's highest value.
    pub high: f32,
    /// What came.
    pub outcome: Option<f32>,
}

/// The bounds of consecutive windows, each made from outcomes known by then.
pub fn bounds(steps: &[Step], delay: usize) -> Vec<f32> {
    let mut moved = 0.0;
    let mut bounds: Vec<f32> = Vec::with_capacity(steps.len());
    for (now, step) in steps.iter().enumerate() {
        let heard = now.checked_sub(delay).and_then(|then| steps[then].outcome.map(|outcome| outcome > bounds[then]));
        if let Some(missed) = heard {
            moved += GAIN * (if missed { 1.0 } else { 0.0 } - MISSES);
        }
        bounds.push(step.quantile + step.high * moved);
    }
    bounds
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chance::Chance;

    fn covered(quantile: f32, noise: impl Fn(usize, &mut Chance) -> f32, delay: usize) -> f64 {
        let mut chance = Chance::new(5, "conformal");
        let steps: Vec<Step> =
            (0..20_000).map(|i| Step { quantile, high: 1000.0, outcome: Some(noise(i, &mut chance)) }).collect();
        let bounds = bounds(&steps, delay);
        let hits = steps.iter().zip(&bounds).filter(|(s, b)| s.outcome.is_some_and(|o| o <= **b)).count();
        hits as f64 / steps.len() as f64
    }

    #[test]
    fn a_bound_too_low_or_too_high_ends_at_the_coverage_aimed_at() {
        for quantile in [-500.0, 1500.0] {
            let share = covered(quantile, |_, chance| chance.between(0.0, 1000.0) as f32, 10);
            assert!((share - (1.0 - f64::from(MISSES))).abs() < 0.005, "{share}");
        }
    }

    #[test]
    fn a_change_of_the_noise_is_followed() {
        let share =
            covered(990.0, |i, chance| chance.between(0.0, if i < 10_000 { 1000.0 } else { 3000.0 }) as f32, 10);
        assert!((share - (1.0 - f64::from(MISSES))).abs() < 0.01, "{share}");
    }

    #[test]
    fn an_outcome_does_not_count_before_it_has_come() {
        let step = Step { quantile: 0.0, high: 1.0, outcome: Some(1.0) };
        let bounds = bounds(&[step; 6], 4);
        assert_eq!(bounds[..4], [0.0; 4]);
        assert!(bounds[4] > 0.0 && bounds[5] > bounds[4]);
    }
}

//! A distribution-free safety margin on the upper quantiles of one rack: conformal quantile tracking.
//!
//! Each horizon and each quantile `q` above the median has an offset `m >= 0`, in shares of the
//! rack's nameplate, that is added to whatever forecast is used. When an outcome comes it was either
//! above the value that was issued (`missed = 1`) or not (`0`), and with `a = 1 - q`
//!
//! ```text
//! m <- max(0, m + STEP (missed - a))
//! ```
//!
//! which is the quantile tracker of Angelopoulos, Candes and Tibshirani, "Conformal PID control for
//! time series prediction", NeurIPS 2023 (the P part, eq. 5), itself the adaptive conformal
//! inference of Gibbs and Candes, NeurIPS 2021, on the value instead of the level.
//!
//! **Guarantee.** For *every* sequence of forecasts and outcomes, of whatever distribution, however
//! it shifts and even if chosen against us, after `n` outcomes
//!
//! ```text
//! share missed <= a + (1 + STEP (d + 1)) / (STEP n)
//! ```
//!
//! where `d` is the number of outcomes between issuing a forecast and learning what came of it (the
//! horizon in seconds). Proof: `m` rises by at least `STEP (missed - a)` each time, so `STEP` times
//! the sum of `missed - a` is at most the last `m`; and `m` never exceeds `1 + STEP (d + 1)`, because
//! a forecast issued with `m >= 1` is at least the nameplate and cannot be missed, so that only the
//! `d + 1` answers still on their way can raise it further. One day at 1 Hz leaves a gap of 0.15 %.
//!
//! **Assumptions.** The rack draws no more than its nameplate and the forecast is not negative (both
//! are enforced where forecasts are made; with a nameplate that is too small the bound holds for the
//! outcomes below it). Outcomes nobody measured count on neither side. It is coverage over time of
//! one rack and horizon, not of every single minute, and of what came *under the caps in force*.
//!
//! **Choices.** Per rack, not pooled: a breaker trips from one rack's error, and a pooled margin
//! would be right on average while one restless rack is missed each time. Never negative: a model
//! that is too careful costs throughput, one that is talked out of its care costs a breaker, so no
//! margin ever lowers a forecast, and the bound is one-sided. Size of a miss plays no part: one mad
//! meter reading moves the margin by one step.

use crate::{HORIZONS_S, QUANTILES};
use headroom_rack::Watts;

/// Step, in nameplates: a missed 99 % quantile raises the margin by 1 % of the nameplate, a hundred
/// covered ones take it back. The paper steps by a tenth of the range of recent errors; those of a
/// rack reach a tenth of its nameplate within a few seconds.
pub const STEP: f64 = 0.01;

/// The margins of one rack.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Margins([[f64; QUANTILES.len()]; HORIZONS_S.len()]);

impl Margins {
    /// From what [`Margins::shares`] gave; anything else is a start from zero.
    pub fn from_shares(shares: &[f64]) -> Self {
        let mut margins = Self::default();
        let lawful = |m: &f64| (0.0..=most(HORIZONS_S.len() - 1)).contains(m);
        if shares.len() == HORIZONS_S.len() * QUANTILES.len() && shares.iter().all(lawful) {
            margins.0.as_flattened_mut().copy_from_slice(shares);
        }
        margins
    }

    /// All of them, horizon by horizon and quantile by quantile, in nameplates.
    pub fn shares(&self) -> Vec<f64> {
        self.0.as_flattened().to_vec()
    }

    /// What is added at a horizon to a quantile (by index), in nameplates.
    pub fn share(&self, horizon: usize, quantile: usize) -> f64 {
        self.0[horizon][quantile]
    }

    /// Learns whether the outcome was above the value issued. The median has no margin.
    pub fn observe(&mut self, horizon: usize, quantile: usize, missed: bool) {
        let allowed = 1.0 - QUANTILES[quantile];
        if QUANTILES[quantile] > 0.5 {
            let m = &mut self.0[horizon][quantile];
            *m = (*m + STEP * (f64::from(u8::from(missed)) - allowed)).clamp(0.0, most(horizon));
        }
    }

    /// The forecast with its margins: by horizon and quantile, never lower than before, not beyond
    /// the nameplate unless the forecast was, quantiles still in order.
    pub fn widen(&self, values: &[Vec<Watts>], nameplate: Watts) -> Vec<Vec<Watts>> {
        let row = |(values, margins): (&Vec<Watts>, &[f64; QUANTILES.len()])| {
            let mut least = Watts::ZERO;
            let widened = values.iter().zip(margins).map(|(value, share)| {
                least = (*value + nameplate * *share).min(nameplate).max(*value).max(least);
                least
            });
            widened.collect()
        };
        values.iter().zip(&self.0).map(row).collect()
    }
}

/// No margin can lawfully become larger: see the proof above.
fn most(horizon: usize) -> f64 {
    1.0 + STEP * f64::from(HORIZONS_S[horizon] + 1)
}

/// The most that may be missed of `outcomes` at a horizon and quantile (by index), as a share.
pub fn bound(horizon: usize, quantile: usize, outcomes: u64) -> f64 {
    1.0 - QUANTILES[quantile] + most(horizon) / (STEP * outcomes as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NAMEPLATE: Watts = Watts::new(1000.0);

    /// Issues `forecasts` one a second and learns each outcome its horizon later; `outcome` sees what
    /// was issued, as the worst adversary would. Gives the share missed.
    fn missed(horizon: usize, quantile: usize, forecasts: &[f64], mut outcome: impl FnMut(usize, f64) -> f64) -> f64 {
        let (mut margins, mut count) = (Margins::default(), 0);
        let mut waiting = std::collections::VecDeque::new();
        for (t, forecast) in forecasts.iter().enumerate() {
            if waiting.len() > HORIZONS_S[horizon] as usize {
                margins.observe(horizon, quantile, waiting.pop_front().unwrap());
            }
            let mut values = vec![vec![Watts::ZERO; QUANTILES.len()]; HORIZONS_S.len()];
            values[horizon][quantile..].fill(NAMEPLATE * *forecast);
            let issued = margins.widen(&values, NAMEPLATE)[horizon][quantile] / NAMEPLATE;
            assert!(issued >= *forecast - 1e-12);
            let is_missed = outcome(t, issued) > issued;
            count += usize::from(is_missed);
            waiting.push_back(is_missed);
        }
        count as f64 / forecasts.len() as f64
    }

    fn noise(state: &mut u64) -> f64 {
        // SplitMix64 (Steele, Lea and Flood 2014): the tests need numbers, the crate must not have chance.
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = *state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }

    proptest! {
        #[test]
        fn no_sequence_whatever_misses_more_than_the_bound(
            pairs in prop::collection::vec((0.0..1.0f64, 0.0..=1.0f64), 1..4000),
            horizon in 0..HORIZONS_S.len(), quantile in 1..QUANTILES.len(),
        ) {
            let forecasts: Vec<f64> = pairs.iter().map(|p| p.0).collect();
            let share = missed(horizon, quantile, &forecasts, |t, _| pairs[t].1);
            // What has not come back yet may be missed on top of what the margin knows of.
            let unheard = f64::from(HORIZONS_S[horizon] + 1) / pairs.len() as f64;
            prop_assert!(share <= bound(horizon, quantile, pairs.len() as u64) + unheard, "{share}");
        }

        #[test]
        fn no_margin_lowers_a_forecast_or_puts_quantiles_out_of_order(
            shares in prop::collection::vec(0.0..1.4f64, HORIZONS_S.len() * QUANTILES.len()),
            mut row in prop::collection::vec(0.0..1500.0f64, QUANTILES.len()),
        ) {
            row.sort_by(f64::total_cmp);
            let values = vec![row.iter().map(|w| Watts::new(*w)).collect::<Vec<_>>(); HORIZONS_S.len()];
            let widened = Margins::from_shares(&shares).widen(&values, NAMEPLATE);
            for (before, after) in values.iter().zip(&widened) {
                prop_assert!(before.iter().zip(after).all(|(b, a)| a >= b && *a <= NAMEPLATE.max(before[2])));
                prop_assert!(after.windows(2).all(|w| w[0] <= w[1]));
            }
        }
    }

    #[test]
    fn an_adversary_who_sees_each_forecast_first_cannot_miss_more_than_the_bound() {
        let n = 50_000;
        for (horizon, quantile) in [(0, 2), (1, 2), (5, 2), (1, 1)] {
            let share = missed(horizon, quantile, &vec![0.2; n], |_, issued| (issued + 1e-6).min(1.0));
            assert!(share <= bound(horizon, quantile, n as u64) + 1e-3, "{horizon} {quantile}: {share}");
            // He can take all that is allowed: the bound is not idle.
            assert!(share >= 0.9 * (1.0 - QUANTILES[quantile]), "{horizon} {quantile}: {share}");
        }
    }

    #[test]
    fn coverage_holds_through_shifts_and_heavy_tails_that_the_forecast_knows_nothing_of() {
        let n = 100_000;
        let mut state = 7;
        // Pareto tails with no mean (index 0.9), whose scale jumps tenfold in every fifth stretch.
        let outcomes: Vec<f64> = (0..n)
            .map(|t| {
                let scale = if (t / 5000) % 5 == 4 { 0.02 } else { 0.002 };
                (0.3 + scale * (noise(&mut state).max(1e-12).powf(-1.0 / 0.9) - 1.0)).min(1.0)
            })
            .collect();
        let without = outcomes.iter().filter(|y| **y > 0.3).count() as f64 / n as f64;
        assert!(without > 0.9, "the forecast alone would be missed: {without}");
        for horizon in 0..HORIZONS_S.len() {
            for (quantile, level) in QUANTILES.iter().enumerate().skip(1) {
                let allowed = 1.0 - level;
                let share = missed(horizon, quantile, &vec![0.3; n], |t, _| outcomes[t]);
                assert!(share <= bound(horizon, quantile, n as u64), "{horizon} {quantile}: {share}");
                assert!((share - allowed).abs() < 0.25 * allowed + 1e-3, "{horizon} {quantile}: {share}");
            }
        }
    }

    #[test]
    fn a_forecast_that_is_careful_enough_gets_no_margin_and_a_mad_reading_only_one_step() {
        let mut margins = Margins::default();
        (0..1000).for_each(|_| margins.observe(0, 2, false));
        assert_eq!(margins, Margins::default());
        margins.observe(0, 2, true);
        assert!((margins.share(0, 2) - 0.99 * STEP).abs() < 1e-12);
        margins.observe(0, 0, true);
        assert_eq!(margins.share(0, 0), 0.0, "the median is no bound");
    }

    #[test]
    fn margins_come_back_as_they_were_and_nonsense_does_not() {
        let mut margins = Margins::default();
        margins.observe(3, 1, true);
        assert_eq!(Margins::from_shares(&margins.shares()), margins);
        for nonsense in [vec![0.1; 3], vec![f64::NAN; 18], vec![-0.1; 18], vec![9.0; 18]] {
            assert_eq!(Margins::from_shares(&nonsense), Margins::default());
        }
    }
}

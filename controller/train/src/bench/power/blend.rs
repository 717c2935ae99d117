//! Which share of several forecasts to take. Shares are learnt on runs that none of the forecasts has seen, so that what holds on one job
//! only gets none; they add up to 1, in tenths.

/// Shares are multiples of one in this many.
const PARTS: usize = 10;

/// Forecasts of one run at one horizon.
#[derive(Debug, Clone, Default)]
pub struct Run {
    /// By window: the forecasts.
    pub forecasts: Vec<Vec<f32>>,
    /// By window: what came.
    pub outcomes: Vec<f32>,
    /// The loss to be beaten on this run.
    pub to_beat: f64,
}

/// What a forecast is judged by.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Measure {
    /// Root of the mean squared error.
    RootMeanSquare,
    /// Mean pinball loss of a quantile (Koenker and Bassett, 1978); of 0.5: half the mean absolute error.
    Pinball(f32),
}

impl Measure {
    /// Of forecasts and what came.
    pub fn of(self, pairs: impl Iterator<Item = (f32, f32)>) -> f64 {
        let (mut sum, mut n) = (0.0, 0.0);
        for (forecast, outcome) in pairs {
            let missed = f64::from(outcome - forecast);
            sum += match self {
                Self::RootMeanSquare => missed * missed,
                Self::Pinball(q) => (f64::from(q) * missed).max((f64::from(q) - 1.0) * missed),
            };
            n += 1.0;
        }
        let mean = sum / n;
        if self == Self::RootMeanSquare { mean.sqrt() } else { mean }
    }
}

/// The mix.
pub fn mixed(forecasts: &[f32], shares: &[f32]) -> f32 {
    forecasts.iter().zip(shares).map(|(forecast, share)| forecast * share).sum()
}

/// The shares whose loss, as a part of the loss to beat, is smallest on the mean run and on the worst run together.
pub fn shares(runs: &[Run], measure: Measure) -> Vec<f32> {
    let count = runs.iter().find_map(|run| run.forecasts.first()).map_or(1, Vec::len);
    let mut best = (f64::MAX, vec![1.0]);
    for shares in all_shares(count) {
        let ratio = |run: &Run| {
            let mixes = run.forecasts.iter().map(|forecasts| mixed(forecasts, &shares));
            measure.of(mixes.zip(run.outcomes.iter().copied())) / run.to_beat.max(1e-9)
        };
        let ratios: Vec<f64> = runs.iter().filter(|run| !run.outcomes.is_empty()).map(ratio).collect();
        let worst = ratios.iter().copied().fold(0.0, f64::max);
        let loss = worst + ratios.iter().sum::<f64>() / ratios.len().max(1) as f64;
        if loss < best.0 {
            best = (loss, shares);
        }
    }
    best.1
}

/// All ways to share [`PARTS`] among `count`.
fn all_shares(count: usize) -> Vec<Vec<f32>> {
    fn fill(parts: usize, count: usize) -> Vec<Vec<usize>> {
        if count <= 1 {
            return vec![vec![parts]];
        }
        let with =
            |first: usize| fill(parts - first, count - 1).into_iter().map(move |rest| [vec![first], rest].concat());
        (0..=parts).flat_map(with).collect()
    }
    let share = |parts: Vec<usize>| parts.into_iter().map(|p| p as f32 / PARTS as f32).collect();
    fill(PARTS, count).into_iter().map(share).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_add_up_to_one_and_there_are_all_of_them() {
        let all = all_shares(3);
        assert_eq!(all.len(), 66);
        assert!(all.iter().all(|shares| (shares.iter().sum::<f32>() - 1.0).abs() < 1e-6));
    }

    #[test]
    fn the_best_mix_is_found_and_no_run_is_given_up_for_another() {
        let run = |a: f32, b: f32, outcome: f32| Run {
            forecasts: vec![vec![a, b]; 5],
            outcomes: vec![outcome; 5],
            to_beat: 1.0,
        };
        assert_eq!(shares(&[run(0.0, 10.0, 3.0)], Measure::RootMeanSquare), [0.7, 0.3]);
        // The first forecast is right on one run, the second on the other.
        let both = [run(0.0, 10.0, 0.0), run(0.0, 10.0, 10.0)];
        assert_eq!(shares(&both, Measure::RootMeanSquare), [0.5, 0.5]);
    }

    #[test]
    fn measures_are_what_they_are_called() {
        let pairs = [(1.0, 2.0), (2.0, 0.0)];
        assert!((Measure::RootMeanSquare.of(pairs.into_iter()) - 2.5_f64.sqrt()).abs() < 1e-9);
        assert!((Measure::Pinball(0.5).of(pairs.into_iter()) - 0.75).abs() < 1e-9);
        assert!((Measure::Pinball(0.9).of(pairs.into_iter()) - 0.55).abs() < 1e-6);
    }
}

//! The forecasts that the model is mixed from, and the play that settles their shares: along a run, at each horizon, every forecast is held
//! against what has come true, never before it has, and the shares follow ([`Pool`]).

use super::features::Window;
use super::net::ANSWERS;
use super::reference::Reference;
use super::trace::{RATE_HZ, Trace};
use super::windows::Windows;
use super::{HORIZONS, HORIZONS_S, QUANTILES, STEPS};
use headroom_predict::pool::{Pool, Target};
use headroom_predict::stays::Memory;

/// Forecasts of each kind.
pub const EXPERTS: usize = 8;
/// Their names, in order.
pub const NAMES: [&str; EXPERTS] = [
    "last value",
    "linear",
    "network",
    "median of 1 s",
    "median of 3 s",
    "other runs",
    "memory, level of 5 s",
    "memory, level of 60 s",
];
/// Spans of the last two, s.
const LEVELS_S: [f64; 2] = [5.0, 60.0];
/// What is forecast: the mean, then each quantile.
pub const KINDS: usize = 1 + QUANTILES.len();

/// By horizon and kind: the forecasts of one window, W.
pub type All = [[[f32; EXPERTS]; KINDS]; HORIZONS];
/// By horizon and kind.
pub type Pools = Vec<Vec<Pool>>;

/// What is known without a network: the baselines, and how other runs were on the whole.
#[derive(Debug, Clone)]
pub struct Known {
    /// The last value.
    pub persistence: Reference,
    /// The linear map.
    pub linear: Reference,
    /// Mean and quantiles of all values of other runs, W.
    pub overall: [f32; KINDS],
    /// Highest value of other runs, W.
    pub highest: f32,
}

impl Known {
    /// Mean, quantiles and highest value of all that was drawn in some runs.
    pub fn overall(traces: &[Trace]) -> ([f32; KINDS], f32) {
        let mut values: Vec<f32> = traces.iter().flat_map(|trace| trace.power.iter().copied()).collect();
        values.sort_by(f32::total_cmp);
        let mut overall = [(values.iter().map(|v| f64::from(*v)).sum::<f64>() / values.len() as f64) as f32; KINDS];
        for (value, q) in overall[1..].iter_mut().zip(QUANTILES) {
            *value = quantile(&values, q);
        }
        (overall, quantile(&values, 1.0))
    }

    /// All forecasts of a window; `answers` are the network's.
    pub fn forecasts(&self, windows: &Windows, i: usize, answers: &[f32]) -> All {
        let (values, past) = (windows.values(i), windows.past(i));
        let window = Window::of(values);
        let recent = |span: usize| {
            let mut newest = values[values.len() - span..].to_vec();
            newest.sort_by(f32::total_cmp);
            newest[span / 2]
        };
        let medians = [recent(10), recent(30)];
        let memories = LEVELS_S.map(|level_s| Memory::of(past, RATE_HZ, level_s));
        let (last, linear) = (self.persistence.points(values), self.linear.points(values));
        let (last_quantiles, linear_quantiles) = (self.persistence.quantiles(last), self.linear.quantiles(linear));
        std::array::from_fn(|h| {
            std::array::from_fn(|kind| {
                let (last, linear) = match kind.checked_sub(1) {
                    None => (last[h], linear[h]),
                    Some(q) => (last_quantiles[h][q], linear_quantiles[h][q]),
                };
                // As far above a smoother present as the last value's quantiles are above it.
                let from = |level: f32| level + last - window.last;
                let memory = |memory: &Option<Memory>| match (memory, kind.checked_sub(1)) {
                    (None, _) => from(medians[1]),
                    (Some(memory), None) => memory.mean(HORIZONS_S[h].into()),
                    (Some(memory), Some(q)) => memory.quantile(HORIZONS_S[h].into(), QUANTILES[q].into()),
                };
                let network = window.last + window.unit * answers[h * ANSWERS + kind];
                let [short, long] = medians.map(from);
                [last, linear, network, short, long, self.overall[kind], memory(&memories[0]), memory(&memories[1])]
            })
        })
    }
}

/// Nothing learnt yet.
pub fn pools() -> Pools {
    let targets = || [Target::Mean].into_iter().chain(QUANTILES.map(|q| Target::Quantile(q.into())));
    (0..HORIZONS).map(|_| targets().map(|target| Pool::new(target, EXPERTS)).collect()).collect()
}

/// Along one run: by window, horizon and kind what the mix said. The pools go on learning.
pub fn play(pools: &mut Pools, windows: &Windows, all: &[All]) -> Vec<[[f32; KINDS]; HORIZONS]> {
    let mut said: Vec<[[f32; KINDS]; HORIZONS]> = Vec::with_capacity(all.len());
    for now in 0..all.len() {
        for (h, pools) in pools.iter_mut().enumerate() {
            let heard = now.checked_sub(STEPS[h]).and_then(|then| Some((then, windows.outcomes(then)[h]?)));
            let Some((then, outcome)) = heard else { continue };
            for (kind, pool) in pools.iter_mut().enumerate() {
                pool.learn(&all[then][h][kind], said[then][h][kind], outcome);
            }
        }
        said.push(std::array::from_fn(|h| std::array::from_fn(|kind| pools[h][kind].mix(&all[now][h][kind]))));
    }
    said
}

/// Of sorted values.
pub fn quantile(sorted: &[f32], q: f32) -> f32 {
    sorted.get(((sorted.len() as f32 * q) as usize).min(sorted.len().saturating_sub(1))).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::power::HISTORY;

    #[test]
    fn shares_follow_what_has_come_true_and_nothing_sooner() {
        let trace = Trace { power: vec![1000.0; 1200], known: vec![true; 1200] };
        let mut windows = Windows::default();
        windows.add(trace, 1);
        // The first forecast is right, the second one 500 W too low, the others 1 kW too high.
        let mut one = [[[2000.0; EXPERTS]; KINDS]; HORIZONS];
        one.iter_mut().flatten().for_each(|forecasts| forecasts[..2].copy_from_slice(&[1000.0, 500.0]));
        let said = play(&mut pools(), &windows, &vec![one; windows.len()]);
        for (h, step) in STEPS.into_iter().enumerate() {
            let (before, after) = (said[step - 1][h], said[windows.len() - 1][h]);
            assert_eq!(before, said[0][h]);
            // Medians swing for longer: each outcome heard of late pulls as much as the one before.
            let nearer = |kind: usize, part: f32| (after[kind] - 1000.0).abs() < part * (before[kind] - 1000.0).abs();
            assert!(nearer(0, 0.3) && nearer(1, 0.9), "{before:?} {after:?}");
        }
    }

    #[test]
    fn every_forecast_of_a_flat_and_of_a_swinging_run_is_a_number() {
        let swinging = (0..4000).map(|i| if i % 300 < 140 { 4000.0 } else { 1000.0 }).collect();
        for power in [vec![500.0; 4000], swinging] {
            let n: usize = power.len();
            let traces = [Trace { power, known: vec![true; n] }];
            let mut windows = Windows::default();
            windows.add(traces[0].clone(), 50);
            let (overall, highest) = Known::overall(&traces);
            let known = Known {
                persistence: Reference::persistence(&windows),
                linear: Reference::linear(&windows).unwrap(),
                overall,
                highest,
            };
            for i in 0..windows.len() {
                let all = known.forecasts(&windows, i, &[0.0; HORIZONS * ANSWERS]);
                assert!(all.as_flattened().as_flattened().iter().all(|forecast| forecast.is_finite()));
                assert_eq!(all[0][0][0], windows.values(i)[HISTORY - 1]);
            }
        }
    }
}

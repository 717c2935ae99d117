//! The forecasts that the model is mixed from, and how a run is played: step by step through the [`Mixture`] that the controller plays, which
//! adds forecasts of its own from the run so far and learns whom to trust from what has come true.

use super::features::Window;
use super::net::ANSWERS;
use super::reference::Reference;
use super::trace::{RATE_HZ, Trace};
use super::windows::Windows;
use super::{HORIZONS, HORIZONS_S, QUANTILES};
use headroom_predict::bound::Sides;
use headroom_predict::mixture::{Mixture, Newest, Said, Shape};

/// Forecasts that the run itself gives no ground for, in the order they are given to the mixture.
const OUTSIDE: usize = 4;
/// Names of all, in the mixture's order.
pub const NAMES: [&str; 4 + OUTSIDE] = [
    "median of 1 s",
    "median of 3 s",
    "memory, level of 5 s",
    "memory, level of 60 s",
    "last value",
    "linear",
    "network",
    "other runs",
];
/// A run is young for so long, s: most jobs take some minutes to load before they compute.
const YOUNG_S: f32 = 120.0;
/// What is forecast: the mean, then each quantile.
pub const KINDS: usize = 1 + QUANTILES.len();

/// Forecasts of one window from outside the run, each by horizon and kind, W.
pub type Outside = [[[f32; KINDS]; HORIZONS]; OUTSIDE];

/// What the mixture forecasts, and of what.
pub fn shape() -> Shape {
    Shape {
        rate_hz: RATE_HZ,
        horizons_s: HORIZONS_S.to_vec(),
        mean: true,
        quantiles: QUANTILES.map(f64::from),
        medians_s: vec![1.0, 3.0],
        levels_s: vec![5.0, 60.0],
        outside: OUTSIDE,
        young_s: YOUNG_S,
        sides: Sides::Both,
    }
}

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

    /// The highest quantile of other runs, W.
    pub fn top(&self) -> f32 {
        self.overall[KINDS - 1]
    }

    /// All forecasts of a window that come from outside its run; `answers` are the network's.
    pub fn forecasts(&self, windows: &Windows, i: usize, answers: &[f32]) -> Outside {
        let values = windows.values(i);
        let window = Window::of(values);
        let (last, linear) = (self.persistence.points(values), self.linear.points(values));
        let with_quantiles = |reference: &Reference, points: [f32; HORIZONS]| {
            let quantiles = reference.quantiles(points);
            let kind = |h: usize, kind: usize| kind.checked_sub(1).map_or(points[h], |q| quantiles[h][q]);
            std::array::from_fn(|h| std::array::from_fn(|k| kind(h, k)))
        };
        let network = |h: usize, kind: usize| window.last + window.unit * answers[h * ANSWERS + kind];
        [
            with_quantiles(&self.persistence, last),
            with_quantiles(&self.linear, linear),
            std::array::from_fn(|h| std::array::from_fn(|kind| network(h, kind))),
            [self.overall; HORIZONS],
        ]
    }
}

/// Plays one run: by window what is said, each from what has come true by then. `outside` are by window what is forecast from outside, each by
/// horizon and kind.
pub fn play<'a, I>(mixture: &mut Mixture, run: &Trace, first: usize, outside: impl Iterator<Item = I>) -> Vec<Vec<Said>>
where
    I: IntoIterator<Item = &'a [f32]>,
{
    let mut steps = run.power.iter().zip(&run.known).map(|(power, known)| known.then_some(*power));
    steps.by_ref().take(first).for_each(|step| mixture.observe(step));
    let said = outside.zip(steps).map(|(outside, step)| {
        mixture.observe(step);
        let outside: Vec<Option<&[f32]>> = outside.into_iter().map(Some).collect();
        mixture.say(Newest::Observed, &outside).unwrap_or_default()
    });
    said.collect()
}

/// Of sorted values.
pub fn quantile(sorted: &[f32], q: f32) -> f32 {
    sorted.get(((sorted.len() as f32 * q) as usize).min(sorted.len().saturating_sub(1))).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::power::HISTORY;
    use crate::chance::Chance;
    use headroom_predict::mixture::Others;
    use headroom_predict::pool::Present;
    use headroom_predict::{History, Mixtures, Sample, baseline, mixtures};
    use headroom_rack::{RackId, UnixMs, Watts};
    use std::sync::Arc;

    /// What the controller would have said of these values, a second each, without a model.
    fn by_the_controller(values: &[Option<f32>], nameplate: Watts) -> Vec<Vec<Vec<Watts>>> {
        let (mut mixtures, mut history) = (Mixtures::default(), History::new(nameplate));
        let rack = RackId::new("rack-1").unwrap();
        let one = |(second, value): (usize, &Option<f32>)| {
            let at = UnixMs::new(1_000_000 + 1000 * second as u64);
            let power = value.map(|value| Watts::new(value.into()));
            history.push(at, Sample { power, ..Sample::default() });
            let mut spoken = mixtures.forecast(Err("no model"), &[(&rack, &history)], at);
            spoken.remove(0).forecast.values
        };
        values.iter().enumerate().map(one).collect()
    }

    #[test]
    fn bench_and_controller_say_the_same_of_the_same_series() {
        let mut chance = Chance::new(4, "series");
        let value = |s: usize, chance: &mut Chance| {
            let level = if s % 47 < 29 { 5000.0 } else { 1500.0 };
            // One or two seconds are missing now and then: after more the controller lets the baseline speak alone.
            let known = !(s % 19 == 7 || s % 38 == 8);
            known.then_some(level + chance.between(-200.0, 200.0) as f32)
        };
        let values: Vec<Option<f32>> = (0..900).map(|s| value(s, &mut chance)).collect();
        let nameplate = Watts::new(7300.0);
        let controller = by_the_controller(&values, nameplate);
        let mut held = 0.0;
        let power = values.iter().map(|value| {
            held = value.unwrap_or(held);
            held
        });
        let run = Trace { power: power.collect(), known: values.iter().map(Option::is_some).collect() };
        // The one forecast from outside, as the controller has it.
        let mut history = History::new(nameplate);
        let baseline = |second: usize| {
            let power = values[second].map(|value| Watts::new(value.into()));
            history.push(UnixMs::new(1_000_000 + 1000 * second as u64), Sample { power, ..Sample::default() });
            let rows = baseline::values(&history);
            rows.iter().flatten().map(|watts| watts.get() as f32).collect::<Vec<f32>>()
        };
        let outside: Vec<Vec<f32>> = (0..values.len()).map(baseline).collect();
        let shape = Arc::new(mixtures::shape());
        let others = Others { ceiling: nameplate.get() as f32, highest: 0.0 };
        let mut mixture = Mixture::new(Arc::clone(&shape), others, shape.led());
        let bench = play(&mut mixture, &run, 0, outside.iter().map(|row| [&row[..]]));
        for (second, (ours, theirs)) in bench.iter().zip(&controller).enumerate() {
            for (said, row) in ours.iter().zip(theirs) {
                let ours = [said.quantiles[0], said.quantiles[1], said.bound].map(|w| w.clamp(0.0, others.ceiling));
                assert_eq!(ours.map(f64::from), [row[0], row[1], row[2]].map(Watts::get), "second {second}");
            }
        }
        assert_eq!((bench.len(), controller.len()), (900, 900));
        let mixed = mixture.pools().iter().filter(|pool| {
            let shares = pool.shares(Present::all(4));
            shares.iter().filter(|share| **share > 0.01).count() > 1
        });
        assert!(mixed.count() > 5, "a mix is compared, not the baseline alone");
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
                assert_eq!(NAMES.len(), shape().forecasts());
            }
        }
    }
}

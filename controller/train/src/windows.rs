//! Windows: what was known at one second (features, by the predictor's own code) and what came of
//! it. Training windows are damaged now and then, so that the network learns what gaps look like.

use crate::chance::Chance;
use crate::data::Series;
use headroom_predict::{FEATURES, HORIZONS_S, History, Sample, WINDOW_S, baseline, features};
use headroom_rack::{UnixMs, Watts};
use std::ops::Range;

/// Outcomes per window.
pub const TARGETS: usize = HORIZONS_S.len();
/// The furthest horizon, s.
const FURTHEST: usize = HORIZONS_S[TARGETS - 1] as usize;
/// Share of the training windows with gaps, and share with a short history.
const WITH_GAPS: f64 = 0.10;
const SHORT: f64 = 0.10;

/// Many windows, row by row.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Windows {
    /// [`FEATURES`] per window, as the predictor computes them.
    pub features: Vec<f32>,
    /// [`TARGETS`] per window: (power - last) / nameplate.
    pub targets: Vec<f32>,
    /// Nameplate of each window's rack, W.
    pub nameplates: Vec<f32>,
    /// The fallback's answer, as the network's would be; only where asked for.
    pub reactive: Vec<f32>,
}

/// How windows are taken.
#[derive(Debug, Clone, Copy)]
pub struct Take<'a> {
    /// One window every so many seconds.
    pub stride: usize,
    /// Damage some windows, from this seed and purpose.
    pub damage: Option<(u64, &'a str)>,
    /// Ask the fallback, too.
    pub reactive: bool,
}

/// Windows a series could give at most.
pub fn usable(series: &Series) -> usize {
    (series.samples.len() + 1).saturating_sub(WINDOW_S + FURTHEST)
}

impl Windows {
    /// Number of windows.
    pub fn len(&self) -> usize {
        self.nameplates.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.nameplates.is_empty()
    }

    /// The features of one window.
    pub fn row(&self, i: usize) -> &[f32] {
        &self.features[i * FEATURES..(i + 1) * FEATURES]
    }

    /// The outcomes of one window.
    pub fn outcome(&self, i: usize) -> &[f32] {
        &self.targets[i * TARGETS..(i + 1) * TARGETS]
    }

    /// Adds the windows that lie wholly, history and outcome, within `range` of the series.
    pub fn add(&mut self, series: &Series, range: Range<usize>, take: Take<'_>) {
        let purpose = |p| format!("{p}/{}/{}/{}", series.source, series.rack, series.start_s);
        let mut chance = take.damage.map(|(seed, p)| Chance::new(seed, &purpose(p)));
        let ends = range.start + WINDOW_S..(range.end + 1).saturating_sub(FURTHEST);
        for end in ends.step_by(take.stride.max(1)) {
            let mut samples = series.samples[end - WINDOW_S..end].to_vec();
            if let Some(chance) = &mut chance {
                damage(&mut samples, chance);
            }
            self.add_one(series, &samples, end, take.reactive);
        }
    }

    /// `end` is the index of the first sample after the window.
    fn add_one(&mut self, series: &Series, samples: &[Sample], end: usize, reactive: bool) {
        let outcomes: Option<Vec<Watts>> =
            HORIZONS_S.iter().map(|h| series.samples[end + *h as usize - 1].power).collect();
        let mut history = History::new(series.nameplate);
        for (second, sample) in samples.iter().enumerate() {
            history.push(UnixMs::new(second as u64 * 1000), *sample);
        }
        let (Some(outcomes), Ok(f)) = (outcomes, features(&history)) else { return };
        let relative = |power: Watts| ((power - f.last) / f.nameplate) as f32;
        if reactive {
            self.reactive.extend(baseline::values(&history).into_iter().flatten().map(relative));
        }
        self.targets.extend(outcomes.into_iter().map(relative));
        self.nameplates.push(f.nameplate.get() as f32);
        self.features.extend(f.values);
    }
}

/// Loses samples as a network or an agent that has just started would. A window that becomes too
/// sparse is left out later, as it would be when running.
fn damage(samples: &mut [Sample], chance: &mut Chance) {
    let kind = chance.unit();
    if kind < WITH_GAPS {
        for _ in 0..=chance.below(3) {
            let (start, length) = (chance.below(WINDOW_S), 1 + chance.below(10));
            samples.iter_mut().skip(start).take(length).for_each(|s| *s = Sample::default());
        }
    } else if kind < WITH_GAPS + SHORT {
        let known = headroom_predict::feature::LEAST_KNOWN + chance.below(WINDOW_S - 20);
        samples.iter_mut().rev().skip(known).for_each(|s| *s = Sample::default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ramp(seconds: usize) -> Series {
        let sample = |t: usize| Sample { power: Some(Watts::new(10.0 * t as f64)), ..Sample::default() };
        Series {
            source: "s".into(),
            rack: "r".into(),
            nameplate: Watts::new(10_000.0),
            start_s: 0,
            samples: (0..seconds).map(sample).collect(),
        }
    }

    const TAKE: Take<'static> = Take { stride: 1, damage: None, reactive: true };

    #[test]
    fn outcomes_lie_their_horizon_after_the_last_known_second() {
        let mut windows = Windows::default();
        windows.add(&ramp(100), 0..100, TAKE);
        assert_eq!(windows.len(), usable(&ramp(100)));
        for i in 0..windows.len() {
            for (outcome, horizon) in windows.outcome(i).iter().zip(HORIZONS_S) {
                assert!((outcome - horizon as f32 / 1000.0).abs() < 1e-6);
            }
        }
        assert_eq!(windows.reactive.len(), windows.len() * headroom_predict::OUTPUTS);
    }

    #[test]
    fn no_window_reaches_beyond_its_range() {
        let mut changed = ramp(300);
        for sample in &mut changed.samples[..100] {
            sample.power = Some(Watts::new(9999.0));
        }
        changed.samples[200..].iter_mut().for_each(|s| s.power = Some(Watts::new(9999.0)));
        let (mut a, mut b) = (Windows::default(), Windows::default());
        a.add(&ramp(300), 100..200, TAKE);
        b.add(&changed, 100..200, TAKE);
        assert!(!a.is_empty());
        assert_eq!(a, b);
    }

    #[test]
    fn damaged_windows_repeat_with_the_seed_and_stay_finite() {
        let with = |seed| {
            let mut windows = Windows::default();
            windows.add(&ramp(400), 0..400, Take { damage: Some((seed, "train")), ..TAKE });
            windows
        };
        assert_eq!(with(1), with(1));
        assert_ne!(with(1), with(2));
        assert!(with(1).features.iter().all(|v| v.is_finite()));
    }
}

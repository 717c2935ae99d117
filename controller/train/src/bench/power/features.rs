//! What 30 s of power say about what comes: the power swings between a high and a low level, so what counts is where it stands between
//! them, how long it has been there and how long it stayed there before. Everything is measured from the last value in units of the
//! window's own swing, so that a small node and a large one look alike.

use super::{HISTORY, HORIZONS_S};

/// Less than this share of the highest value is no swing.
const SWING: f32 = 0.15;
/// Spans of the means, in steps.
const MEANS: [usize; 7] = [5, 10, 20, 50, 100, 200, 300];
/// How far back differences go, in steps.
const LAGS: [usize; 8] = [1, 2, 3, 5, 8, 12, 20, 30];
/// Stays at a level that are told, the present one first.
const STAYS: usize = 4;
/// Numbers in all.
pub const FEATURES: usize = 4 + MEANS.len() + LAGS.len() + 1 + 1 + 3 * STAYS + 1 + 3 + 2 * HORIZONS_S.len() + 2;

/// One window.
#[derive(Debug, Clone, PartialEq)]
pub struct Window {
    /// See the module.
    pub features: Vec<f32>,
    /// The last value, W.
    pub last: f32,
    /// The unit of answers: the swing or, without one, the highest value, W.
    pub unit: f32,
    /// Mean of the window, W.
    pub mean: f32,
    /// Highest value of the window, W.
    pub high: f32,
}

/// A stay at one level: its length in s, and whether its start was seen.
#[derive(Debug, Clone, Copy, Default)]
struct Stay {
    length_s: f32,
    whole: bool,
}

impl Window {
    /// Of 300 values in W, the newest last.
    pub fn of(values: &[f32]) -> Self {
        assert_eq!(values.len(), HISTORY, "invariant: 30 s at 10 Hz");
        let last = values[HISTORY - 1];
        let (low, high) = values.iter().fold((f32::MAX, f32::MIN), |(low, high), v| (low.min(*v), high.max(*v)));
        let mean_of = |span: usize| values[HISTORY - span..].iter().sum::<f32>() / span as f32;
        let swings = high - low >= SWING * high && high > low;
        let unit = if swings { high - low } else { high.max(1.0) };
        let mean = mean_of(HISTORY);
        let place = |v: f32| (v - low) / unit;
        let stays = if swings { stays(values, f32::midpoint(low, high)) } else { Vec::new() };
        let stay = |k: usize| stays.get(k).copied().unwrap_or_default();
        let flag = |is: bool| if is { 1.0 } else { 0.0 };

        let mut features = Vec::with_capacity(FEATURES);
        // The level itself says something only where no other level was seen (kW).
        features.extend([
            place(last),
            flag(!swings),
            if swings { 0.0 } else { (high.max(1.0) / 1000.0).ln() },
            place(mean),
        ]);
        features.extend(MEANS.map(|span| (mean_of(span) - last) / unit));
        features.extend(LAGS.map(|lag| (last - values[HISTORY - 1 - lag]) / unit));
        features.push((high - low) / unit);
        let is_high = last > f32::midpoint(low, high);
        features.push(if !swings {
            0.0
        } else if is_high {
            1.0
        } else {
            -1.0
        });
        for k in 0..STAYS {
            let Stay { length_s, whole } = stay(k);
            features.extend([length_s / 15.0, length_s.ln_1p() / 2.0, flag(whole)]);
        }
        features.push(stays.len().saturating_sub(1) as f32 / 4.0);
        let (high_level, low_level, share) = levels(values, low, high, swings);
        features.extend([place(high_level), place(low_level), share]);
        features.extend(cycle(&stays));
        debug_assert_eq!(features.len(), FEATURES);
        Self { features, last, unit, mean, high }
    }
}

/// Stays above or below the middle, the present one first.
fn stays(values: &[f32], middle: f32) -> Vec<Stay> {
    let changes = (1..HISTORY).rev().filter(|i| (values[*i] > middle) != (values[i - 1] > middle));
    let mut end = HISTORY;
    let mut stays: Vec<Stay> = Vec::new();
    for start in changes {
        stays.push(Stay { length_s: (end - start) as f32 / 10.0, whole: true });
        end = start;
    }
    stays.push(Stay { length_s: end as f32 / 10.0, whole: false });
    stays
}

/// Mean of what is above the middle, of what is below, and the share of time above.
fn levels(values: &[f32], low: f32, high: f32, swings: bool) -> (f32, f32, f32) {
    if !swings {
        return (high, low, 0.5);
    }
    let middle = f32::midpoint(low, high);
    let (above, below): (Vec<f32>, Vec<f32>) = values.iter().partition(|v| **v > middle);
    let mean = |part: &[f32]| part.iter().sum::<f32>() / part.len().max(1) as f32;
    (mean(&above), mean(&below), above.len() as f32 / HISTORY as f32)
}

/// If it went on as in the last whole cycle: at each horizon, same level (1) or the other (-1) and the time to the nearest change, in
/// 5 s; then the time left at this level by the other level's last stay and by this one's, in 10 s. 0: not known.
fn cycle(stays: &[Stay]) -> [f32; 2 * HORIZONS_S.len() + 2] {
    let mut all = [0.0; 2 * HORIZONS_S.len() + 2];
    let whole = |k: usize| stays.get(k).filter(|stay| stay.whole).map(|stay| stay.length_s);
    let Some(age) = stays.first().map(|stay| stay.length_s) else { return all };
    if let Some(other) = whole(1) {
        all[8] = (other - age).clamp(-20.0, 20.0) / 10.0;
        if let Some(own) = whole(2) {
            let period = (own + other).max(0.2);
            for (h, horizon) in HORIZONS_S.iter().enumerate() {
                let phase = (age + *horizon as f32) % period;
                let same = phase < own;
                let near = if same { phase.min(own - phase) } else { -(phase - own).min(period - phase) };
                all[2 * h] = if same { 1.0 } else { -1.0 };
                all[2 * h + 1] = near.clamp(-10.0, 10.0) / 5.0;
            }
            all[9] = (own - age).clamp(-20.0, 20.0) / 10.0;
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 4 s high, 6 s low, from `shift` steps on.
    fn pulses(shift: usize) -> Vec<f32> {
        (0..HISTORY).map(|i| if (i + shift) % 100 < 40 { 4000.0 } else { 1000.0 }).collect()
    }

    #[test]
    fn a_cycle_tells_the_level_at_each_horizon() {
        // The window ends 10 steps into a high stay: 3 s more of it.
        let window = Window::of(&pulses(10));
        let cycle = &window.features[FEATURES - 10..];
        assert_eq!([cycle[0], cycle[2], cycle[4], cycle[6]], [1.0, -1.0, 1.0, 1.0], "{cycle:?}");
        assert_eq!((window.last, window.unit, window.mean), (4000.0, 3000.0, 2200.0));
    }

    #[test]
    fn features_do_not_know_the_unit_and_level_of_a_swing() {
        let small: Vec<f32> = pulses(10).iter().map(|v| v / 4.0 + 300.0).collect();
        let (a, b) = (Window::of(&pulses(10)).features, Window::of(&small).features);
        assert!(a.iter().zip(&b).all(|(a, b)| (a - b).abs() < 1e-4), "{a:?} {b:?}");
    }

    #[test]
    fn a_window_without_a_swing_has_no_cycle_and_every_feature_is_a_number() {
        for values in [vec![500.0; HISTORY], vec![0.0; HISTORY], pulses(0), (0..HISTORY).map(|i| i as f32).collect()] {
            let window = Window::of(&values);
            assert_eq!(window.features.len(), FEATURES);
            assert!(window.features.iter().all(|f| f.is_finite()) && window.unit > 0.0);
        }
        assert_eq!(Window::of(&[500.0; HISTORY]).features[FEATURES - 10..], [0.0; 10]);
    }
}

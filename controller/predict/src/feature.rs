//! The one way from a history to numbers, for training and for running. Scaled by the rack's
//! nameplate and relative to the last value, so that one network serves every rack; what the
//! network answers is a difference to the last value in the same scale.

use crate::history::History;
use crate::{HORIZONS_S, OUTPUTS, QUANTILES, Values, WINDOW_S};
use headroom_rack::Watts;

/// Channels of the window: power minus last power, headroom under the limit, known or filled.
const CHANNELS: usize = 3;
/// Numbers beside the window: last power, last limit, last utilisation.
const SCALARS: usize = 3;
/// Length of the feature vector.
pub const FEATURES: usize = WINDOW_S * CHANNELS + SCALARS;
/// Fewer known seconds than this, and there is no forecast by the network.
pub const LEAST_KNOWN: usize = 20;
/// The newest power may be this old, s.
pub const LAST_WITHIN_S: usize = 2;

/// Utilisation while it is unknown.
const UNKNOWN_UTILIZATION: f64 = 0.5;

/// Describes everything that must agree between training and running; its hash is in the manifest.
/// Raise the version when the code below changes in a way that the other words do not show.
pub fn schema() -> String {
    format!(
        "headroom rack-power v1; window {WINDOW_S} s at 1 Hz, oldest first; per second: (power-last)/nameplate, \
         (limit-power)/nameplate, known 0|1; gaps and the time before the first sample take the nearest earlier \
         (else first) value; scalars: last/nameplate, limit/nameplate, utilization; unknown limit = nameplate, \
         unknown utilization = {UNKNOWN_UTILIZATION}; outputs: (power-last)/nameplate at horizons {HORIZONS_S:?} s x \
         quantiles {QUANTILES:?}"
    )
}

/// A history as the network sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct Features {
    /// [`FEATURES`] finite numbers.
    pub values: Vec<f32>,
    /// The value the answer is relative to.
    pub last: Watts,
    /// The scale.
    pub nameplate: Watts,
}

/// Why there are no features.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoFeatures {
    /// The history is too short or too sparse.
    #[error("only {known} of the last {WINDOW_S} s are known, {LEAST_KNOWN} are needed")]
    TooFew {
        /// Known seconds.
        known: usize,
    },
    /// The newest power is too old.
    #[error("the power is unknown for more than {LAST_WITHIN_S} s")]
    Old,
    /// The rack has no nameplate to scale by.
    #[error("the rack's nameplate is not a positive number of watts")]
    Nameplate,
}

/// The features of a history.
///
/// # Errors
/// See [`NoFeatures`].
pub fn features(history: &History) -> Result<Features, NoFeatures> {
    let nameplate = history.nameplate();
    if !(nameplate.is_finite() && nameplate > Watts::ZERO) {
        return Err(NoFeatures::Nameplate);
    }
    let known = history.samples().filter(|s| s.power.is_some()).count();
    if known < LEAST_KNOWN {
        return Err(NoFeatures::TooFew { known });
    }
    let last = history.last_power(LAST_WITHIN_S).ok_or(NoFeatures::Old)?;
    let first = history.samples().find_map(|s| s.power).unwrap_or(last);
    let (mut power, mut limit) = (first, nameplate);
    let mut values = Vec::with_capacity(FEATURES);
    let before = WINDOW_S - history.samples().len();
    for _ in 0..before {
        values.extend([((first - last) / nameplate) as f32, ((limit - first) / nameplate) as f32, 0.0]);
    }
    let mut utilization = UNKNOWN_UTILIZATION;
    for sample in history.samples() {
        power = sample.power.unwrap_or(power);
        limit = sample.limit.unwrap_or(limit);
        utilization = sample.utilization.unwrap_or(utilization);
        let known = f32::from(u8::from(sample.power.is_some()));
        values.extend([((power - last) / nameplate) as f32, ((limit - power) / nameplate) as f32, known]);
    }
    values.extend([(last / nameplate) as f32, (limit / nameplate) as f32, utilization as f32]);
    Ok(Features { values, last, nameplate })
}

impl Features {
    /// Turns [`OUTPUTS`] numbers of the network into watts by horizon and quantile; quantiles are
    /// put in order and power is never negative.
    pub fn watts(&self, outputs: &[f32; OUTPUTS]) -> Values {
        std::array::from_fn(|h| {
            let mut row: [f64; QUANTILES.len()] = std::array::from_fn(|q| outputs[h * QUANTILES.len() + q].into());
            row.sort_by(f64::total_cmp);
            row.map(|v| (self.last + self.nameplate * v).max(Watts::ZERO))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::Sample;
    use headroom_rack::UnixMs;

    fn history(seconds: u64, gap: impl Fn(u64) -> bool) -> History {
        let mut history = History::new(Watts::new(7300.0));
        for t in (0..seconds).filter(|t| !gap(*t)) {
            let power = Some(Watts::new(3000.0 + 10.0 * t as f64));
            history
                .push(UnixMs::new(t * 1000), Sample { power, limit: Some(Watts::new(5600.0)), utilization: Some(0.7) });
        }
        history
    }

    #[test]
    fn features_are_finite_and_of_the_promised_length() {
        for seconds in [25, 59, 60, 300] {
            let values = features(&history(seconds, |t| t % 7 == 3)).unwrap().values;
            assert_eq!(values.len(), FEATURES);
            assert!(values.iter().all(|v| v.is_finite()));
        }
    }

    #[test]
    fn a_short_gap_takes_the_value_before_it_and_says_so_in_the_mask() {
        let values = features(&history(60, |t| t == 40)).unwrap().values;
        let second = |t: usize| &values[t * CHANNELS..(t + 1) * CHANNELS];
        assert_eq!(second(40)[0], second(39)[0]);
        assert_eq!((second(39)[2], second(40)[2], second(41)[2]), (1.0, 0.0, 1.0));
    }

    #[test]
    fn a_sparse_or_old_history_is_refused_with_the_reason() {
        assert_eq!(features(&history(10, |_| false)), Err(NoFeatures::TooFew { known: 10 }));
        let mut old = history(60, |_| false);
        for t in 60..64 {
            old.push(UnixMs::new(t * 1000), Sample::default());
        }
        assert_eq!(features(&old), Err(NoFeatures::Old));
    }

    #[test]
    fn the_answer_comes_back_in_watts_with_ordered_quantiles() {
        let f = features(&history(60, |_| false)).unwrap();
        let mut outputs = [0.0_f32; OUTPUTS];
        outputs[0..3].copy_from_slice(&[0.1, 0.3, 0.2]);
        let watts = f.watts(&outputs);
        assert_eq!(watts[1], [f.last; 3]);
        assert!(watts[0].windows(2).all(|w| w[0] <= w[1]));
        assert!((watts[0][2] - (f.last + Watts::new(2190.0))).get().abs() < 0.01);
    }
}

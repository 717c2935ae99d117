//! How good Forecasts turned out, as it is kept in the record and shown: sums by who made them, how
//! far ahead and which quantile, and the safety margins that followed from them. Plain sums; how
//! they are taken is the predictor's business.

use crate::id::RackId;
use crate::time::UnixMs;
use serde::{Deserialize, Serialize};

/// Sums over the outcomes of one method at one horizon.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Tally {
    /// Outcomes that came. A weight, no whole number, where old ones fade.
    pub outcomes: f64,
    /// Sum of |outcome - median|, W.
    pub absolute_watts: f64,
    /// Sum of the pinball loss, mean over the quantiles, W.
    pub pinball_watts: f64,
    /// Outcomes at or below each quantile.
    pub covered: Vec<f64>,
}

impl Tally {
    /// Mean absolute error of the median, W; none before the first outcome.
    pub fn mae_watts(&self) -> Option<f64> {
        (self.outcomes > 0.0).then(|| self.absolute_watts / self.outcomes)
    }

    /// Mean pinball loss, W; none before the first outcome.
    pub fn mean_pinball_watts(&self) -> Option<f64> {
        (self.outcomes > 0.0).then(|| self.pinball_watts / self.outcomes)
    }

    /// Share of the outcomes at or below each quantile; none before the first outcome.
    pub fn coverage(&self) -> Option<Vec<f64>> {
        (self.outcomes > 0.0).then(|| self.covered.iter().map(|c| c / self.outcomes).collect())
    }
}

/// One method's tallies, one per horizon.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct MethodScore {
    /// `used`, `mixed`, `model`, `baseline` or `challenger`.
    pub method: String,
    /// Which model, where the method is one: another one starts anew.
    pub model: Option<String>,
    /// Since it was first used.
    pub total: Vec<Tally>,
    /// The same, where an outcome counts less the older it is.
    pub recent: Vec<Tally>,
}

/// The state of all methods and margins at one time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Score {
    /// When.
    pub at: UnixMs,
    /// Seconds ahead.
    pub horizons_s: Vec<u32>,
    /// Probabilities.
    pub quantiles: Vec<f64>,
    /// By method.
    pub methods: Vec<MethodScore>,
    /// What is added to each rack's quantiles, in shares of its nameplate, horizon by horizon and
    /// quantile by quantile.
    pub margins: Vec<(RackId, Vec<f64>)>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn before_the_first_outcome_nothing_is_known_and_not_zero() {
        let none = Tally::default();
        assert_eq!((none.mae_watts(), none.mean_pinball_watts(), none.coverage()), (None, None, None));
        let some = Tally { outcomes: 4.0, absolute_watts: 8.0, pinball_watts: 2.0, covered: vec![1.0, 4.0] };
        assert_eq!((some.mae_watts(), some.coverage()), (Some(2.0), Some(vec![0.25, 1.0])));
    }
}

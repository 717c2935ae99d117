//! What is expected of one rack's power: quantiles per horizon, and who says so.

use crate::id::RackId;
use crate::time::UnixMs;
use crate::units::Watts;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Who made a Forecast.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// The neural predictor of this name.
    Model(String),
    /// The reactive baseline, with the reason why not the model.
    Baseline(String),
}

/// Expected power of one rack. `values[h][q]` belongs to `horizons_s[h]` and `quantiles[q]`;
/// both lists ascend, and so do the values along `q`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Forecast {
    /// The rack.
    pub rack: RackId,
    /// When it was made.
    pub at: UnixMs,
    /// Seconds ahead.
    pub horizons_s: Vec<u32>,
    /// Probabilities in (0, 1).
    pub quantiles: Vec<f64>,
    /// Power by horizon and quantile.
    pub values: Vec<Vec<Watts>>,
    /// Who made it.
    pub source: Source,
}

impl Forecast {
    /// The largest value of the quantile nearest to `quantile` up to `within` ahead: what to
    /// expect while an Order takes to act. `None` if no horizon lies that near.
    pub fn upper(&self, quantile: f64, within: Duration) -> Option<Watts> {
        let q = self
            .quantiles
            .iter()
            .enumerate()
            .min_by(|a, b| (a.1 - quantile).abs().total_cmp(&(b.1 - quantile).abs()))?
            .0;
        self.horizons_s
            .iter()
            .zip(&self.values)
            .filter(|(h, _)| u64::from(**h) <= within.as_secs())
            .filter_map(|(_, row)| row.get(q).copied())
            .reduce(Watts::max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_upper_value_covers_every_horizon_up_to_the_limit() {
        let f = Forecast {
            rack: RackId::new("r").expect("valid"),
            at: UnixMs::new(0),
            horizons_s: vec![1, 5, 30],
            quantiles: vec![0.5, 0.99],
            values: vec![
                vec![Watts::new(10.0), Watts::new(20.0)],
                vec![Watts::new(8.0), Watts::new(15.0)],
                vec![Watts::new(50.0), Watts::new(90.0)],
            ],
            source: Source::Baseline("test".into()),
        };
        assert_eq!(f.upper(0.99, Duration::from_secs(5)), Some(Watts::new(20.0)));
        assert_eq!(f.upper(0.5, Duration::from_secs(30)), Some(Watts::new(50.0)));
        assert_eq!(f.upper(0.5, Duration::ZERO), None);
    }
}

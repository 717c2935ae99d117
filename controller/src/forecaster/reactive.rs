//! Persistence with the quantiles of recent changes, behind the interface of `headroom-predict`:
//! stands in for that crate until it is there, then goes. Always says that no model is used.

use headroom_rack::{Forecast, RackId, Source, UnixMs, Watts};
use std::collections::VecDeque;

/// Seconds looked back upon.
const WINDOW_S: usize = 60;
const HORIZONS_S: [u32; 6] = [1, 2, 5, 10, 20, 30];
const QUANTILES: [f64; 3] = [0.5, 0.9, 0.99];

/// One rack at one moment.
#[derive(Debug, Clone, Copy)]
pub struct Sample {
    /// Inlet power.
    pub power: Option<Watts>,
    /// Sum of the GPUs' enforced limits.
    pub limit: Option<Watts>,
    /// Mean utilisation.
    pub utilization: Option<f64>,
}

/// The last minute of one rack, one value per second.
#[derive(Debug, Clone)]
pub struct History {
    nameplate: Watts,
    seconds: VecDeque<(u64, Watts)>,
}

impl History {
    /// Nothing seen yet of a rack that draws `nameplate` at most.
    pub fn new(nameplate: Watts) -> Self {
        Self { nameplate, seconds: VecDeque::new() }
    }

    /// Notes a moment; one without power leaves a gap.
    pub fn push(&mut self, at: UnixMs, sample: Sample) {
        let Some(power) = sample.power else { return };
        let second = at.get() / 1000;
        self.seconds.retain(|(s, _)| *s != second && s + WINDOW_S as u64 > second);
        self.seconds.push_back((second, power));
    }

    fn rises(&self, over_s: u64) -> Vec<f64> {
        let at = |second| self.seconds.iter().find(|(s, _)| *s == second).map(|(_, p)| *p);
        let mut rises: Vec<f64> = self.seconds.iter().filter_map(|(s, p)| Some((at(s + over_s)? - *p).get())).collect();
        rises.sort_by(f64::total_cmp);
        rises
    }
}

/// The forecast without a network.
pub mod baseline {
    use super::{Forecast, HORIZONS_S, History, QUANTILES, RackId, Source, UnixMs};

    /// The last power plus the quantile of what it rose by over the same time in the last minute;
    /// the nameplate while nothing is known.
    pub fn forecast(history: &History, rack: &RackId, at: UnixMs, reason: &str) -> Forecast {
        let last = history.seconds.back().filter(|(s, _)| at.get() / 1000 <= s + 5).map(|(_, p)| *p);
        let row = |horizon: u32| {
            let rises = history.rises(horizon.into());
            let mut lowest = headroom_rack::Watts::ZERO;
            QUANTILES.map(|q| {
                let rise = rises.get(((rises.len() as f64 * q) as usize).min(rises.len().saturating_sub(1)));
                let value = match (last, rise) {
                    (None, _) => history.nameplate,
                    (Some(last), Some(rise)) if q > 0.5 => last + headroom_rack::Watts::new(rise.max(0.0)),
                    (Some(last), _) => last,
                };
                lowest = lowest.max(value);
                lowest
            })
        };
        Forecast {
            rack: rack.clone(),
            at,
            horizons_s: HORIZONS_S.to_vec(),
            quantiles: QUANTILES.to_vec(),
            values: HORIZONS_S.iter().map(|h| row(*h).to_vec()).collect(),
            source: Source::Baseline(reason.to_owned()),
        }
    }
}

/// Why there is no model.
#[derive(Debug, thiserror::Error)]
#[error("this build has no predictor")]
pub struct Refused;

/// No model can be loaded.
#[derive(Debug)]
pub enum Predictor {}

impl Predictor {
    /// Refused.
    ///
    /// # Errors
    /// Always.
    pub fn embedded() -> Result<Self, Refused> {
        Err(Refused)
    }

    /// Refused.
    ///
    /// # Errors
    /// Always.
    pub fn load(_onnx: &[u8], _manifest: &[u8]) -> Result<Self, Refused> {
        Err(Refused)
    }

    /// The model's name.
    pub fn name(&self) -> &str {
        match *self {}
    }

    /// One Forecast per rack.
    pub fn forecast(&self, _histories: &[(&RackId, &History)], _at: UnixMs) -> Vec<Forecast> {
        match *self {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rising_rack_is_expected_to_rise_and_an_unknown_one_at_its_nameplate() {
        let rack = RackId::new("r").unwrap();
        let mut history = History::new(Watts::new(7000.0));
        let unknown = baseline::forecast(&history, &rack, UnixMs::new(0), "none");
        assert_eq!(unknown.values[3], [Watts::new(7000.0); 3]);
        for second in 0..20u64 {
            let power = Some(Watts::new(1000.0 + 100.0 * second as f64));
            history.push(UnixMs::new(1000 * second), Sample { power, limit: None, utilization: None });
        }
        let forecast = baseline::forecast(&history, &rack, UnixMs::new(19_500), "none");
        assert_eq!(forecast.values[3], [2900.0, 3900.0, 3900.0].map(Watts::new));
    }
}

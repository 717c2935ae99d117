//! How long the Forecasts of a site take, all racks at one moment, on one core: the model inside this
//! program, the baseline, and taking a second's outcomes.

use crate::clock::Clock;
use headroom_predict::{History, Method, Predictor, Refused, Sample, Scorer, baseline};
use headroom_rack::{RackId, UnixMs, Watts};

const ROUNDS: usize = 41;
const NAMEPLATE: Watts = Watts::new(7300.0);

/// What was measured.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Measured {
    /// Racks.
    pub racks: usize,
    /// The model's Forecasts of all racks: half of the rounds took less, ms.
    pub model_ms: f64,
    /// The baseline's.
    pub baseline_ms: f64,
    /// Holding the last half minute's Forecasts against one second's outcomes.
    pub score_ms: f64,
    /// 99 of a hundred rounds of the model took less, ms.
    pub model_p99_ms: f64,
}

/// Forecasts a made-up site a number of times.
///
/// # Errors
/// The shipped model is refused.
pub fn forecast(racks: usize) -> Result<Measured, Refused> {
    let model = Predictor::embedded()?;
    let clock = Clock::start();
    let mut all: Vec<(RackId, History)> = (0..racks)
        .map(|i| (RackId::new(format!("rack-{i}")).expect("invariant: a valid id"), History::new(NAMEPLATE)))
        .collect();
    let mut scorer = Scorer::new(all.iter().map(|(rack, _)| (rack.clone(), NAMEPLATE)));
    let (mut by_model, mut by_baseline, mut scoring) = (Vec::new(), Vec::new(), Vec::new());
    for second in 0..60 + ROUNDS as u64 {
        let at = UnixMs::new(second * 1000 + 500);
        for (i, (_, history)) in all.iter_mut().enumerate() {
            let swing = ((second * 7 + i as u64 * 13) % 97) as f64 * 30.0;
            let power = Some(Watts::new(2500.0 + swing));
            history.push(at, Sample { power, limit: Some(Watts::new(5600.0)), utilization: Some(0.8) });
        }
        let time = |work: &mut dyn FnMut()| {
            let begun = clock.uptime();
            work();
            (clock.uptime() - begun).as_secs_f64() * 1000.0
        };
        let mut spoken = Vec::new();
        let windows: Vec<(&RackId, &History)> = all.iter().map(|(rack, h)| (rack, h)).collect();
        let model_ms = time(&mut || spoken = model.forecast(&windows, at));
        let baseline_ms =
            time(&mut || windows.iter().for_each(|(_, h)| drop(std::hint::black_box(baseline::values(h)))));
        for s in &spoken {
            scorer.say(Method::Used, &s.forecast.rack, at, &s.forecast.values);
            scorer.say(Method::Baseline, &s.forecast.rack, at, &s.forecast.values);
        }
        let score_ms = time(&mut || windows.iter().for_each(|(rack, h)| scorer.came(rack, h, at)));
        if second >= 60 {
            by_model.push(model_ms);
            by_baseline.push(baseline_ms);
            scoring.push(score_ms);
        }
    }
    let at = |times: &mut Vec<f64>, share: f64| {
        times.sort_by(f64::total_cmp);
        super::round(times[((times.len() - 1) as f64 * share).round() as usize])
    };
    Ok(Measured {
        racks,
        model_ms: at(&mut by_model, 0.5),
        model_p99_ms: at(&mut by_model, 0.99),
        baseline_ms: at(&mut by_baseline, 0.5),
        score_ms: at(&mut scoring, 0.5),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_site_is_forecast_and_every_time_is_measured() {
        let measured = forecast(5).unwrap();
        assert_eq!(measured.racks, 5);
        assert!(measured.model_ms > 0.0 && measured.model_ms <= measured.model_p99_ms);
    }
}

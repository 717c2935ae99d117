//! How long the Forecasts of a site take, all racks at one moment: the mix with the model inside this program on all
//! cores, and on one the model and the baseline alone and taking a second's outcomes. Racks swing as jobs do, each at a
//! period of its own, and their memories are full.

use crate::clock::Clock;
use headroom_predict::{History, Method, Mixtures, Predictor, Refused, Sample, Scorer, baseline, stays};
use headroom_rack::{RackId, UnixMs, Watts};

const ROUNDS: usize = 41;
const NAMEPLATE: Watts = Watts::new(7300.0);

/// What was measured.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Measured {
    /// Racks.
    pub racks: usize,
    /// The Forecasts of all racks as they are used, model and memory mixed: half of the rounds took less, ms.
    pub mixed_ms: f64,
    /// 99 of a hundred rounds of it took less, ms.
    pub mixed_p99_ms: f64,
    /// The model's alone, in the median.
    pub model_ms: f64,
    /// The baseline's.
    pub baseline_ms: f64,
    /// Holding the last half minute's Forecasts against one second's outcomes.
    pub score_ms: f64,
    /// Resident memory that the mix took per rack, where the system tells it.
    pub mixed_bytes_per_rack: Option<u64>,
}

/// Before times count: the memories are full.
const WARM_UP: u64 = stays::MEMORY_S as u64 + 20;

/// The power of a rack in W: high and low in turn, at a period of 7 to 103 s.
fn power(rack: u64, second: u64) -> f64 {
    let period = 7 + rack * 31 % 97;
    let level = if (second + rack * 13) % period < period * 3 / 5 { 5200.0 } else { 1800.0 };
    level + ((second * 7 + rack * 13) % 97) as f64 * 3.0
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
    let mut mixtures = Mixtures::default();
    let (mut mixed, mut by_model, mut by_baseline, mut scoring) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let (mut before, mut grown) = (None, None);
    for second in 0..WARM_UP + ROUNDS as u64 {
        let at = UnixMs::new(second * 1000 + 500);
        for (i, (_, history)) in all.iter_mut().enumerate() {
            let power = Some(Watts::new(power(i as u64, second)));
            history.push(at, Sample { power, limit: Some(Watts::new(5600.0)), utilization: Some(0.8) });
        }
        let time = |work: &mut dyn FnMut()| {
            let begun = clock.uptime();
            work();
            (clock.uptime() - begun).as_secs_f64() * 1000.0
        };
        let mut spoken = Vec::new();
        let windows: Vec<(&RackId, &History)> = all.iter().map(|(rack, h)| (rack, h)).collect();
        if second == 1 {
            before = super::resident_bytes();
        }
        let mixed_ms = time(&mut || spoken = mixtures.forecast(Ok(&model), &windows, at));
        if second == WARM_UP - 1 {
            grown = super::resident_bytes().zip(before).map(|(now, before)| now.saturating_sub(before) / racks as u64);
        }
        let model_ms = time(&mut || {
            let now: Vec<&History> = windows.iter().map(|(_, history)| *history).collect();
            drop(std::hint::black_box(model.values(&now)));
        });
        let baseline_ms = time(&mut || windows.iter().for_each(|(_, h)| _ = std::hint::black_box(baseline::values(h))));
        for s in &spoken {
            scorer.say(Method::Used, &s.forecast.rack, at, &s.forecast.values);
            scorer.say(Method::Baseline, &s.forecast.rack, at, &s.forecast.values);
        }
        let score_ms = time(&mut || windows.iter().for_each(|(rack, h)| scorer.came(rack, h, at)));
        if second >= WARM_UP {
            mixed.push(mixed_ms);
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
        mixed_ms: at(&mut mixed, 0.5),
        mixed_p99_ms: at(&mut mixed, 0.99),
        model_ms: at(&mut by_model, 0.5),
        baseline_ms: at(&mut by_baseline, 0.5),
        score_ms: at(&mut scoring, 0.5),
        mixed_bytes_per_rack: grown,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_site_is_forecast_and_every_time_is_measured() {
        let measured = forecast(5).unwrap();
        assert_eq!(measured.racks, 5);
        assert!(measured.model_ms > 0.0 && 0.0 < measured.mixed_ms && measured.mixed_ms <= measured.mixed_p99_ms);
    }
}

//! How much of a breaker's patience is used. A model of the *minimum* trip curve: it trips before
//! any real breaker would, so what it allows is safe.
//!
//! Two accumulators, the worse one counts:
//! * bimetal: first order in the square of the current (Joule heating), time constant fitted so
//!   that the curve holds 1.05 In for ever and trips from cold at 2.0 In after 10 s, the lower
//!   edge of common C curves. 1.30 In and 1.45 In then take 33 s and 23 s from cold, under the
//!   one hour that IEC 60898-1 (table 7) demands at 1.13 In.
//! * fast: damage at the rate 1/t above 2.0 In, with t through 10 s at 2.0 In and 1 s at 2.55 In
//!   (IEC 60898-1 test c: not under 1 s), straight in log-log; at 5 In it is under a half cycle,
//!   where the magnetic release of a C curve may act (5 In to 10 In).

use std::time::Duration;

/// Highest current held for ever, as a multiple of the rated current.
pub const HOLDS_FOR_EVER: f64 = 1.05;
/// `10 s / ln(2.0^2 / (2.0^2 - 1.05^2))`.
const TAU_S: f64 = 31.0;
const TRIPS_AT: f64 = HOLDS_FOR_EVER * HOLDS_FOR_EVER;
const FAST_ABOVE: f64 = 2.0;
const FAST_S_AT_THAT: f64 = 10.0;
/// `ln(10 s / 1 s) / ln(2.55 / 2.0)`.
const FAST_SLOPE: f64 = 9.478;

/// The state of one phase of one breaker.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Trip {
    heat: f64,
    fast: f64,
}

impl Trip {
    /// A breaker that has carried `multiple` times its rated current for long, but at most the
    /// rated current: more it would not have survived.
    pub fn settled_at(multiple: f64) -> Self {
        Self { heat: (multiple * multiple).clamp(0.0, 1.0), fast: 0.0 }
    }

    /// The same current so far, through a breaker whose rated current is `scale` times smaller.
    #[must_use]
    pub fn rerated(self, scale: f64) -> Self {
        Self { heat: self.heat * scale * scale, fast: self.fast }
    }

    /// Lets `dt` pass at `multiple` times the rated current.
    pub fn carry(&mut self, multiple: f64, dt: Duration) {
        let (drive, dt_s) = (multiple * multiple, dt.as_secs_f64());
        let decay = (-dt_s / TAU_S).exp();
        self.heat = drive + (self.heat - drive) * decay;
        self.fast = if multiple > FAST_ABOVE { self.fast + dt_s / fast_s(multiple) } else { self.fast * decay };
    }

    /// Used share, 0 (cold) to 1 (trips).
    pub fn used(&self) -> f64 {
        (self.heat / TRIPS_AT).max(self.fast).clamp(0.0, 1.0)
    }

    /// Seconds until it trips if `multiple` stays; `None`: never.
    pub fn seconds_left(&self, multiple: f64) -> Option<f64> {
        let drive = multiple * multiple;
        if self.heat >= TRIPS_AT || self.fast >= 1.0 {
            return Some(0.0);
        }
        if drive <= TRIPS_AT {
            return None;
        }
        let thermal = TAU_S * ((drive - self.heat) / (drive - TRIPS_AT)).ln();
        let fast = if multiple > FAST_ABOVE { (1.0 - self.fast) * fast_s(multiple) } else { f64::INFINITY };
        Some(thermal.min(fast))
    }
}

fn fast_s(multiple: f64) -> f64 {
    FAST_S_AT_THAT * (FAST_ABOVE / multiple).powf(FAST_SLOPE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from_cold(multiple: f64) -> Option<f64> {
        Trip::settled_at(0.0).seconds_left(multiple)
    }

    #[test]
    fn the_curve_goes_through_its_points() {
        assert_eq!(from_cold(1.05), None);
        assert!((from_cold(2.0).unwrap() - 10.0).abs() < 0.1);
        assert!((from_cold(2.55).unwrap() - 1.0).abs() < 0.05);
        assert!(from_cold(5.0).unwrap() < 0.01);
        assert!(from_cold(1.3).unwrap() < 60.0);
    }

    #[test]
    fn a_warm_breaker_has_less_time_than_a_cold_one() {
        let warm = Trip::settled_at(0.9).seconds_left(1.4).unwrap();
        assert!(warm < from_cold(1.4).unwrap());
    }

    #[test]
    fn a_smaller_breaker_is_hotter_after_the_same_current() {
        let rerated = Trip::settled_at(0.5).rerated(2.0);
        assert_eq!(rerated, Trip::settled_at(1.0));
    }

    #[test]
    fn carrying_uses_up_exactly_the_time_that_was_left() {
        let mut trip = Trip::settled_at(0.5);
        let left = trip.seconds_left(1.4).unwrap();
        for _ in 0..10 {
            trip.carry(1.4, Duration::from_secs_f64(left / 10.0));
        }
        assert!(trip.seconds_left(1.4).unwrap() < 1e-6);
        assert!(trip.used() > 0.999);
    }
}

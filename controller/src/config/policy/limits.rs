//! The numbers of a policy that hold where nothing else is said: `[limits]` of a policy file, or `[policy]` of a config.

use super::super::document::{Mistakes, Table};
use super::super::value::ranged;
use headroom_rack::{Celsius, Watts};
use std::time::Duration;

/// How caps are decided.
#[derive(Debug, Clone, PartialEq)]
pub struct PolicySpec {
    /// Priority bands, first is cut last.
    pub bands: Vec<String>,
    /// No GPU is capped below this.
    pub floor_gpu: Watts,
    /// Time until an Order has taken effect.
    pub response: Duration,
    /// Used share of a continuous rating, in (0, 1].
    pub derate: f64,
    /// How fast a rack is let up, in watts per second.
    pub release_watts_per_s: f64,
    /// Highest coolant return temperature.
    pub coolant_limit: Celsius,
    /// Highest temperature of the air at inlets, if it is watched.
    pub inlet_limit: Option<Celsius>,
    /// How long a UPS on battery is to last; zero leaves the battery to itself.
    pub battery_target: Duration,
}

pub(in super::super) fn limits(table: &Table<'_>, bands: Vec<String>, place: &str, m: &Mistakes) -> PolicySpec {
    let number = |key, default, low, high| ranged(table.get(key), default, low, high, &format!("{key} in {place}"), m);
    PolicySpec {
        bands,
        floor_gpu: Watts::new(number("floor_gpu_watts", 200.0, 0.0, 5000.0)),
        response: Duration::from_secs_f64(number("response_s", 3.0, 0.5, 60.0)),
        derate: number("derate", 0.95, 0.1, 1.0),
        release_watts_per_s: number("release_watts_per_s", 1000.0, 1.0, 1e6),
        coolant_limit: Celsius::new(number("coolant_limit_celsius", 60.0, 20.0, 90.0)),
        inlet_limit: table
            .has("inlet_limit_celsius")
            .then(|| Celsius::new(number("inlet_limit_celsius", 35.0, 10.0, 60.0))),
        battery_target: Duration::from_secs_f64(number("battery_target_s", 0.0, 0.0, 86_400.0)),
    }
}

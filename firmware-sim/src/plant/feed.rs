//! One feed: utility, UPS and breaker, and the currents through them.

use super::breaker::Breaker;
use super::spec::PlantSpec;
use super::ups::Ups;
use headroom_rack::units::Amperes;

/// One feed.
#[derive(Debug, Clone)]
pub struct Feed {
    /// The utility is there.
    pub utility: bool,
    /// Its UPS.
    pub ups: Ups,
    /// Its breaker, behind the UPS.
    pub breaker: Breaker,
    /// Voltage at the breaker and behind, phase to neutral; less than the UPS gives on a long way from it.
    pub volts: f64,
    rating_amperes: f64,
    watts: [f64; 3],
    amperes: [f64; 3],
}

impl Feed {
    /// A feed at rest.
    pub fn new(spec: &PlantSpec) -> Self {
        Self {
            utility: true,
            ups: Ups::new(&spec.ups, spec.volts, spec.frequency_hz),
            breaker: Breaker::new(&spec.breaker),
            volts: spec.volts,
            rating_amperes: spec.breaker.rating_amperes,
            watts: [0.0; 3],
            amperes: [0.0; 3],
        }
    }

    /// Whether the racks get voltage from it.
    pub fn energised(&self) -> bool {
        self.ups.readout.output_on && self.breaker.tripped().is_none()
    }

    /// Power by phase.
    pub fn watts(&self) -> [f64; 3] {
        self.watts
    }

    /// Current by phase.
    pub fn amperes(&self) -> [f64; 3] {
        self.amperes
    }

    /// Current of the fullest phase over the rating.
    pub fn load_ratio(&self) -> f64 {
        self.amperes.iter().copied().fold(0.0, f64::max) / self.rating_amperes
    }

    /// Advances by `dt` seconds with this load behind the breaker.
    pub fn step(&mut self, dt: f64, watts: [f64; 3], va: [f64; 3]) {
        self.watts = watts;
        self.amperes = va.map(|va| va / self.volts);
        self.breaker.step(dt, self.amperes.map(Amperes::new));
        self.ups.step(dt, self.utility, self.watts, self.amperes);
    }
}

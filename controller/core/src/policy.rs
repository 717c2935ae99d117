//! What the site wants: who comes first, how little a GPU may get, how fast the chain reacts.

use headroom_rack::Watts;
use std::time::Duration;

/// The site's policy. Numbers are checked by the configuration that makes it.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    /// Priority bands, the most important first. A rack of an unknown band comes last.
    pub bands: Vec<String>,
    /// No GPU is limited below this.
    pub floor_gpu: Watts,
    /// Time from a measurement to an enforced limit: period + bus + agent + the driver's settling.
    pub response: Duration,
    /// Share of a rating that may flow for ever, 0 to 1 (0.8 for standard-rated breakers under
    /// UL 489, up to 1 for IEC 60898 ones in a cool place).
    pub derate: f64,
    /// How fast the budget of one rack may grow, W/s.
    pub release_watts_per_s: f64,
    /// Lease of an Order.
    pub lease: Duration,
    /// Highest coolant return temperature, degrees Celsius (ASHRAE W45 supply plus a usual rise).
    pub coolant_limit_celsius: f64,
    /// How long a UPS on battery is to last; zero leaves the battery to itself.
    pub battery_target: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            bands: ["training", "inference", "batch"].map(str::to_owned).to_vec(),
            floor_gpu: Watts::new(200.0),
            response: Duration::from_secs(3),
            derate: 0.95,
            release_watts_per_s: 400.0,
            lease: Duration::from_secs(5),
            coolant_limit_celsius: 60.0,
            battery_target: Duration::ZERO,
        }
    }
}

impl Policy {
    /// Rank of a band, 0 first.
    pub fn rank(&self, band: &str) -> usize {
        self.bands.iter().position(|b| b == band).unwrap_or(self.bands.len())
    }
}

//! What the site wants: who comes first, how little and how much a GPU may get, how fast the chain
//! reacts, and what the racks may draw together. [`Rules`] change it by the time of day.

mod rules;

pub use rules::{Rule, Rules, When};

use headroom_rack::{NodeId, RackId, Watts};
use std::collections::BTreeMap;
use std::time::Duration;

/// Bounds for the GPUs of a class or of a rack; what is not said is left as it was.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Bounds {
    /// No GPU is limited below this.
    pub floor_gpu: Option<Watts>,
    /// No GPU is limited above this, but for a floor that is higher: the floor holds.
    pub ceiling_gpu: Option<Watts>,
    /// Weight of a rack's share inside its band, above 0.
    pub weight: Option<f64>,
}

impl Bounds {
    /// These, and where they say nothing, `others`.
    pub fn or(self, others: Self) -> Self {
        Self {
            floor_gpu: self.floor_gpu.or(others.floor_gpu),
            ceiling_gpu: self.ceiling_gpu.or(others.ceiling_gpu),
            weight: self.weight.or(others.weight),
        }
    }
}

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
    /// How fast the budget of one rack may grow, W/s. What may be granted at all does not depend on it; a rack of
    /// eight H100 is back from its floor within 4 s by default.
    pub release_watts_per_s: f64,
    /// How often Orders are repeated.
    pub period: Duration,
    /// Lease of an Order.
    pub lease: Duration,
    /// Highest coolant return temperature, degrees Celsius (ASHRAE W45 supply plus a usual rise).
    pub coolant_limit_celsius: f64,
    /// Highest temperature of the air at the inlets of racks whose cooler tells no flow, degrees Celsius; none: it is not
    /// watched. ASHRAE recommends up to 27 and allows class A2 up to 35.
    pub inlet_limit_celsius: Option<f64>,
    /// How long a UPS on battery is to last; zero leaves the battery to itself.
    pub battery_target: Duration,
    /// Bounds of bands.
    pub classes: BTreeMap<String, Bounds>,
    /// Bands of racks, where they are not what the topology says.
    pub priorities: BTreeMap<RackId, String>,
    /// Bounds of racks; they go before those of their bands.
    pub racks: BTreeMap<RackId, Bounds>,
    /// What all racks and what else hangs on the feeds may draw together.
    pub site: Option<Watts>,
    /// What may flow through a node, below its rating.
    pub nodes: BTreeMap<NodeId, Watts>,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            bands: ["training", "inference", "batch"].map(str::to_owned).to_vec(),
            floor_gpu: Watts::new(200.0),
            response: Duration::from_secs(3),
            derate: 0.95,
            release_watts_per_s: 1000.0,
            period: Duration::from_secs(1),
            lease: Duration::from_secs(5),
            coolant_limit_celsius: 60.0,
            inlet_limit_celsius: None,
            battery_target: Duration::ZERO,
            classes: BTreeMap::new(),
            priorities: BTreeMap::new(),
            racks: BTreeMap::new(),
            site: None,
            nodes: BTreeMap::new(),
        }
    }
}

impl Policy {
    /// Without an Order for so long an agent takes back what was only lent: two periods, so that nothing
    /// happens when a message is late.
    pub fn unheard(&self) -> Duration {
        self.period * 2
    }

    /// Rank of a band, 0 first.
    pub fn rank(&self, band: &str) -> usize {
        self.bands.iter().position(|b| b == band).unwrap_or(self.bands.len())
    }

    /// The band of a rack that the topology puts into `band`.
    pub fn band<'p>(&'p self, rack: &RackId, band: &'p str) -> &'p str {
        self.priorities.get(rack).map_or(band, String::as_str)
    }

    /// The bounds of a rack of this band.
    pub fn bounds(&self, rack: &RackId, band: &str) -> Bounds {
        let own = self.racks.get(rack).copied().unwrap_or_default();
        own.or(self.classes.get(band).copied().unwrap_or_default())
    }
}

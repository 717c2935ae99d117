//! An immutable picture of the plant at one step: what servers answer from.

use super::air::AirReadout;
use super::cooling::CoolingReadout;
use super::feed::Feed;
use super::gpu::GpuReadout;
use super::pdu::PduReadout;
use super::tally::Tally;
use super::ups::UpsReadout;

/// One rack.
#[derive(Debug, Clone)]
pub struct RackView {
    /// Its name.
    pub id: String,
    /// What runs on it.
    pub workload: &'static str,
    /// Power of everything that is not a GPU.
    pub host_watts: f64,
    /// Its GPUs.
    pub gpus: Vec<GpuReadout>,
    /// PDU a and PDU b.
    pub pdus: [PduReadout; 2],
    /// The unit of its liquid loop; one without power where air cools.
    pub cooling: CoolingReadout,
    /// Its unit for air, where air cools.
    pub air: Option<AirReadout>,
}

/// One feed.
#[derive(Debug, Clone)]
pub struct FeedView {
    /// Its UPS.
    pub ups: UpsReadout,
    /// Current of the breaker's fullest pole.
    pub breaker_amperes: f64,
    /// Power through the breaker.
    pub breaker_watts: f64,
    /// The breaker is open.
    pub breaker_tripped: bool,
    /// How near the bimetal is to its release, 0 to 1.
    pub breaker_heat_ratio: f64,
    /// The utility is there.
    pub utility: bool,
}

impl FeedView {
    /// What can be seen of a feed.
    pub fn of(feed: &Feed) -> Self {
        Self {
            ups: feed.ups.readout.clone(),
            breaker_amperes: feed.amperes().iter().copied().fold(0.0, f64::max),
            breaker_watts: feed.watts().iter().sum(),
            breaker_tripped: feed.breaker.tripped().is_some(),
            breaker_heat_ratio: feed.breaker.heat_ratio(),
            utility: feed.utility,
        }
    }
}

/// The whole plant at one step.
#[derive(Debug, Clone)]
pub struct PlantView {
    /// Seconds since the start.
    pub time_s: f64,
    /// The racks.
    pub racks: Vec<RackView>,
    /// The feeds in order.
    pub feeds: Vec<FeedView>,
    /// What was counted.
    pub tally: Tally,
}

//! What a plant consists of, as it is configured: nodes, racks and their cords, cooling units.

use crate::battery::BatterySpec;
use crate::trip::Curve;
use headroom_rack::{DeviceId, NodeId, RackId, Volts, Watts};
use std::sync::Arc;

/// What a node is; decides how it is told and which curve it has if nobody names one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NodeKind {
    /// What the grid operator delivers at one point.
    Utility,
    /// A transformer.
    Transformer,
    /// An uninterruptible power supply, judged by an overload table; may run on battery.
    Ups,
    /// A switchboard, by its main breaker.
    Switchboard,
    /// A busway, by the breaker that feeds it.
    Busway,
    /// A floor PDU or remote power panel, by its main breaker.
    Pdu,
    /// A circuit breaker or fuse.
    Breaker,
    /// The strip in the rack, by its own breaker or the plug's rating.
    RackPdu,
}

impl NodeKind {
    /// All kinds with their words, from the grid down.
    pub const ALL: [(Self, &'static str); 8] = [
        (Self::Utility, "utility"),
        (Self::Transformer, "transformer"),
        (Self::Ups, "ups"),
        (Self::Switchboard, "switchboard"),
        (Self::Busway, "busway"),
        (Self::Pdu, "pdu"),
        (Self::Breaker, "breaker"),
        (Self::RackPdu, "rack-pdu"),
    ];

    /// Its word in files and interfaces.
    pub fn word(self) -> &'static str {
        Self::ALL.iter().find(|(kind, _)| *kind == self).map_or("", |(_, word)| word)
    }

    /// The family of its protection if nobody names one.
    pub fn usual_family(self) -> &'static str {
        match self {
            Self::Utility | Self::Switchboard => "iec60947-tm",
            Self::Transformer => "transformer-dry",
            Self::Ups => "ups-market",
            Self::Busway | Self::Pdu | Self::Breaker | Self::RackPdu => "iec60898-c",
        }
    }
}

/// The meter in a node's circuit: a device of the agent that reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MeterRef {
    /// The agent's rack.
    pub rack: RackId,
    /// The device within it.
    pub device: DeviceId,
}

/// One node above the racks.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeSpec {
    /// Its name.
    pub id: NodeId,
    /// What it is.
    pub kind: NodeKind,
    /// The feed it belongs to, such as `a`.
    pub feed: String,
    /// The node it hangs on; none for the root of a feed.
    pub parent: Option<NodeId>,
    /// Continuous rating, all phases, at its ambient temperature, before the policy's derating.
    pub rating: Watts,
    /// The meter in the circuit, if there is one.
    pub meter: Option<MeterRef>,
    /// When it trips at the earliest.
    pub curve: Arc<Curve>,
    /// Phases it carries, 1 or 3; its fullest phase trips it.
    pub phases: u32,
    /// Nominal voltage that its rating in amperes was written with: phase to neutral, of a circuit of one phase that
    /// across its load; none: rated in watts.
    pub volts: Option<Volts>,
    /// The node that takes over what hangs here when the parent fails (a transfer switch).
    pub standby: Option<NodeId>,
    /// How long the battery of a UPS lasts, if its data are known.
    pub battery: Option<Arc<BatterySpec>>,
}

impl NodeSpec {
    /// A root without a meter, with the usual curve of its kind.
    pub fn new(id: NodeId, kind: NodeKind, feed: &str, rating: Watts) -> Self {
        let curve = kind.curve();
        Self {
            id,
            kind,
            feed: feed.to_owned(),
            parent: None,
            rating,
            meter: None,
            curve,
            phases: 3,
            volts: None,
            standby: None,
            battery: None,
        }
    }
}

/// How much of a rack one cord carries.
#[derive(Debug, Clone, PartialEq)]
pub struct FeedShare {
    /// The node the cord hangs on.
    pub node: NodeId,
    /// Share of the rack's power, above 0 and at most 1; all cords of a rack sum to 1.
    pub share: f64,
    /// The PDU that meters the cord.
    pub meter: DeviceId,
    /// Share of the cord's power on each phase. Sums to 1; to more where lines are connected to lines,
    /// whose currents do not add up in phase.
    pub phases: [f64; 3],
}

/// A cord that loads all phases alike.
pub const BALANCED: [f64; 3] = [1.0 / 3.0; 3];

impl FeedShare {
    /// A balanced cord.
    pub fn new(node: NodeId, share: f64, meter: DeviceId) -> Self {
        Self { node, share, meter, phases: BALANCED }
    }
}

/// Cooling units that serve a set of racks together.
#[derive(Debug, Clone, PartialEq)]
pub struct CoolingSpec {
    /// The name of the set.
    pub id: NodeId,
    /// The racks whose heat they remove.
    pub racks: Vec<RackId>,
    /// What each unit removes.
    pub units: Vec<Watts>,
}

impl CoolingSpec {
    /// What is removed after the loss of the largest unit; `None` when there is only one, whose loss
    /// no cap survives for long.
    pub fn left(&self) -> Option<Watts> {
        let largest = self.units.iter().copied().reduce(Watts::max)?;
        (self.units.len() > 1).then(|| self.units.iter().copied().sum::<Watts>() - largest)
    }
}

/// One rack.
#[derive(Debug, Clone, PartialEq)]
pub struct RackSpec {
    /// Its name.
    pub id: RackId,
    /// The priority band, one of the policy's.
    pub priority: String,
    /// Weight of its share inside the band, above 0.
    pub weight: f64,
    /// Number of GPUs.
    pub gpus: u32,
    /// Power of everything but the GPUs, at most.
    pub overhead: Watts,
    /// Highest limit of one GPU.
    pub gpu_max: Watts,
    /// Limit of one GPU at which the whole site is safe without a controller.
    pub safe_gpu: Watts,
    /// Its cords.
    pub feeds: Vec<FeedShare>,
    /// The device that cools it, if it is read.
    pub cooling: Option<DeviceId>,
    /// Coolant in the loop that takes its heat, l, if somebody wrote it.
    pub coolant_liters: Option<f64>,
}

/// Coolant in a loop of which nobody wrote how much, l for each watt of GPUs: 60 l for a rack of 120 kW, which warm by
/// half a kelvin a second when they stand still.
const LITERS_PER_WATT: f64 = 0.5e-3;

impl RackSpec {
    /// Coolant in its loop, l.
    pub fn coolant_liters(&self) -> f64 {
        self.coolant_liters.unwrap_or(LITERS_PER_WATT * self.gpu_max.get() * f64::from(self.gpus))
    }

    /// What it draws at most.
    pub fn nameplate(&self) -> Watts {
        self.at(self.gpu_max)
    }

    /// What it draws at most with every GPU limited to `gpu`.
    pub fn at(&self, gpu: Watts) -> Watts {
        self.overhead + gpu * f64::from(self.gpus)
    }
}

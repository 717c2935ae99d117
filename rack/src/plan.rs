//! The controller's whole decision at one tick, with its reasons.

use crate::id::{DeviceId, NodeId, RackId};
use crate::order::Generation;
use crate::time::UnixMs;
use crate::units::Watts;
use serde::{Deserialize, Serialize};

/// What the controller is doing as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Orders are sent.
    Automatic,
    /// Decisions are shown, nothing is sent.
    Advisory,
    /// The automation stopped itself: every rack at its safe share.
    Safe,
}

/// What sets a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LimitKind {
    /// Continuous rating times derating, as a mean of minutes: more may flow for a moment where a device has a
    /// thermal image.
    Continuous,
    /// What the trip accumulator still allows.
    TimeToTrip,
    /// The UPS overload table or its battery.
    UpsOverload,
    /// What the other feed must be able to pick up.
    Redundancy,
    /// What the cooling can remove.
    Cooling,
    /// A target from outside.
    External,
    /// The device's own highest limit: nothing upstream binds.
    Device,
}

impl LimitKind {
    /// Words for people.
    pub fn words(self) -> &'static str {
        match self {
            Self::Continuous => "continuous rating as a mean",
            Self::TimeToTrip => "time to trip",
            Self::UpsOverload => "UPS overload",
            Self::Redundancy => "loss of the other feed",
            Self::Cooling => "cooling",
            Self::External => "external target",
            Self::Device => "device maximum",
        }
    }
}

/// How far a node's power is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Quality {
    /// By the meter in the circuit.
    Measured,
    /// By the sum of what hangs below.
    Summed,
    /// By an old reading aged by its worst slew.
    Aged,
    /// Not at all: counted as nameplate.
    Nameplate,
}

/// One node of the electrical tree as the decision saw it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NodeView {
    /// The node.
    pub node: NodeId,
    /// Power believed to flow now.
    pub power: Watts,
    /// How it is known.
    pub quality: Quality,
    /// Power expected over the time an Order takes to act.
    pub expected: Watts,
    /// The least of all limits now: of kind [`LimitKind::Continuous`] also beyond the rating, while the mean is below.
    pub limit: Watts,
    /// Which limit that is.
    pub limit_kind: LimitKind,
    /// Continuous rating before derating.
    pub rating: Watts,
    /// Seconds until this node trips if the power believed now stays; `None`: never.
    pub time_to_trip_s: Option<f64>,
    /// Used share of the trip accumulator, 0 (cold) to 1 (trips).
    pub trip_used: f64,
    /// The battery of a UPS that carries the load or whose data are known.
    pub battery: Option<BatteryLeft>,
}

/// What a UPS has left, so that whoever decides next goes on counting.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct BatteryLeft {
    /// Share left of what it holds when full, 0 to 1.
    pub charge: f64,
    /// For how long it has carried the load, s; none: it does not.
    pub on_s: Option<f64>,
}

/// The limit for the GPUs of one rack, with the reason.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Cap {
    /// The rack.
    pub rack: RackId,
    /// Budget of the whole rack at its inlets.
    pub budget: Watts,
    /// Power limit for each GPU.
    pub gpus: Vec<(DeviceId, Watts)>,
    /// The node that bound it; `<rack>.<device>` where that is what cools the rack or a GPU too warm.
    pub bound_by: NodeId,
    /// The kind of limit at that node.
    pub kind: LimitKind,
    /// Watts left at that node under this Plan.
    pub margin: Watts,
    /// Seconds to trip left at that node; `None`: it would never trip.
    pub margin_s: Option<f64>,
    /// Rack power expected if nothing were capped.
    pub expected: Watts,
    /// Whether this rack is held below what it would draw.
    pub binding: bool,
}

/// The whole decision.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// Its place in the order of Plans.
    pub generation: Generation,
    /// When it was made.
    pub at: UnixMs,
    /// What the controller is doing.
    pub mode: Mode,
    /// One entry per rack, in rack order.
    pub caps: Vec<Cap>,
    /// One entry per node, parents before children.
    pub nodes: Vec<NodeView>,
}

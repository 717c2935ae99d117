//! Orders go down, Receipts come back. An Order is level-triggered: repeated each control period,
//! newer generations win, and each expires by a lease that the agent times itself.

use crate::id::DeviceId;
use crate::time::UnixMs;
use crate::units::Watts;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Orders never go back: a lower generation is refused. The epoch is the controller's term (its
/// election or start), so that an old leader loses against a new one whatever its counter says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Hash, Serialize, Deserialize)]
pub struct Generation {
    /// The controller's term.
    pub epoch: u64,
    /// Counts the Plans of the term.
    pub counter: u64,
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.epoch, self.counter)
    }
}

/// One desired setting of one device.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Setting {
    /// GPU power limit.
    PowerLimit(Watts),
    /// Highest SM clock, in MHz; 0 releases the lock.
    ClockCeilingMhz(u32),
}

/// One desired setting with its generation and relative lease.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Order {
    /// The device it is for.
    pub device: DeviceId,
    /// What it should be set to.
    pub setting: Setting,
    /// Its place in the order of Plans.
    pub generation: Generation,
    /// How long it holds after it arrived, in milliseconds by the agent's monotonic clock.
    pub lease_ms: u32,
}

/// What a rack can see by itself, without asking anybody.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    /// A PDU's inlet has no voltage.
    InletDead(DeviceId),
    /// A UPS lives on its battery.
    OnBattery(DeviceId),
    /// No Order arrived for so many milliseconds: whoever gave the last one may be gone.
    NoOrders(u32),
}

/// An Order that lies ready: in force only while its condition holds, and only ever lowering. Generation
/// and lease are those of any Order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// When it is in force.
    pub when: Condition,
    /// What is set then.
    pub order: Order,
}

/// Why the agent set something else than asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Clamp {
    /// Raised to the board's lowest limit.
    DeviceMin,
    /// Lowered to the board's highest limit.
    DeviceMax,
    /// The rack's own guard allows less.
    Guard,
    /// A condition holds for which the controller prepared a lower limit.
    Answer,
    /// The device enforces another limit than the one set (out of band, or it ignores us).
    ReadBack,
}

/// Why the agent did not act.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// A newer generation was seen before.
    OldGeneration,
    /// No such device.
    UnknownDevice,
    /// The device cannot be set so.
    NotSupported,
    /// The driver denies it to this user.
    PermissionDenied,
    /// The number makes no sense (not finite, negative).
    Nonsense,
    /// The device failed while being set.
    DeviceFailed,
    /// The agent only watches.
    MonitorOnly,
}

/// What became of an Order.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// In force as asked; the value was read back.
    Applied,
    /// In force with another value.
    Clamped {
        /// The value read back from the device.
        to: Watts,
        /// Why.
        why: Clamp,
    },
    /// Not acted upon.
    Refused(Refusal),
    /// The lease ran out and the safe setting took over.
    Expired,
}

/// What an agent did with an Order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Receipt {
    /// The device.
    pub device: DeviceId,
    /// The Order's generation.
    pub generation: Generation,
    /// What became of it.
    pub outcome: Outcome,
    /// When, by the agent's wall clock.
    pub at: UnixMs,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_epoch_beats_any_counter_of_the_old_one() {
        let old = Generation { epoch: 1, counter: 900 };
        let new = Generation { epoch: 2, counter: 1 };
        assert!(new > old);
    }
}

//! One rack at one tick, immutable.

use crate::id::{DeviceId, RackId};
use crate::order::Receipt;
use crate::reading::{NoData, Reading};
use crate::readings::Readings;
use crate::signal::Signal;
use crate::time::UnixMs;
use serde::{Deserialize, Serialize};

/// Everything an agent knew at one tick. `(rack, boot, seq)` names it once and for ever: the
/// record uses it to store each Snapshot exactly once.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// The rack.
    pub rack: RackId,
    /// Identifies the agent's run: its start on the wall clock, in milliseconds.
    pub boot: u64,
    /// Counts up by one from 1 within a run.
    pub seq: u64,
    /// The agent's wall clock at the tick.
    pub at: UnixMs,
    /// Back-filled after an outage rather than live.
    pub historical: bool,
    /// Signals with their readings.
    pub readings: Readings,
    /// What became of Orders since the last Snapshot.
    pub receipts: Vec<Receipt>,
}

impl Snapshot {
    /// The reading of one signal of one device.
    pub fn reading(&self, device: &DeviceId, signal: Signal) -> Reading {
        self.readings.of(device, signal).copied().unwrap_or_else(|| Reading::none(NoData::NotYetRead, self.at))
    }

    /// The value of one signal of one device, when there is one.
    pub fn value(&self, device: &DeviceId, signal: Signal) -> Option<f64> {
        self.reading(device, signal).ok()
    }

    /// The devices in it, in order, each once.
    pub fn devices(&self) -> Vec<&DeviceId> {
        let mut ids: Vec<_> = self.readings.keys().map(|p| &p.device).collect();
        ids.dedup();
        ids
    }
}

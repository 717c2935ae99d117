//! What the run loop counts: Snapshots, Readings, Orders, Receipts, Forecasts.

use headroom_rack::{Outcome, Snapshot};
use serde::Serialize;
use std::collections::BTreeMap;

/// Receipts by outcome.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Receipts {
    /// In force as asked.
    pub applied: u64,
    /// In force with another value.
    pub clamped: u64,
    /// Not acted upon.
    pub refused: u64,
    /// The lease ran out.
    pub expired: u64,
}

/// What was counted since the start.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Counts {
    /// Snapshots, each once.
    pub snapshots: u64,
    /// Readings in them.
    pub readings: u64,
    /// Readings without a value, by reason.
    pub no_data: BTreeMap<String, u64>,
    /// Orders sent.
    pub orders: u64,
    /// Receipts.
    pub receipts: Receipts,
    /// Forecasts by the model.
    pub forecasts: u64,
    /// Forecasts by the baseline.
    pub fallbacks: u64,
    /// Forecasts that came after their deadline and were not used.
    pub late: u64,
    /// Periods without a decision because the one before was not over, or the machine stood still.
    pub missed_periods: u64,
    /// How late a period's turn began at worst since the start, in seconds.
    pub worst_lateness_s: f64,
}

impl Counts {
    /// Counts a Snapshot that was not seen before.
    pub fn take(&mut self, snapshot: &Snapshot) {
        self.snapshots += 1;
        self.readings += snapshot.readings.len() as u64;
        for reason in snapshot.readings.values().filter_map(|r| r.value.err()) {
            *self.no_data.entry(reason.code()).or_default() += 1;
        }
        for receipt in &snapshot.receipts {
            let counter = match receipt.outcome {
                Outcome::Applied => &mut self.receipts.applied,
                Outcome::Clamped { .. } => &mut self.receipts.clamped,
                Outcome::Refused(_) => &mut self.receipts.refused,
                Outcome::Expired => &mut self.receipts.expired,
            };
            *counter += 1;
        }
    }

    /// All Readings without a value.
    pub fn no_data_total(&self) -> u64 {
        self.no_data.values().sum()
    }
}

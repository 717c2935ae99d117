//! Something a person should look at.

use crate::time::UnixMs;
use serde::{Deserialize, Serialize};

/// How urgent a Finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Worth knowing.
    Info,
    /// Plan a visit.
    Warning,
    /// Go now.
    Critical,
}

impl Severity {
    /// Lower-case word used in alerts and metrics.
    pub fn word(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

/// Something a person should look at. `key` stays the same while the matter lasts, so that one
/// matter is one alert.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// One key per matter, `kind:subject`.
    pub key: String,
    /// What kind: `ups_battery_drift`, `pump_drift`, `meter_contradiction`, ...
    pub kind: String,
    /// What it is about: a node, or `rack/device`.
    pub subject: String,
    /// How urgent.
    pub severity: Severity,
    /// One line.
    pub title: String,
    /// What was seen, in numbers with units, and what to do.
    pub detail: String,
    /// Since when.
    pub since: UnixMs,
}

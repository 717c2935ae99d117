//! One signal at one moment: a number, or the reason why there is none. Never 0, NaN or a silent
//! last value in place of a reason.

use crate::time::UnixMs;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Why a signal has no value. The order is the wire's: append only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NoData {
    /// The device did not answer within its time-out.
    Timeout,
    /// No connection to the device.
    Disconnected,
    /// The device answered with a Modbus exception of this code.
    Exception(u8),
    /// The device does not have this signal.
    NotSupported,
    /// The device says itself that the value is not available (sentinel or status bit).
    NotAvailable,
    /// The value lies outside the signal's plausible range.
    OutOfRange,
    /// The answer could not be decoded.
    Malformed,
    /// The last value is older than its limit.
    Stale,
    /// The GPU has fallen off the bus or needs a reset.
    DeviceLost,
    /// Not read since the agent started.
    NotYetRead,
    /// The device refuses to tell this user.
    PermissionDenied,
}

impl NoData {
    /// Stable text used on the wire, in metrics and in the record: `timeout`, `exception_2`, ...
    pub fn code(self) -> String {
        match self {
            Self::Exception(n) => format!("exception_{n}"),
            other => other.name().to_owned(),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::Disconnected => "disconnected",
            Self::Exception(_) => "exception",
            Self::NotSupported => "not_supported",
            Self::NotAvailable => "not_available",
            Self::OutOfRange => "out_of_range",
            Self::Malformed => "malformed",
            Self::Stale => "stale",
            Self::DeviceLost => "device_lost",
            Self::NotYetRead => "not_yet_read",
            Self::PermissionDenied => "permission_denied",
        }
    }

    /// The reason behind a [`NoData::code`]; `None` for a text nobody writes.
    pub fn from_code(code: &str) -> Option<Self> {
        if let Some(n) = code.strip_prefix("exception_") {
            return n.parse().ok().map(Self::Exception);
        }
        [
            Self::Timeout,
            Self::Disconnected,
            Self::NotSupported,
            Self::NotAvailable,
            Self::OutOfRange,
            Self::Malformed,
            Self::Stale,
            Self::DeviceLost,
            Self::NotYetRead,
            Self::PermissionDenied,
        ]
        .into_iter()
        .find(|reason| reason.name() == code)
    }

    /// Whether the signal is absent by nature (never an alarm) rather than by fault.
    pub fn is_by_nature(self) -> bool {
        matches!(self, Self::NotSupported | Self::NotYetRead)
    }
}

impl fmt::Display for NoData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.code())
    }
}

/// One signal: its value or the reason for its absence, and when that was found.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Reading {
    /// The value in the signal's unit, always finite.
    pub value: Result<f64, NoData>,
    /// The agent's wall clock when the device answered (or failed to).
    pub at: UnixMs,
}

impl Reading {
    /// A value; anything not finite becomes [`NoData::Malformed`].
    pub fn new(value: f64, at: UnixMs) -> Self {
        let value = if value.is_finite() { Ok(value) } else { Err(NoData::Malformed) };
        Self { value, at }
    }

    /// An absence with its reason.
    pub fn none(reason: NoData, at: UnixMs) -> Self {
        Self { value: Err(reason), at }
    }

    /// The value, when there is one.
    pub fn ok(&self) -> Option<f64> {
        self.value.ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_that_is_none_becomes_a_reason() {
        let at = UnixMs::new(1);
        assert_eq!(Reading::new(f64::NAN, at).value, Err(NoData::Malformed));
        assert_eq!(Reading::new(f64::INFINITY, at).value, Err(NoData::Malformed));
    }

    #[test]
    fn every_reason_survives_its_code() {
        for reason in
            [NoData::Timeout, NoData::Exception(2), NoData::DeviceLost, NoData::PermissionDenied, NoData::NotYetRead]
        {
            assert_eq!(NoData::from_code(&reason.code()), Some(reason));
        }
        assert_eq!(NoData::from_code("fine"), None);
    }
}

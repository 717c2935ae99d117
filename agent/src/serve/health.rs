//! How the agent is. What is not known is never called healthy: a device that was not asked yet is
//! `unknown`, one that does not answer is `down`, and neither is a reason to restart the agent.

use crate::board::{Board, DeviceState};
use headroom_rack::{NoData, RackId};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

/// Without a Snapshot where they are to be sent, or without a turn of the control loop, for this long the agent is hung.
const HUNG_AFTER: Duration = Duration::from_secs(5);

/// The whole, worst first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// No Snapshot is made or the control loop stands still: restart it.
    Hung,
    /// Nothing was read from any device, now or yet.
    Unknown,
    /// Some of what the config asks for is missing.
    Degraded,
    /// Every device answers, every signal that a device has is there.
    Healthy,
}

/// Whether a restart would help.
pub fn hangs(board: &Board) -> bool {
    let now = board.clock().now();
    let own = board.own_now();
    let snapshot = own.link_up.is_some() && board.snapshot_age().is_none_or(|age| age >= HUNG_AFTER);
    snapshot || own.beat.is_none_or(|beat| now.since(beat) >= HUNG_AFTER)
}

/// `up`, `down` or `unknown`.
pub fn state(polled: Option<DeviceState>) -> &'static str {
    match polled {
        Some(DeviceState { up: true, .. }) => "up",
        Some(_) => "down",
        None => "unknown",
    }
}

/// A signal that no board or profile has is not missing.
fn is_missing(reason: NoData) -> bool {
    !matches!(reason, NoData::NotSupported | NoData::PermissionDenied)
}

impl Health {
    /// How it is now.
    pub fn of(board: &Board) -> Self {
        if hangs(board) {
            return Self::Hung;
        }
        let own = board.own_now();
        let up = |state: &Option<DeviceState>| state.is_some_and(|s| s.up);
        if !own.devices.values().any(up) {
            return Self::Unknown;
        }
        let lacks = || board.readings().values().any(|r| r.value.is_err_and(is_missing));
        let missing = !own.devices.values().all(up) || lacks();
        if missing || own.config_refused || own.link_up == Some(false) { Self::Degraded } else { Self::Healthy }
    }

    /// Whether anything can be said about the rack.
    pub fn is_known(self) -> bool {
        matches!(self, Self::Degraded | Self::Healthy)
    }

    fn name(self) -> &'static str {
        match self {
            Self::Hung => "hung",
            Self::Unknown => "unknown",
            Self::Degraded => "degraded",
            Self::Healthy => "healthy",
        }
    }

    /// The same with what it rests on.
    pub fn json(self, rack: &RackId, board: &Board) -> Value {
        let own = board.own_now();
        let readings = board.readings();
        let mut devices = Map::new();
        for (device, polled) in &own.devices {
            let mut missing: BTreeMap<String, Vec<&str>> = BTreeMap::new();
            let mut good = 0;
            for (path, reading) in readings.iter().filter(|(path, _)| path.device == *device) {
                match reading.value {
                    Ok(_) => good += 1,
                    Err(why) => missing.entry(why.code()).or_default().push(path.signal.name()),
                }
            }
            let mut said = json!({"state": state(*polled), "good": good, "no_data": missing});
            if let Some(trouble) = own.trouble.get(device) {
                said["trouble"] = json!(trouble);
            }
            devices.insert(device.to_string(), said);
        }
        json!({
            "rack": rack,
            "health": self.name(),
            "snapshot_age_ms": board.snapshot_age().map(|age| age.as_millis() as u64),
            "link_up": own.link_up,
            "guard_active": own.guard_active,
            "lease_left_ms": own.lease_left.as_millis() as u64,
            "config_refused": own.config_refused,
            "devices": devices,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use headroom_rack::{DeviceId, Reading, Signal, UnixMs};

    #[test]
    fn unknown_is_not_healthy_and_a_device_that_is_down_is_no_reason_to_restart() {
        let board = Board::new(RackId::new("rack-1").unwrap(), Clock::start());
        let beat = || board.own(|own| own.beat = Some(board.clock().now()));
        beat();
        assert_eq!(Health::of(&board), Health::Unknown, "no Snapshot is to be sent, and nothing was read yet");
        board.own(|own| own.link_up = Some(true));
        assert_eq!(Health::of(&board), Health::Hung, "no Snapshot was made");
        let pdu = DeviceId::new("pdu-a").unwrap();
        board.declare(&pdu, [Signal::PduPower, Signal::PduFrequency], HUNG_AFTER);
        let tick = || {
            beat();
            board.snapshot();
            Health::of(&board)
        };
        assert_eq!(tick(), Health::Unknown, "nothing was read yet");
        let read = |value: Result<f64, NoData>, up| {
            let at = UnixMs::new(1);
            let frequency = value.map_or_else(|why| Reading::none(why, at), |v| Reading::new(v, at));
            board.put(&pdu, [(Signal::PduPower, Reading::new(1.0, at)), (Signal::PduFrequency, frequency)]);
            board.polled(&pdu, DeviceState { up, poll_seconds: 0.0 });
            tick()
        };
        assert_eq!(read(Ok(50.0), true), Health::Healthy);
        assert_eq!(read(Err(NoData::NotSupported), true), Health::Healthy, "nobody misses what it never had");
        assert_eq!(read(Err(NoData::Timeout), true), Health::Degraded);
        assert_eq!(read(Err(NoData::Timeout), false), Health::Unknown);
        assert!(!hangs(&board));
        board.own(|own| own.beat = None);
        assert_eq!(Health::of(&board), Health::Hung, "the control loop does not go round");
    }
}

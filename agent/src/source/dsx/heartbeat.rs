//! The heartbeat of the building's system (BMS Event Bus 1.0, `System/HeartbeatTimestampBms`): its own
//! time stamp every 10 s. What it announced and then does not say any more is not to be trusted to live.

use headroom_rack::Mono;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::time::Duration;

/// Beats that may be missing, and half a period for what the network does to them.
const PATIENCE_PERIODS: f64 = 3.5;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    #[serde(default)]
    object_id: Option<String>,
    #[serde(default)]
    scope: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Value {
    value: Option<f64>,
    quality: i64,
}

/// One beat.
#[derive(Debug, Clone, PartialEq)]
pub struct Beat {
    /// Whose.
    pub object_id: Option<String>,
    /// Its time stamp, as it came.
    pub value: f64,
}

#[derive(Debug)]
struct Pulse {
    object_id: Option<String>,
    covers: bool,
    value: Option<f64>,
    alive_at: Mono,
}

/// The heartbeats that were announced.
#[derive(Debug)]
pub struct Heartbeats {
    prefix: String,
    ours: Option<String>,
    patience: Duration,
    pulses: BTreeMap<String, Pulse>,
}

impl Heartbeats {
    /// None yet. Those whose scope covers topics under the tag path `prefix` count, except at the tag
    /// path `ours`; `period` is the time between two beats, zero: nothing is ever missed.
    pub fn new(prefix: &str, ours: Option<String>, period: Duration) -> Self {
        let patience = period.mul_f64(PATIENCE_PERIODS);
        Self { prefix: prefix.to_owned(), ours, patience, pulses: BTreeMap::new() }
    }

    /// What to listen to, metadata first.
    pub fn filters() -> [String; 2] {
        ["Metadata", "Value"].map(|kind| format!("BMS/v1/PUB/{kind}/System/HeartbeatTimestampBms/#"))
    }

    /// Takes a message in; a beat comes out of a time stamp that is new.
    pub fn hear(&mut self, topic: &str, payload: &[u8], now: Mono) -> Option<Beat> {
        let (kind, rest) = topic.strip_prefix("BMS/v1/PUB/")?.split_once('/')?;
        let tag = rest.strip_prefix("System/HeartbeatTimestampBms/")?;
        if kind == "Metadata" {
            self.announce(tag, payload, now);
            return None;
        }
        let pulse = self.pulses.get_mut(tag)?;
        let Value { value, quality } = serde_json::from_slice(payload).ok()?;
        // The same time stamp again is no sign of life.
        let value = value.filter(|v| quality == 1 && pulse.value != Some(*v))?;
        (pulse.value, pulse.alive_at) = (Some(value), now);
        Some(Beat { object_id: pulse.object_id.clone(), value })
    }

    fn announce(&mut self, tag: &str, payload: &[u8], now: Mono) {
        if payload.is_empty() {
            // How a retained message is taken back (MQTT 3.1.1, 3.3.1.3).
            self.pulses.remove(tag);
        } else if let Ok(Metadata { object_id, scope }) = serde_json::from_slice(payload) {
            let covers = self.ours.as_deref() != Some(tag) && scope.is_none_or(|s| covers(&s, &self.prefix));
            let known = self.pulses.entry(tag.to_owned());
            let pulse = known.or_insert(Pulse { object_id: None, covers, value: None, alive_at: now });
            (pulse.object_id, pulse.covers) = (object_id, covers);
        }
    }

    /// The broker is there again: what was said meanwhile could not be heard.
    pub fn connected(&mut self, now: Mono) {
        self.pulses.values_mut().for_each(|pulse| pulse.alive_at = now);
    }

    /// Whether any heartbeat that covers the device was announced.
    pub fn is_announced(&self) -> bool {
        self.pulses.values().any(|pulse| pulse.covers)
    }

    /// The tag path of a heartbeat that covers the device and is missing.
    pub fn missing(&self, now: Mono) -> Option<&str> {
        let late =
            |pulse: &Pulse| pulse.covers && !self.patience.is_zero() && now.since(pulse.alive_at) > self.patience;
        self.pulses.iter().find(|(_, pulse)| late(pulse)).map(|(tag, _)| tag.as_str())
    }
}

/// Whether a heartbeat of this scope speaks for topics under a tag path. The specification leaves its
/// form open ("which MQTT topics"): a topic filter, a tag path, or a text for people, which covers all.
fn covers(scope: &str, prefix: &str) -> bool {
    let scope = scope.trim();
    if scope.contains(char::is_whitespace) {
        return true;
    }
    let topic = if scope.starts_with("BMS/") { format!("BMS/v1/PUB/+/+/+/{prefix}") } else { prefix.to_owned() };
    // As far as both reach; what a filter does not say it does not exclude.
    let both = scope.trim_end_matches('/').split('/').zip(topic.split('/'));
    both.take_while(|(wanted, _)| *wanted != "#").all(|(wanted, part)| wanted == "+" || part == "+" || wanted == part)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PREFIX: &str = "hall-2/row-1/rack-1/cooling";
    const META: &str = "BMS/v1/PUB/Metadata/System/HeartbeatTimestampBms/hall-2/bms";
    const BEAT: &str = "BMS/v1/PUB/Value/System/HeartbeatTimestampBms/hall-2/bms";

    fn at(seconds: u64) -> Mono {
        Mono::from_ms(seconds * 1000)
    }

    fn heartbeats() -> Heartbeats {
        let mut heartbeats = Heartbeats::new(PREFIX, None, Duration::from_secs(10));
        heartbeats.hear(META, br#"{"objectId":"BMS","objectName":"the building"}"#, at(0));
        heartbeats
    }

    fn beat(heartbeats: &mut Heartbeats, value: u64, now: Mono) -> Option<Beat> {
        heartbeats.hear(BEAT, format!(r#"{{"value":{value},"timestamp":{value},"quality":1}}"#).as_bytes(), now)
    }

    #[test]
    fn three_missing_beats_are_noticed_and_the_next_one_too() {
        let mut heartbeats = heartbeats();
        assert_eq!((heartbeats.missing(at(35)), heartbeats.missing(at(36))), (None, Some("hall-2/bms")), "never said");
        let first = Beat { object_id: Some("BMS".into()), value: 1.0 };
        assert_eq!((beat(&mut heartbeats, 1, at(40)), heartbeats.missing(at(75))), (Some(first), None));
        assert_eq!(beat(&mut heartbeats, 1, at(70)), None, "a time stamp that stands still is no beat");
        assert_eq!(heartbeats.missing(at(76)), Some("hall-2/bms"));
        heartbeats.hear(META, br#"{"objectId":"BMS"}"#, at(76));
        assert_eq!(heartbeats.missing(at(76)), Some("hall-2/bms"), "metadata are no beat either");
        beat(&mut heartbeats, 2, at(77));
        assert_eq!(heartbeats.missing(at(78)), None);
    }

    #[test]
    fn what_was_never_announced_or_is_taken_back_is_not_missed() {
        let mut heartbeats = Heartbeats::new(PREFIX, None, Duration::from_secs(10));
        assert_eq!((beat(&mut heartbeats, 1, at(0)), heartbeats.missing(at(1000))), (None, None));
        heartbeats.hear(META, br#"{"objectId":"BMS"}"#, at(0));
        assert!(heartbeats.is_announced());
        heartbeats.hear(META, b"", at(1));
        assert!(!heartbeats.is_announced() && heartbeats.missing(at(1000)).is_none());
        let mut off = Heartbeats::new(PREFIX, None, Duration::ZERO);
        off.hear(META, br#"{"objectId":"BMS"}"#, at(0));
        assert_eq!(off.missing(at(1000)), None);
        let mut own = Heartbeats::new(PREFIX, Some("hall-2/bms".to_owned()), Duration::from_secs(10));
        own.hear(META, br#"{"objectId":"BMS"}"#, at(0));
        assert_eq!(own.missing(at(1000)), None, "one's own heart says nothing about the building");
    }

    #[test]
    fn a_scope_says_whose_heart_it_is() {
        for scope in [
            "BMS/v1/PUB/#",
            "BMS/v1/PUB/+/CDU/#",
            "BMS/v1/PUB/Value/CDU/LiquidFlow/hall-2/#",
            "BMS/v1/PUB/+/+/+/hall-2/row-1/rack-1/#",
            "BMS/v1/PUB",
            "hall-2",
            "hall-2/row-1/",
            "hall-2/row-1/rack-1/cooling/Supply",
            "all points of hall 2",
        ] {
            assert!(covers(scope, PREFIX), "{scope}");
        }
        for scope in ["BMS/v1/PUB/+/+/+/hall-3/#", "BMS/v1/MEPAI/#", "hall-3", "hall-2/row-2/#", "hall"] {
            assert!(!covers(scope, PREFIX), "{scope}");
        }
    }
}

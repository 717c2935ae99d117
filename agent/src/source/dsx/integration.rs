//! Our own side of the heartbeat, as an integration of the building's system (BMS Event Bus 1.0): our
//! time stamp every 10 s and the echo of theirs, at those points only that their metadata gives to us.

use super::heartbeat::Beat;
use headroom_rack::Mono;
use serde::Deserialize;
use serde_json::json;
use std::collections::BTreeMap;
use std::time::Duration;

const PERIOD: Duration = Duration::from_secs(10);
/// Looks come every 2 s at the latest: one that comes a little soon must not make it two more late.
const EARLY: Duration = Duration::from_secs(1);

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    #[serde(default)]
    object_id: Option<String>,
    #[serde(default)]
    integration: Option<String>,
}

/// A topic and what to say there.
pub type Message = (String, Vec<u8>);

/// What we may say, and when we said it.
#[derive(Debug)]
pub struct Integration {
    id: String,
    /// Topics of our time stamp, and when it was said there.
    beats: BTreeMap<String, Option<Mono>>,
    /// Topics of the echo, and whose beat is to be echoed there.
    echoes: BTreeMap<String, Option<String>>,
}

impl Integration {
    /// Nothing is ours yet; `id` is what the building's system calls us.
    pub fn new(id: &str) -> Self {
        Self { id: id.to_owned(), beats: BTreeMap::new(), echoes: BTreeMap::new() }
    }

    /// What to listen to.
    pub fn filters() -> [String; 2] {
        ["Timestamp", "Echo"].map(|what| format!("BMS/v1/PUB/Metadata/System/Heartbeat{what}Integration/#"))
    }

    /// Takes metadata in.
    pub fn hear(&mut self, topic: &str, payload: &[u8]) {
        let Some(rest) = topic.strip_prefix("BMS/v1/PUB/Metadata/") else { return };
        // The topic derivation rule: PUB becomes the integration, Metadata becomes Value.
        let ours = format!("BMS/v1/{}/Value/{rest}", self.id);
        let metadata: Option<Metadata> = serde_json::from_slice(payload).ok();
        let metadata = metadata.filter(|m| m.integration.as_deref() == Some(&self.id));
        match (rest.split('/').nth(1), metadata) {
            (Some("HeartbeatTimestampIntegration"), Some(_)) => drop(self.beats.entry(ours).or_default()),
            (Some("HeartbeatEchoIntegration"), Some(metadata)) => drop(self.echoes.insert(ours, metadata.object_id)),
            (_, None) => {
                self.beats.remove(&ours);
                self.echoes.remove(&ours);
            }
            _ => {}
        }
    }

    /// The echo of a beat.
    pub fn echo(&self, beat: &Beat, unix_ms: u64) -> Vec<Message> {
        let wanted = |of: &Option<String>| of.is_none() || beat.object_id.is_none() || *of == beat.object_id;
        let topics = self.echoes.iter().filter(|(_, of)| wanted(of)).map(|(topic, _)| topic);
        topics.map(|topic| (topic.clone(), payload(json!(beat.value), unix_ms))).collect()
    }

    /// Our time stamp where it is due.
    pub fn beat(&mut self, now: Mono, unix_ms: u64) -> Vec<Message> {
        let due = self.beats.iter_mut().filter(|(_, at)| at.is_none_or(|at| now.since(at) + EARLY >= PERIOD));
        due.map(|(topic, at)| {
            *at = Some(now);
            (topic.clone(), payload(json!(unix_ms), unix_ms))
        })
        .collect()
    }
}

fn payload(value: serde_json::Value, unix_ms: u64) -> Vec<u8> {
    json!({"value": value, "timestamp": unix_ms, "quality": 1}).to_string().into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_speaks_only_where_the_metadata_names_it_and_every_ten_seconds() {
        let mut ours = Integration::new("headroom-1");
        let stamp = "BMS/v1/PUB/Metadata/System/HeartbeatTimestampIntegration/s/ours";
        ours.hear(stamp, br#"{"objectId":"other","integration":"other"}"#);
        assert_eq!(ours.beat(Mono::from_ms(0), 7), []);
        ours.hear(stamp, br#"{"objectId":"headroom-1","integration":"headroom-1"}"#);
        let said = ours.beat(Mono::from_ms(0), 7);
        let topic = "BMS/v1/headroom-1/Value/System/HeartbeatTimestampIntegration/s/ours".to_owned();
        assert_eq!(said, [(topic, br#"{"quality":1,"timestamp":7,"value":7}"#.to_vec())]);
        ours.hear(stamp, br#"{"integration":"headroom-1"}"#);
        assert_eq!(ours.beat(Mono::from_ms(8999), 8), []);
        assert_eq!(ours.beat(Mono::from_ms(10_000), 8).len(), 1);
        ours.hear(stamp, b"");
        assert_eq!(ours.beat(Mono::from_ms(30_000), 8), [], "it was taken back");
    }

    #[test]
    fn the_beat_of_the_one_it_belongs_to_is_echoed() {
        let mut ours = Integration::new("headroom-1");
        let echo = "BMS/v1/PUB/Metadata/System/HeartbeatEchoIntegration/s/ours";
        ours.hear(echo, br#"{"objectId":"BMS","integration":"headroom-1"}"#);
        let beat = |of: &str| Beat { object_id: Some(of.to_owned()), value: 5.0 };
        assert_eq!(ours.echo(&beat("BMS-2"), 9), []);
        let said = ours.echo(&beat("BMS"), 9);
        assert_eq!(said[0].0, "BMS/v1/headroom-1/Value/System/HeartbeatEchoIntegration/s/ours");
        assert_eq!(said[0].1, br#"{"quality":1,"timestamp":9,"value":5.0}"#);
    }
}

//! The integrations of the building that the gateway speaks to (BMS Event Bus 1.0): they say their time
//! stamp every 10 s at points that our metadata give to them; we echo it, and notice when it is missing.

use crate::gateway::{HEARTBEAT, Message};
use headroom_rack::Mono;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Beats that may be missing, and half a period for what the network does to them.
const PATIENCE_PERIODS: f64 = 3.5;

/// One integration.
#[derive(Debug)]
struct Guest {
    /// Where it says its time stamp.
    beat: String,
    /// `{objectType}/{pointType}/{tagPath}` of the echo.
    echo: String,
    /// Type, topic and metadata of its three points.
    points: [(String, Value); 3],
    alive_at: Mono,
    value: Option<Value>,
    up: Option<bool>,
}

/// All of them.
#[derive(Debug)]
pub struct Guests(BTreeMap<String, Guest>);

impl Guests {
    /// `tag` is the tag path of the gateway's own heartbeat, `name` its name for people.
    pub fn new(ids: &[String], tag: &str, name: &str, now: Mono) -> Self {
        let guest = |id: &String| {
            let at = format!("{tag}/{id}");
            let point = |kind: &str, object: &str, object_name: &str, theirs: bool| {
                let mut metadata = json!({
                    "objectType": "System", "pointType": kind, "objectName": object_name, "objectId": object,
                });
                if theirs {
                    metadata["integration"] = json!(id);
                }
                (format!("System/{kind}/{at}"), metadata)
            };
            let points = [
                point("HeartbeatTimestampIntegration", id, id, true),
                point("HeartbeatEchoIntegration", tag, name, true),
                point("HeartbeatEchoBms", id, id, false),
            ];
            let beat = format!("BMS/v1/{id}/Value/{}", points[0].0);
            let echo = points[2].0.clone();
            (id.clone(), Guest { beat, echo, points, alive_at: now, value: None, up: None })
        };
        Self(ids.iter().map(guest).collect())
    }

    /// What to listen to.
    pub fn filters(&self) -> impl Iterator<Item = &str> {
        self.0.values().map(|guest| guest.beat.as_str())
    }

    /// `{objectType}/{pointType}/{tagPath}` and metadata of all their points.
    pub fn metadata(&self) -> impl Iterator<Item = &(String, Value)> {
        self.0.values().flat_map(|guest| &guest.points)
    }

    /// The broker is there again: what was said meanwhile could not be heard.
    pub fn connected(&mut self, now: Mono) {
        self.0.values_mut().for_each(|guest| guest.alive_at = now);
    }

    /// Takes a time stamp in; its echo comes out.
    pub fn hear(&mut self, topic: &str, payload: &[u8], now: Mono, unix_ms: u64) -> Option<Message> {
        let (id, guest) = self.0.iter_mut().find(|(_, guest)| guest.beat == topic)?;
        let said: Value = serde_json::from_slice(payload).ok()?;
        let value = said["value"].is_number().then(|| said["value"].clone())?;
        // The same time stamp again is no sign of life.
        if said["quality"] != 1 || guest.value.as_ref() == Some(&value) {
            return None;
        }
        guest.alive_at = now;
        if guest.up != Some(true) {
            tracing::info!(integration = id, "its heartbeat is heard");
        }
        guest.up = Some(true);
        let echo = json!({"value": value, "timestamp": unix_ms, "quality": 1});
        guest.value = Some(value);
        let topic = format!("BMS/v1/PUB/Value/{}", guest.echo);
        Some(Message { topic, payload: echo.to_string().into_bytes(), retained: false })
    }

    /// Which of them live now; those that nothing can be said of yet are left out.
    pub fn look(&mut self, now: Mono) -> BTreeMap<String, bool> {
        for (id, guest) in &mut self.0 {
            let late = now.since(guest.alive_at) > HEARTBEAT.mul_f64(PATIENCE_PERIODS);
            if late && guest.up != Some(false) {
                tracing::warn!(integration = id, "its heartbeat is missing");
                guest.up = Some(false);
            }
        }
        self.0.iter().filter_map(|(id, guest)| Some((id.clone(), guest.up?))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_time_stamp_is_echoed_and_three_missing_ones_are_noticed() {
        let at = |seconds: u64| Mono::from_ms(seconds * 1000);
        let mut guests = Guests::new(&["MEPAI1".to_owned()], "hall-2/headroom-agent", "Headroom", at(0));
        assert!(guests.look(at(35)).is_empty(), "nothing can be said of it yet");
        let beat = "BMS/v1/MEPAI1/Value/System/HeartbeatTimestampIntegration/hall-2/headroom-agent/MEPAI1";
        assert_eq!(guests.filters().collect::<Vec<_>>(), [beat]);
        let mut say = |payload: &str, seconds| guests.hear(beat, payload.as_bytes(), at(seconds), 9);
        let echo = say(r#"{"value":5,"timestamp":5,"quality":1}"#, 36).unwrap();
        assert_eq!(echo.topic, "BMS/v1/PUB/Value/System/HeartbeatEchoBms/hall-2/headroom-agent/MEPAI1");
        assert_eq!(echo.payload, br#"{"quality":1,"timestamp":9,"value":5}"#);
        assert!(say(r#"{"value":5,"timestamp":6,"quality":1}"#, 60).is_none(), "it stands still");
        assert!(say(r#"{"value":7,"timestamp":6,"quality":0}"#, 60).is_none() && say("[", 60).is_none());
        assert_eq!(guests.look(at(71)).get("MEPAI1"), Some(&true));
        assert_eq!(guests.look(at(72)).get("MEPAI1"), Some(&false));
    }
}

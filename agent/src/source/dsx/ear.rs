//! One device on DSX Exchange: its points, believed as long as the heart of who publishes them beats.

use super::heartbeat::Heartbeats;
use super::integration::{Integration, Message};
use super::{Points, SIGNALS};
use crate::config::Dsx;
use headroom_rack::{Mono, NoData, Reading, Signal, UnixMs};
use std::collections::BTreeMap;

/// What a message or the time that passed has brought.
#[derive(Debug, Default, PartialEq)]
pub struct Heard {
    /// Readings.
    pub readings: Vec<(Signal, Reading)>,
    /// What to say to the bus.
    pub say: Vec<Message>,
    /// The heartbeat was lost (its tag path) or is back (none).
    pub turned: Option<Option<String>>,
}

/// What is known of one device and of those who publish it.
#[derive(Debug)]
pub struct Ear {
    points: Points,
    heartbeats: Heartbeats,
    integration: Option<Integration>,
    silent: bool,
    /// What was said while the heart stood still: worth something once it beats again.
    meanwhile: BTreeMap<Signal, Reading>,
}

impl Ear {
    /// Knows nothing yet.
    pub fn new(dsx: &Dsx) -> Self {
        Self {
            points: Points::default(),
            heartbeats: Heartbeats::new(&dsx.topic_prefix, dsx.own_heartbeat.clone(), dsx.heartbeat),
            integration: dsx.integration.as_deref().map(Integration::new),
            silent: false,
            meanwhile: BTreeMap::new(),
        }
    }

    /// What to ask the broker for, in this order: retained metadata first, as the specification asks.
    pub fn filters(dsx: &Dsx) -> Vec<String> {
        let points = ["Metadata", "Value"].map(|kind| format!("BMS/v1/PUB/{kind}/CDU/+/{}/#", dsx.topic_prefix));
        let ours = dsx.integration.iter().flat_map(|_| Integration::filters());
        Heartbeats::filters().into_iter().chain(ours).chain(points).collect()
    }

    /// The broker is there again.
    pub fn connected(&mut self, now: Mono) {
        self.heartbeats.connected(now);
        self.meanwhile.clear();
    }

    /// Whether the heart of the building's system is watched.
    pub fn is_watching(&self) -> bool {
        self.heartbeats.is_announced()
    }

    /// Takes one message in.
    pub fn hear(&mut self, topic: &str, payload: &[u8], now: Mono, wall: UnixMs) -> Heard {
        if let Some(ours) = &mut self.integration {
            ours.hear(topic, payload);
        }
        let beat = self.heartbeats.hear(topic, payload, now);
        let mut heard = self.look(now, wall);
        if let (Some(beat), Some(ours)) = (beat, &self.integration) {
            heard.say.extend(ours.echo(&beat, wall.get()));
        }
        if let Some((signal, reading)) = self.points.hear(topic, payload, wall) {
            if self.silent {
                self.meanwhile.insert(signal, reading);
            } else {
                heard.readings.push((signal, reading));
            }
        }
        heard
    }

    /// Looks whether the heart still beats, and lets ours beat.
    pub fn look(&mut self, now: Mono, wall: UnixMs) -> Heard {
        let missing = self.heartbeats.missing(now).map(str::to_owned);
        let say = self.integration.as_mut().map_or_else(Vec::new, |ours| ours.beat(now, wall.get()));
        if missing.is_some() == self.silent {
            return Heard { say, ..Heard::default() };
        }
        self.silent = missing.is_some();
        let none = Reading::none(NoData::Disconnected, wall);
        let readings = if self.silent {
            SIGNALS.iter().map(|signal| (*signal, none)).collect()
        } else {
            std::mem::take(&mut self.meanwhile).into_iter().collect()
        };
        Heard { readings, say, turned: Some(missing) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn at(seconds: u64) -> (Mono, UnixMs) {
        (Mono::from_ms(seconds * 1000), UnixMs::new(seconds * 1000))
    }

    #[test]
    fn without_a_heartbeat_nothing_is_believed_and_what_was_said_meanwhile_holds_when_it_is_back() {
        let dsx = Dsx {
            topic_prefix: "s/c".into(),
            heartbeat: Duration::from_secs(10),
            integration: None,
            own_heartbeat: None,
        };
        let mut ear = Ear::new(&dsx);
        let hear = |ear: &mut Ear, topic: &str, payload: &str, seconds| {
            let (now, wall) = at(seconds);
            ear.hear(&format!("BMS/v1/PUB/{topic}"), payload.as_bytes(), now, wall)
        };
        hear(&mut ear, "Metadata/System/HeartbeatTimestampBms/s/bms", r#"{"objectId":"BMS"}"#, 0);
        hear(&mut ear, "Metadata/CDU/LiquidFlow/s/c", r#"{"engUnit":"LPM"}"#, 0);
        let flow = |value: f64| format!(r#"{{"value":{value},"timestamp":1,"quality":1}}"#);
        let values = |heard: Heard| heard.readings.into_iter().map(|(s, r)| (s, r.value)).collect::<Vec<_>>();
        let known = values(hear(&mut ear, "Value/CDU/LiquidFlow/s/c", &flow(60.0), 1));
        assert_eq!(known, [(Signal::CoolingFlow, Ok(60.0))]);
        let lost = ear.look(at(36).0, at(36).1);
        assert_eq!(lost.turned, Some(Some("s/bms".to_owned())));
        let none: Vec<_> = SIGNALS.iter().map(|s| (*s, Err(NoData::Disconnected))).collect();
        assert_eq!(values(lost), none);
        let doubted = hear(&mut ear, "Value/CDU/LiquidFlow/s/c", &flow(61.0), 40);
        assert_eq!(doubted, Heard::default());
        let back = hear(&mut ear, "Value/System/HeartbeatTimestampBms/s/bms", &flow(1.0), 50);
        assert_eq!(back.turned, Some(None));
        assert_eq!(values(back), [(Signal::CoolingFlow, Ok(61.0))]);
    }
}

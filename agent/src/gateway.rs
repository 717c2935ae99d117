//! The DSX gateway: the rack's own devices for the building, as `BMS/v1/PUB/...` (BMS Event Bus 1.0).
//! Metadata is retained and said again every 100 s, a value when it changes and every 100 s, a
//! heartbeat every 10 s. Only the heartbeats of integrations are taken from the bus.

mod guests;
mod points;

pub use points::Point;

use crate::board::Board;
use crate::config::{Config, Gateway, Speech};
use crate::mqtt::{BackOff, Happening, Session};
use guests::Guests;
use headroom_rack::Mono;
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// Changes are to be published within 1 to 2 s.
const LOOK: Duration = Duration::from_secs(1);
const REPEAT: Duration = Duration::from_secs(100);
const HEARTBEAT: Duration = Duration::from_secs(10);
/// For a queue to the broker that is full.
const PAUSE: Duration = Duration::from_millis(20);

/// Publishes whenever the config has a `[dsx_gateway]`.
pub async fn run(mut news: watch::Receiver<Arc<Config>>, board: Arc<Board>) {
    let mut back_off = BackOff::new("dsx-gateway");
    let mut told = false;
    loop {
        let config = news.borrow_and_update().clone();
        board.own(|own| own.integrations.clear());
        let work = async {
            let Some(gateway) = &config.gateway else { return std::future::pending().await };
            let name = format!("headroom-gateway-{}-{}", config.site, config.rack);
            let mut session = Session::open(&gateway.broker, &name, None);
            let mut speaker = Speaker::new(&config, gateway, board.clock().now());
            speak(&mut session, &mut speaker, &board).await
        };
        tokio::pin!(work);
        loop {
            tokio::select! {
                why = &mut work => {
                    if !std::mem::replace(&mut told, true) {
                        tracing::warn!(why, "the gateway's broker cannot be reached");
                    }
                    back_off.wait().await;
                    break;
                }
                changed = news.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    if !is_same(&config, &news.borrow_and_update()) {
                        (told, back_off) = (false, BackOff::new("dsx-gateway"));
                        break;
                    }
                }
            }
        }
    }
}

/// Whether it would say the same at the same place.
fn is_same(former: &Config, now: &Config) -> bool {
    (&former.gateway, &former.modbus, &former.mqtt) == (&now.gateway, &now.modbus, &now.mqtt)
}

/// Until the session is lost; why.
async fn speak(session: &mut Session, speaker: &mut Speaker, board: &Board) -> String {
    let mut connected = false;
    let mut tick = tokio::time::interval(LOOK);
    loop {
        tokio::select! {
            happening = session.next() => match happening {
                Happening::Connected => {
                    connected = true;
                    speaker.guests.connected(board.clock().now());
                    for filter in speaker.guests.filters() {
                        session.subscribe(filter);
                    }
                }
                Happening::Message { topic, payload } => {
                    let (now, wall) = (board.clock().now(), board.clock().wall().get());
                    speaker.due.extend(speaker.guests.hear(&topic, &payload, now, wall));
                }
                Happening::Lost(why) => return why,
            },
            // What the broker has not taken yet is not overtaken.
            _ = tick.tick(), if speaker.due.is_empty() => speaker.look(board),
            () = tokio::time::sleep(PAUSE), if connected && !speaker.due.is_empty() => speaker.send(session),
        }
    }
}

/// Something to be said.
#[derive(Debug)]
struct Message {
    topic: String,
    payload: Vec<u8>,
    retained: bool,
}

/// A point, and the value and quality said last.
type Said = (Point, Option<(Value, Mono)>);

struct Speaker {
    points: Vec<Said>,
    heartbeat: (String, Value),
    guests: Guests,
    metadata_at: Option<Mono>,
    beat_at: Option<Mono>,
    due: VecDeque<Message>,
}

impl Speaker {
    fn new(config: &Config, gateway: &Gateway, now: Mono) -> Self {
        let (tag, beats_at) = (gateway.tag_path.as_str(), gateway.heartbeat());
        let name = format!("Headroom agent of {}", config.rack);
        let modbus = config.modbus.iter().flat_map(|d| d.profile.points.iter().map(move |p| (&d.device, p.signal)));
        // What came from the bus is not said to it again.
        let json = config.mqtt.iter().flat_map(|d| match &d.speech {
            Speech::Json(points) => points.iter().map(|p| (&d.device, p.signal)).collect(),
            Speech::Dsx(_) => Vec::new(),
        });
        let points = modbus.chain(json).filter_map(|(device, signal)| Point::of(&config.rack, tag, device, signal));
        let metadata = json!({
            "objectType": "System",
            "pointType": "HeartbeatTimestampBms",
            "objectName": name,
            "objectId": beats_at,
            "scope": format!("BMS/v1/PUB/+/+/+/{tag}/#"),
        });
        Self {
            points: points.map(|p| (p, None)).collect(),
            heartbeat: (format!("System/HeartbeatTimestampBms/{beats_at}"), metadata),
            guests: Guests::new(&gateway.integrations, &beats_at, &name, now),
            metadata_at: None,
            beat_at: None,
            due: VecDeque::new(),
        }
    }

    /// Collects what is to be said now.
    fn look(&mut self, board: &Board) {
        let (now, wall) = (board.clock().now(), board.clock().wall().get());
        // Half a look early, or a look that came a little soon would make it a whole one late.
        let is_due = |at: Option<Mono>, period| at.is_none_or(|at| now.since(at) + LOOK / 2 >= period);
        let say = |kind: &str, topic: &str, payload: &Value| Message {
            topic: format!("BMS/v1/PUB/{kind}/{topic}"),
            payload: payload.to_string().into_bytes(),
            retained: kind == "Metadata",
        };
        if is_due(self.metadata_at, REPEAT) {
            self.metadata_at = Some(now);
            self.due.push_back(say("Metadata", &self.heartbeat.0, &self.heartbeat.1));
            self.due.extend(self.guests.metadata().map(|(topic, metadata)| say("Metadata", topic, metadata)));
            self.due.extend(self.points.iter().map(|(p, _)| say("Metadata", &p.topic, &p.metadata)));
        }
        if is_due(self.beat_at, HEARTBEAT) {
            self.beat_at = Some(now);
            let beat = json!({"value": wall, "timestamp": wall, "quality": 1});
            self.due.push_back(say("Value", &self.heartbeat.0, &beat));
        }
        let live = self.guests.look(now);
        board.own(|own| own.integrations = live);
        let readings = board.readings();
        for (point, said) in &mut self.points {
            let Some(reading) = readings.get(&point.path) else { continue };
            let message = point.value(reading);
            let content = json!([message["value"], message["quality"]]);
            if said.as_ref().is_none_or(|(former, at)| *former != content || now.since(*at) >= REPEAT) {
                self.due.push_back(say("Value", &point.topic, &message));
                *said = Some((content, now));
            }
        }
    }

    /// Hands over as much as the session takes.
    fn send(&mut self, session: &Session) {
        while let Some(Message { topic, payload, retained }) = self.due.front() {
            // A value must not arrive before its metadata.
            if !session.publish_in_order(topic, payload.clone(), *retained) {
                return;
            }
            self.due.pop_front();
        }
    }
}

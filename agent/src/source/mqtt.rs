//! Devices that speak over MQTT by themselves, one task and one session each. What their messages
//! mean is told in `dsx.rs` and `json.rs`.

use super::{dsx, json};
use crate::board::{Board, DeviceState};
use crate::config::{MqttDevice, Speech};
use crate::mqtt::{BackOff, Happening, Session};
use headroom_rack::{Mono, NoData, Reading, Signal};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;

/// The devices that are listened to.
pub struct Listeners {
    client_prefix: String,
    board: Arc<Board>,
    tasks: Vec<(MqttDevice, JoinHandle<()>)>,
}

impl Listeners {
    /// None yet. MQTT clients are named `PREFIX-DEVICE`.
    pub fn new(client_prefix: String, board: Arc<Board>) -> Self {
        Self { client_prefix, board, tasks: Vec::new() }
    }

    /// Listens to these devices from now on; those that are the same are left alone.
    pub fn follow(&mut self, devices: &[MqttDevice]) {
        for (device, task) in self.tasks.extract_if(.., |(device, _)| !devices.contains(device)) {
            task.abort();
            self.board.retire(&device.device);
        }
        for device in devices {
            if self.tasks.iter().all(|(known, _)| known != device) {
                self.board.declare(&device.device, signals(&device.speech), device.stale_after);
                let client_id = format!("{}-{}", self.client_prefix, device.device);
                let task = tokio::spawn(listen(device.clone(), client_id, self.board.clone()));
                self.tasks.push((device.clone(), task));
            }
        }
    }
}

fn signals(speech: &Speech) -> Vec<Signal> {
    match speech {
        Speech::Dsx(_) => dsx::SIGNALS.to_vec(),
        Speech::Json(points) => points.iter().map(|p| p.signal).collect(),
    }
}

/// What to ask the broker for, in this order.
fn filters(speech: &Speech) -> Vec<String> {
    match speech {
        Speech::Dsx(dsx) => dsx::Ear::filters(dsx),
        Speech::Json(points) => {
            let mut topics: Vec<String> = points.iter().map(|p| p.topic.clone()).collect();
            topics.sort();
            topics.dedup();
            topics
        }
    }
}

/// How often a heart is listened to, in its periods.
const LOOKS: u32 = 4;
const LONGEST_LOOK: Duration = Duration::from_secs(2);

/// One device being listened to.
struct Listener {
    device: MqttDevice,
    board: Arc<Board>,
    /// Of a device on DSX Exchange.
    ear: Option<dsx::Ear>,
    began: Mono,
    /// Nobody watches over what it says, and we have said so.
    unwatched: bool,
    up: bool,
}

impl Listener {
    fn new(device: MqttDevice, board: Arc<Board>) -> Self {
        let ear = match &device.speech {
            Speech::Dsx(dsx) => Some(dsx::Ear::new(dsx)),
            Speech::Json(_) => None,
        };
        let began = board.clock().now();
        Self { device, board, ear, began, unwatched: false, up: false }
    }

    fn period(&self) -> Duration {
        match &self.device.speech {
            Speech::Dsx(dsx) => dsx.heartbeat,
            Speech::Json(_) => Duration::ZERO,
        }
    }

    fn hear(&mut self, topic: &str, payload: &[u8], session: &Session) {
        let (now, wall) = (self.board.clock().now(), self.board.clock().wall());
        let heard = match (&mut self.ear, &self.device.speech) {
            (Some(ear), _) => ear.hear(topic, payload, now, wall),
            (None, Speech::Json(points)) => {
                dsx::Heard { readings: json::hear(points, topic, payload, wall), ..dsx::Heard::default() }
            }
            (None, Speech::Dsx(_)) => dsx::Heard::default(),
        };
        self.take(heard, session);
    }

    fn look(&mut self, session: &Session) {
        let (now, wall) = (self.board.clock().now(), self.board.clock().wall());
        let Some(ear) = &mut self.ear else { return };
        let heard = ear.look(now, wall);
        let period = self.period();
        let unwatched = !period.is_zero() && self.ear.as_ref().is_some_and(|ear| !ear.is_watching());
        if unwatched && now.since(self.began) > LOOKS * period && !std::mem::replace(&mut self.unwatched, true) {
            tracing::warn!(device = %self.device.device, "the building's system announces no heartbeat: only the age of each value tells that it is gone");
        }
        self.take(heard, session);
    }

    fn take(&mut self, heard: dsx::Heard, session: &Session) {
        let device = &self.device.device;
        match heard.turned {
            Some(Some(tag)) => {
                tracing::warn!(%device, heartbeat = tag, "the heartbeat of the building's system is missing: its values are not believed");
                self.board.trouble(device, Some("the heartbeat of the building's system is missing"));
                self.up = false;
                self.board.polled(device, DeviceState { up: false, poll_seconds: 0.0 });
            }
            Some(None) => {
                tracing::info!(%device, "the heartbeat of the building's system is back");
                self.board.trouble(device, None);
                self.up = true;
            }
            None if !heard.readings.is_empty() => self.up = true,
            None => {}
        }
        if !heard.readings.is_empty() {
            self.board.put(device, heard.readings);
            self.board.polled(device, DeviceState { up: self.up, poll_seconds: 0.0 });
        }
        for (topic, payload) in heard.say {
            session.publish(&topic, payload);
        }
    }

    fn lost(&mut self) {
        let device = &self.device.device;
        self.board.trouble(device, Some("its broker cannot be reached"));
        self.board.polled(device, DeviceState { up: false, poll_seconds: 0.0 });
        let none = Reading::none(NoData::Disconnected, self.board.clock().wall());
        self.board.put(device, signals(&self.device.speech).into_iter().map(|s| (s, none)));
    }

    fn connected(&mut self) {
        self.board.trouble(&self.device.device, None);
        if let Some(ear) = &mut self.ear {
            ear.connected(self.board.clock().now());
        }
    }
}

async fn listen(device: MqttDevice, client_id: String, board: Arc<Board>) {
    let mut back_off = BackOff::new(&client_id);
    let mut listener = Listener::new(device.clone(), board);
    // A heart that nobody listens to needs no clock.
    let period = Some(listener.period() / LOOKS).filter(|p| !p.is_zero()).unwrap_or(LONGEST_LOOK);
    let mut look = tokio::time::interval(period.min(LONGEST_LOOK));
    let mut told = false;
    loop {
        let mut session = Session::open(&device.broker, &client_id, None);
        let why = loop {
            tokio::select! {
                happening = session.next() => match happening {
                    Happening::Connected => {
                        back_off.reset();
                        told = false;
                        listener.connected();
                        for filter in filters(&device.speech) {
                            session.subscribe(&filter);
                        }
                    }
                    Happening::Message { topic, payload } => listener.hear(&topic, &payload, &session),
                    Happening::Lost(why) => break why,
                },
                _ = look.tick() => listener.look(&session),
            }
        };
        if !std::mem::replace(&mut told, true) {
            tracing::warn!(device = %device.device, broker = ?device.broker, why, "its broker cannot be reached");
        }
        listener.lost();
        back_off.wait().await;
    }
}

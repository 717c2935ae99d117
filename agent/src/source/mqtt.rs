//! Devices that speak over MQTT by themselves, one task and one session each. What their messages
//! mean is told in `dsx.rs` and `json.rs`.

use super::{dsx, json};
use crate::board::{Board, DeviceState};
use crate::config::{MqttDevice, Speech};
use crate::mqtt::{BackOff, Happening, Session};
use headroom_rack::{NoData, Reading, Signal, UnixMs};
use std::sync::Arc;
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
        Speech::Dsx { .. } => dsx::SIGNALS.to_vec(),
        Speech::Json(points) => points.iter().map(|p| p.signal).collect(),
    }
}

/// What to ask the broker for, in this order.
fn filters(speech: &Speech) -> Vec<String> {
    match speech {
        // Retained metadata first, as the specification asks.
        Speech::Dsx { topic_prefix } => {
            ["Metadata", "Value"].map(|kind| format!("BMS/v1/PUB/{kind}/CDU/+/{topic_prefix}/#")).into()
        }
        Speech::Json(points) => {
            let mut topics: Vec<String> = points.iter().map(|p| p.topic.clone()).collect();
            topics.sort();
            topics.dedup();
            topics
        }
    }
}

struct Ear<'d> {
    speech: &'d Speech,
    points: dsx::Points,
}

impl Ear<'_> {
    fn hear(&mut self, topic: &str, payload: &[u8], now: UnixMs) -> Vec<(Signal, Reading)> {
        match self.speech {
            Speech::Dsx { .. } => self.points.hear(topic, payload, now).into_iter().collect(),
            Speech::Json(points) => json::hear(points, topic, payload, now),
        }
    }
}

async fn listen(device: MqttDevice, client_id: String, board: Arc<Board>) {
    let mut back_off = BackOff::new(&client_id);
    let mut ear = Ear { speech: &device.speech, points: dsx::Points::default() };
    let mut told = false;
    loop {
        let mut session = Session::open(&device.broker, &client_id, None);
        loop {
            match session.next().await {
                Happening::Connected => {
                    back_off.reset();
                    told = false;
                    for filter in filters(&device.speech) {
                        session.subscribe(&filter);
                    }
                }
                Happening::Message { topic, payload } => {
                    let heard = ear.hear(&topic, &payload, board.clock().wall());
                    if !heard.is_empty() {
                        board.put(&device.device, heard);
                        board.polled(&device.device, DeviceState { up: true, poll_seconds: 0.0 });
                    }
                }
                Happening::Lost(why) => {
                    if !std::mem::replace(&mut told, true) {
                        tracing::warn!(device = %device.device, broker = ?device.broker, why, "its broker cannot be reached");
                    }
                    break;
                }
            }
        }
        board.polled(&device.device, DeviceState { up: false, poll_seconds: 0.0 });
        let none = Reading::none(NoData::Disconnected, board.clock().wall());
        board.put(&device.device, signals(&device.speech).into_iter().map(|s| (s, none)));
        back_off.wait().await;
    }
}

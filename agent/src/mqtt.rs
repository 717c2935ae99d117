//! One MQTT session: connect, hear, say, and end with the first error. Reconnecting is the
//! caller's: a new session has a new will. Nothing here knows what the payloads mean.

use crate::config::Broker;
use rumqttc::{AsyncClient, Event, LastWill, Packet, PublishOptions, QoS};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// Largest message taken or sent. Snapshots of a large rack are some 10 KiB; births several times that.
const MAX_PACKET_BYTES: usize = 4 << 20;
const KEEP_ALIVE_S: u16 = 5;
const QUEUE: usize = 128;
const FIRST_WAIT: Duration = Duration::from_millis(200);
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// What happens in a session.
#[derive(Debug)]
pub enum Happening {
    /// The broker has accepted the connection.
    Connected,
    /// A message.
    Message {
        /// Its topic.
        topic: String,
        /// Its payload.
        payload: Vec<u8>,
    },
    /// The session is over.
    Lost(String),
}

/// A session in progress.
#[derive(Debug)]
pub struct Session {
    client: AsyncClient,
    /// For what is not retained.
    qos: QoS,
    happenings: mpsc::Receiver<Happening>,
    pump: JoinHandle<()>,
}

impl Session {
    /// Begins to connect.
    pub fn open(broker: &Broker, client_id: &str, will: Option<(String, Vec<u8>)>) -> Self {
        let mut options = headroom_tls::session(client_id, (&broker.host, broker.port), broker.tls.as_ref());
        options.set_keep_alive(KEEP_ALIVE_S).set_clean_session(true);
        options.set_max_packet_size(headroom_tls::LARGEST_PACKET, MAX_PACKET_BYTES);
        if let Some((user, password)) = &broker.credentials {
            options.set_credentials(user.clone(), password.clone().into_bytes());
        }
        if let Some((topic, payload)) = will {
            options.set_last_will(LastWill::new(topic, payload, QoS::AtLeastOnce, false));
        }
        let (client, mut eventloop) = AsyncClient::builder(options).capacity(QUEUE).build();
        // Otherwise a second small packet waits for the answer to the first: up to 40 ms (RFC 896 meets RFC 1122).
        eventloop.network_options.set_tcp_nodelay(true);
        let (tell, happenings) = mpsc::channel(QUEUE);
        // The event loop runs in a task of its own: dropping a half-done poll could tear a packet.
        let pump = tokio::spawn(async move {
            loop {
                let happening = match eventloop.poll().await {
                    Ok(Event::Incoming(Packet::ConnAck(_))) => Happening::Connected,
                    Ok(Event::Incoming(Packet::Publish(p))) if p.payload.len() > MAX_PACKET_BYTES => {
                        let (topic, bytes) = (String::from_utf8_lossy(&p.topic), p.payload.len());
                        tracing::warn!(%topic, bytes, "a message is too large to be meant; it is dropped");
                        continue;
                    }
                    Ok(Event::Incoming(Packet::Publish(p))) => match std::str::from_utf8(&p.topic) {
                        Ok(topic) => Happening::Message { topic: topic.to_owned(), payload: p.payload.to_vec() },
                        Err(_) => continue,
                    },
                    Ok(_) => continue,
                    Err(error) => Happening::Lost(error.to_string()),
                };
                let over = matches!(happening, Happening::Lost(_));
                if tell.send(happening).await.is_err() || over {
                    return;
                }
            }
        });
        let qos = if broker.acknowledged { QoS::AtLeastOnce } else { QoS::AtMostOnce };
        Self { client, qos, happenings, pump }
    }

    /// The next happening. Safe to drop while waiting.
    pub async fn next(&mut self) -> Happening {
        self.happenings.recv().await.unwrap_or_else(|| Happening::Lost("the session ended".to_owned()))
    }

    /// Asks for messages. False: the queue is full or the session over.
    pub fn subscribe(&self, filter: &str) -> bool {
        self.client.try_subscribe(filter, QoS::AtLeastOnce).is_ok()
    }

    /// Sends a message with the broker's QoS. False: the queue is full or the session over.
    pub fn publish(&self, topic: &str, payload: Vec<u8>) -> bool {
        self.client.try_publish(topic, payload, PublishOptions::new(self.qos)).is_ok()
    }

    /// Sends a message with QoS 1: a broker keeps the order of messages of one QoS only (MQTT 3.1.1, 4.6), so that
    /// what must not overtake one another goes this way. `retained`: it is kept for who comes later. False: as above.
    pub fn publish_in_order(&self, topic: &str, payload: Vec<u8>, retained: bool) -> bool {
        self.client.try_publish(topic, payload, PublishOptions::new(QoS::AtLeastOnce).retain(retained)).is_ok()
    }

    /// Sends what is queued, then DISCONNECT.
    pub async fn close(mut self, within: Duration) {
        if self.client.try_disconnect().is_ok() {
            let _ =
                tokio::time::timeout(within, async { while !matches!(self.next().await, Happening::Lost(_)) {} }).await;
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.pump.abort();
    }
}

/// How long to wait before the next session.
#[derive(Debug)]
pub struct BackOff {
    wait: Duration,
    spread: f64,
}

impl BackOff {
    /// Waits that double from 0.2 s to 5 s, stretched by up to a half so that the agents of a row
    /// do not come back all at once. `name` decides by how much: nothing here is random.
    pub fn new(name: &str) -> Self {
        let hash = name.bytes().fold(0_u32, |h, b| h.wrapping_mul(31).wrapping_add(b.into()));
        Self { wait: FIRST_WAIT, spread: 1.0 + f64::from(hash % 100) / 200.0 }
    }

    /// Waits, longer each time.
    pub async fn wait(&mut self) {
        tokio::time::sleep(self.wait.mul_f64(self.spread)).await;
        self.wait = (self.wait * 2).min(LONGEST_WAIT);
    }

    /// The connection stood: start anew.
    pub fn reset(&mut self) {
        self.wait = FIRST_WAIT;
    }
}

//! The MQTT session of the desk: messages from the bus go through the gate to the run loop, what is told is
//! signed and published. The session outlives a lost connection, so that a target sent meanwhile comes
//! late rather than never, and the gate judges whether too late.

use super::desk::{Channel, Telling};
use super::event::{self, Chance, Envelope};
use super::gate::{Gate, Heard, Refused, Why};
use super::jws;
use super::key::Signer;
use crate::clock::Clock;
use crate::config::Broker;
use crate::session::{self, Listener};
use crate::stop::Stop;
use headroom_tls::LARGEST_PACKET;
use rumqttc::{AsyncClient, ConnectionError, Publish, PublishOptions, QoS};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// Messages that may wait, either way.
const QUEUE: usize = 256;

/// Who speaks.
#[derive(Debug)]
pub struct Voice {
    /// Our identifier as a DSX Flex agent.
    pub identifier: String,
    /// Our identifier as an infrastructure agent.
    pub infra_identifier: String,
    /// Our key.
    pub signer: Arc<Signer>,
}

/// The loop's end of the session.
#[derive(Debug)]
pub struct Ends {
    /// What came.
    pub heard: mpsc::Receiver<Heard>,
    /// What is to be told.
    pub tell: mpsc::Sender<Telling>,
    /// Whether the broker is there.
    pub line: Arc<Line>,
    /// Ends after the stop.
    pub task: JoinHandle<()>,
}

/// Whether the broker is there, and how often it was lost.
#[derive(Debug, Default)]
pub struct Line {
    /// It is there.
    pub connected: AtomicBool,
    /// Connections that broke, and tries that failed.
    pub losses: AtomicU32,
}

/// Connects in the background.
pub fn start(broker: &Broker, voice: Voice, gate: Gate, clock: Clock, stop: Stop) -> Ends {
    let client_id = format!("headroom-flex-{}", voice.identifier);
    let mut options = headroom_tls::session(&client_id, (&broker.host, broker.port), broker.tls.as_ref());
    options.set_keep_alive(5).set_clean_session(false).set_max_packet_size(LARGEST_PACKET, LARGEST_PACKET);
    if let Some(login) = &broker.login {
        options.set_credentials(login.user.clone(), login.password.clone());
    }
    let (client, mut eventloop) = AsyncClient::builder(options).capacity(QUEUE).build();
    // A signed message is written in one piece and must not wait for the answer to the one before.
    eventloop.network_options.set_tcp_nodelay(true);
    let (to_loop, heard) = mpsc::channel(QUEUE);
    let (tell, told) = mpsc::channel(QUEUE);
    let line = Arc::new(Line::default());
    let speaker = Speaker { client: client.clone(), voice, chance: Chance::new(), clock, line: line.clone() };
    tokio::spawn(speaker.run(told));
    let session = Session { client: client.clone(), gate, to_loop, clock, line: line.clone() };
    Ends { heard, tell, line, task: tokio::spawn(session::keep(client, eventloop, session, stop)) }
}

struct Session {
    client: AsyncClient,
    gate: Gate,
    to_loop: mpsc::Sender<Heard>,
    clock: Clock,
    line: Arc<Line>,
}

impl Listener for Session {
    fn connected(&mut self) {
        self.line.connected.store(true, Ordering::Relaxed);
        tracing::info!("connected to the broker of the load-flexibility partners");
        for topic in self.gate.topics() {
            if let Err(why) = self.client.try_subscribe(topic.clone(), QoS::ExactlyOnce) {
                tracing::error!(topic, %why, "cannot subscribe");
            }
        }
    }

    fn heard(&mut self, topic: &str, message: &Publish) {
        let heard = self.gate.judge(topic, &message.payload, message.dup, self.clock.unix());
        heard.into_iter().for_each(|heard| self.pass_on(heard, topic));
    }

    fn lost(&mut self, why: &ConnectionError, failures: u32) {
        self.line.losses.fetch_add(1, Ordering::Relaxed);
        if self.line.connected.swap(false, Ordering::Relaxed) || failures == 1 {
            tracing::warn!(%why, "no connection to the broker of the load-flexibility partners; trying again");
        }
        if let Some(bytes) = session::too_large(why) {
            let detail = format!(
                "one of {bytes} bytes cannot be received, at most {LARGEST_PACKET} can: the broker is asked to drop all \
                 that waits for us; if it comes again, somebody has it retained there"
            );
            let who = "an unknown sender".to_owned();
            self.pass_on(Heard::Refused(Refused { who, why: Why::Oversized, detail }), "");
        }
    }

    fn goodbye(&mut self) -> bool {
        self.line.connected.load(Ordering::Relaxed)
    }
}

impl Session {
    fn pass_on(&self, heard: Heard, topic: &str) {
        if self.to_loop.try_send(heard).is_err() {
            tracing::error!(topic, "too many messages at once; one is lost");
        }
    }
}

struct Speaker {
    client: AsyncClient,
    voice: Voice,
    chance: Chance,
    clock: Clock,
    line: Arc<Line>,
}

impl Speaker {
    /// Ends with the last sender.
    async fn run(self, mut told: mpsc::Receiver<Telling>) {
        while let Some(telling) = told.recv().await {
            self.say(telling);
        }
    }

    fn say(&self, telling: Telling) {
        // A state is repeated; what waited would only be old. A breach must arrive.
        if telling.channel == Channel::PowerState && !self.line.connected.load(Ordering::Relaxed) {
            return;
        }
        let Voice { identifier, infra_identifier, signer } = &self.voice;
        let (role, who, kind, what, qos) = match telling.channel {
            Channel::PowerState => {
                ("dsx-flex-agent", identifier, "grid.powerstate.status.v1", "powerstate/status", QoS::AtLeastOnce)
            }
            Channel::Breach => {
                ("dsx-flex-agent", identifier, "grid.powerbreach.alert.v1", "powerbreach", QoS::ExactlyOnce)
            }
            Channel::Enforcement => {
                let what = "powerbreach/enforcement";
                ("infra", infra_identifier, "grid.powerbreach.enforcement.v1", what, QoS::ExactlyOnce)
            }
        };
        let Ok(data) = jws::sign(telling.data.to_string().as_bytes(), signer) else {
            tracing::error!(kind, "cannot sign: the system gives no random numbers");
            return;
        };
        let envelope = Envelope {
            id: self.chance.uuid(),
            source: format!("//grid/v1/{role}/{who}"),
            kind: kind.to_owned(),
            time: self.clock.unix(),
            correlation: telling.correlation,
            trace: telling.trace,
            data,
        };
        let topic = format!("grid/v1/{role}/{who}/{what}");
        let text = event::write(&envelope, &self.chance);
        if let Err(why) = self.client.try_publish(topic.clone(), text, PublishOptions::new(qos)) {
            tracing::warn!(topic, %why, "a message to the load-flexibility partners is lost");
        }
    }
}

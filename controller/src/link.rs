//! The link to the racks over MQTT 3.1.1: Sparkplug messages up become Snapshots, Orders go down,
//! the controller's presence is a retained STATE with a will. Malformed messages are counted and
//! dropped. Reconnects by itself; nothing is queued while the broker is away.

mod inbox;

pub use inbox::{Drops, LinkEvent};

use crate::clock::Clock;
use crate::session;
use crate::stop::Stop;
use headroom_rack::{Generation, RackId};
use headroom_tls::{BrokerTls, LARGEST_PACKET};
use headroom_wire::{Downlink, Kind, topic};
use inbox::Inbox;
use rumqttc::{AsyncClient, ConnectionError, LastWill, Publish, PublishOptions, QoS};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// Events that may wait for the run loop, at least.
const QUEUE: usize = 4096;
/// Orders that go out with one write where so many are there: on a large site a write for each takes longer than
/// making them.
const BATCH: usize = 64;
/// Largest message taken or sent.
const MAX_PACKET_BYTES: usize = 1 << 20;

/// Where to connect, and as whom.
#[derive(Debug, Clone)]
pub struct Options {
    /// Broker's host name or address.
    pub host: String,
    /// Broker's port.
    pub port: u16,
    /// User and password, if the broker asks for them.
    pub login: Option<Login>,
    /// Certificates, when it speaks TLS.
    pub tls: Option<BrokerTls>,
    /// Sparkplug group.
    pub site: String,
    /// Host application id: the controller's name.
    pub name: String,
    /// The racks this controller knows.
    pub racks: Vec<RackId>,
}

/// A login. The password is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    /// User name.
    pub user: String,
    /// Password.
    pub password: String,
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Login({}, ..)", self.user)
    }
}

#[derive(Debug, Default)]
struct Shared {
    connected: AtomicBool,
    /// Messages down that found no room or no connection.
    unsent: AtomicU64,
    drops: Drops,
}

/// The sending end; cheap to clone.
#[derive(Debug, Clone)]
pub struct Link {
    client: AsyncClient,
    site: String,
    shared: Arc<Shared>,
}

impl Link {
    /// Connects in the background. The task ends after `stop`, having said goodbye.
    pub fn start(options: Options, clock: Clock, stop: Stop) -> (Self, mpsc::Receiver<LinkEvent>, JoinHandle<()>) {
        // On a large site a turn of the loop lasts while thousands arrive.
        let (events, receiver) = mpsc::channel(QUEUE.max(2 * options.racks.len()));
        let state_topic = topic::state(&options.name);
        let since = clock.unix();
        let presence = |online: bool| format!(r#"{{"online":{online},"timestamp":{}}}"#, since.get());
        let client_id = format!("headroom-{}-{}", options.site, options.name);
        let mut mqtt = headroom_tls::session(&client_id, (&options.host, options.port), options.tls.as_ref());
        mqtt.set_keep_alive(5)
            .set_clean_session(true)
            .set_max_packet_size(LARGEST_PACKET, MAX_PACKET_BYTES)
            .set_max_request_batch(BATCH)
            .set_last_will(LastWill::new(state_topic.clone(), presence(false), QoS::AtLeastOnce, true));
        if let Some(login) = &options.login {
            mqtt.set_credentials(login.user.clone(), login.password.clone());
        }
        let capacity = 64 + 4 * options.racks.len();
        let (client, mut eventloop) = AsyncClient::builder(mqtt).capacity(capacity).build();
        // Orders to several racks are several small packets: none may wait for the answer to the one before.
        eventloop.network_options.set_tcp_nodelay(true);
        let shared = Arc::new(Shared::default());
        let link = Self { client, site: options.site.clone(), shared: Arc::clone(&shared) };
        let inbox = Inbox::new(&options.site, &options.name, &options.racks);
        let listener = Session {
            link: link.clone(),
            inbox,
            events,
            clock,
            subscriptions: vec![topic::site_filter(&options.site), state_topic.clone()],
            state_topic,
            online: presence(true),
            offline: presence(false),
        };
        let join = tokio::spawn(session::keep(link.client.clone(), eventloop, listener, stop));
        (link, receiver, join)
    }

    /// Sends one message to one rack. False if it did not go out: the next period repeats it.
    pub fn send(&self, rack: &RackId, message: &Downlink) -> bool {
        self.send_bytes(rack, message.encode())
    }

    /// As [`Link::send`], with what was encoded.
    pub fn send_bytes(&self, rack: &RackId, message: Vec<u8>) -> bool {
        // Without a connection a message would wait in the client and arrive late.
        let sent = self.is_connected()
            && self
                .client
                .try_publish(topic::node(&self.site, Kind::Command, rack), message, PublishOptions::at_most_once())
                .is_ok();
        if !sent {
            self.shared.unsent.fetch_add(1, Ordering::Relaxed);
        }
        sent
    }

    /// Whether the broker is there.
    pub fn is_connected(&self) -> bool {
        self.shared.connected.load(Ordering::Relaxed)
    }

    /// Messages that did not go out.
    pub fn unsent(&self) -> u64 {
        self.shared.unsent.load(Ordering::Relaxed)
    }

    /// Frames dropped, by reason.
    pub fn drops(&self) -> Vec<(&'static str, u64)> {
        self.shared.drops.counts()
    }

    fn ask_rebirth(&self, rack: &RackId) {
        let message = Downlink {
            generation: Generation::default(),
            lease_ms: 0,
            stored: None,
            held: None,
            orders: Vec::new(),
            rebirth: true,
        };
        self.send(rack, &message);
    }
}

struct Session {
    link: Link,
    inbox: Inbox,
    events: mpsc::Sender<LinkEvent>,
    clock: Clock,
    subscriptions: Vec<String>,
    state_topic: String,
    online: String,
    offline: String,
}

impl session::Listener for Session {
    fn connected(&mut self) {
        tracing::info!("connected to the broker");
        self.link.shared.connected.store(true, Ordering::Relaxed);
        for filter in &self.subscriptions {
            if let Err(why) = self.link.client.try_subscribe(filter.clone(), QoS::AtLeastOnce) {
                tracing::error!(filter, %why, "cannot subscribe");
            }
        }
        self.say(self.online.clone());
        self.tell(LinkEvent::Connected);
    }

    fn lost(&mut self, why: &ConnectionError, failures: u32) {
        if self.link.shared.connected.swap(false, Ordering::Relaxed) {
            tracing::warn!(%why, "the broker is gone");
            self.tell(LinkEvent::Disconnected);
        } else if failures == 1 || failures.is_multiple_of(20) {
            tracing::warn!(%why, failures, "the broker cannot be reached; trying again");
        }
    }

    fn heard(&mut self, name: &str, message: &Publish) {
        let payload = &message.payload[..];
        if name == self.state_topic {
            // The will of our own earlier connection may arrive after our birth.
            if payload == self.offline.as_bytes() || payload.windows(14).any(|w| w == b"\"online\":false") {
                self.say(self.online.clone());
            }
            return;
        }
        if payload.len() > MAX_PACKET_BYTES {
            tracing::warn!(topic = name, bytes = payload.len(), "a message is too large to be a rack's; it is dropped");
            self.link.shared.drops.count("too_large");
            return;
        }
        let now = self.clock.now();
        let (event, rebirth) = self.inbox.take(name, payload, now, &self.link.shared.drops);
        if let Some(rack) = rebirth {
            self.link.ask_rebirth(&rack);
        }
        if let Some(event) = event {
            self.tell(event);
        }
    }

    /// Says that we are gone, so that the will is not needed.
    fn goodbye(&mut self) -> bool {
        let connected = self.link.is_connected();
        if connected {
            self.say(self.offline.clone());
        }
        connected
    }
}

impl Session {
    fn say(&self, presence: String) {
        let options = PublishOptions::at_least_once().retained();
        if let Err(why) = self.link.client.try_publish(self.state_topic.clone(), presence, options) {
            tracing::warn!(%why, "cannot announce this controller");
        }
    }

    fn tell(&self, event: LinkEvent) {
        if self.events.try_send(event).is_err() {
            self.link.shared.drops.count("queue_full");
        }
    }
}

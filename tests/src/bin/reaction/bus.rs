//! A client of its own on the row's broker: when each message passed and what it said.

use headroom_rack::{DeviceId, Generation, RackId, Setting, Signal};
use headroom_wire::{Downlink, Kind, Topic, UplinkDecoder, Uplinked, topic};
use rumqttc::{AsyncClient, Event, MqttOptions, Packet, PublishOptions, QoS};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// A limit that moved by less has not moved, W.
const MOVED: f64 = 5.0;
/// A cord that carries so much more than a moment ago has taken over another's load.
const STEP: f64 = 1.4;
const SITE: &str = "demo";

/// What a message said.
#[derive(Debug, Clone)]
#[allow(dead_code, reason = "told with --trace")]
pub enum Heard {
    /// Orders to a rack, which of its GPUs they lower, and their least and greatest limit, W.
    Orders { rack: String, lowered: Vec<u64>, watts: [f64; 2] },
    /// A Snapshot in which this device carries a step more.
    Step { rack: String, device: String },
    /// A Snapshot that has no value of this meter any more.
    Silent { rack: String, device: String },
}

/// One message.
#[derive(Debug, Clone)]
pub struct Message {
    pub at: Instant,
    pub what: Heard,
}

/// The client.
pub struct Bus {
    client: AsyncClient,
    messages: Arc<Mutex<Vec<Message>>>,
    _runtime: tokio::runtime::Runtime,
}

#[derive(Default)]
struct Ear {
    decoders: BTreeMap<RackId, UplinkDecoder>,
    limits: BTreeMap<(RackId, u64), f64>,
    carried: BTreeMap<(RackId, DeviceId), f64>,
}

impl Bus {
    /// Listens to everything of the site, and asks every agent to introduce itself again.
    pub fn listen(broker: &str) -> Self {
        let (host, port) = broker.rsplit_once(':').expect("an address");
        let mut options = MqttOptions::new("reaction-bench", (host, port.parse::<u16>().expect("a port")));
        options.set_keep_alive(5).set_max_packet_size(1 << 20, 1 << 20);
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let _inside = runtime.enter();
        let (client, mut eventloop) = AsyncClient::builder(options).capacity(256).build();
        eventloop.network_options.set_tcp_nodelay(true);
        let messages = Arc::new(Mutex::new(Vec::new()));
        let (kept, own) = (Arc::clone(&messages), client.clone());
        runtime.spawn(async move {
            let mut ear = Ear::default();
            loop {
                match eventloop.poll().await {
                    Ok(Event::Incoming(Packet::ConnAck(_))) => {
                        own.try_subscribe(topic::site_filter(SITE), QoS::AtMostOnce).expect("room for it");
                        for rack in racks() {
                            own.try_publish(
                                topic::node(SITE, Kind::Command, &rack),
                                rebirth(),
                                PublishOptions::at_most_once(),
                            )
                            .expect("room for it");
                        }
                    }
                    Ok(Event::Incoming(Packet::Publish(message))) => {
                        let at = Instant::now();
                        let name = String::from_utf8_lossy(&message.topic).into_owned();
                        let heard = ear.take(&name, &message.payload);
                        let heard = heard.into_iter().map(|what| Message { at, what });
                        kept.lock().expect("nobody panics with it").extend(heard);
                    }
                    Ok(_) => {}
                    Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
                }
            }
        });
        Self { client, messages, _runtime: runtime }
    }

    /// Publishes and gives the moment before.
    pub fn publish(&self, topic: &str, text: String) -> Instant {
        let at = Instant::now();
        let options = PublishOptions::new(QoS::ExactlyOnce);
        self.client.try_publish(topic.to_owned(), text, options).expect("room for it");
        at
    }

    /// What passed since then.
    pub fn since(&self, from: Instant) -> Vec<Message> {
        let all = self.messages.lock().expect("nobody panics with it");
        all.iter().filter(|m| m.at >= from).cloned().collect()
    }

    /// When a Snapshot first told that this device took over a load.
    pub fn first_step(&self, from: Instant, device: &str) -> Option<Instant> {
        let heard = self.since(from);
        heard.iter().find(|m| matches!(&m.what, Heard::Step { device: d, .. } if d == device)).map(|m| m.at)
    }

    /// The racks of the row.
    pub fn racks(&self) -> Vec<String> {
        racks().map(|rack| rack.to_string()).collect()
    }
}

fn racks() -> impl Iterator<Item = RackId> {
    (1..=4).map(|n| RackId::new(format!("rack-{n}")).expect("an id"))
}

fn rebirth() -> Vec<u8> {
    let generation = Generation::default();
    Downlink { generation, lease_ms: 0, stored: None, held: None, orders: Vec::new(), rebirth: true }.encode()
}

impl Ear {
    fn take(&mut self, name: &str, payload: &[u8]) -> Vec<Heard> {
        let Ok(Topic::Node { kind, rack, .. }) = topic::parse(name) else { return Vec::new() };
        if kind == Kind::Command {
            return Downlink::decode(payload).ok().and_then(|down| self.orders(rack, &down)).into_iter().collect();
        }
        let decoder = self.decoders.entry(rack.clone()).or_insert_with(|| UplinkDecoder::new(rack.clone()));
        let decoded = match kind {
            Kind::Birth => decoder.birth(payload),
            Kind::Data => decoder.data(payload),
            _ => return Vec::new(),
        };
        let snapshot = match decoded {
            Ok(Uplinked::Birth(snapshot) | Uplinked::Data { snapshot, .. }) => snapshot,
            _ => return Vec::new(),
        };
        let mut heard = Vec::new();
        for pdu in ["pdu-a", "pdu-b"].map(|id| DeviceId::new(id).expect("an id")) {
            let (told, place) = (pdu.to_string(), (rack.clone(), pdu.clone()));
            let Some(watts) = snapshot.value(&pdu, Signal::PduPower) else {
                let known = self.carried.remove(&place);
                heard.extend(known.map(|_| Heard::Silent { rack: rack.to_string(), device: told }));
                continue;
            };
            let before = self.carried.insert(place, watts);
            if before.is_some_and(|before| before > 500.0 && watts > before * STEP) {
                heard.push(Heard::Step { rack: rack.to_string(), device: told });
            }
        }
        heard
    }

    fn orders(&mut self, rack: RackId, down: &Downlink) -> Option<Heard> {
        let limits = || {
            down.orders.iter().filter_map(|(gpu, setting)| match setting {
                Setting::PowerLimit(watts) => Some((gpu.gpu_index()?.into(), watts.get())),
                Setting::ClockCeilingMhz(_) => None,
            })
        };
        let watts = || limits().map(|(_, watts)| watts);
        let (least, highest) = (watts().reduce(f64::min)?, watts().reduce(f64::max)?);
        let mut falls = |(gpu, watts): (u64, f64)| {
            let before = self.limits.insert((rack.clone(), gpu), watts);
            before.filter(|before| watts < before - MOVED).map(|_| gpu)
        };
        let lowered = limits().filter_map(&mut falls).collect();
        Some(Heard::Orders { rack: rack.to_string(), lowered, watts: [least, highest] })
    }
}

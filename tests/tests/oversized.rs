//! A broker that lets everything through: Mosquitto takes messages of up to 256 MiB, and what is retained it sends to
//! whoever comes, again and again. Messages far too large to be meant cost an agent no connection.

use headroom_rack::{DeviceId, Generation, Outcome, RackId, Refusal, Setting, Signal, Snapshot, Watts};
use headroom_tests::mosquitto::Mosquitto;
use headroom_tests::parts::{PATIENCE, Start};
use headroom_wire::{Downlink, Kind, Topic, UplinkDecoder, Uplinked, topic};
use rumqttc::{AsyncClient, Event, MqttOptions, Packet, PublishOptions, QoS};
use tokio::sync::mpsc;

/// More than an agent takes.
const OVERSIZED: usize = 5 << 20;
const DEVICE_TOPIC: &str = "plant/crah-1";

enum Heard {
    Stored,
    Said(Uplinked),
}

/// The other end of the bus.
struct Host {
    client: AsyncClient,
    heard: mpsc::Receiver<Heard>,
    births: usize,
    deaths: usize,
}

impl Host {
    fn start(address: &str, rack: RackId) -> Self {
        let (host, port) = address.split_once(':').expect("host and port");
        let mut options = MqttOptions::new("host", (host, port.parse::<u16>().expect("a port")));
        options.set_max_packet_size(2 * OVERSIZED, 2 * OVERSIZED);
        let (client, mut eventloop) = AsyncClient::builder(options).capacity(16).build();
        let (tell, heard) = mpsc::channel(1000);
        tokio::spawn(async move {
            let mut decoder = UplinkDecoder::new(rack);
            while let Ok(event) = eventloop.poll().await {
                let heard = match event {
                    Event::Incoming(Packet::PubAck(_)) => Heard::Stored,
                    Event::Incoming(Packet::Publish(p)) => {
                        let name = std::str::from_utf8(&p.topic).expect("topics are text");
                        let Ok(Topic::Node { kind, .. }) = topic::parse(name) else { continue };
                        let said = match kind {
                            Kind::Birth => decoder.birth(&p.payload),
                            Kind::Data => decoder.data(&p.payload),
                            Kind::Death => decoder.death(&p.payload),
                            Kind::Command => continue,
                        };
                        Heard::Said(said.expect("what the agent sends can be read"))
                    }
                    _ => continue,
                };
                let _ = tell.send(heard).await;
            }
        });
        Self { client, heard, births: 0, deaths: 0 }
    }

    /// Publishes, and waits until the broker has it.
    async fn publish(&mut self, topic: &str, payload: Vec<u8>, retained: bool) {
        let options = PublishOptions::new(QoS::AtLeastOnce).retain(retained);
        self.client.publish(topic, payload, options).await.expect("queued");
        while !matches!(self.next().await, Heard::Stored) {}
    }

    async fn next(&mut self) -> Heard {
        let next = tokio::time::timeout(PATIENCE, self.heard.recv()).await;
        let heard = next.expect("something is heard").expect("the bus stands");
        self.births += usize::from(matches!(heard, Heard::Said(Uplinked::Birth(_))));
        self.deaths += usize::from(matches!(heard, Heard::Said(Uplinked::Death { .. })));
        heard
    }

    async fn until<T>(&mut self, wanted: impl Fn(&Snapshot) -> Option<T>) -> T {
        let search = async {
            loop {
                if let Heard::Said(Uplinked::Data { snapshot, .. }) = self.next().await
                    && let Some(found) = wanted(&snapshot)
                {
                    return found;
                }
            }
        };
        tokio::time::timeout(PATIENCE, search).await.expect("a Snapshot that shows it")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_stays_connected_whatever_is_sent_and_retained_where_it_listens() {
    let dir = tempfile::tempdir().expect("a folder");
    let (_mosquitto, address) = Mosquitto::start(dir.path(), "LISTENER\nallow_anonymous true\n");
    let rack = RackId::new("rack-1").expect("an id");
    let command = topic::node("demo", Kind::Command, &rack);
    let mut host = Host::start(&address, rack);
    host.publish(&command, vec![0; OVERSIZED], true).await;
    host.publish(DEVICE_TOPIC, vec![b'1'; OVERSIZED], true).await;
    host.client.subscribe(topic::site_filter("demo"), QoS::AtLeastOnce).await.expect("queued");

    let config = dir.path().join("agent.toml");
    let text = format!(
        "site = \"demo\"\nrack = \"rack-1\"\n[broker]\nurl = \"mqtt://{address}\"\n[nvml]\nenabled = false\n\
         [serve]\nlisten = \"127.0.0.1:0\"\n[[mqtt]]\ndevice = \"crah-1\"\nstale_ms = 60000\n[[mqtt.point]]\n\
         signal = \"cooling_supply_temperature_celsius\"\ntopic = \"{DEVICE_TOPIC}\"\npointer = \"/supply\"\n"
    );
    std::fs::write(&config, text).expect("a file");
    let args = ["run", "--config", config.to_str().expect("text")];
    let agent = Start::new("headroom-agent", &args, &[], dir.path().join("agent.log")).start();
    let first = host.until(|snapshot| Some(snapshot.seq)).await;
    host.until(|snapshot| (snapshot.seq >= first + 3).then_some(())).await;

    // One after the other, beside what is meant.
    host.publish(&command, vec![0; OVERSIZED], false).await;
    host.publish(DEVICE_TOPIC, vec![b'1'; OVERSIZED], false).await;
    host.publish(DEVICE_TOPIC, b"{\"supply\": 21.5}".to_vec(), false).await;
    let device = DeviceId::new("crah-1").expect("an id");
    host.until(|s| s.value(&device, Signal::CoolingSupplyTemperature).filter(|celsius| *celsius == 21.5)).await;
    let order = Downlink {
        generation: Generation { epoch: 1, counter: 1 },
        lease_ms: 5000,
        stored: None,
        held: None,
        orders: vec![(DeviceId::gpu(0), Setting::PowerLimit(Watts::new(500.0)))],
        rebirth: false,
    };
    host.publish(&command, order.encode(), false).await;
    let receipt = host.until(|snapshot| snapshot.receipts.first().cloned()).await;
    assert_eq!(receipt.outcome, Outcome::Refused(Refusal::MonitorOnly), "it hears Orders still");
    assert_eq!((host.births, host.deaths), (1, 0), "one session all the time");
    let log = std::fs::read_to_string(dir.path().join("agent.log")).unwrap_or_default();
    assert!(log.contains("a message is too large to be meant") && agent.stop(), "{log}");
}

//! The program against a real broker: Snapshots up, commands down, back-fill after an outage, and
//! the goodbye. The controller's side is played with the wire's own decoder.

use headroom_rack::{DeviceId, Generation, Outcome, RackId, Refusal, Setting, Snapshot, Watts};
use headroom_wire::{Downlink, Kind, Stored, Topic, UplinkDecoder, Uplinked, topic};
use mqtt5::broker::MqttBroker;
use mqtt5::broker::config::{BrokerConfig, StorageBackend, StorageConfig};
use rumqttc::{AsyncClient, Event, MqttOptions, Packet, PublishOptions, QoS};
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::process::{Child, Command};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

const PATIENCE: Duration = Duration::from_secs(20);

fn rack() -> RackId {
    RackId::new("rack-1").expect("valid")
}

fn free_port() -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("bound")
}

async fn broker(address: SocketAddr) {
    let storage = StorageConfig::new().with_backend(StorageBackend::Memory).with_persistence(false);
    let config = BrokerConfig::new().with_bind_address(address).with_max_packet_size(1 << 20).with_storage(storage);
    let mut broker = MqttBroker::with_config(config).await.expect("the broker starts");
    let mut ready = broker.ready_receiver();
    tokio::spawn(async move { broker.run().await });
    ready.wait_for(|ready| *ready).await.expect("the broker is ready");
}

struct Agent {
    child: Child,
    dir: tempfile::TempDir,
}

impl Agent {
    fn start(broker: SocketAddr) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let config = format!(
            "site='demo'\nrack='rack-1'\n[broker]\nurl='mqtt://{broker}'\n[nvml]\nenabled=false\n\
             [serve]\nlisten='127.0.0.1:0'\n[[modbus]]\ndevice='pdu-a'\nprofile='eastron-sdm630'\naddress='{}'\n",
            free_port()
        );
        let path = dir.path().join("agent.toml");
        std::fs::write(&path, config).expect("a file");
        let child = Command::new(env!("CARGO_BIN_EXE_headroom-agent"))
            .args(["run", "--config"])
            .arg(&path)
            .arg("--port-file")
            .arg(dir.path().join("port"))
            .spawn()
            .expect("the program starts");
        Self { child, dir }
    }

    fn get(&self, path: &str) -> Option<String> {
        let address = std::fs::read_to_string(self.dir.path().join("port")).ok()?;
        let mut stream = std::net::TcpStream::connect(address).ok()?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        Some(text)
    }

    fn metric(&self, name: &str) -> Option<f64> {
        let text = self.get("/metrics")?;
        text.lines().find(|l| l.starts_with(name))?.rsplit(' ').next()?.parse().ok()
    }

    fn terminate(mut self) -> Option<i32> {
        let kill = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status();
        assert!(kill.is_ok_and(|s| s.success()));
        self.child.wait().ok()?.code()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The controller's side of the bus.
struct Host {
    client: AsyncClient,
    uplinked: mpsc::Receiver<Uplinked>,
}

impl Host {
    async fn start(broker: SocketAddr) -> Self {
        let mut options = MqttOptions::new("host", (broker.ip().to_string(), broker.port()));
        options.set_max_packet_size(1 << 20, 1 << 20);
        let (client, mut eventloop) = AsyncClient::builder(options).capacity(16).build();
        client.subscribe(topic::site_filter("demo"), QoS::AtLeastOnce).await.expect("queued");
        let (tell, uplinked) = mpsc::channel(1000);
        let (subscribed, mut is_subscribed) = mpsc::channel(1);
        tokio::spawn(async move {
            let mut decoder = UplinkDecoder::new(rack());
            loop {
                match eventloop.poll().await {
                    Ok(Event::Incoming(Packet::SubAck(_))) => {
                        let _ = subscribed.try_send(());
                    }
                    Ok(Event::Incoming(Packet::Publish(p))) => {
                        let name = std::str::from_utf8(&p.topic).expect("topics are text");
                        let Ok(Topic::Node { kind, .. }) = topic::parse(name) else { continue };
                        let uplinked = match kind {
                            Kind::Birth => decoder.birth(&p.payload),
                            Kind::Data => decoder.data(&p.payload),
                            Kind::Death => decoder.death(&p.payload),
                            Kind::Command => continue,
                        };
                        let _ = tell.send(uplinked.expect("what the agent sends can be read")).await;
                    }
                    Ok(_) => {}
                    Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
                }
            }
        });
        is_subscribed.recv().await.expect("the broker answers");
        Self { client, uplinked }
    }

    async fn next(&mut self) -> Uplinked {
        let next = tokio::time::timeout(PATIENCE, self.uplinked.recv()).await;
        next.expect("the agent says something").expect("the bus stands")
    }

    async fn until<T>(&mut self, wanted: impl Fn(&Uplinked) -> Option<T>) -> T {
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            if let Some(found) = wanted(&self.next().await) {
                return found;
            }
        }
        panic!("waited in vain");
    }

    async fn command(&self, downlink: &Downlink) {
        let topic = topic::node("demo", Kind::Command, &rack());
        self.client.publish(topic, downlink.encode(), PublishOptions::new(QoS::AtMostOnce)).await.expect("queued");
    }
}

fn live(uplinked: &Uplinked) -> Option<Snapshot> {
    match uplinked {
        Uplinked::Data { snapshot, .. } if !snapshot.historical => Some(snapshot.clone()),
        _ => None,
    }
}

fn downlink(orders: Vec<(DeviceId, Setting)>) -> Downlink {
    let generation = Generation { epoch: 1, counter: 1 };
    Downlink { generation, lease_ms: 5000, stored: None, orders, rebirth: false }
}

#[tokio::test(flavor = "multi_thread")]
async fn snapshots_go_up_receipts_ride_in_them_and_a_clean_stop_says_goodbye() {
    let address = free_port();
    broker(address).await;
    let mut host = Host::start(address).await;
    let agent = Agent::start(address);
    let birth = host.until(|u| if let Uplinked::Birth(s) = u { Some(s.clone()) } else { None }).await;
    assert!(!birth.readings.is_empty(), "the birth names the signals before they were read");
    let first = host.until(live).await;
    let second = host.until(live).await;
    assert_eq!((second.seq, second.boot), (first.seq + 1, first.boot));

    host.command(&downlink(vec![(DeviceId::gpu(0), Setting::PowerLimit(Watts::new(500.0)))])).await;
    let receipt = host.until(|u| live(u)?.receipts.first().cloned()).await;
    assert_eq!(receipt.outcome, Outcome::Refused(Refusal::MonitorOnly));
    assert_eq!(receipt.generation, Generation { epoch: 1, counter: 1 });

    host.command(&Downlink { rebirth: true, ..downlink(vec![]) }).await;
    host.until(|u| matches!(u, Uplinked::Birth(_)).then_some(())).await;

    assert_eq!(agent.terminate(), Some(0));
    let current = host.until(|u| if let Uplinked::Death { current } = u { Some(*current) } else { None }).await;
    assert!(current);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_seen_without_a_broker_is_filled_in_and_forgotten_only_when_stored() {
    let address = free_port();
    let agent = Agent::start(address);
    let until = Instant::now() + PATIENCE;
    while agent.metric("headroom_agent_spool_snapshots").is_none_or(|n| n < 4.0) {
        assert!(Instant::now() < until, "the spool does not fill");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    broker(address).await;
    let mut host = Host::start(address).await;
    let mut seqs = std::collections::BTreeSet::new();
    let mut boot = 0;
    // All Snapshots without a hole, the missed ones marked as historical.
    let (mut history, mut newest) = (0, 0);
    while history < 3 || (1..=newest).any(|seq| !seqs.contains(&seq)) {
        assert!(Instant::now() < until + PATIENCE, "still missing: {seqs:?}");
        let snapshot = match host.next().await {
            Uplinked::Data { snapshot, .. } | Uplinked::Birth(snapshot) => snapshot,
            Uplinked::Death { .. } => continue,
        };
        // As the controller does; what was lost before this host listened is sent again for it.
        let stored = Some(Stored { boot: snapshot.boot, seq: 0 });
        host.command(&Downlink { stored, ..downlink(vec![]) }).await;
        history += u32::from(snapshot.historical);
        newest = newest.max(snapshot.seq);
        boot = snapshot.boot;
        seqs.insert(snapshot.seq);
    }
    let before = agent.metric("headroom_agent_spool_snapshots").expect("metrics are served");
    assert!(before >= f64::from(history), "nothing is forgotten before it is stored");
    let stored = Some(Stored { boot, seq: newest });
    host.command(&Downlink { stored, ..downlink(vec![]) }).await;
    while agent.metric("headroom_agent_spool_snapshots").is_none_or(|n| n >= before) {
        assert!(Instant::now() < until + PATIENCE, "the spool forgets nothing");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(agent.get("/healthz").is_some_and(|t| t.starts_with("HTTP/1.1 200") && t.contains("\"link_up\":true")));
    assert_eq!(agent.terminate(), Some(0));
}

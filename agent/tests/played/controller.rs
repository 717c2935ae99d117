//! What the tests of the running program share: a broker, the agent as a child process, and the
//! controller played with the wire's own decoder.
#![allow(dead_code, reason = "each test program uses its part")]

use headroom_rack::{DeviceId, Generation, RackId, Setting, Snapshot};
use headroom_wire::{Downlink, Kind, Topic, UplinkDecoder, Uplinked, topic};
use mqtt5::broker::MqttBroker;
use mqtt5::broker::config::{BrokerConfig, StorageBackend, StorageConfig};
use rumqttc::{AsyncClient, Event, MqttOptions, Packet, PublishOptions, QoS};
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::process::{Child, Command};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

pub const PATIENCE: Duration = Duration::from_secs(20);

pub fn rack() -> RackId {
    RackId::new("rack-1").expect("valid")
}

pub fn free_port() -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("bound")
}

pub async fn broker(address: SocketAddr) {
    let storage = StorageConfig::new().with_backend(StorageBackend::Memory).with_persistence(false);
    let config = BrokerConfig::new().with_bind_address(address).with_max_packet_size(1 << 20).with_storage(storage);
    let mut broker = MqttBroker::with_config(config).await.expect("the broker starts");
    let mut ready = broker.ready_receiver();
    tokio::spawn(async move { broker.run().await });
    ready.wait_for(|ready| *ready).await.expect("the broker is ready");
}

fn config(dir: &tempfile::TempDir, broker: Option<SocketAddr>, more: &str) -> std::path::PathBuf {
    let uplink = broker.map_or("uplink=false".to_owned(), |broker| format!("[broker]\nurl='mqtt://{broker}'"));
    let text = format!("site='demo'\nrack='rack-1'\n{uplink}\n[serve]\nlisten='127.0.0.1:0'\n{more}");
    let path = dir.path().join("agent.toml");
    std::fs::write(&path, text).expect("a file");
    path
}

pub struct Agent {
    child: Child,
    pub dir: tempfile::TempDir,
}

impl Agent {
    /// Starts the program, without an uplink if there is no broker; `more` is added to its config.
    pub fn start(broker: impl Into<Option<SocketAddr>>, more: &str, environment: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = config(&dir, broker.into(), more);
        let child = Command::new(env!("CARGO_BIN_EXE_headroom-agent"))
            .args(["run", "--config"])
            .arg(&path)
            .arg("--port-file")
            .arg(dir.path().join("port"))
            .envs(environment.iter().copied())
            .spawn()
            .expect("the program starts");
        Self { child, dir }
    }

    /// Starts the program by a shell that says `how` to run it; its log goes to the file `log`.
    pub fn start_by(how: &str, broker: SocketAddr, more: &str) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = config(&dir, Some(broker), more);
        let log = std::fs::File::create(dir.path().join("log")).expect("a file");
        let child = Command::new("sh")
            .args(["-c", how, "sh", env!("CARGO_BIN_EXE_headroom-agent"), "run", "--config"])
            .arg(&path)
            .arg("--port-file")
            .arg(dir.path().join("port"))
            .stderr(log)
            .spawn()
            .expect("the program starts");
        Self { child, dir }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal by name.
    pub fn signal(&self, name: &str) {
        let kill = Command::new("kill").args([&format!("-{name}"), &self.child.id().to_string()]).status();
        assert!(kill.is_ok_and(|s| s.success()));
    }

    /// Writes its config anew, as an editor does: beside it, then in its place.
    pub fn reconfigure(&self, broker: SocketAddr, more: &str) {
        let dir = tempfile::tempdir_in(self.dir.path()).expect("a temporary directory");
        std::fs::rename(config(&dir, Some(broker), more), self.dir.path().join("agent.toml"))
            .expect("the same file system");
    }

    pub fn get(&self, path: &str) -> Option<String> {
        let address = std::fs::read_to_string(self.dir.path().join("port")).ok()?;
        let mut stream = std::net::TcpStream::connect(address).ok()?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        Some(text)
    }

    pub fn metric(&self, name: &str) -> Option<f64> {
        let text = self.get("/metrics")?;
        text.lines().find(|l| l.starts_with(name))?.rsplit(' ').next()?.parse().ok()
    }

    pub fn terminate(mut self) -> Option<i32> {
        self.signal("TERM");
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
pub struct Host {
    client: AsyncClient,
    uplinked: mpsc::Receiver<Uplinked>,
}

impl Host {
    pub async fn start(broker: SocketAddr) -> Self {
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

    pub async fn next(&mut self) -> Uplinked {
        let next = tokio::time::timeout(PATIENCE, self.uplinked.recv()).await;
        next.expect("the agent says something").expect("the bus stands")
    }

    pub async fn until<T>(&mut self, wanted: impl Fn(&Uplinked) -> Option<T>) -> T {
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            if let Some(found) = wanted(&self.next().await) {
                return found;
            }
        }
        panic!("waited in vain");
    }

    pub async fn command(&self, downlink: &Downlink) {
        let topic = topic::node("demo", Kind::Command, &rack());
        self.client.publish(topic, downlink.encode(), PublishOptions::new(QoS::AtMostOnce)).await.expect("queued");
    }
}

pub fn live(uplinked: &Uplinked) -> Option<Snapshot> {
    match uplinked {
        Uplinked::Data { snapshot, .. } if !snapshot.historical => Some(snapshot.clone()),
        _ => None,
    }
}

pub fn downlink(orders: Vec<(DeviceId, Setting)>) -> Downlink {
    let generation = Generation { epoch: 1, counter: 1 };
    Downlink { generation, lease_ms: 5000, stored: None, held: None, orders, rebirth: false }
}

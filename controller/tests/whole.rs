//! The whole controller as a process, with the embedded broker as another, and agents played by
//! the test over MQTT: what goes up is shown and stored, what goes down is fresh and ordered.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers too")]

use headroom_rack::record::Entry;
use headroom_rack::{DeviceId, NoData, RackId, Reading, Setting, Signal, SignalPath, Snapshot, UnixMs};
use headroom_wire::{Downlink, Kind, Stored, Uplink, topic};
use rumqttc::{AsyncClient, Event, LastWill, MqttOptions, Packet, PublishOptions, QoS};
use serde_json::Value;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const PATIENCE: Duration = Duration::from_secs(60);

struct Process {
    child: Child,
    address: SocketAddr,
}

impl Process {
    fn start(args: &[&str], port_file: &Path) -> Self {
        let _ = std::fs::remove_file(port_file);
        let mut child = Command::new(env!("CARGO_BIN_EXE_headroom-controller"))
            .args(args)
            .arg("--port-file")
            .arg(port_file)
            .env("RUST_LOG", "info")
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let start = Instant::now();
        let address = loop {
            if let Ok(text) = std::fs::read_to_string(port_file) {
                break text.parse().unwrap();
            }
            assert!(child.try_wait().unwrap().is_none(), "{args:?} ended at once");
            assert!(start.elapsed() < PATIENCE, "{args:?} wrote no port file");
            std::thread::sleep(Duration::from_millis(20));
        };
        Self { child, address }
    }

    fn terminate(mut self) -> Option<i32> {
        let pid = i32::try_from(self.child.id()).unwrap();
        #[expect(unsafe_code, reason = "the standard library cannot send SIGTERM")]
        // SAFETY: kill has no memory effects; the process is our own child, not yet waited for.
        unsafe {
            libc::kill(pid, libc::SIGTERM);
        }
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(start.elapsed() < PATIENCE, "it did not end");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

struct Site {
    dir: tempfile::TempDir,
    broker: Process,
}

impl Site {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let files = dir.path().join("broker");
        let args = ["broker", "--listen", "127.0.0.1:0", "--dir", files.to_str().unwrap()];
        let broker = Process::start(&args, &dir.path().join("broker.port"));
        Self { dir, broker }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn controller(&self, mode: &str) -> Process {
        let config = headroom_controller::config::DEFAULT
            .replace("mode = \"automatic\"", &format!("mode = \"{mode}\""))
            .replace("period_ms = 1000", "period_ms = 200")
            .replace("127.0.0.1:1883", &self.broker.address.to_string())
            .replace("127.0.0.1:7878", "127.0.0.1:0")
            .replace("dir = \"record\"", &format!("dir = {:?}", self.path("record")));
        let path = self.path("controller.toml");
        std::fs::write(&path, config).unwrap();
        let summary = self.path("summary.json");
        let args = ["run", "--config", path.to_str().unwrap(), "--summary", summary.to_str().unwrap()];
        Process::start(&args, &self.path("controller.port"))
    }
}

fn unix() -> UnixMs {
    UnixMs::new(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64)
}

fn snapshot(rack: &RackId, boot: u64, seq: u64) -> Snapshot {
    let at = unix();
    let mut readings = headroom_rack::Readings::new();
    let mut put = |device: DeviceId, signal, reading| readings.insert(SignalPath::new(device, signal), reading);
    for gpu in (0..8).map(DeviceId::gpu) {
        let lost = rack.as_str() == "rack-1" && gpu == DeviceId::gpu(7);
        let power = if lost { Reading::none(NoData::DeviceLost, at) } else { Reading::new(300.0, at) };
        put(gpu.clone(), Signal::GpuPower, power);
        put(gpu.clone(), Signal::GpuLimitEnforced, Reading::new(400.0, at));
        put(gpu, Signal::GpuUtilization, Reading::new(0.5, at));
    }
    for pdu in ["pdu-a", "pdu-b"] {
        put(DeviceId::new(pdu).unwrap(), Signal::PduPower, Reading::new(2050.0, at));
    }
    if rack.as_str() == "rack-1" {
        put(DeviceId::new("ups-a").unwrap(), Signal::UpsBatteryCharge, Reading::new(0.98, at));
    }
    Snapshot { rack: rack.clone(), boot, seq, at, historical: false, readings, receipts: vec![] }
}

/// An agent: birth on connect and on request, data every 100 ms, keeps what comes down.
struct Agent {
    got: Arc<Mutex<Vec<Downlink>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Agent {
    fn start(rack: &str, broker: SocketAddr, boot: u64) -> Self {
        let rack = RackId::new(rack).unwrap();
        let got = Arc::new(Mutex::new(Vec::new()));
        let task = tokio::spawn(Self::run(rack, broker, boot, Arc::clone(&got)));
        Self { got, task }
    }

    async fn run(rack: RackId, broker: SocketAddr, boot: u64, got: Arc<Mutex<Vec<Downlink>>>) {
        let mut up = Uplink::new(0);
        let mut options = MqttOptions::new(format!("agent-{rack}"), (broker.ip().to_string(), broker.port()));
        options.set_max_packet_size(1 << 20, 1 << 20).set_last_will(LastWill::new(
            topic::node("demo", Kind::Death, &rack),
            up.death(),
            QoS::AtLeastOnce,
            false,
        ));
        let (client, mut eventloop) = AsyncClient::builder(options).capacity(100).build();
        client.try_subscribe(topic::node("demo", Kind::Command, &rack), QoS::AtMostOnce).unwrap();
        // What is published before the controller has subscribed is gone.
        client.try_subscribe("spBv1.0/STATE/+", QoS::AtMostOnce).unwrap();
        let mut heard = false;
        let mut seq: u64 = 0;
        let mut birth = true;
        let mut tick = tokio::time::interval(Duration::from_millis(100));
        loop {
            tokio::select! {
                polled = eventloop.poll() => {
                    if let Event::Incoming(Packet::Publish(p)) = polled.unwrap() {
                        if p.topic.windows(7).any(|w| w == b"/STATE/") {
                            heard = true;
                            continue;
                        }
                        let message = Downlink::decode(&p.payload).unwrap();
                        birth |= message.rebirth;
                        // As a spool does: what came a second ago and is not stored got lost in a full queue.
                        let stored = message.stored.filter(|s| s.boot == boot).map_or(0, |s| s.seq);
                        for lost in (stored + 1..seq.saturating_sub(20)).take(5).filter(|_| !birth) {
                            let old = Snapshot { historical: true, ..snapshot(&rack, boot, lost) };
                            let bytes = up.data(&old).unwrap();
                            client.try_publish(topic::node("demo", Kind::Data, &rack), bytes, PublishOptions::at_most_once()).unwrap();
                        }
                        got.lock().unwrap().push(message);
                    }
                }
                _ = tick.tick(), if heard => {
                    seq += 1;
                    let now = snapshot(&rack, boot, seq);
                    let (kind, bytes) = if std::mem::take(&mut birth) {
                        (Kind::Birth, up.birth(&now))
                    } else {
                        (Kind::Data, up.data(&now).unwrap())
                    };
                    client.try_publish(topic::node("demo", kind, &rack), bytes, PublishOptions::at_most_once()).unwrap();
                }
            }
        }
    }

    async fn until<T>(&self, what: &str, pick: impl Fn(&[Downlink]) -> Option<T>) -> T {
        let start = Instant::now();
        loop {
            if let Some(found) = pick(&self.got.lock().unwrap()) {
                return found;
            }
            assert!(start.elapsed() < PATIENCE, "waited in vain for: {what}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn get(controller: &Process, path: &str) -> (u16, String) {
    let client = headroom_controller::http::client(Duration::from_secs(5)).unwrap();
    let answer = client.get(format!("http://{}{path}", controller.address)).send().await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

async fn json(controller: &Process, path: &str) -> Value {
    let (code, text) = get(controller, path).await;
    assert_eq!(code, 200, "{path}: {text}");
    serde_json::from_str(&text).unwrap()
}

async fn until_json(controller: &Process, path: &str, what: &str, good: impl Fn(&Value) -> bool) -> Value {
    let start = Instant::now();
    loop {
        let value = json(controller, path).await;
        if good(&value) {
            return value;
        }
        assert!(start.elapsed() < PATIENCE, "waited in vain for: {what} in {path}: {value:#}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn snapshots_are_shown_stored_and_answered_with_orders_and_a_clean_stop_says_so() {
    let site = Site::start();
    let controller = site.controller("automatic");
    let agents: Vec<Agent> = (1..=4).map(|i| Agent::start(&format!("rack-{i}"), site.broker.address, 77)).collect();

    let first = agents[0].until("an Order", |got| got.iter().find(|d| !d.orders.is_empty()).cloned()).await;
    assert_eq!((first.orders.len(), first.lease_ms), (8, 5000));
    for (_, setting) in &first.orders {
        assert!(matches!(setting, Setting::PowerLimit(w) if (200.0..=700.0).contains(&w.get())), "{setting:?}");
    }
    let newer = |d: &&Downlink| !d.rebirth && d.generation > first.generation;
    agents[0].until("a repetition by a newer generation", |got| got.iter().find(newer).map(|_| ())).await;
    let far = |s: &Stored| s.boot == 77 && s.seq >= 5;
    agents[0].until("a stored mark", |got| got.iter().filter_map(|d| d.stored).find(far)).await;

    let state = until_json(&controller, "/api/state", "four live racks", |s| {
        s["racks"].as_array().unwrap().iter().all(|r| r["state"] == "live")
            && s["record"]["snapshots"].as_u64() > Some(20)
    })
    .await;
    let rack = &state["racks"][0];
    assert_eq!(rack["power_watts"], 4100.0);
    assert_eq!(rack["gpus"][0]["power_watts"], 300.0);
    assert_eq!((&rack["gpus"][7]["power_watts"], &rack["gpus"][7]["no_data"]), (&Value::Null, &"device_lost".into()));
    assert_eq!(rack["supply_celsius"], Value::Null);
    assert!(!rack["reason"].as_str().unwrap().is_empty());
    let ups = &state["ups"][0];
    assert_eq!(
        (&ups["id"], &ups["battery_charge_ratio"], &ups["on_battery"]),
        (&"ups-a".into(), &0.98.into(), &Value::Null)
    );
    let breaker = state["nodes"].as_array().unwrap().iter().find(|n| n["id"] == "breaker-a").unwrap();
    assert_eq!((&breaker["kind"], &breaker["parent"]), (&"breaker".into(), &"ups-a".into()));
    assert!((breaker["rating_watts"].as_f64().unwrap() - 11_520.0).abs() < 1e-6);
    assert!((breaker["power_watts"].as_f64().unwrap() - 8200.0).abs() < 500.0, "{breaker:#}");

    let history =
        until_json(&controller, "/api/history?seconds=60", "a row", |h| !h["t"].as_array().unwrap().is_empty()).await;
    assert_eq!(history["racks"]["rack-1"]["power"].as_array().unwrap().len(), history["t"].as_array().unwrap().len());
    assert!(!history["ahead"]["rack-1"]["p99"].as_array().unwrap().is_empty());
    let events = json(&controller, "/api/events?after=0").await;
    assert!(events.as_array().unwrap().iter().any(|e| e["kind"] == "link"), "{events:#}");
    let (code, page) = get(&controller, "/metrics").await;
    assert_eq!(code, 200);
    assert!(page.contains("headroom_gpu_power_watts{rack=\"rack-2\",device=\"gpu-0\"} 300\n"), "{page}");
    assert!(page.contains("headroom_rack_power_watts{rack=\"rack-1\"} 4100\n"));
    assert!(page.contains("headroom_readings_no_data_total{reason=\"device_lost\"}"));
    assert!(page.ends_with("# EOF\n"));
    assert_eq!(get(&controller, "/healthz").await.0, 200);
    let (code, console) = get(&controller, "/").await;
    assert_eq!((code, console.contains("Headroom")), (200, true));

    assert_eq!(controller.terminate(), Some(0));
    let summary: Value = serde_json::from_str(&std::fs::read_to_string(site.path("summary.json")).unwrap()).unwrap();
    assert_eq!(summary["clean_stop"], true);
    assert!(summary["orders"].as_u64() >= Some(64) && summary["points_recorded"].as_u64() > Some(500), "{summary:#}");
    assert_eq!(summary["alerts"]["sent"], 0);

    let mut kinds = std::collections::BTreeSet::new();
    for segment in headroom_controller::record::list(&site.path("record")).unwrap() {
        headroom_controller::record::walk(&segment.path, |entry| {
            kinds.insert(match entry {
                Entry::Snapshot(_) => "snapshot",
                Entry::Plan(_) => "plan",
                Entry::Forecast(_) => "forecast",
                Entry::Finding(_) => "finding",
                Entry::Note { .. } => "note",
                Entry::Score(_) => "score",
            });
        })
        .unwrap();
    }
    for kind in ["snapshot", "plan", "forecast", "score", "note"] {
        assert!(kinds.contains(kind), "no {kind} in the record");
    }
}

#[tokio::test]
async fn advisory_mode_decides_and_stores_but_orders_nothing() {
    let site = Site::start();
    let controller = site.controller("advisory");
    let agents: Vec<Agent> = (1..=4).map(|i| Agent::start(&format!("rack-{i}"), site.broker.address, 5)).collect();
    agents[3].until("a stored mark", |got| got.iter().filter_map(|d| d.stored).find(|s| s.seq >= 3)).await;
    let state =
        until_json(&controller, "/api/state", "a decision", |s| s["racks"][0]["budget_watts"].is_number()).await;
    assert_eq!(state["mode"], "advisory");
    assert_eq!(state["counts"]["orders"], 0);
    assert!(agents.iter().all(|a| a.got.lock().unwrap().iter().all(|d| d.orders.is_empty())));
    assert_eq!(controller.terminate(), Some(0));
}

#[tokio::test]
async fn a_controller_killed_and_started_again_goes_on_with_newer_generations_and_stores_nothing_twice() {
    let site = Site::start();
    let mut controller = site.controller("automatic");
    let agents: Vec<Agent> = (1..=4).map(|i| Agent::start(&format!("rack-{i}"), site.broker.address, 9)).collect();
    let ordered = |got: &[Downlink]| got.iter().rfind(|d| !d.orders.is_empty()).map(|d| d.generation);
    agents[0].until("a stored mark", |got| got.iter().filter_map(|d| d.stored).find(|s| s.seq >= 5)).await;
    let before = agents[0].until("an Order", ordered).await;
    controller.child.kill().unwrap();
    controller.child.wait().unwrap();
    let last = agents[0].until("the last Order", ordered).await;

    let controller = site.controller("automatic");
    let newer =
        agents[0].until("an Order of the new process", |got| ordered(got).filter(|g| g.epoch > last.epoch)).await;
    assert!(newer > last && last >= before);
    until_json(&controller, "/api/state", "live racks", |s| s["racks"][0]["state"] == "live").await;
    assert_eq!(controller.terminate(), Some(0));

    let mut seen = std::collections::BTreeSet::new();
    for segment in headroom_controller::record::list(&site.path("record")).unwrap() {
        headroom_controller::record::walk(&segment.path, |entry| {
            if let Entry::Snapshot(s) = entry {
                assert!(seen.insert((s.rack.clone(), s.boot, s.seq)), "{} {} is stored twice", s.rack, s.seq);
            }
        })
        .unwrap();
    }
    assert!(seen.len() > 20);
}

#[tokio::test]
async fn an_agent_that_dies_is_shown_silent_and_its_values_unknown() {
    let site = Site::start();
    let controller = site.controller("automatic");
    let mut agents: Vec<Agent> = (1..=4).map(|i| Agent::start(&format!("rack-{i}"), site.broker.address, 3)).collect();
    until_json(&controller, "/api/state", "a live rack", |s| s["racks"][3]["state"] == "live").await;
    drop(agents.pop());
    let state = until_json(&controller, "/api/state", "a silent rack", |s| s["racks"][3]["state"] == "silent").await;
    let rack = &state["racks"][3];
    assert_eq!((&rack["power_watts"], &rack["gpus"][0]["no_data"]), (&Value::Null, &"agent_silent".into()));
    assert_eq!(controller.terminate(), Some(0));
}

#[tokio::test]
async fn the_broker_ends_cleanly_on_sigterm() {
    let site = Site::start();
    let Site { dir, broker } = site;
    assert_eq!(broker.terminate(), Some(0));
    drop(dir);
}

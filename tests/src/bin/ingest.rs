//! What a site's Snapshots cost the controller: racks of 8 GPUs that are played at the wire send what the
//! decision needs once a second (power, limit and load of each GPU, two inlets) and obey the Orders. Real are
//! the controller with its record and the broker (Mosquitto). The last line is JSON.

use headroom_rack::{
    DeviceId, Outcome, RackId, Reading, Readings, Receipt, Setting, Signal, SignalPath, Snapshot, UnixMs,
};
use headroom_tests::cost::{memory_mib, whole_cpu_seconds};
use headroom_tests::http;
use headroom_tests::mosquitto::Mosquitto;
use headroom_tests::parts::{Start, content, until};
use headroom_wire::{Downlink, Kind, Topic, Uplink, topic};
use rumqttc::{AsyncClient, Event, MqttOptions, Packet, PublishOptions, QoS};
use serde_json::json;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const GPUS: u32 = 8;
const READINGS: u32 = 3 * GPUS + 2;
const SITE: &str = "bench";
const RACKS_PER_PDU: usize = 20;
const RACKS_PER_UPS: usize = 200;
/// Agents do not send all at once.
const SLICES: usize = 20;
const SLICE: Duration = Duration::from_millis(50);
/// Sessions that share the racks; real agents have one each.
const SESSIONS: usize = 4;

fn main() {
    let number = |at: usize, default: usize| std::env::args().nth(at).map_or(default, |n| n.parse().expect("a number"));
    let (racks, seconds) = (number(1, 12_500), number(2, 30));
    let dir = tempfile::tempdir().expect("a folder");
    let (mosquitto, broker) = Mosquitto::start(
        dir.path(),
        "LISTENER\nallow_anonymous true\nmax_queued_messages 0\nmax_packet_size 2000000\nset_tcp_nodelay true\n",
    );
    let path = |name: &str| dir.path().join(name).display().to_string();
    std::fs::write(dir.path().join("controller.toml"), config(racks, &broker, &path("record"))).expect("a file");
    let args = ["run", "--config", &path("controller.toml"), "--port-file", &path("port")];
    let controller = Start::new("headroom-controller", &args, &[], dir.path().join("log")).start();
    let console = content(&dir.path().join("port"));

    let fleet = Arc::new(Mutex::new((0..racks).map(Rack::new).collect::<Vec<_>>()));
    let (port, played) = (broker.rsplit_once(':').expect("a port").1.parse().expect("a port"), Arc::clone(&fleet));
    std::thread::spawn(move || play(&played, port));
    until("Orders for every rack", || {
        let fleet = fleet.lock().expect("no panic");
        fleet.iter().all(|rack| rack.ordered > 0).then_some(())
    });

    // A short page: the whole state of a large site takes the controller a second to write.
    let counted = || {
        let summary = http::json(&console, "/api/summary");
        let number = |name: &str| summary[name].as_f64().unwrap_or(f64::NAN);
        let recorded = number("points_recorded") / f64::from(READINGS);
        (Instant::now(), number("snapshots"), recorded, number("missed_periods"))
    };
    let sent = || {
        fleet
            .lock()
            .expect("no panic")
            .iter()
            .map(|rack| (rack.seq, rack.ordered))
            .fold((0, 0), |a, b| (a.0 + b.0, a.1 + b.1))
    };
    let of = [controller.id(), mosquitto.id(), std::process::id()];
    let (before, from) = (counted(), sent());
    let (cpu, begun) = (of.map(whole_cpu_seconds), Instant::now());
    std::thread::sleep(Duration::from_secs(seconds as u64));
    let (spent, took) = (of.map(whole_cpu_seconds), begun.elapsed().as_secs_f64());
    let (to, after) = (sent(), counted());
    let cores: Vec<f64> =
        spent.iter().zip(cpu).map(|(after, before)| ((after - before) / took * 1000.0).round() / 1000.0).collect();
    let memory = memory_mib(controller.id());
    let kib = memory["anonymous_mib"].as_f64().unwrap_or(f64::NAN) * 1024.0 / racks as f64;
    let between = (after.0 - before.0).as_secs_f64();
    let worst = http::json(&console, "/api/state")["loop"]["worst_lateness_s"].clone();
    let page = http::get(&console, "/metrics").unwrap_or_default();
    let dropped: BTreeMap<&str, &str> = page
        .lines()
        .filter(|l| l.starts_with("headroom_frames_dropped_total") || l.starts_with("headroom_record_dropped_total"))
        .filter_map(|l| l.rsplit_once(' ').filter(|(_, count)| *count != "0"))
        .collect();
    let line = json!({
        "racks": racks, "gpus": racks * GPUS as usize, "readings_in_a_snapshot": READINGS, "seconds": took,
        "snapshots_sent_per_s": (to.0 - from.0) as f64 / took, "snapshots_heard_per_s": (after.1 - before.1) / between,
        "snapshots_recorded_per_s": (after.2 - before.2) / between,
        "orders_received_per_s": (to.1 - from.1) as f64 / took,
        "missed_periods": after.3 - before.3, "worst_lateness_s": worst, "dropped_since_start": dropped,
        "controller_cores": cores[0], "broker_cores": cores[1], "agents_cores": cores[2],
        "controller_memory": memory, "controller_kib_per_rack": kib.round(),
    });
    let clean = controller.stop();
    assert!(
        clean,
        "the controller ended badly: {}",
        std::fs::read_to_string(dir.path().join("log")).unwrap_or_default()
    );
    println!("{line}");
}

/// A 2N site as in `headroom-controller bench decide`.
fn config(racks: usize, broker: &str, record: &str) -> String {
    let mut text = format!(
        "site = \"{SITE}\"\n[broker]\nurl = \"mqtt://{broker}\"\n[record]\ndir = \"{record}\"\n\
         [serve]\nlisten = \"127.0.0.1:0\"\n[policy]\nbands = [\"training\", \"inference\", \"batch\"]\n"
    );
    let mut node = |id: String, kind: &str, feed: &str, parent: Option<String>, watts: usize| {
        let parent = parent.map_or_else(String::new, |p| format!("parent = \"{p}\"\n"));
        let _ = write!(
            text,
            "[[node]]\nid = \"{id}\"\nkind = \"{kind}\"\nfeed = \"{feed}\"\n{parent}rating_watts = {watts}\n"
        );
    };
    for side in ["a", "b"] {
        for ups in 0..racks.div_ceil(RACKS_PER_UPS) {
            node(format!("ups-{side}-{ups}"), "ups", side, None, 3650 * RACKS_PER_UPS);
        }
        for pdu in 0..racks.div_ceil(RACKS_PER_PDU) {
            let ups = pdu * RACKS_PER_PDU / RACKS_PER_UPS;
            node(format!("pdu-{side}-{pdu}"), "breaker", side, Some(format!("ups-{side}-{ups}")), 3650 * RACKS_PER_PDU);
        }
        for rack in 0..racks {
            node(
                format!("branch-{side}-{rack}"),
                "breaker",
                side,
                Some(format!("pdu-{side}-{}", rack / RACKS_PER_PDU)),
                11_520,
            );
        }
    }
    for rack in 0..racks {
        let band = ["training", "inference", "batch"][rack % 3];
        let _ = write!(
            text,
            "[[rack]]\nid = \"rack-{rack}\"\npriority = \"{band}\"\ngpus = {GPUS}\noverhead_watts = 1700\ngpu_max_watts = 700\n\
             safe_gpu_watts = 400\nfeeds = [{{ node = \"branch-a-{rack}\", share = 0.5, meter = \"pdu-a\" }}, {{ node = \"branch-b-{rack}\", share = 0.5, meter = \"pdu-b\" }}]\n"
        );
    }
    text
}

/// One agent as the wire sees it.
struct Rack {
    id: RackId,
    number: usize,
    uplink: Uplink,
    seq: u64,
    born: bool,
    limits: [f64; GPUS as usize],
    receipts: Vec<Receipt>,
    ordered: u64,
    /// What it said last: only the numbers change.
    last: Readings,
}

impl Rack {
    fn new(number: usize) -> Self {
        let id = RackId::new(format!("rack-{number}")).expect("an id");
        let limits = [700.0; GPUS as usize];
        Self {
            id,
            number,
            uplink: Uplink::new(0),
            seq: 0,
            born: false,
            limits,
            receipts: Vec::new(),
            ordered: 0,
            last: paths(),
        }
    }

    /// Topic and bytes of the next Snapshot.
    fn next(&mut self) -> (String, Vec<u8>) {
        let at = now();
        self.seq += 1;
        // Each rack moves between idle and full at a pace of its own.
        let busy = 0.5
            + 0.5 * ((self.number * 7919 % 97) as f64 + self.seq as f64 * (0.1 + (self.number % 5) as f64 * 0.1)).sin();
        let mut readings = std::mem::take(&mut self.last);
        let (mut values, mut sum) = (readings.values_mut(), 0.0);
        let mut put = |value| *values.next().expect("one of each path") = Reading::new(value, at);
        for limit in self.limits {
            let power = (120.0 + 560.0 * busy).min(limit);
            sum += power;
            [power, limit, busy].into_iter().for_each(&mut put);
        }
        [(sum + 1500.0) / 2.0; 2].into_iter().for_each(put);
        let receipts = std::mem::take(&mut self.receipts);
        let snapshot =
            Snapshot { rack: self.id.clone(), boot: 1, seq: self.seq, at, historical: false, readings, receipts };
        let born = std::mem::replace(&mut self.born, true);
        let data = if born { self.uplink.data(&snapshot).ok() } else { None };
        let kind = if data.is_some() { Kind::Data } else { Kind::Birth };
        let bytes = data.unwrap_or_else(|| self.uplink.birth(&snapshot));
        self.last = snapshot.readings;
        (topic::node(SITE, kind, &self.id), bytes)
    }

    fn obey(&mut self, command: &Downlink) {
        self.born &= !command.rebirth;
        for order in command.orders() {
            if let (Some(gpu), Setting::PowerLimit(watts)) = (order.device.gpu_index(), order.setting) {
                self.limits[gpu as usize] = watts.get();
            }
            self.ordered += 1;
            let outcome = Outcome::Applied;
            self.receipts.push(Receipt { device: order.device, generation: order.generation, outcome, at: now() });
        }
    }
}

/// A Reading of everything that a rack says, in the order of names.
fn paths() -> Readings {
    let of = |device: DeviceId, signal| (SignalPath::new(device, signal), Reading::new(0.0, UnixMs::new(0)));
    let signals = [Signal::GpuPower, Signal::GpuLimitEnforced, Signal::GpuUtilization];
    let gpus = (0..GPUS).flat_map(|gpu| signals.map(|signal| of(DeviceId::gpu(gpu), signal)));
    let pdus = ["pdu-a", "pdu-b"].map(|pdu| of(DeviceId::new(pdu).expect("an id"), Signal::PduPower));
    let all: Readings = gpus.clone().chain(pdus.clone()).collect();
    assert!(all.keys().eq(gpus.chain(pdus).map(|(path, _)| path).collect::<Vec<_>>().iter()), "as `next` fills them");
    all
}

fn now() -> UnixMs {
    UnixMs::new(SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis() as u64)
}

fn session(name: &str, port: u16) -> (AsyncClient, rumqttc::EventLoop) {
    let mut options = MqttOptions::new(name, ("127.0.0.1", port));
    options.set_max_packet_size(1 << 21, 1 << 21);
    AsyncClient::builder(options).capacity(100_000).build()
}

#[tokio::main(flavor = "current_thread")]
async fn play(fleet: &Arc<Mutex<Vec<Rack>>>, port: u16) {
    let mut clients = Vec::new();
    for number in 0..SESSIONS {
        let (client, mut eventloop) = session(&format!("agents-{number}"), port);
        clients.push(client);
        tokio::spawn(async move { while eventloop.poll().await.is_ok() {} });
    }
    let (hearing, mut commands) = session("agents-commands", port);
    hearing.subscribe(format!("spBv1.0/{SITE}/NCMD/+"), QoS::AtMostOnce).await.expect("room");
    let obeying = Arc::clone(fleet);
    tokio::spawn(async move {
        while let Ok(event) = commands.poll().await {
            let Event::Incoming(Packet::Publish(message)) = event else { continue };
            let name = std::str::from_utf8(&message.topic).expect("text");
            let Ok(Topic::Node { rack, .. }) = topic::parse(name) else { continue };
            let number: usize = rack.as_str().trim_start_matches("rack-").parse().expect("one of ours");
            let command = Downlink::decode(&message.payload).expect("a command");
            obeying.lock().expect("no panic")[number].obey(&command);
        }
    });
    let mut clock = tokio::time::interval(SLICE);
    for slice in (0..SLICES).cycle() {
        clock.tick().await;
        let mut fleet = fleet.lock().expect("no panic");
        for rack in fleet.iter_mut().skip(slice).step_by(SLICES) {
            let (topic, bytes) = rack.next();
            if clients[rack.number % SESSIONS].try_publish(topic, bytes, PublishOptions::at_most_once()).is_err() {
                // The broker cannot keep up, or it is over.
                return;
            }
        }
    }
}

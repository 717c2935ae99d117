//! What the agent costs. Alone: CPU time and memory with 72 simulated GPUs and 20 Modbus devices of
//! pymodbus at 1 Hz, and the time of one poll of 8 GPUs. `soak MINUTES`: memory while devices come
//! and go. The last line is JSON.

use headroom_agent::source::nvml;
use headroom_rack::UnixMs;
use headroom_tests::cost::{cpu_seconds, memory_mib};
use headroom_tests::parts::{Part, Start, content, until};
use headroom_tests::peer::Peer;
use headroom_tests::plant::{Plant, Rack};
use headroom_tests::{http, program};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

const GPUS: usize = 72;
const MODBUS_DEVICES: usize = 20;
/// Sockets, profiles and the first Snapshots are not what running costs.
const SETTLING: Duration = Duration::from_secs(10);
const POLLS: usize = 1000;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let number = |text: Option<&String>, default: u64| text.map_or(default, |t| t.parse().expect("a whole number"));
    match args.first().map(String::as_str) {
        Some("poll") => println!("{}", poll(Path::new(&args[1]))),
        Some("soak") => soak(Duration::from_secs(60 * number(args.get(1), 60))),
        _ => cost(Duration::from_secs(number(args.first(), 60))),
    }
}

fn plant(gpus: usize) -> Plant {
    Plant::of(Some(&format!(
        "site = \"bench\"\n[breaker]\nrating_amperes = 400.0\n[[rack]]\nid = \"rack-1\"\ngpus = {gpus}\nworkload = \"training\"\nlevel = [[0, 0.8]]\n"
    )))
}

fn cost(seconds: Duration) {
    let row = plant(GPUS);
    let mut meters = Peer::start("modbus_server.py", &["many", &MODBUS_DEVICES.to_string()], &[]);
    let ports = meters.answer()["ports"].clone();
    let mut result =
        json!({"gpus": GPUS, "modbus_devices": MODBUS_DEVICES, "interval_s": 1, "seconds": seconds.as_secs()});
    for (name, control) in [("watching", ""), ("guarding", GUARD)] {
        let agent = agent(&row, &row.racks[0], &ports, control, name);
        let good = readings(&row, name);
        std::thread::sleep(SETTLING);
        let (cpu, began) = (cpu_seconds(agent.id()), Instant::now());
        std::thread::sleep(seconds);
        let percent = 100.0 * (cpu_seconds(agent.id()) - cpu) / began.elapsed().as_secs_f64();
        let memory = memory_mib(agent.id());
        eprintln!("{name}: {percent:.2} % of one core, {memory}, {good} readings");
        result[name] = json!({"cpu_percent": percent, "rss_mib": memory["rss_mib"], "anonymous_mib": memory["anonymous_mib"], "readings": good});
        assert!(agent.stop(), "the agent stops");
    }
    let row = plant(8);
    let rack = &row.racks[0];
    let polled = Command::new(program("agent_cost"))
        .args(["poll", &rack.nvml_library])
        .env("HEADROOM_NVML_STATE", &rack.nvml_state)
        .output()
        .expect("it runs again with the look-alike");
    assert!(polled.status.success(), "{}", String::from_utf8_lossy(&polled.stderr));
    result["poll_8_gpus"] = serde_json::from_slice(&polled.stdout).expect("JSON");
    println!("{result}");
}

/// A breaker above all that the rack draws.
const GUARD: &str = "[control]\nenabled = true\nsafe_gpu_watts = 400\nbreaker_amperes = 400\n";

/// 8 GPUs one after the other, everything that a full poll reads.
fn poll(library: &Path) -> Value {
    let nvml = nvml::load(Some(library)).expect("the look-alike loads");
    let devices: Vec<_> = (0..8).map(|index| nvml.device_by_index(index).expect("a GPU")).collect();
    let mut taken: Vec<f64> = (0..POLLS)
        .map(|_| {
            let began = Instant::now();
            let read: usize = devices.iter().map(|device| nvml::readings(device, UnixMs::new(0)).len()).sum();
            let ms = began.elapsed().as_secs_f64() * 1e3;
            assert!(read > 8 * 30, "only {read} readings");
            ms
        })
        .collect();
    taken.sort_by(f64::total_cmp);
    json!({"polls": POLLS, "median_ms": taken[POLLS / 2], "p99_ms": taken[POLLS * 99 / 100]})
}

fn agent(row: &Plant, rack: &Rack, ports: &Value, control: &str, name: &str) -> Part {
    let mut text = format!(
        "site = \"bench\"\nrack = \"rack-1\"\n[broker]\nurl = \"mqtt://{}\"\n[nvml]\nlibrary = \"{}\"\n[serve]\nlisten = \"127.0.0.1:0\"\n[spool]\nsnapshots = 10\n{control}",
        row.broker, rack.nvml_library
    );
    for (number, port) in ports.as_array().expect("ports").iter().enumerate() {
        let _ = write!(
            text,
            "[[modbus]]\ndevice = \"pdu-{number}\"\nprofile = \"eastron-sdm630\"\naddress = \"127.0.0.1:{port}\"\nunit = 1\npoll_ms = 1000\n"
        );
    }
    let config = row.file(&format!("{name}.toml"), &text).display().to_string();
    let port = row.dir().join(format!("{name}.port")).display().to_string();
    let state = [("HEADROOM_NVML_STATE", rack.nvml_state.as_str())];
    let log = row.dir().join(format!("{name}.log"));
    Start::new("headroom-agent", &["run", "--config", &config, "--port-file", &port], &state, log).start()
}

/// How many signals have a number, once every device has some.
fn readings(row: &Plant, name: &str) -> usize {
    let address = content(&row.dir().join(format!("{name}.port")));
    until("readings of every device", || {
        let page = http::get(&address, "/metrics").ok()?;
        let up = page.lines().filter(|l| l.starts_with("headroom_agent_device_up{") && l.ends_with(" 1")).count();
        let values = page.lines().filter(|l| l.starts_with("headroom_gpu_") || l.starts_with("headroom_pdu_")).count();
        (up == GPUS + MODBUS_DEVICES && values > GPUS * 30).then_some(values)
    })
}

/// How long Modbus devices are there and away in turn.
const TURN: Duration = Duration::from_secs(15);

fn soak(whole: Duration) {
    let row = plant(GPUS);
    let mut meters = Some(Peer::start("modbus_server.py", &["many", &MODBUS_DEVICES.to_string()], &[]));
    let ports = meters.as_mut().expect("just started").answer()["ports"].clone();
    let agent = agent(&row, &row.racks[0], &ports, GUARD, "soak");
    readings(&row, "soak");
    std::thread::sleep(SETTLING);
    let ports: Vec<String> = ports.as_array().expect("ports").iter().map(ToString::to_string).collect();
    let (began, mut samples, mut away) = (Instant::now(), Vec::new(), 0);
    while began.elapsed() < whole {
        std::thread::sleep(TURN);
        if meters.take().is_some() {
            away += 1;
            row.fault("gpu_lost", &format!("rack-1/gpu-{}", away % GPUS), None);
        } else {
            let mut args = vec!["at"];
            args.extend(ports.iter().map(String::as_str));
            meters = Some(Peer::start("modbus_server.py", &args, &[]));
            row.fault("clear", &format!("rack-1/gpu-{}", away % GPUS), None);
        }
        if began.elapsed().as_secs() / 60 >= samples.len() as u64 {
            let memory = memory_mib(agent.id());
            eprintln!("minute {}: {memory}", samples.len());
            samples.push(memory["rss_mib"].as_f64().expect("a number"));
        }
    }
    println!("{}", json!({"minutes": whole.as_secs() / 60, "times_away": away, "rss_mib": samples}));
    assert!(agent.stop(), "the agent stops");
}

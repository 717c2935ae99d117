//! The program as a whole: it says where everything is, answers, obeys, and stops cleanly.

use serde_json::Value;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

const PROGRAM: &str = env!("CARGO_BIN_EXE_headroom-sim");
const PATIENCE: Duration = Duration::from_secs(20);

/// A running simulator, stopped when dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(dir: &Path, more: &[&str]) -> (Running, Value) {
    let mut command = Command::new(PROGRAM);
    command.args(["run", "--dir"]).arg(dir).args(more).stderr(Stdio::null());
    let running = Running(command.spawn().expect("starts"));
    let inventory = until("the inventory", || {
        serde_json::from_str(&std::fs::read_to_string(dir.join("inventory.json")).ok()?).ok()
    });
    (running, inventory)
}

fn until<T>(what: &str, mut ready: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(value) = ready() {
            return value;
        }
        assert!(began.elapsed() < PATIENCE, "waited in vain for {what}");
        sleep(Duration::from_millis(20));
    }
}

/// Status and JSON body of one request.
fn http(inventory: &Value, method: &str, path: &str, body: &str) -> (u16, Value) {
    let address = inventory["http"].as_str().expect("an address");
    let mut stream = TcpStream::connect(address).expect("connects");
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: sim\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body.as_bytes())).expect("sends");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("answers");
    let status = answer.split(' ').nth(1).and_then(|s| s.parse().ok()).expect("a status");
    let body = answer.split_once("\r\n\r\n").expect("a body").1;
    (status, serde_json::from_str(body).unwrap_or(Value::Null))
}

fn terminate(mut running: Running) -> i32 {
    let pid = running.0.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().expect("kill").success());
    until("the end", || running.0.try_wait().expect("status")).code().expect("an exit code")
}

fn once(args: &[&str]) -> Output {
    Command::new(PROGRAM).args(args).output().expect("runs")
}

#[test]
fn it_says_where_everything_is_and_stops_cleanly_with_a_summary() {
    let dir = tempfile::tempdir().expect("a folder");
    let (running, inventory) = start(dir.path(), &[]);
    let racks = inventory["racks"].as_array().expect("racks");
    assert_eq!(racks.len(), 4);
    let devices = |r: usize| -> Vec<&str> {
        let list = racks[r]["modbus"].as_array().expect("devices");
        list.iter().map(|d| d["device"].as_str().expect("an id")).collect()
    };
    assert_eq!(devices(0), ["cooling", "pdu-a", "pdu-b", "ups-a"]);
    assert_eq!(devices(1), ["cooling", "pdu-a", "pdu-b", "ups-b"]);
    assert_eq!(devices(3), ["cooling", "pdu-a", "pdu-b"]);
    assert_eq!(racks[0]["modbus"][0]["unit"], 12);
    for path in [&racks[3]["nvml_library"], &racks[3]["nvml_state"]] {
        assert!(
            Path::new(path.as_str().expect("a path")).is_absolute()
                && Path::new(path.as_str().expect("a path")).exists()
        );
    }
    let (status, truth) = http(&inventory, "GET", "/truth", "");
    assert!(status == 200 && truth["rack-1"]["pdu-a"]["pdu_power_watts"].as_f64().expect("power") > 500.0);
    assert!(truth["rack-2"]["ups-b"]["ups_battery_charge_ratio"].is_number());
    assert!(truth["_plant"]["feeds"]["breaker-a"]["amperes"].as_f64().expect("amperes") > 1.0);
    assert_eq!(terminate(running), 0);
    let summary: Value =
        serde_json::from_str(&std::fs::read_to_string(dir.path().join("plant-summary.json")).expect("written"))
            .expect("JSON");
    assert_eq!((summary["racks"].as_u64(), summary["gpus"].as_u64()), (Some(4), Some(32)));
    assert!(summary["trips"].as_array().expect("trips").is_empty());
}

#[test]
fn held_physics_stands_still_and_goes_on_again() {
    let dir = tempfile::tempdir().expect("a folder");
    let (_running, inventory) = start(dir.path(), &[]);
    let time = || http(&inventory, "GET", "/truth", "").1["_plant"]["time_s"].as_f64().expect("time");
    http(&inventory, "POST", "/hold", "");
    // One step may have been under way.
    let held = until("standing still", || {
        let before = time();
        sleep(Duration::from_millis(100));
        (time() == before).then_some(before)
    });
    http(&inventory, "POST", "/resume", "");
    until("going on", || (time() > held).then_some(()));
}

#[test]
fn faults_are_accepted_or_refused_with_a_reason_and_become_events() {
    let dir = tempfile::tempdir().expect("a folder");
    let (_running, inventory) = start(dir.path(), &[]);
    let (status, answer) = http(&inventory, "POST", "/fault", r#"{"kind":"melt","target":"rack-1/pdu-a"}"#);
    assert!(status == 400 && answer["error"].as_str().expect("a reason").contains("meter_frozen"), "{answer}");
    let (status, _) = http(&inventory, "POST", "/fault", r#"{"kind":"feed_lost","target":"feed-a"}"#);
    assert_eq!(status, 200);
    let texts = until("the UPS on battery", || {
        let events = http(&inventory, "GET", "/events?after=0", "").1;
        let texts: Vec<String> = events.as_array()?.iter().map(|e| e["text"].to_string()).collect();
        texts.iter().any(|t| t.contains("ups-a carries the load from its battery")).then_some(texts)
    });
    assert!(texts.iter().any(|t| t.contains("feed_lost on feed-a")), "{texts:?}");
    let (_, later) = http(&inventory, "GET", "/events?after=100000", "");
    assert!(later.as_array().expect("a list").is_empty());
}

#[test]
fn a_broker_that_is_not_there_disturbs_nobody() {
    let dir = tempfile::tempdir().expect("a folder");
    let (running, inventory) = start(dir.path(), &["--broker", "127.0.0.1:9"]);
    assert_eq!(http(&inventory, "GET", "/truth", "").0, 200);
    assert_eq!(terminate(running), 0);
}

#[test]
fn a_bad_scenario_ends_with_2_and_every_mistake() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("bad.toml");
    std::fs::write(&file, "sitee = 1\n[ups]\nrating_watts = -3\n[[rack]]\nid = \"x\"\n").expect("writes");
    let output = once(&["check", "--scenario", file.to_str().expect("text")]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2));
    for part in ["bad.toml:1:", "bad.toml:3:", "workload is missing", "level is missing"] {
        assert!(said.contains(part), "{said}");
    }
    assert_eq!(once(&["check"]).status.code(), Some(0));
    assert_eq!(once(&["trace", "--hours", "-1", "--out", "/dev/null"]).status.code(), Some(2));
}

#[test]
fn the_printed_scenario_is_a_good_one() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("default.toml");
    std::fs::write(&file, once(&["default-scenario"]).stdout).expect("writes");
    assert_eq!(once(&["check", "--scenario", file.to_str().expect("text")]).status.code(), Some(0));
}

//! On-site learning beside the closed loop: a training on the controller's own record, by the real
//! trainer, on the cores the loop runs on, costs the loop no period and the agents no lease; what it
//! did is in the record; it ends with the controller; and what Forecasts were worth outlives a restart.

use headroom_rack::record::{self, Entry};
use headroom_rack::{DeviceId, RackId, Reading, Signal, SignalPath, Snapshot, UnixMs};
use headroom_tests::parts::until;
use headroom_tests::row::Row;
use headroom_tests::{http, program, succeed};
use serde_json::Value;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const GPUS: u32 = 8;

/// A record of the last 40 minutes: the simulator's trace as the agents would have sent it.
fn fill(dir: &Path) {
    std::fs::create_dir_all(dir).expect("a folder");
    let trace = dir.join("trace.csv");
    let out = trace.display().to_string();
    succeed(
        Command::new(program("headroom-sim")).args(["trace", "--hours", "0.7", "--seed", "5", "--out", &out]),
        "us",
    );
    let text = std::fs::read_to_string(&trace).expect("a trace");
    let end = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs() - 120;
    let last: u64 = text.lines().last().and_then(|l| l.split(',').next()?.parse::<f64>().ok()).expect("a time") as u64;
    let mut bytes = Vec::new();
    for line in text.lines().skip(1) {
        let fields: Vec<&str> = line.split(',').collect();
        let number = |i: usize| fields[i].parse::<f64>().ok();
        let second = number(0).expect("a time") as u64;
        let at = UnixMs::new((end + second - last) * 1000 + 150);
        let mut readings = headroom_rack::Readings::new();
        let mut put = |device: DeviceId, signal, value: Option<f64>| {
            readings.extend(value.map(|v| (SignalPath::new(device, signal), Reading::new(v, at))));
        };
        for pdu in ["pdu-a", "pdu-b"] {
            put(DeviceId::new(pdu).expect("an id"), Signal::PduPower, number(2).map(|w| w / 2.0));
        }
        for gpu in (0..GPUS).map(DeviceId::gpu) {
            put(gpu.clone(), Signal::GpuLimitEnforced, number(3).map(|w| w / f64::from(GPUS)));
            put(gpu, Signal::GpuUtilization, number(4));
        }
        let rack = RackId::new(fields[1]).expect("an id");
        let snapshot = Snapshot { rack, boot: 1, seq: second + 1, at, historical: false, readings, receipts: vec![] };
        bytes.extend(record::encode(&Entry::Snapshot(snapshot)).expect("it encodes"));
    }
    std::fs::write(dir.join("00000001.hrec"), bytes).expect("a segment");
    std::fs::remove_file(trace).expect("the trace was there");
}

/// A training gives way to whatever else the machine does, so that it may take long on a busy one.
const LONG: Duration = Duration::from_secs(900);

/// As [`until`], but for what a training does.
fn at_last<T>(what: &str, mut ready: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + LONG;
    loop {
        if let Some(value) = ready() {
            return value;
        }
        assert!(Instant::now() < end, "waited {LONG:?} in vain for {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Every entry of a record.
fn entries(dir: &Path) -> Vec<Entry> {
    let files = std::fs::read_dir(dir).expect("a record").flatten().map(|f| f.path());
    let segments = files.filter(|f| f.extension().is_some_and(|e| e == "hrec"));
    let mut all = Vec::new();
    for segment in segments {
        let bytes = std::fs::read(segment).expect("a segment");
        let mut at = 0;
        while let Ok((entry, length)) = record::decode(&bytes[at..]) {
            all.push(entry);
            at += length;
        }
    }
    all
}

/// Processes whose command line holds these words.
fn processes(words: &str) -> Vec<u32> {
    let all = std::fs::read_dir("/proc").expect("Linux").flatten();
    let ids = all.filter_map(|p| p.file_name().to_str()?.parse::<u32>().ok());
    ids.filter(|id| {
        std::fs::read(format!("/proc/{id}/cmdline"))
            .is_ok_and(|c| String::from_utf8_lossy(&c).replace('\0', " ").contains(words))
    })
    .collect()
}

/// Field of `/proc/PID/stat` by its number in proc(5).
fn stat(id: u32, field: usize) -> Option<i64> {
    let text = std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    text.rsplit_once(')')?.1.split_whitespace().nth(field - 3)?.parse().ok()
}

fn ask(row: &Row, wish: &str) -> String {
    let config = row.plant.dir().join("controller.toml").display().to_string();
    let mut ask = Command::new(program("headroom-controller"));
    ask.args(["learn", wish, "--config", &config, "--console", &row.console()]).env("TOKEN", "t");
    succeed(&mut ask, "us")
}

fn number(state: &Value, path: &str) -> f64 {
    state.pointer(path).and_then(Value::as_f64).unwrap_or(-1.0)
}

/// Outcomes that the Forecasts in use were held against, one second ahead.
fn outcomes(row: &Row) -> f64 {
    let forecasts = http::json(&row.console(), "/api/forecasts");
    let used = forecasts["methods"].as_array().into_iter().flatten().find(|m| m["method"] == "used").cloned();
    used.map_or(0.0, |m| number(&m, "/total/horizons/0/outcomes"))
}

#[test]
fn a_training_beside_the_closed_loop_costs_it_no_period_and_no_lease() {
    let learning = "\n[learning]\nevery_hours = 0\nshadow_minutes = 0.05\nthreads = 2\nfit = [\"--epochs\", \"2\", \"--stride\", \"5\"]\n";
    let mut row = Row::of(
        None,
        |_| String::new(),
        |text| {
            let dir = text.split("dir = \"").nth(1).and_then(|t| t.split('"').next()).expect("a record").to_owned();
            fill(Path::new(&dir));
            text + learning
        },
    );
    until("Receipts and outcomes", || {
        (number(&row.state(), "/counts/receipts/applied") > 8.0 && outcomes(&row) > 0.0).then_some(())
    });
    let before = row.state();
    assert!(ask(&row, "now").contains("\"enabled\":true"));
    let runs = row.record.join("learning/runs").display().to_string();
    let trainer = until("the trainer", || processes(&runs).into_iter().find(|id| stat(*id, 19) == Some(19)));
    // Scheduling policy 5 is SCHED_IDLE (sched(7)).
    until("the lowest priority", || (stat(trainer, 41) == Some(5) || processes(&runs).is_empty()).then_some(()));
    let after = at_last("the training's end", || {
        let state = row.state();
        let phase = state.pointer("/learning/phase").and_then(Value::as_str)?;
        (phase == "shadow" || (phase == "rest" && state["learning"]["last"].is_string())).then_some(state)
    });
    let last = after["learning"]["last"].as_str().unwrap_or_default();
    assert!(!last.contains("failed"), "{last}\n{}", row.logs());
    let missed = number(&after, "/loop/missed_periods") - number(&before, "/loop/missed_periods");
    assert_eq!(missed, 0.0, "{after:#}");
    assert!(number(&after, "/loop/worst_lateness_s") < 1.0, "late by a period: {:#}", after["loop"]);
    assert_eq!(number(&after, "/counts/receipts/expired"), 0.0);
    assert_eq!(number(&after, "/model/late"), number(&before, "/model/late"), "a forecast was late");

    // It ends with the controller, whatever it is at.
    if ask(&row, "status").contains("\"rest\"") {
        ask(&row, "now");
        until("another training", || (!processes(&runs).is_empty()).then_some(()));
    }
    let scored = outcomes(&row);
    assert!(scored > 0.0 && row.stop("controller"));
    assert_eq!(processes(&runs), Vec::<u32>::new(), "the trainer outlived the controller");

    let mut notes = Vec::new();
    let mut scores = 0;
    for entry in entries(&row.record) {
        match entry {
            Entry::Note { kind, text, .. } if kind == "learning" => notes.push(text),
            Entry::Score(_) => scores += 1,
            _ => {}
        }
    }
    assert!(notes.iter().any(|n| n.contains("begins: somebody asked for it")) && scores > 0, "{notes:?} {scores}");
    assert!(notes.iter().any(|n| n.contains("better on the newest part") || n.contains("is not used")), "{notes:?}");

    row.begin("controller");
    row.console();
    until("the same outcomes and more", || (outcomes(&row) >= scored).then_some(()));
    let (_, _, plant) = row.end();
    assert_eq!(plant["trips"].as_array().map(Vec::len), Some(0), "{plant:#}");
}

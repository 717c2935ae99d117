//! A simulated row for a system test: the simulator with a broker beside it, what it says over HTTP,
//! and the agents' configs for its devices. Every process ends with the test.

use crate::program;
use serde_json::Value;
use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Generous: the machine may be busy with other tests.
const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until `ready` gives something.
///
/// # Panics
/// When it does not within a minute; `what` says what was missed.
pub fn until<T>(what: &str, mut ready: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(value) = ready() {
            return value;
        }
        assert!(began.elapsed() < PATIENCE, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A process that ends when dropped.
#[derive(Debug)]
pub struct Running(Child);

impl Running {
    /// Starts a built program with its log in `log`.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start(name: &str, args: &[&str], env: &[(&str, &str)], log: &Path) -> Self {
        let log = std::fs::File::create(log).expect("a log file");
        let mut command = Command::new(program(name));
        command.args(args).envs(env.iter().copied()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        Self(command.spawn().unwrap_or_else(|error| panic!("{name} starts: {error}")))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Status and body of one HTTP request.
///
/// # Panics
/// When nobody answers.
pub fn http(address: &str, method: &str, path: &str, body: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap_or_else(|error| panic!("{address}: {error}"));
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body.as_bytes())).expect("sends");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("answers");
    let status = answer.split(' ').nth(1).and_then(|s| s.parse().ok()).expect("a status");
    let (_, body) = answer.split_once("\r\n\r\n").expect("a body");
    (status, body.to_owned())
}

/// A Modbus device of a rack.
#[derive(Debug, Clone)]
pub struct Device {
    /// Its id within the rack.
    pub id: String,
    /// The profile it is read with.
    pub profile: String,
    address: String,
    unit: u64,
}

/// One rack of the row.
#[derive(Debug, Clone)]
pub struct Rack {
    /// Its name.
    pub id: String,
    /// How many GPUs it has.
    pub gpus: u64,
    /// Its Modbus devices.
    pub devices: Vec<Device>,
    /// For `HEADROOM_NVML_STATE`.
    pub nvml_state: String,
    nvml_library: String,
}

impl Rack {
    /// The config of an agent that only watches; `more` is added at the top.
    pub fn agent_config(&self, broker: &str, more: &str) -> String {
        let (id, library) = (&self.id, &self.nvml_library);
        let mut text = format!(
            "{more}\nsite = \"demo\"\nrack = \"{id}\"\n[broker]\nurl = \"mqtt://{broker}\"\n[nvml]\nlibrary = \"{library}\"\n[serve]\nlisten = \"127.0.0.1:0\"\n"
        );
        for Device { id, profile, address, unit } in &self.devices {
            let _ = write!(
                text,
                "[[modbus]]\ndevice = \"{id}\"\nprofile = \"{profile}\"\naddress = \"{address}\"\nunit = {unit}\npoll_ms = 500\ntimeout_ms = 500\n"
            );
        }
        text
    }
}

/// The simulated row.
#[derive(Debug)]
pub struct Row {
    /// Its racks.
    pub racks: Vec<Rack>,
    /// The MQTT broker's address.
    pub broker: String,
    http: String,
    dir: tempfile::TempDir,
    _parts: [Running; 2],
}

impl Row {
    /// Starts the embedded scenario.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn start() -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = |name: &str| dir.path().join(name).display().to_string();
        let port = path("broker.port");
        let listen = ["broker", "--listen", "127.0.0.1:0", "--dir", &path("broker"), "--port-file", &port];
        let broker_process = Running::start("headroom-controller", &listen, &[], &dir.path().join("broker.log"));
        let broker = until("the broker", || std::fs::read_to_string(&port).ok().filter(|text| !text.is_empty()));
        let args = ["run", "--dir", &path("plant"), "--broker", broker.trim()];
        let plant = Running::start("headroom-sim", &args, &[], &dir.path().join("plant.log"));
        let inventory: Value = until("the inventory", || {
            serde_json::from_str(&std::fs::read_to_string(dir.path().join("plant/inventory.json")).ok()?).ok()
        });
        let text = |value: &Value| value.as_str().expect("a text").to_owned();
        let device = |d: &Value| Device {
            id: text(&d["device"]),
            profile: text(&d["profile"]),
            address: text(&d["address"]),
            unit: d["unit"].as_u64().expect("a unit"),
        };
        let rack = |r: &Value| Rack {
            id: text(&r["id"]),
            gpus: r["gpus"].as_u64().expect("a number"),
            devices: r["modbus"].as_array().expect("devices").iter().map(device).collect(),
            nvml_state: text(&r["nvml_state"]),
            nvml_library: text(&r["nvml_library"]),
        };
        Self {
            racks: inventory["racks"].as_array().expect("racks").iter().map(rack).collect(),
            broker: broker.trim().to_owned(),
            http: text(&inventory["http"]),
            dir,
            _parts: [broker_process, plant],
        }
    }

    /// A folder for the test's own files.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Writes a file there.
    ///
    /// # Panics
    /// When it cannot.
    pub fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.dir().join(name);
        std::fs::create_dir_all(path.parent().expect("inside the folder")).expect("a folder");
        std::fs::write(&path, text).expect("a file");
        path
    }

    /// The plant's own values.
    ///
    /// # Panics
    /// When the simulator is gone.
    pub fn truth(&self) -> Value {
        serde_json::from_str(&http(&self.http, "GET", "/truth", "").1).expect("the truth is JSON")
    }

    /// Waits until the truth is as wished.
    pub fn until(&self, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        until(what, || Some(self.truth()).filter(&is_so))
    }

    /// Holds the physics and gives the truth that stands from then on.
    pub fn hold(&self) -> Value {
        http(&self.http, "POST", "/hold", "");
        // A step may still be under way.
        self.until("the plant to stand still", |truth| truth["_plant"]["stands"] == true)
    }

    /// Lets the physics go on.
    pub fn resume(&self) {
        http(&self.http, "POST", "/resume", "");
    }

    /// Brings a fault upon a device.
    ///
    /// # Panics
    /// When the simulator refuses it.
    pub fn fault(&self, kind: &str, target: &str, value: Option<f64>) {
        let body = serde_json::json!({"kind": kind, "target": target, "value": value}).to_string();
        let (status, answer) = http(&self.http, "POST", "/fault", &body);
        assert_eq!(status, 200, "{kind} on {target}: {answer}");
    }

    /// Waits until every fault so far acts.
    pub fn faults_act(&self, count: usize) {
        until("the faults to act", || {
            let events: Value = serde_json::from_str(&http(&self.http, "GET", "/events", "").1).ok()?;
            let acting = events.as_array()?.iter().filter(|e| e["kind"] == "fault").count();
            (acting >= count).then_some(())
        });
    }
}

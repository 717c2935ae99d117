//! The simulated row with a broker beside it, what it says over HTTP, and the agents' configs for
//! its devices.

use crate::http;
use crate::parts::{Part, Start, content, until};
use serde_json::Value;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// A Modbus device of a rack.
#[derive(Debug, Clone)]
pub struct Device {
    /// Its id within the rack.
    pub id: String,
    /// The profile it is read with.
    pub profile: String,
    /// Where it listens.
    pub address: String,
    /// Its Modbus unit.
    pub unit: u64,
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
    /// The library that looks like NVML.
    pub nvml_library: String,
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
pub struct Plant {
    /// Its racks.
    pub racks: Vec<Rack>,
    /// The MQTT broker's address.
    pub broker: String,
    /// The simulator's HTTP server.
    pub http: String,
    /// How the broker is started, each time at the same address.
    pub broker_start: Start,
    /// The running broker.
    pub broker_part: Option<Part>,
    /// The running simulator.
    pub part: Option<Part>,
    dir: tempfile::TempDir,
}

impl Plant {
    /// Starts the embedded scenario.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn start() -> Self {
        Self::of(None)
    }

    /// Starts a scenario with this text.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn of(scenario: Option<&str>) -> Self {
        Self::with(scenario, &[])
    }

    /// The same with more arguments for the simulator.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn with(scenario: Option<&str>, more: &[&str]) -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = |name: &str| dir.path().join(name).display().to_string();
        let args = ["broker", "--listen", "127.0.0.1:0", "--dir", &path("broker"), "--port-file", &path("broker.port")];
        let mut broker_start = Start::new("headroom-controller", &args, &[], dir.path().join("broker.log"));
        let broker_part = broker_start.start();
        let broker = content(&dir.path().join("broker.port"));
        // Started again, it must be where everybody looks for it.
        broker_start.args[2].clone_from(&broker);
        let (folder, file) = (path("plant"), path("scenario.toml"));
        let mut args = vec!["run", "--dir", &folder, "--broker", &broker];
        if let Some(text) = scenario {
            std::fs::write(&file, text).expect("a scenario");
            args.extend(["--scenario", &file]);
        }
        args.extend(more);
        let part = Start::new("headroom-sim", &args, &[], dir.path().join("plant.log")).start();
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
            broker,
            http: text(&inventory["http"]),
            broker_start,
            broker_part: Some(broker_part),
            part: Some(part),
            dir,
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

    /// The plant's own values; null when the simulator is gone.
    pub fn truth(&self) -> Value {
        http::json(&self.http, "/truth")
    }

    /// Waits until the truth is as wished.
    pub fn until(&self, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        until(what, || Some(self.truth()).filter(&is_so))
    }

    /// Holds the physics and gives the truth that stands from then on.
    ///
    /// # Panics
    /// When the simulator is gone.
    pub fn hold(&self) -> Value {
        http::post(&self.http, "/hold", &Value::Null).expect("the plant holds");
        // A step may still be under way.
        self.until("the plant to stand still", |truth| truth["_plant"]["stands"] == true)
    }

    /// Lets the physics go on.
    ///
    /// # Panics
    /// When the simulator is gone.
    pub fn resume(&self) {
        http::post(&self.http, "/resume", &Value::Null).expect("the plant goes on");
    }

    /// Brings a fault upon a device.
    ///
    /// # Panics
    /// When the simulator refuses it.
    pub fn fault(&self, kind: &str, target: &str, value: Option<f64>) {
        let body = serde_json::json!({"kind": kind, "target": target, "value": value});
        http::post(&self.http, "/fault", &body).unwrap_or_else(|why| panic!("{kind} on {target}: {why}"));
    }

    /// Waits until every fault so far acts.
    pub fn faults_act(&self, count: usize) {
        until("the faults to act", || {
            let events = http::json(&self.http, "/events");
            let acting = events.as_array()?.iter().filter(|e| e["kind"] == "fault").count();
            (acting >= count).then_some(())
        });
    }
}

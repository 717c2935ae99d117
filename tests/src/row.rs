//! A whole row from the separate programs, configured as an operator would, whose parts a test can
//! kill, stop and start again.

use crate::http::{self, Hook};
use crate::program;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a test waits for what must come.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// Waits until `what` is there.
///
/// # Panics
/// When it does not come.
pub fn until<T>(words: &str, mut what: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = what() {
            return found;
        }
        assert!(Instant::now() < end, "waited {PATIENCE:?} for {words}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// One running program, killed when dropped.
#[derive(Debug)]
struct Part {
    child: Child,
}

impl Part {
    fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([name, &self.child.id().to_string()]).status();
        assert!(sent.is_ok_and(|s| s.success()), "kill {name}");
    }

    /// SIGTERM; whether it ended by itself with success.
    fn stop(mut self) -> bool {
        self.signal("-TERM");
        until("a part to stop", || self.child.try_wait().ok().flatten()).success()
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// How to start a part.
#[derive(Debug, Clone)]
struct Start {
    program: &'static str,
    args: Vec<String>,
    environment: Vec<(String, String)>,
}

/// The row.
#[derive(Debug)]
pub struct Row {
    /// Configs, logs, record.
    pub dir: tempfile::TempDir,
    /// The simulator's HTTP server.
    pub plant: String,
    /// The webhook receiver.
    pub hook: Hook,
    /// Where the controller keeps its record.
    pub record: PathBuf,
    starts: BTreeMap<String, Start>,
    parts: BTreeMap<String, Part>,
}

impl Row {
    /// Starts broker, plant, one agent per rack (`rack-1`, …) and controller.
    ///
    /// # Panics
    /// When a part does not start.
    pub fn start() -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let record = dir.path().join("record");
        let mut row = Self {
            dir,
            plant: String::new(),
            hook: Hook::start(),
            record,
            starts: BTreeMap::new(),
            parts: BTreeMap::new(),
        };
        let path = |row: &Self, name: &str| row.dir.path().join(name).display().to_string();
        let (port, kept) = (path(&row, "broker.port"), path(&row, "broker"));
        row.add(
            "broker",
            "headroom-controller",
            &["broker", "--listen", "127.0.0.1:0", "--dir", &kept, "--port-file", &port],
        );
        let bus = row.file("broker.port");
        // Started again, it must be where everybody looks for it.
        row.starts.get_mut("broker").expect("just added").args[2].clone_from(&bus);
        let plant = path(&row, "plant");
        row.add("plant", "headroom-sim", &["run", "--dir", &plant, "--broker", &bus]);
        let inventory: Value = serde_json::from_str(&row.file("plant/inventory.json")).expect("JSON");
        row.plant = inventory["http"].as_str().expect("an address").to_owned();
        for rack in inventory["racks"].as_array().expect("racks") {
            let id = rack["id"].as_str().expect("a name");
            let config = path(&row, &format!("{id}.toml"));
            std::fs::write(&config, agent(rack, &bus)).expect("a config");
            row.add(id, "headroom-agent", &["run", "--config", &config]);
            row.parts.remove(id);
            let state = rack["nvml_state"].as_str().expect("a state file").to_owned();
            row.starts.get_mut(id).expect("just added").environment = vec![("HEADROOM_NVML_STATE".to_owned(), state)];
            row.begin(id);
        }
        let (config, port) = (path(&row, "controller.toml"), path(&row, "console.port"));
        std::fs::write(&config, row.controller(&bus)).expect("a config");
        row.add("controller", "headroom-controller", &["run", "--config", &config, "--port-file", &port]);
        row.file("console.port");
        row
    }

    fn controller(&self, bus: &str) -> String {
        let output = Command::new(program("headroom-controller")).arg("default-config").output().expect("it starts");
        let text = String::from_utf8(output.stdout).expect("text");
        let hook = format!("\n[alerts.webhook]\nurl = \"http://{}/hook\"\n", self.hook.address);
        let replaced = [
            ("mqtt://127.0.0.1:1883", format!("mqtt://{bus}")),
            ("dir = \"record\"", format!("dir = \"{}\"", self.record.display())),
            ("127.0.0.1:7878", "127.0.0.1:0".to_owned()),
        ];
        let text = replaced.iter().fold(text, |text, (from, to)| {
            assert!(text.contains(from), "{from} is not in the default config");
            text.replace(from, to)
        });
        text + &hook
    }

    fn add(&mut self, name: &str, program: &'static str, args: &[&str]) {
        let args = args.iter().map(|a| (*a).to_owned()).collect();
        self.starts.insert(name.to_owned(), Start { program, args, environment: Vec::new() });
        self.begin(name);
    }

    /// Starts a part, for the first time or again.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn begin(&mut self, name: &str) {
        if name == "controller" {
            let _ = std::fs::remove_file(self.dir.path().join("console.port"));
        }
        let start = &self.starts[name];
        let log = File::options().append(true).create(true).open(self.dir.path().join(format!("{name}.log")));
        let log = log.expect("a log");
        let child = Command::new(program(start.program))
            .args(&start.args)
            .envs(start.environment.iter().cloned())
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a log"))
            .stderr(log)
            .spawn()
            .unwrap_or_else(|e| panic!("{name}: {e}"));
        self.parts.insert(name.to_owned(), Part { child });
    }

    /// Ends a part with SIGKILL: it has no say.
    ///
    /// # Panics
    /// When it does not run.
    pub fn kill(&mut self, name: &str) {
        drop(self.parts.remove(name).unwrap_or_else(|| panic!("{name} runs")));
    }

    /// Ends a part with SIGTERM; whether it ended with success.
    ///
    /// # Panics
    /// When it does not run or does not end.
    pub fn stop(&mut self, name: &str) -> bool {
        self.parts.remove(name).unwrap_or_else(|| panic!("{name} runs")).stop()
    }

    /// The content of a file in the row's folder, once it has some.
    fn file(&self, name: &str) -> String {
        let path = self.dir.path().join(name);
        until(name, || std::fs::read_to_string(&path).ok().filter(|t| !t.trim().is_empty())).trim().to_owned()
    }

    /// The console's address.
    pub fn console(&self) -> String {
        self.file("console.port")
    }

    /// What the controller shows now; null while it is down.
    pub fn state(&self) -> Value {
        http::json(&self.console(), "/api/state")
    }

    /// Seconds since the plant started.
    pub fn plant_s(&self) -> f64 {
        http::json(&self.plant, "/truth")["_plant"]["time_s"].as_f64().unwrap_or(0.0)
    }

    /// Enforced limits of a rack's GPUs, or of all, W: what the driver holds, not what anybody says.
    pub fn limits(&self, rack: Option<&str>) -> Vec<f64> {
        let truth = http::json(&self.plant, "/truth");
        let racks = truth.as_object().into_iter().flatten();
        let racks = racks.filter(|(name, _)| rack.map_or(!name.starts_with('_'), |rack| rack == *name));
        racks
            .flat_map(|(_, devices)| devices.as_object().into_iter().flatten())
            .filter_map(|(_, device)| device["gpu_limit_enforced_watts"].as_f64())
            .collect()
    }

    /// Injects a fault into the plant.
    ///
    /// # Panics
    /// When the plant refuses it.
    pub fn fault(&self, fault: &Value) {
        http::post(&self.plant, "/fault", fault).unwrap_or_else(|e| panic!("{fault}: {e}"));
    }

    /// Every log, for a message.
    pub fn logs(&self) -> String {
        let mut text = String::new();
        for name in self.starts.keys() {
            let log = std::fs::read_to_string(self.dir.path().join(format!("{name}.log"))).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            let _ = writeln!(text, "== {name}\n{}", lines[lines.len().saturating_sub(15)..].join("\n"));
        }
        text
    }

    /// Stops what still runs, controller first, and returns whether all ended with success, whether
    /// every GPU came to the safe limit, and the plant's own account.
    ///
    /// # Panics
    /// When the plant leaves no account.
    pub fn end(&mut self) -> (bool, bool, Value) {
        let agents: Vec<String> = self.parts.keys().filter(|n| n.starts_with("rack-")).cloned().collect();
        let mut clean = self.stop("controller");
        for agent in agents {
            clean &= self.stop(&agent);
        }
        let safe = |row: &Self| row.limits(None).iter().all(|w| (w - SAFE_GPU_WATTS).abs() < 1.0);
        let end = Instant::now() + Duration::from_secs(5);
        while !safe(self) && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(50));
        }
        let safe = safe(self);
        clean &= self.stop("plant");
        clean &= self.stop("broker");
        (clean, safe, serde_json::from_str(&self.file("plant/plant-summary.json")).expect("JSON"))
    }
}

/// The safe share of the row's agents.
pub const SAFE_GPU_WATTS: f64 = 400.0;

fn agent(rack: &Value, bus: &str) -> String {
    let mut text = format!(
        "site = \"demo\"\nrack = {}\n[broker]\nurl = \"mqtt://{bus}\"\n[nvml]\nlibrary = {}\n\
         [control]\nenabled = true\nsafe_gpu_watts = {SAFE_GPU_WATTS}\nbreaker_amperes = 16.0\n",
        rack["id"], rack["nvml_library"]
    );
    for d in rack["modbus"].as_array().expect("devices") {
        let _ = write!(
            text,
            "[[modbus]]\ndevice = {}\nprofile = {}\naddress = {}\nunit = {}\npoll_ms = 500\ntimeout_ms = 500\n",
            d["device"], d["profile"], d["address"], d["unit"]
        );
    }
    text
}

/// The directory of this crate's files.
pub fn files() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

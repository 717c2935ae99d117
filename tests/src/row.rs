//! A whole row from the separate programs, configured as an operator would, whose parts a test can
//! kill, stop and start again.

use crate::http::{self, Hook};
use crate::parts::{Part, Start, content};
use crate::plant::Plant;
use crate::program;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// The safe share of the row's agents.
pub const SAFE_GPU_WATTS: f64 = 400.0;

/// A scenario: four racks of one workload behind breakers of this rating; `level` is a rack's line for its load.
pub fn scenario(amperes: f64, level: &str) -> String {
    let mut text = format!("site = \"demo\"\n[breaker]\nrating_amperes = {amperes:?}\n");
    for rack in 1..=4 {
        let _ = write!(
            text,
            "[[rack]]\nid = \"rack-{rack}\"\ngpus = 8\noverhead_watts = 1700.0\ncooling_watts = 250.0\nworkload = \"batch\"\n{level}\n"
        );
    }
    text
}

/// As [`scenario`], with a load that swings little, under breakers that carry all of it.
pub fn steady() -> String {
    scenario(63.0, "level = [[0, 0.8]]")
}

/// The controller's config with all racks in one class, so that each has to give way.
pub fn even(text: &str) -> String {
    text.replace("priority = \"inference\"", "priority = \"training\"")
        .replace("priority = \"batch\"", "priority = \"training\"")
}

/// The row.
#[derive(Debug)]
pub struct Row {
    /// The simulator and the broker; its folder holds configs, logs and record.
    pub plant: Plant,
    /// The webhook receiver.
    pub hook: Hook,
    /// Stands where InfluxDB would and keeps the lines.
    pub influx: Hook,
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
        Self::start_with(|_| String::new())
    }

    /// As [`Row::start`]; `more` is added to each agent's config and gets the row's folder.
    ///
    /// # Panics
    /// When a part does not start.
    pub fn start_with(more: impl Fn(&Path) -> String) -> Self {
        Self::of(None, more, |text| text)
    }

    /// As [`Row::start_with`], with the scenario of this text, and the controller's config changed.
    ///
    /// # Panics
    /// When a part does not start.
    pub fn of(
        scenario: Option<&str>,
        more: impl Fn(&Path) -> String,
        controller_config: impl Fn(String) -> String,
    ) -> Self {
        let plant = Plant::of(scenario);
        let (hook, influx, record) = (Hook::start(), Hook::start(), plant.dir().join("record"));
        let mut starts = BTreeMap::new();
        let log = |name: &str| plant.dir().join(format!("{name}.log"));
        let control = format!("[control]\nenabled = true\nsafe_gpu_watts = {SAFE_GPU_WATTS}\nbreaker_amperes = 16.0\n");
        for rack in &plant.racks {
            let text = rack.agent_config(&plant.broker, "") + &control + &more(plant.dir());
            let config = plant.file(&format!("{}.toml", rack.id), &text).display().to_string();
            let state = [("HEADROOM_NVML_STATE", rack.nvml_state.as_str())];
            let port = plant.dir().join(format!("{}.port", rack.id)).display().to_string();
            let args = ["run", "--config", &config, "--port-file", &port];
            let start = Start::new("headroom-agent", &args, &state, log(&rack.id));
            starts.insert(rack.id.clone(), start);
        }
        let text = controller(&plant.broker, &hook.address, &influx.address, &record.display().to_string());
        let text = controller_config(text);
        let config = plant.file("controller.toml", &text).display().to_string();
        let port = plant.dir().join("console.port").display().to_string();
        let args = ["run", "--config", &config, "--port-file", &port];
        starts.insert(
            "controller".to_owned(),
            Start::new("headroom-controller", &args, &[("TOKEN", "t")], log("controller")),
        );
        starts.insert("broker".to_owned(), plant.broker_start.clone());
        let mut row = Self { plant, hook, influx, record, starts, parts: BTreeMap::new() };
        row.parts.extend(row.plant.broker_part.take().map(|part| ("broker".to_owned(), part)));
        row.parts.extend(row.plant.part.take().map(|part| ("plant".to_owned(), part)));
        let rest: Vec<String> = row.starts.keys().filter(|name| *name != "broker").cloned().collect();
        rest.iter().for_each(|name| row.begin(name));
        row.console();
        row
    }

    /// Starts a part, for the first time or again.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn begin(&mut self, name: &str) {
        let port = if name == "controller" { "console.port".to_owned() } else { format!("{name}.port") };
        if name != "broker" {
            // The broker's is how everybody finds it, each time at the same address.
            let _ = std::fs::remove_file(self.plant.dir().join(port));
        }
        self.parts.insert(name.to_owned(), self.starts[name].start());
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

    /// The console's address.
    pub fn console(&self) -> String {
        content(&self.plant.dir().join("console.port"))
    }

    /// The address at which a rack's agent shows its metrics.
    pub fn agent(&self, rack: &str) -> String {
        content(&self.plant.dir().join(format!("{rack}.port")))
    }

    /// What each agent and the controller say at `/metrics`.
    ///
    /// # Panics
    /// When one of them does not answer.
    pub fn metrics(&self) -> Vec<String> {
        let racks = self.plant.racks.iter().map(|r| self.agent(&r.id));
        let all = racks.chain([self.console()]);
        all.map(|address| http::get(&address, "/metrics").unwrap_or_else(|why| panic!("{address}: {why}"))).collect()
    }

    /// What the controller shows now; null while it is down.
    pub fn state(&self) -> Value {
        http::json(&self.console(), "/api/state")
    }

    /// Numbers that a rack's agent serves under `/metrics`, all from one page; none while it does not
    /// answer or lacks one of them.
    pub fn numbers<const N: usize>(&self, rack: &str, names: [&str; N]) -> Option<[f64; N]> {
        let address = std::fs::read_to_string(self.plant.dir().join(format!("{rack}.port"))).ok()?;
        let page = http::get(&address, "/metrics").ok()?;
        let number = |name: &str| page.lines().find(|l| l.starts_with(name))?.rsplit(' ').next()?.parse().ok();
        let numbers: Vec<f64> = names.into_iter().filter_map(number).collect();
        numbers.try_into().ok()
    }

    /// Seconds since the plant started.
    pub fn plant_s(&self) -> f64 {
        self.plant.truth()["_plant"]["time_s"].as_f64().unwrap_or(0.0)
    }

    /// Enforced limits of a rack's GPUs, or of all, W: what the driver holds, not what anybody says.
    pub fn limits(&self, rack: Option<&str>) -> Vec<f64> {
        let truth = self.plant.truth();
        let racks = truth.as_object().into_iter().flatten();
        let racks = racks.filter(|(name, _)| rack.map_or(!name.starts_with('_'), |rack| rack == *name));
        racks
            .flat_map(|(_, devices)| devices.as_object().into_iter().flatten())
            .filter_map(|(_, device)| device["gpu_limit_enforced_watts"].as_f64())
            .collect()
    }

    /// What both feeds draw by the plant itself, W.
    pub fn drawn(&self) -> f64 {
        let truth = self.plant.truth();
        let phases = (1..=3).map(|l| format!("ups_output_power_l{l}_watts"));
        let of = |rack: &str, ups: &str| -> f64 { phases.clone().filter_map(|p| truth[rack][ups][&p].as_f64()).sum() };
        of("rack-1", "ups-a") + of("rack-2", "ups-b")
    }

    /// Every log, for a message.
    pub fn logs(&self) -> String {
        let mut text = String::new();
        for name in self.starts.keys() {
            let log = std::fs::read_to_string(self.plant.dir().join(format!("{name}.log"))).unwrap_or_default();
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
        (clean, safe, serde_json::from_str(&content(&self.plant.dir().join("plant/plant-summary.json"))).expect("JSON"))
    }
}

/// The controller's default config with this row's addresses.
fn controller(bus: &str, hook: &str, influx: &str, record: &str) -> String {
    let output = Command::new(program("headroom-controller")).arg("default-config").output().expect("it starts");
    let text = String::from_utf8(output.stdout).expect("text");
    let replaced = [
        ("mqtt://127.0.0.1:1883", format!("mqtt://{bus}")),
        ("dir = \"record\"", format!("dir = \"{record}\"")),
        ("127.0.0.1:7878", "127.0.0.1:0".to_owned()),
    ];
    let text = replaced.iter().fold(text, |text, (from, to)| {
        assert!(text.contains(from), "{from} is not in the default config");
        text.replace(from, to)
    });
    let influx = format!("[influx]\nurl = \"http://{influx}\"\norg = \"o\"\nbucket = \"b\"\ntoken_env = \"TOKEN\"\n");
    text + &format!("\n[alerts.webhook]\nurl = \"http://{hook}/hook\"\n{influx}")
}

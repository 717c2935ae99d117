//! The demonstration from start to clean stop.

use crate::child::Child;
use crate::config::{self, Inventory};
use crate::hook;
use crate::story::{Source, Teller};
use crate::summary::merge;
use anyhow::Context;
use headroom_sim::plant::spec::PlantSpec;
use serde_json::Value;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// What the demonstration can be told.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Stop after this time, such as 60s or 5m; without it, run until Ctrl-C.
    #[arg(long = "for", value_name = "TIME", value_parser = duration)]
    time: Option<Duration>,
    /// Write what happened to this file, as JSON.
    #[arg(long, value_name = "FILE")]
    summary: Option<PathBuf>,
    /// Whether caps are sent. `off` shows what happens without: the breakers trip.
    #[arg(long, value_enum, default_value = "on")]
    control: Switch,
    /// Whether forecasts may come from the neural predictor.
    #[arg(long, value_enum, default_value = "on")]
    model: Switch,
    /// Where the console listens; another free port is taken if this one is in use.
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:7878")]
    listen: SocketAddr,
    /// Keep configs, logs and the record here instead of in a temporary folder.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Another scenario for the simulated row; see `headroom sim default-scenario`.
    #[arg(long, value_name = "FILE")]
    scenario: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Switch {
    On,
    Off,
}

fn duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let seconds = match unit {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => return Err(format!("{unit:?} is no unit of time: write 60s, 5m or 1h")),
    };
    let number: u64 = number.parse().map_err(|_| "write a whole number and s, m or h, such as 60s".to_owned())?;
    Ok(Duration::from_secs(number * seconds))
}

/// Runs the demonstration.
pub fn run(options: Options) -> ExitCode {
    // Before anything starts: what is wrong is then all there is to read, and a wrong scenario ends
    // as wrong usage does.
    let plant = match headroom_sim::load(options.scenario.as_deref()) {
        Ok(scenario) => scenario.plant,
        Err(code) => return code,
    };
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("no runtime: {error}");
            return ExitCode::from(1);
        }
    };
    match runtime.block_on(demo(&options, &plant)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::from(1)
        }
    }
}

async fn demo(options: &Options, plant: &PlantSpec) -> anyhow::Result<bool> {
    let temporary = tempfile::tempdir()?;
    let dir = options.dir.clone().unwrap_or_else(|| temporary.path().to_owned());
    std::fs::create_dir_all(&dir).with_context(|| format!("{}", dir.display()))?;
    let dir = dir.canonicalize()?;
    let client = headroom_controller::http::client(Duration::from_secs(2))?;
    let teller = Teller::new(client.clone());
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut row = Row::start(options, plant, &dir, &teller).await?;
    let end = options.time.map(|time| tokio::time::Instant::now() + time);
    let mut sources = [
        Source::new("controller", row.console),
        Source::new("row", row.inventory.http).at(row.inventory.http, "/events"),
    ];
    let mut tick = tokio::time::interval(Duration::from_millis(300));
    loop {
        tokio::select! {
            _ = interrupt.recv() => break,
            _ = terminate.recv() => break,
            Some(line) = row.alerts.recv() => teller.say("alert", "alert", &line),
            _ = tick.tick() => {
                for source in &mut sources {
                    teller.tell(source).await;
                }
                row.parts().try_for_each(Child::check)?;
            }
        }
        if end.is_some_and(|end| tokio::time::Instant::now() >= end) {
            break;
        }
    }
    for source in &mut sources {
        teller.tell(source).await;
    }
    let summary = row.stop(options, &dir, &client, &teller).await?;
    if let Some(path) = &options.summary {
        let text = serde_json::to_string_pretty(&summary)?;
        std::fs::write(path, text + "\n").with_context(|| format!("{}", path.display()))?;
    }
    let trips = summary["trips"].as_u64().unwrap_or(u64::MAX);
    let clean = summary["clean_stop"] == Value::Bool(true);
    let receipts = &summary["receipts"];
    teller.say(
        "headroom",
        if trips == 0 { "release" } else { "trip" },
        &format!(
            "{trips} trips, {} overloads; {} orders, {} applied; {} snapshots with {} readings; {}",
            summary["overloads"],
            summary["orders"],
            receipts["applied"],
            summary["snapshots"],
            summary["readings"],
            if clean { "stopped cleanly" } else { "NOT stopped cleanly" }
        ),
    );
    Ok(trips == 0 && clean)
}

/// Everything that runs.
struct Row {
    broker: Child,
    plant: Child,
    agents: Vec<Child>,
    controller: Child,
    inventory: Inventory,
    console: SocketAddr,
    alerts: tokio::sync::mpsc::Receiver<String>,
}

const READY: Duration = Duration::from_secs(20);

impl Row {
    async fn start(options: &Options, spec: &PlantSpec, dir: &Path, teller: &Teller) -> anyhow::Result<Self> {
        let path = |name: &str| dir.join(name).display().to_string();
        // Left over from an earlier run in the same folder, these would be taken for this run's.
        for stale in ["broker.port", "console.port", "plant/inventory.json", "controller-summary.json"] {
            let _ = std::fs::remove_file(dir.join(stale));
        }
        let control = options.control == Switch::On;
        let port_file = path("broker.port");
        let args =
            ["controller", "broker", "--listen", "127.0.0.1:0", "--dir", &path("broker"), "--port-file", &port_file];
        let mut broker = Child::start("broker", dir, &args, &[])?;
        let bus = broker.file(Path::new(&port_file), READY).await?;
        let (plant_dir, scenario) = (path("plant"), options.scenario.as_ref().map(|s| s.display().to_string()));
        let mut args = vec!["sim", "run", "--dir", &plant_dir, "--broker", &bus];
        if let Some(scenario) = &scenario {
            args.extend(["--scenario", scenario]);
        }
        let mut plant = Child::start("plant", dir, &args, &[])?;
        let inventory = plant.file(&dir.join("plant/inventory.json"), READY).await?;
        let inventory: Inventory = serde_json::from_str(&inventory).context("inventory.json")?;
        let mut agents = Vec::new();
        for rack in &inventory.racks {
            let file = path(&format!("{}.toml", rack.id));
            std::fs::write(&file, config::agent(rack, spec, &bus, control))?;
            let env = [("HEADROOM_NVML_STATE", rack.nvml_state.as_str())];
            agents.push(Child::start(&rack.id, dir, &["agent", "run", "--config", &file], &env)?);
        }
        let (lines, alerts) = tokio::sync::mpsc::channel(64);
        let free = std::net::TcpListener::bind(options.listen).is_ok();
        let set = config::Controller {
            plant: spec,
            broker: &bus,
            listen: if free { options.listen } else { SocketAddr::new(options.listen.ip(), 0) },
            hook: hook::start(lines).await?,
            control,
            model: options.model == Switch::On,
        };
        let file = path("controller.toml");
        let mut text = config::controller(headroom_controller_default(), &set)?;
        text = text.replace("dir = \"record\"", &format!("dir = {:?}", path("record")));
        std::fs::write(&file, text)?;
        let (port_file, summary) = (path("console.port"), path("controller-summary.json"));
        let args = ["controller", "run", "--config", &file, "--port-file", &port_file, "--summary", &summary];
        let mut controller = Child::start("controller", dir, &args, &[])?;
        let console: SocketAddr = controller.file(Path::new(&port_file), READY).await?.parse()?;
        teller.say(
            "headroom",
            "start",
            &format!("console at http://{console}/   configs, logs and record in {}", dir.display()),
        );
        if !control {
            teller.say("headroom", "trip_risk", "control is off: agents watch, the controller only advises");
        }
        Ok(Self { broker, plant, agents, controller, inventory, console, alerts })
    }

    fn parts(&mut self) -> impl Iterator<Item = &mut Child> {
        [&mut self.broker, &mut self.plant, &mut self.controller].into_iter().chain(&mut self.agents)
    }

    /// Whether every GPU of the plant comes to stand at the safe limit.
    async fn is_safe(&self, client: &reqwest::Client) -> anyhow::Result<bool> {
        let deadline = tokio::time::Instant::now() + SETTLE;
        loop {
            let truth = get(client, &format!("http://{}/truth", self.inventory.http)).await?;
            if gpu_limits(&truth).all(|limit| (limit - 400.0).abs() < 1.0) {
                return Ok(true);
            }
            if tokio::time::Instant::now() > deadline {
                return Ok(false);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Controller first, then the agents, which set the safe share; the plant is asked whether
    /// they did before it ends itself.
    async fn stop(
        mut self,
        options: &Options,
        dir: &Path,
        client: &reqwest::Client,
        teller: &Teller,
    ) -> anyhow::Result<Value> {
        teller.say("headroom", "stop", "stopping: controller, agents, row, broker");
        let mut clean = true;
        let mut ended = |part: &Child, well: bool| {
            if !well {
                teller.say("headroom", "fault", &format!("{} did not stop cleanly", part.name()));
                clean = false;
            }
        };
        let well = self.controller.stop().await;
        ended(&self.controller, well);
        for agent in &mut self.agents {
            let well = agent.stop().await;
            ended(agent, well);
        }
        let safe = self.is_safe(client).await?;
        for part in [&mut self.plant, &mut self.broker] {
            let well = part.stop().await;
            ended(part, well);
        }
        let read = |name: &str| -> anyhow::Result<Value> {
            let text = std::fs::read_to_string(dir.join(name)).with_context(|| name.to_owned())?;
            Ok(serde_json::from_str(&text)?)
        };
        let mut summary = merge(&read("plant/plant-summary.json")?, &read("controller-summary.json")?, clean);
        if options.control == Switch::On {
            summary["gpus_at_safe_limit"] = Value::Bool(safe);
            if !safe {
                teller.say("headroom", "fault", "not every GPU is back at the safe limit");
                summary["clean_stop"] = Value::Bool(false);
            }
        }
        Ok(summary)
    }
}

/// How long drivers may take to put a limit in force.
const SETTLE: Duration = Duration::from_secs(3);

fn gpu_limits(truth: &Value) -> impl Iterator<Item = f64> + '_ {
    let racks = truth.as_object().into_iter().flatten().filter(|(name, _)| !name.starts_with('_'));
    let devices = racks.filter_map(|(_, rack)| rack.as_object()).flatten();
    devices.filter_map(|(_, device)| device["gpu_limit_enforced_watts"].as_f64())
}

async fn get(client: &reqwest::Client, url: &str) -> anyhow::Result<Value> {
    let text = client.get(url).send().await.with_context(|| url.to_owned())?.text().await?;
    Ok(serde_json::from_str(&text)?)
}

fn headroom_controller_default() -> &'static str {
    headroom_controller::config::DEFAULT
}

//! The command line of `headroom-sim`, and what each command does at its surface.

use crate::scenario::{self, Scenario};
use crate::serve::{self, Options};
use crate::trace;
use clap::{Parser, Subcommand};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// A simulated row of GPU racks: power meters, UPSs and cooling units on Modbus TCP and, where asked for,
/// on serial lines, cooling also on DSX Exchange topics (MQTT), GPUs behind a library that looks like NVML.
///
/// Exit codes: 0 done, 1 failed while running, 2 wrong scenario or usage.
#[derive(Debug, Parser)]
#[command(name = "headroom-sim", version)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the row in real time until SIGTERM or SIGINT: Modbus TCP, NVML state, HTTP, and DSX
    /// topics when a broker is given. When everything listens, DIR/inventory.json says where.
    #[command(after_long_help = format!("Kinds of faults (scenario files and POST /fault):\n{}", scenario::fault_help()))]
    Run {
        /// The scenario; the embedded one when absent.
        #[arg(long, value_name = "FILE")]
        scenario: Option<PathBuf>,
        /// Where inventory.json, the NVML states and plant-summary.json go; created when absent.
        #[arg(long, value_name = "DIR")]
        dir: PathBuf,
        /// MQTT broker for the DSX topics of the cooling units.
        #[arg(long, value_name = "HOST:PORT", value_parser = broker)]
        broker: Option<(String, u16)>,
        /// HTTP address; the Modbus servers take its IP and a free port each.
        #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:0")]
        listen: SocketAddr,
        /// Serve a device on a serial line too (Modbus RTU with the settings of its make; inventory.json
        /// says which), such as rack-1/ups-a=/dev/ttyUSB0. May be given again for another device.
        #[arg(long, value_name = "DEVICE=LINE", value_parser = line)]
        serial: Vec<(String, PathBuf)>,
        /// Seed of all chance, instead of the scenario's.
        #[arg(long)]
        seed: Option<u64>,
    },
    /// Check a scenario file and print every mistake with its line.
    Check {
        /// The scenario; the embedded one when absent.
        #[arg(long, value_name = "FILE")]
        scenario: Option<PathBuf>,
    },
    /// Write training data for the forecaster: random workloads under random limits, no network.
    Trace {
        /// Hours of plant time.
        #[arg(long)]
        hours: f64,
        /// Seed of all chance: the same seed gives the same file.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// The CSV file: time_s,rack,power_watts,limit_watts,utilization_ratio at 1 Hz.
        #[arg(long, value_name = "FILE.csv")]
        out: PathBuf,
        /// Racks and ratings; the embedded scenario when absent.
        #[arg(long, value_name = "FILE")]
        scenario: Option<PathBuf>,
    },
    /// Print the embedded scenario.
    DefaultScenario,
}

/// Runs a command to its end.
pub fn run(cli: Cli) -> ExitCode {
    headroom_log::start("info");
    match cli.command {
        Command::Run { scenario, dir, broker, listen, serial, seed } => {
            let loaded = load(scenario.as_deref()).and_then(|scenario| Ok((lines(serial, &scenario)?, scenario)));
            match loaded {
                Err(code) => code,
                Ok((lines, mut scenario)) => {
                    scenario.plant.seed = seed.unwrap_or(scenario.plant.seed);
                    simulate(Options { scenario, dir, broker, listen, lines })
                }
            }
        }
        Command::Check { scenario } => check(scenario.as_deref()),
        Command::Trace { hours, seed, out, scenario } => write_trace(hours, seed, &out, scenario.as_deref()),
        Command::DefaultScenario => match std::io::stdout().write_all(scenario::DEFAULT.as_bytes()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        },
    }
}

fn broker(text: &str) -> Result<(String, u16), String> {
    let parts = text.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse().ok()?)));
    parts
        .filter(|(host, _)| !host.is_empty())
        .map(|(host, port)| (host.to_owned(), port))
        .ok_or_else(|| "give HOST:PORT, for example 127.0.0.1:1883".to_owned())
}

fn line(text: &str) -> Result<(String, PathBuf), String> {
    let parts = text.split_once('=').filter(|(device, path)| !device.is_empty() && !path.is_empty());
    let parts = parts.map(|(device, path)| (device.to_owned(), PathBuf::from(path)));
    parts.ok_or_else(|| "give DEVICE=LINE, for example rack-1/ups-a=/dev/ttyUSB0".to_owned())
}

/// Each device with its serial line, or says on stderr what is wrong with them, all at once.
fn lines(given: Vec<(String, PathBuf)>, scenario: &Scenario) -> Result<BTreeMap<String, PathBuf>, ExitCode> {
    let known = serve::device_names(scenario);
    let mut lines = BTreeMap::new();
    let mut paths = BTreeSet::new();
    let mut good = true;
    for (device, path) in given {
        if !known.contains(&device) {
            eprintln!("--serial {device}: there is no such device; give one of {}", known.join(", "));
            good = false;
        }
        if !paths.insert(path.clone()) {
            eprintln!("--serial {device}={}: another device has this line; give each its own", path.display());
            good = false;
        }
        if lines.insert(device.clone(), path).is_some() {
            eprintln!("--serial {device}: given twice; a device has one line");
            good = false;
        }
    }
    if good { Ok(lines) } else { Err(ExitCode::from(2)) }
}

fn simulate(options: Options) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("no asynchronous runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    let result = runtime.block_on(async {
        let (sender, stop) = watch::channel(false);
        let mut terminate = signal(SignalKind::terminate()).map_err(anyhow::Error::from)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(anyhow::Error::from)?;
        tokio::spawn(async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            tracing::info!("stopping");
            let _ = sender.send(true);
        });
        serve::run(options, stop).await.map_err(anyhow::Error::from)
    });
    runtime.shutdown_background();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("headroom-sim: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Loads a scenario, the embedded one without a file, or says on stderr why not.
///
/// # Errors
/// The exit code of a wrong scenario, 2.
pub fn load(file: Option<&Path>) -> Result<Scenario, ExitCode> {
    Scenario::load(file).map_err(|error| {
        match std::error::Error::source(&error) {
            Some(cause) => eprintln!("{error}: {cause}"),
            None => eprintln!("{error}"),
        }
        ExitCode::from(2)
    })
}

fn check(file: Option<&Path>) -> ExitCode {
    match load(file) {
        Err(code) => code,
        Ok(scenario) => {
            let gpus: usize = scenario.plant.racks.iter().map(|r| r.gpus).sum();
            let (racks, faults) = (scenario.plant.racks.len(), scenario.faults.len());
            println!("scenario is good: {racks} racks, {gpus} GPUs, {faults} faults on schedule");
            ExitCode::SUCCESS
        }
    }
}

fn write_trace(hours: f64, seed: u64, out: &Path, file: Option<&Path>) -> ExitCode {
    if !(hours > 0.0 && hours <= 10_000.0) {
        eprintln!("--hours {hours} is out of range; give a number above 0, at most 10000");
        return ExitCode::from(2);
    }
    let scenario = match load(file) {
        Ok(scenario) => scenario,
        Err(code) => return code,
    };
    let seconds = (hours * 3600.0).round().max(1.0) as u64;
    let began = Instant::now();
    let written =
        File::create(out).and_then(|file| trace::write(&scenario.plant, seed, seconds, &mut BufWriter::new(file)));
    match written {
        Ok(()) => {
            let racks = scenario.plant.racks.len();
            tracing::info!(
                "{} lines for {racks} racks in {:.1} s",
                seconds * racks as u64,
                began.elapsed().as_secs_f64()
            );
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{}: cannot be written: {error}", out.display());
            ExitCode::FAILURE
        }
    }
}

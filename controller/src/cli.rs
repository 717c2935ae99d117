//! The command line: `run`, `check`, `broker`, `topology`, `policy`, `curves`, `default-config`, `learn`, `bench`. Exit
//! codes: 0 fine, 1 failed while running, 2 bad config or usage; of checks and trials 1 is a verdict.

use crate::ask;
use crate::bench;
use crate::broker::Broker;
use crate::config::{self, Config};
use crate::curves;
use crate::hands;
use crate::policy;
use crate::run::Files;
use crate::stop;
use crate::topology;
use clap::{Parser, Subcommand};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// The Headroom controller: hears every rack, forecasts its power, and caps GPUs so that no
/// breaker trips.
///
/// It listens to the agents on an MQTT broker (Sparkplug B), decides once per period over the whole
/// electrical tree, sends Orders with a lease, keeps an append-only record, and serves a console,
/// /api/..., and /metrics. When it stops, every agent falls back to its safe share by itself.
#[derive(Debug, Parser)]
#[command(
    name = "headroom-controller",
    version,
    after_help = "Log level: RUST_LOG=debug. Exit codes: 0 fine, 1 failed while running, 2 bad config or usage; \
                  for `topology` and `policy` see their own --help."
)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run until SIGTERM or SIGINT.
    Run {
        /// The config file; see `default-config`.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        /// Write the address the console listens on to this file.
        #[arg(long, value_name = "PATH")]
        port_file: Option<PathBuf>,
        /// On the stop, write what was done to this file, as JSON.
        #[arg(long, value_name = "FILE")]
        summary: Option<PathBuf>,
    },
    /// Check a config file and report every mistake at once, those of its plant and of its policy with them. Warnings
    /// leave the exit code at 0.
    Check {
        /// The config file.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Run an MQTT broker (3.1.1 and 5), for sites that have none.
    Broker {
        /// Where to listen; port 0 lets the system choose.
        #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:1883")]
        listen: SocketAddr,
        /// Where to keep sessions and retained messages.
        #[arg(long, value_name = "DIR")]
        dir: PathBuf,
        /// Write the address it listens on to this file.
        #[arg(long, value_name = "PATH")]
        port_file: Option<PathBuf>,
    },
    /// Check, draw or import the plant: what feeds the racks and what cools them.
    Topology {
        #[command(subcommand)]
        what: topology::Command,
    },
    /// Check, compare and try a policy file; list and bring back what was in force.
    Policy {
        #[command(subcommand)]
        what: policy::Command,
    },
    /// List the families of breakers, fuses and UPSs that it knows, or tell one of them by load.
    Curves(curves::Options),
    /// Print a commented config file to start from.
    DefaultConfig,
    /// Ask the running controller for a training on its record, for the model before, or where
    /// learning stands. Prints JSON.
    Learn {
        /// What to ask.
        #[arg(value_enum)]
        wish: ask::Wish,
        /// The config file of the running controller: address and token are taken from it.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        /// Where the console listens, if not where the config says.
        #[arg(long, value_name = "ADDRESS")]
        console: Option<SocketAddr>,
    },
    /// Pin a node or rack to a limit, until it is released: room for a pinned rack is kept before all
    /// others', and it is lowered only where a breaker would be in danger, or where a load target from outside, the
    /// parent's budget or the coolant requires it.
    Pin {
        /// The node or rack.
        at: String,
        /// Most that may flow through the node, or the rack's budget at its inlets, W.
        watts: f64,
        #[command(flatten)]
        to: To,
    },
    /// Put a node with all racks below it, or a rack, in advisory mode: decided and shown, not sent. Its
    /// agents fall to their safe share.
    Advise {
        /// The node or rack.
        at: String,
        #[command(flatten)]
        to: To,
    },
    /// Give a node or rack back to the automation: no pin, no advisory mode.
    Release {
        /// The node or rack.
        at: String,
        #[command(flatten)]
        to: To,
    },
    /// Let an automation that stopped itself go on, after the cause was found.
    Resume {
        #[command(flatten)]
        to: To,
    },
    /// What is set by hand, and what the automation's own breaker holds. Prints JSON.
    Hands {
        #[command(flatten)]
        to: To,
    },
    /// Measure this machine.
    Bench {
        #[command(subcommand)]
        what: Bench,
    },
}

/// The running controller.
#[derive(Debug, clap::Args)]
struct To {
    /// The config file of the running controller: address and token are taken from it.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Where the console listens, if not where the config says.
    #[arg(long, value_name = "ADDRESS")]
    console: Option<SocketAddr>,
    /// Who asks, for the record.
    #[arg(long, value_name = "NAME", env = "USER", default_value = "")]
    by: String,
    /// Why, for the record.
    #[arg(long, value_name = "TEXT", default_value = "")]
    note: String,
}

#[derive(Debug, Subcommand)]
enum Bench {
    /// The time of one decision for a made-up site, by its size.
    Decide {
        /// GPUs of the site, eight to a rack; several sizes one after the other.
        #[arg(long, value_delimiter = ',', num_args = 1.., default_value = "1000,10000,100000",
            value_parser = clap::value_parser!(u32).range(8..=2_000_000))]
        gpus: Vec<u32>,
        /// One JSON object per size; the last line is the size named last.
        #[arg(long)]
        json: bool,
    },
    /// The time of all Forecasts at one moment, by the number of racks. Prints JSON.
    Forecast {
        /// Racks of the site; several sizes one after the other.
        #[arg(long, value_delimiter = ',', num_args = 1.., default_value = "4,1000",
            value_parser = clap::value_parser!(u32).range(1..=100_000))]
        racks: Vec<u32>,
        /// As `bench decide` takes it; it is JSON either way.
        #[arg(long)]
        json: bool,
    },
}

/// Does what the command line says, in a runtime of its own.
pub fn run(cli: Cli) -> ExitCode {
    headroom_log::start("info,mqtt5=warn");
    match cli.command {
        Command::DefaultConfig => {
            print!("{}", config::DEFAULT);
            ExitCode::SUCCESS
        }
        Command::Bench { what: Bench::Decide { gpus, json } } => {
            for gpus in gpus {
                say(&bench::decide(gpus as usize), json);
            }
            ExitCode::SUCCESS
        }
        Command::Bench { what: Bench::Forecast { racks, json: _ } } => {
            finish(racks.into_iter().try_for_each(|racks| {
                println!("{}", serde_json::to_string(&bench::forecast(racks as usize)?)?);
                Ok(())
            }))
        }
        Command::Topology { what } => topology::run(&what),
        Command::Policy { what } => policy::run(&what),
        Command::Curves(options) => match curves::tell(&options) {
            Ok(text) => {
                print!("{text}");
                ExitCode::SUCCESS
            }
            Err(why) => {
                eprintln!("{why}");
                ExitCode::from(2)
            }
        },
        Command::Check { config } => match config::load(&config) {
            Ok(sound) => {
                sound.warnings.iter().for_each(|warning| eprintln!("warning: {warning}"));
                println!("{}: sound ({})", config.display(), said(&sound));
                ExitCode::SUCCESS
            }
            Err(why) => bad(&why),
        },
        Command::Run { config, port_file, summary } => match policy::load(&config) {
            Ok(config) => finish(block_on(crate::run::run(config, Files { port_file, summary }))),
            Err(why) => bad(&why),
        },
        Command::Learn { wish, config, console } => match config::door(&config) {
            Ok(door) => finish(block_on(ask::learn(&door, console, wish))),
            Err(why) => bad(&why),
        },
        Command::Pin { at, watts, to } => {
            hand(&to, Some(hands::Command::Pin { at, watts, by: to.by.clone(), note: to.note.clone() }))
        }
        Command::Advise { at, to } => {
            hand(&to, Some(hands::Command::Advise { at, by: to.by.clone(), note: to.note.clone() }))
        }
        Command::Release { at, to } => {
            hand(&to, Some(hands::Command::Release { at, by: to.by.clone(), note: to.note.clone() }))
        }
        Command::Resume { to } => hand(&to, Some(hands::Command::Resume { by: to.by.clone(), note: to.note.clone() })),
        Command::Hands { to } => hand(&to, None),
        Command::Broker { listen, dir, port_file } => finish(block_on(broker(listen, dir, port_file))),
    }
}

fn hand(to: &To, command: Option<hands::Command>) -> ExitCode {
    match config::door(&to.config) {
        Ok(door) => finish(block_on(ask::hands(&door, to.console, command.as_ref()))),
        Err(why) => bad(&why),
    }
}

fn say(measured: &bench::Measured, json: bool) {
    let bench::Measured { gpus, racks, nodes, median_ms, p99_ms, .. } = measured;
    match serde_json::to_string(measured) {
        Ok(line) if json => println!("{line}"),
        _ => println!("{gpus} GPUs, {racks} racks, {nodes} nodes: median {median_ms} ms, p99 {p99_ms} ms"),
    }
}

fn said(config: &Config) -> String {
    let gpus: u32 = config.racks.iter().map(|r| r.gpus).sum();
    format!(
        "site {}, {} nodes, {} racks, {gpus} GPUs, mode {:?}",
        config.site,
        config.nodes.len(),
        config.racks.len(),
        config.mode
    )
    .to_lowercase()
}

fn bad(why: &config::ConfigError) -> ExitCode {
    eprintln!("{why}");
    ExitCode::from(2)
}

fn block_on(work: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?.block_on(work)
}

fn finish(result: anyhow::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            tracing::error!("{why:#}");
            ExitCode::FAILURE
        }
    }
}

async fn broker(listen: SocketAddr, dir: PathBuf, port_file: Option<PathBuf>) -> anyhow::Result<()> {
    let broker = Broker::start(listen, &dir).await?;
    tracing::info!(address = %broker.address(), dir = %dir.display(), "the broker listens");
    if let Some(path) = port_file {
        write_whole(&path, &broker.address().to_string())?;
    }
    let stop = async {
        match stop::signal().await {
            Ok(signal) => tracing::info!(signal, "stopping the broker"),
            Err(why) => tracing::error!(%why, "cannot wait for signals"),
        }
    };
    Ok(broker.run_until(stop).await?)
}

/// Writes a file so that a reader sees it whole or not at all.
pub(crate) fn write_whole(path: &Path, text: &str) -> anyhow::Result<()> {
    use anyhow::Context;
    let mut fresh = path.as_os_str().to_owned();
    fresh.push(".new");
    std::fs::write(&fresh, text)
        .and_then(|()| std::fs::rename(&fresh, path))
        .with_context(|| format!("cannot write {}", path.display()))
}

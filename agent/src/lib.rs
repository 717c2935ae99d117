//! The per-rack agent: reads devices truthfully, acts on Orders, fails safe. This is the shell:
//! sockets, drivers, threads and files. All judgement is in `headroom-agent-core`.

pub mod actuator;
pub mod board;
mod cli;
pub mod clock;
pub mod config;
pub mod control;
mod discover;
mod link;
mod mqtt;
mod probe;
pub mod profiles;
mod run;
mod safe_share;
mod serve;
pub mod source;
pub mod store;

pub use cli::{Cli, Command, ConfigFile, Discover, Format};

use config::Config;
use headroom_agent_core::document::Mistake;
use std::path::Path;
use std::process::ExitCode;

const FAILED: u8 = 1;
const BAD_CONFIG: u8 = 2;

/// Does what the command line asks for.
pub fn run(cli: Cli) -> ExitCode {
    headroom_log::start("info");
    match cli.command {
        Command::Profiles { reference: true } => {
            print!("{}", headroom_agent_core::profile::reference());
            ExitCode::SUCCESS
        }
        Command::Profiles { reference: false } => list_profiles(),
        Command::Check { config } => with_config(&config.path, |config| {
            println!("{}: {} in site {}", config.rack, summary(&config), config.site);
            println!("{}: {}", config.rack, spool(&config));
            ExitCode::SUCCESS
        }),
        Command::Run { config, port_file } => {
            with_config(&config.path, |config| in_runtime(|| run::run(config, port_file.as_deref())))
        }
        Command::Probe { config, format } => with_config(&config.path, |config| {
            in_runtime(|| async move {
                let found = probe::run(&config).await;
                match format {
                    Format::Table => print!("{}", found.table()),
                    Format::Json => println!("{:#}", found.json()),
                }
                anyhow::ensure!(found.all_answered(), "not every device answered");
                Ok(())
            })
        }),
        Command::Discover(args) => discover(&args),
        Command::SafeShare { config } => with_config(&config.path, |config| match safe_share::run(&config) {
            Ok(gpus) => {
                println!("{}: {gpus} GPUs at the safe share", config.rack);
                ExitCode::SUCCESS
            }
            Err(error) => failed(&error),
        }),
    }
}

fn discover(args: &Discover) -> ExitCode {
    let address = match args.address() {
        Ok(address) => address,
        Err(remedy) => {
            eprintln!("{remedy}");
            return ExitCode::from(BAD_CONFIG);
        }
    };
    let profiles = match profiles::load(args.profiles_dir.as_deref()) {
        Ok(profiles) => profiles,
        Err(mistakes) => return refused(&mistakes),
    };
    in_runtime(|| async move {
        let (first, last) = args.units;
        let timeout = std::time::Duration::from_millis(args.timeout_ms);
        tracing::info!(%address, first, last, profiles = profiles.len(), "asking every unit");
        let found = discover::run(&address, first..=last, timeout, &profiles, |unit, here| match here {
            Some(here) => tracing::info!(unit, profiles = here.fits.len(), "answers"),
            None if unit % 16 == 0 => tracing::info!(unit, of = last, "asked so far"),
            None => {}
        });
        let found = found.await;
        match args.format {
            Format::Table => print!("{}", discover::table(&found, &address)),
            Format::Json => println!("{:#}", discover::json(&found)),
        }
        anyhow::ensure!(!found.is_empty(), "nobody answers at {address} as unit {first} to {last}");
        Ok(())
    })
}

fn with_config(path: &Path, act: impl FnOnce(Config) -> ExitCode) -> ExitCode {
    match Config::load(path) {
        Ok(config) => act(config),
        Err(mistakes) => refused(&mistakes),
    }
}

fn refused(mistakes: &[Mistake]) -> ExitCode {
    for mistake in mistakes {
        eprintln!("{mistake}");
    }
    eprintln!("{} mistake{}", mistakes.len(), if mistakes.len() == 1 { "" } else { "s" });
    ExitCode::from(BAD_CONFIG)
}

fn in_runtime<F: Future<Output = anyhow::Result<()>>>(work: impl FnOnce() -> F) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error.into()),
    };
    let result = runtime.block_on(work());
    // A driver call that hangs must not keep the agent from ending.
    runtime.shutdown_timeout(std::time::Duration::from_millis(200));
    result.map_or_else(|error| failed(&error), |()| ExitCode::SUCCESS)
}

fn failed(error: &anyhow::Error) -> ExitCode {
    tracing::error!("{error:#}");
    ExitCode::from(FAILED)
}

fn summary(config: &Config) -> String {
    let devices: Vec<_> = config
        .modbus
        .iter()
        .map(|d| format!("{} ({})", d.device, d.profile.name))
        .chain(config.dsx.iter().map(|d| format!("{} (DSX)", d.device)))
        .collect();
    let acts =
        if config.control.enabled { format!("safe share {}", config.control.safe_gpu) } else { "watching only".into() };
    let guard = config.control.breaker.filter(|_| config.control.enabled);
    let guard = guard.map_or("guard off".to_owned(), |b| format!("guard at {b} per phase"));
    format!("{} devices [{}], {acts}, {guard}", devices.len(), devices.join(", "))
}

fn spool(config: &Config) -> String {
    let config::Spool { snapshots, replay_per_second, disk } = &config.spool;
    match disk {
        Some(disk) => format!(
            "spool in {}, at most {:.1} MiB and {} h, replayed at {replay_per_second} Snapshots/s; {snapshots} more in memory while it cannot be written",
            disk.dir.display(),
            disk.max_bytes as f64 / f64::from(1 << 20),
            disk.max_age.as_secs() / 3600,
        ),
        None => format!(
            "spool in memory only, {snapshots} Snapshots (one a second): what an outage leaves unsent is lost when it lasts longer or the agent ends; [spool] dir keeps it on disk"
        ),
    }
}

fn list_profiles() -> ExitCode {
    match profiles::load(None) {
        Ok(profiles) => {
            for profile in profiles.values() {
                println!("{}: {}", profile.name, profile.describes);
                println!("    {} signals; source: {}", profile.points.len(), profile.source);
                println!("    validated {}", profile.validated);
            }
            ExitCode::SUCCESS
        }
        Err(mistakes) => refused(&mistakes),
    }
}

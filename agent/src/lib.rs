//! The per-rack agent: reads devices truthfully, acts on Orders, fails safe. This is the shell:
//! sockets, drivers, threads and files. All judgement is in `headroom-agent-core`.

pub mod actuator;
pub mod board;
mod cli;
pub mod clock;
pub mod config;
pub mod control;
mod discover;
mod gateway;
mod lines;
mod link;
mod mqtt;
pub mod newest;
mod probe;
pub mod profiles;
mod reload;
mod run;
mod safe_share;
mod serve;
mod service;
mod show;
pub mod source;
pub mod store;
mod watch;

pub use cli::{Cli, Command, ConfigFile, Discover, Format, Watch};

use config::Config;
use headroom_agent_core::document::Mistake;
use std::path::Path;
use std::process::ExitCode;

const FAILED: u8 = 1;
const BAD_CONFIG: u8 = 2;

/// Does what the command line asks for.
pub fn run(cli: Cli) -> ExitCode {
    // Log lines would tear the live picture; its table says what is down.
    headroom_log::start(if matches!(cli.command, Command::Watch(_)) { "off" } else { "info" });
    match cli.command {
        Command::Profiles { reference: true } => {
            print!("{}", headroom_agent_core::profile::reference());
            ExitCode::SUCCESS
        }
        Command::Profiles { reference: false } => list_profiles(),
        Command::Check { config } => with_config(&config.path, |config| {
            lines::summary(&config).for_each(|line| println!("{line}"));
            ExitCode::SUCCESS
        }),
        Command::Run { config, port_file } => {
            with_config(&config.path, |read| in_runtime(|| run::run(read, config.path.clone(), port_file.clone())))
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
        Command::Watch(args) => with_config(&args.config.path, |config| in_runtime(|| watch::run(config, &args))),
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
    // One thread: what can hang (drivers, the disk, the control loop) has threads of its own, and
    // waking another for each answer of a device would cost more than the answer.
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
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

//! `headroom-controller policy`: checks a policy, tells two apart, tries one on the last hour's record, and
//! goes back to an earlier one. The file's format is read in `config/policy.rs`.

mod diff;
mod live;
mod simulate;
mod versions;

pub use diff::diff;
pub use live::{Live, Status};
pub use simulate::{Simulated, simulate};
pub use versions::{Version, Versions};

use crate::cli::write_whole;
use crate::config::{self, Config, Mistake, PolicyFile};
use clap::Subcommand;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// What to do with a policy.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Check a policy file: every mistake at once. Exit codes: 0 sound, 2 mistakes.
    Check {
        /// The policy file.
        file: PathBuf,
        /// The controller's config: racks and nodes that the policy names must be in its topology.
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
    /// Tell what would change from one policy file to another.
    Diff {
        /// The policy now.
        old: PathBuf,
        /// The policy to come.
        new: PathBuf,
    },
    /// Try a policy on the record: which rack would have been capped, by how much and for how long, beside
    /// the policy of the config. Sends nothing.
    Simulate {
        /// The policy to try.
        file: PathBuf,
        /// The controller's config.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        /// The record, if it is not the config's.
        #[arg(long, value_name = "DIR")]
        record: Option<PathBuf>,
        /// How much of the record, counted from its end.
        #[arg(long, value_name = "MINUTES", default_value_t = 60.0)]
        minutes: f64,
        /// One JSON object instead of a table.
        #[arg(long)]
        json: bool,
    },
    /// List the versions that have been in force.
    History {
        /// The controller's config.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Write an earlier version back into the policy file; a running controller takes it over.
    Revert {
        /// Its number in `history`.
        version: u64,
        /// The controller's config.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
}

/// Does it.
pub fn run(command: &Command) -> ExitCode {
    let done = match command {
        Command::Check { file, config } => check(file, config.as_deref()),
        Command::Diff { old, new } => compare(old, new),
        Command::Simulate { file, config, record, minutes, json } => {
            attempt(file, config, record.as_deref(), *minutes, *json)
        }
        Command::History { config } => history(config),
        Command::Revert { version, config } => revert(*version, config),
    };
    match done {
        Ok(text) => {
            print!("{text}");
            ExitCode::SUCCESS
        }
        Err(why) => {
            eprintln!("{}", why.trim_end());
            ExitCode::from(2)
        }
    }
}

fn listed(mistakes: Vec<Mistake>) -> String {
    let lines: String = mistakes.iter().map(|m| format!("{m}\n")).collect();
    format!("{lines}{} mistake{} in the policy", mistakes.len(), if mistakes.len() == 1 { "" } else { "s" })
}

fn load(config: &Path) -> Result<Config, String> {
    config::load(config).map_err(|why| why.to_string())
}

fn read(file: &Path, config: Option<&Config>) -> Result<PolicyFile, String> {
    config::read_policy(file, config.map(|c| &c.tree)).map_err(listed)
}

fn check(file: &Path, config: Option<&Path>) -> Result<String, String> {
    let config = config.map(load).transpose()?;
    let policy = read(file, config.as_ref())?;
    let rules = policy.rules.rules.len();
    let held = if config.is_some() { ", held against the topology" } else { "" };
    Ok(format!("{}: sound ({} classes, {rules} rules{held})\n", file.display(), policy.spec.bands.len()))
}

fn compare(old: &Path, new: &Path) -> Result<String, String> {
    let lines = diff(&read(old, None)?.rules, &read(new, None)?.rules);
    Ok(if lines.is_empty() { "the same\n".to_owned() } else { lines.join("\n") + "\n" })
}

fn attempt(file: &Path, config: &Path, record: Option<&Path>, minutes: f64, json: bool) -> Result<String, String> {
    let config = load(config)?;
    let mut rules = read(file, Some(&config))?.rules;
    rules.base.lease = config.rules.base.lease;
    let dir = record.unwrap_or(&config.record.dir);
    if !(minutes.is_finite() && minutes > 0.0) {
        return Err(format!("--minutes {minutes} is no time; write 60 for the last hour"));
    }
    let simulated = simulate(&config, &rules, dir, (minutes * 60_000.0) as u64)?;
    match json {
        true => serde_json::to_string(&simulated).map(|line| line + "\n").map_err(|why| why.to_string()),
        false => Ok(simulated.table()),
    }
}

fn versions(config: &Config) -> Versions {
    Versions::new(&config.record.dir)
}

fn history(config: &Path) -> Result<String, String> {
    let config = load(config)?;
    let list = versions(&config).list().map_err(|why| why.to_string())?;
    if list.is_empty() {
        return Ok("no policy has been in force yet: a running controller writes the first version\n".to_owned());
    }
    let line = |v: &Version| format!("{:>5}  {}  {:>6} bytes  {}\n", v.version, v.time(), v.bytes, v.how);
    Ok(list.iter().map(line).collect())
}

fn revert(version: u64, config: &Path) -> Result<String, String> {
    // The policy file may be the very thing that is wrong: only its place is needed.
    let (place, dir) = config::places(config).map_err(|why| why.to_string())?;
    let Some(file) = place else {
        return Err(format!("{}: [policy] names no file; write file = \"policy.toml\" there first", config.display()));
    };
    let text = Versions::new(&dir).text(version).map_err(|why| why.to_string())?;
    write_whole(&file, &text).map_err(|why| format!("{why:#}"))?;
    Ok(format!("{} is version {version} again\n", file.display()))
}

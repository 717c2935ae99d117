//! `headroom-controller policy`: checks a policy, tells two apart, tries one on the last hour's record, and
//! goes back to an earlier one. The file's format is read in `config/policy.rs`.

mod diff;
mod kept;
mod live;
mod simulate;
mod tried;
mod versions;

pub use diff::diff;
pub use kept::load;
pub use live::{Live, Status};
pub use simulate::{Simulated, simulate};
pub use versions::{Version, Versions};

use crate::cli::write_whole;
use crate::config::{self, Config, Mistake, Tree};
use clap::Subcommand;
use headroom_controller_core::{Policy, Rules};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// What to do with a policy.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Check a policy file: every mistake at once. Exit codes: 0 sound, 1 warnings only, 2 mistakes.
    Check {
        /// The policy file.
        file: PathBuf,
        /// The controller's config: racks and nodes that the policy names must be in its topology, and its nodes must
        /// carry what the floors alone draw.
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// Exit with 0 if there are only warnings.
        #[arg(long)]
        allow_warnings: bool,
    },
    /// Tell what would change from one policy file to another.
    Diff {
        /// The policy now.
        old: PathBuf,
        /// The policy to come.
        new: PathBuf,
    },
    /// Try a policy on the record: which rack would have been capped, by how much and for how long, and what
    /// each node would have carried, beside the policy of the config. Sends nothing. Exit codes: 0 tried, 1 tried and NOT
    /// SAFE (a node would have tripped, or floors alone are more than one carries), 2 not tried.
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
    let fine = |text| (text, ExitCode::SUCCESS);
    let done = match command {
        Command::Check { file, config, allow_warnings } => return check(file, config.as_deref(), *allow_warnings),
        Command::Diff { old, new } => compare(old, new).map(fine),
        Command::Simulate { file, config, record, minutes, json } => {
            attempt(file, config, record.as_deref(), *minutes, *json)
        }
        Command::History { config } => history(config).map(fine),
        Command::Revert { version, config } => revert(*version, config).map(fine),
    };
    match done {
        Ok((text, code)) => {
            print!("{text}");
            code
        }
        Err(why) => {
            eprintln!("{}", why.trim_end());
            ExitCode::from(2)
        }
    }
}

fn listed(mistakes: Vec<Mistake>) -> String {
    let lines: String = mistakes.iter().map(|m| format!("{m}\n")).collect();
    format!("{lines}{} mistake{} in the policy", mistakes.len(), plural(mistakes.len()))
}

fn plural(count: usize) -> &'static str {
    if count == 1 { "" } else { "s" }
}

fn check(file: &Path, config: Option<&Path>, allow_warnings: bool) -> ExitCode {
    // Of the config only the plant: its own policy file may be what is to be corrected.
    let tree = config.map(|c| config::load_tree(c).map_err(|why| why.to_string())).transpose();
    let policy = match tree.and_then(|tree| read(file, tree.as_ref())) {
        Ok(policy) => policy,
        Err(why) => {
            eprintln!("{why}");
            return ExitCode::from(2);
        }
    };
    let held = if config.is_some() { ", held against the topology" } else { "" };
    let said = format!("{} classes, {} rules{held}", policy.spec.bands.len(), policy.rules.rules.len());
    policy.warnings.iter().for_each(|w| eprintln!("warning: {w}"));
    match policy.warnings.len() {
        0 => println!("{}: sound ({said})", file.display()),
        n => eprintln!("{n} warning{}; the policy can be used ({said})", plural(n)),
    }
    if policy.warnings.is_empty() || allow_warnings { ExitCode::SUCCESS } else { ExitCode::from(1) }
}

fn read(file: &Path, tree: Option<&Tree>) -> Result<config::PolicyFile, String> {
    config::read_policy(file, tree).map_err(listed)
}

fn compare(old: &Path, new: &Path) -> Result<String, String> {
    let lines = diff(&read(old, None)?.rules, &read(new, None)?.rules);
    Ok(if lines.is_empty() { "the same\n".to_owned() } else { lines.join("\n") + "\n" })
}

fn attempt(
    file: &Path,
    config: &Path,
    record: Option<&Path>,
    minutes: f64,
    json: bool,
) -> Result<(String, ExitCode), String> {
    let config = load(config).or_else(|why| bare(config, file).ok_or(why.to_string()))?;
    if let Some(refused) = &config.refused {
        let count = refused.mistakes.len();
        eprintln!(
            "the policy file of the config has {count} mistake{}: version {} counts as the policy in force",
            plural(count),
            refused.version
        );
    }
    // What nobody can keep to can still be tried, and that is told.
    let policy = config::read_any_policy(file, Some(&config.tree)).map_err(listed)?;
    policy.dangers.iter().for_each(|danger| eprintln!("{danger}"));
    let mut rules = policy.rules;
    (rules.base.lease, rules.base.period) = (config.rules.base.lease, config.rules.base.period);
    let dir = record.unwrap_or(&config.record.dir);
    if !(minutes.is_finite() && minutes > 0.0) {
        return Err(format!("--minutes {minutes} is no time; write 60 for the last hour"));
    }
    let mut simulated = simulate(&config, &rules, dir, (minutes * 60_000.0) as u64)?;
    simulated.dangers = policy.dangers.iter().map(Mistake::to_string).collect();
    let text = match json {
        true => serde_json::to_string(&simulated).map_err(|why| why.to_string())? + "\n",
        false => simulated.table(),
    };
    Ok((text, if simulated.is_safe() { ExitCode::SUCCESS } else { ExitCode::from(1) }))
}

/// The config of which neither the policy file nor any version of it will do: with the numbers that hold where nothing is
/// said, and the classes of the policy that is tried.
fn bare(config: &Path, tried: &Path) -> Option<Config> {
    let mut config = config::load_under(config, tried).ok()?;
    eprintln!(
        "the policy file of the config has mistakes and no version is kept: the defaults count as the policy in force"
    );
    let Policy { bands, priorities, lease, period, .. } = config.rules.base;
    config.rules = Rules { base: Policy { bands, priorities, lease, period, ..Policy::default() }, ..Rules::default() };
    Some(config)
}

fn history(config: &Path) -> Result<String, String> {
    let (_, dir) = config::places(config).map_err(|why| why.to_string())?;
    let list = Versions::new(&dir).list().map_err(|why| why.to_string())?;
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
    let versions = Versions::new(&dir);
    let text = versions.text(version).map_err(|why| why.to_string())?;
    // What was in force once may not be any more: the plant has changed, or more is checked.
    let tree = config::load_tree(config).ok();
    config::parse_policy(&versions.path(version).display().to_string(), &text, tree.as_ref()).map_err(listed)?;
    write_whole(&file, &text).map_err(|why| format!("{why:#}"))?;
    Ok(format!("{} is version {version} again\n", file.display()))
}

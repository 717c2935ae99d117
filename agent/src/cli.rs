//! The command line. What a command does is in the module of its name.

use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;

/// The per-rack agent of Headroom: reads GPUs, PDUs, UPSs and cooling, sends a Snapshot each
/// second, carries out the controller's Orders while their lease lasts and falls back to the safe
/// share without them.
#[derive(Debug, Parser)]
#[command(name = "headroom-agent", version, after_help = EXIT_CODES)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

const EXIT_CODES: &str = "Exit codes: 0 ok, 1 failed while running, 2 bad config or usage. \
Logs go to stderr; RUST_LOG sets the level (default info).";

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run until SIGTERM or SIGINT; ends with all GPUs at the safe share.
    Run {
        /// The agent's config.
        #[command(flatten)]
        config: ConfigFile,
        /// Write the address that /metrics listens on into this file.
        #[arg(long, value_name = "PATH")]
        port_file: Option<PathBuf>,
    },
    /// Check config and profiles, report every mistake with its line, and exit.
    Check {
        /// The agent's config.
        #[command(flatten)]
        config: ConfigFile,
    },
    /// Read each configured device once and print every value with unit and quality.
    Probe {
        /// The agent's config.
        #[command(flatten)]
        config: ConfigFile,
        /// For people or for programs.
        #[arg(long, value_enum, default_value = "table")]
        format: Format,
    },
    /// Set all GPUs to the safe share and exit: for systemd's ExecStopPost.
    SafeShare {
        /// The agent's config.
        #[command(flatten)]
        config: ConfigFile,
    },
    /// List the device profiles inside this program with source and validation.
    Profiles {
        /// Print the reference of the profile format instead (Markdown).
        #[arg(long)]
        reference: bool,
    },
}

/// How values are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// A line for each signal.
    Table,
    /// One object: devices, their signals, and for each value, unit and quality; `null` is no value.
    Json,
}

/// Where the config is.
#[derive(Debug, Args)]
pub struct ConfigFile {
    /// The agent's config file (TOML).
    #[arg(long = "config", value_name = "FILE")]
    pub path: PathBuf,
}

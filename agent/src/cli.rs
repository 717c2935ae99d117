//! The command line. What a command does is in the module of its name.

use crate::config::{BusAddress, Parity, SerialLine};
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
    /// Show all values live: those of the running agent, or read here when none answers.
    Watch(Watch),
    /// Ask every unit id on a Modbus bus and say which profiles fit what answers.
    Discover(Discover),
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

/// What is shown, and how often. Ctrl-C ends it.
#[derive(Debug, Args)]
pub struct Watch {
    /// The agent's config.
    #[command(flatten)]
    pub config: ConfigFile,
    /// Where the running agent serves, when the config's [serve] listen does not say: http://HOST:PORT
    #[arg(long, value_name = "URL")]
    pub url: Option<String>,
    /// Only this device, with every signal and its trend.
    #[arg(long, value_name = "DEVICE")]
    pub device: Option<String>,
    /// Seconds from picture to picture.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub interval_s: u64,
    /// End after so many pictures; 0 is never.
    #[arg(long, default_value_t = 0)]
    pub count: u64,
}

/// Which bus, and how it is asked. Reads only; stop an agent that uses the same serial line first.
#[derive(Debug, Args)]
pub struct Discover {
    /// A device or gateway that speaks Modbus TCP.
    #[arg(long, value_name = "HOST:PORT")]
    pub tcp: Option<String>,
    /// A serial server that carries RTU frames in a TCP stream.
    #[arg(long, value_name = "HOST:PORT")]
    pub rtu_over_tcp: Option<String>,
    /// A serial line.
    #[arg(long, value_name = "DEVICE")]
    pub serial: Option<PathBuf>,
    /// Bits per second of the serial line.
    #[arg(long, default_value_t = 19_200)]
    pub baud: u32,
    /// Parity of the serial line.
    #[arg(long, value_enum, default_value = "even")]
    pub parity: Parity,
    /// First and last unit id to ask.
    #[arg(long, value_name = "FIRST-LAST", default_value = "1-247", value_parser = units)]
    pub units: (u8, u8),
    /// How long each unit may take to answer, in milliseconds.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u64).range(10..=10_000))]
    pub timeout_ms: u64,
    /// More profiles than the shipped ones.
    #[arg(long, value_name = "FOLDER")]
    pub profiles_dir: Option<PathBuf>,
    /// For people or for programs.
    #[arg(long, value_enum, default_value = "table")]
    pub format: Format,
}

impl Discover {
    /// The bus that is meant.
    ///
    /// # Errors
    /// When there is none or more than one.
    pub fn address(&self) -> Result<BusAddress, &'static str> {
        match (&self.tcp, &self.rtu_over_tcp, &self.serial) {
            (Some(tcp), None, None) => Ok(BusAddress::Tcp(tcp.clone())),
            (None, Some(tcp), None) => Ok(BusAddress::RtuOverTcp(tcp.clone())),
            (None, None, Some(path)) => {
                // A character has 11 bits (Modbus over Serial Line v1.02, 2.5.1).
                let stop_bits = if self.parity == Parity::None { 2 } else { 1 };
                let (baud, parity) = (self.baud, self.parity);
                Ok(BusAddress::Serial(SerialLine { path: path.clone(), baud, parity, stop_bits }))
            }
            _ => Err("give exactly one of --tcp, --rtu-over-tcp and --serial"),
        }
    }
}

fn units(text: &str) -> Result<(u8, u8), String> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    match (first.parse(), last.parse()) {
        (Ok(first), Ok(last)) if first <= last => Ok((first, last)),
        _ => Err("write FIRST-LAST, such as 1-16, each from 0 to 255".to_owned()),
    }
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

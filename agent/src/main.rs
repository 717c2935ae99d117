//! The agent as a program of its own.

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    headroom_agent::run(headroom_agent::Cli::parse())
}

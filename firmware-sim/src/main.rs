//! `headroom-sim`: the simulator as a program of its own.

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    headroom_sim::run(headroom_sim::Cli::parse())
}

//! `headroom-train`: see [`headroom_train::cli`].

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    headroom_train::cli::run(headroom_train::cli::Cli::parse())
}

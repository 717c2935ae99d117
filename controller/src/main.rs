//! The program `headroom-controller`; everything is in the library, where the front door finds it too.

use clap::Parser;
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    headroom_controller::run(headroom_controller::Cli::parse())
}

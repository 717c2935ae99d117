//! The front door: one command that starts broker, simulated row, agents, controller and console
//! as processes of itself and tells the story. It decides nothing; every part is also a program of
//! its own.

mod child;
mod compare;
mod config;
mod demo;
mod harness;
mod hook;
mod scenarios;
mod story;
mod summary;

use clap::{CommandFactory, Parser, Subcommand};
use std::process::ExitCode;

/// Headroom keeps AI racks under their breakers.
///
/// Without a command it shows itself: a simulated row of four racks with eight GPUs each, read over
/// Modbus TCP, MQTT and NVML, hosting more GPU watts than its breakers carry. A workload ramp
/// drives the row over its rating; the controller forecasts, caps and releases, and nothing trips.
/// Run it with `--control off` to see what happens without.
#[derive(Debug, Parser)]
#[command(
    name = "headroom",
    version,
    args_conflicts_with_subcommands = true,
    after_help = "Exit codes: 0 nothing tripped and everything stopped cleanly, 1 otherwise, 2 bad usage."
)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    demo: demo::Options,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// The per-rack agent (also the program `headroom-agent`).
    Agent(headroom_agent::Cli),
    /// The controller, and an MQTT broker for sites without one (also `headroom-controller`).
    Controller(headroom_controller::Cli),
    /// The simulated row (also `headroom-sim`).
    Sim(headroom_sim::Cli),
    /// Play scenarios in one process and accelerated time: agents' and controller's cores against the plant.
    Scenarios(scenarios::Options),
    /// Compare policies on traces of power: trips, racks hosted, work lost, against an oracle.
    Compare(compare::Options),
    /// Print shell completion.
    Completions {
        /// bash, zsh, fish, elvish or powershell.
        shell: clap_complete::Shell,
    },
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match cli.command {
        None => demo::run(cli.demo),
        Some(Command::Agent(agent)) => headroom_agent::run(agent),
        Some(Command::Controller(controller)) => headroom_controller::run(controller),
        Some(Command::Sim(sim)) => headroom_sim::run(sim),
        Some(Command::Scenarios(options)) => scenarios::run(&options),
        Some(Command::Compare(options)) => compare::run(&options),
        Some(Command::Completions { shell }) => {
            clap_complete::generate(shell, &mut Cli::command(), "headroom", &mut std::io::stdout());
            ExitCode::SUCCESS
        }
    }
}

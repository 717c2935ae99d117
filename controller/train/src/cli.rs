//! The command line of `headroom-train`.

use crate::bench::{self, Bench};
use crate::data::{self, DataError, Nameplates, inspect, parts};
use crate::engine::Device;
use crate::options::{Places, Recipe, Task, Usage};
use crate::run_folder::networks::Networks;
use crate::stop::Stop;
use crate::table::TableError;
use crate::weights::Shape;
use crate::{background, compare, eval, failures, fit, life, metrics, promote};
use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;

/// Trains the networks that Headroom's controller runs: from a site's own record or a trace of the
/// simulator to an ONNX file with a manifest. Put both into a directory and name it in the
/// controller's config under [model] path.
///
/// Exit codes: 0 done, 1 failed or stopped on the way, 2 wrong usage or data.
#[derive(Debug, Parser)]
#[command(name = "headroom-train", version)]
pub struct Cli {
    /// Give way to everything else on the machine, and end with whoever started this.
    #[arg(long, global = true)]
    pub background: bool,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Look at data before training on it.
    Data {
        /// What to do with it.
        #[command(subcommand)]
        command: DataCommand,
    },
    /// Train a network, measure it against persistence and a linear model, and export it. The last
    /// line on stdout is JSON.
    Fit(Box<Fit>),
    /// Measure a model on other data. The last line on stdout is JSON.
    Eval {
        /// The directory of the model: a run folder, or one with NAME.onnx and NAME.manifest.json.
        #[arg(long, value_name = "DIR")]
        model: PathBuf,
        /// The data.
        #[command(flatten)]
        source: Source,
        /// Seconds between windows.
        #[arg(long, default_value_t = 5)]
        stride: usize,
    },
    /// Compare models on the newest part of the data, and say whether the first may take the place of
    /// the second. The last line on stdout is JSON.
    Compare(compare::Compare),
    /// Put a run's model in use in a store, if it passes every check and beats the one there; or go
    /// back to the one before. The last line on stdout is JSON.
    Promote(promote::Promote),
    /// Train on a published task and measure beside baselines. The last line on stdout is JSON.
    Bench {
        /// Which.
        #[command(subcommand)]
        task: Bench,
    },
    /// Write the best model so far of a training that has a checkpoint.
    Export {
        /// The run folder.
        #[arg(long, value_name = "DIR")]
        run: PathBuf,
        /// Where model.onnx and manifest.json go.
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
    },
}

/// What to do with data.
#[derive(Debug, Subcommand)]
pub enum DataCommand {
    /// Bring traces, the controller's record and InfluxDB exports together in one trace.
    Import {
        /// Traces: time_s,rack,power_watts,limit_watts,utilization_ratio at 1 Hz.
        #[arg(long, value_name = "FILE", num_args = 1.., required_unless_present_any = ["record", "influx"])]
        csv: Vec<PathBuf>,
        /// The controller's record directory (*.hrec).
        #[arg(long, value_name = "DIR")]
        record: Option<PathBuf>,
        /// What the controller wrote to InfluxDB: annotated CSV (influx query --raw) or line protocol.
        #[arg(long, value_name = "FILE", num_args = 1..)]
        influx: Vec<PathBuf>,
        /// The trace to write; must not exist.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
    /// Write the parts of `fit` as traces of their own: by time train, validation and test-time; by rack test-rack.
    Split {
        /// The data.
        #[command(flatten)]
        source: Source,
        /// A rack for test only; with four racks or more the last one, if none is named.
        #[arg(long, value_name = "RACK")]
        hold_out_rack: Vec<String>,
        /// Where train.csv, validation.csv, test-time.csv and test-rack.csv go; must not hold any.
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
    },
    /// Print what is in it, and what would spoil a training.
    Inspect {
        /// Traces: time_s,rack,power_watts,limit_watts,utilization_ratio at 1 Hz.
        #[arg(value_name = "FILE", required_unless_present = "record")]
        csv: Vec<PathBuf>,
        /// The controller's record directory (*.hrec).
        #[arg(long, value_name = "DIR")]
        record: Option<PathBuf>,
        /// What a rack draws at most: WATTS for all, RACK=WATTS for one.
        #[arg(long, value_name = "[RACK=]WATTS", num_args = 1.., default_value = "7300")]
        nameplate_watts: Vec<String>,
    },
}

/// Where data comes from.
#[derive(Debug, Args)]
pub struct Source {
    /// Traces: time_s,rack,power_watts,limit_watts,utilization_ratio at 1 Hz.
    #[arg(long, value_name = "FILE", num_args = 1.., required_unless_present = "record")]
    csv: Vec<PathBuf>,
    /// The controller's record directory (*.hrec).
    #[arg(long, value_name = "DIR")]
    record: Option<PathBuf>,
    /// What a rack draws at most: WATTS for all, RACK=WATTS for one. It must be what the controller
    /// computes: overhead_watts + gpus x gpu_max_watts.
    #[arg(long, value_name = "[RACK=]WATTS", num_args = 1.., default_value = "7300")]
    nameplate_watts: Vec<String>,
}

/// Options of `fit`.
#[derive(Debug, Args)]
pub struct Fit {
    /// What to learn. remaining-life reads --csv with the columns unit, cycle, failed (1 where a unit failed), any
    /// setting_.. and sensors; failure-risk with SN, location, insert, remove, event (the kind of a failure), one line
    /// per stay of a unit in a place. Of the options below they take --out, --resume, --seed, --device, --name, --description,
    /// --licence and (remaining-life) --longest-cycles, the rest is for forecasts.
    #[arg(long, value_enum, default_value = "forecast")]
    task: Task,
    /// remaining-life: lives beyond this count as this, because far from failure nothing shows how far.
    #[arg(long, value_name = "CYCLES", default_value_t = 125.0)]
    longest_cycles: f64,
    /// The data.
    #[command(flatten)]
    source: Source,
    /// The run folder: config, metrics, loss.svg, checkpoint, model.onnx, manifest.json.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Go on from the checkpoint in the run folder; every other option must be as before.
    #[arg(long)]
    resume: bool,
    /// Passes over the training part.
    #[arg(long, default_value_t = 20)]
    epochs: usize,
    /// Seed of weights, order and damage: the same seed gives the same model.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where to learn: cpu (all cores), cpu:THREADS, cuda or cuda:0,1 (a replica on each GPU).
    #[arg(long, value_name = "DEVICE", default_value = "cpu")]
    device: Device,
    /// The model's name.
    #[arg(long, default_value = "rack-power")]
    name: String,
    /// Windows per step.
    #[arg(long, default_value_t = 512)]
    batch: usize,
    /// Highest learning rate.
    #[arg(long, default_value_t = 2e-3)]
    rate: f64,
    /// Weight decay.
    #[arg(long, default_value_t = 1e-3)]
    weight_decay: f64,
    /// Hidden units.
    #[arg(long, default_value_t = 96)]
    width: usize,
    /// Residual blocks.
    #[arg(long, default_value_t = 2)]
    blocks: usize,
    /// Seconds between training windows.
    #[arg(long, default_value_t = 2)]
    stride: usize,
    /// Epochs without a better validation loss before it stops.
    #[arg(long, default_value_t = 8)]
    patience: usize,
    /// A rack for test only; with four racks or more the last one, if none is named.
    #[arg(long, value_name = "RACK")]
    hold_out_rack: Vec<String>,
    /// What the data is, for the manifest.
    #[arg(long, default_value = "not described")]
    description: String,
    /// Terms under which the data may be used, for the manifest.
    #[arg(long, default_value = "unknown")]
    licence: String,
}

/// Runs a command to its end.
pub fn run(cli: Cli) -> ExitCode {
    let refused = if cli.background { background::settle() } else { Vec::new() };
    headroom_log::start("info");
    if !refused.is_empty() {
        tracing::warn!(?refused, "the system refuses to let this give way entirely");
    }
    match execute(cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("headroom-train: {error:#}");
            let is_usage = error.is::<Usage>() || error.is::<DataError>() || error.is::<TableError>();
            ExitCode::from(if is_usage { 2 } else { 1 })
        }
    }
}

fn execute(command: Command) -> Result<()> {
    match command {
        Command::Data { command: DataCommand::Import { csv, record, influx, out } } => {
            println!("{}", parts::import(&csv, record.as_deref(), &influx, &out)?);
        }
        Command::Data { command: DataCommand::Split { source, hold_out_rack, out } } => {
            let all = data::load(&source.csv, source.record.as_deref(), &nameplates(&source.nameplate_watts)?)?;
            println!("{}", parts::split(&all, &hold_out_rack, &out)?);
        }
        Command::Data { command: DataCommand::Inspect { csv, record, nameplate_watts } } => {
            let all = data::load(&csv, record.as_deref(), &nameplates(&nameplate_watts)?)?;
            print!("{}", inspect::describe(&all));
        }
        Command::Fit(options) if options.task == Task::RemainingLife => {
            let stop = Stop::on_signals().context("signals cannot be heard")?;
            println!("{}", options.remaining_life(&stop)?);
        }
        Command::Fit(options) if options.task == Task::FailureRisk => {
            let stop = Stop::on_signals().context("signals cannot be heard")?;
            println!("{}", options.failure_risk(&stop)?);
        }
        Command::Fit(options) => {
            let (recipe, places) = options.split()?;
            let stop = Stop::on_signals().context("signals cannot be heard")?;
            let exported = fit::fit(&recipe, &places, &stop)?;
            print!("{}", metrics::table(&exported.measured));
            println!("{}", serde_json::to_string(&exported)?);
        }
        Command::Eval { model, source, stride } => {
            let all = data::load(&source.csv, source.record.as_deref(), &nameplates(&source.nameplate_watts)?)?;
            let evaluation = eval::evaluate(&model, &all, stride)?;
            print!("{}", metrics::table(&evaluation.measured));
            println!("{}", evaluation.summary);
        }
        Command::Compare(options) => compare::run(&options)?,
        Command::Promote(options) => promote::run(&options)?,
        Command::Bench { task } => {
            let stop = Stop::on_signals().context("signals cannot be heard")?;
            println!("{}", bench::run(&task, &stop)?);
        }
        Command::Export { run, out } => println!("{}", serde_json::to_string(&fit::export(&run, &out)?)?),
    }
    Ok(())
}

fn nameplates(texts: &[String]) -> Result<Nameplates, Usage> {
    Nameplates::parse(texts).map_err(|why| Usage(format!("--nameplate-watts: {why}")))
}

impl Fit {
    fn remaining_life(self, stop: &Stop) -> Result<serde_json::Value> {
        if !(self.longest_cycles >= 1.0 && self.longest_cycles.is_finite()) {
            return Err(Usage("--longest-cycles must be a number of cycles, 1 at least".to_owned()).into());
        }
        let recipe = life::model::Recipe { cap: self.longest_cycles, ..life::model::Recipe::new(self.seed) };
        let order = life::fit::Order { name: self.name, description: self.description, licence: self.licence, recipe };
        let mut watch = Networks::new(&self.out, stop, self.resume);
        life::fit::fit(&order, &self.source.csv, (&self.out, self.resume), &self.device, &mut watch)
    }

    fn failure_risk(self, stop: &Stop) -> Result<serde_json::Value> {
        let design = failures::model::design(self.seed);
        let (name, description, licence) = (self.name, self.description, self.licence);
        let order = failures::fit::Order { name, description, licence, design };
        let mut watch = Networks::new(&self.out, stop, self.resume);
        failures::fit::fit(&order, &self.source.csv, (&self.out, self.resume), &self.device, &mut watch)
    }

    fn split(self) -> Result<(Recipe, Places), Usage> {
        let recipe = Recipe {
            task: self.task,
            device: self.device,
            name: self.name,
            seed: self.seed,
            epochs: self.epochs,
            batch: self.batch,
            rate: self.rate,
            weight_decay: self.weight_decay,
            shape: Shape { width: self.width, blocks: self.blocks },
            stride: self.stride,
            patience: self.patience,
            hold_out_racks: self.hold_out_rack,
            nameplates: nameplates(&self.source.nameplate_watts)?,
            licence: self.licence,
            description: self.description,
        };
        let places = Places { csv: self.source.csv, record: self.source.record, out: self.out, resume: self.resume };
        Ok((recipe, places))
    }
}

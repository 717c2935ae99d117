//! The steward of the forecaster: sees that the model in use deserves it, and trains its successor
//! on this controller's own record. A thread of its own; training is another process. The control
//! loop never waits for either: it leaves a report of how Forecasts turned out and takes notes.
//!
//! ```text
//! rest -> training -> comparing -> shadow -> promoted
//!   ^        |failed      |worse      |worse      |
//!   +--------+------------+-----------+-----------+      in use -> drifted -> the one before, or the baseline
//! ```

mod process;
mod worker;

use crate::clock::Clock;
use crate::config::Config;
use crate::forecaster::Forecaster;
use headroom_predict::Standing;
use headroom_rack::UnixMs;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

/// Notes that wait for the loop to take them; more would mean that the loop stands still.
const NOTES: usize = 256;

/// What is going on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Nothing.
    #[default]
    Rest,
    /// A training runs.
    Training,
    /// Its model is compared with the one in use on the newest part of the record.
    Comparing,
    /// It runs beside the one in use, on live data.
    Shadow,
}

impl Phase {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Rest, Self::Training, Self::Comparing, Self::Shadow];

    /// The word in metrics.
    pub fn word(self) -> &'static str {
        match self {
            Self::Rest => "rest",
            Self::Training => "training",
            Self::Comparing => "comparing",
            Self::Shadow => "shadow",
        }
    }
}

/// What people see of it: `/api/learning`.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Shown {
    /// Whether trainings are configured.
    pub enabled: bool,
    /// What is going on.
    pub phase: Phase,
    /// Since when.
    pub since_ms: Option<UnixMs>,
    /// The run folder at work.
    pub run: Option<String>,
    /// When the next training is due.
    pub next_ms: Option<UnixMs>,
    /// The model in use; none: the baseline.
    pub champion: Option<String>,
    /// The last result, in words.
    pub last: Option<String>,
    /// Trainings by how they ended: `failed`, `rejected`, `promoted`.
    pub trainings: BTreeMap<&'static str, u64>,
    /// How often a model in use was taken out of use.
    pub demotions: u64,
}

/// How Forecasts turned out, as the loop leaves it after each turn.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Report {
    /// The model in use, recently.
    pub model: Option<Standing>,
    /// The baseline on the same outcomes.
    pub baseline: Option<Standing>,
    /// Since the challenger began, on the same outcomes: challenger, model in use, baseline.
    pub duel: [Option<Standing>; 3],
}

/// What people may ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Train now.
    Now,
    /// Go back to the model before.
    Back,
    /// End.
    Stop,
}

/// Why a command is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotNow {
    /// No `[learning]` in the config.
    #[error("learning is not configured: add [learning] to the controller's config")]
    Off,
    /// Something is under way.
    #[error("not now: {} is under way", .0.word())]
    Busy(Phase),
    /// The thread has no time or is gone.
    #[error("the learning thread does not answer")]
    Deaf,
}

#[derive(Debug, Default)]
struct Shared {
    shown: Shown,
    report: Report,
    notes: Vec<String>,
}

/// What the loop and the interfaces hold of it. Copies are the same one.
#[derive(Debug, Clone)]
pub struct Handle {
    commands: SyncSender<Command>,
    shared: Arc<Mutex<Shared>>,
}

impl Handle {
    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What people see.
    pub fn shown(&self) -> Shown {
        self.lock().shown.clone()
    }

    /// Leaves the loop's report.
    pub fn report(&self, report: Report) {
        self.lock().report = report;
    }

    /// Lines for the audit log since the last call.
    pub fn take_notes(&self) -> Vec<String> {
        std::mem::take(&mut self.lock().notes)
    }

    /// Passes a command on.
    ///
    /// # Errors
    /// [`NotNow`].
    pub fn command(&self, command: Command) -> Result<(), NotNow> {
        let shown = self.shown();
        match (&command, shown.phase) {
            (Command::Now, _) if !shown.enabled => return Err(NotNow::Off),
            (Command::Now, phase) if phase != Phase::Rest => return Err(NotNow::Busy(phase)),
            _ => {}
        }
        match self.commands.try_send(command) {
            Ok(()) => Ok(()),
            Err(TrySendError::Full(_)) => Err(NotNow::Busy(shown.phase)),
            Err(TrySendError::Disconnected(_)) => Err(NotNow::Deaf),
        }
    }
}

/// The running steward.
#[derive(Debug)]
pub struct Learning {
    handle: Handle,
    thread: JoinHandle<()>,
}

impl Learning {
    /// Puts the last promoted model in use, if there is one, and starts the thread.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn start(config: &Arc<Config>, clock: Clock, forecaster: &Forecaster) -> std::io::Result<Self> {
        let (commands, receiver) = sync_channel(4);
        let handle = Handle { commands, shared: Arc::default() };
        let mut worker = worker::Worker::new(Arc::clone(config), clock, forecaster.clone(), handle.clone());
        worker.begin();
        let thread = std::thread::Builder::new().name("learning".into()).spawn(move || worker.run(&receiver))?;
        Ok(Self { handle, thread })
    }

    /// For the loop and the interfaces.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Ends a training that runs, and the thread.
    pub fn stop(self) {
        let _ = self.handle.commands.send(Command::Stop);
        if self.thread.join().is_err() {
            tracing::error!("the learning thread ended by a panic");
        }
    }
}

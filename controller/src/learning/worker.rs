//! The steward's thread: one small step several times a second, each of which ends soon. What it
//! decides by is `headroom_predict::verdict`.

mod champion;

use super::process::{Process, Status};
use super::{Command, Handle, NOTES, Phase, Report};
use crate::clock::Clock;
use crate::config::{Config, Learning};
use crate::forecaster::Forecaster;
use headroom_predict::store::{self, Store};
use headroom_predict::verdict;
use headroom_rack::{Mono, UnixMs};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

/// Between two steps.
const STEP: Duration = Duration::from_millis(200);
/// A model is not judged before it has served for this long.
const TRIAL: Duration = Duration::from_secs(900);
/// The shadow waits for enough outcomes, up to so many times as long as it should last.
const PATIENCE: u32 = 3;
/// A training that was due while the controller was down begins this long after the start.
const SETTLE: Duration = Duration::from_secs(60);
/// What a restart must know.
const STATE: &str = "state.json";

#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Kept {
    /// When the last training began.
    begun_ms: Option<u64>,
    /// The run that was in shadow: it starts over, because its tallies are gone.
    shadow: Option<String>,
}

enum Step {
    Rest,
    Training { process: Process, run: String, since: Mono },
    Comparing { process: Process, run: String, since: Mono },
    Shadow { run: String, since: Mono },
}

/// Where the model in use came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    /// What the config names or the program ships.
    Config,
    /// The store.
    Store,
    /// There is none.
    Nowhere,
}

pub(super) struct Worker {
    config: Arc<Config>,
    clock: Clock,
    forecaster: Forecaster,
    handle: Handle,
    store: Store,
    dir: PathBuf,
    step: Step,
    next: Option<Mono>,
    origin: Origin,
    crowned: Mono,
    kept: Kept,
}

impl Worker {
    pub(super) fn new(config: Arc<Config>, clock: Clock, forecaster: Forecaster, handle: Handle) -> Self {
        let dir = config.learning.as_ref().map_or_else(|| config.record.dir.join("learning"), |l| l.dir.clone());
        Self {
            store: Store::new(&dir.join("models")),
            crowned: clock.now(),
            kept: Kept::default(),
            step: Step::Rest,
            next: None,
            origin: Origin::Config,
            config,
            clock,
            forecaster,
            handle,
            dir,
        }
    }

    /// Takes up where the last run stopped. The model the config names serves where the store has
    /// none or a refused one.
    pub(super) fn begin(&mut self) {
        if self.forecaster.champion().is_none() {
            self.origin = Origin::Nowhere;
        }
        if self.config.learning.is_some() && self.config.model.enabled {
            self.crown_from_store();
            let text = std::fs::read(self.dir.join(STATE)).unwrap_or_default();
            self.kept = serde_json::from_slice(&text).unwrap_or_default();
        }
        if let Some(learning) = self.config.learning.clone() {
            if let Some(run) = self.kept.shadow.take() {
                self.start_shadow(run);
            }
            self.next = learning.every.map(|every| {
                let begun =
                    self.kept.begun_ms.map(|ms| Duration::from_millis(self.clock.unix().get().saturating_sub(ms)));
                let left = begun.map_or(every, |ago| every.saturating_sub(ago));
                self.clock.now().after(left.max(SETTLE.min(every)))
            });
        }
        self.show(|_| {});
    }

    pub(super) fn run(mut self, commands: &Receiver<Command>) {
        loop {
            match commands.recv_timeout(STEP) {
                Ok(Command::Stop) | Err(RecvTimeoutError::Disconnected) => return self.leave(),
                Ok(Command::Now) if matches!(self.step, Step::Rest) => self.train("somebody asked for it"),
                Ok(Command::Now) => {}
                Ok(Command::Back) => self.demote("somebody asked to go back"),
                Err(RecvTimeoutError::Timeout) => {}
            }
            self.advance();
            self.watch(self.clock.now());
        }
    }

    /// Says what does not come to its end because the controller ends.
    fn leave(&self) {
        if let Step::Training { run, .. } | Step::Comparing { run, .. } = &self.step {
            self.note(format!("training {run} is given up: the controller stops"));
        }
    }

    fn note(&self, text: String) {
        let mut shared = self.handle.lock();
        if shared.notes.len() < NOTES {
            shared.notes.push(text);
        }
    }

    /// Shows where things stand, with a change to the counts.
    fn show(&self, change: impl FnOnce(&mut super::Shown)) {
        let (phase, since, run) = match &self.step {
            Step::Rest => (Phase::Rest, None, None),
            Step::Training { run, since, .. } => (Phase::Training, Some(since), Some(run)),
            Step::Comparing { run, since, .. } => (Phase::Comparing, Some(since), Some(run)),
            Step::Shadow { run, since } => (Phase::Shadow, Some(since), Some(run)),
        };
        let (now, unix) = (self.clock.now(), self.clock.unix().get());
        let mut shared = self.handle.lock();
        let shown = &mut shared.shown;
        shown.enabled = self.config.learning.is_some();
        shown.phase = phase;
        shown.since_ms = since.map(|s| UnixMs::new(unix - now.since(*s).as_millis() as u64));
        shown.run = run.cloned();
        shown.next_ms = self.next.map(|n| UnixMs::new(unix + n.since(now).as_millis() as u64));
        shown.champion = self.forecaster.champion().map(|m| m.id());
        change(shown);
    }

    /// Ends what is under way, for a reason.
    fn rest(&mut self, result: &'static str, words: String) {
        self.step = Step::Rest;
        self.forecaster.challenge(None);
        self.keep(None);
        self.note(words.clone());
        self.show(|s| {
            *s.trainings.entry(result).or_default() += 1;
            s.last = Some(words);
        });
        self.tidy();
    }

    fn keep(&mut self, shadow: Option<String>) {
        self.kept.shadow = shadow;
        let text = serde_json::to_string(&self.kept).expect("invariant: names and numbers are JSON");
        if let Err(why) = crate::cli::write_whole(&self.dir.join(STATE), &text) {
            tracing::error!(why = format!("{why:#}"), "the state of learning cannot be kept");
        }
    }

    fn learning(&self) -> &Learning {
        self.config.learning.as_ref().expect("invariant: steps begin only where learning is configured")
    }

    fn run_dir(&self, run: &str) -> PathBuf {
        self.dir.join("runs").join(run)
    }

    /// `--record` and the nameplates, as both commands take them.
    fn data(&self) -> Vec<String> {
        let mut words = vec!["--record".to_owned(), self.config.record.dir.display().to_string()];
        words.push("--nameplate-watts".to_owned());
        words.extend(self.config.racks.iter().map(|r| format!("{}={}", r.id, r.nameplate().get())));
        words
    }

    fn train(&mut self, why: &str) {
        let learning = self.learning().clone();
        let now = self.clock.now();
        self.next = learning.every.map(|every| now.after(every));
        let run = format!("{:013}", self.clock.unix().get());
        let dir = self.run_dir(&run);
        self.kept.begun_ms = Some(self.clock.unix().get());
        let mut words = vec!["fit".to_owned(), "--out".to_owned(), dir.display().to_string()];
        words.extend(self.data());
        words.extend(["--description".to_owned(), format!("the record of site {}", self.config.site)]);
        words.extend(["--licence".to_owned(), "the operator's own".to_owned()]);
        if !learning.fit.iter().any(|word| word.starts_with("--device")) {
            words.extend(["--device".to_owned(), format!("cpu:{}", learning.threads)]);
        }
        words.extend(learning.fit.iter().cloned());
        match Process::start(&learning.program, &words, learning.threads, &dir, "fit") {
            Ok(process) => {
                self.step = Step::Training { process, run: run.clone(), since: now };
                self.keep(None);
                self.note(format!("training {run} begins: {why}"));
                self.show(|_| {});
            }
            Err(source) => {
                let program = learning.program.display();
                self.rest("failed", format!("training {run} cannot begin: {program}: {source}"));
            }
        }
    }

    fn advance(&mut self) {
        let now = self.clock.now();
        let Some(limit) = self.config.learning.as_ref().map(|l| l.time_limit) else { return };
        let (status, run, since, what) = match &mut self.step {
            Step::Rest => {
                if self.next.is_some_and(|next| next <= now) {
                    self.train("it is due");
                }
                return;
            }
            Step::Shadow { run, since } => {
                let (run, since) = (run.clone(), *since);
                return self.judge(&run, since);
            }
            Step::Training { process, run, since } => (process.status(), run.clone(), *since, "training"),
            Step::Comparing { process, run, since } => (process.status(), run.clone(), *since, "the comparison of"),
        };
        match status {
            Status::Running if now.since(since) < limit => {}
            Status::Running => {
                let minutes = limit.as_secs_f64() / 60.0;
                self.rest("failed", format!("{what} {run} was ended after {minutes:.0} min, as configured"));
            }
            Status::Failed(why) => self.rest("failed", format!("{what} {run} failed: {why}")),
            Status::Done(_) if matches!(self.step, Step::Training { .. }) => self.compare(run),
            Status::Done(line) => self.compared(run, &line),
        }
    }

    fn compare(&mut self, run: String) {
        let dir = self.run_dir(&run);
        let mut words = vec!["compare".to_owned(), "--models".to_owned(), dir.display().to_string()];
        let in_store = || Some(self.store.folder(&self.store.pointer().ok()??.champion?));
        let champion = match self.origin {
            Origin::Store => in_store().map(|dir| dir.display().to_string()),
            Origin::Config => {
                Some(self.config.model.path.as_ref().map_or("shipped".to_owned(), |dir| dir.display().to_string()))
            }
            Origin::Nowhere => None,
        };
        words.extend(champion);
        words.extend(self.data());
        let learning = self.learning();
        match Process::start(&learning.program, &words, learning.threads, &dir, "compare") {
            Ok(process) => {
                self.step = Step::Comparing { process, run, since: self.clock.now() };
                self.show(|_| {});
            }
            Err(why) => self.rest("failed", format!("the comparison of {run} cannot begin: {why}")),
        }
    }

    fn compared(&mut self, run: String, line: &str) {
        let said: Option<serde_json::Value> = serde_json::from_str(line).ok();
        let better = said.as_ref().and_then(|v| v["better"].as_bool());
        match better {
            Some(true) => {
                let losses: Vec<String> = said
                    .iter()
                    .flat_map(|v| v["methods"].as_array().into_iter().flatten())
                    .filter_map(|m| {
                        Some(format!("{} {:.1} W", m["name"].as_str()?, m["all"]["pinball_watts"].as_f64()?))
                    })
                    .collect();
                self.note(format!(
                    "training {run} is better on the newest part of the record: pinball loss {}",
                    losses.join(", ")
                ));
                self.start_shadow(run);
            }
            Some(false) => {
                let why = said.and_then(|v| v["against"].as_str().map(str::to_owned)).unwrap_or_default();
                self.rest("rejected", format!("training {run} is not used: on the newest part of the record {why}"));
            }
            None => self.rest("failed", format!("the comparison of {run} gave no result")),
        }
    }

    fn start_shadow(&mut self, run: String) {
        match store::verify(&self.run_dir(&run)) {
            Ok(model) => {
                let minutes = self.learning().shadow.as_secs_f64() / 60.0;
                self.note(format!("{} runs beside the model in use for {minutes:.0} min", model.id()));
                self.forecaster.challenge(Some(Arc::new(model)));
                self.step = Step::Shadow { run: run.clone(), since: self.clock.now() };
                self.keep(Some(run));
                self.show(|_| {});
            }
            Err(why) => self.rest("failed", format!("the model of training {run} is refused: {why}")),
        }
    }

    fn judge(&mut self, run: &str, since: Mono) {
        let shadow = self.learning().shadow;
        let lasted = self.clock.now().since(since);
        if lasted < shadow {
            return;
        }
        let Report { duel: [challenger, champion, baseline], .. } = self.handle.lock().report.clone();
        let enough = challenger.as_ref().is_some_and(|c| c.outcomes >= verdict::LEAST_OUTCOMES);
        if !enough && lasted < shadow.max(TRIAL) * PATIENCE {
            return;
        }
        let (Some(challenger), Some(baseline)) = (challenger, baseline) else {
            return self.rest("rejected", format!("training {run} is not used: nothing came to judge it by"));
        };
        let champion = champion.filter(|_| self.origin != Origin::Nowhere);
        if let Err(why) = verdict::beats(&challenger, champion.as_ref(), &baseline) {
            return self.rest("rejected", format!("training {run} is not used: beside the model in use {why}"));
        }
        match self.store.promote(&self.run_dir(run)) {
            Ok(_) => {
                self.crown_from_store();
                let id = self.forecaster.champion().map_or_else(|| run.to_owned(), |m| m.id());
                let (ours, theirs) = (challenger.pinball_watts, baseline.pinball_watts);
                let words = format!("{id} is in use: pinball loss {ours:.1} W, the baseline's {theirs:.1} W");
                self.rest("promoted", words);
            }
            Err(why) => self.rest("failed", format!("training {run} cannot be promoted: {why}")),
        }
    }

    /// Removes the oldest run folders beyond those to keep.
    fn tidy(&self) {
        let keep = self.config.learning.as_ref().map_or(0, |l| l.keep_runs);
        let runs = self.dir.join("runs");
        let mut names: Vec<PathBuf> =
            std::fs::read_dir(&runs).into_iter().flatten().flatten().map(|f| f.path()).collect();
        // Names are times: the order of names is the order of trainings.
        names.sort();
        for old in &names[..names.len().saturating_sub(keep)] {
            remove(old);
        }
    }
}

fn remove(run: &Path) {
    if let Err(why) = std::fs::remove_dir_all(run) {
        tracing::warn!(run = %run.display(), %why, "an old training cannot be removed");
    }
}

#[cfg(test)]
mod tests;

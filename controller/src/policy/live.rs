//! The policy of a running controller: read again when its file has changed and kept still, or at once on
//! SIGHUP. A bad file leaves the old policy in force, also through a restart, and says so until it is corrected.

use super::{Versions, diff};
use crate::config::{self, Config, Mistake};
use headroom_controller_core::{Policy, Rules};
use headroom_rack::{Finding, Severity, UnixMs};
use std::path::PathBuf;
use std::time::SystemTime;

/// What is in force, for people.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Status {
    /// Number of the version; none for a policy that stands in the config itself.
    pub version: Option<u64>,
    /// The file.
    pub file: Option<String>,
    /// Names of the rules in force.
    pub rules: Vec<String>,
    /// Mistakes of a newer file that was not taken over.
    pub mistakes: Vec<String>,
}

/// The policy in force and where it comes from.
#[derive(Debug)]
pub struct Live {
    rules: Rules,
    path: Option<PathBuf>,
    versions: Versions,
    stamp: Option<Stamp>,
    /// A stamp that was seen once: it is looked at when it has not moved until the next look.
    moved: Option<Stamp>,
    status: Status,
    since: Option<UnixMs>,
    /// The file was bad at the start already: what is in force is a version that was kept.
    kept: bool,
}

/// Length and time of a file.
type Stamp = (u64, SystemTime);

impl Live {
    /// The policy of the config. Gives lines to note.
    pub fn start(config: &Config, at: UnixMs) -> (Self, Vec<String>) {
        let mut live = Self {
            rules: config.rules.clone(),
            path: config.policy_file.clone(),
            versions: Versions::new(&config.record.dir),
            stamp: None,
            moved: None,
            status: Status::default(),
            since: None,
            kept: false,
        };
        live.status.file = live.path.as_ref().map(|p| p.display().to_string());
        live.stamp = live.look();
        if let Some(refused) = &config.refused {
            live.status.version = Some(refused.version);
            live.status.mistakes = refused.mistakes.iter().map(Mistake::to_string).collect();
            (live.since, live.kept) = (Some(at), true);
            let mistakes = live.status.mistakes.join("; ");
            tracing::error!(
                version = refused.version,
                mistakes,
                "the policy file has mistakes: a version that was kept is in force"
            );
            let line = format!(
                "the policy file has mistakes at the start, {} is in force as it was kept: {mistakes}",
                live.name()
            );
            return (live, vec![line]);
        }
        let lines = live.keep("at the start of the controller", at).into_iter().collect();
        (live, lines)
    }

    fn look(&self) -> Option<Stamp> {
        let about = std::fs::metadata(self.path.as_ref()?).ok()?;
        Some((about.len(), about.modified().ok()?))
    }

    fn keep(&mut self, how: &str, at: UnixMs) -> Option<String> {
        let text = std::fs::read_to_string(self.path.as_ref()?).ok()?;
        match self.versions.keep(&text, at, how) {
            Ok((version, new)) => {
                self.status.version = Some(version);
                new.then(|| format!("policy version {version} is in force: {how}"))
            }
            Err(why) => {
                self.status.version = None;
                Some(format!("the policy is in force but its version cannot be kept: {why}"))
            }
        }
    }

    /// Looks whether there is another file; `now` looks at it in any case. Gives lines to note.
    pub fn poll(&mut self, config: &Config, at: UnixMs, now: bool) -> Vec<String> {
        let Some(path) = self.path.clone() else { return Vec::new() };
        let seen = self.look();
        let still = seen != self.stamp && seen == self.moved;
        self.moved = seen;
        if !(now || still) {
            return Vec::new();
        }
        self.stamp = seen;
        match config::read_policy(&path, Some(&config.tree)) {
            Ok(file) => {
                let mut rules = file.rules;
                // Both are the config's.
                (rules.base.lease, rules.base.period) = (self.rules.base.lease, self.rules.base.period);
                let changes = diff(&self.rules, &rules);
                self.rules = rules;
                (self.status.mistakes, self.since, self.kept) = (Vec::new(), None, false);
                let how =
                    if changes.is_empty() { "nothing changes but the wording".to_owned() } else { changes.join("; ") };
                let warnings = file.warnings.iter().map(|w| format!("to look at in the policy: {w}"));
                self.keep(&how, at).into_iter().chain(warnings).collect()
            }
            Err(mistakes) => {
                self.status.mistakes = mistakes.iter().map(Mistake::to_string).collect();
                self.since.get_or_insert(at);
                vec![format!(
                    "the new policy file is not taken over, {} stays: {}",
                    self.name(),
                    self.status.mistakes.join("; ")
                )]
            }
        }
    }

    fn name(&self) -> String {
        self.status.version.map_or_else(|| "the old policy".to_owned(), |v| format!("version {v}"))
    }

    /// The policy at this time, and lines to note when a rule begins or ends.
    pub fn at(&mut self, at: UnixMs) -> (Policy, Vec<String>) {
        let rules: Vec<String> = self.rules.in_force(at).map(|r| r.name.clone()).collect();
        let before = std::mem::replace(&mut self.status.rules, rules);
        let begun = self.status.rules.iter().filter(|r| !before.contains(r)).map(|r| format!("rule {r:?} is in force"));
        let ended = before.iter().filter(|r| !self.status.rules.contains(r)).map(|r| format!("rule {r:?} is over"));
        let lines = begun.chain(ended).collect();
        (self.rules.at(at), lines)
    }

    /// What is in force.
    pub fn status(&self) -> &Status {
        &self.status
    }

    /// A policy file with mistakes is something to look at.
    pub fn finding(&self) -> Option<Finding> {
        let since = self.since?;
        Some(Finding {
            key: "policy_refused:site".to_owned(),
            kind: "policy_refused".to_owned(),
            subject: self.status.file.clone().unwrap_or_default(),
            // Whoever restarts again, or has lost the record, may find no version to go on with.
            severity: if self.kept { Severity::Critical } else { Severity::Warning },
            title: format!("the policy file has mistakes; {} stays in force", self.name()),
            detail: self.status.mistakes.join("\n"),
            since,
        })
    }
}

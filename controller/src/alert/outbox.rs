//! The outbox: alerts not yet delivered, alerts that fire, and dead letters; one JSON file,
//! replaced as a whole. Decides what is sent next and when. Knows no network.

use super::payload::Alert;
use headroom_rack::{Finding, UnixMs};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

/// Pending alerts kept; the oldest becomes a dead letter beyond that.
const PENDING_MAX: usize = 1000;
/// Dead letters kept for a person to look at.
const DEAD_MAX: usize = 100;
/// After a start, how long a matter may take to show itself again before it counts as over.
const GRACE_MS: u64 = 60_000;

/// One alert on its way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Letter {
    /// Names it within the outbox.
    pub number: u64,
    /// What to deliver.
    pub alert: Alert,
    /// Deliveries tried.
    pub tries: u32,
    /// What the last try said.
    pub last_error: Option<String>,
    /// Not before this.
    pub due: UnixMs,
}

/// The whole file.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Outbox {
    next_number: u64,
    /// Alerts that fire, by the Finding's key.
    firing: BTreeMap<String, Alert>,
    pending: Vec<Letter>,
    dead: Vec<Letter>,
    #[serde(skip)]
    opened: UnixMs,
    /// Keys of alerts that fired before the start and have not shown themselves since.
    #[serde(skip)]
    unseen: BTreeSet<String>,
}

impl Outbox {
    /// Reads the file; a missing one is an empty outbox.
    ///
    /// # Errors
    /// What the file system or the decoder said.
    pub fn load(path: &Path, now: UnixMs) -> std::io::Result<Self> {
        let mut outbox: Self = match fs::read(path) {
            Ok(bytes) => serde_json::from_slice(&bytes)?,
            Err(why) if why.kind() == std::io::ErrorKind::NotFound => Self::default(),
            Err(why) => return Err(why),
        };
        outbox.opened = now;
        outbox.unseen = outbox.firing.keys().cloned().collect();
        // The wall clock may have been set back meanwhile: nothing waits because of that.
        for letter in &mut outbox.pending {
            letter.due = letter.due.min(now);
        }
        Ok(outbox)
    }

    /// The file's bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec_pretty(self).expect("maps have text keys")
    }

    /// Compares the Findings of now with the alerts that fire and queues what changed. Returns
    /// how many letters were added.
    pub fn update(&mut self, site: &str, findings: &[Finding], now: UnixMs) -> u64 {
        let before = self.next_number;
        for finding in findings {
            self.unseen.remove(&finding.key);
            let alert = Alert::firing(site, finding);
            let known = self.firing.get(&finding.key);
            if known.is_some_and(|a| a.labels == alert.labels) {
                continue;
            }
            if let Some(old) = self.firing.insert(finding.key.clone(), alert.clone()) {
                self.queue(old.resolved(now), now);
            }
            self.queue(alert, now);
        }
        let present: BTreeSet<&str> = findings.iter().map(|f| f.key.as_str()).collect();
        let settled = now.get() >= self.opened.get().saturating_add(GRACE_MS);
        let over: Vec<String> = self
            .firing
            .keys()
            .filter(|key| !present.contains(key.as_str()) && (settled || !self.unseen.contains(*key)))
            .cloned()
            .collect();
        for key in over {
            if let Some(alert) = self.firing.remove(&key) {
                self.queue(alert.resolved(now), now);
            }
        }
        self.next_number - before
    }

    fn queue(&mut self, alert: Alert, now: UnixMs) {
        if self.pending.len() >= PENDING_MAX {
            let mut oldest = self.pending.remove(0);
            oldest.last_error = Some("the outbox was full".into());
            self.bury(oldest);
        }
        self.next_number += 1;
        self.pending.push(Letter { number: self.next_number, alert, tries: 0, last_error: None, due: now });
    }

    fn bury(&mut self, letter: Letter) {
        self.dead.push(letter);
        if self.dead.len() > DEAD_MAX {
            self.dead.remove(0);
        }
    }

    /// The next letter to deliver: the one due first among the oldest of each matter, so that
    /// `resolved` never overtakes its `firing`.
    pub fn next(&self) -> Option<&Letter> {
        let mut matters = BTreeSet::new();
        self.pending.iter().filter(|l| matters.insert(l.alert.fingerprint())).min_by_key(|l| l.due)
    }

    /// It was delivered.
    pub fn delivered(&mut self, number: u64) {
        self.pending.retain(|l| l.number != number);
    }

    /// It was not. Returns true if that was its last try and it is a dead letter now.
    pub fn failed(&mut self, number: u64, why: String, max_tries: u32, due: UnixMs) -> bool {
        let Some(at) = self.pending.iter().position(|l| l.number == number) else { return false };
        let letter = &mut self.pending[at];
        letter.tries += 1;
        letter.last_error = Some(why);
        letter.due = due;
        if letter.tries < max_tries {
            return false;
        }
        let letter = self.pending.remove(at);
        self.bury(letter);
        true
    }

    /// Letters waiting.
    pub fn pending(&self) -> u64 {
        self.pending.len() as u64
    }

    /// Dead letters kept.
    pub fn dead(&self) -> &[Letter] {
        &self.dead
    }
}

/// Replaces the file durably.
///
/// # Errors
/// What the file system said; the old file is whole then.
pub fn store(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let fresh = path.with_extension("new");
    let mut file = File::create(&fresh)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&fresh, path)?;
    match path.parent() {
        Some(dir) => File::open(dir)?.sync_all(),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use headroom_rack::Severity;

    fn finding(key: &str) -> Finding {
        Finding {
            key: key.into(),
            kind: "pump_drift".into(),
            subject: key.into(),
            severity: Severity::Warning,
            title: "t".into(),
            detail: "d".into(),
            since: UnixMs::new(100),
        }
    }

    #[test]
    fn one_matter_is_one_alert_however_often_it_is_found() {
        let mut outbox = Outbox::default();
        assert_eq!(outbox.update("s", &[finding("a")], UnixMs::new(100)), 1);
        assert_eq!(outbox.update("s", &[finding("a")], UnixMs::new(200)), 0);
        assert_eq!(outbox.update("s", &[], UnixMs::new(300)), 1);
        assert_eq!(outbox.update("s", &[], UnixMs::new(400)), 0);
    }

    #[test]
    fn resolved_never_overtakes_firing() {
        let mut outbox = Outbox::default();
        outbox.update("s", &[finding("a")], UnixMs::new(100));
        let first = outbox.next().unwrap().number;
        assert!(!outbox.failed(first, "refused".into(), 5, UnixMs::new(60_000)));
        outbox.update("s", &[], UnixMs::new(300));
        assert_eq!(outbox.next().unwrap().number, first);
        outbox.delivered(first);
        assert_eq!(outbox.next().unwrap().alert.status(), "resolved");
    }

    #[test]
    fn a_letter_dies_after_its_last_try_and_is_kept_for_people() {
        let mut outbox = Outbox::default();
        outbox.update("s", &[finding("a")], UnixMs::new(100));
        let number = outbox.next().unwrap().number;
        assert!(!outbox.failed(number, "x".into(), 2, UnixMs::new(1)));
        assert!(outbox.failed(number, "y".into(), 2, UnixMs::new(1)));
        assert!(outbox.next().is_none());
        assert_eq!(outbox.dead()[0].last_error.as_deref(), Some("y"));
    }

    #[test]
    fn a_restart_neither_repeats_nor_hastily_resolves_what_fires() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("outbox.json");
        let mut outbox = Outbox::load(&path, UnixMs::new(0)).unwrap();
        outbox.update("s", &[finding("a")], UnixMs::new(100));
        store(&path, &outbox.to_bytes()).unwrap();
        let mut again = Outbox::load(&path, UnixMs::new(1000)).unwrap();
        assert_eq!(again.pending(), 1);
        assert_eq!(again.update("s", &[], UnixMs::new(2000)), 0);
        assert_eq!(again.update("s", &[finding("a")], UnixMs::new(3000)), 0);
        assert_eq!(again.update("s", &[], UnixMs::new(4000)), 1, "it showed itself and went");
        let mut again = Outbox::load(&path, UnixMs::new(1000)).unwrap();
        assert_eq!(again.update("s", &[], UnixMs::new(61_000)), 1, "it never came back");
    }
}

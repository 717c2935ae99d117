//! The spool with its two places: the core's index says which Snapshots there are, a thread of its
//! own has the files. Nothing here waits for the disk: what cannot be handed over stays in memory.

mod disk;
mod segment;

use crate::config::{Config, Spool as Wanted, SpoolDisk};
use disk::{Disk, Told};
use headroom_agent_core::spool::{Key, Limits, Next, Spool};
use headroom_rack::{Mono, RackId, Snapshot, UnixMs};
use headroom_wire::Downlink;
use std::sync::Arc;
use std::time::Duration;

/// Garbage on disk that is tolerated before segments are rewritten, as a share of all: a quarter.
const LIVE_SHARE: (u64, u64) = (3, 4);

/// The Snapshots that the record does not hold yet.
#[derive(Debug)]
pub struct Store {
    spool: Spool,
    disk: Option<Disk>,
}

/// The state of a [`Store`], for `/metrics`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Account {
    /// Snapshots not known to be stored.
    pub snapshots: usize,
    /// Of these, those in memory only.
    pub in_memory: usize,
    /// Bytes of the others.
    pub bytes: u64,
    /// Snapshots dropped.
    pub dropped: u64,
    /// Snapshots that made room while their neighbours stayed.
    pub thinned: u64,
    /// Attempts to write that failed.
    pub failures: u64,
}

impl Store {
    /// Opens what the config names. What an earlier run left comes in by [`Store::settle`].
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn open(config: &Config) -> std::io::Result<Self> {
        Self::open_for(&config.rack, &config.spool)
    }

    /// As [`Store::open`], for a rack by name.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn open_for(rack: &RackId, wanted: &Wanted) -> std::io::Result<Self> {
        let (bytes, age) =
            wanted.disk.as_ref().map_or((u64::MAX, Duration::MAX), |SpoolDisk { max_bytes, max_age, .. }| {
                (max_bytes / LIVE_SHARE.1 * LIVE_SHARE.0, *max_age)
            });
        let limits = Limits { in_memory: wanted.snapshots, bytes, age, per_second: wanted.replay_per_second };
        // Its own directory: Snapshots do not say on the wire which rack they are of.
        let disk = wanted.disk.as_ref().map(|d| Disk::start(d.dir.join(rack.as_str()), d.max_bytes)).transpose()?;
        Ok(Self { spool: Spool::new(limits), disk })
    }

    /// Keeps a Snapshot. `sent`: it is already on its way to the record.
    pub fn keep(&mut self, snapshot: Arc<Snapshot>, sent: Option<Mono>, wall: UnixMs) {
        if let Some(disk) = &self.disk {
            disk.keep(snapshot.clone());
        }
        self.spool.keep(snapshot, sent);
        self.tidy(wall);
    }

    /// What the controller says of the Snapshots it has stored.
    pub fn acknowledged(&mut self, downlink: &Downlink, now: Mono, wall: UnixMs) {
        match (&downlink.held, downlink.stored) {
            (Some(held), _) => held.iter().for_each(|h| self.spool.held(h.boot, h.first, h.last)),
            (None, Some(stored)) => self.spool.stored(stored.boot, stored.seq),
            (None, None) => {}
        }
        self.spool.heard(now);
        self.tidy(wall);
    }

    /// The connection broke.
    pub fn link_lost(&mut self, now: Mono) {
        self.spool.link_lost(now);
    }

    /// It was not sent after all.
    pub fn unsent(&mut self, snapshot: &Snapshot) {
        self.spool.unsent(Key::of(snapshot));
    }

    /// Whether [`Store::backfill`] is worth asking.
    pub fn may_backfill(&self, now: Mono) -> bool {
        self.spool.may_backfill(now)
    }

    /// The next Snapshot to send as historical, if one is due and lies in memory; one on disk is
    /// fetched and comes by [`Store::settle`].
    pub fn backfill(&mut self, now: Mono) -> Option<Snapshot> {
        match self.spool.backfill(now)? {
            Next::Here(snapshot) => Some(Snapshot { historical: true, ..(*snapshot).clone() }),
            Next::OnDisk(key) => {
                if !self.disk.as_ref().is_some_and(|disk| disk.fetch(key)) {
                    self.spool.unsent(key);
                }
                None
            }
        }
    }

    /// Waits for the disk; a Snapshot that it fetched is to be sent as historical. Waits for ever
    /// where there is no disk. Safe to drop while waiting.
    pub async fn settle(&mut self) -> Option<Snapshot> {
        let told = match &mut self.disk {
            Some(disk) => disk.told().await,
            None => None,
        };
        match told {
            Some(Told::Found(found)) => {
                found.into_iter().for_each(|(key, at, bytes)| self.spool.found(key, at, bytes));
                None
            }
            Some(Told::Written(written)) => {
                written.into_iter().for_each(|(key, bytes)| self.spool.written(key, bytes));
                None
            }
            Some(Told::Fetched(key, Some(snapshot))) => {
                debug_assert_eq!(key, Key::of(&snapshot));
                Some(Snapshot { historical: true, ..*snapshot })
            }
            Some(Told::Fetched(key, None)) => {
                self.spool.lost(key);
                None
            }
            None => std::future::pending().await,
        }
    }

    /// The state now.
    pub fn account(&self) -> Account {
        Account {
            snapshots: self.spool.len(),
            in_memory: self.spool.in_memory(),
            bytes: self.spool.bytes(),
            dropped: self.spool.dropped(),
            thinned: self.spool.thinned(),
            failures: self.disk.as_ref().map_or(0, Disk::failures),
        }
    }

    /// Makes everything durable; false: the disk took longer than `within`.
    pub async fn close(self, within: Duration) -> bool {
        match self.disk {
            Some(disk) => disk.close(within).await,
            None => true,
        }
    }

    fn tidy(&mut self, wall: UnixMs) {
        self.spool.shrink(wall);
        let gone = self.spool.take_gone();
        if let Some(disk) = self.disk.as_ref().filter(|_| !gone.is_empty()) {
            disk.forget(gone);
        }
    }
}

//! The thread that has the spool's files. Snapshots are written as they come and made durable
//! together; a failed write is taken back and tried again, logged once, counted each time, while the
//! Snapshots stay in memory.

mod files;

use super::segment;
use files::Files;
use headroom_agent_core::spool::Key;
use headroom_rack::record::{self, Entry};
use headroom_rack::{Snapshot, UnixMs};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// What may wait for a disk that hangs: with one Snapshot per second half an hour and more.
const QUEUE: usize = 4096;
/// From the first write to making it durable; less than a second so that the group of one Snapshot
/// is done before the next comes.
const COMMIT_AFTER: Duration = Duration::from_millis(500);
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// Segments rewritten at once, so that what waits does not wait for long.
const REWRITES_AT_ONCE: usize = 8;

/// A Snapshot that an earlier run left, with its time and length.
pub(super) type Found = (Key, UnixMs, u64);

/// What the link asks.
#[derive(Debug)]
enum Ask {
    Keep(Arc<Snapshot>),
    Forget(Vec<Key>),
    Fetch(Key),
}

/// What the thread tells.
#[derive(Debug)]
pub(super) enum Told {
    /// Earlier runs left these.
    Found(Vec<Found>),
    /// These are durable, with their lengths.
    Written(Vec<(Key, u64)>),
    /// This was asked for; none: it cannot be read.
    Fetched(Key, Option<Box<Snapshot>>),
}

/// The link's end of the thread.
#[derive(Debug)]
pub(super) struct Disk {
    ask: SyncSender<Ask>,
    told: mpsc::Receiver<Told>,
    failures: Arc<AtomicU64>,
    thread: JoinHandle<()>,
}

impl Disk {
    /// Starts the thread; it opens `dir` by itself, again and again if need be.
    pub(super) fn start(dir: PathBuf, max_bytes: u64) -> io::Result<Self> {
        let (ask, asked) = sync_channel(QUEUE);
        let (tell, told) = mpsc::channel(QUEUE);
        let failures = Arc::new(AtomicU64::new(0));
        let keeper = Keeper {
            dir,
            max_bytes,
            tell,
            failures: failures.clone(),
            files: None,
            pending: BTreeMap::new(),
            gone: Vec::new(),
            failing: false,
        };
        let thread = std::thread::Builder::new().name("spool".into()).spawn(move || keeper.run(&asked))?;
        Ok(Self { ask, told, failures, thread })
    }

    pub(super) fn keep(&self, snapshot: Arc<Snapshot>) -> bool {
        self.ask(Ask::Keep(snapshot))
    }

    /// If it is not taken, they come back with the next start and are acknowledged again.
    pub(super) fn forget(&self, keys: Vec<Key>) -> bool {
        self.ask(Ask::Forget(keys))
    }

    pub(super) fn fetch(&self, key: Key) -> bool {
        self.ask(Ask::Fetch(key))
    }

    pub(super) async fn told(&mut self) -> Option<Told> {
        self.told.recv().await
    }

    pub(super) fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    /// Writes what is left; false: not within the time.
    pub(super) async fn close(self, within: Duration) -> bool {
        let Self { ask, told, thread, .. } = self;
        drop((ask, told));
        let joined = tokio::task::spawn_blocking(move || thread.join().is_ok());
        matches!(tokio::time::timeout(within, joined).await, Ok(Ok(true)))
    }

    fn ask(&self, ask: Ask) -> bool {
        match self.ask.try_send(ask) {
            Ok(()) => true,
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.failures.fetch_add(1, Ordering::Relaxed);
                false
            }
        }
    }
}

struct Keeper {
    dir: PathBuf,
    max_bytes: u64,
    tell: mpsc::Sender<Told>,
    failures: Arc<AtomicU64>,
    files: Option<Files>,
    /// Not durable yet.
    pending: BTreeMap<Key, Arc<Snapshot>>,
    /// Gone since the last commit.
    gone: Vec<Key>,
    failing: bool,
}

impl Keeper {
    /// Until the link is gone.
    fn run(mut self, asked: &Receiver<Ask>) {
        let mut due = self.commit();
        loop {
            let wait = due.map_or(Duration::MAX, |due: Instant| due.saturating_duration_since(Instant::now()));
            match asked.recv_timeout(wait) {
                Ok(ask) => {
                    // What is gone is noted together with the next Snapshot that is kept.
                    let to_commit = matches!(ask, Ask::Keep(_));
                    self.answer(ask);
                    due = due.or_else(|| to_commit.then(|| Instant::now() + COMMIT_AFTER));
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if due.is_some_and(|due| Instant::now() >= due) {
                due = self.commit();
            }
        }
        self.commit();
    }

    fn answer(&mut self, ask: Ask) {
        match ask {
            Ask::Keep(snapshot) => {
                let key = Key::of(&snapshot);
                self.pending.insert(key, snapshot.clone());
                // At once, so that it survives the end of this process; while the disk fails, with
                // the next attempt.
                if !self.failing
                    && let Some(files) = &mut self.files
                    && let Err(error) = write(files, key, &snapshot)
                {
                    self.failed(&error);
                }
            }
            Ask::Forget(keys) => {
                for key in keys {
                    let pending = self.pending.remove(&key).is_some();
                    let placed = self.files.as_mut().is_some_and(|files| files.vacate(key));
                    if pending || placed {
                        self.gone.push(key);
                    }
                }
            }
            Ask::Fetch(key) => {
                let snapshot = match self.pending.get(&key) {
                    Some(snapshot) => Some((**snapshot).clone()),
                    None => self.files.as_ref().and_then(|files| {
                        let unreadable =
                            |error: io::Error| tracing::warn!(?key, %error, "a Snapshot of the spool is lost");
                        files.read(key).map_err(unreadable).ok()
                    }),
                };
                self.tell(Told::Fetched(key, snapshot.map(Box::new)));
            }
        }
    }

    /// Opens if need be, writes what is not written, makes all of it durable. When to come again.
    fn commit(&mut self) -> Option<Instant> {
        match self.try_commit() {
            Ok(()) => {
                if std::mem::take(&mut self.failing) {
                    tracing::info!(dir = %self.dir.display(), "the spool is written again");
                }
                None
            }
            Err(error) => {
                self.failed(&error);
                Some(Instant::now() + RETRY_AFTER)
            }
        }
    }

    fn try_commit(&mut self) -> io::Result<()> {
        if self.files.is_none() {
            let (files, found) = Files::open(&self.dir, self.max_bytes)?;
            if !found.is_empty() {
                tracing::info!(
                    snapshots = found.len(),
                    "an earlier run left Snapshots in the spool; they are sent as history"
                );
            }
            self.files = Some(files);
            self.tell(Told::Found(found));
        }
        let Some(files) = &mut self.files else { return Ok(()) };
        // What was written already and is gone by now needs no place.
        let written: BTreeSet<Key> = files.fresh.iter().map(|(key, _)| *key).collect();
        for (key, snapshot) in self.pending.iter().filter(|(key, _)| !written.contains(*key)) {
            write(files, *key, snapshot)?;
        }
        if !self.gone.is_empty() {
            let at = UnixMs::new(0);
            let note = segment::gone(&self.gone, at).map_err(io::Error::other)?;
            files.append(&note)?;
        }
        let mut durable = files.commit()?;
        for key in std::mem::take(&mut self.gone) {
            files.vacate(key);
        }
        durable.retain(|(key, _)| self.pending.remove(key).is_some());
        if !durable.is_empty() {
            // Before anything else can fail: the link keeps them in memory until it knows.
            let _ = self.tell.blocking_send(Told::Written(durable));
        }
        files.roll_if_full()?;
        files.drop_empty()?;
        for _ in 0..REWRITES_AT_ONCE {
            if files.bytes() > self.max_bytes {
                files.rewrite_oldest()?;
            }
        }
        Ok(())
    }

    fn failed(&mut self, error: &io::Error) {
        self.failures.fetch_add(1, Ordering::Relaxed);
        if !std::mem::replace(&mut self.failing, true) {
            tracing::error!(dir = %self.dir.display(), %error, "the spool cannot be written; it goes on in memory, trying again each second");
        }
        // If even that fails, the files are opened anew: what is durable is found again there.
        if self.files.as_mut().is_some_and(|files| files.take_back().is_err()) {
            self.files = None;
        }
    }

    fn tell(&self, told: Told) {
        // An error means that the link is gone: then nobody needs to know.
        let _ = self.tell.blocking_send(told);
    }
}

fn write(files: &mut Files, key: Key, snapshot: &Snapshot) -> io::Result<()> {
    let frame = record::encode(&Entry::Snapshot(snapshot.clone())).map_err(io::Error::other)?;
    let place = files.append(&frame)?;
    files.fresh.push((key, place));
    Ok(())
}

//! The record: what was seen, expected, decided and found, append-only in segment files. One
//! thread writes; entries become durable together once per second, and only then do the stored
//! marks move. What an entry looks like in bytes is `headroom_rack::record`.

mod marks;
mod ranges;
mod segment;
mod writer;

pub use marks::Marks;
pub use ranges::Ranges;
pub use segment::{End, Segment, list, walk};

use crate::clock::Clock;
use headroom_rack::record::{self, Entry, FrameError};
use headroom_rack::{Forecast, Plan, RackId, Score, Snapshot};
use headroom_wire::{Held, Stored};
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// What may wait for the writer, at least: some minutes of a small site.
const QUEUE: usize = 16_384;
/// And for each rack: so many seconds may a write to the disk last.
const QUEUE_PER_RACK: usize = 4;
/// Ranges in one acknowledgement: some 60 KiB on the wire. The rest goes with the next.
const HELD_AT_ONCE: usize = 2_048;
/// Ranges of one rack that wait to be told. More means that nobody asks, and then what is forgotten
/// here comes again and is acknowledged again.
const HELD_WAITING: usize = 65_536;

/// Why the record cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The file system said no.
    #[error("cannot {doing} {}", path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Another process writes there.
    #[error("the record in {} is in use by another controller; give each its own [record] dir", path.display())]
    InUse {
        /// The directory.
        path: PathBuf,
    },
}

/// Where and how to keep the record.
#[derive(Debug, Clone)]
pub struct Options {
    /// Directory of the segments; made if missing.
    pub dir: PathBuf,
    /// A segment is closed when it is longer than this.
    pub segment_bytes: u64,
    /// The oldest segment is dropped while all together are longer than this.
    pub max_bytes: u64,
    /// How long entries may wait to become durable.
    pub sync_every: Duration,
    /// How long a missing Snapshot is waited for, see [`Marks::new`].
    pub patience: Duration,
    /// How much may wait for the writer.
    pub queue: usize,
}

impl Options {
    /// The defaults: 64 MiB segments, 4 GiB in all, durable within 1 s, holes given up after 2 min.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            segment_bytes: 64 << 20,
            max_bytes: 4 << 30,
            sync_every: Duration::from_secs(1),
            patience: Duration::from_secs(120),
            queue: QUEUE,
        }
    }

    /// The same with room for what so many racks send.
    #[must_use]
    pub fn for_racks(self, racks: usize) -> Self {
        Self { queue: self.queue.max(QUEUE_PER_RACK * racks), ..self }
    }
}

/// What was found when the record was opened.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Recovery {
    /// The newest Plan.
    pub last_plan: Option<Plan>,
    /// The newest account of how good Forecasts turned out.
    pub last_score: Option<Score>,
    /// Bytes of an unfinished write that were cut off.
    pub torn_bytes: u64,
    /// One line per segment that is damaged.
    pub damaged: Vec<String>,
    /// Snapshots found.
    pub snapshots: u64,
}

/// What the record did since it was opened. Counts are of durable things only.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Stats {
    /// Entries of any kind.
    pub entries: u64,
    /// Snapshots.
    pub snapshots: u64,
    /// Readings in them.
    pub readings: u64,
    /// Readings without a value.
    pub no_data: u64,
    /// Readings with a value.
    pub points: u64,
    /// Bytes of all segments on disk.
    pub bytes: u64,
    /// Snapshots that came again and were not stored again.
    pub duplicates: u64,
    /// Entries lost because the writer could not keep up or the disk failed for long.
    pub dropped: u64,
    /// Snapshots that never came.
    pub given_up: u64,
    /// Writes that failed and were tried again.
    pub failures: u64,
}

#[derive(Debug, Default)]
struct Seen {
    stats: Stats,
    stored: Arc<HashMap<RackId, Stored>>,
    /// What each rack's agent has not been told yet, as it came.
    held: HashMap<RackId, Vec<Held>>,
}

impl Seen {
    /// Notes that a Snapshot is durable, or came although it was durable already.
    fn hold(&mut self, rack: &RackId, boot: u64, seq: u64) {
        let held = match self.held.get_mut(rack) {
            Some(held) => held,
            None => self.held.entry(rack.clone()).or_default(),
        };
        let room = held.len() < HELD_WAITING;
        match held.last_mut() {
            Some(last) if last.boot == boot && last.last.checked_add(1) == Some(seq) => last.last = seq,
            Some(last) if last.boot == boot && (last.first..=last.last).contains(&seq) => {}
            _ if room => held.push(Held { boot, first: seq, last: seq }),
            _ => {}
        }
    }
}

type Shared = Arc<Mutex<Seen>>;

/// What the writer is handed.
#[derive(Debug)]
enum Item {
    Entry(Box<Entry>),
    Snapshot(Arc<Snapshot>),
    Plan(Arc<Plan>),
    Forecasts(Vec<Forecast>),
}

impl Item {
    /// The Snapshot in it.
    fn snapshot(&self) -> Option<&Snapshot> {
        match self {
            Self::Snapshot(snapshot) => Some(snapshot),
            Self::Entry(entry) => match &**entry {
                Entry::Snapshot(snapshot) => Some(snapshot),
                _ => None,
            },
            Self::Plan(_) | Self::Forecasts(_) => None,
        }
    }

    /// Puts its frames behind others, and tells of each whether that went well.
    fn frames(self, bytes: &mut Vec<u8>, mut each: impl FnMut(&mut Vec<u8>, Result<(), FrameError>)) {
        let mut put = |append: &dyn Fn(&mut Vec<u8>) -> Result<(), FrameError>| {
            let went = append(bytes);
            each(bytes, went);
        };
        match self {
            Self::Entry(entry) => put(&|bytes| record::append(bytes, &entry)),
            Self::Snapshot(snapshot) => put(&|bytes| record::append_snapshot(bytes, &snapshot)),
            Self::Plan(plan) => put(&|bytes| record::append_plan(bytes, &plan)),
            Self::Forecasts(said) => {
                let entries = said.into_iter().map(Entry::Forecast);
                entries.for_each(|entry| put(&|bytes| record::append(bytes, &entry)));
            }
        }
    }
}

/// The open record.
#[derive(Debug)]
pub struct Record {
    sender: SyncSender<Item>,
    shared: Shared,
    thread: JoinHandle<()>,
}

impl Record {
    /// Opens or makes the record, repairs the end of the last segment and starts the writer.
    ///
    /// # Errors
    /// [`RecordError`] if the directory cannot be used or another process uses it.
    pub fn open(options: Options, clock: Clock) -> Result<(Self, Recovery), RecordError> {
        let (sender, receiver) = sync_channel(options.queue);
        let (writer, recovery) = writer::Writer::open(options, clock)?;
        let shared = writer.shared();
        let path = writer.dir().to_owned();
        let thread = std::thread::Builder::new()
            .name("record".into())
            .spawn(move || writer.run(&receiver))
            .map_err(|source| RecordError::Io { doing: "start the writer of", path, source })?;
        Ok((Self { sender, shared, thread }, recovery))
    }

    /// Hands over one entry without waiting. A full queue drops it and counts that.
    pub fn append(&self, entry: Entry) {
        self.hand_over(Item::Entry(Box::new(entry)));
    }

    /// As [`Record::append`], for a Snapshot that others hold too.
    pub fn append_snapshot(&self, snapshot: Arc<Snapshot>) {
        self.hand_over(Item::Snapshot(snapshot));
    }

    /// As [`Record::append`], for a Plan that others hold too.
    pub fn append_plan(&self, plan: Arc<Plan>) {
        self.hand_over(Item::Plan(plan));
    }

    /// As [`Record::append`], for the Forecasts of all racks.
    pub fn append_forecasts(&self, forecasts: Vec<Forecast>) {
        self.hand_over(Item::Forecasts(forecasts));
    }

    fn hand_over(&self, item: Item) {
        if let Err(TrySendError::Full(item) | TrySendError::Disconnected(item)) = self.sender.try_send(item) {
            lock(&self.shared).stats.dropped += if let Item::Forecasts(lost) = item { lost.len() as u64 } else { 1 };
        }
    }

    /// How far each agent's Snapshots are durable.
    pub fn stored(&self) -> Arc<HashMap<RackId, Stored>> {
        Arc::clone(&lock(&self.shared).stored)
    }

    /// Which of a rack's Snapshots became durable, or came again, since the last call. To be told to
    /// its agent; if that gets lost, the agent sends them again and they are here again.
    pub fn take_held(&self, rack: &RackId) -> Vec<Held> {
        let mut seen = lock(&self.shared);
        let Some(held) = seen.held.get_mut(rack) else { return Vec::new() };
        let rest = held.split_off(held.len().min(HELD_AT_ONCE));
        std::mem::replace(held, rest)
    }

    /// What was done so far.
    pub fn stats(&self) -> Stats {
        lock(&self.shared).stats
    }

    /// Makes everything durable and stops the writer.
    pub fn close(self) -> Stats {
        drop(self.sender);
        if self.thread.join().is_err() {
            tracing::error!("the writer of the record ended by a panic");
        }
        lock(&self.shared).stats
    }
}

fn lock(shared: &Shared) -> std::sync::MutexGuard<'_, Seen> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

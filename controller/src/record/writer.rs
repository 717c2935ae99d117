//! The writer's thread: collects entries, writes and syncs them as one group, then moves the
//! marks. A failed write is taken back and tried again; it never costs what was durable.

use super::{End, Item, Marks, Options, RecordError, Recovery, Seen, Segment, Shared, list, lock, segment, walk};
use crate::clock::Clock;
use headroom_rack::RackId;
use headroom_rack::record::Entry;
use std::collections::HashMap;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// From what came first to looking for more: being woken for each entry would cost more than writing it.
const GATHER: Duration = Duration::from_millis(20);
/// Marks moved before others may look at them.
const AT_ONCE: usize = 256;
/// A group is written early when it is longer than this: some 15,000 Snapshots of 8 GPUs. Each write waits for the disk
/// and then walks the marks of all racks, so that on a large site many small ones leave no time for what comes.
const GROUP_BYTES: usize = 16 << 20;
/// While the disk fails, a group may grow to this before entries are dropped.
const GROUP_BYTES_MAX: usize = 64 << 20;
/// How far back the start looks: far more than any agent's spool holds.
const SCAN_BYTES: u64 = 256 << 20;

#[derive(Debug, Default)]
struct Group {
    bytes: Vec<u8>,
    entries: u64,
    /// The Snapshots, and whether each is live.
    keys: HashMap<(RackId, u64, u64), bool>,
    readings: u64,
    no_data: u64,
}

#[derive(Debug)]
pub(super) struct Writer {
    options: Options,
    clock: Clock,
    marks: Marks,
    /// Closed segments, oldest first; the open one is not among them.
    closed: Vec<Segment>,
    number: u64,
    file: File,
    length: u64,
    group: Group,
    failing: bool,
    shared: Shared,
    _lock: File,
}

impl Writer {
    pub(super) fn open(options: Options, clock: Clock) -> Result<(Self, Recovery), RecordError> {
        let dir = options.dir.clone();
        fs::create_dir_all(&dir).map_err(io("make", &dir))?;
        let lock_path = dir.join("lock");
        let lock_file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&lock_path)
            .map_err(io("open", &lock_path))?;
        match lock_file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(RecordError::InUse { path: dir }),
            Err(TryLockError::Error(source)) => return Err(RecordError::Io { doing: "lock", path: lock_path, source }),
        }
        let mut closed = list(&dir)?;
        let mut marks = Marks::new(options.patience);
        let mut recovery = Recovery::default();
        let last_end = scan(&closed, &mut marks, &mut recovery)?;
        let mut number = closed.last().map_or(1, |s| s.number + 1);
        let mut length = 0;
        if let Some(last) = closed.last()
            && last.bytes < options.segment_bytes
        {
            // A damaged segment is left as it is and never appended to: readers stop at the damage.
            match last_end {
                Some(End::Clean) => (number, length) = (last.number, last.bytes),
                Some(End::Torn { good }) => {
                    recovery.torn_bytes = last.bytes - good;
                    (number, length) = (last.number, good);
                }
                Some(End::Corrupted { .. }) | None => {}
            }
            if number == last.number {
                closed.pop();
            }
        }
        let file = open_segment(&dir, number, length)?;
        let writer = Self {
            options,
            clock,
            marks,
            closed,
            number,
            file,
            length,
            group: Group::default(),
            failing: false,
            shared: Arc::new(Mutex::new(Seen::default())),
            _lock: lock_file,
        };
        writer.publish(|_| {});
        Ok((writer, recovery))
    }

    pub(super) fn shared(&self) -> Shared {
        Arc::clone(&self.shared)
    }

    pub(super) fn dir(&self) -> &Path {
        &self.options.dir
    }

    /// Until every sender is gone.
    pub(super) fn run(mut self, items: &Receiver<Item>) {
        let mut due = self.clock.now().after(self.options.sync_every);
        loop {
            match items.recv_timeout(due.since(self.clock.now())) {
                Ok(item) => {
                    self.collect(item);
                    while !self.is_full()
                        && let Ok(item) = items.try_recv()
                    {
                        self.collect(item);
                    }
                    let left = due.since(self.clock.now());
                    if !self.is_full() && !left.is_zero() {
                        std::thread::sleep(GATHER.min(left));
                        continue;
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            self.commit();
            due = self.clock.now().after(self.options.sync_every);
        }
        self.commit();
    }

    fn is_full(&self) -> bool {
        self.group.bytes.len() >= GROUP_BYTES && !self.failing
    }

    fn collect(&mut self, item: Item) {
        let mut name = None;
        if let Some(s) = item.snapshot() {
            let key = (s.rack.clone(), s.boot, s.seq);
            let durable = self.marks.holds(&s.rack, s.boot, s.seq);
            if durable || self.group.keys.contains_key(&key) {
                let mut seen = lock(&self.shared);
                seen.stats.duplicates += 1;
                // It came again because its acknowledgement was lost.
                if durable {
                    seen.hold(&s.rack, s.boot, s.seq);
                }
                return;
            }
            let no_data = s.readings.values().filter(|r| r.value.is_err()).count();
            name = Some((key, !s.historical, s.readings.len() as u64, no_data as u64));
        }
        let Group { bytes, entries, keys, readings: all_readings, no_data: all_no_data } = &mut self.group;
        let (mut lost, mut end) = (0, bytes.len());
        item.frames(bytes, |bytes, put| match put {
            Ok(()) if bytes.len() <= GROUP_BYTES_MAX => {
                end = bytes.len();
                *entries += 1;
                if let Some((key, live, readings, no_data)) = name.take() {
                    keys.insert(key, live);
                    *all_readings += readings;
                    *all_no_data += no_data;
                }
            }
            Ok(()) => {
                bytes.truncate(end);
                lost += 1;
            }
            Err(why) => {
                tracing::error!(%why, "an entry cannot be encoded and is not recorded");
                lost += 1;
            }
        });
        if lost > 0 {
            lock(&self.shared).stats.dropped += lost;
        }
    }

    /// Writes and syncs the group, then moves the marks.
    fn commit(&mut self) {
        if !self.group.bytes.is_empty() {
            if let Err(why) = self.write() {
                if !self.failing {
                    tracing::error!(dir = %self.options.dir.display(), %why, "the record cannot be written; trying again each second");
                }
                self.failing = true;
                lock(&self.shared).stats.failures += 1;
                return;
            }
            if self.failing {
                tracing::info!("the record is written again");
                self.failing = false;
            }
            self.length += self.group.bytes.len() as u64;
        }
        let mut group = std::mem::take(&mut self.group);
        // In order they make few ranges.
        let mut keys: Vec<_> = group.keys.drain().collect();
        keys.sort_unstable();
        for ((rack, boot, seq), live) in &keys {
            self.marks.insert_key(rack, *boot, *seq, *live);
        }
        self.marks.age(self.clock.now());
        if self.length >= self.options.segment_bytes {
            self.roll();
        }
        self.publish(|stats| {
            stats.entries += group.entries;
            stats.snapshots += keys.len() as u64;
            stats.readings += group.readings;
            stats.no_data += group.no_data;
            stats.points += group.readings - group.no_data;
        });
        // The control loop looks at the same: it must not wait for all of a large site.
        let Group { keys: room, mut bytes, .. } = group;
        // The next group is about as long: growing to it anew would copy all of it once more.
        bytes.shrink_to(2 * bytes.len());
        bytes.clear();
        (self.group.bytes, self.group.keys) = (bytes, room);
        for some in keys.chunks(AT_ONCE) {
            let mut seen = lock(&self.shared);
            some.iter().for_each(|((rack, boot, seq), _)| seen.hold(rack, *boot, *seq));
        }
    }

    fn write(&mut self) -> std::io::Result<()> {
        let written = self.file.write_all(&self.group.bytes).and_then(|()| self.file.sync_data());
        if written.is_err() {
            self.file.set_len(self.length)?;
            self.file.seek(SeekFrom::Start(self.length))?;
        }
        written
    }

    fn roll(&mut self) {
        match open_segment(&self.options.dir, self.number + 1, 0) {
            Ok(file) => {
                let path = segment::path(&self.options.dir, self.number);
                self.closed.push(Segment { number: self.number, path, bytes: self.length });
                self.number += 1;
                self.file = file;
                self.length = 0;
            }
            Err(why) => tracing::error!(%why, "no new segment can be made; the old one grows on"),
        }
        while self.closed.iter().map(|s| s.bytes).sum::<u64>() + self.length > self.options.max_bytes
            && !self.closed.is_empty()
        {
            let oldest = self.closed.remove(0);
            match fs::remove_file(&oldest.path) {
                Ok(()) => tracing::info!(segment = oldest.number, "dropped the oldest segment of the record"),
                Err(why) => tracing::error!(segment = oldest.number, %why, "cannot drop the oldest segment"),
            }
        }
    }

    fn publish(&self, change: impl FnOnce(&mut super::Stats)) {
        let bytes = self.closed.iter().map(|s| s.bytes).sum::<u64>() + self.length;
        let stored = Arc::new(self.marks.stored());
        let mut seen = lock(&self.shared);
        change(&mut seen.stats);
        seen.stats.bytes = bytes;
        seen.stats.given_up = self.marks.given_up();
        seen.stored = stored;
    }
}

/// Reads the newest segments; says how the last one ends.
fn scan(segments: &[Segment], marks: &mut Marks, recovery: &mut Recovery) -> Result<Option<End>, RecordError> {
    let mut first = segments.len();
    let mut bytes = 0;
    while first > 0 && bytes < SCAN_BYTES {
        first -= 1;
        bytes += segments[first].bytes;
    }
    let mut last_end = None;
    for segment in &segments[first..] {
        let end = walk(&segment.path, |entry| match entry {
            Entry::Snapshot(s) => {
                marks.insert(&s);
                recovery.snapshots += 1;
            }
            Entry::Plan(p) => {
                if recovery.last_plan.as_ref().is_none_or(|last| last.generation < p.generation) {
                    recovery.last_plan = Some(p);
                }
            }
            Entry::Score(score) => recovery.last_score = Some(score),
            Entry::Forecast(_) | Entry::Finding(_) | Entry::Note { .. } => {}
        })?;
        let name = segment.path.display();
        match &end {
            End::Clean => {}
            End::Torn { good } => recovery.damaged.push(format!("{name}: an unfinished write after byte {good}")),
            End::Corrupted { good, why } => {
                recovery.damaged.push(format!("{name}: damaged after byte {good} ({why}); the rest of it is skipped"));
            }
        }
        last_end = Some(end);
    }
    Ok(last_end)
}

/// Opens a segment to append after its first `length` bytes; what follows them is cut off.
fn open_segment(dir: &Path, number: u64, length: u64) -> Result<File, RecordError> {
    let path = segment::path(dir, number);
    let mut file =
        OpenOptions::new().create(true).truncate(false).write(true).open(&path).map_err(io("open", &path))?;
    file.set_len(length).map_err(io("cut", &path))?;
    file.seek(SeekFrom::Start(length)).map_err(io("seek in", &path))?;
    // A new file is durable only with its directory's entry.
    File::open(dir).and_then(|d| d.sync_all()).map_err(io("sync", dir))?;
    Ok(file)
}

fn io(doing: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> RecordError {
    let path = path.to_owned();
    move |source| RecordError::Io { doing, path, source }
}

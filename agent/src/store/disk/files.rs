//! The open files of the spool. Segments only grow; the oldest goes when all of it is gone, or is rewritten at the end
//! when there is no room.

use super::super::segment::{self, Line, Place};
use super::Found;
use headroom_agent_core::spool::Key;
use headroom_rack::record::{self, Entry};
use headroom_rack::{Snapshot, UnixMs};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

#[derive(Debug, Default)]
struct Segment {
    bytes: u64,
    live: BTreeSet<Key>,
}

/// The open files.
#[derive(Debug)]
pub(super) struct Files {
    dir: PathBuf,
    segment_bytes: u64,
    segments: BTreeMap<u64, Segment>,
    places: BTreeMap<Key, Place>,
    number: u64,
    file: File,
    /// Length of the open segment, and how much of it is durable.
    length: u64,
    durable: u64,
    /// Written since the last commit.
    pub(super) fresh: Vec<(Key, Place)>,
    _lock: File,
}

impl Files {
    /// Opens the directory, reads what is there and begins a new segment: what an interrupted write
    /// left at the end of the last one is never appended to.
    pub(super) fn open(dir: &Path, max_bytes: u64) -> io::Result<(Self, Vec<Found>)> {
        fs::create_dir_all(dir)?;
        let lock = OpenOptions::new().create(true).truncate(false).write(true).open(dir.join("lock"))?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => io::Error::other("another agent uses this directory"),
            TryLockError::Error(error) => error,
        })?;
        let mut segments = BTreeMap::new();
        let mut places: BTreeMap<Key, (Place, UnixMs)> = BTreeMap::new();
        for (number, bytes) in segment::list(dir)? {
            let path = segment::path(dir, number);
            let lost = segment::walk(&path, |line| match line {
                Line::Snapshot { key, at, offset, length } => {
                    places.insert(key, (Place { segment: number, offset, length }, at));
                }
                Line::Gone(ranges) => {
                    for (first, last) in ranges.into_iter().filter(|(first, last)| first.seq <= *last) {
                        let range = first..=Key { seq: last, ..first };
                        let keys: Vec<Key> = places.range(range).map(|(key, _)| *key).collect();
                        for key in keys {
                            places.remove(&key);
                        }
                    }
                }
            })?;
            if lost > 0 {
                tracing::warn!(file = %path.display(), bytes = lost, "a part of the spool cannot be read and is left out");
            }
            segments.insert(number, Segment { bytes, live: BTreeSet::new() });
        }
        for (key, (place, _)) in &places {
            segments.entry(place.segment).or_default().live.insert(*key);
        }
        let found = places.iter().map(|(key, (place, at))| (*key, *at, place.length.into())).collect();
        let number = segments.keys().next_back().map_or(1, |last| last + 1);
        let file = create(dir, number)?;
        segments.insert(number, Segment::default());
        let files = Self {
            dir: dir.to_owned(),
            segment_bytes: (max_bytes / 16).clamp(16 << 10, 1 << 20),
            segments,
            places: places.into_iter().map(|(key, (place, _))| (key, place)).collect(),
            number,
            file,
            length: 0,
            durable: 0,
            fresh: Vec::new(),
            _lock: lock,
        };
        Ok((files, found))
    }

    pub(super) fn append(&mut self, frame: &[u8]) -> io::Result<Place> {
        self.file.write_all(frame)?;
        let length = u32::try_from(frame.len()).map_err(io::Error::other)?;
        let place = Place { segment: self.number, offset: self.length, length };
        self.length += frame.len() as u64;
        Ok(place)
    }

    /// Makes durable what was written, and says what.
    pub(super) fn commit(&mut self) -> io::Result<Vec<(Key, u64)>> {
        if self.length > self.durable {
            self.file.sync_data()?;
            self.durable = self.length;
        }
        let fresh = std::mem::take(&mut self.fresh);
        for (key, place) in &fresh {
            self.vacate(*key);
            self.places.insert(*key, *place);
            self.segments.entry(place.segment).or_default().live.insert(*key);
        }
        self.segments.entry(self.number).or_default().bytes = self.length;
        Ok(fresh.into_iter().map(|(key, place)| (key, place.length.into())).collect())
    }

    /// Takes back what is not durable, as if it had not been written.
    pub(super) fn take_back(&mut self) -> io::Result<()> {
        self.fresh.clear();
        self.file.set_len(self.durable)?;
        self.file.seek(SeekFrom::Start(self.durable))?;
        self.length = self.durable;
        Ok(())
    }

    pub(super) fn roll_if_full(&mut self) -> io::Result<()> {
        if self.length < self.segment_bytes {
            return Ok(());
        }
        self.file = create(&self.dir, self.number + 1)?;
        self.number += 1;
        (self.length, self.durable) = (0, 0);
        self.segments.insert(self.number, Segment::default());
        Ok(())
    }

    pub(super) fn vacate(&mut self, key: Key) -> bool {
        let Some(place) = self.places.remove(&key) else { return false };
        if let Some(segment) = self.segments.get_mut(&place.segment) {
            segment.live.remove(&key);
        }
        true
    }

    pub(super) fn read(&self, key: Key) -> io::Result<Snapshot> {
        let place = self.places.get(&key).ok_or_else(|| io::Error::other("it is not there"))?;
        let frame = self.frame(*place)?;
        match record::decode(&frame) {
            Ok((Entry::Snapshot(snapshot), _)) if Key::of(&snapshot) == key => Ok(snapshot),
            Ok(_) => Err(io::Error::other("something else lies in its place")),
            Err(error) => Err(io::Error::other(error)),
        }
    }

    fn frame(&self, place: Place) -> io::Result<Vec<u8>> {
        let mut frame = vec![0; place.length as usize];
        File::open(segment::path(&self.dir, place.segment))?.read_exact_at(&mut frame, place.offset)?;
        Ok(frame)
    }

    pub(super) fn bytes(&self) -> u64 {
        self.segments.values().map(|s| s.bytes).sum()
    }

    /// Drops the oldest segments of which nothing is left. Only the oldest: a note of what is gone
    /// must not go before the Snapshot it speaks of.
    pub(super) fn drop_empty(&mut self) -> io::Result<()> {
        while let Some((number, segment)) = self.segments.first_key_value()
            && *number != self.number
            && segment.live.is_empty()
        {
            let number = *number;
            match fs::remove_file(segment::path(&self.dir, number)) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
            self.segments.remove(&number);
        }
        Ok(())
    }

    /// Moves what is left of the oldest segment to the end, so that the segment can go.
    pub(super) fn rewrite_oldest(&mut self) -> io::Result<()> {
        let Some((number, segment)) = self.segments.first_key_value() else { return Ok(()) };
        if *number == self.number {
            return Ok(());
        }
        for key in segment.live.clone() {
            let Some(place) = self.places.get(&key).copied() else { continue };
            let frame = match self.frame(place) {
                Ok(frame) if record::decode(&frame).is_ok() => frame,
                // It stays without a place: who asks for it learns that it cannot be read.
                Ok(_) | Err(_) => {
                    self.vacate(key);
                    continue;
                }
            };
            let place = self.append(&frame)?;
            self.fresh.push((key, place));
        }
        self.commit()?;
        self.roll_if_full()?;
        self.drop_empty()
    }
}

fn create(dir: &Path, number: u64) -> io::Result<File> {
    let file = OpenOptions::new().create(true).truncate(true).write(true).open(segment::path(dir, number))?;
    // A new file is durable only with its directory's entry.
    File::open(dir)?.sync_all()?;
    Ok(file)
}

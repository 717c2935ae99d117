//! One file of the spool: frames of `headroom_rack::record`, Snapshots and notes of which Snapshots
//! are gone, one after another. Lists the files and reads back what can be trusted; does not write.

use headroom_agent_core::spool::Key;
use headroom_rack::UnixMs;
use headroom_rack::record::{self, Entry, FrameError};
use std::io;
use std::path::{Path, PathBuf};

const SUFFIX: &str = ".hspool";
/// The kind of the notes that say what is gone.
const GONE: &str = "gone";

/// Where a frame lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub segment: u64,
    pub offset: u64,
    pub length: u32,
}

/// What a segment says, in its order.
#[derive(Debug, PartialEq)]
pub(super) enum Line {
    Snapshot { key: Key, at: UnixMs, offset: u64, length: u32 },
    Gone(Vec<(Key, u64)>),
}

/// The path of a segment.
pub(super) fn path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:08}{SUFFIX}"))
}

/// Numbers and lengths of the segments in `dir`, oldest first. Other files are left alone.
pub(super) fn list(dir: &Path) -> io::Result<Vec<(u64, u64)>> {
    let mut segments = Vec::new();
    for file in std::fs::read_dir(dir)? {
        let file = file?;
        let name = file.file_name();
        if let Some(number) = name.to_str().and_then(|n| n.strip_suffix(SUFFIX)).and_then(|n| n.parse().ok()) {
            segments.push((number, file.metadata()?.len()));
        }
    }
    segments.sort_unstable();
    Ok(segments)
}

/// The frame that tells what is gone, runs of numbers as ranges.
pub(super) fn gone(keys: &[Key], at: UnixMs) -> Result<Vec<u8>, FrameError> {
    let mut keys = keys.to_vec();
    keys.sort_unstable();
    let mut ranges: Vec<(Key, u64)> = Vec::new();
    for key in keys {
        match ranges.last_mut() {
            Some((first, last)) if first.boot == key.boot && last.checked_add(1) == Some(key.seq) => *last = key.seq,
            _ => ranges.push((key, key.seq)),
        }
    }
    let words: Vec<_> = ranges.iter().map(|(first, last)| format!("{}:{}-{last}", first.boot, first.seq)).collect();
    record::encode(&Entry::Note { at, kind: GONE.to_owned(), text: words.join(" ") })
}

fn parse_gone(text: &str) -> Vec<(Key, u64)> {
    let range = |word: &str| {
        let (boot, range) = word.split_once(':')?;
        let (first, last) = range.split_once('-')?;
        Some((Key { boot: boot.parse().ok()?, seq: first.parse().ok()? }, last.parse().ok()?))
    };
    text.split_whitespace().filter_map(range).collect()
}

/// Hands what the file says to `each`; returns how many bytes of it cannot be read. A damaged frame
/// costs itself only: the frames after it have checksums of their own.
pub(super) fn walk(path: &Path, mut each: impl FnMut(Line)) -> io::Result<u64> {
    let bytes = std::fs::read(path)?;
    let (mut at, mut lost) = (0, 0);
    while at < bytes.len() {
        match record::decode(&bytes[at..]) {
            Ok((entry, length)) => {
                match entry {
                    Entry::Snapshot(s) => {
                        let length = u32::try_from(length).unwrap_or(u32::MAX);
                        each(Line::Snapshot { key: Key::of(&s), at: s.at, offset: at as u64, length });
                    }
                    Entry::Note { kind, text, .. } if kind == GONE => each(Line::Gone(parse_gone(&text))),
                    _ => {}
                }
                at += length;
            }
            Err(FrameError::CutOff | FrameError::Length(_)) => return Ok(lost + (bytes.len() - at) as u64),
            Err(FrameError::Checksum | FrameError::Version(_) | FrameError::Body(_)) => {
                let length = bytes[at..at + 4].try_into().map_or(0, u32::from_le_bytes);
                at += record::HEADER + length as usize;
                lost += record::HEADER as u64 + u64::from(length);
            }
        }
    }
    Ok(lost)
}

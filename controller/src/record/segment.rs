//! Segment files: `{:08}.hrec`, frames of `headroom_rack::record` one after another. Lists them,
//! walks their entries and finds the end of what can be trusted. Does not write.

use super::RecordError;
use headroom_rack::record::{self, Entry, FrameError};
use std::fs;
use std::path::{Path, PathBuf};

/// A segment file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// Its number; higher is newer.
    pub number: u64,
    /// Where it lies.
    pub path: PathBuf,
    /// Its length in bytes.
    pub bytes: u64,
}

/// The path of a segment in `dir`.
pub fn path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:08}.hrec"))
}

/// The segments of `dir`, oldest first. Other files are left alone.
///
/// # Errors
/// [`RecordError::Io`] if the directory cannot be read.
pub fn list(dir: &Path) -> Result<Vec<Segment>, RecordError> {
    let failed = |source| RecordError::Io { doing: "list", path: dir.to_owned(), source };
    let mut segments = Vec::new();
    for file in fs::read_dir(dir).map_err(failed)? {
        let file = file.map_err(failed)?;
        let name = file.file_name();
        let number = name.to_str().and_then(|n| n.strip_suffix(".hrec")).and_then(|n| n.parse().ok());
        if let Some(number) = number {
            segments.push(Segment { number, path: file.path(), bytes: file.metadata().map_err(failed)?.len() });
        }
    }
    segments.sort_by_key(|s| s.number);
    Ok(segments)
}

/// How a segment ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// With its last frame.
    Clean,
    /// Inside a frame: an unfinished write. The bytes before it are good.
    Torn {
        /// Length of the good part.
        good: u64,
    },
    /// A frame does not fit its checksum or does not decode: what follows cannot be found.
    Corrupted {
        /// Length of the good part.
        good: u64,
        /// What is wrong with the frame after it.
        why: FrameError,
    },
}

/// Hands every entry of the file to `each`, in order, and says how the file ends.
///
/// # Errors
/// [`RecordError::Io`] if the file cannot be read.
pub fn walk(path: &Path, mut each: impl FnMut(Entry)) -> Result<End, RecordError> {
    let bytes = fs::read(path).map_err(|source| RecordError::Io { doing: "read", path: path.to_owned(), source })?;
    let mut at = 0;
    while at < bytes.len() {
        match record::decode(&bytes[at..]) {
            Ok((entry, length)) => {
                each(entry);
                at += length;
            }
            // An unfinished write is at most one frame; a longer rest means that a length was altered.
            Err(FrameError::CutOff) if bytes.len() - at <= LONGEST_TORN_TAIL => {
                return Ok(End::Torn { good: at as u64 });
            }
            Err(why) => return Ok(End::Corrupted { good: at as u64, why }),
        }
    }
    Ok(End::Clean)
}

/// Entries are some kilobytes; a torn one leaves less than this.
const LONGEST_TORN_TAIL: usize = 1 << 20;

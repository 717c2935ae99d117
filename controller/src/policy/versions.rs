//! The policies that have been in force, beside the record: `policy/000001.toml` and so on, and a list of them
//! in `policy/versions.jsonl`. Only ever appended to.

use crate::clock::date_of;
use headroom_rack::UnixMs;
use serde::{Deserialize, Serialize};
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// One version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    /// Its number, from 1.
    pub version: u64,
    /// Since when it was in force, ms since 1970.
    pub at_ms: u64,
    /// Length of the file.
    pub bytes: u64,
    /// What changed, or where it came from.
    pub how: String,
}

impl Version {
    /// Its time in UTC, for people.
    pub fn time(&self) -> String {
        let seconds = self.at_ms / 1000;
        let (days, of_day) = (seconds / 86_400, seconds % 86_400);
        let date = date_of(i64::try_from(days).unwrap_or(i64::MAX / 2));
        format!("{date} {:02}:{:02}:{:02} UTC", of_day / 3600, of_day / 60 % 60, of_day % 60)
    }
}

/// Where they are kept.
#[derive(Debug, Clone)]
pub struct Versions {
    dir: PathBuf,
}

impl Versions {
    /// Beside the record in `record`.
    pub fn new(record: &Path) -> Self {
        Self { dir: record.join("policy") }
    }

    /// Where the text of a version is.
    pub fn path(&self, version: u64) -> PathBuf {
        self.dir.join(format!("{version:06}.toml"))
    }

    /// All versions, oldest first. A line cut off by a crash is left out.
    ///
    /// # Errors
    /// What the system said, unless there is none yet.
    pub fn list(&self) -> io::Result<Vec<Version>> {
        match fs::read_to_string(self.dir.join("versions.jsonl")) {
            Ok(text) => Ok(text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()),
            Err(why) if why.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(why) => Err(why),
        }
    }

    /// The text of a version.
    ///
    /// # Errors
    /// That there is no such version, or what the system said.
    pub fn text(&self, version: u64) -> io::Result<String> {
        let known = self.list()?;
        if !known.iter().any(|v| v.version == version) {
            let numbers: Vec<String> = known.iter().map(|v| v.version.to_string()).collect();
            let has = if numbers.is_empty() { "none yet".to_owned() } else { numbers.join(", ") };
            return Err(io::Error::new(
                io::ErrorKind::NotFound,
                format!("there is no version {version}; there is {has}"),
            ));
        }
        fs::read_to_string(self.path(version))
    }

    /// Notes that `text` is in force; the number of its version and whether that is new.
    ///
    /// # Errors
    /// What the system said.
    pub fn keep(&self, text: &str, at: UnixMs, how: &str) -> io::Result<(u64, bool)> {
        let known = self.list()?;
        let last = known.last().map_or(0, |v| v.version);
        if last > 0 && fs::read_to_string(self.path(last)).is_ok_and(|kept| kept == text) {
            return Ok((last, false));
        }
        fs::create_dir_all(&self.dir)?;
        let same = known.iter().find(|v| fs::read_to_string(self.path(v.version)).is_ok_and(|kept| kept == text));
        let how = same.map_or_else(|| how.to_owned(), |v| format!("version {} again", v.version));
        let version = Version { version: last + 1, at_ms: at.get(), bytes: text.len() as u64, how };
        fs::write(self.path(version.version), text)?;
        let line = serde_json::to_string(&version).map_err(io::Error::other)? + "\n";
        let mut list = OpenOptions::new().create(true).append(true).open(self.dir.join("versions.jsonl"))?;
        list.write_all(line.as_bytes())?;
        list.sync_data()?;
        Ok((version.version, true))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_text_in_force_is_a_version_and_an_old_one_comes_back_under_a_new_number() {
        let dir = tempfile::tempdir().unwrap();
        let versions = Versions::new(dir.path());
        assert_eq!(versions.list().unwrap(), []);
        assert_eq!(versions.keep("a", UnixMs::new(1_795_000_000_000), "first").unwrap(), (1, true));
        assert_eq!(versions.keep("a", UnixMs::new(2), "again").unwrap(), (1, false));
        assert_eq!(versions.keep("b", UnixMs::new(3), "other").unwrap(), (2, true));
        assert_eq!(versions.keep("a", UnixMs::new(4), "other").unwrap(), (3, true));
        let list = versions.list().unwrap();
        assert_eq!((list[2].how.as_str(), list[0].time().as_str()), ("version 1 again", "2026-11-18 11:06:40 UTC"));
        assert_eq!(versions.text(2).unwrap(), "b");
        assert!(versions.text(9).unwrap_err().to_string().contains("there is 1, 2, 3"));
    }
}

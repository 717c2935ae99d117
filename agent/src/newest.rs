//! The newest generation that was obeyed, kept beside the spool: an agent that starts again goes on refusing what is
//! older, as an old controller that the network let go of meanwhile would send. A thread of its own writes;
//! nobody waits for it.

use headroom_rack::Generation;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

const FILE: &str = "generation";

/// Where it is kept.
#[derive(Debug, Clone)]
pub struct Newest {
    path: PathBuf,
    told: SyncSender<Generation>,
}

impl Newest {
    /// What an earlier run obeyed last (the least generation if none did), and the keeper of what this one
    /// obeys.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn open(dir: &Path) -> io::Result<(Self, Generation)> {
        let path = dir.join(FILE);
        let before = fs::read_to_string(&path).map(|text| parse(&text));
        let before = match before {
            Ok(Some(before)) => before,
            Ok(None) => {
                tracing::warn!(file = %path.display(), "it does not say which generation was obeyed last; any is taken");
                Generation::default()
            }
            Err(why) if why.kind() == io::ErrorKind::NotFound => Generation::default(),
            Err(why) => {
                tracing::warn!(file = %path.display(), %why, "cannot read which generation was obeyed last; any is taken");
                Generation::default()
            }
        };
        // One waits while one is written; what finds no room comes again with the next Plan.
        let (told, tells) = sync_channel(1);
        let file = path.clone();
        std::thread::Builder::new().name("newest".into()).spawn(move || write(&file, before, &tells))?;
        Ok((Self { path, told }, before))
    }

    /// Keeps a generation that was obeyed.
    pub fn keep(&self, generation: Generation) {
        let _ = self.told.try_send(generation);
    }

    /// The file, for people.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

fn parse(text: &str) -> Option<Generation> {
    let (epoch, counter) = text.trim().split_once('/')?;
    Some(Generation { epoch: epoch.parse().ok()?, counter: counter.parse().ok()? })
}

fn write(path: &Path, mut last: Generation, tells: &Receiver<Generation>) {
    let mut failing = false;
    for generation in tells {
        let said = replace(path, generation, generation.epoch != last.epoch);
        if let (Err(why), false) = (&said, failing) {
            tracing::warn!(file = %path.display(), %why, "cannot keep which generation was obeyed last");
        }
        failing = said.is_err();
        last = generation;
    }
}

/// A kill leaves the old text or the new one. A new epoch, as every new controller has, survives a power cut too;
/// syncing each second's counter would wear the disk for a message that is a second late.
fn replace(path: &Path, generation: Generation, durable: bool) -> io::Result<()> {
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir)?;
    }
    let new = path.with_extension("new");
    let mut file = File::create(&new)?;
    file.write_all(format!("{}/{}\n", generation.epoch, generation.counter).as_bytes())?;
    if durable {
        file.sync_all()?;
    }
    fs::rename(&new, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_obeyed_is_known_after_the_next_start_and_nonsense_is_not_believed() {
        let dir = tempfile::tempdir().unwrap();
        let (newest, before) = Newest::open(dir.path()).unwrap();
        assert_eq!(before, Generation::default());
        let obeyed = Generation { epoch: 1_790_000_000_123, counter: 45 };
        newest.keep(obeyed);
        while !newest.path().exists() {
            std::thread::yield_now();
        }
        assert_eq!(Newest::open(dir.path()).unwrap().1, obeyed);
        for nonsense in ["", "7", "7/", "-1/2", "1/2/3"] {
            fs::write(newest.path(), nonsense).unwrap();
            assert_eq!(Newest::open(dir.path()).unwrap().1, Generation::default(), "{nonsense:?}");
        }
    }
}

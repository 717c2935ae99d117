//! A state that lies on disk between two runs: one JSON file, replaced as a whole, written by a task of its
//! own. Only the newest state counts.

use crate::stop::{self, Stop, Stopper};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Keeps the newest state.
#[derive(Debug)]
pub struct Keeper<T> {
    states: watch::Sender<T>,
    stop: Stopper,
    task: JoinHandle<()>,
}

impl<T: Clone + Serialize + DeserializeOwned + Default + Send + Sync + 'static> Keeper<T> {
    /// Reads what lies there and begins to keep. A missing file is an empty state, a damaged one is told and
    /// left aside until there is something new; `what` names it in the log.
    pub fn open(path: PathBuf, what: &'static str) -> (Self, T) {
        let state: T = load(&path, what);
        let (states, saved) = watch::channel(state.clone());
        let (stop, stopped) = stop::channel();
        (Self { states, stop, task: tokio::spawn(keep(path, what, saved, stopped)) }, state)
    }

    /// Takes a newer state.
    pub fn save(&self, state: T) {
        self.states.send_replace(state);
    }

    /// Ends with the newest state on disk.
    pub async fn stop(&mut self) {
        self.stop.stop();
        let _ = (&mut self.task).await;
    }
}

fn load<T: DeserializeOwned + Default>(path: &Path, what: &str) -> T {
    let why: &dyn std::fmt::Display = match fs::read(path).map(|bytes| serde_json::from_slice(&bytes)) {
        Ok(Ok(state)) => return state,
        Err(why) if why.kind() == io::ErrorKind::NotFound => return T::default(),
        Ok(Err(ref why)) => &why.to_string(),
        Err(ref why) => &why.to_string(),
    };
    tracing::error!(path = %path.display(), %why, "{what} of the last run cannot be read; none is in force");
    T::default()
}

async fn keep<T: Clone + Serialize + Send + Sync + 'static>(
    path: PathBuf,
    what: &'static str,
    mut states: watch::Receiver<T>,
    mut stop: Stop,
) {
    loop {
        let last = tokio::select! {
            changed = states.changed() => changed.is_err(),
            () = stop.requested() => true,
        };
        if !last || states.has_changed().unwrap_or(false) {
            let (state, path) = (states.borrow_and_update().clone(), path.clone());
            let stored = tokio::task::spawn_blocking(move || store(&path, &state)).await;
            if let Ok(Err(why)) = stored {
                tracing::error!(%why, "{what} cannot be kept; a restart would forget them");
            }
        }
        if last {
            return;
        }
    }
}

fn store(path: &Path, state: &impl Serialize) -> io::Result<()> {
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir)?;
    }
    let fresh = path.with_extension("json.new");
    let mut file = File::create(&fresh)?;
    file.write_all(&serde_json::to_vec(state)?)?;
    file.sync_all()?;
    fs::rename(&fresh, path)?;
    path.parent().map_or(Ok(()), |dir| File::open(dir)?.sync_all())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_was_saved_last_is_there_after_a_restart_and_damage_is_an_empty_state() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sub/state.json");
        let (mut keeper, empty) = Keeper::<Vec<u32>>::open(path.clone(), "numbers");
        assert!(empty.is_empty());
        (1..=50).for_each(|n| keeper.save(vec![n]));
        keeper.stop().await;
        let (mut keeper, kept) = Keeper::<Vec<u32>>::open(path.clone(), "numbers");
        assert_eq!(kept, [50]);
        keeper.stop().await;
        fs::write(&path, b"[5").unwrap();
        let (mut keeper, damaged) = Keeper::<Vec<u32>>::open(path.clone(), "numbers");
        keeper.stop().await;
        assert!(damaged.is_empty() && fs::read(&path).unwrap() == b"[5", "left aside");
    }
}

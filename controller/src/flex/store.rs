//! Where the desk's state lies between two runs: one JSON file, replaced as a whole. Written by a task of
//! its own; only the newest state counts.

use super::desk::State;
use crate::stop::Stop;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Reads the state; a missing file is an empty one, a damaged one is told and left aside.
pub fn load(path: &Path) -> State {
    match fs::read(path).map(|bytes| serde_json::from_slice(&bytes)) {
        Ok(Ok(state)) => state,
        Ok(Err(why)) => {
            tracing::error!(path = %path.display(), %why, "the load targets of the last run cannot be read; none is in force");
            State::default()
        }
        Err(why) if why.kind() == io::ErrorKind::NotFound => State::default(),
        Err(why) => {
            tracing::error!(path = %path.display(), %why, "the load targets of the last run cannot be read; none is in force");
            State::default()
        }
    }
}

/// Keeps the newest state on disk.
pub fn keep(path: PathBuf, mut states: watch::Receiver<State>, mut stop: Stop) -> JoinHandle<()> {
    tokio::spawn(async move {
        loop {
            let last = tokio::select! {
                changed = states.changed() => changed.is_err(),
                () = stop.requested() => true,
            };
            if !last || states.has_changed().unwrap_or(false) {
                let (state, path) = (states.borrow_and_update().clone(), path.clone());
                let stored = tokio::task::spawn_blocking(move || store(&path, &state)).await;
                if let Ok(Err(why)) = stored {
                    tracing::error!(%why, "the load targets cannot be kept; a restart would forget them");
                }
            }
            if last {
                return;
            }
        }
    })
}

fn store(path: &Path, state: &State) -> io::Result<()> {
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

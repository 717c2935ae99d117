//! A checkpoint: weights, optimiser, best weights so far and where the training stands. Replaced as
//! a whole after every epoch, so that there is always one that fits together.

use super::{json, read_json};
use crate::engine::Checkpoint;
use anyhow::{Context, Result};
use std::path::Path;

const PLACE: &str = "checkpoint";
const NEW: &str = "checkpoint.new";
const OLD: &str = "checkpoint.old";

/// Writes into the run folder `dir`.
pub(super) fn write(checkpoint: &Checkpoint, dir: &Path) -> Result<()> {
    let (place, new, old) = (dir.join(PLACE), dir.join(NEW), dir.join(OLD));
    write_files(checkpoint, &new)
        .and_then(|()| {
            remove(&old)?;
            if place.exists() {
                std::fs::rename(&place, &old)?;
            }
            std::fs::rename(&new, &place)?;
            Ok(remove(&old)?)
        })
        .with_context(|| format!("{} cannot be written", place.display()))
}

fn write_files(checkpoint: &Checkpoint, new: &Path) -> Result<()> {
    remove(new)?;
    std::fs::create_dir_all(new)?;
    std::fs::write(new.join("weights.json"), json(&checkpoint.weights)?)?;
    std::fs::write(new.join("best.json"), json(&checkpoint.best)?)?;
    std::fs::write(new.join("optimizer.json"), json(&(checkpoint.steps, &checkpoint.memory))?)?;
    std::fs::write(new.join("state.json"), json(&checkpoint.state)?)?;
    Ok(())
}

/// Reads from the run folder `dir`.
pub(super) fn read(dir: &Path) -> Result<Checkpoint> {
    // Between two renames only the old one is there.
    let place = [PLACE, OLD].map(|name| dir.join(name)).into_iter().find(|p| p.exists());
    let place = place.with_context(|| format!("{} holds no checkpoint", dir.display()))?;
    let (steps, memory) = read_json(&place.join("optimizer.json"))?;
    Ok(Checkpoint {
        weights: read_json(&place.join("weights.json"))?,
        best: read_json(&place.join("best.json"))?,
        memory,
        steps,
        state: read_json(&place.join("state.json"))?,
    })
}

fn remove(dir: &Path) -> std::io::Result<()> {
    if dir.exists() { std::fs::remove_dir_all(dir) } else { Ok(()) }
}

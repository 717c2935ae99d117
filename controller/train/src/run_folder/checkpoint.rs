//! A checkpoint: weights, optimiser, best weights so far and where the training stands. Replaced as
//! a whole after every epoch, so that there is always one that fits together.

use super::{Epoch, json, read_json};
use crate::weights::Weights;
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::path::Path;

const PLACE: &str = "checkpoint";
const NEW: &str = "checkpoint.new";
const OLD: &str = "checkpoint.old";

/// See the module.
#[derive(Debug, Clone)]
pub struct Checkpoint {
    /// Now.
    pub weights: Weights,
    /// With the lowest validation loss.
    pub best: Weights,
    /// The optimiser's own format.
    pub optimizer: Vec<u8>,
    /// Where the training stands.
    pub state: State,
}

/// Where a training stands.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct State {
    /// Finished epochs.
    pub epochs: Vec<Epoch>,
    /// The one with the lowest validation loss.
    pub best_epoch: usize,
    /// That loss; nothing before the first epoch.
    pub best_loss: Option<f64>,
}

impl Checkpoint {
    /// Writes into the run folder `dir`.
    pub(super) fn write(&self, dir: &Path) -> Result<()> {
        let (place, new, old) = (dir.join(PLACE), dir.join(NEW), dir.join(OLD));
        self.write_files(&new)
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

    fn write_files(&self, new: &Path) -> Result<()> {
        remove(new)?;
        std::fs::create_dir_all(new)?;
        std::fs::write(new.join("weights.json"), json(&self.weights)?)?;
        std::fs::write(new.join("best.json"), json(&self.best)?)?;
        std::fs::write(new.join("optimizer.mpk"), &self.optimizer)?;
        std::fs::write(new.join("state.json"), json(&self.state)?)?;
        Ok(())
    }

    /// Reads from the run folder `dir`.
    pub(super) fn read(dir: &Path) -> Result<Self> {
        // Between two renames only the old one is there.
        let place = [PLACE, OLD].map(|name| dir.join(name)).into_iter().find(|p| p.exists());
        let place = place.with_context(|| format!("{} holds no checkpoint", dir.display()))?;
        let optimizer = place.join("optimizer.mpk");
        Ok(Self {
            weights: read_json(&place.join("weights.json"))?,
            best: read_json(&place.join("best.json"))?,
            optimizer: std::fs::read(&optimizer).with_context(|| format!("{} cannot be read", optimizer.display()))?,
            state: read_json(&place.join("state.json"))?,
        })
    }
}

fn remove(dir: &Path) -> std::io::Result<()> {
    if dir.exists() { std::fs::remove_dir_all(dir) } else { Ok(()) }
}

//! How a training on tables opens its run folder: the same questions for every task, before any learning. What decides the result is kept as
//! `config.json`, the SHA-256 of the data as `prepared.json`, so that what is resumed is the same training of the same data.

use super::{json, read_json, write_whole};
use crate::options::{Usage, differences};
use anyhow::{Context, Result, bail};
use headroom_predict::file_hash;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// How far the data of a training reaches: in cycles or in days.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reach<T> {
    /// Lines that were read.
    pub rows: usize,
    /// Different units.
    pub units: usize,
    /// The first of it.
    pub from: T,
    /// The last of it.
    pub to: T,
}

/// What must be the same again where a training is resumed, beside the order.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Prepared {
    /// SHA-256 of the files.
    fingerprint: String,
}

/// A run folder that may be used.
#[derive(Debug)]
pub struct Opening<'a> {
    out: &'a Path,
    resumed: bool,
}

impl<'a> Opening<'a> {
    /// Whether a training of this `order` (what decides its result, all of it) may begin, or go on, in `out`.
    ///
    /// # Errors
    /// [`Usage`]: no data, a folder in use or, to be resumed, none or that of another training.
    pub fn check(task: &str, order: &impl Serialize, csv: &[PathBuf], out: &'a Path, resumed: bool) -> Result<Self> {
        if csv.is_empty() {
            bail!(Usage(format!("{task} learns from --csv, not from the controller's record")));
        }
        let (place, config) = (out.display(), out.join("config.json"));
        if resumed {
            if !config.exists() {
                bail!(Usage(format!("{place} holds no training to resume")));
            }
            let before: serde_json::Value = read_json(&config)?;
            let differences = differences(&serde_json::to_value(order)?, &before);
            if !differences.is_empty() {
                bail!(Usage(format!("this is not the training to resume: {}", differences.join("; "))));
            }
        } else if config.exists() {
            bail!(Usage(format!("{place} already holds a training: add --resume or name another --out")));
        }
        Ok(Self { out, resumed })
    }

    /// Begins once the data is known to be sound.
    ///
    /// # Errors
    /// [`Usage`]: what is resumed was of other data. Others: the folder cannot be made or written.
    pub fn begin(&self, order: &impl Serialize, csv: &[PathBuf]) -> Result<()> {
        let mut bytes = Vec::new();
        for path in csv {
            bytes.extend(std::fs::read(path).with_context(|| format!("{} cannot be read", path.display()))?);
        }
        let prepared = Prepared { fingerprint: file_hash(&bytes) };
        if self.resumed && read_json::<Prepared>(&self.out.join("prepared.json"))? != prepared {
            bail!(Usage("this is not the training to resume: the data has changed".to_owned()));
        }
        std::fs::create_dir_all(self.out).with_context(|| format!("{} cannot be made", self.out.display()))?;
        write_whole(&self.out.join("prepared.json"), &json(&prepared)?)?;
        write_whole(&self.out.join("config.json"), &json(order)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_opened_once_and_resumed_for_the_same_order_and_data_alone() {
        let dir = tempfile::tempdir().unwrap();
        let (csv, out) = ([dir.path().join("a.csv")], dir.path().join("run"));
        std::fs::write(&csv[0], "1\n").unwrap();
        let order = |seed: u32| serde_json::json!({"name": "a", "plan": {"seed": seed}});
        let check = |seed, resumed| Opening::check("task", &order(seed), &csv, &out, resumed);
        let words = |error: anyhow::Error| format!("{error:#}");
        assert!(words(check(1, true).unwrap_err()).contains("no training to resume"));
        assert!(words(Opening::check("task", &order(1), &[], &out, false).unwrap_err()).contains("--csv"));
        check(1, false).unwrap().begin(&order(1), &csv).unwrap();
        assert!(words(check(1, false).unwrap_err()).contains("--resume"));
        assert!(words(check(2, true).unwrap_err()).contains("plan.seed is 2, was 1"));
        check(1, true).unwrap().begin(&order(1), &csv).unwrap();
        std::fs::write(&csv[0], "2\n").unwrap();
        assert!(words(check(1, true).unwrap().begin(&order(1), &csv).unwrap_err()).contains("the data has changed"));
    }
}

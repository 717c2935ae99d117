//! The folder of one training: `config.json` (recipe), `prepared.json` (scale, references, data),
//! `metrics.csv` and `loss.svg` (by epoch), `metrics.json` (results), `checkpoint/`, `model.onnx`,
//! `manifest.json` and `probes.json`. Files are written whole or not at all.

mod chart;
mod checkpoint;
pub mod networks;
pub mod opening;

use crate::engine::{Checkpoint, Epoch};
use crate::options::Recipe;
use crate::reference::References;
use crate::scale::Scale;
use anyhow::{Context, Result};
use headroom_predict::{Data, Manifest};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// What is fitted before the first step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Prepared {
    /// SHA-256 of the training windows.
    pub fingerprint: String,
    /// See [`Scale`].
    pub scale: Scale,
    /// See [`References`].
    pub references: References,
    /// For the manifest.
    pub data: Data,
}

/// A run folder.
#[derive(Debug, Clone)]
pub struct RunFolder {
    dir: PathBuf,
}

impl RunFolder {
    /// The folder at `dir`; it need not exist yet.
    pub fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned() }
    }

    /// Makes the folder if it is not there.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn create(&self) -> Result<()> {
        std::fs::create_dir_all(&self.dir).with_context(|| format!("{} cannot be made", self.dir.display()))
    }

    /// Whether a training has started here.
    pub fn is_used(&self) -> bool {
        self.path("config.json").exists()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<()> {
        write_whole(&self.path(name), bytes)
    }

    /// Writes `config.json`.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write_recipe(&self, recipe: &Recipe) -> Result<()> {
        self.write("config.json", &json(recipe)?)
    }

    /// Reads `config.json`.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn recipe(&self) -> Result<Recipe> {
        read_json(&self.path("config.json"))
    }

    /// Writes `prepared.json`.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write_prepared(&self, prepared: &Prepared) -> Result<()> {
        self.write("prepared.json", &json(prepared)?)
    }

    /// Reads `prepared.json`.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn prepared(&self) -> Result<Prepared> {
        read_json(&self.path("prepared.json"))
    }

    /// Writes `metrics.csv` and `loss.svg`.
    ///
    /// # Errors
    /// They cannot be written.
    pub fn write_epochs(&self, epochs: &[Epoch]) -> Result<()> {
        let mut text = "epoch,train_loss,validation_loss,rate,rows_per_s\n".to_owned();
        for e in epochs {
            text += &format!(
                "{},{:.6},{:.6},{:.3e},{:.0}\n",
                e.epoch, e.train_loss, e.validation_loss, e.rate, e.rows_per_s
            );
        }
        self.write("metrics.csv", text.as_bytes())?;
        self.write("loss.svg", chart::svg(epochs).as_bytes())
    }

    /// Writes `metrics.json`.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write_metrics(&self, metrics: &impl Serialize) -> Result<()> {
        self.write("metrics.json", &json(metrics)?)
    }

    /// Writes `model.onnx` and `manifest.json`.
    ///
    /// # Errors
    /// They cannot be written.
    pub fn write_model(&self, onnx: &[u8], manifest: &Manifest) -> Result<()> {
        self.write("model.onnx", onnx)?;
        self.write("manifest.json", &json(manifest)?)
    }

    /// Writes `probes.json`.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write_probes(&self, probes: &impl Serialize) -> Result<()> {
        self.write("probes.json", &json(probes)?)
    }

    /// Keeps a checkpoint in place of the one before.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write_checkpoint(&self, checkpoint: &Checkpoint) -> Result<()> {
        checkpoint::write(checkpoint, &self.dir)
    }

    /// The last checkpoint.
    ///
    /// # Errors
    /// There is none, or it cannot be read.
    pub fn checkpoint(&self) -> Result<Checkpoint> {
        checkpoint::read(&self.dir)
    }
}

/// Writes a file beside its place and moves it there.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    std::fs::write(&beside, bytes)
        .and_then(|()| std::fs::rename(&beside, path))
        .with_context(|| format!("{} cannot be written", path.display()))
}

fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let bytes = std::fs::read(path).with_context(|| format!("{} cannot be read", path.display()))?;
    serde_json::from_slice(&bytes).with_context(|| format!("{} is not as written", path.display()))
}

/// JSON with lists of numbers on one line: a manifest stays readable.
fn json(value: &impl Serialize) -> Result<Vec<u8>> {
    let value = serde_json::to_value(value).context("a value is not JSON")?;
    let mut text = String::new();
    lay_out(&value, 0, &mut text);
    text.push('\n');
    Ok(text.into_bytes())
}

fn lay_out(value: &serde_json::Value, depth: usize, text: &mut String) {
    use serde_json::Value;
    let flat = |v: &Value| !matches!(v, Value::Array(_) | Value::Object(_));
    let indent = |depth: usize| format!("\n{}", "  ".repeat(depth));
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            text.push('{');
            for (i, (name, value)) in fields.iter().enumerate() {
                *text += if i > 0 { "," } else { "" };
                *text += &format!("{}{}: ", indent(depth + 1), Value::from(name.as_str()));
                lay_out(value, depth + 1, text);
            }
            *text += &format!("{}}}", indent(depth));
        }
        Value::Array(items) if !items.iter().all(flat) => {
            text.push('[');
            for (i, item) in items.iter().enumerate() {
                *text += if i > 0 { "," } else { "" };
                *text += &indent(depth + 1);
                lay_out(item, depth + 1, text);
            }
            *text += &format!("{}]", indent(depth));
        }
        other => *text += &other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn laid_out_json_means_the_same() {
        let value = serde_json::json!({"a": [1, 2.5, null], "b": {"c": [{"d": "x\"y"}, {}], "e": []}, "f": {}});
        let bytes = json(&value).unwrap();
        assert_eq!(serde_json::from_slice::<serde_json::Value>(&bytes).unwrap(), value);
        assert!(String::from_utf8(bytes).unwrap().contains("\"a\": [1,2.5,null],\n"));
    }
}

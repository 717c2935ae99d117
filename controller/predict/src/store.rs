//! Models in folders. A folder holds one `.onnx` with its manifest, as training leaves it; a store
//! holds many such folders and `champion.json`, which names the one in use and those before it. That
//! one small file is replaced by a rename: whenever the machine dies, either the old model or the
//! new one is in use, whole.

use crate::predictor::{Predictor, Refused};
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// The file that makes a folder a store.
const POINTER: &str = "champion.json";
/// Models before the champion that are kept to go back to.
const KEPT: usize = 2;
/// tract may differ from the answers the trainer wrote down by this much, in nameplates: rounding is
/// some 1e-6, one weight that is wrong by 0.01 shifts answers by more than 1e-4.
pub const PARITY: f64 = 1e-5;

/// Why a folder's model cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file system said no.
    #[error("cannot {doing} {}: {source}", path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// No model, or more than one.
    #[error("{} has {found} .onnx files, must have one", path.display())]
    Models {
        /// The folder.
        path: PathBuf,
        /// How many there are.
        found: usize,
    },
    /// The predictor does not take it.
    #[error("{} is refused: {why}", path.display())]
    Refused {
        /// The folder.
        path: PathBuf,
        /// Why.
        why: Refused,
    },
    /// It answers differently from its trainer.
    #[error("{}: {why}", path.display())]
    Probes {
        /// The file with the trainer's answers.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// `champion.json` is not what a store writes.
    #[error("{} is not as written: {why}", path.display())]
    Pointer {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
}

/// What `champion.json` says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pointer {
    /// Folder of the model in use; none after a step back from the first one.
    pub champion: Option<String>,
    /// Those in use before it, newest first.
    pub previous: Vec<String>,
}

/// Inputs with the trainer's own answers, so that a program without the trainer can tell whether it
/// runs the network rightly: `probes.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Probes {
    /// Each with its answer.
    pub windows: Vec<Probe>,
}

/// One input and the trainer's answer to it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Probe {
    /// [`FEATURES`](crate::FEATURES) numbers.
    pub features: Vec<f32>,
    /// [`OUTPUTS`](crate::OUTPUTS) numbers.
    pub answer: Vec<f32>,
}

/// The model of a folder, or the champion of a store.
///
/// # Errors
/// [`StoreError`].
pub fn load(dir: &Path) -> Result<Predictor, StoreError> {
    let store = Store::new(dir);
    match store.pointer()? {
        Some(Pointer { champion: Some(folder), .. }) => load_folder(&store.folder(&folder)),
        // Stepped back from its first one: what lies in the folder itself, if anything does.
        Some(Pointer { champion: None, .. }) | None => load_folder(dir),
    }
}

fn load_folder(dir: &Path) -> Result<Predictor, StoreError> {
    let (onnx, manifest) = files(dir)?;
    Predictor::load(&read(&onnx)?, &read(&manifest)?).map_err(|why| StoreError::Refused { path: onnx, why })
}

/// `model.onnx` with `manifest.json` as a training leaves them, or `NAME.onnx` with
/// `NAME.manifest.json` as they are shipped.
fn files(dir: &Path) -> Result<(PathBuf, PathBuf), StoreError> {
    let mut models = Vec::new();
    for file in fs::read_dir(dir).map_err(io_error("read", dir))? {
        let path = file.map_err(io_error("read", dir))?.path();
        models.extend(path.extension().is_some_and(|e| e == "onnx").then_some(path));
    }
    let [onnx] = &models[..] else {
        return Err(StoreError::Models { path: dir.to_owned(), found: models.len() });
    };
    let beside = onnx.with_extension("manifest.json");
    let manifest = if beside.exists() { beside } else { dir.join("manifest.json") };
    Ok((onnx.clone(), manifest))
}

/// Loads a run folder's model and holds it against the answers its trainer wrote down.
///
/// # Errors
/// [`StoreError`]: also when there are no such answers.
pub fn verify(dir: &Path) -> Result<Predictor, StoreError> {
    let predictor = load_folder(dir)?;
    let (onnx, _) = files(dir)?;
    let beside = onnx.with_extension("probes.json");
    let path = if beside.exists() { beside } else { dir.join("probes.json") };
    let wrong = |why: String| StoreError::Probes { path: path.clone(), why };
    let probes: Probes = serde_json::from_slice(&read(&path)?).map_err(|e| wrong(e.to_string()))?;
    if probes.windows.is_empty() {
        return Err(wrong("holds no answers to compare with".to_owned()));
    }
    let mut largest = 0.0_f64;
    for probe in &probes.windows {
        if probe.features.len() != crate::FEATURES || probe.answer.len() != crate::OUTPUTS {
            return Err(wrong("holds inputs or answers of another length".to_owned()));
        }
        let ours = predictor.answer(&probe.features).map_err(&wrong)?;
        let differences = ours.iter().zip(&probe.answer).map(|(a, b)| f64::from((a - b).abs()));
        largest = differences.fold(largest, f64::max);
    }
    if largest > PARITY {
        return Err(wrong(format!(
            "answers differ from the trainer's by {largest:.1e} nameplates, at most {PARITY:.0e} is right"
        )));
    }
    Ok(predictor)
}

/// A store of models.
#[derive(Debug, Clone)]
pub struct Store {
    dir: PathBuf,
}

impl Store {
    /// The store at `dir`, which need not exist yet.
    pub fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned() }
    }

    /// Where a model of this store lies.
    pub fn folder(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// What is in use; none if this is no store yet.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn pointer(&self) -> Result<Option<Pointer>, StoreError> {
        let path = self.dir.join(POINTER);
        let wrong = |why: String| StoreError::Pointer { path: path.clone(), why };
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(StoreError::Io { doing: "read", path, source }),
        };
        let pointer: Pointer = serde_json::from_slice(&bytes).map_err(|e| wrong(e.to_string()))?;
        // A name is one of ours: it cannot lead out of the store.
        let plain = |name: &String| {
            !name.is_empty()
                && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
                && !name.starts_with('.')
        };
        match pointer.champion.iter().chain(&pointer.previous).find(|name| !plain(name)) {
            Some(name) => Err(wrong(format!("{name:?} is no folder of a store"))),
            None => Ok(Some(pointer)),
        }
    }

    /// Checks the model in `run` with its probes, copies it in and puts it in use; the one before is
    /// kept. Gives its folder's name.
    ///
    /// # Errors
    /// [`StoreError`]; then what was in use still is.
    pub fn promote(&self, run: &Path) -> Result<String, StoreError> {
        let predictor = verify(run)?;
        let sha = &predictor.manifest().onnx_sha256;
        let name: String = format!("model-{}", &sha[..sha.len().min(12)]);
        fs::create_dir_all(&self.dir).map_err(io_error("make", &self.dir))?;
        let (folder, fresh) = (self.folder(&name), self.dir.join(format!(".{name}.new")));
        let mut pointer = self.pointer()?.unwrap_or_default();
        if pointer.champion.as_ref() != Some(&name) {
            remove(&fresh)?;
            fs::create_dir(&fresh).map_err(io_error("make", &fresh))?;
            let (onnx, manifest) = files(run)?;
            let beside = onnx.with_extension("probes.json");
            let probes = if beside.exists() { beside } else { run.join("probes.json") };
            for (from, to) in [(onnx, "model.onnx"), (manifest, "manifest.json"), (probes, "probes.json")] {
                write_durably(&fresh.join(to), &read(&from)?)?;
            }
            sync(&fresh)?;
            remove(&folder)?;
            fs::rename(&fresh, &folder).map_err(io_error("make", &folder))?;
            pointer.previous.retain(|p| *p != name);
            pointer.previous.splice(0..0, pointer.champion.replace(name.clone()));
        }
        pointer.previous.truncate(KEPT);
        self.point(&pointer)?;
        Ok(name)
    }

    /// Goes back to the model before, or to none. Gives what is in use now.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn step_back(&self) -> Result<Option<String>, StoreError> {
        let mut pointer = self.pointer()?.unwrap_or_default();
        pointer.champion = (!pointer.previous.is_empty()).then(|| pointer.previous.remove(0));
        self.point(&pointer)?;
        Ok(pointer.champion)
    }

    /// Replaces `champion.json` and drops the folders it no longer names.
    fn point(&self, pointer: &Pointer) -> Result<(), StoreError> {
        fs::create_dir_all(&self.dir).map_err(io_error("make", &self.dir))?;
        let (path, fresh) = (self.dir.join(POINTER), self.dir.join(".champion.json.new"));
        let text = serde_json::to_vec_pretty(pointer).expect("invariant: names are JSON");
        write_durably(&fresh, &text)?;
        fs::rename(&fresh, &path).map_err(io_error("replace", &path))?;
        sync(&self.dir)?;
        for file in fs::read_dir(&self.dir).map_err(io_error("read", &self.dir))?.flatten() {
            let name = file.file_name().to_string_lossy().into_owned();
            let named = pointer.champion.iter().chain(&pointer.previous).any(|n| *n == name);
            if (name.starts_with("model-") || name.starts_with(".model-")) && !named {
                // What cannot be removed only takes room; the next change tries again.
                let _ = fs::remove_dir_all(file.path());
            }
        }
        Ok(())
    }
}

fn io_error(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StoreError {
    let path = path.to_owned();
    move |source| StoreError::Io { doing, path, source }
}

fn read(path: &Path) -> Result<Vec<u8>, StoreError> {
    fs::read(path).map_err(io_error("read", path))
}

fn remove(dir: &Path) -> Result<(), StoreError> {
    match fs::remove_dir_all(dir) {
        Err(why) if why.kind() != io::ErrorKind::NotFound => Err(io_error("remove", dir)(why)),
        _ => Ok(()),
    }
}

fn write_durably(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    File::create(path)
        .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
        .map_err(io_error("write", path))
}

fn sync(dir: &Path) -> Result<(), StoreError> {
    File::open(dir).and_then(|d| d.sync_all()).map_err(io_error("sync", dir))
}

#[cfg(test)]
mod tests;

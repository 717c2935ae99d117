//! Where the policy of a config stands: in `[policy]` itself, or in the file that it names.

use super::super::document::{Mistake, Mistakes, Table};
use super::super::{Tree, core};
use super::bounds::Written;
use super::limits::{PolicySpec, limits};
use super::{PolicyFile, ordered, parse_any_policy, parse_policy, plant};
use headroom_controller_core::Rules;
use std::path::{Path, PathBuf};

/// A policy that is yet to be held against the plant.
pub(in super::super) enum Place {
    /// In the config.
    Here {
        spec: PolicySpec,
        /// Where its floor is written, if it is.
        floor_at: Option<usize>,
    },
    /// In a file.
    File {
        /// The file that the config names, relative to the config.
        named: PathBuf,
        /// The one that is read: that, or another in its place.
        read: PathBuf,
        /// Its classes; empty where it has mistakes, for then it does not say which there are.
        bands: Vec<String>,
    },
}

impl Place {
    /// In `[policy]` itself, or in the file that it names, or in `other` in place of that.
    pub fn of(file: &str, table: &Table<'_>, other: Option<&Path>, m: &Mistakes) -> Self {
        if let Some(own) = table.get::<String>("file") {
            table.refuse_unknown();
            let named = Path::new(file).parent().unwrap_or(Path::new("")).join(&own.value);
            let read = other.map_or_else(|| named.clone(), Path::to_owned);
            // Its mistakes are told when the plant is known.
            let bands = read_policy(&read, None).map_or_else(|_| Vec::new(), |policy| policy.spec.bands);
            return Self::File { named, read, bands };
        }
        let bands = table.get::<Vec<String>>("bands");
        let bands = bands.inspect(|bands| _ = ordered(bands, "bands in [policy]", m)).map(|bands| bands.value);
        let bands = bands.filter(|bands| !bands.is_empty());
        let bands = bands.unwrap_or_else(|| ["training", "inference", "batch"].map(str::to_owned).to_vec());
        let spec = limits(table, bands, "[policy]", m);
        table.refuse_unknown();
        Self::Here { spec, floor_at: table.place("floor_gpu_watts") }
    }

    /// The priorities that a rack may have, if they are known.
    pub fn bands(&self) -> Option<&[String]> {
        let bands = match self {
            Self::Here { spec, .. } => &spec.bands,
            Self::File { bands, .. } => bands,
        };
        Some(&bands[..]).filter(|bands| !bands.is_empty())
    }

    /// The policy, held against the plant if there is one to hold it against.
    pub fn policy(&self, tree: Option<&Tree>, m: &Mistakes) -> Option<PolicyFile> {
        match self {
            Self::File { read, .. } => read_policy(read, tree).map_err(|mistakes| m.adopt(mistakes)).ok(),
            Self::Here { spec, floor_at } => {
                let rules = Rules { base: core::base(spec), ..Rules::default() };
                let mut written = Written::new("[policy]");
                written.floor(spec.floor_gpu, *floor_at);
                let (dangers, warnings) = tree.map(|tree| plant::hold(&rules, &written, tree, m)).unwrap_or_default();
                m.adopt(dangers);
                Some(PolicyFile { spec: spec.clone(), rules, warnings, dangers: Vec::new() })
            }
        }
    }

    /// The file that the config names.
    pub fn file(self) -> Option<PathBuf> {
        match self {
            Self::Here { .. } => None,
            Self::File { named, .. } => Some(named),
        }
    }
}

/// Reads a policy file; with `tree`, also that what it names is there and that the plant can be held under it.
///
/// # Errors
/// Every mistake; one when it cannot be read.
pub fn read_policy(path: &Path, tree: Option<&Tree>) -> Result<PolicyFile, Vec<Mistake>> {
    read_with(path, |file, text| parse_policy(file, text, tree))
}

/// The same, also for a policy under which the plant cannot be held: to be tried, never to be in force.
///
/// # Errors
/// Every mistake; one when it cannot be read.
pub fn read_any_policy(path: &Path, tree: Option<&Tree>) -> Result<PolicyFile, Vec<Mistake>> {
    read_with(path, |file, text| parse_any_policy(file, text, tree))
}

fn read_with(
    path: &Path,
    parse: impl FnOnce(&str, &str) -> Result<PolicyFile, Vec<Mistake>>,
) -> Result<PolicyFile, Vec<Mistake>> {
    let file = path.display().to_string();
    match std::fs::read_to_string(path) {
        Ok(text) => parse(&file, &text),
        Err(why) => Err(vec![Mistake {
            file,
            line: 1,
            problem: format!("cannot read the policy file: {why}"),
            remedy: "name a file beside the config under [policy] file".to_owned(),
        }]),
    }
}

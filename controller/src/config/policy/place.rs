//! Where the policy of a config stands: in `[policy]` itself, or in the file that it names.

use super::super::document::{Mistake, Mistakes, Table};
use super::super::{Tree, core};
use super::limits::{PolicySpec, limits};
use super::{PolicyFile, parse_any_policy, parse_policy};
use headroom_controller_core::Rules;
use std::path::{Path, PathBuf};

/// The policy: in `[policy]` itself, or in the file that it names, relative to the config, or in `other` in place of that.
pub(in super::super) fn policy(
    file: &str,
    table: &Table<'_>,
    other: Option<&Path>,
    m: &Mistakes,
) -> (PolicyFile, Option<PathBuf>) {
    if let Some(own) = table.get::<String>("file") {
        table.refuse_unknown();
        let path = Path::new(file).parent().unwrap_or(Path::new("")).join(&own.value);
        let found = match read_policy(other.unwrap_or(&path), None) {
            Ok(found) => found,
            Err(mistakes) => {
                m.adopt(mistakes);
                plain(limits(&Table::nothing(m), Vec::new(), "", m))
            }
        };
        return (found, Some(path));
    }
    let default_bands = || ["training", "inference", "batch"].map(str::to_owned).to_vec();
    let bands = match table.get::<Vec<String>>("bands") {
        Some(spot) if spot.value.is_empty() => {
            m.add(spot.at, "bands in [policy] is empty", "name at least one, like bands = [\"all\"]");
            default_bands()
        }
        Some(spot) => spot.value,
        None => default_bands(),
    };
    let spec = limits(table, bands, "[policy]", m);
    table.refuse_unknown();
    (plain(spec), None)
}

/// A policy of these numbers alone.
fn plain(spec: PolicySpec) -> PolicyFile {
    let rules = Rules { base: core::base(&spec), ..Rules::default() };
    PolicyFile { spec, rules, warnings: Vec::new(), dangers: Vec::new() }
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

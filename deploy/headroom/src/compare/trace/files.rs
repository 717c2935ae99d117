//! Which files there are, and what their traces are called.

use super::Trace;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A file, or every CSV of a folder.
pub(super) fn files(path: &Path) -> Result<Vec<PathBuf>, String> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let entries = std::fs::read_dir(path).map_err(|why| format!("{}: cannot be read: {why}", path.display()))?;
    let is_csv = |p: &PathBuf| {
        let name = p.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
        name.ends_with(".csv") || name.ends_with(".csv.gz")
    };
    let mut files: Vec<PathBuf> = entries.filter_map(|e| Some(e.ok()?.path())).filter(is_csv).collect();
    files.sort();
    if files.is_empty() {
        return Err(format!("{}: holds no *.csv and no *.csv.gz", path.display()));
    }
    Ok(files)
}

/// Files of one name in different folders get the folder's name too, and what is named alike still a number: names are
/// keys of the report.
pub(super) fn distinct(mut traces: Vec<(PathBuf, Trace)>) -> Vec<Trace> {
    let count = |traces: &[(PathBuf, Trace)]| {
        let mut names: BTreeMap<String, usize> = BTreeMap::new();
        traces.iter().for_each(|(_, t)| *names.entry(t.name.clone()).or_default() += 1);
        names
    };
    let alike = count(&traces);
    for (path, trace) in &mut traces {
        let folder = path.parent().and_then(Path::file_name).unwrap_or_default().to_string_lossy();
        if alike[&trace.name] > 1 && !folder.is_empty() {
            trace.name = format!("{folder}/{}", trace.name);
        }
    }
    let alike = count(&traces);
    let mut so_far: BTreeMap<String, usize> = BTreeMap::new();
    for (_, trace) in &mut traces {
        let number = so_far.entry(trace.name.clone()).or_default();
        *number += 1;
        if alike[&trace.name] > 1 {
            trace.name = format!("{} ({number})", trace.name);
        }
    }
    traces.into_iter().map(|(_, trace)| trace).collect()
}

/// A file's name without its endings.
pub(super) fn bare(name: &str) -> &str {
    without(without(name, ".gz"), ".csv")
}

/// A file's name without this ending, in capitals or not.
fn without<'n>(name: &'n str, ending: &str) -> &'n str {
    let split = name.len().checked_sub(ending.len()).and_then(|at| name.split_at_checked(at));
    split.filter(|(_, end)| end.eq_ignore_ascii_case(ending)).map_or(name, |(name, _)| name)
}

//! Data written as traces: everything brought together (`data import`), or cut into the parts that `fit` would use (`data split`).

use super::{DataError, Nameplates, Series, csv, influx, load};
use crate::options::Usage;
use crate::split::{self, Part};
use anyhow::Result;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Writes all of it to `out`; says what it wrote.
///
/// # Errors
/// Data that cannot be read, two sources for the same second of a rack, or `out` is there already.
pub fn import(csv: &[PathBuf], record: Option<&Path>, influx: &[PathBuf], out: &Path) -> Result<Value> {
    absent(out)?;
    // A trace knows no nameplates: any will do here.
    let any = Nameplates { all: Some(1.0), ..Nameplates::default() };
    let mut all = load(csv, record, &any)?;
    for path in influx {
        all.extend(influx::read(path, &any)?);
    }
    all.sort_by(|a, b| (&a.rack, a.start_s).cmp(&(&b.rack, b.start_s)));
    let end = |s: &Series| s.start_s + s.samples.len() as u64;
    let twice = all.windows(2).find(|pair| pair[0].rack == pair[1].rack && end(&pair[0]) > pair[1].start_s);
    if let Some([a, b]) = twice {
        let why =
            format!("{} and {} both have second {} of {}: import one of them", a.source, b.source, b.start_s, a.rack);
        return Err(Usage(why).into());
    }
    csv::write(out, &all.iter().map(|s| (s, 0..s.samples.len())).collect::<Vec<_>>())?;
    let racks: BTreeSet<&str> = all.iter().map(|s| s.rack.as_str()).collect();
    Ok(json!({
        "racks": racks,
        "series": all.len(),
        "seconds": all.iter().map(|s| s.samples.len()).sum::<usize>(),
        "seconds_with_power": all.iter().flat_map(|s| &s.samples).filter(|s| s.power.is_some()).count(),
    }))
}

/// Writes one trace per part that is not empty; says how long each is.
///
/// # Errors
/// A held-out rack that is not in the data, or a file of a part is there already.
pub fn split(all: &[Series], hold_out_racks: &[String], out: &Path) -> Result<Value> {
    let held_out = split::held_out(all, hold_out_racks);
    let unknown: Vec<&str> =
        held_out.iter().filter(|rack| !all.iter().any(|s| s.rack == **rack)).map(String::as_str).collect();
    if !unknown.is_empty() {
        return Err(Usage(format!("--hold-out-rack {}: no such rack in the data", unknown.join(", "))).into());
    }
    let parts = [
        (Part::Train, "train"),
        (Part::Validation, "validation"),
        (Part::TestTime, "test-time"),
        (Part::TestRack, "test-rack"),
    ];
    let place = |name: &str| out.join(format!("{name}.csv"));
    for (_, name) in parts {
        absent(&place(name))?;
    }
    std::fs::create_dir_all(out).map_err(|source| DataError::Write { path: out.to_owned(), source })?;
    let mut seconds = serde_json::Map::new();
    for (part, name) in parts {
        let of_part = |series| split::ranges(series, &held_out).into_iter().filter(move |(p, _)| *p == part);
        let pieces: Vec<_> = all.iter().flat_map(|s| of_part(s).map(move |(_, range)| (s, range))).collect();
        let length: usize = pieces.iter().map(|(_, range)| range.len()).sum();
        if length > 0 {
            csv::write(&place(name), &pieces)?;
        }
        seconds.insert(name.to_owned(), length.into());
    }
    Ok(json!({"seconds": seconds, "held_out_racks": held_out}))
}

fn absent(path: &Path) -> Result<(), Usage> {
    if path.exists() { Err(Usage(format!("{} is there already: name another --out", path.display()))) } else { Ok(()) }
}

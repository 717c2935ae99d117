//! An operator's own record of units: CSV with `unit`, `cycle` and `failed`, any columns whose name
//! begins with `setting_`, and sensors under any other name. One line per unit and cycle, the lines of
//! a unit in order from its first cycle. `failed` is 1 on the line at which a unit failed, which is its
//! last, and 0 or empty elsewhere; a unit without a 1 is still running. Equipment that runs without
//! cycles has hours or days as cycles.

use super::Unit;
use crate::table::{Mistakes, Table, TableError, number};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

const WHAT: &str = "a record of units (CSV with unit, cycle, failed, any setting_.. and sensors)";
const COLUMNS: [&str; 3] = ["unit", "cycle", "failed"];

/// Units of one or more files.
#[derive(Debug, Default)]
pub struct Fleet {
    /// Columns of settings.
    pub settings: Vec<String>,
    /// Columns of sensors.
    pub sensors: Vec<String>,
    /// Those that ran until they failed.
    pub failed: Vec<Unit>,
    /// Those that still run.
    pub running: Vec<Unit>,
    /// Lines that were read.
    pub rows: usize,
    /// Lowest and highest cycle.
    pub cycles: [f64; 2],
}

/// Reads files of the same columns; a unit is in one of them.
///
/// # Errors
/// [`TableError`] with every wrong line of the first bad file.
pub fn read(paths: &[PathBuf]) -> Result<Fleet, TableError> {
    let mut fleet = Fleet::default();
    let mut places: BTreeMap<String, &Path> = BTreeMap::new();
    for path in paths {
        let one = file(path)?;
        let mut mistakes = Mistakes::default();
        if !places.is_empty() && (&one.settings, &one.sensors) != (&fleet.settings, &fleet.sensors) {
            mistakes.whole(format!("must have the columns of {}", paths[0].display()));
        }
        for unit in one.failed.iter().chain(&one.running) {
            if let Some(other) = places.insert(unit.name.clone(), path) {
                mistakes.whole(format!("unit {} is in {} as well", unit.name, other.display()));
            }
        }
        mistakes.check(path, WHAT)?;
        (fleet.settings, fleet.sensors) = (one.settings, one.sensors);
        fleet.failed.extend(one.failed);
        fleet.running.extend(one.running);
        let [low, high] = if fleet.rows == 0 { one.cycles } else { fleet.cycles };
        fleet.cycles = [low.min(one.cycles[0]), high.max(one.cycles[1])];
        fleet.rows += one.rows;
    }
    Ok(fleet)
}

/// What has been read of a unit.
struct Growing {
    unit: Unit,
    cycle: f64,
    failed: bool,
}

fn file(path: &Path) -> Result<Fleet, TableError> {
    let table = Table::read(path, WHAT, &COLUMNS)?;
    let [unit, cycle, failed] = COLUMNS.map(|name| table.column(name).expect("invariant: Table::read has checked it"));
    let names = table.names();
    let (settings, sensors): (Vec<usize>, Vec<usize>) = (0..names.len())
        .filter(|k| ![unit, cycle, failed].contains(k))
        .partition(|k| names[*k].starts_with("setting_"));
    let mut mistakes = Mistakes::default();
    if sensors.is_empty() {
        mistakes.add(1, "has no column of a sensor: every column beside unit, cycle, failed and setting_.. is one");
    }
    let (mut all, mut places): (Vec<Growing>, BTreeMap<&str, usize>) = (Vec::new(), BTreeMap::new());
    let mut cycles = [f64::INFINITY, f64::NEG_INFINITY];
    for (line, row) in &table.rows {
        let values = |which: &[usize]| -> Result<Vec<f64>, String> {
            which.iter().map(|k| number(names[*k], &row[*k])).collect()
        };
        let is_failed = match row[failed].as_str() {
            "" | "0" => Ok(false),
            "1" => Ok(true),
            other => Err(format!("failed is {other:?}, must be 1, 0 or empty")),
        };
        let read =
            (|| Ok::<_, String>((number("cycle", &row[cycle])?, is_failed?, values(&settings)?, values(&sensors)?)))();
        let (cycle, is_failed, settings, sensors) = match read {
            Ok(read) => read,
            Err(why) => {
                mistakes.add(*line, why);
                continue;
            }
        };
        let name = row[unit].as_str();
        let place = *places.entry(name).or_insert_with(|| {
            all.push(Growing { unit: Unit::new(name.to_owned()), cycle: f64::NEG_INFINITY, failed: false });
            all.len() - 1
        });
        let growing = &mut all[place];
        if growing.failed {
            mistakes.add(*line, format!("unit {name} failed on an earlier line: call it something else once repaired"));
        }
        if cycle <= growing.cycle {
            mistakes.add(*line, format!("cycle of unit {name} is {cycle}, must be above {}", growing.cycle));
        }
        (growing.cycle, growing.failed) = (cycle, is_failed);
        cycles = [cycles[0].min(cycle), cycles[1].max(cycle)];
        growing.unit.settings.push(settings);
        growing.unit.sensors.push(sensors);
    }
    mistakes.check(path, WHAT)?;
    let words = |which: &[usize]| which.iter().map(|k| names[*k].to_owned()).collect();
    let (ended, running): (Vec<Growing>, Vec<Growing>) = all.into_iter().partition(|g| g.failed);
    let units = |all: Vec<Growing>| all.into_iter().map(|g| g.unit).collect();
    Ok(Fleet {
        settings: words(&settings),
        sensors: words(&sensors),
        failed: units(ended),
        running: units(running),
        rows: table.rows.len(),
        cycles,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(text: &str) -> Result<Fleet, TableError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("units.csv");
        std::fs::write(&path, text).unwrap();
        read(&[path])
    }

    #[test]
    fn units_that_failed_and_units_that_run_are_told_apart() {
        let fleet = read_text(
            "unit,cycle,setting_load,temp,failed\nfan-1,1,0.5,40,\nfan-2,1,0.6,41,0\nfan-1,2,0.5,44,1\nfan-2,2,0.6,42,0\n",
        )
        .unwrap();
        assert_eq!((fleet.settings, fleet.sensors), (vec!["setting_load".to_owned()], vec!["temp".to_owned()]));
        assert_eq!((fleet.rows, fleet.cycles), (4, [1.0, 2.0]));
        assert_eq!((fleet.failed[0].name.as_str(), fleet.running[0].name.as_str()), ("fan-1", "fan-2"));
        assert_eq!(
            (&fleet.failed[0].sensors, &fleet.running[0].settings[1]),
            (&vec![vec![40.0], vec![44.0]], &vec![0.6])
        );
    }

    #[test]
    fn wrong_lines_are_told_with_what_would_be_right() {
        let text = "unit,cycle,temp,failed\na,1,x,\na,2,1,yes\na,3,1,1\na,4,1,\nb,2,1,\nb,2,1,\n";
        let error = read_text(text).unwrap_err().to_string();
        for words in [
            "line 2: temp is \"x\"",
            "line 3: failed is \"yes\", must be 1, 0 or empty",
            "line 5: unit a failed on an earlier line",
            "line 7: cycle of unit b is 2, must be above 2",
        ] {
            assert!(error.contains(words), "{error}");
        }
        assert!(read_text("unit,cycle,failed\na,1,1\n").unwrap_err().to_string().contains("no column of a sensor"));
    }
}

//! Run-to-failure records in the format of NASA's C-MAPSS sets (Saxena et al., "Damage Propagation
//! Modeling for Aircraft Engine Run-to-Failure Simulation", PHM 2008): lines of numbers, unit, cycle,
//! three settings, sensors; and one remaining life per test unit.

use super::Unit;
use crate::table::{self, Mistakes, TableError, number};
use std::path::Path;

/// Columns before the sensors.
const SETTINGS: usize = 3;
const WHAT: &str = "a run-to-failure record (unit, cycle, 3 settings, sensors, separated by spaces)";

/// One subset.
#[derive(Debug)]
pub struct Subset {
    /// Units run to failure.
    pub train: Vec<Unit>,
    /// Units whose record ends before.
    pub test: Vec<Unit>,
    /// Cycles that each test unit ran after its last line.
    pub remaining: Vec<f64>,
}

/// Reads `train_NAME.txt`, `test_NAME.txt` and `RUL_NAME.txt` in a directory, plain or with `.gz`.
///
/// # Errors
/// [`TableError`]: a file missing, wrong lines, or files that do not belong together.
pub fn read(dir: &Path, name: &str) -> Result<Subset, TableError> {
    let train = units(&table::find(dir, &format!("train_{name}.txt"))?)?;
    let test_path = table::find(dir, &format!("test_{name}.txt"))?;
    let test = units(&test_path)?;
    let rul_path = table::find(dir, &format!("RUL_{name}.txt"))?;
    let remaining = remaining(&rul_path)?;
    let mut mistakes = Mistakes::default();
    if test[0].sensors[0].len() != train[0].sensors[0].len() {
        let (has, must) = (test[0].sensors[0].len(), train[0].sensors[0].len());
        mistakes.whole(format!("has {has} sensors, must have {must} like train_{name}.txt"));
    }
    mistakes.check(&test_path, WHAT)?;
    let mut mistakes = Mistakes::default();
    if remaining.len() != test.len() {
        let (has, must) = (remaining.len(), test.len());
        mistakes.whole(format!("has {has} lines, must have {must}, one per unit of test_{name}.txt"));
    }
    mistakes.check(&rul_path, "a list of remaining lives")?;
    Ok(Subset { train, test, remaining })
}

fn units(path: &Path) -> Result<Vec<Unit>, TableError> {
    let text = table::text(path)?;
    let mut mistakes = Mistakes::default();
    let mut units: Vec<Unit> = Vec::new();
    let mut width = None;
    for (i, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        match row(line, &mut width) {
            Ok((name, cycle, values)) => {
                let known = units.iter().rposition(|u| u.name == name);
                let expected = match known {
                    None => 1.0,
                    Some(k) if k + 1 == units.len() => units[k].cycles() as f64 + 1.0,
                    Some(_) => {
                        mistakes.add(i + 1, format!("unit {name} comes again, its lines must be together"));
                        continue;
                    }
                };
                if cycle != expected {
                    mistakes.add(i + 1, format!("cycle of unit {name} is {cycle}, must be {expected}"));
                }
                if known.is_none() {
                    units.push(Unit::new(name));
                }
                let unit = units.last_mut().expect("invariant: pushed above");
                unit.settings.push(values[..SETTINGS].to_vec());
                unit.sensors.push(values[SETTINGS..].to_vec());
            }
            Err(why) => mistakes.add(i + 1, why),
        }
    }
    if units.is_empty() {
        mistakes.whole("has no lines");
    }
    mistakes.check(path, WHAT)?;
    Ok(units)
}

/// Unit, cycle and the rest; `width` is the number of fields of the lines before.
fn row(line: &str, width: &mut Option<usize>) -> Result<(String, f64, Vec<f64>), String> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let must = *width.get_or_insert(fields.len());
    if fields.len() < 2 + SETTINGS + 1 {
        return Err(format!("has {} fields, must have at least {}", fields.len(), 2 + SETTINGS + 1));
    }
    if fields.len() != must {
        return Err(format!("has {} fields, must have {must} like the lines before", fields.len()));
    }
    let cycle = number("field 2 (cycle)", fields[1])?;
    let values = fields[2..].iter().enumerate().map(|(k, text)| number(&format!("field {}", k + 3), text));
    Ok((fields[0].to_owned(), cycle, values.collect::<Result<_, _>>()?))
}

fn remaining(path: &Path) -> Result<Vec<f64>, TableError> {
    let text = table::text(path)?;
    let (mut mistakes, mut all) = (Mistakes::default(), Vec::new());
    for (i, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        match number("remaining life", line.trim()) {
            Ok(value) if value >= 0.0 => all.push(value),
            Ok(value) => mistakes.add(i + 1, format!("remaining life is {value}, must not be negative")),
            Err(why) => mistakes.add(i + 1, why),
        }
    }
    mistakes.check(path, "a list of remaining lives")?;
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(dir: &Path, train: &str, test: &str, rul: &str) {
        for (name, text) in [("train_A.txt", train), ("test_A.txt", test), ("RUL_A.txt", rul)] {
            std::fs::write(dir.join(name), text).unwrap();
        }
    }

    #[test]
    fn units_settings_and_sensors_are_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), "1 1 0 0 100 5 6\n1 2 0 0 100 7 8\n2 1 0 0 100 9 9\n", "1 1 0 0 100 5 6  \n", "12 \n");
        let subset = read(dir.path(), "A").unwrap();
        assert_eq!(subset.train.iter().map(Unit::cycles).collect::<Vec<_>>(), [2, 1]);
        assert_eq!(subset.train[0].sensors, [[5.0, 6.0], [7.0, 8.0]]);
        assert_eq!((subset.train[0].settings[1].as_slice(), subset.remaining), (&[0.0, 0.0, 100.0][..], vec![12.0]));
    }

    #[test]
    fn wrong_lines_and_files_that_do_not_belong_together_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), "1 1 0 0 100 x 6\n1 3 0 0 100 7 8\n1 2 0\n", "1 1 0 0 100 5 6\n", "12\n");
        let error = read(dir.path(), "A").unwrap_err().to_string();
        for words in
            ["line 1: field 6 is \"x\", must be a number", "line 2: cycle of unit 1 is 3", "line 3: has 3 fields"]
        {
            assert!(error.contains(words), "{error}");
        }
        write(dir.path(), "1 1 0 0 100 5 6\n", "1 1 0 0 100 5 6\n", "12\n13\n");
        let error = read(dir.path(), "A").unwrap_err().to_string();
        assert!(error.contains("RUL_A.txt") && error.contains("has 2 lines, must have 1"), "{error}");
        assert!(read(dir.path(), "B").unwrap_err().to_string().contains("train_B.txt"));
    }
}

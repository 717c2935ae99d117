//! Capacity records: CSV with the columns `cycle` and `capacity_ah` (or `capacity`), and `battery` if
//! a file holds more than one cell; without it the file's name is the cell's. Other columns are not
//! read: some published files carry a state of health, which is the answer.

use crate::table::{Mistakes, Table, TableError, number};
use std::path::{Path, PathBuf};

const WHAT: &str = "a capacity record (CSV with cycle, capacity_ah or capacity, and battery if it holds several cells)";
/// First cycles whose median capacity is a cell's full health: a single one may be an outlier.
const FIRST: usize = 5;
/// Cells with fewer cycles say nothing.
const FEWEST: usize = 40;

/// One cell.
#[derive(Debug, Clone, PartialEq)]
pub struct Cell {
    /// Its name.
    pub name: String,
    /// State of health by cycle: capacity as a share of the median of the first cycles.
    pub health: Vec<f64>,
}

/// All cells of the capacity records in a directory, and the CSV files that are none.
///
/// # Errors
/// [`TableError`]: the directory cannot be read, wrong lines, or no cell at all.
pub fn read_dir(dir: &Path) -> Result<(Vec<Cell>, Vec<PathBuf>), TableError> {
    let failed = |source| TableError::Read { path: dir.to_owned(), source };
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.ends_with(".csv") || name.ends_with(".csv.gz") {
            paths.push(path);
        }
    }
    paths.sort();
    let (mut cells, mut others): (Vec<Cell>, Vec<PathBuf>) = (Vec::new(), Vec::new());
    for path in paths {
        let table = Table::read(&path, WHAT, &[])?;
        if table.column("cycle").is_some() && capacity(&table).is_some() {
            cells.extend(read(&table)?);
        } else {
            others.push(path);
        }
    }
    let mut mistakes = Mistakes::default();
    if cells.is_empty() {
        mistakes.whole("has no CSV file (plain or .gz) with the columns cycle and capacity_ah or capacity");
    }
    for (i, cell) in cells.iter().enumerate() {
        if cells[..i].iter().any(|c| c.name == cell.name) {
            mistakes.whole(format!("has cell {} in more than one file", cell.name));
        }
    }
    mistakes.check(dir, "a directory with capacity records")?;
    Ok((cells, others))
}

fn capacity(table: &Table) -> Option<usize> {
    table.column("capacity_ah").or_else(|| table.column("capacity"))
}

fn read(table: &Table) -> Result<Vec<Cell>, TableError> {
    let cycle = table.column("cycle").expect("invariant: the caller has seen it");
    let capacity = capacity(table).expect("invariant: the caller has seen it");
    let name = table.path.file_name().unwrap_or_default().to_string_lossy();
    let own = name.trim_end_matches(".gz").trim_end_matches(".csv");
    let mut mistakes = Mistakes::default();
    let mut cells: Vec<(Cell, f64)> = Vec::new();
    for (line, row) in &table.rows {
        let name = table.column("battery").map_or(own, |b| row[b].as_str());
        let numbers = (number("cycle", &row[cycle]), number("capacity", &row[capacity]));
        let (cycle, ah) = match numbers {
            (Ok(cycle), Ok(ah)) if ah > 0.0 => (cycle, ah),
            (Ok(_), Ok(ah)) => {
                mistakes.add(*line, format!("capacity is {ah}, must be above 0"));
                continue;
            }
            (Err(why), _) | (_, Err(why)) => {
                mistakes.add(*line, why);
                continue;
            }
        };
        let known = cells.iter_mut().find(|(cell, _)| cell.name == name);
        match known {
            Some((_, last)) if cycle <= *last => {
                mistakes.add(*line, format!("cycle of {name} is {cycle}, must be above {last} of the line before"));
            }
            Some((cell, last)) => {
                cell.health.push(ah);
                *last = cycle;
            }
            None => cells.push((Cell { name: name.to_owned(), health: vec![ah] }, cycle)),
        }
    }
    for (cell, _) in &mut cells {
        if cell.health.len() < FEWEST {
            mistakes.whole(format!("cell {} has {} cycles, must have {FEWEST}", cell.name, cell.health.len()));
            continue;
        }
        let full = crate::bench::median(&cell.health[..FIRST]);
        cell.health.iter_mut().for_each(|h| *h /= full);
    }
    mistakes.check(&table.path, WHAT)?;
    Ok(cells.into_iter().map(|(cell, _)| cell).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt::Write;

    fn lines(name: &str, full: f64) -> String {
        (1..=40).fold(String::new(), |mut text, i| {
            let _ = writeln!(text, "{name}{i}.0,{}", full * if i > 20 { 0.9 } else { 1.0 });
            text
        })
    }

    #[test]
    fn cells_are_named_by_column_or_file_and_start_healthy() {
        let dir = tempfile::tempdir().unwrap();
        let two = format!("battery,cycle,capacity_ah\n{}{}", lines("x,", 2.0), lines("y,", 1.0));
        std::fs::write(dir.path().join("two.csv"), two).unwrap();
        std::fs::write(dir.path().join("one.csv"), format!("cycle,capacity\n{}", lines("", 1.1))).unwrap();
        std::fs::write(dir.path().join("z.csv"), "a,b\n1,2\n").unwrap();
        let (cells, others) = read_dir(dir.path()).unwrap();
        assert_eq!(cells.iter().map(|c| c.name.as_str()).collect::<Vec<_>>(), ["one", "x", "y"]);
        assert!(cells.iter().all(|c| (c.health[0] - 1.0).abs() < 1e-9 && (c.health[39] - 0.9).abs() < 1e-9));
        assert!(others[0].ends_with("z.csv"));
    }

    #[test]
    fn wrong_lines_are_told() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("a.csv"), "cycle,capacity\n1,1.0\n1,1.0\n2,-1\n3,x\n").unwrap();
        let error = read_dir(dir.path()).unwrap_err().to_string();
        for words in ["line 3: cycle of a is 1", "line 4: capacity is -1", "line 5: capacity is \"x\"", "40"] {
            assert!(error.contains(words), "{error}");
        }
        std::fs::remove_file(dir.path().join("a.csv")).unwrap();
        assert!(read_dir(dir.path()).unwrap_err().to_string().contains("has no CSV file"));
    }
}

//! Which unit was in which place from when to when, and when it failed: one line per stay, columns
//! `SN,location,insert,remove,event` (others are not read), as in the published record of the GPUs of
//! Titan (Ostrouchov et al., "GPU Lifetimes on Titan Supercomputer", SC20).
//!
//! `event` names what ended the stay if it was a failure. A line without `insert` is a failure during
//! a stay that has its own line. A line without `remove` is a stay that goes on. A place is the list
//! of the numbers in its name: `c11-2c1s4n1` is 11, 2, 1, 4, 1, from the large to the small.

use super::dates;
use crate::table::{Mistakes, Table, TableError};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

const WHAT: &str = "a record of stays (CSV with SN,location,insert,remove,event)";
const COLUMNS: [&str; 5] = ["SN", "location", "insert", "remove", "event"];

/// A unit in a place. Times are days since 1970-01-01.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Stay {
    /// Index in [`History::units`].
    pub unit: usize,
    /// Index in [`History::places`].
    pub place: usize,
    /// Since when.
    pub from: f64,
    /// Until when.
    pub to: f64,
}

/// A failure of a unit in a place.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Failure {
    /// Index in [`History::units`].
    pub unit: usize,
    /// Index in [`History::places`].
    pub place: usize,
    /// When.
    pub at: f64,
}

/// All of it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct History {
    /// Serial numbers in their order: neighbours were made together.
    pub units: Vec<String>,
    /// The numbers of each place.
    pub places: Vec<Vec<u32>>,
    /// By unit and time.
    pub stays: Vec<Stay>,
    /// By time.
    pub failures: Vec<Failure>,
    /// When the record ends.
    pub end: f64,
    /// Lines that were read.
    pub rows: usize,
}

/// Reads one or more files.
///
/// # Errors
/// [`TableError`] with every wrong line of the first bad file.
pub fn read(paths: &[PathBuf]) -> Result<History, TableError> {
    let mut lines = Vec::new();
    for path in paths {
        lines.extend(file(path)?);
    }
    Ok(history(lines))
}

/// The files of a directory that hold stays, and those that do not.
///
/// # Errors
/// [`TableError`]: the directory cannot be read, or there is no such file.
pub fn find(dir: &Path) -> Result<(Vec<PathBuf>, Vec<PathBuf>), TableError> {
    let failed = |source| TableError::Read { path: dir.to_owned(), source };
    let mut all = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.ends_with(".csv") || name.ends_with(".csv.gz") {
            all.push(path);
        }
    }
    all.sort();
    let (stays, others): (Vec<PathBuf>, Vec<PathBuf>) =
        all.into_iter().partition(|path| Table::read(path, WHAT, &COLUMNS).is_ok());
    let mut mistakes = Mistakes::default();
    if stays.is_empty() {
        mistakes.whole(format!("has no CSV file (plain or .gz) with the columns {}", COLUMNS.join(", ")));
    }
    mistakes.check(dir, "a directory with records of stays")?;
    Ok((stays, others))
}

struct Line {
    serial: String,
    place: Vec<u32>,
    from: Option<f64>,
    to: Option<f64>,
    failed: bool,
}

fn file(path: &Path) -> Result<Vec<Line>, TableError> {
    let table = Table::read(path, WHAT, &COLUMNS)?;
    let columns = COLUMNS.map(|name| table.column(name).expect("invariant: Table::read has checked it"));
    let (mut mistakes, mut lines, mut depth) = (Mistakes::default(), Vec::new(), None);
    for (number, row) in &table.rows {
        match line(columns.map(|c| row[c].as_str()), &mut depth) {
            Ok(line) => lines.push(line),
            Err(why) => mistakes.add(*number, why),
        }
    }
    mistakes.check(path, WHAT)?;
    Ok(lines)
}

fn line([serial, location, insert, remove, event]: [&str; 5], depth: &mut Option<usize>) -> Result<Line, String> {
    if serial.is_empty() {
        return Err("SN is empty, must name the unit".to_owned());
    }
    let digits = location.split(|c: char| !c.is_ascii_digit()).filter(|d| !d.is_empty());
    let place: Option<Vec<u32>> = digits.map(|d| d.parse().ok()).collect();
    let place = place.filter(|p| !p.is_empty());
    let place = place.ok_or_else(|| format!("location is {location:?}, must have numbers, like c11-2c1s4n1"))?;
    let must = *depth.get_or_insert(place.len());
    if place.len() != must {
        return Err(format!("location {location:?} has {} numbers, must have {must} like those before", place.len()));
    }
    let empty = |text: &str| text.is_empty() || text == "NA";
    let day = |name: &str, text: &str| -> Result<Option<f64>, String> {
        if empty(text) { Ok(None) } else { dates::days(text).map(Some).map_err(|why| format!("{name} {why}")) }
    };
    let (from, to, failed) = (day("insert", insert)?, day("remove", remove)?, !empty(event));
    match (from, to) {
        (Some(from), Some(to)) if to < from => return Err(format!("remove {remove} is before insert {insert}")),
        (_, None) if failed => return Err(format!("event is {event:?} but remove, its time, is empty")),
        (None, _) if !failed => return Err("insert is empty, must be a date where event is empty".to_owned()),
        _ => {}
    }
    Ok(Line { serial: serial.to_owned(), place, from, to, failed })
}

fn history(lines: Vec<Line>) -> History {
    let serials: BTreeSet<&String> = lines.iter().map(|l| &l.serial).collect();
    let units: Vec<String> = serials.into_iter().cloned().collect();
    let sorted: BTreeSet<&Vec<u32>> = lines.iter().map(|l| &l.place).collect();
    let places: Vec<Vec<u32>> = sorted.into_iter().cloned().collect();
    let end = lines.iter().filter_map(|l| l.to.or(l.from)).fold(f64::MIN, f64::max);
    let mut history = History { end, rows: lines.len(), ..History::default() };
    for line in &lines {
        let unit = units.partition_point(|u| *u < line.serial);
        let place = places.partition_point(|p| *p < line.place);
        if let Some(from) = line.from {
            history.stays.push(Stay { unit, place, from, to: line.to.unwrap_or(end) });
        }
        if let (true, Some(at)) = (line.failed, line.to) {
            history.failures.push(Failure { unit, place, at });
        }
    }
    history.stays.sort_by(|a, b| (a.unit, a.from).partial_cmp(&(b.unit, b.from)).unwrap_or(std::cmp::Ordering::Equal));
    history.failures.sort_by(|a, b| a.at.total_cmp(&b.at));
    history.units = units;
    history.places = places;
    history
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(text: &str) -> Result<History, TableError> {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("a.csv"), text).unwrap();
        read(&find(dir.path())?.0)
    }

    #[test]
    fn stays_and_failures_are_told_apart() {
        let history = read_text(
            "SN,location,insert,remove,duration,out,event\n\
             b,c1-0n2,2015-01-01,2015-01-11,,,DBE\n\
             b,c1-0n3,2015-02-01,,,,\n\
             a,c0-7n1,2014-01-01,2016-01-01 12:00:00,,FALSE,\n\
             a,c0-7n1,,2014-06-01,NA,NA,OTB\n",
        )
        .unwrap();
        assert_eq!(history.units, ["a", "b"]);
        assert_eq!(history.places, [[0, 7, 1], [1, 0, 2], [1, 0, 3]]);
        assert_eq!(history.stays.iter().map(|s| (s.unit, s.place)).collect::<Vec<_>>(), [(0, 0), (1, 1), (1, 2)]);
        assert_eq!((history.stays[2].to, history.failures.len()), (history.end, 2));
        assert_eq!(dates::date(history.failures[0].at), "2014-06-01");
    }

    #[test]
    fn wrong_lines_are_told_with_what_would_be_right() {
        let error = read_text(
            "SN,location,insert,remove,event\n\
             a,c1n1,2015-01-01,2014-01-01,\n\
             a,c1,2015-01-01,2015-02-01,\n\
             a,here,2015-01-01,2015-02-01,\n\
             a,c1n1,,2015-02-01,\n\
             a,c1n1,soon,2015-02-01,\n",
        );
        let error = error.unwrap_err().to_string();
        for words in [
            "line 2: remove 2014-01-01 is before insert",
            "line 3: location \"c1\" has 1 numbers, must have 2",
            "line 4: location is \"here\"",
            "line 5: insert is empty",
            "line 6: insert \"soon\" must be a date",
        ] {
            assert!(error.contains(words), "{error}");
        }
        assert!(read_text("SN,where\n1,2\n").unwrap_err().to_string().contains("has no CSV file"));
    }
}

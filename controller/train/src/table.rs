//! Text files as tables: plain or gzip, found with either name; CSV with a header whose columns are
//! looked up by name. Every wrong line is told at once, with file, line, column and what is right.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

/// More mistakes than this are counted, not listed.
const LISTED: usize = 20;

/// Why a table cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// A file cannot be read.
    #[error("{} cannot be read", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Lines are wrong, or there are too few.
    #[error("{} is not {what}:{}", path.display(), .mistakes.iter().map(|m| format!("\n  {m}")).collect::<String>())]
    Lines {
        /// Which file or directory.
        path: PathBuf,
        /// What it should be.
        what: &'static str,
        /// Line, column, what was wrong and what would be right.
        mistakes: Vec<String>,
    },
}

/// Mistakes of one file, gathered so that all are told at once.
#[derive(Debug, Default)]
pub struct Mistakes {
    listed: Vec<String>,
    more: usize,
}

impl Mistakes {
    /// One more.
    pub fn add(&mut self, line: usize, why: impl std::fmt::Display) {
        if self.listed.len() < LISTED {
            self.listed.push(format!("line {line}: {why}"));
        } else {
            self.more += 1;
        }
    }

    /// One about the file as a whole.
    pub fn whole(&mut self, why: impl std::fmt::Display) {
        self.listed.push(why.to_string());
    }

    /// Nothing was wrong, or the error that tells what was.
    ///
    /// # Errors
    /// [`TableError::Lines`] with everything added.
    pub fn check(mut self, path: &Path, what: &'static str) -> Result<(), TableError> {
        if self.more > 0 {
            self.listed.push(format!("and {} more lines", self.more));
        }
        if self.listed.is_empty() {
            return Ok(());
        }
        Err(TableError::Lines { path: path.to_owned(), what, mistakes: self.listed })
    }
}

/// The text of a file; gzip is seen from its first two bytes (RFC 1952), not from the name.
///
/// # Errors
/// [`TableError::Read`], also for bytes that are not UTF-8 or a damaged archive.
pub fn text(path: &Path) -> Result<String, TableError> {
    let failed = |source| TableError::Read { path: path.to_owned(), source };
    let bytes = std::fs::read(path).map_err(failed)?;
    let mut text = String::new();
    if bytes.starts_with(&[0x1f, 0x8b]) {
        flate2::read::MultiGzDecoder::new(bytes.as_slice()).read_to_string(&mut text).map_err(failed)?;
    } else {
        bytes.as_slice().read_to_string(&mut text).map_err(failed)?;
    }
    Ok(text)
}

/// The file `name` in `dir`, or `name.gz`.
///
/// # Errors
/// [`TableError::Read`] naming what was looked for.
pub fn find(dir: &Path, name: &str) -> Result<PathBuf, TableError> {
    let plain = dir.join(name);
    let packed = dir.join(format!("{name}.gz"));
    if plain.is_file() {
        return Ok(plain);
    }
    if packed.is_file() {
        return Ok(packed);
    }
    let source = std::io::Error::new(std::io::ErrorKind::NotFound, format!("neither {name} nor {name}.gz is there"));
    Err(TableError::Read { path: plain, source })
}

/// A CSV file: a header and rows with as many fields.
#[derive(Debug)]
pub struct Table {
    /// Where it came from.
    pub path: PathBuf,
    columns: BTreeMap<String, usize>,
    /// Line number and fields.
    pub rows: Vec<(usize, Vec<String>)>,
}

impl Table {
    /// Reads a file that must have some columns; others may be there.
    ///
    /// # Errors
    /// [`TableError`]: not readable, a column missing or twice, rows with another number of fields.
    pub fn read(path: &Path, what: &'static str, required: &[&str]) -> Result<Self, TableError> {
        let text = text(path)?;
        let mut mistakes = Mistakes::default();
        let mut lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
        let header = lines.next().map_or_else(Vec::new, |(_, line)| fields(line.trim_start_matches('\u{feff}')));
        let mut columns = BTreeMap::new();
        for (place, name) in header.iter().enumerate() {
            if columns.insert(name.clone(), place).is_some() {
                mistakes.add(1, format!("column {name:?} is there twice"));
            }
        }
        for name in required.iter().filter(|name| !columns.contains_key(**name)) {
            let there = header.join(", ");
            mistakes.add(1, format!("column {name:?} is missing; must have {}, has {there}", required.join(", ")));
        }
        let mut rows = Vec::new();
        for (i, line) in lines {
            let row = fields(line);
            if row.len() == header.len() {
                rows.push((i + 1, row));
            } else {
                mistakes.add(i + 1, format!("has {} fields, must have {} like the header", row.len(), header.len()));
            }
        }
        if rows.is_empty() {
            mistakes.whole("has no rows");
        }
        mistakes.check(path, what)?;
        Ok(Self { path: path.to_owned(), columns, rows })
    }

    /// Where a column is.
    pub fn column(&self, name: &str) -> Option<usize> {
        self.columns.get(name).copied()
    }

    /// The names of all columns, in the order of the file.
    pub fn names(&self) -> Vec<&str> {
        let mut names: Vec<(&str, usize)> = self.columns.iter().map(|(name, place)| (name.as_str(), *place)).collect();
        names.sort_by_key(|(_, place)| *place);
        names.into_iter().map(|(name, _)| name).collect()
    }
}

/// The fields of a line; a field in double quotes may hold commas (RFC 4180 without line breaks).
fn fields(line: &str) -> Vec<String> {
    let (mut all, mut field, mut quoted) = (Vec::new(), String::new(), false);
    let mut characters = line.trim_end_matches('\r').chars().peekable();
    while let Some(c) = characters.next() {
        match c {
            '"' if quoted && characters.peek() == Some(&'"') => {
                characters.next();
                field.push('"');
            }
            '"' => quoted = !quoted,
            ',' if !quoted => all.push(std::mem::take(&mut field).trim().to_owned()),
            c => field.push(c),
        }
    }
    all.push(field.trim().to_owned());
    all
}

/// A finite number, or what was wrong.
///
/// # Errors
/// The text and what would be right.
pub fn number(column: &str, text: &str) -> Result<f64, String> {
    let value = text.parse().ok().filter(|v: &f64| v.is_finite());
    value.ok_or_else(|| format!("{column} is {text:?}, must be a number"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn packed_and_plain_files_read_the_same() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("a.csv"), "x,y\n1,\"2,5\"\n").unwrap();
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        gz.write_all(b"x,y\n1,\"2,5\"\n").unwrap();
        std::fs::write(dir.path().join("b.csv.gz"), gz.finish().unwrap()).unwrap();
        let rows = |name| Table::read(&find(dir.path(), name).unwrap(), "a table", &["y"]).unwrap().rows;
        assert_eq!(rows("a.csv"), rows("b.csv"));
        assert_eq!(rows("a.csv"), [(2, vec!["1".to_owned(), "2,5".to_owned()])]);
    }

    #[test]
    fn all_mistakes_are_told_with_their_lines() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.csv");
        std::fs::write(&path, "x,y\n1\n1,2\n1,2,3\n").unwrap();
        let error = Table::read(&path, "a table", &["z"]).unwrap_err().to_string();
        for words in
            ["a.csv is not a table", "line 1: column \"z\" is missing", "line 2: has 1 fields", "line 4: has 3"]
        {
            assert!(error.contains(words), "{error}");
        }
        assert!(find(dir.path(), "none.txt").unwrap_err().to_string().contains("none.txt"));
    }
}

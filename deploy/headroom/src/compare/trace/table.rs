//! A CSV file, plain or gzipped, as cells with their line; and what stands in cells of power: numbers
//! with or without units.

use std::io::Read;
use std::path::Path;

/// Files larger than this are refused: nobody compares on a week at 10 Hz.
const LARGEST: u64 = 1 << 30;
/// The first bytes of a gzip file (RFC 1952).
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// Columns of time.
pub(super) const TIMES: [&str; 2] = ["time_s", "timestamp"];

/// A file's cells.
pub(super) struct Table {
    /// Names of the columns in lower case, without units.
    pub columns: Vec<String>,
    /// Cells by row, with the line they stand on.
    pub rows: Vec<(usize, Vec<String>)>,
    /// What was left out.
    pub notes: Vec<String>,
}

impl Table {
    /// Reads a file.
    pub(super) fn read(path: &Path) -> Result<Self, String> {
        let file = path.display();
        let text = text(path).map_err(|why| format!("{file}: {why}"))?;
        let mut lines = text.lines().enumerate().filter(|(_, l)| !l.trim().is_empty());
        let Some((_, header)) = lines.next() else {
            return Err(format!("{file}:1: the file is empty; its first line must name the columns"));
        };
        let columns = names(header.trim_start_matches('\u{feff}'));
        let cells = |l: &str| l.split(',').map(|c| c.trim().trim_matches('"').to_owned()).collect();
        let mut rows: Vec<(usize, Vec<String>)> = lines.map(|(n, line)| (n + 1, cells(line))).collect();
        let mut notes = Vec::new();
        let before = rows.len().checked_sub(2).and_then(|i| rows[i].1.last().cloned()).unwrap_or_default();
        let times = columns.last().is_some_and(|c| TIMES.contains(&c.as_str()));
        let open = !text.ends_with('\n');
        if let Some((line, _)) = rows.pop_if(|(_, cells)| {
            open && (cells.len() < columns.len() || cells.last().is_some_and(|last| cut(last, &before, times)))
        }) {
            notes.push(format!("the last line, {line}, is cut off and left out"));
        }
        // Who joins files has their headers in the middle.
        let before = rows.len();
        rows.retain(|(_, cells)| {
            cells.first().is_none_or(|c| name(c) != columns[0]) || names(&cells.join(",")) != columns
        });
        if rows.len() < before {
            notes.push(format!("{} repeated header(s) left out", before - rows.len()));
        }
        if rows.is_empty() {
            return Err(format!("{file}:1: there is a header and no reading under it"));
        }
        Ok(Self { columns, rows, notes })
    }

    /// Whether a column has this name.
    pub(super) fn has(&self, name: &str) -> bool {
        self.column(name).is_some()
    }

    /// The number of the column of this name.
    pub(super) fn column(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|c| c == name || (name == "power.draw" && c.starts_with("power.draw.")))
    }

    /// The number of the first column that has one of these names, the first name first.
    pub(super) fn first_of(&self, names: &[&str]) -> Option<usize> {
        names.iter().find_map(|name| self.column(name))
    }
}

/// Whether the last cell of a file that ends without a new line was cut off while it was written or copied: it is
/// empty, a time shorter than the one `before`, or lacks its unit.
fn cut(last: &str, before: &str, times: bool) -> bool {
    let unit = before.chars().last().filter(|c| !c.is_ascii_digit());
    last.is_empty() || (times && last.len() < before.len()) || unit.is_some_and(|unit| !last.ends_with(unit))
}

fn names(line: &str) -> Vec<String> {
    line.split(',').map(name).collect()
}

/// A column's name without its unit.
fn name(cell: &str) -> String {
    cell.split('[').next().unwrap_or_default().trim().trim_matches('"').to_lowercase()
}

fn text(path: &Path) -> Result<String, String> {
    let file = std::fs::File::open(path).map_err(|why| format!("cannot be opened: {why}"))?;
    let mut bytes = Vec::new();
    file.take(LARGEST + 1).read_to_end(&mut bytes).map_err(|why| format!("cannot be read: {why}"))?;
    let named = path.extension().is_some_and(|e| e.eq_ignore_ascii_case("gz"));
    // What is in a file counts, not what it is called.
    if bytes.starts_with(&GZIP) {
        bytes = unzipped(&bytes)?;
    } else if named && !bytes.is_empty() {
        return Err(
            "is not gzip although its name says so; rename it to *.csv if it is text, or fetch it again".to_owned()
        );
    }
    if bytes.len() as u64 > LARGEST {
        return Err("holds more than a gigabyte of text; cut it".to_owned());
    }
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        return Err("is UTF-16 text; turn it into UTF-8: iconv -f UTF-16 -t UTF-8".to_owned());
    }
    String::from_utf8(bytes).map_err(|why| {
        let line = why.as_bytes()[..why.utf8_error().valid_up_to()].iter().filter(|b| **b == b'\n').count() + 1;
        format!("is not UTF-8 text from line {line} on")
    })
}

fn unzipped(bytes: &[u8]) -> Result<Vec<u8>, String> {
    let mut text = Vec::new();
    let read = flate2::read::MultiGzDecoder::new(bytes).take(LARGEST + 1).read_to_end(&mut text);
    read.map_err(|why| match why.kind() {
        std::io::ErrorKind::UnexpectedEof => {
            "is cut off inside its gzip; fetch it again, or unpack what is there (zcat FILE > part.csv) and give that"
                .to_owned()
        }
        _ => format!("is gzip, but damaged ({why}); fetch it again"),
    })?;
    Ok(text)
}

/// A number of watts, with or without its unit. `Ok(None)`: the device gave none.
pub(super) fn watts(cell: &str) -> Result<Option<f64>, String> {
    let number = cell.trim_end_matches(['W', 'w']).trim();
    // What nvidia-smi prints where a query is not supported or failed.
    let absent = ["n/a", "not supported", "unknown error", "gpu is lost", "err!", "no data"];
    let bare = number.trim_matches(['[', ']']).to_lowercase();
    if absent.contains(&bare.as_str()) {
        return Ok(None);
    }
    match number.parse::<f64>() {
        Ok(n) if n.is_finite() && n >= 0.0 => Ok(Some(n)),
        Ok(_) => Err(format!("power {cell:?} is no power; give a number of watts from 0 up")),
        Err(_) => Err(format!("power {cell:?} is not a number; give watts, such as 412.5")),
    }
}

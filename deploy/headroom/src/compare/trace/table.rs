//! A CSV file, plain or gzipped, as cells with their line; and what stands in cells: numbers with or
//! without units, times.

use std::io::Read;
use std::path::Path;

/// Files larger than this are refused: nobody compares on a week at 10 Hz.
const LARGEST: u64 = 1 << 30;

/// A file's cells.
pub(super) struct Table {
    /// Names of the columns in lower case, without units.
    pub columns: Vec<String>,
    /// Cells by row, with the line they stand on.
    pub rows: Vec<(usize, Vec<String>)>,
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
        let header = header.trim_start_matches('\u{feff}');
        let column = |c: &str| c.split('[').next().unwrap_or_default().trim().trim_matches('"').to_lowercase();
        let columns: Vec<String> = header.split(',').map(column).collect();
        let cells = |l: &str| l.split(',').map(|c| c.trim().trim_matches('"').to_owned()).collect();
        let rows: Vec<(usize, Vec<String>)> = lines.map(|(n, line)| (n + 1, cells(line))).collect();
        if rows.is_empty() {
            return Err(format!("{file}:1: there is a header and no reading under it"));
        }
        Ok(Self { columns, rows })
    }

    /// Whether a column has this name.
    pub(super) fn has(&self, name: &str) -> bool {
        self.column(name).is_some()
    }

    /// The number of the column of this name.
    pub(super) fn column(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|c| c == name || (name == "power.draw" && c.starts_with("power.draw.")))
    }
}

fn text(path: &Path) -> Result<String, String> {
    let file = std::fs::File::open(path).map_err(|why| format!("cannot be opened: {why}"))?;
    let mut bytes = Vec::new();
    let zipped = path.extension().is_some_and(|e| e == "gz");
    let limit = LARGEST + 1;
    let read = match zipped {
        true => flate2::read::MultiGzDecoder::new(file).take(limit).read_to_end(&mut bytes),
        false => file.take(limit).read_to_end(&mut bytes),
    };
    read.map_err(|why| format!("cannot be {}: {why}", if zipped { "unpacked" } else { "read" }))?;
    if bytes.len() as u64 > LARGEST {
        return Err("holds more than a gigabyte of text; cut it".to_owned());
    }
    String::from_utf8(bytes).map_err(|why| {
        let line = why.as_bytes()[..why.utf8_error().valid_up_to()].iter().filter(|b| **b == b'\n').count() + 1;
        format!("is not UTF-8 text from line {line} on")
    })
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

/// Seconds from a plain number or from a date with a time, such as `2025/07/27 00:22:27.858`.
pub(super) fn seconds(cell: &str) -> Result<f64, String> {
    let wrong = || format!("time {cell:?} is neither seconds nor a date like 2025-07-27 00:22:27.858");
    if let Ok(n) = cell.parse::<f64>() {
        return if n.is_finite() { Ok(n) } else { Err(wrong()) };
    }
    let cell = cell.trim_end_matches('Z');
    let cell = cell.split('+').next().unwrap_or(cell);
    let (date, time) = cell.split_once([' ', 'T']).ok_or_else(wrong)?;
    let parts = |text: &str, by: &[char]| -> Option<Vec<f64>> { text.split(by).map(|p| p.parse().ok()).collect() };
    let date = parts(date, &['/', '-']).filter(|d| d.len() == 3).ok_or_else(wrong)?;
    let time = parts(time, &[':']).filter(|t| t.len() == 3).ok_or_else(wrong)?;
    let lawful = (1.0..=12.0).contains(&date[1])
        && (1.0..=31.0).contains(&date[2])
        && (0.0..24.0).contains(&time[0])
        && (0.0..60.0).contains(&time[1])
        && (0.0..61.0).contains(&time[2]);
    if !lawful {
        return Err(wrong());
    }
    Ok(days(date[0], date[1], date[2]) * 86_400.0 + time[0] * 3600.0 + time[1] * 60.0 + time[2])
}

/// Days since 1970-01-01 of a Gregorian date (Hinnant, "chrono-compatible low-level date algorithms").
fn days(year: f64, month: f64, day: f64) -> f64 {
    let (y, m) = if month <= 2.0 { (year - 1.0, month + 9.0) } else { (year, month - 3.0) };
    let era = (y / 400.0).floor();
    let of_era = y - era * 400.0;
    let of_year = ((153.0 * m + 2.0) / 5.0).floor() + day - 1.0;
    era * 146_097.0 + of_era * 365.0 + (of_era / 4.0).floor() - (of_era / 100.0).floor() + of_year - 719_468.0
}

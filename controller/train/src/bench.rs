//! `headroom-train bench`: published tasks with baselines computed in the same run, one file for each in `bench/`. What they share lives
//! here: reading plain or gzipped files, the median, and the last line on stdout, which is one JSON object.

mod battery;
mod cmapss;
mod failures;
mod mnist;
mod speed;

use crate::engine::Device;
use crate::stop::Stop;
use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use std::io::Read;
use std::path::Path;

/// The tasks. Each trains once per seed, tells how it goes on stderr, and prints figures, seeds and baselines.
#[derive(Debug, Subcommand)]
pub enum Bench {
    /// Handwritten digits: a small convolutional network, five epochs.
    Mnist(mnist::Options),
    /// Training speed of the shipped forecaster's network on random rows.
    Speed(speed::Options),
    /// Remaining life of engines in the format of NASA's C-MAPSS sets.
    Cmapss(cmapss::Options),
    /// State of health of battery cells, one cell left out.
    Battery(battery::Options),
    /// Which units fail next, from a record of where each was.
    Failures(failures::Options),
}

/// How tasks of small networks learn.
#[derive(Debug, Clone, Args)]
struct Learning {
    /// Models are trained for each; the figures are medians.
    #[arg(long, value_name = "N", value_delimiter = ',', default_value = "1,2,3")]
    seeds: Vec<u64>,
    /// Where to learn: cpu, cpu:THREADS, cuda or cuda:0,1.
    #[arg(long, value_name = "DEVICE", default_value = "cpu")]
    device: Device,
}

/// Runs one; what it returns is the last line on stdout.
///
/// # Errors
/// The task's own.
pub fn run(bench: &Bench, stop: &Stop) -> Result<serde_json::Value> {
    match bench {
        Bench::Mnist(options) => mnist::run(options, stop),
        Bench::Speed(options) => speed::run(options),
        Bench::Cmapss(options) => cmapss::run(options, stop),
        Bench::Battery(options) => battery::run(options, stop),
        Bench::Failures(options) => failures::run(options, stop),
    }
}

/// The whole file, unpacked if it is gzipped (seen from its first two bytes, not from its name).
///
/// # Errors
/// It cannot be read or unpacked; the message names it.
pub fn read(path: &Path) -> Result<Vec<u8>> {
    let bytes = std::fs::read(path).with_context(|| format!("{} cannot be read", path.display()))?;
    if !bytes.starts_with(&[0x1f, 0x8b]) {
        return Ok(bytes);
    }
    let mut unpacked = Vec::new();
    let read = flate2::read::MultiGzDecoder::new(&bytes[..]).read_to_end(&mut unpacked);
    read.with_context(|| format!("{} is not whole gzip data", path.display()))?;
    Ok(unpacked)
}

/// The same as text.
///
/// # Errors
/// As [`read`], or it is not UTF-8.
pub fn read_text(path: &Path) -> Result<String> {
    String::from_utf8(read(path)?).with_context(|| format!("{} is not UTF-8 text", path.display()))
}

/// The middle one, or the mean of the two in the middle; not a number of none.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => sorted[n / 2],
        n => f64::midpoint(sorted[n / 2 - 1], sorted[n / 2]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn a_file_reads_the_same_gzipped_or_not_and_a_broken_one_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let (plain, packed, broken) = (dir.path().join("a.csv"), dir.path().join("a.gz"), dir.path().join("b.gz"));
        std::fs::write(&plain, "1,2\n").unwrap();
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        gz.write_all(b"1,2\n").unwrap();
        let bytes = gz.finish().unwrap();
        std::fs::write(&packed, &bytes).unwrap();
        std::fs::write(&broken, &bytes[..bytes.len() - 6]).unwrap();
        assert_eq!(read_text(&plain).unwrap(), read_text(&packed).unwrap());
        assert!(read(&broken).unwrap_err().to_string().contains("b.gz"));
        assert!(read(&dir.path().join("none")).unwrap_err().to_string().contains("none"));
    }

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0]), 2.5);
        assert!(median(&[]).is_nan());
    }
}

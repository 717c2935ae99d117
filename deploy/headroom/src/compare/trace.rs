//! Traces of power that racks want: read from files, synthesised from arrivals, or made by the
//! simulator's own generators. However it was recorded, a trace ends as rows of watts per GPU.

mod arrivals;
mod builtin;
mod power;
mod smi;
mod table;

use headroom_sim::plant::spec::GpuSpec;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use table::Table;

pub use builtin::builtin;

/// Rows come this often, s; slower recordings are held from one reading to the next.
pub const STEP_S: f64 = 0.1;
/// Readings further apart than this are a gap: the last value is held so long, the rest cut out.
const GAP_S: f64 = 10.0;
/// Shorter recordings say nothing about a breaker, whose memory is half a minute.
const LEAST_S: f64 = 60.0;
/// Longest recording that is read, s: two days.
const MOST_S: f64 = 172_800.0;
/// Mistakes listed of one file.
const LISTED: usize = 20;

/// Power wanted by the GPUs of one rack.
#[derive(Debug, Clone)]
pub struct Trace {
    /// Its file, and the rack within it.
    pub name: String,
    /// Where its power comes from, for people.
    pub kind: &'static str,
    /// How work follows the clock, 0 to 1.
    pub clock_sensitivity: f64,
    /// Watts by row and GPU; with more GPUs than columns they repeat.
    pub watts: Arc<Vec<Vec<f32>>>,
    /// What a reader should know: gaps, missing readings, scaling.
    pub notes: Vec<String>,
}

impl Trace {
    /// How long it lasts, s.
    pub fn seconds(&self) -> f64 {
        self.watts.len() as f64 * STEP_S
    }
}

/// What is told about traces on the command line.
#[derive(Debug, Clone, Default)]
pub struct Reading {
    /// Power, W, that counts as every GPU at its limit, where a file does not tell.
    pub top_watts: Option<f64>,
}

/// Reads files, and every CSV of folders.
///
/// # Errors
/// Every file that is wrong, with its lines.
pub fn load(paths: &[PathBuf], reading: &Reading) -> Result<Vec<Trace>, String> {
    let (mut traces, mut wrong) = (Vec::new(), Vec::new());
    for path in paths {
        match files(path) {
            Ok(files) => {
                for file in files {
                    match load_file(&file, reading) {
                        Ok(more) => traces.extend(more),
                        Err(why) => wrong.push(why),
                    }
                }
            }
            Err(why) => wrong.push(why),
        }
    }
    if wrong.is_empty() { Ok(traces) } else { Err(wrong.join("\n")) }
}

fn files(path: &Path) -> Result<Vec<PathBuf>, String> {
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

fn load_file(path: &Path, reading: &Reading) -> Result<Vec<Trace>, String> {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let name = name.trim_end_matches(".gz").trim_end_matches(".csv").to_owned();
    let table = Table::read(path)?;
    let traces = if table.has("power.draw") {
        smi::read(&table, name, reading)
    } else if table.has("contexttokens") && table.has("generatedtokens") {
        arrivals::read(&table, name)
    } else if table.has("time_s") && table.has("power_watts") {
        power::read(&table, name, reading)
    } else {
        Err(vec![(
            1,
            format!(
                "the columns are {:?}; give \"timestamp, power.draw [W]\" (nvidia-smi), \"time_s,power_watts\", \
                 \"time_s,rack,power_watts,limit_watts\" (headroom-sim trace) or \
                 \"TIMESTAMP,ContextTokens,GeneratedTokens\" (arrivals)",
                table.columns
            ),
        )])
    };
    traces.map_err(|mistakes| {
        let file = path.display();
        let mut lines: Vec<String> =
            mistakes.iter().take(LISTED).map(|(line, text)| format!("{file}:{line}: {text}")).collect();
        if mistakes.len() > LISTED {
            lines.push(format!("{file}: and {} more like these", mistakes.len() - LISTED));
        }
        lines.join("\n")
    })
}

/// A mistake with its line.
type Mistake = (usize, String);

/// Readings of one or several GPUs at one time, with the line they stand on.
struct Tick {
    line: usize,
    time_s: f64,
    watts: Vec<f32>,
}

/// Readings become rows, each held until the next; gaps are shortened.
fn rows(ticks: &[Tick], notes: &mut Vec<String>) -> Result<Vec<Vec<f32>>, Vec<Mistake>> {
    let mut out: Vec<Vec<f32>> = Vec::new();
    let (mut cut_s, mut gaps, mut first) = (0.0, 0, 0);
    let start = ticks.first().map_or(0.0, |t| t.time_s);
    for (tick, next) in ticks.iter().zip(ticks.iter().skip(1)) {
        let gap = next.time_s - tick.time_s - GAP_S;
        let until = next.time_s - start - cut_s - gap.max(0.0);
        if gap > 0.0 {
            cut_s += gap;
            gaps += 1;
            first = if gaps == 1 { next.line } else { first };
        }
        if until > MOST_S {
            return Err(vec![(next.line, format!("is more than {MOST_S} s after the first reading; cut the file"))]);
        }
        while (out.len() as f64) * STEP_S < until - 1e-6 {
            out.push(tick.watts.clone());
        }
    }
    if gaps > 0 {
        notes.push(format!(
            "{gaps} gap(s) longer than {GAP_S} s, the first before line {first}: {cut_s:.0} s cut out, the last value held for {GAP_S} s"
        ));
    }
    let seconds = out.len() as f64 * STEP_S;
    if seconds < LEAST_S {
        let line = ticks.last().map_or(1, |t| t.line);
        return Err(vec![(line, format!("the readings end here after {seconds:.1} s; {LEAST_S:.0} s are needed"))]);
    }
    Ok(out)
}

/// Scales watts so that `top` counts as the GPU's limit.
fn scale(rows: &mut [Vec<f32>], top: f64, gpu: &GpuSpec, notes: &mut Vec<String>) {
    let times = gpu.max_watts / top;
    notes.push(format!("{top:.0} W in the file count as {:.0} W, a GPU at its limit", gpu.max_watts));
    rows.iter_mut().flatten().for_each(|w| *w = (f64::from(*w) * times) as f32);
}

fn highest(rows: &[Vec<f32>]) -> f64 {
    rows.iter().flatten().copied().fold(0.0, f32::max).into()
}

#[cfg(test)]
mod tests;

//! Traces of power that racks want: read from files, synthesised from arrivals, or made by the
//! simulator's own generators. However it was recorded, a trace ends as rows of watts per GPU.

mod arrivals;
mod builtin;
mod files;
mod merge;
mod power;
mod rows;
mod smi;
mod table;
mod ticks;
mod time;

use files::{bare, distinct, files};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use table::Table;

pub use builtin::builtin;

/// Rows come this often, s; slower recordings are held from one reading to the next.
pub const STEP_S: f64 = 0.1;
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
    /// The same by groups of as many GPUs as a rack has, where there are more: racks play them in turn.
    pub parts: Vec<Arc<Vec<Vec<f32>>>>,
    /// What a reader should know: gaps, missing readings, scaling.
    pub notes: Vec<String>,
}

impl Trace {
    /// How long it lasts, s.
    pub fn seconds(&self) -> f64 {
        self.watts.len() as f64 * STEP_S
    }

    /// For racks of so many GPUs.
    pub fn parted(mut self, gpus: usize) -> Self {
        let count = self.watts.first().map_or(0, Vec::len);
        if count > gpus {
            let part = |p: usize| {
                let row = |row: &Vec<f32>| (0..gpus).map(|g| row[(p * gpus + g) % count]).collect();
                Arc::new(self.watts.iter().map(row).collect())
            };
            self.parts = (0..count.div_ceil(gpus)).map(part).collect();
            let groups = self.parts.len();
            self.notes
                .push(format!("its {count} GPUs are played in {groups} groups of {gpus}, by one rack after the other"));
        } else if count > 1 && count < gpus {
            self.notes.push(format!("its {count} GPUs are repeated for the {gpus} of a rack"));
        }
        self
    }

    /// What this rack plays. A round of the groups shifts them by one, so that no band always plays the same.
    pub fn of_rack(&self, rack: usize) -> &Arc<Vec<Vec<f32>>> {
        let groups = self.parts.len().max(1);
        self.parts.get((rack + rack / groups) % groups).unwrap_or(&self.watts)
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
                        Ok(more) => traces.extend(more.into_iter().map(|trace| (file.clone(), trace))),
                        Err(why) => wrong.push(why),
                    }
                }
            }
            Err(why) => wrong.push(why),
        }
    }
    if wrong.is_empty() { Ok(distinct(traces)) } else { Err(wrong.join("\n")) }
}

fn load_file(path: &Path, reading: &Reading) -> Result<Vec<Trace>, String> {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let name = bare(&name).to_owned();
    let table = Table::read(path)?;
    let traces = if table.has("power.draw") {
        smi::read(&table, name, reading)
    } else if arrivals::is_known(&table) {
        arrivals::read(&table, name)
    } else if table.first_of(&table::TIMES).is_some() && table.has("power_watts") {
        power::read(&table, name, reading)
    } else {
        Err(vec![(
            1,
            format!(
                "the columns are {:?}; give \"timestamp, power.draw [W]\" (nvidia-smi), \"time_s,power_watts\", \
                 \"time_s,rack,power_watts,limit_watts\" (headroom-sim trace) or \
                 \"TIMESTAMP,ContextTokens,GeneratedTokens\" or \"Timestamp,Request tokens,Response tokens\" (arrivals), separated by commas",
                table.columns
            ),
        )])
    };
    let told = |mut trace: Trace| {
        trace.notes.extend(table.notes.iter().cloned());
        trace.notes.extend(time_unit(&table));
        trace
    };
    traces.map(|traces| traces.into_iter().map(told).collect()).map_err(|mistakes| {
        let file = path.display();
        let mut lines: Vec<String> =
            mistakes.iter().take(LISTED).map(|(line, text)| format!("{file}:{line}: {text}")).collect();
        if mistakes.len() > LISTED {
            lines.push(format!("{file}: and {} more like these", mistakes.len() - LISTED));
        }
        lines.join("\n")
    })
}

/// Whether its times were taken for something else than seconds.
fn time_unit(table: &Table) -> Option<String> {
    let time = table.first_of(&table::TIMES)?;
    let unit = time::unit(table.rows.first()?.1.get(time)?)?;
    Some(format!("its times are taken for {unit} since 1970"))
}

/// A mistake with its line.
type Mistake = (usize, String);

/// Readings of one or several GPUs at one time, with the line they stand on.
struct Tick {
    line: usize,
    time_s: f64,
    watts: Vec<f32>,
}

#[cfg(test)]
mod tests;

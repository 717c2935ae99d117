//! What `nvidia-smi --query-gpu=timestamp,power.draw --format=csv` prints: one row per GPU and tick.
//! Columns `index` or `uuid` say which GPU, `hostname` of which node; without them a tick is found by the
//! pause after it.

use super::rows::{Drawn, OVER, highest, rows, scale};
use super::table::{Table, watts};
use super::ticks::{is_of_several, ticks};
use super::time::seconds;
use super::{Mistake, Reading, Trace};
use headroom_sim::plant::spec::GpuSpec;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Columns that tell nodes apart, and GPUs; the first that is there of each line counts.
const HOST: &[&str] = &["hostname", "host", "node", "nodename", "instance", "server"];
const GPU: [&[&str]; 2] = [&["index", "gpu", "gpu_index", "gpu_id"], &["uuid", "gpu_uuid", "pci.bus_id", "gpu_bus_id"]];
/// A board's limit: its own before the one that was set.
const LIMIT: &[&str] = &["power.max_limit", "power.default_limit", "power.limit", "enforced.power.limit"];
/// Rows of one tick may be stamped out of order by so much, s.
const JITTER_S: f64 = 1.0;
/// Below this share of the simulated board's limit, another board was recorded, or one that was never busy.
const FAR_BELOW: f64 = 0.8;

/// A node, and a GPU in it. Numbers are padded, so that 10 comes after 9.
type Key = [String; 3];

pub(super) fn read(table: &Table, name: String, reading: &Reading) -> Result<Vec<Trace>, Vec<Mistake>> {
    let (Some(time), Some(power)) = (table.column("timestamp"), table.column("power.draw")) else {
        return Err(vec![(1, "there is no column timestamp beside power.draw".to_owned())]);
    };
    let ids = [table.first_of(HOST), table.first_of(GPU[0]), table.first_of(GPU[1])];
    let limit = table.first_of(LIMIT);
    let (mut recordings, mut mistakes) = (BTreeMap::<Key, (f64, Vec<Drawn>)>::new(), Vec::new());
    let mut told = None;
    for (line, cells) in &table.rows {
        let cell = |column: usize| cells.get(column).map_or("", String::as_str);
        let key = ids.map(|id| format!("{:>8}", id.map_or("", cell)));
        let (latest, of) = recordings.entry(key).or_insert((f64::NEG_INFINITY, Vec::new()));
        let limit = limit.map(|c| watts(cell(c))).transpose().map(Option::flatten);
        match (seconds(cell(time)), watts(cell(power)), limit) {
            (Ok(at), Ok(watts), Ok(limit)) if at >= *latest - JITTER_S => {
                told = told.into_iter().chain(limit.filter(|w| *w > 0.0)).reduce(f64::max);
                *latest = latest.max(at);
                of.push(Drawn { line: *line, time_s: at, watts });
            }
            (Ok(at), Ok(_), Ok(_)) => {
                mistakes.push((*line, format!("timestamp lies {:.3} s before that of an earlier line", *latest - at)));
            }
            (time, power, limit) => {
                let wrong = [time.err(), power.err(), limit.err()];
                mistakes.extend(wrong.into_iter().flatten().map(|m| (*line, m)));
            }
        }
    }
    let known = ids[1].is_some() || ids[2].is_some();
    let hosts: BTreeSet<&String> = recordings.keys().map(|[host, ..]| host).collect();
    let mut notes = Vec::new();
    if hosts.len() > 1 {
        notes.push(format!("{} nodes", hosts.len()));
    }
    let recordings: Vec<Vec<Drawn>> = recordings.into_values().map(|(_, drawn)| drawn).collect();
    if let Some(twice) = recordings.iter().find(|r| known && is_of_several(r)) {
        let text = "a GPU is read several times at once: there is more than one node; add a column hostname or uuid";
        mistakes.push((twice[1].line, text.to_owned()));
    }
    if !mistakes.is_empty() {
        return Err(mistakes);
    }
    let gpu = GpuSpec::h100();
    let ticks = ticks(recordings, known, &gpu, &mut notes);
    let first = table.rows[0].0;
    if ticks.first().is_none_or(|t| t.watts.is_empty()) {
        return Err(vec![(first, "no reading from here on is a number of watts".to_owned())]);
    }
    let mut rows = rows(&ticks, &mut notes)?;
    let top = highest(&rows);
    if top <= 0.0 {
        return Err(vec![(first, "no reading from here on is above 0 W".to_owned())]);
    }
    // A limit that readings pass was not in force all the time.
    match reading.top_watts.or(told.map(|limit| if top > limit * OVER { top } else { limit })) {
        Some(limit) if reading.top_watts.is_none() && (limit / gpu.max_watts - 1.0).abs() < OVER - 1.0 => {}
        Some(limit) => scale(&mut rows, limit, &gpu, &mut notes),
        None if top > gpu.max_watts * OVER => scale(&mut rows, top, &gpu, &mut notes),
        None if top < gpu.max_watts * FAR_BELOW => notes.push(format!(
            "the highest reading is {top:.0} W, the simulated GPU's limit {:.0} W: if the recorded one's is lower, --top-watts says so",
            gpu.max_watts
        )),
        None => {}
    }
    let kind = "nvidia-smi power of each GPU";
    Ok(vec![Trace { name, kind, clock_sensitivity: 0.9, watts: Arc::new(rows), parts: Vec::new(), notes }])
}

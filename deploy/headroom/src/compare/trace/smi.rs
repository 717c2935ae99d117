//! What `nvidia-smi --query-gpu=timestamp,power.draw --format=csv` prints: one row per GPU and tick,
//! without saying which GPU. A tick is found by the pause after it.

use super::table::{Table, seconds, watts};
use super::{Mistake, Reading, Tick, Trace, highest, rows, scale};
use headroom_sim::plant::spec::GpuSpec;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Rows of one tick may be stamped out of order by so much, s.
const JITTER_S: f64 = 1.0;
/// Share of the pauses between rows that are no gap.
const USUAL: f64 = 0.997;
/// Boards may be read a little over their limit.
const OVER: f64 = 1.05;

pub(super) fn read(table: &Table, name: String, reading: &Reading) -> Result<Vec<Trace>, Vec<Mistake>> {
    let (Some(time), Some(power)) = (table.column("timestamp"), table.column("power.draw")) else {
        return Err(vec![(1, "there is no column timestamp beside power.draw".to_owned())]);
    };
    let (mut readings, mut mistakes) = (Vec::new(), Vec::new());
    let mut latest = f64::NEG_INFINITY;
    for (line, cells) in &table.rows {
        let cell = |column: usize| cells.get(column).map_or("", String::as_str);
        match (seconds(cell(time)), watts(cell(power))) {
            (Ok(at), Ok(watts)) if at >= latest - JITTER_S => {
                latest = latest.max(at);
                readings.push((*line, at, watts));
            }
            (Ok(at), Ok(_)) => {
                mistakes.push((*line, format!("timestamp lies {:.3} s before that of an earlier line", latest - at)));
            }
            (time, power) => mistakes.extend([time.err(), power.err()].into_iter().flatten().map(|m| (*line, m))),
        }
    }
    // A file cut off in the middle of its last line is a file cut off, not a wrong one.
    if mistakes.len() == 1 && mistakes[0].0 == table.rows.last().map_or(0, |r| r.0) {
        mistakes.clear();
    }
    if !mistakes.is_empty() {
        return Err(mistakes);
    }
    let mut notes = Vec::new();
    let ticks = ticks(&readings, &mut notes);
    let mut rows = rows(&ticks, &mut notes)?;
    let gpu = GpuSpec::h100();
    let top = reading.top_watts.unwrap_or_else(|| highest(&rows));
    if reading.top_watts.is_some() || top > gpu.max_watts * OVER {
        scale(&mut rows, top, &gpu, &mut notes);
    }
    let kind = "nvidia-smi power of each GPU";
    Ok(vec![Trace { name, kind, clock_sensitivity: 0.9, watts: Arc::new(rows), notes }])
}

/// Puts the rows of a tick together; a reading that is missing is the one before.
fn ticks(readings: &[(usize, f64, Option<f64>)], notes: &mut Vec<String>) -> Vec<Tick> {
    let pause = pause(readings);
    let mut groups: Vec<&[(usize, f64, Option<f64>)]> = Vec::new();
    let mut begin = 0;
    for i in 1..=readings.len() {
        if i == readings.len() || readings[i].1 - readings[i - 1].1 >= pause {
            groups.push(&readings[begin..i]);
            begin = i;
        }
    }
    let mut sizes: BTreeMap<usize, usize> = BTreeMap::new();
    groups.iter().for_each(|g| *sizes.entry(g.len()).or_default() += 1);
    let gpus = sizes.iter().max_by_key(|(_, count)| **count).map_or(1, |(size, _)| *size);
    let mut last = vec![0.0_f32; gpus];
    let (mut absent, mut odd) = (0, 0);
    let mut ticks = Vec::new();
    for group in &groups {
        if group.len() != gpus {
            odd += 1;
            continue;
        }
        for (last, (_, _, watts)) in last.iter_mut().zip(*group) {
            match watts {
                Some(watts) => *last = *watts as f32,
                None => absent += 1,
            }
        }
        ticks.push(Tick { line: group[0].0, time_s: group[0].1, watts: last.clone() });
    }
    notes.push(format!("{gpus} GPU(s) in {} ticks", ticks.len()));
    if odd > 0 {
        notes.push(format!("{odd} tick(s) without a row for each GPU left out"));
    }
    if absent > 0 {
        notes.push(format!("{absent} reading(s) absent, the value before taken"));
    }
    ticks.sort_by(|a, b| a.time_s.total_cmp(&b.time_s));
    ticks
}

/// The least pause, s, between two rows of different ticks. Of `n` GPUs, the pause after a tick is about
/// `n` times the mean and the others are next to nothing; of one, all are about the mean.
fn pause(readings: &[(usize, f64, Option<f64>)]) -> f64 {
    let mut pauses: Vec<f64> = readings.windows(2).map(|w| (w[1].1 - w[0].1).max(0.0)).collect();
    pauses.sort_by(f64::total_cmp);
    // Gaps in the file are no pauses between ticks.
    pauses.truncate((pauses.len() as f64 * USUAL).ceil() as usize);
    let mean = pauses.iter().sum::<f64>() / pauses.len().max(1) as f64;
    let short = pauses.get(pauses.len() * 2 / 5).copied().unwrap_or(0.0);
    if short > mean * 0.5 { 0.0 } else { mean * 1.5 }
}

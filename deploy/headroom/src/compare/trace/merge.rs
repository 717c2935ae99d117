//! Several recordings side by side: the GPUs of a node, the nodes of a file. Each comes in its own time
//! and may begin late, end early or miss readings.

use super::Tick;

/// Recordings that begin or end so much apart from the others are told, s.
const APART_S: f64 = 10.0;

/// One after the other in time: a tick lasts until one of its recordings comes again. What is absent (`NaN`) is the
/// value before, and before the first the first; a GPU that has none at all is left out.
pub(super) fn merge(recordings: &[Vec<Tick>], notes: &mut Vec<String>) -> Vec<Tick> {
    let mut from = vec![0];
    for ticks in recordings {
        from.push(from[from.len() - 1] + ticks.first().map_or(0, |t| t.watts.len()));
    }
    let mut order: Vec<(usize, &Tick)> =
        recordings.iter().enumerate().flat_map(|(r, ticks)| ticks.iter().map(move |t| (r, t))).collect();
    order.sort_by(|a, b| a.1.time_s.total_cmp(&b.1.time_s));
    let mut out: Vec<Tick> = Vec::new();
    let mut seen = vec![true; recordings.len()];
    for (r, tick) in order {
        if seen[r] {
            seen.fill(false);
            let held = out.last().map_or_else(|| vec![f32::NAN; from[recordings.len()]], |t| t.watts.clone());
            out.push(Tick { line: tick.line, time_s: tick.time_s, watts: held });
        }
        // The first of all begins a tick for all.
        seen[r] = true;
        let Some(now) = out.last_mut() else { continue };
        now.watts[from[r]..]
            .iter_mut()
            .zip(&tick.watts)
            .filter(|(_, new)| !new.is_nan())
            .for_each(|(w, new)| *w = *new);
    }
    begin(&mut out, notes);
    apart(recordings, &out, notes);
    out
}

/// Before its first reading a GPU has its first; without any it is left out.
fn begin(ticks: &mut [Tick], notes: &mut Vec<String>) {
    let gpus = ticks.first().map_or(0, |t| t.watts.len());
    let first: Vec<Option<f32>> = (0..gpus).map(|g| ticks.iter().map(|t| t.watts[g]).find(|w| !w.is_nan())).collect();
    for tick in ticks {
        let filled =
            tick.watts.iter().zip(&first).filter_map(|(w, first)| first.map(|f| if w.is_nan() { f } else { *w }));
        tick.watts = filled.collect();
    }
    let none = first.iter().filter(|f| f.is_none()).count();
    if none > 0 {
        notes.push(format!("{none} GPU(s) without any reading left out"));
    }
}

fn apart(recordings: &[Vec<Tick>], all: &[Tick], notes: &mut Vec<String>) {
    let (Some(first), Some(last)) = (all.first(), all.last()) else { return };
    let is_apart = |ticks: &&Vec<Tick>| {
        let present = |t: &&Tick| t.watts.iter().any(|w| !w.is_nan());
        let (begin, end) = (ticks.iter().find(present), ticks.iter().rev().find(present));
        begin.is_some_and(|t| t.time_s > first.time_s + APART_S)
            || end.is_some_and(|t| t.time_s < last.time_s - APART_S)
    };
    let count = recordings.iter().filter(is_apart).count();
    if count > 0 {
        notes.push(format!(
            "{count} of {} recordings in it begin later or end earlier than the others: their nearest reading is held there",
            recordings.len()
        ));
    }
}

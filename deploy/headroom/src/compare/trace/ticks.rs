//! Which rows of nvidia-smi belong together: those of each GPU where the file says which, otherwise those
//! before a pause.

use super::Tick;
use super::merge::merge;
use super::rows::{Drawn, OVER, without_slips};
use headroom_sim::plant::spec::GpuSpec;
use std::collections::BTreeMap;

/// Share of the pauses between rows that are no gap.
const USUAL: f64 = 0.997;
/// One GPU is not read twice within so much of its usual time.
const TWICE: f64 = 0.25;
/// Rows of one GPU that come faster than this, s, are rather those of several.
const FASTEST_S: f64 = 0.05;

/// Puts the rows of a tick together. `known`: each recording is of one GPU.
pub(super) fn ticks(mut recordings: Vec<Vec<Drawn>>, known: bool, gpu: &GpuSpec, notes: &mut Vec<String>) -> Vec<Tick> {
    let (mut later, mut odd) = (Vec::new(), 0);
    without_slips(&mut recordings, gpu.max_watts * OVER, &mut later);
    let each: Vec<Vec<Tick>> = recordings
        .iter()
        .map(|drawn| grouped(drawn, if known { f64::NEG_INFINITY } else { pause(drawn) }, &mut odd))
        .collect();
    let absent = each.iter().flatten().flat_map(|t| &t.watts).filter(|w| w.is_nan()).count();
    let ticks = merge(&each, &mut later);
    let gpus = ticks.first().map_or(0, |t| t.watts.len());
    notes.push(format!("{gpus} GPU(s) in {} ticks", ticks.len()));
    let seconds = ticks.last().map_or(0.0, |t| t.time_s) - ticks.first().map_or(0.0, |t| t.time_s);
    if !known && gpus == 1 && seconds < FASTEST_S * ticks.len() as f64 {
        notes.push(
            "rows come evenly and too fast for one GPU: if they are of several, record index or uuid as well"
                .to_owned(),
        );
    }
    if odd > 0 {
        notes.push(format!("{odd} tick(s) without a row for each GPU left out"));
    }
    if absent > 0 {
        notes.push(format!("{absent} reading(s) absent, the value before taken"));
    }
    notes.append(&mut later);
    ticks
}

/// Rows up to a pause are a tick; as many as are most often together are the GPUs. What is absent is `NaN`.
fn grouped(drawn: &[Drawn], pause: f64, odd: &mut usize) -> Vec<Tick> {
    let groups: Vec<&[Drawn]> = drawn.chunk_by(|a, b| b.time_s - a.time_s < pause).collect();
    let mut sizes: BTreeMap<usize, usize> = BTreeMap::new();
    groups.iter().for_each(|g| *sizes.entry(g.len()).or_default() += 1);
    let gpus = sizes.iter().max_by_key(|(_, count)| **count).map_or(1, |(size, _)| *size);
    *odd += groups.iter().filter(|g| g.len() != gpus).count();
    let watts = |group: &[Drawn]| group.iter().map(|d| d.watts.map_or(f32::NAN, |w| w as f32)).collect();
    let whole = groups.iter().filter(|g| g.len() == gpus);
    whole.map(|g| Tick { line: g[0].line, time_s: g[0].time_s, watts: watts(g) }).collect()
}

/// The least pause, s, between two rows of different ticks. Of `n` GPUs, the pause after a tick is about
/// `n` times the mean and the others are next to nothing; of one, all are about the mean.
fn pause(drawn: &[Drawn]) -> f64 {
    let (short, mean) = pauses(drawn);
    if short > mean * 0.5 { 0.0 } else { mean * 1.5 }
}

/// Whether rows said to be one GPU's are not.
pub(super) fn is_of_several(drawn: &[Drawn]) -> bool {
    let (short, mean) = pauses(drawn);
    drawn.len() > 9 && short < mean * TWICE
}

/// A pause between rows that is short, and the mean.
fn pauses(drawn: &[Drawn]) -> (f64, f64) {
    let mut pauses: Vec<f64> = drawn.windows(2).map(|w| (w[1].time_s - w[0].time_s).max(0.0)).collect();
    pauses.sort_by(f64::total_cmp);
    // Gaps in the file are no pauses between ticks.
    pauses.truncate((pauses.len() as f64 * USUAL).ceil() as usize);
    let mean = pauses.iter().sum::<f64>() / pauses.len().max(1) as f64;
    (pauses.get(pauses.len() * 2 / 5).copied().unwrap_or(0.0), mean)
}

//! From readings in their own time to rows in ours: gaps, what cannot be power, and scaling.

use super::{Mistake, STEP_S, Tick};
use headroom_sim::plant::spec::GpuSpec;

/// Readings further apart than this, s, and than so many times the usual, are a gap: the last value is held so
/// long, the rest cut out.
const GAP_S: f64 = 10.0;
const GAP_PERIODS: f64 = 3.0;
/// With more gaps than this share of the intervals, nobody knows what happened in most of the time.
const MANY_GAPS: f64 = 0.25;
const FEW_GAPS: usize = 3;
/// Slower readings say nothing about a breaker, whose memory is half a minute.
const SLOWEST_S: f64 = 120.0;
/// Slower readings than this do not show the swings of training.
const SLOW_S: f64 = 1.0;
/// Shorter recordings say nothing about a breaker either.
pub(super) const LEAST_S: f64 = 60.0;
/// Longest recording that is read, s: two days.
pub(super) const MOST_S: f64 = 172_800.0;
/// What lies so many times above nearly all other readings is no power but a slip of the meter. A rack at full power
/// draws four times what it draws idle.
const FAR: f64 = 5.0;
const NEARLY_ALL: f64 = 0.999;
/// Boards may be read a little over their limit.
pub(super) const OVER: f64 = 1.05;

/// Power of something at one time, with the line it stands on. `None`: the device gave none.
#[derive(Debug, Clone, Copy)]
pub(super) struct Drawn {
    pub line: usize,
    pub time_s: f64,
    pub watts: Option<f64>,
}

/// Makes absent what is far above all other readings, and above what is `possible` in any case.
pub(super) fn without_slips(recordings: &mut [Vec<Drawn>], possible: f64, notes: &mut Vec<String>) {
    let mut watts: Vec<f64> = recordings.iter().flatten().filter_map(|d| d.watts).collect();
    watts.sort_by(f64::total_cmp);
    let usual = watts.get((watts.len().saturating_sub(1) as f64 * NEARLY_ALL) as usize).copied().unwrap_or(0.0);
    let most = (usual * FAR).max(possible);
    let mut slips = Vec::new();
    for drawn in recordings.iter_mut().flatten() {
        if let Some(watts) = drawn.watts.take_if(|w| usual > 0.0 && *w > most) {
            slips.push((drawn.line, watts));
        }
    }
    if let Some((line, watts)) = slips.iter().min_by_key(|(line, _)| *line) {
        notes.push(format!(
            "{} reading(s) more than {FAR} times as high as {} % of all left out, the first {watts:.0} W on line {line}",
            slips.len(),
            NEARLY_ALL * 100.0
        ));
    }
}

/// The time that is usual between ticks, s; 0 without two.
fn period(ticks: &[Tick]) -> f64 {
    let mut apart: Vec<f64> = ticks.windows(2).map(|t| t[1].time_s - t[0].time_s).filter(|s| *s > 0.0).collect();
    apart.sort_by(f64::total_cmp);
    apart.get(apart.len() / 2).copied().unwrap_or(0.0)
}

/// Readings become rows, each held until the next; gaps are shortened.
pub(super) fn rows(ticks: &[Tick], notes: &mut Vec<String>) -> Result<Vec<Vec<f32>>, Vec<Mistake>> {
    let period = period(ticks);
    if period > SLOWEST_S {
        let line = ticks.get(1).map_or(1, |t| t.line);
        let text = format!(
            "readings come every {period:.0} s; at most every {SLOWEST_S:.0} s can be used, a breaker remembers half a minute. \
             Times must be in seconds or dates"
        );
        return Err(vec![(line, text)]);
    }
    let longest = GAP_S.max(period * GAP_PERIODS);
    let mut out: Vec<Vec<f32>> = Vec::new();
    let (mut cut_s, mut gaps, mut first) = (0.0, 0, 0);
    let start = ticks.first().map_or(0.0, |t| t.time_s);
    for (tick, next) in ticks.iter().zip(ticks.iter().skip(1)) {
        let gap = next.time_s - tick.time_s - longest;
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
    if gaps > FEW_GAPS && gaps as f64 > ticks.len() as f64 * MANY_GAPS {
        let text = format!(
            "{gaps} of {} readings come more than {longest:.0} s after the one before, though {period} s are usual: most of the \
             time is not recorded; record at an even pace",
            ticks.len()
        );
        return Err(vec![(first, text)]);
    }
    if gaps > 0 {
        notes.push(format!(
            "{gaps} gap(s) longer than {longest:.0} s, the first before line {first}: {cut_s:.0} s cut out, the last value held for {longest:.0} s"
        ));
    }
    if period > SLOW_S {
        notes.push(format!("a reading every {period} s: what swings faster is not in it"));
    }
    let seconds = out.len() as f64 * STEP_S;
    if seconds < LEAST_S {
        let line = ticks.last().map_or(1, |t| t.line);
        return Err(vec![(line, format!("the readings end here after {seconds:.1} s; {LEAST_S:.0} s are needed"))]);
    }
    Ok(out)
}

/// Scales watts so that `top` counts as the GPU's limit.
pub(super) fn scale(rows: &mut [Vec<f32>], top: f64, gpu: &GpuSpec, notes: &mut Vec<String>) {
    let times = gpu.max_watts / top;
    notes.push(format!("{top:.0} W in the file count as {:.0} W, a GPU at its limit", gpu.max_watts));
    rows.iter_mut().flatten().for_each(|w| *w = (f64::from(*w) * times) as f32);
}

pub(super) fn highest(rows: &[Vec<f32>]) -> f64 {
    rows.iter().flatten().copied().fold(0.0, f32::max).into()
}

//! What a cell's own past says at one cycle: of its health next, and of the cycles to an end of life.
//! Nothing of the cell's other columns and nothing later than the cycle enters.

use crate::bench::median;

/// Cycles that are looked at one by one.
pub const WINDOW: usize = 16;
/// Longer pasts whose mean is taken.
const MEANS: [usize; 2] = [60, 200];
/// Cycles over which the fade is measured.
const FADES: [usize; 4] = [10, 20, 50, 100];
/// The fade that a straight line to the end of life is drawn with.
const LINE: usize = 30;
/// Least fade per cycle that counts: a thousandth of what kills a cell in two hundred cycles.
const LEAST_FADE: f64 = 1e-4;
/// Longest remaining life told by a straight line, cycles.
const LONGEST: f64 = 1000.0;

fn last(health: &[f64], n: usize) -> &[f64] {
    &health[health.len().saturating_sub(n)..]
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

/// For the next health: the last cycles and longer means, all relative to the last one. `health` must
/// have [`WINDOW`] cycles at least.
pub fn next(health: &[f64]) -> Vec<f32> {
    let now = health[health.len() - 1];
    let window = last(health, WINDOW);
    let mut row: Vec<f64> = window[..WINDOW - 1].iter().map(|h| h - now).collect();
    row.extend([mean(window) - now, median(last(health, 5)) - now]);
    row.push(health.iter().copied().fold(f64::INFINITY, f64::min) - now);
    row.extend(MEANS.map(|n| mean(last(health, n)) - now));
    row.extend([now - 1.0, (health.len() as f64 / 100.0).ln()]);
    row.into_iter().map(|v| v as f32).collect()
}

/// Loss of health per cycle along the least-squares line through the last `n`.
fn fade(health: &[f64], n: usize) -> f64 {
    let values = last(health, n);
    let middle = (values.len() as f64 - 1.0) / 2.0;
    let (mut together, mut spread) = (0.0, 0.0);
    for (i, value) in values.iter().enumerate() {
        together += (i as f64 - middle) * value;
        spread += (i as f64 - middle).powi(2);
    }
    -together / f64::max(spread, 1e-9)
}

/// Cycles until a straight line through the last [`LINE`] cycles reaches `end`.
pub fn straight_line(health: &[f64], end: f64) -> f64 {
    ((mean(last(health, 5)) - end).max(0.0) / fade(health, LINE).max(LEAST_FADE)).min(LONGEST)
}

/// For the cycles to `end`: how far it is, and how the fade changed.
pub fn to_end(health: &[f64], end: f64) -> Vec<f32> {
    let now = mean(last(health, 5));
    let base = fade(health, LINE).max(LEAST_FADE);
    let relative = |fade: f64| ((fade.max(0.0) + LEAST_FADE) / (base + LEAST_FADE)).ln();
    let mut row = vec![now - end, (straight_line(health, end) / 10.0).ln_1p(), 1.0 - now];
    row.extend(FADES.map(|n| relative(fade(health, n))));
    row.extend([relative((1.0 - now) / health.len() as f64), base.ln(), (health.len() as f64 / 100.0).ln()]);
    row.into_iter().map(|v| v as f32).collect()
}

/// The cycle (counted from 0) from which the median of the last five is below `end`: one dip is not the end.
pub fn end_of_life(health: &[f64], end: f64) -> Option<usize> {
    (4..health.len()).find(|t| median(&health[t - 4..=*t]) < end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_straight_fade_ends_where_the_line_says() {
        let health: Vec<f64> = (0..60).map(|t| 1.0 - 0.002 * f64::from(t)).collect();
        // Mean of the last five is 0.886: 0.086 / 0.002.
        assert!((straight_line(&health, 0.8) - 43.0).abs() < 1e-6);
        assert_eq!(end_of_life(&health, 0.9), Some(53));
        assert_eq!(end_of_life(&health, 0.5), None);
        assert!(to_end(&health, 0.8)[3..7].iter().all(|v| v.abs() < 1e-3));
    }

    #[test]
    fn one_dip_is_not_the_end() {
        let mut health = vec![1.0; 50];
        health[20] = 0.1;
        assert_eq!(end_of_life(&health, 0.8), None);
    }

    #[test]
    fn what_comes_next_is_told_relative_to_now() {
        let low: Vec<f64> = (0..40).map(|t| 0.7 - 0.001 * f64::from(t)).collect();
        let row = next(&low);
        assert_eq!(row.len(), WINDOW - 1 + 3 + MEANS.len() + 2);
        assert!((row[0] - 0.015).abs() < 1e-6 && (row[WINDOW - 2] - 0.001).abs() < 1e-6);
    }
}

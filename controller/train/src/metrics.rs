//! How good quantiles are: pinball loss and coverage, by horizon, in watts.

use crate::windows::Windows;
use headroom_predict::{HORIZONS_S, Measured, OUTPUTS, QUANTILES};

/// Pinball (quantile) loss: the expected value of this is least at the true quantile (Koenker and
/// Bassett, "Regression Quantiles", Econometrica 46, 1978).
pub fn pinball(quantile: f64, outcome: f64, predicted: f64) -> f64 {
    let missed = outcome - predicted;
    (quantile * missed).max((quantile - 1.0) * missed)
}

/// Scores answers ([`OUTPUTS`] per window, in nameplates relative to the last value).
pub fn score(part: &str, method: &str, windows: &Windows, answers: &[f32]) -> Vec<Measured> {
    let n = windows.len();
    assert_eq!(answers.len(), n * OUTPUTS, "invariant: one answer per window");
    HORIZONS_S
        .iter()
        .enumerate()
        .map(|(h, horizon_s)| {
            let mut loss = 0.0;
            let mut covered = [0_usize; QUANTILES.len()];
            for i in 0..n {
                let outcome = f64::from(windows.outcome(i)[h]);
                for (q, quantile) in QUANTILES.iter().enumerate() {
                    let predicted = f64::from(answers[i * OUTPUTS + h * QUANTILES.len() + q]);
                    loss += f64::from(windows.nameplates[i]) * pinball(*quantile, outcome, predicted);
                    covered[q] += usize::from(outcome <= predicted);
                }
            }
            Measured {
                part: part.to_owned(),
                method: method.to_owned(),
                horizon_s: *horizon_s,
                pinball_watts: rounded(loss / (n * QUANTILES.len()) as f64),
                coverage: covered.iter().map(|c| rounded(*c as f64 / n as f64)).collect(),
            }
        })
        .collect()
}

/// Mean pinball loss over the horizons, W.
pub fn overall(measured: &[Measured], part: &str, method: &str) -> f64 {
    let of: Vec<f64> =
        measured.iter().filter(|m| m.part == part && m.method == method).map(|m| m.pinball_watts).collect();
    rounded(of.iter().sum::<f64>() / of.len() as f64)
}

/// Four digits after the point: more is noise.
fn rounded(value: f64) -> f64 {
    (value * 1e4).round() / 1e4
}

/// A table for people: one line per method and horizon.
pub fn table(measured: &[Measured]) -> String {
    let mut text =
        format!("{:<10} {:<12} {:>9} {:>11}   coverage of {QUANTILES:?}\n", "part", "method", "horizon_s", "pinball_W");
    for m in measured {
        let coverage: Vec<String> = m.coverage.iter().map(|c| format!("{c:.3}")).collect();
        text += &format!(
            "{:<10} {:<12} {:>9} {:>11.2}   {}\n",
            m.part,
            m.method,
            m.horizon_s,
            m.pinball_watts,
            coverage.join(" ")
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loss_is_least_at_the_quantile() {
        let outcomes: Vec<f64> = (0..1000).map(f64::from).collect();
        let loss = |p: f64| outcomes.iter().map(|o| pinball(0.9, *o, p)).sum::<f64>();
        assert!(loss(900.0) < loss(850.0) && loss(900.0) < loss(950.0));
        assert_eq!(pinball(0.9, 10.0, 0.0), 9.0);
        assert!((pinball(0.9, 0.0, 10.0) - 1.0).abs() < 1e-12);
    }

    #[test]
    fn coverage_counts_outcomes_at_or_below_the_quantile() {
        let windows =
            Windows { features: Vec::new(), targets: vec![0.0; 12], nameplates: vec![1000.0; 2], reactive: Vec::new() };
        let mut answers = vec![0.1_f32; 2 * OUTPUTS];
        answers[0] = -0.1;
        let measured = score("test", "model", &windows, &answers);
        assert_eq!(measured[0].coverage, [0.5, 1.0, 1.0]);
        assert!(measured[1].pinball_watts > 0.0);
    }
}

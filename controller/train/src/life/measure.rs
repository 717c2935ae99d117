//! How good forecasts of remaining life are.

/// Root of the mean squared error, in the unit of the values.
pub fn rmse(predicted: &[f64], truth: &[f64]) -> f64 {
    let squares = predicted.iter().zip(truth).map(|(p, t)| (p - t).powi(2)).sum::<f64>();
    (squares / truth.len().max(1) as f64).sqrt()
}

/// The score of the PHM 2008 challenge (Saxena et al., 2008), summed over units, lower is better: a
/// forecast that is too long costs more than one that is too short.
pub fn nasa_score(predicted: &[f64], truth: &[f64]) -> f64 {
    let cost = |late: f64| if late < 0.0 { (-late / 13.0).exp() - 1.0 } else { (late / 10.0).exp() - 1.0 };
    predicted.iter().zip(truth).map(|(p, t)| cost(p - t)).sum()
}

/// Share of truths within their interval, ends included.
pub fn coverage(intervals: &[(f64, f64)], truth: &[f64]) -> f64 {
    let within = intervals.iter().zip(truth).filter(|((low, high), t)| (*low..=*high).contains(*t)).count();
    within as f64 / truth.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_answers() {
        assert_eq!(rmse(&[1.0, 5.0], &[4.0, 1.0]), 12.5_f64.sqrt());
        let score = nasa_score(&[0.0, 20.0, 7.0], &[13.0, 10.0, 7.0]);
        assert!((score - 2.0 * (std::f64::consts::E - 1.0)).abs() < 1e-12, "{score}");
        assert_eq!(coverage(&[(0.0, 1.0), (2.0, 3.0)], &[1.0, 5.0]), 0.5);
    }

    #[test]
    fn too_late_costs_more_than_too_early() {
        assert!(nasa_score(&[30.0], &[10.0]) > nasa_score(&[10.0], &[30.0]));
    }
}

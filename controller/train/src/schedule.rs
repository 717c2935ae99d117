//! The learning rate over a training: a linear warm-up, then half a cosine (Loshchilov and Hutter,
//! "SGDR", ICLR 2017, without restarts).

/// Share of the steps that warm up.
const WARM_UP: f64 = 0.05;
/// The rate at the end, as a share of the peak.
const END: f64 = 0.01;

/// The rate of step `step` out of `total`, at most `peak`.
pub fn rate(step: usize, total: usize, peak: f64) -> f64 {
    let warm_up = (total as f64 * WARM_UP).max(1.0);
    let (step, total) = (step as f64, total as f64);
    if step < warm_up {
        return peak * (step + 1.0) / (warm_up + 1.0);
    }
    let progress = ((step - warm_up) / (total - warm_up).max(1.0)).min(1.0);
    peak * (END + (1.0 - END) * 0.5 * (1.0 + (std::f64::consts::PI * progress).cos()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_rises_to_the_peak_once_and_falls_to_nearly_nothing() {
        let rates: Vec<f64> = (0..1000).map(|s| rate(s, 1000, 1.0)).collect();
        let top = rates.iter().copied().fold(0.0, f64::max);
        assert!((top - 1.0).abs() < 1e-6 && rates[0] < 0.05 && rates[999] < 0.02);
        let falls = rates.windows(2).position(|w| w[1] < w[0]).unwrap();
        assert!((45..60).contains(&falls) && rates[falls..].windows(2).all(|w| w[1] <= w[0]));
    }
}

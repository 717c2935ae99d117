//! The learning rate over a training: a warm-up that rises in equal steps, then one of four shapes.
//! Numbers equal PyTorch's `LinearLR` followed by `StepLR`, `ExponentialLR` (both stepped after each
//! epoch) or `CosineAnnealingLR` (stepped after each batch).

use serde::{Deserialize, Serialize};

/// Warm-up and shape.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Schedule {
    /// Share of all steps that warm up, from 0 to less than 1.
    pub warm_up: f64,
    /// What comes after.
    pub shape: Shape,
}

/// How the rate falls.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Shape {
    /// It does not.
    Constant,
    /// Times `factor` after every so many epochs.
    Step {
        /// Epochs between.
        every_epochs: usize,
        /// Above 0, at most 1.
        factor: f64,
    },
    /// Times `factor` after every epoch.
    Exponential {
        /// Above 0, at most 1.
        factor: f64,
    },
    /// Half a cosine to `end` of the peak (Loshchilov and Hutter, "SGDR", ICLR 2017, without restarts).
    Cosine {
        /// The rate at the end, as a share of the peak.
        end: f64,
    },
}

impl Default for Schedule {
    fn default() -> Self {
        Self { warm_up: 0.05, shape: Shape::Cosine { end: 0.01 } }
    }
}

impl Schedule {
    /// Always the same rate.
    pub const CONSTANT: Self = Self { warm_up: 0.0, shape: Shape::Constant };

    /// The rate of step `step` (from 0) of `epochs` x `steps_per_epoch`; at most `peak`.
    pub fn rate(&self, step: usize, steps_per_epoch: usize, epochs: usize, peak: f64) -> f64 {
        let total = (steps_per_epoch * epochs) as f64;
        let warm_up = if self.warm_up > 0.0 { (total * self.warm_up).max(1.0) } else { 0.0 };
        let now = step as f64;
        if now < warm_up {
            return peak * (now + 1.0) / (warm_up + 1.0);
        }
        let epoch = step / steps_per_epoch.max(1);
        match self.shape {
            Shape::Constant => peak,
            Shape::Step { every_epochs, factor } => peak * factor.powf((epoch / every_epochs.max(1)) as f64),
            Shape::Exponential { factor } => peak * factor.powf(epoch as f64),
            Shape::Cosine { end } => {
                let progress = ((now - warm_up) / (total - warm_up).max(1.0)).min(1.0);
                peak * (end + (1.0 - end) * 0.5 * (1.0 + (std::f64::consts::PI * progress).cos()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_rises_to_the_peak_once_and_falls_to_nearly_nothing() {
        let rates: Vec<f64> = (0..1000).map(|s| Schedule::default().rate(s, 100, 10, 1.0)).collect();
        let top = rates.iter().copied().fold(0.0, f64::max);
        assert!((top - 1.0).abs() < 1e-6 && rates[0] < 0.05 && rates[999] < 0.02);
        let falls = rates.windows(2).position(|w| w[1] < w[0]).unwrap();
        assert!((45..60).contains(&falls) && rates[falls..].windows(2).all(|w| w[1] <= w[0]));
    }
}

//! Ridge regression: what a network has to beat.

use crate::ridge;

/// Penalty on the weights of standardised features, per row: keeps features that say the same apart.
const RIDGE: f64 = 1e-3;
/// Deviations below this do not count as variation.
const FLAT: f64 = 1e-9;

/// A linear model.
#[derive(Debug, Clone, PartialEq)]
pub struct Linear {
    mean: Vec<f64>,
    weights: Vec<f64>,
    constant: f64,
}

impl Linear {
    /// Least squares on rows of `width` features.
    pub fn fit(inputs: &[f32], width: usize, targets: &[f64]) -> Self {
        let n = targets.len().max(1) as f64;
        let rows = || inputs.chunks_exact(width);
        let mean: Vec<f64> = (0..width).map(|k| rows().map(|r| f64::from(r[k])).sum::<f64>() / n).collect();
        let constant = targets.iter().sum::<f64>() / n;
        let (mut gram, mut right) = (vec![0.0; width * width], vec![0.0; width]);
        let mut centred = vec![0.0; width];
        for (row, target) in rows().zip(targets) {
            centred.iter_mut().zip(row.iter().zip(&mean)).for_each(|(c, (v, mean))| *c = f64::from(*v) - mean);
            for a in 0..width {
                right[a] += centred[a] * (target - constant);
                gram[a * width..=a * width + a].iter_mut().zip(&centred).for_each(|(sum, v)| *sum += centred[a] * v);
            }
        }
        // A feature that does not vary must not be divided by nothing.
        let penalty: Vec<f64> = (0..width).map(|a| RIDGE * gram[a * width + a] + FLAT * n).collect();
        let solved = ridge::solve(gram, &penalty, &[right]).map(|mut solutions| solutions.remove(0));
        Self { weights: solved.unwrap_or_else(|_| vec![0.0; width]), mean, constant }
    }

    /// The answer to one row.
    pub fn answer(&self, row: &[f32]) -> f64 {
        let terms = row.iter().zip(self.mean.iter().zip(&self.weights));
        self.constant + terms.map(|(v, (mean, weight))| (f64::from(*v) - mean) * weight).sum::<f64>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plane_is_found_and_a_flat_feature_does_no_harm() {
        let mut inputs = Vec::new();
        let mut targets = Vec::new();
        for i in 0..50_u8 {
            let (x, y) = (f64::from(i % 7), f64::from(i % 5));
            inputs.extend([x as f32, y as f32, 3.0]);
            targets.push(2.0 * x - y + 4.0);
        }
        let linear = Linear::fit(&inputs, 3, &targets);
        assert!((linear.answer(&[1.0, 2.0, 3.0]) - 4.0).abs() < 0.02, "{}", linear.answer(&[1.0, 2.0, 3.0]));
    }
}

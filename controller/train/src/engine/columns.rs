//! Normalisation: mean, deviation and range of each column, fitted on the training part only.

use serde::{Deserialize, Serialize};

/// Deviations below this do not count as variation: the column is passed on unscaled.
const FLAT: f64 = 1e-6;

/// Of each column.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Columns {
    /// Mean.
    pub mean: Vec<f64>,
    /// Population standard deviation, 1 where the column does not vary.
    pub deviation: Vec<f64>,
    /// Lowest value.
    pub min: Vec<f32>,
    /// Highest value.
    pub max: Vec<f32>,
}

impl Columns {
    /// Fits to rows of `width` numbers each.
    pub fn of(values: &[f32], width: usize) -> Self {
        let n = (values.len() / width).max(1) as f64;
        let mut sum = vec![0.0; width];
        let (mut min, mut max) = (vec![f32::MAX; width], vec![f32::MIN; width]);
        for row in values.chunks_exact(width) {
            for (i, v) in row.iter().enumerate() {
                sum[i] += f64::from(*v);
                min[i] = min[i].min(*v);
                max[i] = max[i].max(*v);
            }
        }
        let mean: Vec<f64> = sum.iter().map(|s| s / n).collect();
        let mut squares = vec![0.0; width];
        for row in values.chunks_exact(width) {
            for (i, v) in row.iter().enumerate() {
                squares[i] += (f64::from(*v) - mean[i]).powi(2);
            }
        }
        let deviation = squares.iter().map(|s| (s / n).sqrt()).map(|d| if d < FLAT { 1.0 } else { d }).collect();
        Self { mean, deviation, min, max }
    }

    /// To mean 0 and deviation 1, in place; any number of rows.
    pub fn normalise(&self, values: &mut [f32]) {
        for row in values.chunks_exact_mut(self.mean.len().max(1)) {
            for (v, (mean, deviation)) in row.iter_mut().zip(self.mean.iter().zip(&self.deviation)) {
                *v = ((f64::from(*v) - mean) / deviation) as f32;
            }
        }
    }

    /// Back to the original unit, in place.
    pub fn restore(&self, values: &mut [f32]) {
        for row in values.chunks_exact_mut(self.mean.len().max(1)) {
            for (v, (mean, deviation)) in row.iter_mut().zip(self.mean.iter().zip(&self.deviation)) {
                *v = (f64::from(*v) * deviation + mean) as f32;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flat_column_is_not_divided_by_zero_and_values_come_back() {
        let columns = Columns::of(&[1.0, 5.0, 3.0, 5.0], 2);
        assert_eq!((columns.mean.clone(), columns.deviation.clone()), (vec![2.0, 5.0], vec![1.0, 1.0]));
        assert_eq!((columns.min.clone(), columns.max.clone()), (vec![1.0, 5.0], vec![3.0, 5.0]));
        let mut values = [7.0, 8.0];
        columns.normalise(&mut values);
        assert_eq!(values, [5.0, 3.0]);
        columns.restore(&mut values);
        assert_eq!(values, [7.0, 8.0]);
    }
}

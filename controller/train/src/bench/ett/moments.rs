//! The closed-form baseline: one linear map from look-back to horizon, shared by all columns. Neighbouring windows share all rows but
//! one, so their second moments follow from one another and the whole fit takes no longer than reading the windows once.

use super::series::{Part, Series};
use crate::ridge;

/// Sums over all windows of a part and all columns.
#[derive(Debug, Clone)]
pub struct Moments {
    look_back: usize,
    horizon: usize,
    windows: f64,
    /// `sum(x_i w_j)` for `i` in the look-back and `j` anywhere in the window, row by row.
    products: Vec<f64>,
    /// `sum(w_j)`.
    sums: Vec<f64>,
    /// `sum(y_j^2)` of the horizon.
    squares: Vec<f64>,
}

/// A linear map from the look-back to the horizon.
#[derive(Debug, Clone, PartialEq)]
pub struct Map {
    /// Rows that it reads.
    pub look_back: usize,
    /// By step of the horizon: one weight per row of the look-back, then the constant.
    pub weights: Vec<Vec<f64>>,
}

impl Moments {
    /// Of a part.
    ///
    /// # Errors
    /// The part has no window as long.
    pub fn of(series: &Series, part: Part, look_back: usize, horizon: usize) -> Result<Self, String> {
        let starts = series.starts(part, look_back, horizon)?;
        let (length, n) = (look_back + horizon, starts.len());
        let mut products = vec![0.0; look_back * length];
        let mut sums = vec![0.0; length];
        let mut all_squares = vec![0.0; length];
        for column in &series.columns {
            let values: Vec<f64> =
                column[starts.start..starts.end - 1 + length].iter().map(|v| f64::from(*v)).collect();
            let mut own = vec![0.0; look_back * length];
            for j in 0..length {
                own[j] = values[..n].iter().zip(&values[j..]).map(|(a, b)| a * b).sum();
                sums[j] += values[j..j + n].iter().sum::<f64>();
                all_squares[j] += values[j..j + n].iter().map(|v| v * v).sum::<f64>();
            }
            // One row later in the window: the first product leaves, one more comes.
            for i in 1..look_back {
                let (before, after) = own.split_at_mut(i * length);
                after[0] = before[i];
                let before = &before[(i - 1) * length..];
                for j in 1..length {
                    after[j] = before[j - 1] - values[i - 1] * values[j - 1] + values[i - 1 + n] * values[j - 1 + n];
                }
            }
            products.iter_mut().zip(own).for_each(|(sum, product)| *sum += product);
        }
        let squares = all_squares[look_back..].to_vec();
        Ok(Self { look_back, horizon, windows: (n * series.columns.len()) as f64, products, sums, squares })
    }

    fn product(&self, i: usize, j: usize) -> f64 {
        self.products[i * (self.look_back + self.horizon) + j]
    }

    /// The map with the smallest squared error plus `penalty` per window on each squared weight (not on the constant). With
    /// `subtracting`, it maps what differs from the last value to what will differ from it.
    ///
    /// # Errors
    /// [`ridge::Singular`].
    pub fn fit(&self, penalty: f64, subtracting: bool) -> Result<Map, ridge::Singular> {
        let last = self.look_back - 1;
        let away = if subtracting { 1.0 } else { 0.0 };
        // The last value less itself says nothing.
        let features = if subtracting { last } else { self.look_back };
        let n = features + 1;
        let product = |i: usize, j: usize| {
            self.product(i, j) - away * (self.product(last, j) + self.product(i, last) - self.product(last, last))
        };
        let sum = |j: usize| self.sums[j] - away * self.sums[last];
        let mut moments = vec![0.0; n * n];
        for i in 0..features {
            for j in 0..=i {
                moments[i * n + j] = product(i, j);
            }
            moments[features * n + i] = sum(i);
        }
        moments[features * n + features] = self.windows;
        let outcomes: Vec<Vec<f64>> = (self.look_back..self.look_back + self.horizon)
            .map(|j| (0..features).map(|i| product(i, j)).chain([sum(j)]).collect())
            .collect();
        let mut penalties = vec![penalty * self.windows; n];
        penalties[features] = 0.0;
        let mut weights = ridge::solve(moments, &penalties, &outcomes)?;
        if subtracting {
            for row in &mut weights {
                let rest = 1.0 - row[..last].iter().sum::<f64>();
                row.insert(last, rest);
            }
        }
        Ok(Map { look_back: self.look_back, weights })
    }

    /// Mean squared error of a map on these windows, without looking at them again.
    pub fn mse(&self, map: &Map) -> f64 {
        let l = self.look_back;
        let mut total = 0.0;
        for (h, row) in map.weights.iter().enumerate() {
            let (weights, constant) = (&row[..l], row[l]);
            let mut error = self.squares[h] + constant * constant * self.windows - 2.0 * constant * self.sums[l + h];
            for (i, w) in weights.iter().enumerate() {
                let line = &self.products[i * (l + self.horizon)..][..l];
                let quadratic: f64 = line.iter().zip(weights).map(|(p, v)| p * v).sum();
                error += w * (quadratic + 2.0 * constant * self.sums[i] - 2.0 * self.product(i, l + h));
            }
            total += error;
        }
        total / (self.windows * self.horizon as f64)
    }
}

impl Map {
    /// Answers to many histories of `look_back` rows each, row by row.
    pub fn answers<'a>(&self, histories: impl Iterator<Item = &'a [f32]>) -> Vec<f32> {
        let weights: Vec<Vec<f32>> = self.weights.iter().map(|row| row.iter().map(|w| *w as f32).collect()).collect();
        let mut answers = Vec::new();
        for history in histories {
            answers.extend(weights.iter().map(|row| dot(&row[..self.look_back], history) + row[self.look_back]));
        }
        answers
    }
}

/// Eight sums side by side, which the compiler turns into vector instructions.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0_f32; 8];
    let (a8, b8) = (a.chunks_exact(8), b.chunks_exact(8));
    let rest: f32 = a8.remainder().iter().zip(b8.remainder()).map(|(x, y)| x * y).sum();
    for (x, y) in a8.zip(b8) {
        for (sum, (x, y)) in sums.iter_mut().zip(x.iter().zip(y)) {
            *sum += x * y;
        }
    }
    sums.iter().sum::<f32>() + rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::ett::series::{Errors, Windows};
    use crate::chance::Chance;
    use crate::engine::Source;

    /// Two columns of noisy waves; borders as small as the test.
    fn series() -> Series {
        let mut chance = Chance::new(3, "moments");
        let mut column = |period: f64| -> Vec<f32> {
            (0..400).map(|i| ((f64::from(i) / period).sin() + 0.3 * chance.between(-1.0, 1.0) + 0.2) as f32).collect()
        };
        Series { columns: vec![column(3.0), column(5.0)], borders: [200, 300, 400] }
    }

    /// The same fit, from the windows themselves.
    fn plainly(windows: &Windows<'_>, subtracting: bool) -> Vec<f32> {
        let (l, h) = windows.widths();
        let (mut moments, mut right) = (vec![0.0; (l + 1) * (l + 1)], vec![vec![0.0; l + 1]; h]);
        let level = |row: usize| if subtracting { windows.history(row)[l - 1] } else { 0.0 };
        let features = |row: usize| -> Vec<f64> {
            windows.history(row).iter().map(|v| f64::from(v - level(row))).chain([1.0]).collect()
        };
        for row in 0..windows.rows() {
            let x = features(row);
            for i in 0..=l {
                (0..=l).for_each(|j| moments[i * (l + 1) + j] += x[i] * x[j]);
                let outcome = windows.outcome(row).iter().map(|y| f64::from(y - level(row)));
                right.iter_mut().zip(outcome).for_each(|(r, y)| r[i] += x[i] * y);
            }
        }
        let penalty: Vec<f64> = (0..=l).map(|i| if i < l { 0.01 * windows.rows() as f64 } else { 0.0 }).collect();
        let weights = ridge::solve(moments, &penalty, &right).unwrap();
        let answer =
            |row: usize, w: &Vec<f64>| features(row).iter().zip(w).map(|(x, w)| x * w).sum::<f64>() as f32 + level(row);
        (0..windows.rows()).flat_map(|row| weights.iter().map(move |w| answer(row, w)).collect::<Vec<_>>()).collect()
    }

    #[test]
    fn sliding_moments_give_the_map_and_the_error_that_the_windows_give() {
        let series = series();
        for subtracting in [false, true] {
            let map = Moments::of(&series, Part::Train, 12, 5).unwrap().fit(0.01, subtracting).unwrap();
            let train = Windows::new(&series, Part::Train, 12, 5).unwrap();
            let answers = map.answers((0..train.rows()).map(|row| train.history(row)));
            let apart =
                answers.iter().zip(plainly(&train, subtracting)).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(apart < 1e-4, "{apart}");
            for part in [Part::Train, Part::Validation, Part::Test] {
                let windows = Windows::new(&series, part, 12, 5).unwrap();
                let answers = map.answers((0..windows.rows()).map(|row| windows.history(row)));
                let (direct, quick) =
                    (Errors::of(&answers, &windows).mse(), Moments::of(&series, part, 12, 5).unwrap().mse(&map));
                assert!((direct - quick).abs() < 1e-6, "{direct} {quick}");
            }
        }
    }

    #[test]
    fn a_map_that_subtracts_the_last_value_moves_with_the_level() {
        let map = Moments::of(&series(), Part::Train, 12, 5).unwrap().fit(0.01, true).unwrap();
        let low: Vec<f32> = (0..12).map(|i| (i as f32).cos()).collect();
        let high: Vec<f32> = low.iter().map(|v| v + 100.0).collect();
        let answers = map.answers([&low[..], &high[..]].into_iter());
        assert!(answers[..5].iter().zip(&answers[5..]).all(|(a, b)| (b - a - 100.0).abs() < 1e-3), "{answers:?}");
    }
}

//! The protocol: 12 months of 30 days to train, 4 to validate, 4 to test; each column standardised with mean and population deviation
//! of the training rows; every window counts, nothing is dropped at the end.

use super::table::Table;
use crate::chance::Chance;
use crate::engine::Source;
use std::ops::Range;

/// Seconds in a month of the protocol.
const MONTH_S: i64 = 30 * 86400;
/// Deviations below this share of the largest value are rounding, not variation.
const FLAT: f64 = 1e-9;

/// A part of the data. The first target of validation and test is their first row; their look-back starts before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Months 1 to 12.
    Train,
    /// Months 13 to 16.
    Validation,
    /// Months 17 to 20.
    Test,
}

/// The standardised columns.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// By column.
    pub columns: Vec<Vec<f32>>,
    /// Where the parts end.
    pub borders: [usize; 3],
}

impl Series {
    /// Splits and standardises.
    ///
    /// # Errors
    /// The table is too short, or a column says nothing in the training part.
    pub fn of(table: &Table) -> Result<Self, Vec<String>> {
        let borders = [12, 16, 20].map(|months| (months * MONTH_S / table.step_s) as usize);
        if table.rows() < borders[2] {
            return Err(vec![format!(
                "has {} rows, must have {} (20 months of 30 days at {} s: 12 to train, 4 to validate, 4 to test)",
                table.rows(),
                borders[2],
                table.step_s
            )]);
        }
        let mut flat = Vec::new();
        let mut columns = Vec::new();
        for (name, column) in table.names.iter().zip(&table.columns) {
            let train = &column[..borders[0]];
            let n = train.len() as f64;
            let mean = train.iter().sum::<f64>() / n;
            let deviation = (train.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n).sqrt();
            if deviation <= FLAT * train.iter().fold(0.0, |most: f64, v| most.max(v.abs())) {
                flat.push(format!(
                    "column {name} does not vary in its first 12 months: it cannot be standardised; leave it out"
                ));
            }
            columns.push(column.iter().map(|v| ((v - mean) / deviation) as f32).collect());
        }
        if flat.is_empty() { Ok(Self { columns, borders }) } else { Err(flat) }
    }

    /// First rows of the windows of a part; a window is `look_back` rows, then `horizon` rows.
    ///
    /// # Errors
    /// The part has no window as long.
    pub fn starts(&self, part: Part, look_back: usize, horizon: usize) -> Result<Range<usize>, String> {
        let (targets, end) = match part {
            Part::Train => (look_back, self.borders[0]),
            Part::Validation => (self.borders[0], self.borders[1]),
            Part::Test => (self.borders[1], self.borders[2]),
        };
        if targets < look_back || targets + horizon > end {
            return Err(format!(
                "the {part:?} part has {} rows: too few for a horizon of {horizon} after a look-back of {look_back}",
                end - targets.min(end)
            ));
        }
        Ok(targets - look_back..end - horizon - look_back + 1)
    }
}

/// All windows of a part as rows of a source: one row per window and column.
#[derive(Debug, Clone)]
pub struct Windows<'a> {
    series: &'a Series,
    starts: Range<usize>,
    look_back: usize,
    horizon: usize,
    /// Every so many windows only. While learning, each is moved by chance up to the next one: over the epochs all are seen.
    stride: usize,
}

impl<'a> Windows<'a> {
    /// Every window of a part.
    ///
    /// # Errors
    /// As [`Series::starts`].
    pub fn new(series: &'a Series, part: Part, look_back: usize, horizon: usize) -> Result<Self, String> {
        Ok(Self { series, starts: series.starts(part, look_back, horizon)?, look_back, horizon, stride: 1 })
    }

    /// About `most` rows an epoch at most.
    pub fn thinned(self, most: usize) -> Self {
        let stride = (self.starts.len() * self.series.columns.len()).div_ceil(most.max(1)).max(1);
        Self { stride, ..self }
    }

    /// Window and column of a row.
    fn place(&self, row: usize) -> (usize, usize) {
        let columns = self.series.columns.len();
        (self.starts.start + row / columns * self.stride, row % columns)
    }

    /// What came, of a row.
    pub fn outcome(&self, row: usize) -> &[f32] {
        let (start, column) = self.place(row);
        &self.series.columns[column][start + self.look_back..][..self.horizon]
    }

    /// What was known, of a row.
    pub fn history(&self, row: usize) -> &[f32] {
        let (start, column) = self.place(row);
        &self.series.columns[column][start..][..self.look_back]
    }
}

impl Source for Windows<'_> {
    fn rows(&self) -> usize {
        self.starts.len().div_ceil(self.stride) * self.series.columns.len()
    }

    fn widths(&self) -> (usize, usize) {
        (self.look_back, self.horizon)
    }

    fn fill(&self, row: usize, chance: Option<&mut Chance>, inputs: &mut [f32], targets: &mut [f32]) {
        let (start, column) = self.place(row);
        let moved = chance.map_or(0, |chance| chance.below(self.stride));
        let start = (start + moved).min(self.starts.end - 1);
        let window = &self.series.columns[column][start..][..self.look_back + self.horizon];
        inputs.copy_from_slice(&window[..self.look_back]);
        targets.copy_from_slice(&window[self.look_back..]);
    }
}

/// Squared and absolute errors, summed up.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Errors {
    squares: f64,
    sizes: f64,
    n: f64,
}

impl Errors {
    /// One row of answers and what came.
    pub fn add(&mut self, answers: &[f32], outcome: &[f32]) {
        for (a, o) in answers.iter().zip(outcome) {
            let missed = f64::from(a - o);
            self.squares += missed * missed;
            self.sizes += missed.abs();
        }
        self.n += answers.len() as f64;
    }

    /// Of all answers, row by row, to all windows.
    pub fn of(answers: &[f32], windows: &Windows<'_>) -> Self {
        let mut errors = Self::default();
        for (row, answer) in answers.chunks_exact(windows.horizon).enumerate() {
            errors.add(answer, windows.outcome(row));
        }
        errors
    }

    /// Mean squared error.
    pub fn mse(&self) -> f64 {
        self.squares / self.n
    }

    /// Mean absolute error.
    pub fn mae(&self) -> f64 {
        self.sizes / self.n
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(step_s: i64, columns: usize) -> Table {
        let rows = (20 * MONTH_S / step_s) as usize;
        let column = |c: usize| (0..rows + 5).map(|i| (i * (c + 1)) as f64).collect();
        Table {
            names: (0..columns).map(|c| format!("c{c}")).collect(),
            columns: (0..columns).map(column).collect(),
            step_s,
        }
    }

    #[test]
    fn the_borders_follow_the_step_and_every_window_of_a_part_is_there() {
        let hourly = Series::of(&table(3600, 2)).unwrap();
        assert_eq!(hourly.borders, [8640, 11520, 14400]);
        assert_eq!(Series::of(&table(900, 1)).unwrap().borders, [34560, 46080, 57600]);
        assert_eq!(hourly.starts(Part::Train, 336, 96), Ok(0..8640 - 336 - 96 + 1));
        // 2785 windows: every target row from the first to the last of the part is used.
        assert_eq!(hourly.starts(Part::Test, 336, 96), Ok(11184..11184 + 2785));
        let test = Windows::new(&hourly, Part::Test, 336, 96).unwrap();
        assert_eq!(test.rows(), 2785 * 2);
        assert_eq!(test.outcome(0)[0], hourly.columns[0][11520]);
        assert_eq!(test.outcome(test.rows() - 1)[95], hourly.columns[1][14399]);
        assert!(hourly.starts(Part::Validation, 336, 2881).unwrap_err().contains("2880 rows"));
    }

    #[test]
    fn scaling_knows_the_training_part_only() {
        let mut table = table(3600, 1);
        table.columns[0][8640..].iter_mut().for_each(|v| *v = 1e9);
        let column = &Series::of(&table).unwrap().columns[0];
        let mean = column[..8640].iter().map(|v| f64::from(*v)).sum::<f64>() / 8640.0;
        let square = column[..8640].iter().map(|v| f64::from(*v).powi(2)).sum::<f64>() / 8640.0;
        assert!(mean.abs() < 1e-4 && (square - 1.0).abs() < 1e-4);
        table.columns[0][..8640].fill(3.0);
        assert!(Series::of(&table).unwrap_err()[0].contains("c0"));
        table.columns[0].truncate(100);
        assert!(Series::of(&table).unwrap_err()[0].contains("must have 14400"));
    }

    #[test]
    fn thinned_windows_are_moved_while_learning_but_stay_in_their_part() {
        let series = Series::of(&table(3600, 1)).unwrap();
        let train = Windows::new(&series, Part::Train, 336, 96).unwrap().thinned(1000);
        assert!(train.rows() <= 1000);
        let (mut x, mut y, mut seen) = (vec![0.0; 336], vec![0.0; 96], std::collections::BTreeSet::new());
        let last = train.rows() - 1;
        for seed in 0..200 {
            train.fill(last, Some(&mut Chance::new(seed, "test")), &mut x, &mut y);
            assert!(y[95] <= series.columns[0][8639]);
            train.fill(3, Some(&mut Chance::new(seed, "test")), &mut x, &mut y);
            seen.insert(x[0].to_bits());
        }
        assert_eq!(seen.len(), 9);
        train.fill(3, None, &mut x, &mut y);
        assert_eq!(x, train.history(3));
    }
}

//! What is known of a unit at one cycle, from that cycle and those before: means of the sensors over
//! several windows, their slopes, the unit's own first cycles, its age. A window longer than the
//! record takes what there is.

/// Cycles whose means are taken.
const WINDOWS: [usize; 4] = [5, 10, 20, 50];
/// Cycles over which slopes are taken.
const SLOPES: [usize; 3] = [10, 30, 60];
/// First cycles, from which a unit's own start is known: new units differ more than an early fault shows.
const FIRST: usize = 40;
/// Share of the full window's spread added below slopes, so that few cycles give a small slope, not a wild one.
const SHRINK: f64 = 0.1;

/// Values per sensor.
const PER_SENSOR: usize = WINDOWS.len() + SLOPES.len() + 1;

/// How many features there are.
pub fn width(sensors: usize) -> usize {
    sensors * PER_SENSOR + 2
}

/// What the features are, for the schema of a model.
pub fn schema() -> String {
    format!(
        "mean{WINDOWS:?} slope{SLOPES:?} first{FIRST} shrink{SHRINK} age_ln age_cycles/100; by feature, then sensor"
    )
}

/// Sums of values and of values times cycle up to each cycle, so that any window costs the same.
struct Sums {
    plain: Vec<f64>,
    timed: Vec<f64>,
}

impl Sums {
    fn of(values: &[Vec<f64>], sensor: usize) -> Self {
        let (mut plain, mut timed) = (vec![0.0], vec![0.0]);
        for (t, row) in values.iter().enumerate() {
            plain.push(plain[t] + row[sensor]);
            timed.push(timed[t] + row[sensor] * t as f64);
        }
        Self { plain, timed }
    }

    /// Mean of cycles `from..to`.
    fn mean(&self, from: usize, to: usize) -> f64 {
        (self.plain[to] - self.plain[from]) / (to - from) as f64
    }

    /// Rise over `window` cycles along the least-squares line through `from..to`, shrunk.
    fn rise(&self, from: usize, to: usize, window: usize) -> f64 {
        let (n, w) = ((to - from) as f64, window as f64);
        let middle = (from + to - 1) as f64 / 2.0;
        let together = (self.timed[to] - self.timed[from]) - middle * (self.plain[to] - self.plain[from]);
        let spread = n * (n * n - 1.0) / 12.0 + SHRINK * w * (w * w - 1.0) / 12.0;
        w * together / spread
    }
}

/// The features of every cycle, from normalised sensors by cycle.
pub fn all(values: &[Vec<f64>]) -> Vec<Vec<f32>> {
    let sensors = values.first().map_or(0, Vec::len);
    let sums: Vec<Sums> = (0..sensors).map(|k| Sums::of(values, k)).collect();
    (1..=values.len())
        .map(|to| {
            let mut row = Vec::with_capacity(width(sensors));
            for window in WINDOWS {
                row.extend(sums.iter().map(|s| s.mean(to.saturating_sub(window), to) as f32));
            }
            for window in SLOPES {
                row.extend(sums.iter().map(|s| s.rise(to.saturating_sub(window), to, window) as f32));
            }
            row.extend(sums.iter().map(|s| s.mean(0, to.min(FIRST)) as f32));
            row.extend([(1.0 + to as f64).ln() as f32, to as f32 / 100.0]);
            row
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_straight_line_has_its_slope_and_its_means() {
        let values: Vec<Vec<f64>> = (0..100).map(|t| vec![2.0 * f64::from(t)]).collect();
        let row = &all(&values)[99];
        assert_eq!(row.len(), width(1));
        // Means of the last 5, 10, 20, 50 of 0, 2, .. 198; then the rise over 10 cycles, 20 unshrunk.
        assert_eq!(row[..4], [194.0, 189.0, 179.0, 149.0]);
        assert!((row[4] - 20.0 / 1.1).abs() < 1e-3, "{}", row[4]);
        assert_eq!((row[7], row[9]), (39.0, 1.0));
    }

    #[test]
    fn a_cycle_knows_nothing_of_later_ones() {
        let mut values: Vec<Vec<f64>> = (0..90).map(|t| vec![f64::from(t * t % 17), 1.0]).collect();
        let before = all(&values[..50]);
        values[70][0] = 1e9;
        assert_eq!(all(&values)[..50], before);
    }

    #[test]
    fn a_unit_of_one_cycle_has_finite_features() {
        assert!(all(&[vec![3.0, -1.0]])[0].iter().all(|v| v.is_finite()));
    }
}

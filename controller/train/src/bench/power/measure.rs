//! What forecasts are judged by.

/// A loss.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Measure {
    /// Root of the mean squared error.
    RootMeanSquare,
    /// Mean pinball loss of a quantile (Koenker and Bassett, 1978); of 0.5: half the mean absolute error.
    Pinball(f32),
}

impl Measure {
    /// Of forecasts and what came.
    pub fn of(self, pairs: impl Iterator<Item = (f32, f32)>) -> f64 {
        let (mut sum, mut n) = (0.0, 0.0);
        for (forecast, outcome) in pairs {
            let missed = f64::from(outcome - forecast);
            sum += match self {
                Self::RootMeanSquare => missed * missed,
                Self::Pinball(q) => (f64::from(q) * missed).max((f64::from(q) - 1.0) * missed),
            };
            n += 1.0;
        }
        let mean = sum / n;
        if self == Self::RootMeanSquare { mean.sqrt() } else { mean }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn measures_are_what_they_are_called() {
        let pairs = [(1.0, 2.0), (2.0, 0.0)];
        assert!((Measure::RootMeanSquare.of(pairs.into_iter()) - 2.5_f64.sqrt()).abs() < 1e-9);
        assert!((Measure::Pinball(0.5).of(pairs.into_iter()) - 0.75).abs() < 1e-9);
        assert!((Measure::Pinball(0.9).of(pairs.into_iter()) - 0.55).abs() < 1e-6);
    }
}

//! Mean of a power over the last second, from a running energy, so that it cannot drift.

use std::collections::VecDeque;

/// A sliding mean over one second.
#[derive(Debug, Clone)]
pub struct SecondMean {
    energy_joules: f64,
    time_s: f64,
    marks: VecDeque<(f64, f64)>,
}

impl SecondMean {
    /// Starts at zero time and energy.
    pub fn new() -> Self {
        Self { energy_joules: 0.0, time_s: 0.0, marks: VecDeque::from([(0.0, 0.0)]) }
    }

    /// Adds `watts` over `dt` seconds and gives the mean of the last second (of the time so far
    /// when that is less).
    pub fn push(&mut self, watts: f64, dt: f64) -> f64 {
        self.time_s += dt;
        self.energy_joules += watts * dt;
        self.marks.push_back((self.time_s, self.energy_joules));
        while self.marks.len() > 2 && self.time_s - self.marks[1].0 > 1.0 - 1e-9 {
            self.marks.pop_front();
        }
        let (time_s, energy_joules) = self.marks[0];
        (self.energy_joules - energy_joules) / (self.time_s - time_s)
    }

    /// Everything added so far.
    pub fn energy_joules(&self) -> f64 {
        self.energy_joules
    }
}

impl Default for SecondMean {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_needs_one_second_to_be_the_mean() {
        let mut mean = SecondMean::new();
        for _ in 0..100 {
            mean.push(100.0, 0.02);
        }
        let half = (0..25).map(|_| mean.push(200.0, 0.02)).last().expect("25 steps");
        assert!((half - 150.0).abs() < 3.0, "{half}");
        let whole = (0..26).map(|_| mean.push(200.0, 0.02)).last().expect("26 steps");
        assert!((whole - 200.0).abs() < 1e-6, "{whole}");
    }
}

//! The last minute of one rack on a grid of one second: the last sample of a second wins, a second
//! without a sample is a gap.

use crate::WINDOW_S;
use headroom_rack::{UnixMs, Watts};
use std::collections::VecDeque;

/// What is known of a rack in one second.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Sample {
    /// Power at the rack's inlets.
    pub power: Option<Watts>,
    /// Sum of the limits in force on its GPUs.
    pub limit: Option<Watts>,
    /// Mean GPU utilisation, 0 to 1.
    pub utilization: Option<f64>,
}

/// The last [`WINDOW_S`] seconds of one rack.
#[derive(Debug, Clone, PartialEq)]
pub struct History {
    nameplate: Watts,
    second: u64,
    samples: VecDeque<Sample>,
}

impl History {
    /// An empty history of a rack that draws at most `nameplate`.
    pub fn new(nameplate: Watts) -> Self {
        Self { nameplate, second: 0, samples: VecDeque::with_capacity(WINDOW_S) }
    }

    /// Adds a sample. A clock that jumps back, or ahead by more than the window, starts anew.
    pub fn push(&mut self, at: UnixMs, sample: Sample) {
        let second = at.get() / 1000;
        let ahead = second.checked_sub(self.second);
        match ahead {
            Some(0) if !self.samples.is_empty() => {
                self.samples.pop_back();
            }
            Some(ahead) if (ahead as usize) <= WINDOW_S => {
                let gap = ahead.saturating_sub(1) as usize;
                self.samples.extend(std::iter::repeat_n(Sample::default(), gap));
            }
            _ => self.samples.clear(),
        }
        self.samples.push_back(sample);
        while self.samples.len() > WINDOW_S {
            self.samples.pop_front();
        }
        self.second = second;
    }

    /// What the rack draws at most.
    pub fn nameplate(&self) -> Watts {
        self.nameplate
    }

    /// The samples, oldest first, at most [`WINDOW_S`].
    pub fn samples(&self) -> impl DoubleEndedIterator<Item = &Sample> + ExactSizeIterator {
        self.samples.iter()
    }

    /// The newest known power, not older than `seconds`.
    pub fn last_power(&self, seconds: usize) -> Option<Watts> {
        self.samples.iter().rev().take(seconds + 1).find_map(|s| s.power)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn powers(history: &History) -> Vec<Option<f64>> {
        history.samples().map(|s| s.power.map(Watts::get)).collect()
    }

    fn sample(power: f64) -> Sample {
        Sample { power: Some(Watts::new(power)), ..Sample::default() }
    }

    #[test]
    fn a_missing_second_is_a_gap_and_a_second_sample_replaces_the_first() {
        let mut history = History::new(Watts::new(100.0));
        history.push(UnixMs::new(1_000), sample(1.0));
        history.push(UnixMs::new(3_100), sample(3.0));
        history.push(UnixMs::new(3_900), sample(4.0));
        assert_eq!(powers(&history), [Some(1.0), None, Some(4.0)]);
    }

    #[test]
    fn a_jump_of_the_clock_starts_anew() {
        let mut history = History::new(Watts::new(100.0));
        history.push(UnixMs::new(100_000), sample(1.0));
        history.push(UnixMs::new(50_000), sample(2.0));
        assert_eq!(powers(&history), [Some(2.0)]);
        history.push(UnixMs::new(900_000), sample(3.0));
        assert_eq!(powers(&history), [Some(3.0)]);
    }
}

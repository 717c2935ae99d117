//! The last minute of one rack on a grid of one second: the last sample of a second wins, a second
//! without a sample is a gap.

use crate::WINDOW_S;
use headroom_rack::{UnixMs, Watts};
use std::borrow::Cow;
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

    /// Adds a sample; numbers no meter can show (not finite, negative, a utilisation above 1) are
    /// unknown. A clock that jumps back, or ahead by more than the window, starts anew.
    pub fn push(&mut self, at: UnixMs, sample: Sample) {
        let lawful = |w: &Watts| w.is_finite() && *w >= Watts::ZERO;
        let sample = Sample {
            power: sample.power.filter(lawful),
            limit: sample.limit.filter(lawful),
            utilization: sample.utilization.filter(|u| (0.0..=1.0).contains(u)),
        };
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

    /// The history as it looks at `at`: the seconds since the newest sample are gaps.
    pub fn until(&self, at: UnixMs) -> Cow<'_, Self> {
        if self.samples.is_empty() || at.get() / 1000 <= self.second {
            return Cow::Borrowed(self);
        }
        let mut later = self.clone();
        later.push(at, Sample::default());
        Cow::Owned(later)
    }

    /// What the rack draws at most.
    pub fn nameplate(&self) -> Watts {
        self.nameplate
    }

    /// The samples, oldest first, at most [`WINDOW_S`].
    pub fn samples(&self) -> impl DoubleEndedIterator<Item = &Sample> + ExactSizeIterator {
        self.samples.iter()
    }

    /// The power in one second of the clock, if it lies in the window and is known.
    pub fn power_at(&self, second: u64) -> Option<Watts> {
        let back = self.second.checked_sub(second)? as usize;
        let index = self.samples.len().checked_sub(back + 1)?;
        self.samples.get(index)?.power
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
    fn numbers_no_meter_can_show_are_unknown() {
        let mut history = History::new(Watts::new(100.0));
        for (t, power) in [f64::NAN, f64::INFINITY, -1.0, 7.0].into_iter().enumerate() {
            history.push(UnixMs::new(t as u64 * 1000), sample(power));
        }
        assert_eq!(powers(&history), [None, None, None, Some(7.0)]);
    }

    #[test]
    fn silence_is_a_gap_even_if_nobody_pushes() {
        let mut history = History::new(Watts::new(100.0));
        history.push(UnixMs::new(1_000), sample(1.0));
        assert_eq!(powers(&history.until(UnixMs::new(1_900))), [Some(1.0)]);
        assert_eq!(powers(&history.until(UnixMs::new(3_000))), [Some(1.0), None, None]);
        assert_eq!(powers(&history.until(UnixMs::new(99_000))), [None]);
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

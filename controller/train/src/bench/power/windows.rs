//! Windows of traces: 30 s that are known (held over short gaps) and what came after, where a reading says so.

use super::trace::Trace;
use super::{HISTORY, HORIZONS, STEPS};

/// Windows of one or more traces.
#[derive(Debug, Clone, Default)]
pub struct Windows {
    traces: Vec<Trace>,
    /// Trace and index of the newest value.
    places: Vec<(usize, usize)>,
}

impl Windows {
    /// Adds every `stride`-th window of a trace.
    pub fn add(&mut self, trace: Trace, stride: usize) {
        let last = trace.power.len().saturating_sub(1);
        let places = (HISTORY - 1..last).step_by(stride.max(1));
        self.places.extend(places.map(|place| (self.traces.len(), place)));
        self.traces.push(trace);
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// The 300 values, W, the newest last.
    pub fn values(&self, i: usize) -> &[f32] {
        let (trace, place) = self.places[i];
        &self.traces[trace].power[place + 1 - HISTORY..=place]
    }

    /// The run, where it is the only one.
    pub fn run(&self) -> &Trace {
        &self.traces[0]
    }

    /// What came at each horizon, W; nothing where the trace ends or has no reading.
    pub fn outcomes(&self, i: usize) -> [Option<f32>; HORIZONS] {
        let (trace, place) = self.places[i];
        let Trace { power, known } = &self.traces[trace];
        STEPS.map(|step| known.get(place + step).is_some_and(|known| *known).then(|| power[place + step]))
    }

    /// What came, if all of it is known.
    pub fn all_outcomes(&self, i: usize) -> Option<[f32; HORIZONS]> {
        let outcomes = self.outcomes(i);
        outcomes.iter().all(Option::is_some).then(|| outcomes.map(Option::unwrap_or_default))
    }
}

/// The same trace at another speed: `factor` above 1 is faster. Other jobs checkpoint at other periods.
pub fn at_speed(trace: &Trace, factor: f64) -> Trace {
    let n = (trace.power.len() as f64 / factor) as usize;
    let mut other = Trace::default();
    for i in 0..n {
        let at = i as f64 * factor;
        let (before, part) = ((at as usize).min(trace.power.len() - 1), at.fract() as f32);
        let after = (before + 1).min(trace.power.len() - 1);
        other.power.push(trace.power[before] * (1.0 - part) + trace.power[after] * part);
        other.known.push(trace.known[before]);
    }
    other
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ramp(n: usize) -> Trace {
        Trace { power: (0..n).map(|i| i as f32).collect(), known: vec![true; n] }
    }

    #[test]
    fn outcomes_are_1_5_10_and_30_s_later_or_absent() {
        let mut windows = Windows::default();
        let mut trace = ramp(700);
        trace.known[399] = false;
        windows.add(trace, 1);
        assert_eq!((windows.values(0)[0], windows.values(0)[299]), (0.0, 299.0));
        assert_eq!(windows.outcomes(0), [Some(309.0), Some(349.0), None, Some(599.0)]);
        assert_eq!(windows.outcomes(windows.len() - 1), [None; 4]);
        assert_eq!(windows.all_outcomes(1), Some([310.0, 350.0, 400.0, 600.0]));
    }

    #[test]
    fn a_trace_at_double_speed_is_half_as_long() {
        let fast = at_speed(&ramp(100), 2.0);
        assert_eq!((fast.power.len(), fast.power[10]), (50, 20.0));
        assert_eq!(at_speed(&ramp(100), 0.5).power[7], 3.5);
    }
}

//! Level of activity over time: straight lines between points, then repeated from a chosen point.

use crate::plant::spec::EnvelopeSpec;

/// A rise that is worth a line for people.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ramp {
    /// Level at its foot.
    pub from: f64,
    /// Level at its top.
    pub to: f64,
    /// How long it takes.
    pub seconds: f64,
}

/// Rises smaller than this are not announced.
const NOTABLE_RISE: f64 = 0.2;

impl EnvelopeSpec {
    /// Time on the axis of the points for a time since the start.
    fn folded(&self, time_s: f64) -> f64 {
        let end = self.points.last().map_or(0.0, |p| p.0);
        match self.repeat_from_s {
            Some(from) if time_s > end && end > from => from + (time_s - from) % (end - from),
            _ => time_s,
        }
    }

    /// Level at `time_s`, 0 to 1.
    pub fn level(&self, time_s: f64) -> f64 {
        let t = self.folded(time_s);
        let after = self.points.partition_point(|p| p.0 <= t);
        match (after.checked_sub(1).and_then(|i| self.points.get(i)), self.points.get(after)) {
            (Some(a), Some(b)) => a.1 + (b.1 - a.1) * (t - a.0) / (b.0 - a.0),
            (Some(only), None) | (None, Some(only)) => only.1,
            (None, None) => 0.0,
        }
    }

    /// The ramp whose foot lies in `(before_s, now_s]`.
    pub fn ramp_starting(&self, before_s: f64, now_s: f64) -> Option<Ramp> {
        let (before, now) = (self.folded(before_s), self.folded(now_s));
        self.points.windows(2).find_map(|pair| {
            let [(t0, from), (t1, to)] = [pair[0], pair[1]];
            let from_s = self.repeat_from_s.unwrap_or(0.0);
            let starts =
                if before <= now { before < t0 && t0 <= now } else { t0 > before || (from_s..=now).contains(&t0) };
            (starts && to - from >= NOTABLE_RISE).then_some(Ramp { from, to, seconds: t1 - t0 })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn envelope() -> EnvelopeSpec {
        EnvelopeSpec { points: vec![(0.0, 0.2), (10.0, 0.2), (20.0, 1.0), (40.0, 0.5)], repeat_from_s: Some(10.0) }
    }

    #[test]
    fn levels_lie_on_the_lines_and_repeat() {
        let e = envelope();
        for (t, level) in [(0.0, 0.2), (15.0, 0.6), (20.0, 1.0), (30.0, 0.75), (45.0, 0.6), (75.0, 0.6)] {
            assert!((e.level(t) - level).abs() < 1e-9, "at {t}: {}", e.level(t));
        }
    }

    #[test]
    fn without_repetition_the_last_level_stays() {
        let e = EnvelopeSpec { repeat_from_s: None, ..envelope() };
        assert_eq!(e.level(1e6), 0.5);
    }

    #[test]
    fn a_rise_is_announced_once_at_its_foot() {
        let e = envelope();
        let count =
            (0..4000).filter(|i| e.ramp_starting(f64::from(i - 1) * 0.01, f64::from(*i) * 0.01).is_some()).count();
        assert_eq!(count, 1);
        assert_eq!(e.ramp_starting(9.99, 10.0), Some(Ramp { from: 0.2, to: 1.0, seconds: 10.0 }));
    }
}

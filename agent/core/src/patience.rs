//! How long a device may take before its silence says something: known by how long it took so far, as TCP knows it
//! (RFC 6298, section 2). Only a hint, to be held against what others show; whether it answers at all is the
//! time-out's to say.

use std::time::Duration;

/// No device is taken for silent before this: meters of a rack answer within 1 to 10 ms, and a busy host wakes late.
const LEAST: Duration = Duration::from_millis(30);
/// Gains and factor of RFC 6298.
const MEAN_GAIN: f64 = 1.0 / 8.0;
const DEVIATION_GAIN: f64 = 1.0 / 4.0;
const DEVIATIONS: f64 = 4.0;

/// What is remembered of one kind of request.
#[derive(Debug, Clone, Copy, Default)]
pub struct Patience(Option<Took>);

/// Smoothed time to answer and its smoothed deviation, s.
#[derive(Debug, Clone, Copy)]
struct Took {
    mean: f64,
    deviation: f64,
}

impl Patience {
    /// An answer took so long.
    pub fn answered(&mut self, took: Duration) {
        let took = took.as_secs_f64();
        let known = self.0.map_or(Took { mean: took, deviation: took / 2.0 }, |Took { mean, deviation }| Took {
            mean: mean + (took - mean) * MEAN_GAIN,
            deviation: deviation + ((took - mean).abs() - deviation) * DEVIATION_GAIN,
        });
        self.0 = Some(known);
    }

    /// When an answer is overdue; never, before the first one.
    pub fn most(&self) -> Option<Duration> {
        let usual = self.0.map(|took| Duration::from_secs_f64(took.mean + DEVIATIONS * took.deviation));
        usual.map(|usual| usual.max(LEAST))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_that_is_slow_is_waited_for_longer_and_one_slow_answer_is_soon_forgotten() {
        let mut patience = Patience::default();
        assert_eq!(patience.most(), None, "nothing is known");
        let ms = Duration::from_millis;
        (0..100).for_each(|_| patience.answered(ms(2)));
        assert_eq!(patience.most(), Some(LEAST));
        patience.answered(ms(60));
        assert!(patience.most().unwrap() > ms(60), "it may come again");
        (0..20).for_each(|_| patience.answered(ms(2)));
        assert_eq!(patience.most(), Some(LEAST));
        (0..50).for_each(|n| patience.answered(ms(if n % 2 == 0 { 20 } else { 60 })));
        assert!(patience.most().unwrap() > ms(100), "one that is slow each second time");
    }
}

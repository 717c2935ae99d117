//! What a run has done so far says what it does next. Power under a job swings between a high and a low level (computing, checkpoint),
//! so the memory keeps how long the stays at either level were, and forecasts by renewal: the chance of being high after `t` is that of the
//! present stay lasting on, or of ending in between and of all that follows (Cox, "Renewal Theory", 1962, chapter 7, for two kinds of stays).
//!
//! Nothing is learnt beforehand. Lengths that were never seen have a heavy tail ([`UNSEEN_WEIGHT`]), and a present level that no earlier stay
//! had makes their lengths count for less: after a job has ended, its cycle says nothing.

/// History that counts, s.
pub const MEMORY_S: f64 = 300.0;
/// Furthest answer, s.
pub const FURTHEST_S: f64 = 30.0;
/// Step of the chances, s.
const STEP_S: f64 = 0.5;
const STEPS: usize = (FURTHEST_S / STEP_S) as usize;
/// Less than this share of the highest value is no swing.
const SWING: f32 = 0.15;
/// A level is left when the middle is passed by this share of the swing.
const DEAD: f32 = 0.1;
/// Weight of a stay unlike any seen, beside 1 for the newest one seen.
const UNSEEN_WEIGHT: f64 = 0.25;
/// The unlike stay lasts longer than `t` with chance `UNSEEN_S / (UNSEEN_S + t)`.
const UNSEEN_S: f64 = 25.0;
/// Weight of each stay beside the next newer one at the same level.
const FADE: f64 = 0.6;
/// Stays that count at each level.
const KEPT: usize = 8;
/// A stay of `t` stands for lengths within this share of `t`.
const SPREAD: f64 = 0.08;
/// At both ends of a stay so long is no level but the way to it, s.
const RAMP_S: f64 = 2.0;
/// Levels so far apart, as a share of the swing, count 1/e as the same.
const ALIKE: f64 = 0.08;
/// Of an earlier stay so much tells its level, s.
const EARLIER_S: f64 = 30.0;

/// See the module.
#[derive(Debug, Clone, PartialEq)]
pub struct Memory {
    /// Low and high: values at that level, sorted.
    levels: [Vec<f32>; 2],
    /// By steps ahead: the chance of being high.
    high: Vec<f64>,
}

#[derive(Debug, Clone, Copy)]
struct Stay {
    high: bool,
    from: usize,
    to: usize,
}

/// All stays of a history, with what they are judged by.
struct Stays<'a> {
    values: &'a [f32],
    rate_hz: f64,
    /// Highest less lowest value.
    swing: f32,
    all: Vec<Stay>,
}

impl Memory {
    /// From values at an even rate, the newest last and all of them numbers; of these at most [`MEMORY_S`] count. The present level is taken
    /// from its last `level_s`. Nothing without a swing.
    pub fn of(values: &[f32], rate_hz: f64, level_s: f64) -> Option<Self> {
        let values = &values[values.len().saturating_sub((MEMORY_S * rate_hz) as usize)..];
        let stays = Stays::of(values, rate_hz)?;
        let now = *stays.all.last()?;
        let age = (stays.length_s(&now) / STEP_S).round() as usize;
        let steps = age + STEPS + 1;
        let survivals = [false, true].map(|high| stays.survival(high, steps, |_| 1.0));
        let present = stays.present(level_s);
        let alike = |stay: &Stay| {
            present.map_or(1.0, |present| {
                let apart = f64::from((median(stays.inner(stay)) - present) / stays.swing) / ALIKE;
                (-apart * apart).exp()
            })
        };
        let lasting = stays.survival(now.high, steps, alike);
        let levels = [false, true].map(|high| {
            let mut level = stays.level(high, level_s).to_vec();
            level.sort_by(f32::total_cmp);
            level
        });
        Some(Self { levels, high: chances(&survivals, &lasting[age..], now.high) })
    }

    /// The chance of being at the high level `ahead_s` from now (0 to [`FURTHEST_S`]).
    pub fn chance(&self, ahead_s: f64) -> f64 {
        self.high[((ahead_s / STEP_S).round().max(0.0) as usize).min(STEPS)]
    }

    /// The value to be expected, in the unit of the history.
    pub fn mean(&self, ahead_s: f64) -> f32 {
        let [low, high] = [0, 1].map(|i| self.levels[i].iter().sum::<f32>() / self.levels[i].len() as f32);
        let chance = self.chance(ahead_s) as f32;
        chance * high + (1.0 - chance) * low
    }

    /// A quantile (0 to 1) of what is to be expected.
    pub fn quantile(&self, ahead_s: f64, probability: f64) -> f32 {
        let low = 1.0 - self.chance(ahead_s);
        let of = |values: &[f32], q: f64| values[((q * values.len() as f64) as usize).min(values.len() - 1)];
        if low >= probability {
            of(&self.levels[0], probability / low)
        } else {
            of(&self.levels[1], (probability - low) / (1.0 - low))
        }
    }
}

/// By steps ahead the chance of being high, from the survival of stays at either level and of the present one.
fn chances(survivals: &[Vec<f64>; 2], lasting: &[f64], is_high: bool) -> Vec<f64> {
    let ends = |survival: &[f64], k: usize| survival[k] - survival[k + 1];
    // entered[s][k]: of being high k steps after level s was entered.
    let mut entered = [vec![0.0; STEPS + 1], vec![0.0; STEPS + 1]];
    entered[1][0] = 1.0;
    for k in 1..=STEPS {
        for s in 0..2 {
            let later: f64 = (0..k).map(|j| ends(&survivals[s], j) * entered[1 - s][k - 1 - j]).sum();
            entered[s][k] = later + if s == 1 { survivals[1][k] } else { 0.0 };
        }
    }
    let (other, base) = (&entered[usize::from(!is_high)], lasting[0].max(1e-9));
    let chance = |k: usize| {
        let later: f64 = (0..k).map(|j| ends(lasting, j) * other[k - 1 - j]).sum();
        ((later + if is_high { lasting[k] } else { 0.0 }) / base).clamp(0.0, 1.0)
    };
    (0..=STEPS).map(chance).collect()
}

impl<'a> Stays<'a> {
    fn of(values: &'a [f32], rate_hz: f64) -> Option<Self> {
        let (low, high) = values.iter().fold((f32::MAX, f32::MIN), |(low, high), v| (low.min(*v), high.max(*v)));
        let swing = high - low;
        if !(swing > 0.0 && swing >= SWING * high) {
            return None;
        }
        let (middle, dead) = (f32::midpoint(low, high), DEAD * swing);
        let side = |v: f32| ((v - middle).abs() > dead).then_some(v > middle);
        let first = values.iter().find_map(|v| side(*v))?;
        let mut all = vec![Stay { high: first, from: 0, to: values.len() }];
        for (i, value) in values.iter().enumerate() {
            let present = all.last_mut()?;
            if let Some(high) = side(*value).filter(|high| *high != present.high) {
                present.to = i;
                all.push(Stay { high, from: i, to: values.len() });
            }
        }
        Some(Self { values, rate_hz, swing, all })
    }

    fn length_s(&self, stay: &Stay) -> f64 {
        (stay.to - stay.from) as f64 / self.rate_hz
    }

    fn ramp(&self) -> usize {
        (RAMP_S * self.rate_hz) as usize
    }

    /// By steps: the share of stays at a level that last longer, each weighed by its age and by `alike`.
    fn survival(&self, high: bool, steps: usize, alike: impl Fn(&Stay) -> f64) -> Vec<f64> {
        let time = |k: usize| k as f64 * STEP_S;
        let mut survival: Vec<f64> = (0..=steps).map(|k| UNSEEN_WEIGHT * UNSEEN_S / (UNSEEN_S + time(k))).collect();
        let (mut newness, mut sum) = (1.0, UNSEEN_WEIGHT);
        // The start of the first stay and the end of the present one were not seen.
        let whole = self.all.get(1..self.all.len() - 1).unwrap_or_default();
        for stay in whole.iter().rev().filter(|stay| stay.high == high).take(KEPT) {
            let (length, weight) = (self.length_s(stay), newness * alike(stay));
            let spread = (SPREAD * length).max(0.15);
            for (k, share) in survival.iter_mut().enumerate() {
                *share += weight * ((length + spread - time(k)) / (2.0 * spread)).clamp(0.0, 1.0);
            }
            sum += weight;
            newness *= FADE;
        }
        survival.iter_mut().for_each(|share| *share /= sum);
        survival
    }

    /// A stay without the ways to and from it.
    fn inner(&self, stay: &Stay) -> &'a [f32] {
        let cut = self.ramp().min((stay.to - stay.from) / 3);
        &self.values[stay.from + cut..stay.to - cut]
    }

    /// The newest values of the present stay, at most `level_s` of them, once it has reached its level.
    fn settled(&self, level_s: f64) -> Option<&'a [f32]> {
        let now = self.all.last()?;
        let from = now.from + self.ramp();
        let newest = now.to.saturating_sub(((level_s * self.rate_hz) as usize).max(1));
        (now.to >= from + (self.rate_hz as usize).max(1)).then(|| &self.values[from.max(newest)..now.to])
    }

    fn present(&self, level_s: f64) -> Option<f32> {
        self.settled(level_s).map(median)
    }

    /// Values that tell a level: those of the present stay if it is there, else of the newest one that was.
    fn level(&self, high: bool, level_s: f64) -> &'a [f32] {
        let n = self.values.len();
        if self.all.last().is_some_and(|now| now.high == high)
            && let Some(settled) = self.settled(level_s)
        {
            return settled;
        }
        let earlier = self.all[..self.all.len() - 1].iter().rev().find(|stay| stay.high == high);
        let inner = earlier.map(|stay| self.inner(stay)).filter(|inner| !inner.is_empty());
        // Never there but now, on the way: what it has reached.
        let reached = || &self.values[n - (self.rate_hz as usize).clamp(1, n)..];
        inner.map_or_else(reached, |inner| &inner[inner.len().saturating_sub((EARLIER_S * self.rate_hz) as usize)..])
    }
}

fn median(values: &[f32]) -> f32 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f32::total_cmp);
    sorted[sorted.len() / 2]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `high_s` at 4 kW and `low_s` at 1 kW in turn, at 10 Hz, ending `age_s` into a high stay.
    fn pulses(high_s: usize, low_s: usize, age_s: usize) -> Vec<f32> {
        let period = 10 * (high_s + low_s);
        let end = 4 * period + 10 * age_s;
        (0..end).map(|i| if i % period < 10 * high_s { 4000.0 } else { 1000.0 }).collect()
    }

    #[test]
    fn a_cycle_longer_than_half_a_minute_is_told_from_the_stays_before() {
        let memory = Memory::of(&pulses(46, 22, 40), 10.0, 5.0).unwrap();
        assert!(memory.chance(1.0) > 0.9, "{}", memory.chance(1.0));
        assert!(memory.chance(15.0) < 0.2 && memory.quantile(15.0, 0.5) == 1000.0, "{}", memory.chance(15.0));
        assert!(memory.chance(30.0) > 0.5, "{}", memory.chance(30.0));
        assert!(memory.quantile(15.0, 0.99) == 4000.0, "what was never seen is not excluded");
    }

    #[test]
    fn the_same_history_at_another_rate_says_the_same() {
        let fast = pulses(12, 16, 5);
        let slow: Vec<f32> = fast.iter().step_by(10).copied().collect();
        let [fast, slow] = [Memory::of(&fast, 10.0, 5.0).unwrap(), Memory::of(&slow, 1.0, 5.0).unwrap()];
        for ahead in [1.0, 5.0, 10.0, 30.0] {
            assert!((fast.chance(ahead) - slow.chance(ahead)).abs() < 0.1, "{ahead}");
            assert!((fast.mean(ahead) - slow.mean(ahead)).abs() < 300.0, "{ahead}");
        }
    }

    #[test]
    fn after_a_job_has_ended_its_cycle_counts_no_more() {
        let mut values = pulses(12, 8, 12);
        values.extend(vec![1000.0; 40]);
        let goes_on = Memory::of(&values, 10.0, 5.0).unwrap().chance(5.0);
        let from = values.len() - 40;
        values[from..].fill(300.0);
        let ended = Memory::of(&values, 10.0, 5.0).unwrap().chance(5.0);
        assert!(goes_on > 0.7 && ended < 0.4, "{goes_on} {ended}");
    }

    #[test]
    fn quantiles_rise_and_every_answer_is_a_number() {
        let ramp: Vec<f32> = (0..50).map(|i| i as f32 * 100.0).collect();
        let histories = [pulses(2, 16, 1), pulses(46, 22, 46), ramp, vec![1.0, 9.0], vec![9.0, 1.0, 9.0]];
        for memory in histories.iter().map(|values| Memory::of(values, 10.0, 60.0).unwrap()) {
            for ahead in [0.0, 0.3, 7.0, 30.0, 99.0] {
                let quantiles = [0.0, 0.5, 0.9, 0.99, 1.0].map(|q| memory.quantile(ahead, q));
                assert!(quantiles.is_sorted() && memory.mean(ahead).is_finite(), "{quantiles:?}");
                assert!((0.0..=1.0).contains(&memory.chance(ahead)));
            }
        }
    }

    #[test]
    fn without_a_swing_there_is_nothing_to_remember() {
        for values in [vec![], vec![0.0; 5], vec![1000.0; 3000], vec![1000.0, 1100.0, 1000.0]] {
            assert_eq!(Memory::of(&values, 10.0, 5.0), None);
        }
    }
}

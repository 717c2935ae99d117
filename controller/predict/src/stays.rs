//! What a run has done so far says what it does next. Power under a job swings between a high and a low level (computing, checkpoint),
//! so the memory keeps how long the stays at either level were, and forecasts by renewal: the chance of being high after `t` is that of the
//! present stay lasting on, or of ending in between and of all that follows (Cox, "Renewal Theory", 1962, chapter 7, for two kinds of stays).
//!
//! Nothing is learnt beforehand. Lengths that were never seen have a heavy tail ([`UNSEEN_WEIGHT`]), and a present level that no earlier stay
//! had makes their lengths count for less: after a job has ended, its cycle says nothing.
//!
//! A history without new stays costs a look at its values and a few sums: what follows after a stay ends is kept in [`Renewal`].

use std::rc::Rc;

/// History that counts, s.
pub const MEMORY_S: f64 = 300.0;
/// Furthest answer, s.
pub const FURTHEST_S: f64 = 30.0;
/// Step of the chances, s.
const STEP_S: f64 = 0.5;
const STEPS: usize = (FURTHEST_S / STEP_S) as usize;
/// Times of the steps that are ever looked at, s.
const TIMES: [f64; STEPS + 2] = {
    let (mut times, mut k) = ([0.0; STEPS + 2], 0);
    while k < times.len() {
        times[k] = k as f64 * STEP_S;
        k += 1;
    }
    times
};
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
/// Stays and values to a stay that there is room for from the start.
const MANY: usize = 64;
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

/// What a history says of what comes next. See the module.
#[derive(Debug)]
pub struct Memory<'a> {
    /// Low and high: values at that level, sorted, and their mean.
    levels: [Rc<Level>; 2],
    is_high: bool,
    /// By steps: the chance that the present stay, as old as it is, lasts longer.
    lasting: [f64; TIMES.len()],
    renewal: &'a Renewal,
}

/// What is to be expected at one time.
#[derive(Debug, Clone, Copy)]
pub struct Expected<'a> {
    levels: &'a [Rc<Level>; 2],
    /// The chance of being high.
    chance: f64,
}

#[derive(Debug, Clone, Default)]
struct Level {
    sorted: Vec<f32>,
    mean: f32,
}

/// What follows once a stay has ended. It depends on the lengths of earlier stays alone, so it is found anew only when one has ended.
/// Belongs to one history; every other one needs its own.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Renewal {
    /// Low and high: lengths of the stays that count, in values, the newest first.
    lengths: [Vec<usize>; 2],
    /// By steps after low and high was entered: the chance of being high.
    entered: [Vec<f64>; 2],
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

/// One memory for each of `levels_s`, from values at an even rate, the newest last and all of them numbers; of these at most [`MEMORY_S`]
/// count. The present level is taken from its last so many seconds. Nothing without a swing.
pub fn recall<'a>(values: &[f32], rate_hz: f64, levels_s: &[f64], kept: &'a mut Renewal) -> Option<Vec<Memory<'a>>> {
    let values = &values[values.len().saturating_sub((MEMORY_S * rate_hz) as usize)..];
    let stays = Stays::of(values, rate_hz)?;
    let now = *stays.all.last()?;
    let age = (stays.length_s(&now) / STEP_S).round() as usize;
    kept.follow(&stays);
    let renewal = &*kept;
    let whole: Vec<(usize, Option<f32>)> =
        stays.whole(now.high).map(|stay| (stay.to - stay.from, stays.inner_median(stay))).collect();
    let other = Rc::new(Level::of(stays.level(!now.high, 0.0)));
    let memory = |level_s: &f64| {
        let present = stays.present(*level_s);
        let alike = |median: &Option<f32>| match (median, present) {
            (Some(median), Some(present)) => {
                let apart = f64::from((median - present) / stays.swing) / ALIKE;
                (-apart * apart).exp()
            }
            _ => 1.0,
        };
        let lengths = whole.iter().map(|(length, median)| (*length as f64 / rate_hz, alike(median)));
        let own = Rc::new(Level::of(stays.level(now.high, *level_s)));
        let levels = if now.high { [Rc::clone(&other), own] } else { [own, Rc::clone(&other)] };
        Memory { levels, is_high: now.high, lasting: survival(lengths, age), renewal }
    };
    Some(levels_s.iter().map(memory).collect())
}

impl Memory<'_> {
    /// What is to be expected `ahead_s` from now (0 to [`FURTHEST_S`]).
    pub fn at(&self, ahead_s: f64) -> Expected<'_> {
        let k = ((ahead_s / STEP_S).round().max(0.0) as usize).min(STEPS);
        let (other, base) = (&self.renewal.entered[usize::from(!self.is_high)], self.lasting[0].max(1e-9));
        let later: f64 = (0..k).map(|j| (self.lasting[j] - self.lasting[j + 1]) * other[k - 1 - j]).sum();
        let chance = ((later + if self.is_high { self.lasting[k] } else { 0.0 }) / base).clamp(0.0, 1.0);
        Expected { levels: &self.levels, chance }
    }
}

impl Expected<'_> {
    /// The chance of being at the high level.
    pub fn chance(&self) -> f64 {
        self.chance
    }

    /// The mean, in the unit of the history.
    pub fn mean(&self) -> f32 {
        let chance = self.chance as f32;
        chance * self.levels[1].mean + (1.0 - chance) * self.levels[0].mean
    }

    /// A quantile (0 to 1).
    pub fn quantile(&self, probability: f64) -> f32 {
        let low = 1.0 - self.chance;
        let of = |values: &[f32], q: f64| values[((q * values.len() as f64) as usize).min(values.len() - 1)];
        if low >= probability {
            of(&self.levels[0].sorted, probability / low)
        } else {
            of(&self.levels[1].sorted, (probability - low) / (1.0 - low))
        }
    }
}

impl Level {
    fn of(values: &[f32]) -> Self {
        let mut sorted = values.to_vec();
        sorted.sort_unstable_by(f32::total_cmp);
        let mean = sorted.iter().sum::<f32>() / sorted.len() as f32;
        Self { sorted, mean }
    }
}

impl Renewal {
    fn follow(&mut self, stays: &Stays<'_>) {
        let lengths = |high: bool| stays.whole(high).map(|stay| stay.to - stay.from);
        let same = |high: bool| lengths(high).eq(self.lengths[usize::from(high)].iter().copied());
        if same(false) && same(true) && !self.entered[0].is_empty() {
            return;
        }
        let lengths = [false, true].map(|high| lengths(high).collect::<Vec<usize>>());
        let ends = [0, 1].map(|s: usize| {
            let survival = survival(lengths[s].iter().map(|length| (*length as f64 / stays.rate_hz, 1.0)), 0);
            let ends: [f64; STEPS] = std::array::from_fn(|k| survival[k] - survival[k + 1]);
            (survival, ends)
        });
        let mut entered = [vec![0.0; STEPS + 1], vec![0.0; STEPS + 1]];
        entered[1][0] = 1.0;
        for k in 1..=STEPS {
            for s in 0..2 {
                let later: f64 = (0..k).map(|j| ends[s].1[j] * entered[1 - s][k - 1 - j]).sum();
                entered[s][k] = later + if s == 1 { ends[1].0[k] } else { 0.0 };
            }
        }
        *self = Self { lengths, entered };
    }
}

/// From step `from` on: the share of stays that last longer, each a length in s and its likeness to the present one, the newest first.
fn survival(stays: impl Iterator<Item = (f64, f64)>, from: usize) -> [f64; TIMES.len()] {
    // Half seconds are exact: added up they are what they are multiplied out.
    let start = from as f64 * STEP_S;
    let mut survival = TIMES.map(|time| UNSEEN_WEIGHT * UNSEEN_S / (UNSEEN_S + (start + time)));
    let place = |time: f64| (((time - start) / STEP_S).max(0.0) as usize).min(TIMES.len());
    let (mut newness, mut sum) = (1.0, UNSEEN_WEIGHT);
    for (length, alike) in stays {
        let weight = newness * alike;
        let spread = (SPREAD * length).max(0.15);
        // Before `length - spread` it adds all of its weight, beyond `length + spread` nothing.
        let (whole, end) = (place(length - spread - STEP_S), place(length + spread + STEP_S));
        survival[..whole].iter_mut().for_each(|share| *share += weight);
        for (share, time) in survival[whole..end].iter_mut().zip(&TIMES[whole..end]) {
            *share += weight * ((length + spread - (start + time)) / (2.0 * spread)).clamp(0.0, 1.0);
        }
        sum += weight;
        newness *= FADE;
    }
    survival.iter_mut().for_each(|share| *share /= sum);
    survival
}

impl<'a> Stays<'a> {
    fn of(values: &'a [f32], rate_hz: f64) -> Option<Self> {
        let (low, high) = range(values);
        let swing = high - low;
        if !is_swing(low, high) {
            return None;
        }
        let (middle, dead) = (f32::midpoint(low, high), DEAD * swing);
        let side = |v: f32| ((v - middle).abs() > dead).then_some(v > middle);
        let first = values.iter().find_map(|v| side(*v))?;
        let mut all = Vec::with_capacity(MANY);
        let mut present = Stay { high: first, from: 0, to: values.len() };
        for (i, value) in values.iter().enumerate() {
            if let Some(high) = side(*value).filter(|high| *high != present.high) {
                all.push(Stay { to: i, ..present });
                present = Stay { high, from: i, ..present };
            }
        }
        all.push(present);
        Some(Self { values, rate_hz, swing, all })
    }

    fn length_s(&self, stay: &Stay) -> f64 {
        (stay.to - stay.from) as f64 / self.rate_hz
    }

    fn ramp(&self) -> usize {
        (RAMP_S * self.rate_hz) as usize
    }

    /// The stays at a level that count, the newest first. The start of the first stay and the end of the present one were not seen.
    fn whole(&self, high: bool) -> impl Iterator<Item = &Stay> {
        let whole = self.all.get(1..self.all.len() - 1).unwrap_or_default();
        whole.iter().rev().filter(move |stay| stay.high == high).take(KEPT)
    }

    /// A stay without the ways to and from it.
    fn inner(&self, stay: &Stay) -> &'a [f32] {
        let cut = self.ramp().min((stay.to - stay.from) / 3);
        &self.values[stay.from + cut..stay.to - cut]
    }

    fn inner_median(&self, stay: &Stay) -> Option<f32> {
        Some(self.inner(stay)).filter(|inner| !inner.is_empty()).map(median)
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

/// Whether a run has two levels and does not just waver about one.
pub(crate) fn is_swing(low: f32, high: f32) -> bool {
    let swing = high - low;
    swing > 0.0 && swing >= SWING * high
}

/// Lowest and highest of numbers; the other way round of none.
pub(crate) fn range(values: &[f32]) -> (f32, f32) {
    // In eight lanes: processors compare as many at once.
    let (mut low, mut high) = ([f32::MAX; 8], [f32::MIN; 8]);
    let mut take = |lane: usize, value: f32| {
        low[lane] = if value < low[lane] { value } else { low[lane] };
        high[lane] = if value > high[lane] { value } else { high[lane] };
    };
    let eights = values.chunks_exact(8);
    eights.remainder().iter().for_each(|value| take(0, *value));
    eights.for_each(|eight| (0..8).for_each(|lane| take(lane, eight[lane])));
    (low.into_iter().fold(f32::MAX, f32::min), high.into_iter().fold(f32::MIN, f32::max))
}

/// Of one value at least.
pub(crate) fn median(values: &[f32]) -> f32 {
    let middle = values.len() / 2;
    let of = |values: &mut [f32]| *values.select_nth_unstable_by(middle, f32::total_cmp).1;
    // Nearly all at a rate of a second; a place of its own in memory would take longer than finding the median.
    let mut few = [0.0; MANY];
    match few.get_mut(..values.len()) {
        Some(few) => {
            few.copy_from_slice(values);
            of(few)
        }
        None => of(&mut values.to_vec()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The memory of a history, asked once; nothing is kept.
    fn asked<T>(values: &[f32], rate_hz: f64, level_s: f64, question: impl FnOnce(&Memory<'_>) -> T) -> Option<T> {
        let mut renewal = Renewal::default();
        recall(values, rate_hz, &[level_s], &mut renewal).map(|memories| question(&memories[0]))
    }

    fn chance(values: &[f32], rate_hz: f64, ahead_s: f64) -> f64 {
        asked(values, rate_hz, 5.0, |memory| memory.at(ahead_s).chance()).unwrap()
    }

    /// `high_s` at 4 kW and `low_s` at 1 kW in turn, at 10 Hz, ending `age_s` into a high stay.
    fn pulses(high_s: usize, low_s: usize, age_s: usize) -> Vec<f32> {
        let period = 10 * (high_s + low_s);
        let end = 4 * period + 10 * age_s;
        (0..end).map(|i| if i % period < 10 * high_s { 4000.0 } else { 1000.0 }).collect()
    }

    #[test]
    fn a_cycle_longer_than_half_a_minute_is_told_from_the_stays_before() {
        let checked = asked(&pulses(46, 22, 40), 10.0, 5.0, |memory| {
            let [soon, then, later] = [1.0, 15.0, 30.0].map(|ahead| memory.at(ahead));
            assert!(soon.chance() > 0.9, "{soon:?}");
            assert!(then.chance() < 0.2 && then.quantile(0.5) == 1000.0, "{then:?}");
            assert!(later.chance() > 0.5, "{later:?}");
            assert!(then.quantile(0.99) == 4000.0, "what was never seen is not excluded");
        });
        assert!(checked.is_some());
    }

    #[test]
    fn the_same_history_at_another_rate_says_the_same() {
        let fast = pulses(12, 16, 5);
        let slow: Vec<f32> = fast.iter().step_by(10).copied().collect();
        for ahead in [1.0, 5.0, 10.0, 30.0] {
            let of = |memory: &Memory<'_>| (memory.at(ahead).chance(), memory.at(ahead).mean());
            let [(chance, mean), other] = [asked(&fast, 10.0, 5.0, of), asked(&slow, 1.0, 5.0, of)].map(Option::unwrap);
            assert!((chance - other.0).abs() < 0.1 && (mean - other.1).abs() < 300.0, "{ahead}");
        }
    }

    #[test]
    fn after_a_job_has_ended_its_cycle_counts_no_more() {
        let mut values = pulses(12, 8, 12);
        values.extend(vec![1000.0; 40]);
        let goes_on = chance(&values, 10.0, 5.0);
        let from = values.len() - 40;
        values[from..].fill(300.0);
        let ended = chance(&values, 10.0, 5.0);
        assert!(goes_on > 0.7 && ended < 0.4, "{goes_on} {ended}");
    }

    #[test]
    fn quantiles_rise_and_every_answer_is_a_number() {
        let ramp: Vec<f32> = (0..50).map(|i| i as f32 * 100.0).collect();
        let histories = [pulses(2, 16, 1), pulses(46, 22, 46), ramp, vec![1.0, 9.0], vec![9.0, 1.0, 9.0]];
        for values in histories {
            let checked = asked(&values, 10.0, 60.0, |memory| {
                for expected in [0.0, 0.3, 7.0, 30.0, 99.0].map(|ahead| memory.at(ahead)) {
                    let quantiles = [0.0, 0.5, 0.9, 0.99, 1.0].map(|q| expected.quantile(q));
                    assert!(quantiles.is_sorted() && expected.mean().is_finite(), "{quantiles:?}");
                    assert!((0.0..=1.0).contains(&expected.chance()));
                }
            });
            assert!(checked.is_some());
        }
    }

    #[test]
    fn without_a_swing_there_is_nothing_to_remember() {
        for values in [vec![], vec![0.0; 5], vec![1000.0; 3000], vec![1000.0, 1100.0, 1000.0]] {
            assert!(asked(&values, 10.0, 5.0, |_| ()).is_none());
        }
    }

    #[test]
    fn what_is_kept_between_two_calls_changes_no_answer() {
        let values = pulses(7, 5, 3);
        let mut kept = Renewal::default();
        for end in (200..values.len()).step_by(7) {
            let answers = |memory: &Memory<'_>| [1.0, 5.0, 30.0].map(|ahead| memory.at(ahead).chance());
            let fresh = asked(&values[..end], 10.0, 5.0, answers);
            let going_on = recall(&values[..end], 10.0, &[5.0], &mut kept).map(|memories| answers(&memories[0]));
            assert_eq!(fresh, going_on, "{end}");
        }
    }
}

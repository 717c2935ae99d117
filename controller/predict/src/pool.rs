//! A forecast made of several, whose shares follow from how well each has done so far: polynomially weighted averages with a rate of its
//! own for each forecast (ML-Poly; Gaillard, Stoltz and van Erven, "A second-order bound with excess losses", COLT 2014). There is nothing to
//! tune, and shares do not depend on the unit of the forecasts.
//!
//! Who is good while power stands may be poor while it moves. So each forecast has two voices: one that always speaks and one for each
//! [`State`], which sleeps in the others ("sleeping experts": Freund, Schapire, Singer and Warmuth, "Using and combining predictors that
//! specialize", STOC 1997). Pools apart would learn everything once for each state; here a state that is new begins with what all taught.
//!
//! Guarantee, for any outcomes whatever (convex losses with bounded slopes, outcomes heard of at once): over T outcomes, and over the T of one
//! state as well, the mix's total loss exceeds that of the forecast which is best there by at most a multiple of sqrt(T ln ln T). Outcomes
//! heard of late make the multiple larger.

use std::ops::Range;

/// Forecasts in a pool at most: they lie in one piece, which is what a site of thousands of pools costs least with.
pub const MOST: usize = 8;
/// Outcomes beyond a quantile that must have been due before shares count, where a forecast leads at first.
const DUE: f64 = 10.0;

/// What power is doing when a forecast is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum State {
    /// It stands, nearer to the run's lowest value than to its highest.
    #[default]
    Low,
    /// It stands, nearer to the highest.
    High,
    /// It has left its level upwards.
    Rising,
    /// Downwards.
    Falling,
}

impl State {
    /// All there are.
    pub const ALL: [Self; 4] = [Self::Low, Self::High, Self::Rising, Self::Falling];
}

/// What a forecast is judged by.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Target {
    /// Squared errors: the mean is best.
    Mean,
    /// Pinball loss of a probability: its quantile is best.
    Quantile(f64),
}

impl Target {
    /// Slope of the loss at a forecast.
    fn slope(self, forecast: f64, outcome: f64) -> f64 {
        match self {
            Self::Mean => 2.0 * (forecast - outcome),
            Self::Quantile(probability) if outcome > forecast => -probability,
            Self::Quantile(probability) => 1.0 - probability,
        }
    }

    /// Which voice speaks in a state. Few outcomes are beyond an outer quantile, too few to part by level: one voice for all that stands.
    fn voice(self, state: State) -> usize {
        match (self, state) {
            (Self::Quantile(probability), State::High) if (probability - 0.5).abs() > 0.25 => State::Low as usize,
            _ => state as usize,
        }
    }
}

/// Which of the forecasts there are, and in what state: a forecast that is absent counts for nothing and learns nothing, as a voice that sleeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Present {
    forecasts: u16,
    state: State,
}

impl Present {
    /// The first `n`, at most 16.
    pub fn all(n: usize) -> Self {
        (0..n).fold(Self::default(), Self::with)
    }

    /// And this one, of 16 at most.
    pub fn with(self, forecast: usize) -> Self {
        Self { forecasts: self.forecasts | 1u16.checked_shl(forecast as u32).unwrap_or(0), ..self }
    }

    /// The same ones in this state; [`State::Low`] unless it is told.
    pub fn in_state(self, state: State) -> Self {
        Self { state, ..self }
    }

    /// Whether it is there.
    pub fn has(self, forecast: usize) -> bool {
        self.forecasts.checked_shr(forecast as u32).unwrap_or(0) & 1 == 1
    }
}

/// What one voice of a forecast has earned.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
struct Account {
    /// What the mix would have lost less by following it when it spoke, to first order.
    regret: f64,
    /// Sum of the squares of each outcome's part of it.
    squares: f64,
}

/// See the module.
#[derive(Debug, Clone, PartialEq)]
pub struct Pool {
    target: Target,
    forecasts: usize,
    /// The voices that always speak.
    always: [Account; MOST],
    /// By state the voices that speak there alone, as many as there are forecasts.
    by_state: Box<[Account]>,
    /// The largest square of one outcome's part.
    most: f64,
    /// Outcomes heard so far, and how many must be before shares count.
    heard: (u32, u32),
}

impl Pool {
    /// Of so many forecasts ([`MOST`] at most, others are left out), with equal shares.
    pub fn new(target: Target, forecasts: usize) -> Self {
        let forecasts = forecasts.min(MOST);
        let by_state = vec![Account::default(); forecasts * State::ALL.len()].into();
        Self { target, forecasts, always: [Account::default(); MOST], by_state, most: 0.0, heard: (0, 0) }
    }

    /// Of so many forecasts, of which the last one there is speaks alone until [`DUE`] outcomes beyond the quantile would have been due: with
    /// fewer, whoever promises least looks best.
    pub fn led_by_the_last(target: Target, forecasts: usize) -> Self {
        let share = match target {
            Target::Mean => 0.5,
            Target::Quantile(probability) => probability.min(1.0 - probability).max(1e-4),
        };
        Self { heard: (0, (DUE / share).ceil() as u32), ..Self::new(target, forecasts) }
    }

    /// By forecast; they add up to 1, or are 0 where none is there.
    pub fn shares(&self, present: Present) -> Vec<f64> {
        (0..self.forecasts).map(|i| self.share(i, present)).collect()
    }

    fn share(&self, i: usize, present: Present) -> f64 {
        let (raws, sum) = self.raws(present);
        match present.has(i) {
            false => 0.0,
            true if self.heard.0 < self.heard.1 => f64::from(u8::from(self.leader(present) == Some(i))),
            true => raws[i] / sum,
        }
    }

    fn indices(&self, present: Present) -> impl DoubleEndedIterator<Item = usize> {
        (0..self.forecasts).filter(move |i| present.has(*i))
    }

    fn leader(&self, present: Present) -> Option<usize> {
        self.indices(present).next_back()
    }

    fn raw_of(&self, account: &Account) -> f64 {
        account.regret.max(0.0) / (self.most + account.squares).max(f64::MIN_POSITIVE)
    }

    /// Where the voices of a state are.
    fn voices(&self, state: State) -> Range<usize> {
        let from = self.target.voice(state) * self.forecasts;
        from..from + self.forecasts
    }

    /// What the forecasts' shares are proportional to, and the sum over those that are there.
    fn raws(&self, present: Present) -> ([f64; MOST], f64) {
        let here = &self.by_state[self.voices(present.state)];
        let (mut raws, mut sum) = ([0.0; MOST], 0.0);
        for i in self.indices(present) {
            raws[i] = self.raw_of(&self.always[i]) + self.raw_of(&here[i]);
            sum += raws[i];
        }
        if sum > 0.0 && sum.is_finite() { (raws, sum) } else { ([1.0; MOST], self.indices(present).count() as f64) }
    }

    /// The mix of the forecasts that are there, given in the same order each time. None without any.
    pub fn mix(&self, forecasts: &[f32], present: Present) -> Option<f32> {
        let leader = self.leader(present)?;
        if self.heard.0 < self.heard.1 {
            return forecasts.get(leader).copied();
        }
        let (raws, sum) = self.raws(present);
        let mix: f64 = self.indices(present).map(|i| raws[i] / sum * f64::from(forecasts[i])).sum();
        Some(mix as f32)
    }

    /// What came, beside the forecasts for it and the mix that was said. What is not a number teaches nothing.
    pub fn learn(&mut self, forecasts: &[f32], present: Present, said: f32, outcome: f32) {
        let given = self.indices(present).all(|i| forecasts.get(i).is_some_and(|forecast| forecast.is_finite()));
        if !(given && said.is_finite() && outcome.is_finite()) {
            return;
        }
        let slope = self.target.slope(said.into(), outcome.into());
        let voices = self.voices(present.state);
        let accounts = self.always.iter_mut().zip(&mut self.by_state[voices]).enumerate();
        for (i, (always, here)) in accounts.filter(|(i, _)| present.has(*i)) {
            let part = slope * f64::from(said - forecasts[i]);
            for account in [always, here] {
                account.regret += part;
                account.squares += part * part;
            }
            self.most = self.most.max(part * part);
        }
        self.heard.0 = self.heard.0.saturating_add(1);
    }

    /// Makes all that was learnt count for a part of it: what other runs taught is worth less than this one.
    pub fn discount(&mut self, to: f64) {
        for account in self.always.iter_mut().chain(&mut self.by_state) {
            account.regret *= to;
            account.squares *= to;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn after(target: Target, n: usize, forecasts: impl Fn(usize) -> Vec<f32>, outcome: impl Fn(usize) -> f32) -> Pool {
        let all = Present::all(forecasts(0).len());
        let mut pool = Pool::new(target, forecasts(0).len());
        for i in 0..n {
            let said = pool.mix(&forecasts(i), all).unwrap();
            pool.learn(&forecasts(i), all, said, outcome(i));
        }
        pool
    }

    #[test]
    fn the_best_forecast_gets_nearly_all_and_another_unit_changes_nothing() {
        for target in [Target::Mean, Target::Quantile(0.5), Target::Quantile(0.99)] {
            let outcome = |i: usize| (i * 37 % 100) as f32;
            let run = |unit: f32| {
                let good = if target == Target::Quantile(0.99) { 99.0 } else { 50.0 };
                after(target, 3000, |_| vec![0.0, good * unit, 300.0 * unit], |i| outcome(i) * unit)
                    .shares(Present::all(3))
            };
            assert!(run(1.0)[1] > 0.7, "{target:?} {:?}", run(1.0));
            assert!(run(1.0).iter().zip(run(1000.0)).all(|(a, b)| (a - b).abs() < 1e-3));
        }
    }

    #[test]
    fn two_that_are_wrong_on_either_side_are_mixed_to_what_is_right() {
        let pool = after(Target::Mean, 5000, |_| vec![0.0, 10.0], |_| 3.0);
        assert!((pool.mix(&[0.0, 10.0], Present::all(2)).unwrap() - 3.0).abs() < 0.3, "{pool:?}");
    }

    #[test]
    fn when_another_forecast_becomes_the_better_one_it_is_followed() {
        let pool = after(Target::Quantile(0.5), 4000, |_| vec![0.0, 10.0], |i| if i < 1000 { 0.0 } else { 10.0 });
        assert!(pool.mix(&[0.0, 10.0], Present::all(2)).unwrap() > 9.0, "{pool:?}");
    }

    #[test]
    fn nothing_learnt_is_equal_shares_and_no_number_teaches_nothing() {
        let (mut pool, all) = (Pool::new(Target::Mean, 4), Present::all(4));
        pool.learn(&[1.0, f32::NAN, 1.0, 1.0], all, 1.0, 2.0);
        assert_eq!(pool.shares(all), [0.25; 4]);
        pool.learn(&[0.0, 1.0, 2.0, 3.0], all, 1.5, 3.0);
        pool.discount(0.0);
        assert_eq!(pool.shares(all), [0.25; 4]);
    }

    #[test]
    fn what_is_absent_counts_for_nothing_and_comes_back_as_it_was() {
        let (mut pool, all) = (after(Target::Mean, 100, |_| vec![5.0, 3.0, 9.0], |_| 3.0), Present::all(3));
        let (before, without) = (pool.shares(all), Present::default().with(0).with(2));
        assert!(before[1] > 0.9, "{before:?}");
        // Whatever stands in its place.
        assert_eq!(pool.mix(&[5.0, f32::NAN, 5.0], without), Some(5.0));
        pool.learn(&[5.0, f32::NAN, 9.0], without, 5.0, 5.0);
        assert_eq!(pool.always[1], after(Target::Mean, 100, |_| vec![5.0, 3.0, 9.0], |_| 3.0).always[1]);
        assert_eq!(pool.mix(&[1.0; 3], Present::default()), None);
        assert_eq!(pool.shares(without).iter().sum::<f64>(), 1.0);
    }

    #[test]
    fn until_ten_misses_would_have_been_due_the_last_forecast_there_is_speaks_alone() {
        let (mut pool, all) = (Pool::led_by_the_last(Target::Quantile(0.99), 3), Present::all(3));
        let forecasts = [10.0, 20.0, 30.0];
        for heard in 0..1000 {
            assert_eq!(pool.mix(&forecasts, all), Some(30.0), "{heard}");
            pool.learn(&forecasts, all, 30.0, 9.0);
        }
        assert_eq!(pool.mix(&forecasts, Present::default().with(0)), Some(10.0));
        assert!(pool.mix(&forecasts, all).unwrap() < 30.0, "whoever promised least was right so far");
        let (mut median, one) = (Pool::led_by_the_last(Target::Quantile(0.5), 2), Present::default().with(0));
        assert_eq!((median.heard, median.mix(&[7.0, 8.0], one)), ((0, 20), Some(7.0)));
        (0..20).for_each(|_| median.learn(&[7.0, 8.0], Present::all(2), 8.0, 7.0));
        assert_eq!(median.mix(&[7.0, 8.0], Present::all(2)), Some(7.0));
    }

    #[test]
    fn what_is_good_in_one_state_is_followed_there_alone() {
        for target in [Target::Mean, Target::Quantile(0.5), Target::Quantile(0.99)] {
            let (mut pool, all) = (Pool::new(target, 2), Present::all(2));
            for i in 0..4000 {
                // The first is right while power stands, the second while it rises, which is seldom.
                let (state, right) = if i % 10 == 0 { (State::Rising, 1) } else { (State::Low, 0) };
                let forecasts = [3000.0, 3000.0 + if right == 1 { 800.0 } else { -500.0 }];
                let said = pool.mix(&forecasts, all.in_state(state)).unwrap();
                pool.learn(&forecasts, all.in_state(state), said, forecasts[right]);
            }
            let first = |state| pool.shares(all.in_state(state))[0];
            assert!(first(State::Low) > 0.9 && first(State::Rising) < 0.3, "{target:?} {pool:?}");
        }
    }

    #[test]
    fn a_state_never_seen_follows_what_was_good_elsewhere() {
        let pool = after(Target::Mean, 100, |_| vec![5.0, 3.0, 9.0], |_| 3.0);
        let first = |state| pool.shares(Present::all(3).in_state(state))[1];
        assert!(State::ALL.iter().all(|state| first(*state) > 0.9), "{pool:?}");
    }

    #[test]
    fn an_outer_quantile_learns_from_both_levels_at_once_and_a_median_from_each() {
        for (target, together) in
            [(Target::Quantile(0.99), true), (Target::Quantile(0.5), false), (Target::Mean, false)]
        {
            let (mut pool, all) = (Pool::new(target, 2), Present::all(2));
            (0..9).for_each(|_| pool.learn(&[1.0, 2.0], all, 1.5, 2.0));
            let high = pool.voices(State::High);
            assert_eq!(pool.by_state[high].iter().any(|voice| voice.regret != 0.0), together, "{target:?}");
        }
    }

    proptest! {
        #[test]
        fn the_mix_lies_between_its_forecasts_and_shares_add_up_whatever_comes(
            rounds in prop::collection::vec((prop::array::uniform4(-1e7_f32..1e7), 0_u16..16, 0_usize..4, -1e7_f32..1e7), 1..80),
            target in prop::sample::select(vec![Target::Mean, Target::Quantile(0.5), Target::Quantile(0.99)]),
        ) {
            let mut pool = Pool::new(target, 4);
            for (forecasts, there, state, outcome) in rounds {
                let there: Vec<usize> = (0..4).filter(|i| there >> i & 1 == 1).collect();
                let present = there.iter().fold(Present::default(), |p, i| p.with(*i)).in_state(State::ALL[state]);
                let shares = pool.shares(present);
                prop_assert!(shares.iter().all(|share| (0.0..=1.0).contains(share)));
                let Some(said) = pool.mix(&forecasts, present) else {
                    prop_assert!(there.is_empty() && shares == [0.0; 4]);
                    continue;
                };
                prop_assert!((shares.iter().sum::<f64>() - 1.0).abs() < 1e-9);
                let spoken = || there.iter().map(|i| forecasts[*i]);
                let (low, high) = (spoken().fold(f32::MAX, f32::min), spoken().fold(f32::MIN, f32::max));
                prop_assert!((low - 1.0..=high + 1.0).contains(&said), "{} {} {}", low, said, high);
                pool.learn(&forecasts, present, said, outcome);
            }
        }
    }
}

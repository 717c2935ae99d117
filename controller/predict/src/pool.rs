//! A forecast made of several, whose shares follow from how well each has done so far: polynomially weighted averages with a rate of its
//! own for each forecast (ML-Poly; Gaillard, Stoltz and van Erven, "A second-order bound with excess losses", COLT 2014). There is nothing to
//! tune, and shares do not depend on the unit of the forecasts.
//!
//! Guarantee, for any outcomes whatever (convex losses with bounded slopes, outcomes heard of at once): over T outcomes the mix's total loss
//! exceeds that of the best forecast by at most a multiple of sqrt(T ln ln T). Outcomes heard of late make the multiple larger.

/// Forecasts in a pool at most: they lie in one piece, which is what a site of thousands of pools costs least with.
pub const MOST: usize = 8;
/// Outcomes beyond a quantile that must have been due before shares count, where a forecast leads at first.
const DUE: f64 = 10.0;

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
}

/// Which of the forecasts there are: a forecast that is absent counts for nothing and learns nothing ("sleeping" experts in the paper's words).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Present(u16);

impl Present {
    /// The first `n`, at most 16.
    pub fn all(n: usize) -> Self {
        (0..n).fold(Self::default(), Self::with)
    }

    /// And this one, of 16 at most.
    pub fn with(self, forecast: usize) -> Self {
        Self(self.0 | 1u16.checked_shl(forecast as u32).unwrap_or(0))
    }

    /// Whether it is there.
    pub fn has(self, forecast: usize) -> bool {
        self.0.checked_shr(forecast as u32).unwrap_or(0) & 1 == 1
    }
}

/// What one forecast has earned.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
struct Account {
    /// What the mix would have lost less by following it, to first order.
    regret: f64,
    /// Sum of the squares of each outcome's part of it.
    squares: f64,
}

/// See the module.
#[derive(Debug, Clone, PartialEq)]
pub struct Pool {
    target: Target,
    forecasts: usize,
    accounts: [Account; MOST],
    /// The largest square of one outcome's part.
    most: f64,
    /// Outcomes heard so far, and how many must be before shares count.
    heard: (u32, u32),
}

impl Pool {
    /// Of so many forecasts ([`MOST`] at most, others are left out), with equal shares.
    pub fn new(target: Target, forecasts: usize) -> Self {
        Self { target, forecasts: forecasts.min(MOST), accounts: [Account::default(); MOST], most: 0.0, heard: (0, 0) }
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
        let sum: f64 = self.raw(present).sum();
        match present.has(i) {
            false => 0.0,
            true if self.heard.0 < self.heard.1 => f64::from(u8::from(self.leader(present) == Some(i))),
            true if sum > 0.0 && sum.is_finite() => self.raw_of(&self.accounts[i]) / sum,
            true => 1.0 / self.indices(present).count() as f64,
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

    fn raw(&self, present: Present) -> impl Iterator<Item = f64> {
        self.indices(present).map(|i| self.raw_of(&self.accounts[i]))
    }

    /// The mix of the forecasts that are there, given in the same order each time. None without any.
    pub fn mix(&self, forecasts: &[f32], present: Present) -> Option<f32> {
        let leader = self.leader(present)?;
        if self.heard.0 < self.heard.1 {
            return forecasts.get(leader).copied();
        }
        let (mut raws, mut sum) = ([0.0; MOST], 0.0);
        for i in self.indices(present) {
            raws[i] = self.raw_of(&self.accounts[i]);
            sum += raws[i];
        }
        if !(sum > 0.0 && sum.is_finite()) {
            (raws, sum) = ([1.0; MOST], self.indices(present).count() as f64);
        }
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
        let accounts = self.accounts[..self.forecasts].iter_mut().enumerate();
        for (i, account) in accounts.filter(|(i, _)| present.has(*i)) {
            let part = slope * f64::from(said - forecasts[i]);
            account.regret += part;
            account.squares += part * part;
            self.most = self.most.max(part * part);
        }
        self.heard.0 = self.heard.0.saturating_add(1);
    }

    /// Makes all that was learnt count for a part of it: what other runs taught is worth less than this one.
    pub fn discount(&mut self, to: f64) {
        for account in &mut self.accounts {
            account.regret *= to;
            account.squares *= to;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        assert_eq!(pool.accounts[1], after(Target::Mean, 100, |_| vec![5.0, 3.0, 9.0], |_| 3.0).accounts[1]);
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
}

//! A forecast made of several, whose shares follow from how well each has done so far: polynomially weighted averages with a rate of its
//! own for each forecast (ML-Poly; Gaillard, Stoltz and van Erven, "A second-order bound with excess losses", COLT 2014). There is nothing to
//! tune, and shares do not depend on the unit of the forecasts.
//!
//! Guarantee, for any outcomes whatever (convex losses with bounded slopes, outcomes heard of at once): over T outcomes the mix's total loss
//! exceeds that of the best forecast by at most a multiple of sqrt(T ln ln T). Outcomes heard of late make the multiple larger.

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

/// See the module.
#[derive(Debug, Clone, PartialEq)]
pub struct Pool {
    target: Target,
    /// By forecast: what the mix would have lost less by following it, to first order.
    regrets: Vec<f64>,
    /// By forecast: sum of the squares of each outcome's part of it.
    squares: Vec<f64>,
    /// The largest such square.
    most: f64,
}

impl Pool {
    /// Of so many forecasts, with equal shares.
    pub fn new(target: Target, forecasts: usize) -> Self {
        Self { target, regrets: vec![0.0; forecasts], squares: vec![0.0; forecasts], most: 0.0 }
    }

    /// By forecast; they add up to 1.
    pub fn shares(&self) -> Vec<f64> {
        let raw = |(regret, squares): (&f64, &f64)| regret.max(0.0) / (self.most + squares).max(f64::MIN_POSITIVE);
        let raw: Vec<f64> = self.regrets.iter().zip(&self.squares).map(raw).collect();
        let sum: f64 = raw.iter().sum();
        if sum > 0.0 && sum.is_finite() {
            raw.iter().map(|share| share / sum).collect()
        } else {
            vec![1.0 / raw.len() as f64; raw.len()]
        }
    }

    /// The mix of forecasts, given in the same order each time.
    pub fn mix(&self, forecasts: &[f32]) -> f32 {
        self.shares().iter().zip(forecasts).map(|(share, forecast)| share * f64::from(*forecast)).sum::<f64>() as f32
    }

    /// What came, beside the forecasts for it and the mix that was said. What is not a number teaches nothing.
    pub fn learn(&mut self, forecasts: &[f32], said: f32, outcome: f32) {
        if !forecasts.iter().chain([&said, &outcome]).all(|value| value.is_finite()) {
            return;
        }
        let slope = self.target.slope(said.into(), outcome.into());
        for ((regret, squares), forecast) in self.regrets.iter_mut().zip(&mut self.squares).zip(forecasts) {
            let part = slope * f64::from(said - forecast);
            *regret += part;
            *squares += part * part;
            self.most = self.most.max(part * part);
        }
    }

    /// Makes all that was learnt count for a part of it: what other runs taught is worth less than this one.
    pub fn discount(&mut self, to: f64) {
        self.regrets.iter_mut().chain(&mut self.squares).for_each(|sum| *sum *= to);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(target: Target, n: usize, forecasts: impl Fn(usize) -> Vec<f32>, outcome: impl Fn(usize) -> f32) -> Pool {
        let mut pool = Pool::new(target, forecasts(0).len());
        for i in 0..n {
            let said = pool.mix(&forecasts(i));
            pool.learn(&forecasts(i), said, outcome(i));
        }
        pool
    }

    #[test]
    fn the_best_forecast_gets_nearly_all_and_another_unit_changes_nothing() {
        for target in [Target::Mean, Target::Quantile(0.5), Target::Quantile(0.99)] {
            let outcome = |i: usize| (i * 37 % 100) as f32;
            let run = |unit: f32| {
                let good = if target == Target::Quantile(0.99) { 99.0 } else { 50.0 };
                after(target, 3000, |_| vec![0.0, good * unit, 300.0 * unit], |i| outcome(i) * unit).shares()
            };
            assert!(run(1.0)[1] > 0.7, "{target:?} {:?}", run(1.0));
            assert!(run(1.0).iter().zip(run(1000.0)).all(|(a, b)| (a - b).abs() < 1e-3));
        }
    }

    #[test]
    fn two_that_are_wrong_on_either_side_are_mixed_to_what_is_right() {
        let pool = after(Target::Mean, 5000, |_| vec![0.0, 10.0], |_| 3.0);
        assert!((pool.mix(&[0.0, 10.0]) - 3.0).abs() < 0.3, "{:?}", pool.shares());
    }

    #[test]
    fn when_another_forecast_becomes_the_better_one_it_is_followed() {
        let pool = after(Target::Quantile(0.5), 4000, |_| vec![0.0, 10.0], |i| if i < 1000 { 0.0 } else { 10.0 });
        assert!(pool.mix(&[0.0, 10.0]) > 9.0, "{:?}", pool.shares());
    }

    #[test]
    fn nothing_learnt_is_equal_shares_and_no_number_teaches_nothing() {
        let mut pool = Pool::new(Target::Mean, 4);
        pool.learn(&[1.0, f32::NAN, 1.0, 1.0], 1.0, 2.0);
        assert_eq!(pool.shares(), [0.25; 4]);
        pool.learn(&[0.0, 1.0, 2.0, 3.0], 1.5, 3.0);
        pool.discount(0.0);
        assert_eq!(pool.shares(), [0.25; 4]);
    }
}

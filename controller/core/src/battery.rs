//! How long the battery of a UPS lasts at a load: what its data sheet says, as data. Points of load and runtime,
//! or usable energy with the time over which it is stated; between and beyond them Peukert's law.
//!
//! Peukert (Elektrotechnische Zeitschrift 20, 1897): `t = H (P_H / P)^k`, here with watts at the output of the UPS
//! for amperes, as data sheets of UPSs list them, so that its losses are in the points. Between two points
//! `k` is what both give, which is a straight line on log paper. Beyond them the shorter runtime is taken: a
//! battery of which nothing else is known gains nothing in energy when it gives less, and loses steeply when
//! it gives more.

use headroom_rack::Watts;

/// Exponent below the least load listed, where nobody gives one: the energy stays the same.
const SLACK: f64 = 1.0;
/// Exponent above the greatest load listed, where nobody gives one: the upper end of what is published (1.05 to 1.15
/// for AGM, 1.1 to 1.25 for gel, 1.2 to 1.6 for flooded cells).
const STEEP: f64 = 1.6;
/// Below this share of the greatest load listed runtime does not grow: what a UPS draws for itself, some per cent of
/// its rating, empties the battery as well.
const LEAST_SHARE: f64 = 0.125;

/// A battery as its data sheet has it.
#[derive(Debug, Clone, PartialEq)]
pub struct BatterySpec {
    /// Load at the output, W, and runtime when full, s. Loads rise, runtimes fall.
    points: Vec<(f64, f64)>,
    /// Exponents below the first point and above the last.
    beyond: (f64, f64),
    /// Share of that left in an aged battery.
    capacity: f64,
}

/// What is wrong with the data of a battery.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum BatteryError {
    /// Nothing to go by.
    #[error("the battery has no runtime at any load")]
    Nothing,
    /// A number that cannot be.
    #[error("{what} is {got}, must be {must}")]
    Range {
        /// Which.
        what: &'static str,
        /// What it is.
        got: f64,
        /// What would be right.
        must: &'static str,
    },
    /// Two points in the wrong order.
    #[error("{0} W for {1} s comes before {2} W for {3} s: loads must rise and runtimes fall")]
    Order(f64, f64, f64, f64),
}

impl BatterySpec {
    /// From points of load at the output and runtime, s. `peukert`: the exponent beyond them, 1 to 2. `capacity`: share of
    /// that which an aged battery still has, above 0 and at most 1.
    ///
    /// # Errors
    /// Every mistake at once.
    pub fn new(
        points: impl IntoIterator<Item = (Watts, f64)>,
        peukert: Option<f64>,
        capacity: f64,
    ) -> Result<Self, Vec<BatteryError>> {
        let points: Vec<(f64, f64)> = points.into_iter().map(|(load, runtime_s)| (load.get(), runtime_s)).collect();
        let mut wrong = Vec::new();
        if points.is_empty() {
            wrong.push(BatteryError::Nothing);
        }
        let mut need = |what, got: f64, good: bool, must| {
            if !good {
                wrong.push(BatteryError::Range { what, got, must });
            }
        };
        for (load, runtime_s) in &points {
            need("a load of the battery's runtimes", *load, *load > 0.0 && load.is_finite(), "watts above 0");
            need("a runtime of the battery", *runtime_s, (1.0..=1e6).contains(runtime_s), "1 to 1000000 s");
        }
        need("peukert", peukert.unwrap_or(1.0), peukert.is_none_or(|k| (1.0..=2.0).contains(&k)), "1 to 2");
        need("capacity", capacity, capacity > 0.0 && capacity <= 1.0, "above 0 and at most 1");
        let falls = |pair: &&[(f64, f64)]| !(pair[1].0 > pair[0].0 && pair[1].1 < pair[0].1);
        let order = |p: &[(f64, f64)]| BatteryError::Order(p[0].0, p[0].1, p[1].0, p[1].1);
        wrong.extend(points.windows(2).filter(falls).map(order));
        let beyond = (peukert.unwrap_or(SLACK), peukert.unwrap_or(STEEP));
        if wrong.is_empty() { Ok(Self { points, beyond, capacity }) } else { Err(wrong) }
    }

    /// From usable energy, Wh, when it is given over `hours` at a steady load: one point of Peukert's law.
    ///
    /// # Errors
    /// Every mistake at once.
    pub fn from_energy(
        usable_wh: f64,
        hours: f64,
        peukert: Option<f64>,
        capacity: f64,
    ) -> Result<Self, Vec<BatteryError>> {
        Self::new([(Watts::new(usable_wh / hours), hours * 3600.0)], peukert, capacity)
    }

    /// Seconds that it lasts at a load when it is full.
    pub fn runtime_s(&self, load: Watts) -> f64 {
        let load = load.get().max(self.least());
        let (from, k) = self.law(self.points.iter().position(|p| p.0 >= load));
        from.1 * (from.0 / load).powf(k) * self.capacity
    }

    /// The greatest load that it lasts for `seconds` at when it is full; zero when it lasts so long at none.
    pub fn load_for(&self, seconds: f64) -> Watts {
        let seconds = seconds / self.capacity;
        let (from, k) = self.law(self.points.iter().position(|p| p.1 <= seconds));
        let load = from.0 * (from.1 / seconds).powf(1.0 / k);
        if load < self.least() * (1.0 - 1e-9) { Watts::ZERO } else { Watts::new(load) }
    }

    /// Peukert's law before the point of this index, or behind the last: a point that it goes through and its exponent.
    fn law(&self, before: Option<usize>) -> ((f64, f64), f64) {
        match before {
            Some(0) => (self.points[0], self.beyond.0),
            Some(i) => (self.points[i], exponent(self.points[i - 1], self.points[i])),
            None => (self.points[self.points.len() - 1], self.beyond.1),
        }
    }

    /// Load below which it lasts no longer, W.
    fn least(&self) -> f64 {
        (self.points[self.points.len() - 1].0 * LEAST_SHARE).min(self.points[0].0)
    }
}

/// Peukert's exponent between two points.
fn exponent(a: (f64, f64), b: (f64, f64)) -> f64 {
    (a.1 / b.1).ln() / (b.0 / a.0).ln()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Three points as of a 30 kW unit with a small battery.
    fn sheet() -> BatterySpec {
        let points = [(10_000.0, 1260.0), (20_000.0, 540.0), (30_000.0, 330.0)];
        BatterySpec::new(points.map(|(w, s)| (Watts::new(w), s)), None, 1.0).unwrap()
    }

    fn at(battery: &BatterySpec, watts: f64) -> f64 {
        battery.runtime_s(Watts::new(watts))
    }

    #[test]
    fn the_points_of_the_data_sheet_are_met_and_between_them_it_follows_peukert() {
        let sheet = sheet();
        for (watts, seconds) in [(10_000.0, 1260.0), (20_000.0, 540.0), (30_000.0, 330.0)] {
            assert!((at(&sheet, watts) - seconds).abs() < 1e-6);
        }
        // Geometric means of two points lie on the straight line in log-log.
        let middle = at(&sheet, (10_000.0_f64 * 20_000.0).sqrt());
        assert!((middle - (1260.0_f64 * 540.0).sqrt()).abs() < 1e-6, "{middle}");
    }

    #[test]
    fn beyond_the_points_the_shorter_runtime_is_taken() {
        let sheet = sheet();
        assert!((at(&sheet, 5000.0) - 2520.0).abs() < 1e-6, "the same energy, no more");
        assert_eq!(at(&sheet, 0.0), at(&sheet, 3750.0), "what the UPS draws for itself empties it too");
        let energy = |watts: f64| at(&sheet, watts) * watts;
        assert!(energy(36_000.0) < energy(30_000.0) * 0.9, "{}", energy(36_000.0));
        assert_eq!(sheet.load_for(7200.0), Watts::ZERO, "two hours are not in it at any load");
    }

    #[test]
    fn usable_energy_with_an_exponent_is_peukerts_law() {
        // 3 kWh over 6 minutes are 30 kW; at half of that 2^1.2 times as long.
        let battery = BatterySpec::from_energy(3000.0, 0.1, Some(1.2), 1.0).unwrap();
        assert!((at(&battery, 30_000.0) - 360.0).abs() < 1e-6);
        assert!((at(&battery, 15_000.0) - 360.0 * 2.0_f64.powf(1.2)).abs() < 1e-6);
        let aged = BatterySpec::from_energy(3000.0, 0.1, Some(1.2), 0.8).unwrap();
        assert!((at(&aged, 30_000.0) - 288.0).abs() < 1e-6);
    }

    #[test]
    fn every_mistake_is_told_at_once() {
        let points = [(20_000.0, 300.0), (10_000.0, 600.0), (-1.0, 0.0)].map(|(w, s)| (Watts::new(w), s));
        let wrong = BatterySpec::new(points, Some(9.0), 1.5).unwrap_err();
        let text = wrong.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
        for part in ["loads must rise", "watts above 0", "1 to 1000000 s", "peukert is 9", "capacity is 1.5"] {
            assert!(text.contains(part), "{part} is missing in\n{text}");
        }
        assert_eq!(BatterySpec::new([], None, 1.0), Err(vec![BatteryError::Nothing]));
    }

    proptest! {
        #[test]
        fn more_load_never_lasts_longer_and_what_is_allowed_lasts(
            watts in 100.0_f64..60_000.0, more in 1.0_f64..2.0, seconds in 60.0_f64..5000.0, capacity in 0.3_f64..1.0,
        ) {
            let points = [(10_000.0, 1260.0), (20_000.0, 540.0), (30_000.0, 330.0)].map(|(w, s)| (Watts::new(w), s));
            let battery = BatterySpec::new(points, None, capacity).unwrap();
            prop_assert!(at(&battery, watts * more) <= at(&battery, watts) + 1e-9);
            let allowed = battery.load_for(seconds);
            prop_assert!(allowed == Watts::ZERO || (battery.runtime_s(allowed) / seconds - 1.0).abs() < 1e-6, "{allowed}");
        }
    }
}

//! A thermal-magnetic circuit breaker with a physical model of its own: a bimetal strip per pole,
//! heated by the square of the current, and a coil. It shares nothing with the trip accumulators
//! of the controller or the agent: if they are wrong, it trips.

use super::spec::BreakerSpec;
use headroom_rack::units::Amperes;

/// Current a cold breaker must carry for an hour: 1.13 times the rating (IEC 60898-1, table 7,
/// test a, up to 63 A). The bimetal is set to let go just there, as early as the standard allows.
const HOLDS_RATIO: f64 = 1.13;
/// Air temperature of that test.
const REFERENCE_CELSIUS: f64 = 30.0;
/// Rise of the strip at the point of release; a hotter room takes away from it.
const RELEASE_RISE_KELVINS: f64 = 60.0;

/// Which release opened it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Release {
    /// The bimetal.
    Thermal,
    /// The coil.
    Magnetic,
}

impl Release {
    /// Word for events.
    pub fn word(self) -> &'static str {
        match self {
            Self::Thermal => "thermal",
            Self::Magnetic => "magnetic",
        }
    }
}

/// One breaker with three poles, opened together.
#[derive(Debug, Clone)]
pub struct Breaker {
    spec: BreakerSpec,
    /// Rise of each strip as a multiple of the steady rise at rated current.
    heat: [f64; 3],
    tripped: Option<Release>,
}

impl Breaker {
    /// A cold, closed breaker.
    pub fn new(spec: &BreakerSpec) -> Self {
        Self { spec: spec.clone(), heat: [0.0; 3], tripped: None }
    }

    fn release_heat(&self) -> f64 {
        let room = 1.0 - (self.spec.ambient_celsius - REFERENCE_CELSIUS) / RELEASE_RISE_KELVINS;
        HOLDS_RATIO * HOLDS_RATIO * room.max(0.1)
    }

    /// Advances by `dt` seconds with these pole currents. `Some` in the step in which it opens.
    ///
    /// Strip: `d heat/dt = ((I/In)^2 - heat) / tau`. With 26.5 s this lies inside IEC 60898-1 table 7
    /// (2.55 In trips between 1 and 60 s: here 6 s; 1.45 In within an hour: here 25 s), near the
    /// fast edge, so that a simulated minute is enough to see it. Characteristic C: the coil lets
    /// go between 5 and 10 In; the multiple is in the spec.
    pub fn step(&mut self, dt: f64, currents: [Amperes; 3]) -> Option<Release> {
        if self.tripped.is_some() {
            self.cool(dt);
            return None;
        }
        let rating = Amperes::new(self.spec.rating_amperes);
        let share = 1.0 - (-dt / self.spec.bimetal_s).exp();
        for (heat, current) in self.heat.iter_mut().zip(currents) {
            let ratio = current / rating;
            *heat += share * (ratio * ratio - *heat);
            if ratio >= self.spec.instantaneous_ratio {
                self.tripped = Some(Release::Magnetic);
            }
        }
        if self.tripped.is_none() && self.heat_ratio() >= 1.0 {
            self.tripped = Some(Release::Thermal);
        }
        self.tripped
    }

    fn cool(&mut self, dt: f64) {
        let fade = (-dt / self.spec.bimetal_s).exp();
        self.heat.iter_mut().for_each(|heat| *heat *= fade);
    }

    /// Seconds until it opens if these currents stay; `None`: never.
    pub fn seconds_left(&self, currents: [Amperes; 3]) -> Option<f64> {
        let release = self.release_heat();
        let left = |(heat, current): (&f64, Amperes)| {
            let ratio = current / Amperes::new(self.spec.rating_amperes);
            let target = ratio * ratio;
            match target {
                _ if ratio >= self.spec.instantaneous_ratio => Some(0.0),
                t if t > release => Some(self.spec.bimetal_s * ((t - heat) / (t - release)).ln().max(0.0)),
                _ => None,
            }
        };
        self.heat.iter().zip(currents).filter_map(left).reduce(f64::min)
    }

    /// How near the hottest pole is to its release: 1 is open.
    pub fn heat_ratio(&self) -> f64 {
        self.heat.iter().copied().fold(0.0, f64::max) / self.release_heat()
    }

    /// What opened it, if it is open.
    pub fn tripped(&self) -> Option<Release> {
        self.tripped
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn c16() -> BreakerSpec {
        BreakerSpec { rating_amperes: 16.0, bimetal_s: 26.5, instantaneous_ratio: 5.0, ambient_celsius: 30.0 }
    }

    fn seconds_to_trip(ratio: f64, spec: &BreakerSpec, at_most_s: f64) -> Option<(f64, Release)> {
        let mut breaker = Breaker::new(spec);
        let mut time_s = 0.0;
        while time_s < at_most_s {
            time_s += 0.02;
            if let Some(release) = breaker.step(0.02, [Amperes::new(spec.rating_amperes * ratio); 3]) {
                return Some((time_s, release));
            }
        }
        None
    }

    #[test]
    fn it_keeps_the_table_of_iec_60898_characteristic_c() {
        assert_eq!(seconds_to_trip(1.129, &c16(), 3700.0), None, "1.13 In must hold for an hour");
        assert!(seconds_to_trip(1.45, &c16(), 3600.0).is_some(), "1.45 In must trip within the hour");
        let (cold, release) = seconds_to_trip(2.55, &c16(), 60.0).expect("2.55 In must trip within a minute");
        assert!(cold > 1.0 && release == Release::Thermal, "{cold}");
        let (at_once, release) = seconds_to_trip(5.0, &c16(), 60.0).expect("trips");
        assert!(at_once <= 0.1 && release == Release::Magnetic);
    }

    #[test]
    fn it_is_never_faster_than_the_minimum_curve_a_protector_may_assume() {
        let (at_two, _) = seconds_to_trip(2.0, &c16(), 60.0).expect("trips");
        assert!(at_two >= 10.0, "2 In: 10 s is the lower edge, here {at_two}");
        assert_eq!(seconds_to_trip(1.05, &c16(), 3700.0), None);
    }

    #[test]
    fn one_hot_pole_opens_all_and_a_hot_room_opens_it_sooner() {
        let mut breaker = Breaker::new(&c16());
        let uneven = [Amperes::new(8.0), Amperes::new(8.0), Amperes::new(32.0)];
        assert!((0..2000).any(|_| breaker.step(0.02, uneven).is_some()));
        let hot = BreakerSpec { ambient_celsius: 45.0, ..c16() };
        let (cool_s, hot_s) = (seconds_to_trip(1.5, &c16(), 99.0), seconds_to_trip(1.5, &hot, 99.0));
        assert!(hot_s.expect("trips").0 < cool_s.expect("trips").0);
    }

    #[test]
    fn the_seconds_it_says_are_left_are_the_seconds_it_takes() {
        let currents = [Amperes::new(16.0 * 1.6); 3];
        let said = Breaker::new(&c16()).seconds_left(currents).expect("trips");
        assert!((said - seconds_to_trip(1.6, &c16(), 99.0).expect("trips").0).abs() < 0.05, "{said}");
        assert_eq!(Breaker::new(&c16()).seconds_left([Amperes::new(16.0); 3]), None);
    }

    #[test]
    fn it_opens_once_and_stays_open() {
        let mut breaker = Breaker::new(&c16());
        assert!(breaker.step(0.02, [Amperes::new(200.0); 3]).is_some());
        assert!(breaker.step(0.02, [Amperes::new(200.0); 3]).is_none());
        assert!(breaker.tripped().is_some());
    }
}

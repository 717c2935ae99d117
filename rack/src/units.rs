//! Physical quantities as types with private fields and only lawful arithmetic. A temperature
//! difference ([`Kelvins`]) is not a temperature ([`Celsius`]).

use serde::{Deserialize, Serialize};
use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Div, Mul, Sub, SubAssign};

macro_rules! quantity {
    ($(#[$doc:meta])* $name:ident, $symbol:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Default, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(f64);

        impl $name {
            /// Zero of this quantity.
            pub const ZERO: Self = Self(0.0);

            /// Wraps a number in this unit.
            pub const fn new(value: f64) -> Self {
                Self(value)
            }

            /// The number in this unit.
            pub const fn get(self) -> f64 {
                self.0
            }

            /// The smaller of two.
            pub fn min(self, other: Self) -> Self {
                Self(self.0.min(other.0))
            }

            /// The larger of two.
            pub fn max(self, other: Self) -> Self {
                Self(self.0.max(other.0))
            }

            /// Held inside `[low, high]`; `low` wins when the two cross.
            pub fn clamp(self, low: Self, high: Self) -> Self {
                Self(self.0.min(high.0).max(low.0))
            }

            /// Neither NaN nor infinite.
            pub fn is_finite(self) -> bool {
                self.0.is_finite()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match f.precision() {
                    Some(p) => write!(f, "{:.*} {}", p, self.0, $symbol),
                    None => write!(f, "{} {}", self.0, $symbol),
                }
            }
        }
    };
}

macro_rules! additive {
    ($name:ident) => {
        impl Add for $name {
            type Output = Self;
            fn add(self, other: Self) -> Self {
                Self(self.0 + other.0)
            }
        }
        impl AddAssign for $name {
            fn add_assign(&mut self, other: Self) {
                self.0 += other.0;
            }
        }
        impl Sub for $name {
            type Output = Self;
            fn sub(self, other: Self) -> Self {
                Self(self.0 - other.0)
            }
        }
        impl SubAssign for $name {
            fn sub_assign(&mut self, other: Self) {
                self.0 -= other.0;
            }
        }
        impl Mul<f64> for $name {
            type Output = Self;
            fn mul(self, factor: f64) -> Self {
                Self(self.0 * factor)
            }
        }
        impl Div<f64> for $name {
            type Output = Self;
            fn div(self, divisor: f64) -> Self {
                Self(self.0 / divisor)
            }
        }
        /// A ratio of like quantities, without unit.
        impl Div for $name {
            type Output = f64;
            fn div(self, other: Self) -> f64 {
                self.0 / other.0
            }
        }
        impl Sum for $name {
            fn sum<I: Iterator<Item = Self>>(iter: I) -> Self {
                Self(iter.map(|q| q.0).sum())
            }
        }
    };
}

quantity!(
    /// Active power in watts.
    Watts,
    "W"
);
quantity!(
    /// Electric current in amperes, root mean square.
    Amperes,
    "A"
);
quantity!(
    /// Electric potential in volts, root mean square.
    Volts,
    "V"
);
quantity!(
    /// A temperature in degrees Celsius. Two of them cannot be added.
    Celsius,
    "°C"
);
quantity!(
    /// A temperature difference in kelvins.
    Kelvins,
    "K"
);

additive!(Watts);
additive!(Amperes);
additive!(Volts);
additive!(Kelvins);

impl Sub for Celsius {
    type Output = Kelvins;
    fn sub(self, other: Self) -> Kelvins {
        Kelvins(self.0 - other.0)
    }
}

impl Add<Kelvins> for Celsius {
    type Output = Self;
    fn add(self, difference: Kelvins) -> Self {
        Self(self.0 + difference.0)
    }
}

impl Mul<Amperes> for Volts {
    type Output = Watts;
    fn mul(self, current: Amperes) -> Watts {
        Watts(self.0 * current.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_of_temperatures_is_not_a_temperature() {
        let rise: Kelvins = Celsius::new(45.0) - Celsius::new(30.0);
        assert_eq!(rise, Kelvins::new(15.0));
        assert_eq!(Celsius::new(30.0) + rise, Celsius::new(45.0));
    }

    #[test]
    fn volts_times_amperes_are_watts() {
        assert_eq!(Volts::new(240.0) * Amperes::new(16.0), Watts::new(3840.0));
    }

    #[test]
    fn the_lower_bound_wins_when_bounds_cross() {
        assert_eq!(Watts::new(5.0).clamp(Watts::new(9.0), Watts::new(3.0)), Watts::new(9.0));
    }
}

//! How near a node is to tripping. Standards bound trip times from above; a real device may trip
//! sooner, so everything here is the *minimum* curve.
//!
//! Breaker: a thermal image of the bimetal, `dh/dt = (r^2 - h) / TAU`, with `r` the load over the
//! rating; it trips at `h = 1.05^2` because 1.05 In holds for ever. `TAU` makes a cold breaker
//! trip after 10 s at 2.0 In, the lower edge of IEC 60898-1 curves; above 2 In the lower edge
//! falls faster than a bimetal (1 s at 2.55 In, at once from 5 In) and is taken from the table.
//! UPS: overload table of the market's lower range, integrated as used share.

use crate::topology::NodeKind;

/// Time constant of the thermal image, s: `-10 / ln(1 - 1.05^2 / 2^2)`.
const TAU_S: f64 = 31.02;
/// Highest multiple of its rating that a breaker holds for ever.
pub const HOLDS_FOR_EVER: f64 = 1.05;
const TRIP_HEAT: f64 = HOLDS_FOR_EVER * HOLDS_FOR_EVER;
/// Lower edge of the trip time of a cold breaker above 2 In (ratio, s).
const BREAKER_EDGE: &[(f64, f64)] = &[(2.0, 10.0), (2.55, 1.0), (5.0, 0.01)];
/// Online double-conversion UPSs: 125 % for 30 s and 150 % for 10 s is the lower end of what is
/// sold; beyond, the inverter limits at once. 105 % counts as continuous.
const UPS_EDGE: &[(f64, f64)] = &[(1.05, 600.0), (1.25, 30.0), (1.5, 10.0), (1.6, 0.2)];
/// A UPS forgets an overload with this time constant, s: longer than any entry that matters.
const UPS_COOL_S: f64 = 120.0;

/// The protection of one node and how much of it is used up.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Protection {
    /// Thermal-magnetic: the heat of the thermal image, in units of rated current squared.
    Breaker {
        /// 0 cold, 1.1025 trips.
        heat: f64,
    },
    /// Overload table: the used share.
    Ups {
        /// 0 fresh, 1 drops the load.
        used: f64,
    },
}

impl Protection {
    /// A breaker that has carried `ratio` of its rating for long.
    pub fn breaker_at(ratio: f64) -> Self {
        Self::Breaker { heat: (ratio * ratio).min(TRIP_HEAT) }
    }

    /// The protection of a node of this kind of which `used`, 0 to 1, is used up.
    pub fn with_used(kind: NodeKind, used: f64) -> Self {
        let used = if used.is_finite() { used.clamp(0.0, 1.0) } else { 1.0 };
        match kind {
            NodeKind::Breaker => Self::Breaker { heat: used * TRIP_HEAT },
            NodeKind::Ups => Self::Ups { used },
        }
    }

    /// Used share, 0 to 1.
    pub fn used(self) -> f64 {
        match self {
            Self::Breaker { heat } => (heat / TRIP_HEAT).clamp(0.0, 1.0),
            Self::Ups { used } => used.clamp(0.0, 1.0),
        }
    }

    /// After `dt_s` seconds at `ratio` of the rating.
    pub fn after(self, ratio: f64, dt_s: f64) -> Self {
        let ratio = ratio.max(0.0);
        match self {
            Self::Breaker { heat } => {
                let target = ratio * ratio;
                let bimetal = target + (heat - target) * (-dt_s / TAU_S).exp();
                let edge = if ratio > 2.0 { TRIP_HEAT * dt_s / edge(BREAKER_EDGE, ratio) } else { 0.0 };
                Self::Breaker { heat: bimetal.max(heat + edge) }
            }
            Self::Ups { used } if ratio > UPS_EDGE[0].0 => Self::Ups { used: used + dt_s / edge(UPS_EDGE, ratio) },
            Self::Ups { used } => Self::Ups { used: used * (-dt_s / UPS_COOL_S).exp() },
        }
    }

    /// Seconds until it trips if `ratio` stays; `None`: never.
    pub fn time_to_trip_s(self, ratio: f64) -> Option<f64> {
        match self {
            Self::Breaker { heat } => {
                let target = ratio * ratio;
                if target <= TRIP_HEAT {
                    return None;
                }
                let bimetal =
                    if heat >= TRIP_HEAT { 0.0 } else { TAU_S * ((target - heat) / (target - TRIP_HEAT)).ln() };
                let table = edge(BREAKER_EDGE, ratio) * (1.0 - self.used());
                Some(if ratio > 2.0 { bimetal.min(table) } else { bimetal })
            }
            Self::Ups { .. } if ratio <= UPS_EDGE[0].0 => None,
            Self::Ups { used } => Some(edge(UPS_EDGE, ratio) * (1.0 - used).max(0.0)),
        }
    }

    /// The highest ratio that can be held for `hold_s` seconds from now without a trip; at least
    /// what holds for ever. The inverse of [`Protection::time_to_trip_s`].
    pub fn allowed(self, hold_s: f64) -> f64 {
        let left = (1.0 - self.used()).max(0.0);
        match self {
            Self::Breaker { heat } if heat >= TRIP_HEAT => 1.0,
            Self::Breaker { heat } => {
                let grown = (hold_s / TAU_S).exp();
                let bimetal = ((grown * TRIP_HEAT - heat) / (grown - 1.0)).max(1.0).sqrt();
                bimetal.min(ratio_at(BREAKER_EDGE, hold_s / left).max(2.0))
            }
            Self::Ups { .. } if left <= 0.0 => 1.0,
            Self::Ups { .. } => ratio_at(UPS_EDGE, hold_s / left),
        }
    }
}

/// The ratio at which a falling table gives `seconds`: the inverse of [`edge`].
fn ratio_at(table: &[(f64, f64)], seconds: f64) -> f64 {
    let next = table.iter().position(|(_, t)| *t <= seconds);
    match next {
        Some(0) => table[0].0,
        Some(i) => {
            let ((r0, t0), (r1, t1)) = (table[i - 1], table[i]);
            let x = (seconds / t0).ln() / (t1 / t0).ln();
            (r0.ln() + x * (r1 / r0).ln()).exp()
        }
        None => table[table.len() - 1].0,
    }
}

/// Log-log interpolation over a falling table; the last entry holds beyond it.
fn edge(table: &[(f64, f64)], ratio: f64) -> f64 {
    let next = table.iter().position(|(r, _)| *r >= ratio);
    match next {
        Some(0) => table[0].1,
        Some(i) => {
            let ((r0, t0), (r1, t1)) = (table[i - 1], table[i]);
            let x = (ratio / r0).ln() / (r1 / r0).ln();
            (t0.ln() + x * (t1 / t0).ln()).exp()
        }
        None => table[table.len() - 1].1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const COLD: Protection = Protection::Breaker { heat: 0.0 };

    #[test]
    fn the_points_of_the_standard_are_met_from_the_safe_side() {
        assert_eq!(COLD.time_to_trip_s(1.05), None);
        for (ratio, at_most_s) in [(1.30, 3600.0), (1.45, 3600.0), (2.0, 10.01), (2.55, 1.01), (5.0, 0.02)] {
            let t = COLD.time_to_trip_s(ratio).unwrap();
            assert!(t <= at_most_s, "{ratio}: {t}");
        }
        assert!((COLD.time_to_trip_s(2.0).unwrap() - 10.0).abs() < 0.05);
        assert!((COLD.time_to_trip_s(1.45).unwrap() - 23.0).abs() < 1.0);
    }

    #[test]
    fn a_warm_breaker_has_less_time_than_a_cold_one() {
        let warm = Protection::breaker_at(0.9).time_to_trip_s(1.33).unwrap();
        let cold = COLD.time_to_trip_s(1.33).unwrap();
        assert!(warm < 0.5 * cold, "{warm} against {cold}");
    }

    proptest! {
        #[test]
        fn integrating_step_by_step_trips_when_foretold(ratio in 1.1_f64..4.0, preload in 0.0_f64..1.0) {
            for start in [Protection::breaker_at(preload), Protection::Ups { used: preload * 0.9 }] {
                let Some(told) = start.time_to_trip_s(ratio) else { continue };
                let mut state = start;
                let mut t = 0.0;
                while state.time_to_trip_s(ratio).is_some_and(|left| left > 0.02) && t < 2.0 * told + 1.0 {
                    let dt = 0.01_f64.min(told / 20.0).max(0.001);
                    state = state.after(ratio, dt);
                    t += dt;
                }
                prop_assert!(t <= told + 0.1, "{start:?} at {ratio}: told {told}, took {t}");
            }
        }

        #[test]
        fn what_is_allowed_holds_and_a_little_more_does_not(used in 0.0_f64..0.99, hold in 0.5_f64..60.0, ups in any::<bool>()) {
            let state = Protection::with_used(if ups { NodeKind::Ups } else { NodeKind::Breaker }, used);
            let ratio = state.allowed(hold);
            prop_assert!(state.time_to_trip_s(ratio * 0.999).is_none_or(|t| t >= hold * 0.99), "{ratio}");
            prop_assert!(ratio > 5.0 || state.time_to_trip_s(ratio * 1.002).is_some_and(|t| t <= hold * 1.01), "{ratio}");
        }

        #[test]
        fn more_load_never_gives_more_time(heat in 0.0_f64..1.1, a in 0.5_f64..5.0, more in 0.01_f64..2.0) {
            let state = Protection::Breaker { heat };
            let (less, most) = (state.time_to_trip_s(a + more), state.time_to_trip_s(a));
            prop_assert!(less.unwrap_or(f64::INFINITY) <= most.unwrap_or(f64::INFINITY) + 1e-9);
        }
    }
}

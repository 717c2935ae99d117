//! How near a node is to tripping. Standards bound trip times from above; a real device may trip
//! sooner, so everything here is the *minimum* edge of its family. The families, each with its
//! source, are data in `protection/*.toml`; `trip/family.rs` reads them, `trip/curve.rs` is the
//! arithmetic, `trip/own.rs` takes an overload table of a site's own, and a [`Protection`] is one device with how much of it is used up.

mod curve;
mod family;
mod own;
#[cfg(test)]
mod tests;

pub use curve::Curve;
pub use family::{Confidence, Family, FamilyError, Settings, families, family};
pub use own::OwnError;

use crate::topology::NodeKind;
use std::sync::{Arc, LazyLock};

/// What trips is a current, and what is measured is a power: at load the power factor of servers' supplies is 0.99, and a
/// meter of class 1 (IEC 62053-21) may show 1 % less than what flows. So much more may the current of a breaker be over
/// its rating than the power over its rating, where no meter tells of more ([`crate::fleet::Drawn`]).
pub(crate) const CURRENT: f64 = 1.01;

/// One protected node: its curve and how warm it is.
#[derive(Debug, Clone, PartialEq)]
pub struct Protection {
    curve: Arc<Curve>,
    heat: f64,
    /// Current over rating for a power over rating of 1.
    current: f64,
}

impl Protection {
    /// A device that has carried `ratio` of its rating for long.
    pub fn at(curve: Arc<Curve>, ratio: f64) -> Self {
        let heat = curve.steady(ratio);
        Self { curve, heat, current: 1.0 }
    }

    /// The same where ratios are of powers, and the current may be a little more. What has no thermal image, a UPS above
    /// all, is rated for power.
    #[must_use]
    pub fn by_power(self) -> Self {
        let current = if self.curve.is_thermal() { CURRENT } else { 1.0 };
        Self { current, ..self }
    }

    /// A device of which `used`, 0 to 1, is used up; unknown counts as all of it.
    pub fn with_used(curve: Arc<Curve>, used: f64) -> Self {
        let used = if used.is_finite() { used.clamp(0.0, 1.0) } else { 1.0 };
        let heat = used * curve.trip_heat();
        Self { curve, heat, current: 1.0 }
    }

    /// Used share, 0 to 1.
    pub fn used(&self) -> f64 {
        (self.heat / self.curve.trip_heat()).clamp(0.0, 1.0)
    }

    /// Its curve.
    pub fn curve(&self) -> &Curve {
        &self.curve
    }

    /// Goes on by `dt_s` seconds at `ratio` of the rating.
    pub fn advance(&mut self, ratio: f64, dt_s: f64) {
        self.heat = self.curve.after(self.heat, ratio * self.current, dt_s);
    }

    /// Seconds until it trips if `ratio` stays; `None`: never.
    pub fn time_to_trip_s(&self, ratio: f64) -> Option<f64> {
        self.curve.time_to_trip_s(self.heat, ratio * self.current)
    }

    /// A ratio that can be held for `hold_s` seconds from now without a trip; at least the rating's current.
    pub fn allowed(&self, hold_s: f64) -> f64 {
        self.curve.allowed(self.heat, hold_s) / self.current
    }

    /// The same if the ratio `then` is to be held for `then_s` seconds after that.
    pub fn allowed_before(&self, hold_s: f64, then: f64, then_s: f64) -> f64 {
        self.curve.allowed_before(self.heat, hold_s, then * self.current, then_s) / self.current
    }

    /// The ratio that is carried for ever.
    pub fn holds(&self) -> f64 {
        self.curve.holds() / self.current
    }
}

impl NodeKind {
    /// The curve of a node whose family nobody named.
    pub fn curve(self) -> Arc<Curve> {
        static USUAL: LazyLock<Vec<(NodeKind, Arc<Curve>)>> =
            LazyLock::new(|| NodeKind::ALL.iter().map(|(kind, _)| (*kind, usual(kind.usual_family()))).collect());
        let found = USUAL.iter().find(|(kind, _)| *kind == self);
        Arc::clone(&found.expect("invariant: the list names every kind").1)
    }
}

fn usual(name: &str) -> Arc<Curve> {
    let curve = family(name).and_then(|f| f.curve(&Settings::default()).ok());
    Arc::new(curve.expect("invariant: a test reads every family that ships"))
}

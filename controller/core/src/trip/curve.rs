//! The earliest trip of one device as numbers: a thermal image, a table, or both. Pure arithmetic;
//! where the numbers come from is in `family.rs`.
//!
//! Image: `dh/dt = (r^2 - h) / tau` with `r` the load over the rating; it trips at `h = holds^2`,
//! because `holds` is carried for ever. Where the device is faster than a bimetal, the table speaks:
//! `dh/dt = holds^2 / t(r)`, whichever is more. A device without an image has the table alone
//! and forgets an overload exponentially.

/// How one device trips at the earliest. Ratios are of its rating; the state is heat, from 0 (cold) to
/// [`Curve::trip_heat`].
#[derive(Debug, Clone, PartialEq)]
pub struct Curve {
    kind: Kind,
    /// Falling points (ratio, seconds); above the first ratio it is in force. May be empty.
    table: Vec<(f64, f64)>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    Image { holds: f64, tau_s: f64 },
    Table { cools_s: f64 },
}

impl Curve {
    /// A thermal image that reaches each of `thermal` (ratio, seconds) no later than there, and `fast`
    /// above it. The caller has checked that ratios of `thermal` lie above `holds` and that `fast` falls.
    pub(super) fn image(holds: f64, thermal: &[(f64, f64)], fast: Vec<(f64, f64)>) -> Self {
        let tau = |&(ratio, t): &(f64, f64)| -t / (1.0 - (holds / ratio).powi(2)).ln();
        let tau_s = thermal.iter().map(tau).fold(f64::INFINITY, f64::min);
        Self { kind: Kind::Image { holds, tau_s }, table: fast }
    }

    /// A table alone.
    pub(super) fn table(points: Vec<(f64, f64)>, cools_s: f64) -> Self {
        Self { kind: Kind::Table { cools_s }, table: points }
    }

    /// Whether it has a thermal image, so that a load below its rating warms it too.
    pub fn is_thermal(&self) -> bool {
        matches!(self.kind, Kind::Image { .. })
    }

    /// The ratio that is carried for ever.
    pub fn holds(&self) -> f64 {
        match self.kind {
            Kind::Image { holds, .. } => holds,
            Kind::Table { .. } => self.table.first().map_or(f64::INFINITY, |p| p.0),
        }
    }

    /// The heat at which it trips.
    pub fn trip_heat(&self) -> f64 {
        match self.kind {
            Kind::Image { holds, .. } => holds * holds,
            Kind::Table { .. } => 1.0,
        }
    }

    /// The heat after carrying `ratio` for long.
    pub fn steady(&self, ratio: f64) -> f64 {
        match self.kind {
            Kind::Image { .. } => (ratio * ratio).min(self.trip_heat()),
            Kind::Table { .. } => 0.0,
        }
    }

    /// Heat per second that the table adds at this ratio.
    fn table_rate(&self, ratio: f64) -> Option<f64> {
        let first = self.table.first()?;
        (ratio > first.0).then(|| self.trip_heat() / seconds_at(&self.table, ratio))
    }

    /// The heat from which on the table is faster than the image at this ratio.
    fn handover(&self, ratio: f64, tau_s: f64) -> Option<(f64, f64)> {
        self.table_rate(ratio).map(|rate| (ratio * ratio - tau_s * rate, rate))
    }

    /// The heat `dt_s` seconds later. At the trip it stays there until the load lets it cool.
    pub fn after(&self, heat: f64, ratio: f64, dt_s: f64) -> f64 {
        let ratio = ratio.max(0.0);
        let next = match self.kind {
            Kind::Image { tau_s, .. } => {
                let target = ratio * ratio;
                let image = |heat: f64, dt: f64| target + (heat - target) * (-dt / tau_s).exp();
                match self.handover(ratio, tau_s) {
                    None => image(heat, dt_s),
                    Some((from, rate)) if heat >= from => heat + rate * dt_s,
                    Some((from, rate)) => {
                        let until = tau_s * ((target - heat) / (target - from)).ln();
                        if dt_s <= until { image(heat, dt_s) } else { from + rate * (dt_s - until) }
                    }
                }
            }
            Kind::Table { cools_s } => match self.table_rate(ratio) {
                Some(rate) => heat + rate * dt_s,
                None => heat * (-dt_s / cools_s).exp(),
            },
        };
        next.clamp(0.0, self.trip_heat())
    }

    /// Seconds until it trips if `ratio` stays; `None`: never.
    pub fn time_to_trip_s(&self, heat: f64, ratio: f64) -> Option<f64> {
        let trip = self.trip_heat();
        if heat >= trip && ratio > self.holds() {
            return Some(0.0);
        }
        match self.kind {
            Kind::Image { tau_s, .. } => {
                let target = ratio * ratio;
                let image = |from: f64, to: f64| tau_s * ((target - from) / (target - to)).ln();
                match self.handover(ratio, tau_s) {
                    Some((from, rate)) if heat >= from => Some((trip - heat) / rate),
                    Some((from, rate)) if from < trip => Some(image(heat, from) + (trip - from) / rate),
                    _ if target <= trip => None,
                    _ => Some(image(heat, trip)),
                }
            }
            Kind::Table { .. } => self.table_rate(ratio).map(|rate| (trip - heat).max(0.0) / rate),
        }
    }

    /// A ratio that can be held for `hold_s` seconds from now without a trip: the highest, or a little
    /// less where image and table share the work. At least 1, which is what the rating means.
    pub fn allowed(&self, heat: f64, hold_s: f64) -> f64 {
        self.allowed_up_to(heat, hold_s, self.trip_heat())
    }

    /// The same if `then` (a ratio) is to be held for `then_s` seconds after that. At least 1, also where `then`
    /// cannot be held.
    pub fn allowed_before(&self, heat: f64, hold_s: f64, then: f64, then_s: f64) -> f64 {
        self.allowed_up_to(heat, hold_s, self.bears(then, then_s))
    }

    /// The highest heat from which `ratio` can be held for `hold_s` seconds without a trip, or less; 0 if none can.
    fn bears(&self, ratio: f64, hold_s: f64) -> f64 {
        let trip = self.trip_heat();
        match (self.kind, self.table_rate(ratio)) {
            // Both would work at once.
            (Kind::Image { .. }, Some(_)) => 0.0,
            (Kind::Image { tau_s, .. }, None) => {
                let target = ratio * ratio;
                (target + (trip - target) * (hold_s / tau_s).exp()).clamp(0.0, trip)
            }
            (Kind::Table { .. }, Some(rate)) => (trip - rate * hold_s).max(0.0),
            (Kind::Table { .. }, None) => trip,
        }
    }

    /// A ratio with which the heat is at most `most` after `hold_s` seconds.
    fn allowed_up_to(&self, heat: f64, hold_s: f64, most: f64) -> f64 {
        let left = (most - heat) / self.trip_heat();
        if left <= 0.0 {
            return 1.0;
        }
        let by_table = || ratio_at(&self.table, hold_s / left);
        match self.kind {
            Kind::Image { holds, tau_s } => {
                let grown = (hold_s / tau_s).exp();
                let by_image = ((grown * most - heat) / (grown - 1.0)).max(1.0).sqrt().max(holds.min(1.0));
                // Above the table's first ratio both work; that ratio itself belongs to the image.
                self.table.first().map_or(by_image, |first| by_image.min(first.0))
            }
            Kind::Table { .. } if self.table.is_empty() => f64::INFINITY,
            Kind::Table { .. } => by_table(),
        }
    }
}

/// The highest ratio at which a falling table gives `seconds` or more.
fn ratio_at(table: &[(f64, f64)], seconds: f64) -> f64 {
    let next = table.iter().position(|(_, t)| *t < seconds);
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
fn seconds_at(table: &[(f64, f64)], ratio: f64) -> f64 {
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

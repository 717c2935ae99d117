//! The families of protective devices that ship with the program, read from `protection/*.toml`:
//! earliest and latest trips, the source of the numbers and how far to trust them.

mod file;
mod latest;
mod settings;

pub(super) use file::steps;
pub use settings::{FamilyError, Settings};

use super::Curve;
use serde::Deserialize;
use std::sync::LazyLock;

/// How far the numbers of a family are to be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Confidence {
    /// A standard states them.
    Standard,
    /// A maker states them for his devices.
    Vendor,
    /// Nobody states the least time; a value below published curves stands in.
    Estimate,
}

/// One family.
#[derive(Debug, Clone, PartialEq)]
pub struct Family {
    /// Its name in a topology.
    pub name: String,
    /// Words for people.
    pub words: String,
    /// Standard or document the numbers come from.
    pub source: String,
    /// How far to trust them.
    pub confidence: Confidence,
    /// What of them was not found in print, if anything.
    pub unverified: Option<String>,
    /// Air temperature its rating refers to; none where the rating does not depend on it.
    pub reference_celsius: Option<f64>,
    /// Where the temperature factors come from.
    pub ambient_source: Option<String>,
    latest: latest::Latest,
    ambient: Vec<(f64, f64)>,
    law: Law,
}

#[derive(Debug, Clone, PartialEq)]
enum Law {
    Thermal { holds: f64, thermal: Vec<(f64, f64)>, fast: Vec<(f64, f64)>, coil: Option<Coil> },
    Electronic { holds: f64, long: Vec<(f64, f64)>, pickup: f64, delay: f64, instantaneous_s: f64 },
    Fuse { holds: f64, gates: Vec<[f64; 4]> },
    Table { points: Vec<(f64, f64)>, cools_s: f64, hotter: Option<(f64, String)> },
}

/// A coil whose pickup can be set, in place of the last point of `fast`.
#[derive(Debug, Clone, PartialEq)]
struct Coil {
    /// Share of the setting at which it may act at the earliest.
    pickup: f64,
    low: f64,
    high: f64,
}

/// Ratios this close are the two sides of a step.
const STEP: f64 = 1e-9;
/// The time of the last column of a fuse's gates, s. Faster, all heat stays in the element, and its I2t holds: ten
/// times the current, a hundredth of the time.
const FUSE_GATE_S: f64 = 0.01;
const FUSE_BEYOND: f64 = 10.0;

impl Family {
    /// The earliest trip of a device of this family.
    ///
    /// # Errors
    /// The first of its [`mistakes`](Self::mistakes) when there are any.
    pub fn curve(&self, settings: &Settings) -> Result<Curve, FamilyError> {
        if let Some(first) = self.mistakes(settings).into_iter().next() {
            return Err(first);
        }
        let given = |setting, value: Option<f64>| {
            value.ok_or_else(|| FamilyError::Missing { family: self.name.clone(), setting })
        };
        match &self.law {
            Law::Thermal { holds, thermal, fast, coil } => {
                let mut fast = fast.clone();
                if let (Some(coil), Some(ii), Some(last)) = (coil, settings.ii, fast.last_mut()) {
                    last.0 = ii * coil.pickup;
                }
                Ok(Curve::image(*holds, thermal, fast))
            }
            Law::Electronic { holds, long, pickup, delay, instantaneous_s } => {
                let (tr_s, ii) = (given("tr_s", settings.tr_s)?, given("ii", settings.ii)?);
                let thermal: Vec<(f64, f64)> =
                    long.iter().map(|(ratio, share)| (*ratio, share * tr_s * (6.0 / ratio).powi(2))).collect();
                let at_once = (ii * pickup, *instantaneous_s);
                let fast = match settings.isd {
                    None => vec![at_once],
                    Some(isd) => {
                        let short = (given("tsd_s", settings.tsd_s)? * delay).max(*instantaneous_s);
                        vec![(isd * pickup, short), (at_once.0.max(isd * pickup), short), (at_once.0 + STEP, at_once.1)]
                    }
                };
                Ok(Curve::image(*holds, &thermal, fast))
            }
            Law::Fuse { holds, gates } => {
                let amperes = given("rating_amperes", settings.amperes)?;
                let share = |current: fn(&[f64; 4]) -> f64| {
                    let above = gates.iter().position(|row| row[0] >= amperes).unwrap_or(gates.len() - 1);
                    let below = if gates[above][0] <= amperes { above } else { above.saturating_sub(1) };
                    (current(&gates[above]) / gates[above][0]).min(current(&gates[below]) / gates[below][0])
                };
                let (ten, tenth) = (share(|row| row[1]), share(|row| row[2]));
                let hundredth = share(|row| (row[3] / FUSE_GATE_S).sqrt());
                let beyond = (hundredth * FUSE_BEYOND, FUSE_GATE_S / (FUSE_BEYOND * FUSE_BEYOND));
                let melts = vec![(ten, 10.0), (tenth, 0.1), (hundredth, FUSE_GATE_S), beyond];
                Ok(Curve::image(*holds, &[(ten, 10.0)], melts))
            }
            Law::Table { points, cools_s, hotter } => match (hotter, settings.ambient_celsius) {
                (Some((from, name)), Some(ambient)) if ambient > *from => match family(name) {
                    Some(hot) => hot.curve(settings),
                    None => Ok(Curve::table(points.clone(), *cools_s)),
                },
                _ => Ok(Curve::table(points.clone(), *cools_s)),
            },
        }
    }

    /// Whether it needs the settings of a trip unit.
    pub fn is_electronic(&self) -> bool {
        matches!(self.law, Law::Electronic { .. })
    }

    /// Whether it is an overload table, as UPSs have, and not a breaker or fuse.
    pub fn is_table(&self) -> bool {
        matches!(self.law, Law::Table { .. })
    }

    /// Share of the rating left in air of this temperature, above 0 and at most 1: colder than the
    /// reference is kept as a reserve. Beyond the last point the last slope goes on.
    pub fn ambient_factor(&self, celsius: f64) -> f64 {
        let reference = match self.reference_celsius {
            Some(reference) if celsius > reference => reference,
            _ => return 1.0,
        };
        let mut points = vec![(reference, 1.0)];
        points.extend(&self.ambient);
        let next = points.iter().position(|(t, _)| *t >= celsius).unwrap_or(points.len() - 1).max(1);
        let Some(((t0, k0), (t1, k1))) = points.get(next - 1).zip(points.get(next)) else { return 1.0 };
        (k0 + (celsius - t0) / (t1 - t0) * (k1 - k0)).clamp(0.1, 1.0)
    }
}

static FAMILIES: LazyLock<Vec<Family>> = LazyLock::new(file::read_all);

/// All families, in the order of their files.
pub fn families() -> &'static [Family] {
    &FAMILIES
}

/// The family of this name.
pub fn family(name: &str) -> Option<&'static Family> {
    FAMILIES.iter().find(|f| f.name == name)
}

//! The latest trip of a family: what its standard or maker lets pass. For people and for tests that hold the
//! earliest trip below it; nothing is decided by it.

use super::{Family, Settings};
use serde::Deserialize;

/// Up to so many amperes, at this ratio, so many seconds.
pub(super) type Sized = (f64, f64, f64);

/// Latest trips as data.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Latest {
    /// (ratio, seconds) for all sizes.
    pub maximum: Vec<(f64, f64)>,
    pub sized: Vec<Sized>,
    /// Of an adjustable coil: share of its setting, seconds.
    pub coil: Option<(f64, f64)>,
    pub unit: Option<Unit>,
    /// Why there is none.
    pub none: Option<String>,
}

/// Latest trips of an electronic trip unit, as shares of its settings.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Unit {
    long: Vec<(f64, f64)>,
    long_least_s: f64,
    pickup: f64,
    delay: Vec<(f64, f64)>,
    instantaneous_s: f64,
}

impl Family {
    /// Points (ratio, seconds) of a device with these settings: it has tripped by then, cold and at its reference
    /// temperature. Rising ratios; empty where nobody states any.
    pub fn latest(&self, settings: &Settings) -> Vec<(f64, f64)> {
        let mut points = self.latest.maximum.clone();
        for (amperes, ratio, seconds) in &self.latest.sized {
            if settings.amperes.is_some_and(|a| a <= *amperes) {
                points.retain(|p| p.0 != *ratio);
                points.push((*ratio, *seconds));
            }
        }
        if let (Some(ii), Some((share, seconds))) = (settings.ii, self.latest.coil) {
            points.push((ii * share, seconds));
        }
        if let Some(unit) = &self.latest.unit {
            points.extend(unit.points(settings));
        }
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        // A slower stage behind a faster one never comes to it.
        let mut least = f64::INFINITY;
        points.retain(|p| {
            let is_sooner = p.1 < least;
            least = least.min(p.1);
            is_sooner
        });
        points
    }

    /// The latest trip at a load, as the highest stated load below it bounds it; `None` where nothing does.
    pub fn latest_s(&self, settings: &Settings, ratio: f64) -> Option<f64> {
        self.latest(settings).into_iter().filter(|p| p.0 <= ratio).map(|p| p.1).reduce(f64::min)
    }

    /// Why there is no latest trip, where there is none.
    pub fn no_latest(&self) -> Option<&str> {
        self.latest.none.as_deref()
    }
}

impl Unit {
    fn points(&self, settings: &Settings) -> Vec<(f64, f64)> {
        let (Some(tr_s), Some(ii)) = (settings.tr_s, settings.ii) else { return Vec::new() };
        let least = |ratio: f64| if ratio < 6.0 { 0.0 } else { self.long_least_s };
        let mut points: Vec<(f64, f64)> =
            self.long.iter().map(|(r, share)| (*r, (share * tr_s).max(least(*r)))).collect();
        if let (Some(isd), Some(tsd_s)) = (settings.isd, settings.tsd_s)
            && let Some((_, seconds)) = self.delay.iter().find(|(setting, _)| *setting >= tsd_s)
        {
            points.push((isd * self.pickup, *seconds));
        }
        points.push((ii * self.pickup, self.instantaneous_s));
        points
    }
}

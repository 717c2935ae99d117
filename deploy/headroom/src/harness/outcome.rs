//! How a run ended, as the plant tells it.

use super::FLOOR_WATTS;
use headroom_rack::Amperes;
use headroom_sim::plant::{FEED_NAMES, Plant};
use std::collections::BTreeSet;

/// A target must be met so long after it came, s.
const TARGET_WITHIN_S: f64 = 10.0;
/// And held so exactly.
const TARGET_BAND: f64 = 0.02;
/// A GPU counts as held when its limit is this share of what it wants or less.
const HELD: f64 = 0.95;
/// And one as drawing more than its floor from so many watts above it.
const ABOVE_WATTS: f64 = 25.0;
/// Bands of priority as in the policy's default, the most important first.
const BANDS: [&str; 3] = ["training", "inference", "batch"];
/// So long after its release an overshoot counts as one, s.
const RELEASE_S: f64 = 60.0;

/// How a run ended.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Outcome {
    /// Breakers that opened and UPSs that dropped their load.
    pub trips: BTreeSet<String>,
    /// GPUs that shut themselves down.
    pub shutdowns: BTreeSet<(usize, usize)>,
    /// Limits set below the floor.
    pub floor_violations: u64,
    /// The least time, s, that any breaker was away from opening, any UPS on battery from dropping its
    /// load for an overload, at what flowed then; `None`: none was ever on the way to it.
    pub margin_s: Option<f64>,
    /// Seconds that targets from outside were missed by more than 2 % from 10 s after they came.
    pub target_missed_s: f64,
    /// Seconds in which a rack was held below what it wanted while one of a lower band drew more than its
    /// floor.
    pub inversion_s: f64,
    /// Seconds in the minute after a target's release with more than 2 % above what flowed before it.
    pub overshoot_s: f64,
    /// The warmest air at the inlets of any rack; `None`: air cools none.
    pub hottest_inlet_celsius: Option<f64>,
    /// The automation stopped itself and called a person.
    pub stopped: bool,
}

impl Outcome {
    /// A target that came `since_s` ago holds.
    pub(super) fn hold(&mut self, since_s: f64, drawn: f64, most: f64) {
        if since_s > TARGET_WITHIN_S && drawn > most * (1.0 + TARGET_BAND) {
            self.target_missed_s += super::STEP_S;
        }
    }

    /// A target was lifted `since_s` ago; `before` flowed when it came.
    pub(super) fn release(&mut self, since_s: f64, drawn: f64, before: f64) {
        if since_s <= RELEASE_S && drawn > before * (1.0 + TARGET_BAND) {
            self.overshoot_s += super::STEP_S;
        }
    }

    fn margin(&mut self, left_s: Option<f64>) {
        self.margin_s = match (self.margin_s, left_s) {
            (Some(least), Some(left)) => Some(least.min(left)),
            (least, left) => least.or(left),
        };
    }

    /// Looks at the plant after a step.
    pub(super) fn judge(&mut self, plant: &Plant) {
        for (name, feed) in FEED_NAMES.iter().zip(plant.feeds()) {
            if feed.breaker.tripped().is_some() {
                self.trips.insert(format!("breaker-{name}"));
            } else {
                self.margin(feed.breaker.seconds_left(feed.amperes().map(Amperes::new)));
            }
            match feed.ups.readout.output_on {
                false => {
                    self.trips.insert(format!("ups-{name}"));
                }
                true => self.margin(feed.ups.overload_seconds_left()),
            }
        }
        for branch in plant.branches() {
            match branch.breaker.tripped() {
                Some(_) => {
                    self.trips.insert(branch.spec().id.clone());
                }
                None => self.margin(branch.breaker.seconds_left(branch.amperes().map(Amperes::new))),
            }
        }
        self.inversion_s += if inverted(plant) { super::STEP_S } else { 0.0 };
        for (r, rack) in plant.racks().iter().enumerate() {
            self.hottest_inlet_celsius = rack
                .cooling
                .air()
                .map(|r| r.inlet_celsius)
                .into_iter()
                .chain(self.hottest_inlet_celsius)
                .reduce(f64::max);
            self.shutdowns.extend(rack.gpus.iter().enumerate().filter(|(_, g)| g.overheated()).map(|(g, _)| (r, g)));
        }
    }
}

/// Whether somebody more important is held for somebody less important.
fn inverted(plant: &Plant) -> bool {
    let rank = |word: &str| BANDS.iter().position(|b| *b == word).unwrap_or(BANDS.len());
    let mut held = usize::MAX;
    let mut above = 0;
    for rack in plant.racks() {
        let rank = rank(rack.spec().workload.word());
        let gpus = || rack.gpus.iter().map(|g| &g.readout).filter(|r| !r.lost);
        if gpus().any(|r| r.limit_watts < r.demand_peak_watts * HELD) {
            held = held.min(rank);
        }
        if gpus().any(|r| r.power_watts.min(r.limit_watts) > FLOOR_WATTS + ABOVE_WATTS) {
            above = above.max(rank);
        }
    }
    held < above
}

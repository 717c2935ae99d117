//! A landmark is a day on which the record is stopped: what is known of each unit in place then
//! (features), and what became of it afterwards (outcome). Landmarking: van Houwelingen, "Dynamic
//! prediction by landmarking in event history analysis", 2007. Nothing in a feature is later than
//! its day.

use super::stays::History;
use std::collections::{BTreeMap, BTreeSet};

/// Failures younger than this count as recent, days.
pub const RECENT_DAYS: f64 = 365.0;
/// A number of a place with at most this many values gets one feature per value.
const LEVELS: usize = 8;
/// Failures expected and seen that are added to every ratio: with few, it stays near 1.
const PRIOR: f64 = 2.0;
/// Units made before and after that are asked for their failures.
const NEIGHBOURS: [usize; 3] = [30, 100, 500];

/// What features there are, fixed by the training part of the record.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Layout {
    /// Values of each number of a place, if there are few.
    levels: Vec<Option<Vec<u32>>>,
}

/// All units in place on one day.
#[derive(Debug, Clone, Default)]
pub struct Landmark {
    /// Index in [`History::units`].
    pub units: Vec<usize>,
    /// One row per unit, as wide as [`Layout::names`].
    pub features: Vec<Vec<f32>>,
    /// Days in service until it failed or was last seen.
    pub times: Vec<f64>,
    /// Whether it failed.
    pub failed: Vec<bool>,
    /// When it was first seen, days since 1970.
    pub first_seen: Vec<f64>,
}

impl Layout {
    /// From the places known at a day.
    pub fn at(history: &History, day: f64) -> Self {
        let known: BTreeSet<usize> = history.stays.iter().filter(|s| s.from <= day).map(|s| s.place).collect();
        let depth = history.places.first().map_or(0, Vec::len);
        let values = |k: usize| -> BTreeSet<u32> { known.iter().map(|p| history.places[*p][k]).collect() };
        let few = |values: BTreeSet<u32>| (values.len() <= LEVELS).then(|| values.into_iter().collect());
        Self { levels: (0..depth).map(|k| few(values(k))).collect() }
    }

    /// Names of the features; those that begin with `place` know nothing but where the unit is and
    /// what failed there.
    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<String> =
            ["age_years", "age_ln", "stay_years", "moves", "own_failures_ln"].map(str::to_owned).into();
        names.extend(NEIGHBOURS.map(|n| format!("serial_neighbours_{n}_failure_ratio_ln")));
        for (k, levels) in self.levels.iter().enumerate() {
            match levels {
                Some(levels) => names.extend(levels.iter().map(|v| format!("place_{k}_is_{v}"))),
                None => names.push(format!("place_{k}")),
            }
            names.push(format!("place_first_{}_failure_ratio_ln", k + 1));
            names.push(format!("place_{k}_failure_ratio_ln"));
        }
        names
    }

    /// The landmark at `day`; outcomes are what happened up to `until`.
    pub fn landmark(&self, history: &History, day: f64, until: f64) -> Landmark {
        let count = history.units.len();
        let past = history.failures.iter().filter(|f| f.at <= day);
        let recent = || history.failures.iter().filter(|f| f.at <= day && f.at > day - RECENT_DAYS);
        let (mut first, mut moves) = (vec![f64::INFINITY; count], vec![-1.0_f64; count]);
        let (mut served, mut total) = (vec![0.0; count], 0.0);
        for stay in history.stays.iter().filter(|s| s.from <= day) {
            first[stay.unit] = first[stay.unit].min(stay.from);
            moves[stay.unit] += 1.0;
            let days = recent_days(stay.from, stay.to, day);
            served[stay.unit] += days;
            total += days;
        }
        let mut own = vec![0.0_f64; count];
        past.for_each(|f| own[f.unit] += 1.0);
        let mut own_recent = vec![0.0; count];
        recent().for_each(|f| own_recent[f.unit] += 1.0);
        let rate = recent().count() as f64 / f64::max(total, 1.0);
        let ratio = |failures: f64, days: f64| ((failures + PRIOR) / (days * rate + PRIOR)).ln() as f32;
        let groups = self.groups(history, day);
        let (failures_sum, served_sum) = (running(&own_recent), running(&served));
        let mut landmark = Landmark::default();
        for stay in history.stays.iter().filter(|s| s.from <= day && s.to > day) {
            let (unit, place) = (stay.unit, &history.places[stay.place]);
            let age = day - first[unit];
            let mut row = vec![
                (age / 365.0) as f32,
                (1.0 + age / 30.0).ln() as f32,
                ((day - stay.from) / 365.0) as f32,
                moves[unit] as f32,
                own[unit].ln_1p() as f32,
            ];
            for n in NEIGHBOURS {
                let (low, high) = (unit.saturating_sub(n), (unit + n + 1).min(count));
                let failures = failures_sum[high] - failures_sum[low] - own_recent[unit];
                row.push(ratio(failures, served_sum[high] - served_sum[low] - served[unit]));
            }
            for (k, levels) in self.levels.iter().enumerate() {
                match levels {
                    Some(levels) => row.extend(levels.iter().map(|v| f32::from(u8::from(*v == place[k])))),
                    None => row.push(place[k] as f32),
                }
                for key in [(k, place[..=k].to_vec()), (self.levels.len() + k, vec![place[k]])] {
                    let (failures, days) = groups.get(&key).copied().unwrap_or_default();
                    row.push(ratio(failures, days));
                }
            }
            landmark.units.push(unit);
            landmark.features.push(row);
            landmark.first_seen.push(first[unit]);
        }
        landmark.outcomes(history, day, until);
        landmark
    }

    /// Recent failures and days in service by part of the hall: by the first numbers of the place
    /// (this column, this cabinet, ..) and by each number alone (this height in any cabinet, ..).
    fn groups(&self, history: &History, day: f64) -> BTreeMap<(usize, Vec<u32>), (f64, f64)> {
        let mut groups: BTreeMap<(usize, Vec<u32>), (f64, f64)> = BTreeMap::new();
        let depth = self.levels.len();
        let mut add = |place: usize, failures: f64, days: f64| {
            let place = &history.places[place];
            for k in 0..depth {
                for key in [(k, place[..=k].to_vec()), (depth + k, vec![place[k]])] {
                    let sum = groups.entry(key).or_default();
                    *sum = (sum.0 + failures, sum.1 + days);
                }
            }
        };
        for stay in history.stays.iter().filter(|s| s.from <= day && s.to > day - RECENT_DAYS) {
            add(stay.place, 0.0, recent_days(stay.from, stay.to, day));
        }
        let recent = history.failures.iter().filter(|f| f.at <= day && f.at > day - RECENT_DAYS);
        recent.for_each(|f| add(f.place, 1.0, 0.0));
        groups
    }
}

impl Landmark {
    /// How many failed.
    pub fn failures(&self) -> usize {
        self.failed.iter().filter(|failed| **failed).count()
    }

    /// Days in service, not on the shelf, from `day` to the first failure after it or to `until`.
    fn outcomes(&mut self, history: &History, day: f64, until: f64) {
        let mut next = vec![f64::INFINITY; history.units.len()];
        for failure in history.failures.iter().rev().filter(|f| f.at > day) {
            next[failure.unit] = failure.at;
        }
        let mut served = vec![0.0; history.units.len()];
        for stay in history.stays.iter().filter(|s| s.to > day) {
            let stop = stay.to.min(until).min(next[stay.unit]);
            served[stay.unit] += (stop - stay.from.max(day)).max(0.0);
        }
        self.times = self.units.iter().map(|u| served[*u]).collect();
        self.failed = self.units.iter().map(|u| next[*u] <= until).collect();
    }
}

/// Days of a stay within [`RECENT_DAYS`] before `day`.
fn recent_days(from: f64, to: f64, day: f64) -> f64 {
    (to.min(day) - from.max(day - RECENT_DAYS)).max(0.0)
}

/// Sums of the values before each index.
fn running(values: &[f64]) -> Vec<f64> {
    let mut sums = vec![0.0];
    for value in values {
        sums.push(sums[sums.len() - 1] + value);
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failures::stays::{Failure, Stay};

    fn history() -> History {
        let stay = |unit, place, from, to| Stay { unit, place, from, to };
        History {
            units: ["a", "b", "c"].map(str::to_owned).into(),
            places: vec![vec![0, 0], vec![0, 1], vec![1, 0]],
            stays: vec![
                stay(0, 0, 0.0, 100.0),
                stay(0, 1, 150.0, 400.0),
                stay(1, 2, 0.0, 300.0),
                stay(2, 1, 20.0, 90.0),
                stay(2, 0, 250.0, 400.0),
            ],
            failures: vec![Failure { unit: 2, place: 1, at: 90.0 }, Failure { unit: 1, place: 2, at: 300.0 }],
            end: 400.0,
            rows: 6,
        }
    }

    #[test]
    fn units_in_place_have_age_moves_failures_and_outcome() {
        let history = history();
        let layout = Layout::at(&history, 200.0);
        let at = layout.landmark(&history, 200.0, 400.0);
        assert_eq!(at.units, [0, 1]);
        let names = layout.names();
        let of = |unit: usize, name: &str| at.features[unit][names.iter().position(|n| n == name).unwrap()];
        assert_eq!((of(0, "age_years"), of(0, "stay_years")), ((200.0_f64 / 365.0) as f32, (50.0_f64 / 365.0) as f32));
        assert_eq!((of(0, "moves"), of(1, "moves")), (1.0, 0.0));
        assert_eq!((of(0, "place_0_is_0"), of(0, "place_1_is_1"), of(1, "place_0_is_0")), (1.0, 1.0, 0.0));
        // One failure in 0-1, where 120 of 420 days were served, against 1 in 420 overall.
        let expected = (3.0_f64 / (120.0 / 420.0 + 2.0)).ln() as f32;
        assert!((of(0, "place_first_2_failure_ratio_ln") - expected).abs() < 1e-6);
        assert_eq!((at.times.as_slice(), at.failed.as_slice()), (&[200.0, 100.0][..], &[false, true][..]));
    }

    #[test]
    fn a_unit_on_the_shelf_does_not_serve() {
        let history = history();
        let at = Layout::at(&history, 50.0).landmark(&history, 50.0, 200.0);
        assert_eq!(at.units, [0, 1, 2]);
        assert_eq!(at.times, [100.0, 150.0, 40.0]);
        assert_eq!(at.failed, [false, false, true]);
    }

    #[test]
    fn a_landmark_knows_nothing_of_later_days() {
        let (whole, mut cut) = (history(), history());
        cut.stays.retain(|s| s.from <= 200.0);
        cut.stays.iter_mut().for_each(|s| s.to = s.to.min(201.0));
        cut.failures.retain(|f| f.at <= 200.0);
        let features = |history: &History| Layout::at(history, 200.0).landmark(history, 200.0, 400.0).features;
        assert_eq!(features(&whole), features(&cut));
    }
}

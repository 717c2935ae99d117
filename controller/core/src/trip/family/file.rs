//! How a family is written in `protection/*.toml`.

use super::latest::{Latest, Sized, Unit};
use super::{Coil, Confidence, Family, Law, STEP};
use serde::Deserialize;

const FILES: &[&str] = &[
    include_str!("../../../protection/breakers.toml"),
    include_str!("../../../protection/electronic.toml"),
    include_str!("../../../protection/fuses.toml"),
    include_str!("../../../protection/ups.toml"),
];

/// Reads the shipped files.
pub(super) fn read_all() -> Vec<Family> {
    let read = |text: &&str| -> File { toml::from_str(text).expect("invariant: a test reads every shipped family") };
    let families = FILES.iter().map(read).flat_map(|file| file.family);
    families.map(|raw| raw.family().expect("invariant: a test makes a curve of every shipped family")).collect()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    family: Vec<Raw>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Word {
    Thermal,
    Electronic,
    Fuse,
    Table,
}

/// All keys of all laws; which ones a family must have is decided by its law.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    name: String,
    law: Word,
    words: String,
    source: String,
    confidence: Confidence,
    unverified: Option<String>,
    holds: Option<f64>,
    thermal: Option<Vec<(f64, f64)>>,
    fast: Option<Vec<(f64, f64)>>,
    ii: Option<[f64; 3]>,
    long: Option<Vec<(f64, f64)>>,
    pickup: Option<f64>,
    delay: Option<f64>,
    instantaneous_s: Option<f64>,
    gates: Option<Vec<[f64; 4]>>,
    points: Option<Vec<(f64, f64)>>,
    bands: Option<Vec<(f64, f64)>>,
    cools_s: Option<f64>,
    hotter: Option<String>,
    hotter_from_celsius: Option<f64>,
    #[serde(default)]
    maximum: Vec<(f64, f64)>,
    #[serde(default)]
    sized: Vec<Sized>,
    ii_latest: Option<(f64, f64)>,
    latest: Option<Unit>,
    no_latest: Option<String>,
    reference_celsius: Option<f64>,
    #[serde(default)]
    ambient: Vec<(f64, f64)>,
    ambient_source: Option<String>,
}

impl Raw {
    fn family(self) -> Option<Family> {
        let law = match self.law {
            Word::Thermal => Law::Thermal {
                holds: self.holds?,
                thermal: self.thermal?,
                fast: self.fast?,
                coil: self.ii.map(|[low, high, pickup]| Coil { pickup, low, high }),
            },
            Word::Electronic => Law::Electronic {
                holds: self.holds?,
                long: self.long?,
                pickup: self.pickup?,
                delay: self.delay?,
                instantaneous_s: self.instantaneous_s?,
            },
            Word::Fuse => Law::Fuse { holds: self.holds?, gates: self.gates? },
            Word::Table => Law::Table {
                points: self.points.or_else(|| Some(steps(&self.bands?)))?,
                cools_s: self.cools_s?,
                hotter: self.hotter_from_celsius.zip(self.hotter),
            },
        };
        Some(Family {
            name: self.name,
            words: self.words,
            source: self.source,
            confidence: self.confidence,
            unverified: self.unverified,
            reference_celsius: self.reference_celsius,
            ambient_source: self.ambient_source,
            latest: Latest {
                maximum: self.maximum,
                sized: self.sized,
                coil: self.ii_latest,
                unit: self.latest,
                none: self.no_latest,
            },
            ambient: self.ambient,
            law,
        })
    }
}

/// A band becomes two points: its time holds up to where the next band begins.
pub(in crate::trip) fn steps(bands: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let mut points = Vec::with_capacity(2 * bands.len());
    for (i, (from, seconds)) in bands.iter().enumerate() {
        points.push((if i == 0 { *from } else { from + STEP }, *seconds));
        points.extend(bands.get(i + 1).map(|(next, _)| (*next, *seconds)));
    }
    points
}

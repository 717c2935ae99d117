//! From files to parts: windows by part, and what is fitted on the training part before the first
//! step of learning.

use crate::data::{self, DataError, Series};
use crate::options::{Places, Recipe, Usage};
use crate::reference::References;
use crate::run_folder::Prepared;
use crate::scale::Scale;
use crate::split::{self, Part};
use crate::windows::{Take, Windows};
use anyhow::Result;
use headroom_predict::{Data, file_hash};
use headroom_rack::Watts;
use std::collections::BTreeSet;

/// Windows by part.
#[derive(Debug, Default)]
pub struct Parts {
    /// Weights are fitted on it.
    pub train: Windows,
    /// Decides when to stop.
    pub validation: Windows,
    /// Later than the training, same racks.
    pub test_time: Windows,
    /// Racks the training never saw.
    pub test_rack: Windows,
}

pub(super) fn prepare(recipe: &Recipe, places: &Places) -> Result<(Parts, Prepared)> {
    let all = data::load(&places.csv, places.record.as_deref(), &recipe.nameplates)?;
    if all.is_empty() {
        return Err(Usage("no data: give --csv FILE or --record DIR".to_owned()).into());
    }
    let held_out = split::held_out(&all, &recipe.hold_out_racks);
    let parts = parts(&all, &held_out, recipe);
    for (name, part) in [("training", &parts.train), ("validation", &parts.validation), ("test", &parts.test_time)] {
        if part.is_empty() {
            let seconds = all.iter().map(|s| s.samples.len()).max().unwrap_or(0);
            return Err(Usage(format!(
                "the {name} part has no windows: the longest series has {seconds} s, and 15 % of one must hold 90 s \
                 with known power at the horizons; give longer series"
            ))
            .into());
        }
    }
    tracing::info!(
        series = all.len(),
        train = parts.train.len(),
        validation = parts.validation.len(),
        test_time = parts.test_time.len(),
        test_rack = parts.test_rack.len(),
        held_out = ?held_out,
        "windows"
    );
    let scale = Scale::fit(&parts.train);
    let references = References::fit(&parts.train, &scale);
    let data = describe(&all, recipe, parts.train.len())?;
    let fingerprint = fingerprint(&parts.train);
    Ok((parts, Prepared { fingerprint, scale, references, data }))
}

fn parts(all: &[Series], held_out: &BTreeSet<String>, recipe: &Recipe) -> Parts {
    let mut parts = Parts::default();
    for series in all {
        for (part, range) in split::ranges(series, held_out) {
            let intact = Take { stride: recipe.stride, damage: None, reactive: true };
            let (windows, take) = match part {
                Part::Train => {
                    let damage = Some((recipe.seed, "damage"));
                    (&mut parts.train, Take { damage, reactive: false, ..intact })
                }
                Part::Validation => (&mut parts.validation, Take { reactive: false, ..intact }),
                Part::TestTime => (&mut parts.test_time, intact),
                Part::TestRack => (&mut parts.test_rack, intact),
            };
            windows.add(series, range, take);
        }
    }
    parts
}

fn describe(all: &[Series], recipe: &Recipe, windows: usize) -> Result<Data, DataError> {
    let power = || all.iter().flat_map(|s| &s.samples).filter_map(|s| s.power.map(Watts::get));
    let nameplate = || all.iter().map(|s| s.nameplate.get());
    let range = |values: &mut dyn Iterator<Item = f64>| {
        values.fold([f64::MAX, f64::MIN], |[low, high], v| [low.min(v), high.max(v)])
    };
    Ok(Data {
        description: recipe.description.clone(),
        licence: recipe.licence.clone(),
        racks: all.iter().map(|s| (&s.source, &s.rack)).collect::<BTreeSet<_>>().len(),
        seconds: all.iter().map(|s| s.samples.len() as u64).sum(),
        windows,
        power_watts: range(&mut power()),
        nameplate_watts: range(&mut nameplate()),
    })
}

fn fingerprint(train: &Windows) -> String {
    let bytes: Vec<u8> = train.features.iter().chain(&train.targets).flat_map(|v| v.to_le_bytes()).collect();
    file_hash(&bytes)
}

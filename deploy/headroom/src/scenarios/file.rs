//! Scenario files: the simulator's scenario with three more keys: `seconds`, `[[event]]` for what
//! happens to the software, `[outcome]` for how it must end. Or `[random]`, a random case by its seed.

use super::{Judged, random};
use crate::harness::{Case, Event, INLET_LIMIT_CELSIUS};
use anyhow::{Context, bail};
use headroom_sim::scenario::Scenario;
use std::path::Path;

/// So long somebody may wait behind a lower band in all: limits are raised slowly, a ramp takes its time.
const INVERSION_S: f64 = 15.0;

/// A file.
pub struct File {
    /// Its name.
    pub name: String,
    /// What it plays.
    pub case: Case,
    /// How it must end.
    pub outcome: Expected,
}

/// How a case must end.
#[derive(Debug, Clone, Default, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Expected {
    /// What must trip because nothing could avoid it, such as `ups-a`; nothing else may.
    pub unavoidable_trips: Vec<String>,
    /// GPUs that must shut down because nothing could avoid it.
    pub unavoidable_shutdowns: usize,
    /// Nobody more important waits behind somebody less important for longer than a ramp takes.
    pub priorities_kept: bool,
    /// The automation must stop itself and call a person; without this it must not.
    pub automation_stops: bool,
}

impl Expected {
    /// Where a judged run differs.
    pub fn differences(&self, judged: &Judged) -> Vec<String> {
        let (outcome, mut wrong) = (&judged.outcome, Vec::new());
        let trips: Vec<String> = outcome.trips.iter().cloned().collect();
        if trips != self.unavoidable_trips {
            wrong.push(format!("tripped {trips:?}, expected {:?}", self.unavoidable_trips));
        }
        if outcome.shutdowns.len() != self.unavoidable_shutdowns {
            wrong.push(format!("{} GPUs shut down, expected {}", outcome.shutdowns.len(), self.unavoidable_shutdowns));
        }
        for (what, count) in [
            ("avoidable trips", judged.avoidable_trips),
            ("avoidable shutdowns", judged.avoidable_shutdowns),
            ("limits under the floor", outcome.floor_violations),
        ] {
            if count > 0 {
                wrong.push(format!("{count} {what}"));
            }
        }
        if outcome.target_missed_s > 1.0 {
            wrong.push(format!("the target was missed for {:.1} s", outcome.target_missed_s));
        }
        if outcome.overshoot_s > 1.0 {
            wrong.push(format!(
                "after the target's release more flowed than before it for {:.1} s",
                outcome.overshoot_s
            ));
        }
        if let Some(hottest) = outcome.hottest_inlet_celsius.filter(|c| *c > INLET_LIMIT_CELSIUS) {
            wrong.push(format!("an inlet reached {hottest:.1} degrees, expected at most {INLET_LIMIT_CELSIUS}"));
        }
        if outcome.stopped != self.automation_stops {
            let did = if outcome.stopped { "stopped itself" } else { "did not stop itself" };
            wrong.push(format!("the automation {did}"));
        }
        if self.priorities_kept && outcome.inversion_s > INVERSION_S {
            wrong.push(format!("somebody waited {:.1} s behind a lower band", outcome.inversion_s));
        }
        wrong
    }
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Seed {
    seed: u64,
    keep: Vec<usize>,
}

/// Reads every `*.toml` of a folder, in the order of their names.
///
/// # Errors
/// The first file that is wrong, and how.
pub fn load_all(dir: &Path) -> anyhow::Result<Vec<File>> {
    let entries = std::fs::read_dir(dir).with_context(|| format!("{}: cannot be read", dir.display()))?;
    let mut paths: Vec<_> = entries.filter_map(|e| Some(e.ok()?.path())).collect();
    paths.retain(|p| p.extension().is_some_and(|e| e == "toml"));
    paths.sort();
    if paths.is_empty() {
        bail!("{}: holds no *.toml", dir.display());
    }
    paths.iter().map(|p| load(p).with_context(|| format!("{}", p.display()))).collect()
}

fn load(path: &Path) -> anyhow::Result<File> {
    let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let mut table: toml::Table = std::fs::read_to_string(path)?.parse()?;
    let mut take = |key: &str| table.remove(key);
    let what = take("what").and_then(|w| w.as_str().map(str::to_owned));
    if what.is_none_or(|w| w.is_empty()) {
        bail!("what: say in one sentence what happens and what must not");
    }
    let outcome = take("outcome").map_or_else(|| Ok(Expected::default()), toml::Value::try_into).context("outcome")?;
    let events: Vec<Event> = take("event").map_or_else(|| Ok(Vec::new()), toml::Value::try_into).context("event")?;
    let seconds = take("seconds").and_then(|s| s.as_integer());
    if let Some(seed) = take("random") {
        let Seed { seed, keep } = seed.try_into().context("random")?;
        return Ok(File { name, case: random::case(seed, Some(&keep)), outcome });
    }
    let Some(seconds) = seconds.filter(|s| (1..=7200).contains(s)) else {
        bail!("seconds: write how long to play, a whole number from 1 to 7200");
    };
    let scenario = if table.contains_key("rack") {
        Scenario::parse(&name, &toml::to_string(&table)?)?
    } else {
        // The row of the demonstration, with the faults of this file.
        let mut row: toml::Table = headroom_sim::scenario::DEFAULT.parse()?;
        row.extend(table);
        Scenario::parse(&name, &toml::to_string(&row)?)?
    };
    for event in &events {
        if event.is_about_rack() && event.value as usize >= scenario.plant.racks.len() {
            bail!("event at {} s: value: there are {} racks, counted from 0", event.at_s, scenario.plant.racks.len());
        }
        let feeds = scenario.plant.feed_count();
        if event.is_about_feed() && event.value as usize >= feeds {
            bail!("event at {} s: value: there are {feeds} feeds, counted from 0", event.at_s);
        }
        if event.until_s.is_some_and(|until| until <= event.at_s) {
            bail!("event at {} s: until_s must be later", event.at_s);
        }
    }
    Ok(File {
        name,
        case: Case { plant: scenario.plant, faults: scenario.faults, events, seconds: seconds as f64 },
        outcome,
    })
}

//! Scenario files: TOML, strict, every mistake reported at once with its line.

mod document;

use crate::fault::{Fault, KINDS, Kind};
use crate::firmware::device::{METERS, UPSS};
use crate::firmware::{Device, Fitting};
use crate::plant::FEEDS;
use crate::plant::spec::*;
pub use document::Mistake;
use document::{Mistakes, Section};
use headroom_rack::id::RackId;
use std::collections::BTreeSet;
use std::path::Path;
use toml::de::DeTable;

/// The scenario that runs when none is named.
pub const DEFAULT: &str = include_str!("scenario/default.toml");

/// A fault with its time.
#[derive(Debug, Clone, PartialEq)]
pub struct ScheduledFault {
    /// Seconds since the start.
    pub at_s: f64,
    /// What happens.
    pub fault: Fault,
}

/// A plant and what goes wrong with it.
#[derive(Debug, Clone, PartialEq)]
pub struct Scenario {
    /// The plant.
    pub plant: PlantSpec,
    /// Which makes of devices stand in it.
    pub fitting: Fitting,
    /// Faults in the order of their times.
    pub faults: Vec<ScheduledFault>,
}

/// Why a scenario cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ScenarioError {
    /// The file cannot be read.
    #[error("scenario {file}: cannot be read")]
    Read {
        /// The file.
        file: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file has mistakes, all of them listed.
    #[error("scenario {file} has {} mistake(s):{}", mistakes.len(), list(file, mistakes))]
    Mistakes {
        /// The file.
        file: String,
        /// Every mistake.
        mistakes: Vec<Mistake>,
    },
}

fn list(file: &str, mistakes: &[Mistake]) -> String {
    mistakes.iter().map(|m| format!("\n  {file}:{}: {}", m.line, m.text)).collect()
}

impl Scenario {
    /// Reads a file, or the embedded scenario when there is none.
    ///
    /// # Errors
    /// [`ScenarioError`] when the file cannot be read or has mistakes.
    pub fn load(file: Option<&Path>) -> Result<Self, ScenarioError> {
        let Some(path) = file else { return Self::parse("(embedded)", DEFAULT) };
        let file = path.display().to_string();
        let text =
            std::fs::read_to_string(path).map_err(|source| ScenarioError::Read { file: file.clone(), source })?;
        Self::parse(&file, &text)
    }

    /// Reads a text; `file` is its name in messages.
    ///
    /// # Errors
    /// [`ScenarioError::Mistakes`] with every mistake in it.
    pub fn parse(file: &str, text: &str) -> Result<Self, ScenarioError> {
        let mistakes = Mistakes::new(text);
        let (document, errors) = DeTable::parse_recoverable(text);
        for error in errors {
            mistakes.note(&error.span().unwrap_or(0..0), format!("not TOML: {}", error.message()));
        }
        let mut root = Section::new("scenario", 0..0, document.get_ref(), &mistakes);
        let scenario = read(&mut root);
        root.finish();
        let mistakes = mistakes.finish();
        if mistakes.is_empty() {
            Ok(scenario)
        } else {
            Err(ScenarioError::Mistakes { file: file.to_owned(), mistakes })
        }
    }
}

fn read(root: &mut Section<'_, '_>) -> Scenario {
    let site = root.text("site", Some("demo"));
    if RackId::new(site.as_str()).is_err() {
        root.mistake("site", format!("site = {site:?} is not a name; use a-z, 0-9, '-', '_' and '.'"));
    }
    let seed = root.number("seed", (0.0, 9e15), Some(1.0)) as u64;
    let (mut volts, mut frequency_hz, mut power_factor, mut pdu_loss_ratio) = (240.0, 50.0, 0.99, 0.02);
    root.section("electrical", |s| {
        volts = s.number("volts", (100.0, 300.0), Some(240.0));
        frequency_hz = s.number("frequency_hz", (45.0, 65.0), Some(50.0));
        power_factor = s.number("power_factor", (0.5, 1.0), Some(0.99));
        pdu_loss_ratio = s.number("pdu_loss_ratio", (0.0, 0.3), Some(0.02));
    });
    let mut breaker =
        BreakerSpec { rating_amperes: 16.0, bimetal_s: 26.5, instantaneous_ratio: 5.0, ambient_celsius: 30.0 };
    root.section("breaker", |s| {
        breaker = BreakerSpec {
            rating_amperes: s.number("rating_amperes", (1.0, 1000.0), Some(16.0)),
            bimetal_s: s.number("bimetal_s", (5.0, 3600.0), Some(26.5)),
            instantaneous_ratio: s.number("instantaneous_ratio", (3.0, 20.0), Some(5.0)),
            ambient_celsius: s.number("ambient_celsius", (-25.0, 70.0), Some(30.0)),
        };
    });
    let mut ups = UpsSpec { rating_watts: 30_000.0, battery_minutes: 6.0, battery_health_ratio: 1.0 };
    root.section("ups", |s| {
        ups = UpsSpec {
            rating_watts: s.number("rating_watts", (500.0, 655_350.0), Some(30_000.0)),
            battery_minutes: s.number("battery_minutes", (0.5, 600.0), Some(6.0)),
            battery_health_ratio: s.number("battery_health_ratio", (0.05, 1.0), Some(1.0)),
        };
    });
    root.section("gpu", |s| {
        s.word("model", &["h100"], Some("h100"));
    });
    let mut fitting = Fitting::default();
    root.section("devices", |s| {
        let mut make = |key, makes: &[Device], usual: Device| {
            let words: Vec<&str> = makes.iter().map(|d| d.profile()).collect();
            makes[s.word(key, &words, Some(usual.profile()))]
        };
        fitting = Fitting { meter: make("meter", METERS, fitting.meter), ups: make("ups", UPSS, fitting.ups) };
    });
    let mut racks = Vec::new();
    let mut names = BTreeSet::new();
    root.sections("rack", |s| {
        let rack = read_rack(s);
        if !names.insert(rack.id.clone()) {
            s.mistake("id", format!("id = {:?} is already taken by a rack above", rack.id));
        }
        racks.push(rack);
    });
    if racks.is_empty() {
        root.mistake("rack", "there is no rack; add at least one [[rack]]");
    }
    let mut faults = Vec::new();
    root.sections("fault", |s| {
        let at_s = s.number("at_s", (0.0, 1e7), None);
        let words: Vec<&str> = KINDS.iter().map(|(word, _, _)| *word).collect();
        let kind = KINDS[s.word("kind", &words, None)].1;
        let target = s.text("target", None);
        let value = s.optional_number("value", (-1e9, 1e9));
        match Fault::new(kind, &target, value, &racks) {
            Ok(fault) => faults.push(ScheduledFault { at_s, fault }),
            Err(_) if target.is_empty() => {}
            Err(error) => s.mistake(if error.is_about_value() { "value" } else { "target" }, error),
        }
    });
    faults.sort_by(|a, b| a.at_s.total_cmp(&b.at_s));
    let gpu = GpuSpec::h100();
    let branches = Vec::new();
    let plant =
        PlantSpec { site, seed, volts, frequency_hz, power_factor, gpu, pdu_loss_ratio, breaker, ups, branches, racks };
    Scenario { plant, fitting, faults }
}

fn read_rack(s: &mut Section<'_, '_>) -> RackSpec {
    let id = s.text("id", None);
    if !id.is_empty() && RackId::new(id.as_str()).is_err() {
        s.mistake("id", format!("id = {id:?} is not a name; use a-z, 0-9, '-', '_' and '.'"));
    }
    let gpus = s.number("gpus", (1.0, 72.0), Some(8.0));
    if gpus.fract() != 0.0 {
        s.mistake("gpus", format!("gpus = {gpus} must be a whole number"));
    }
    let overhead_watts = s.number("overhead_watts", (0.0, 20_000.0), Some(1700.0));
    let cooling_watts = s.number("cooling_watts", (0.0, 5_000.0), Some(250.0));
    let cooling_feed = s.word("cooling_feed", &FEEDS, Some("a"));
    let medium = [Medium::Liquid, Medium::Air][s.word("cooling", &["liquid", "air"], Some("liquid"))];
    let workload = match s.word("workload", &["training", "inference", "batch", "idle"], None) {
        0 => WorkloadSpec::Training(TrainingSpec::typical()),
        1 => WorkloadSpec::Inference(InferenceSpec::typical()),
        2 => WorkloadSpec::Batch(BatchSpec::typical()),
        _ => WorkloadSpec::Idle,
    };
    let points = s.pairs("level");
    if points.windows(2).any(|w| w[1].0 <= w[0].0) {
        s.mistake("level", "level: the seconds must ascend from point to point");
    }
    if points.iter().any(|p| !(0.0..=1.0).contains(&p.1) || p.0 < 0.0) {
        s.mistake("level", "level: seconds must not be negative and levels must lie from 0 to 1");
    }
    let repeat_from_s = s.optional_number("repeat_from_s", (0.0, 1e7));
    let end = points.last().map_or(0.0, |p| p.0);
    if let Some(from) = repeat_from_s.filter(|from| !points.is_empty() && *from >= end) {
        s.mistake("repeat_from_s", format!("repeat_from_s = {from} must lie before the last point at {end} s"));
    }
    let envelope = EnvelopeSpec { points, repeat_from_s };
    let cords = match s.word("feeds", &["both", "a", "b"], Some("both")) {
        0 => (0..FEEDS.len()).collect(),
        only => vec![only - 1],
    };
    let standby = s.word("standby", &["none", "a", "b"], Some("none")).checked_sub(1);
    if standby.is_some_and(|standby| cords.contains(&standby)) {
        s.mistake("standby", "standby: a transfer switch goes over to the feed that the rack does not hang on");
    }
    let phase = s.word("phase", &["all", "l1", "l2", "l3"], Some("all")).checked_sub(1);
    let gpus = gpus as usize;
    RackSpec {
        id,
        gpus,
        overhead_watts,
        cooling_watts,
        cords,
        standby,
        phase,
        cooling_feed,
        medium,
        workload,
        envelope,
    }
}

/// What `value` means for a kind, for `--help`.
pub fn fault_help() -> String {
    let line = |(word, kind, help): &(&str, Kind, &str)| {
        let _ = kind;
        format!("  {word:<18} {help}\n")
    };
    KINDS.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_embedded_scenario_is_the_row_it_says() {
        let scenario = Scenario::parse("default", DEFAULT).expect("valid");
        assert_eq!(scenario.plant.racks.len(), 4);
        assert_eq!(scenario.plant.racks.iter().map(|r| r.gpus).sum::<usize>(), 32);
        assert_eq!(scenario.plant.breaker.rating_amperes, 16.0);
        assert!(scenario.faults.is_empty());
        assert_eq!(scenario.fitting, Fitting::default());
    }

    #[test]
    fn other_makes_can_stand_in_the_row_and_a_wrong_one_is_told_which() {
        let devices = |meter: &str, ups: &str| {
            let text = DEFAULT.replace("meter = \"eastron-sdm630\"", &format!("meter = \"{meter}\""));
            Scenario::parse("row.toml", &text.replace("ups = \"delta-dph\"", &format!("ups = \"{ups}\"")))
        };
        let scenario = devices("sunspec-203", "socomec-jbus").expect("valid");
        assert_eq!(scenario.fitting, Fitting { meter: Device::SunSpec203, ups: Device::SocomecJbus });
        let Err(error) = devices("sunspec-203", "eastron-sdm630") else { panic!("a meter is no UPS") };
        assert!(error.to_string().contains("delta-dph, huawei-ups2000, socomec-jbus"), "{error}");
    }

    #[test]
    fn every_mistake_is_reported_at_once_with_its_line_and_a_remedy() {
        let text = "site = \"demo\"\nseeed = 2\n[electrical]\nvolts = 2400\n[ups]\nrating_watts = \"much\"\n\
            [[rack]]\nid = \"r 1\"\nworkload = \"mining\"\nlevel = [[0, 0.1], [0, 2.0]]\n[[fault]]\nat_s = 3\n\
            kind = \"xid\"\ntarget = \"rack-9/gpu-0\"\n";
        let Err(ScenarioError::Mistakes { mistakes, .. }) = Scenario::parse("bad.toml", text) else {
            panic!("was accepted")
        };
        let lines: Vec<usize> = mistakes.iter().map(|m| m.line).collect();
        assert_eq!(lines, [2, 4, 6, 8, 9, 10, 10, 14], "{mistakes:#?}");
        assert!(mistakes[1].text.contains("from 100 to 300"), "{}", mistakes[1].text);
        assert!(mistakes[4].text.contains("training, inference, batch, idle"));
    }

    #[test]
    fn a_rack_may_be_cooled_by_air_and_then_nothing_leaks() {
        let rack = "[[rack]]\nid = \"r1\"\nworkload = \"idle\"\nlevel = [[0, 0]]\ncooling = ";
        let fault = "[[fault]]\nat_s = 3\nkind = \"leak\"\ntarget = \"r1/cooling\"\n";
        let air = Scenario::parse("air.toml", &format!("{rack}\"air\"\n")).expect("valid");
        assert_eq!(air.plant.racks[0].medium, Medium::Air);
        for (medium, line, said) in [("air", 9, "pump_stopped, pump_worn"), ("steam", 5, "liquid, air")] {
            let Err(ScenarioError::Mistakes { mistakes, .. }) =
                Scenario::parse("air.toml", &format!("{rack}\"{medium}\"\n{fault}"))
            else {
                panic!("was accepted")
            };
            assert_eq!(mistakes.iter().map(|m| m.line).collect::<Vec<_>>(), [line], "{mistakes:?}");
            assert!(mistakes[0].text.contains(said), "{mistakes:?}");
        }
    }

    #[test]
    fn a_rack_may_hang_on_one_feed_and_phase_and_go_over_to_the_other_feed() {
        let rack = "[[rack]]\nid = \"r1\"\nworkload = \"idle\"\nlevel = [[0, 0]]\nphase = \"l2\"\n";
        let one = Scenario::parse("one.toml", &format!("{rack}feeds = \"a\"\nstandby = \"b\"\n")).expect("valid");
        let rack_of = &one.plant.racks[0];
        assert_eq!((&rack_of.cords[..], rack_of.standby, rack_of.phase), (&[0][..], Some(1), Some(1)));
        let Err(ScenarioError::Mistakes { mistakes, .. }) =
            Scenario::parse("two.toml", &format!("{rack}standby = \"b\"\n"))
        else {
            panic!("was accepted")
        };
        assert_eq!(mistakes.iter().map(|m| m.line).collect::<Vec<_>>(), [6], "{mistakes:?}");
    }

    #[test]
    fn a_file_that_is_not_toml_names_the_line() {
        let Err(ScenarioError::Mistakes { mistakes, .. }) = Scenario::parse("bad.toml", "site = \"demo\"\n[[rack\n")
        else {
            panic!("was accepted")
        };
        assert_eq!(mistakes[0].line, 2, "{mistakes:?}");
    }
}

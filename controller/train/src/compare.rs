//! `compare`: models side by side on the newest part of the data, run as the controller runs them
//! (tract, widened outside their range, no say where too little is known), beside the baseline, and
//! whether the first may take the place of the second. All are scored on the same windows.

use crate::data::{self, Nameplates, Series};
use crate::options::Usage;
use crate::split::{TRAIN_SHARE, VALIDATION_SHARE};
use anyhow::{Context, Result, ensure};
use clap::Args;
use headroom_predict::scorer::pinball;
use headroom_predict::{
    HORIZONS_S, History, Predictor, QUANTILES, Standing, Values, WINDOW_S, baseline, store, verdict,
};
use headroom_rack::{Tally, UnixMs, Watts};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// The word for the model inside the programs.
const SHIPPED: &str = "shipped";
/// Histories answered together.
const TOGETHER: usize = 256;

/// Where the data of a comparison comes from.
#[derive(Debug, Clone, Args)]
pub struct Data {
    /// Traces: time_s,rack,power_watts,limit_watts,utilization_ratio at 1 Hz.
    #[arg(long, value_name = "FILE", num_args = 1..)]
    pub csv: Vec<PathBuf>,
    /// The controller's record directory (*.hrec).
    #[arg(long, value_name = "DIR")]
    pub record: Option<PathBuf>,
    /// What a rack draws at most: WATTS for all, RACK=WATTS for one.
    #[arg(long, value_name = "[RACK=]WATTS", num_args = 1.., default_value = "7300")]
    pub nameplate_watts: Vec<String>,
    /// How much of each series, from its end, counts as newest; the default is the part that `fit`
    /// neither trains on nor validates with.
    #[arg(long, value_name = "SHARE", default_value_t = 1.0 - TRAIN_SHARE - VALIDATION_SHARE)]
    pub newest: f64,
    /// Seconds between windows.
    #[arg(long, default_value_t = 5)]
    pub stride: usize,
}

/// Options of `compare`.
#[derive(Debug, Args)]
pub struct Compare {
    /// Model folders, run folders or stores, or `shipped`: the challenger first, then the champion.
    #[arg(long, value_name = "DIR", num_args = 1.., required = true)]
    pub models: Vec<String>,
    /// The data.
    #[command(flatten)]
    pub data: Data,
}

/// One method at one horizon.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    /// Seconds ahead.
    pub horizon_s: u32,
    /// Mean pinball loss, W.
    pub pinball_watts: f64,
    /// Mean absolute error of the median, W.
    pub mae_watts: f64,
    /// Share of the outcomes at or below each quantile.
    pub coverage: Vec<f64>,
}

/// One method.
#[derive(Debug, Clone, Serialize)]
pub struct Scored {
    /// The model's id, or `baseline`.
    pub name: String,
    /// As given on the command line; none for the baseline.
    pub model: Option<String>,
    /// Over all horizons.
    pub all: Standing,
    /// By horizon.
    pub horizons: Vec<Row>,
}

/// What came out; the last line on stdout.
#[derive(Debug, Clone, Serialize)]
pub struct Comparison {
    /// Windows that every method had a say in.
    pub windows: usize,
    /// Windows left out because a model had no say.
    pub left_out: usize,
    /// Probabilities of the coverage.
    pub quantiles: Vec<f64>,
    /// The models as given, then the baseline.
    pub methods: Vec<Scored>,
    /// Whether the first may take the place of the second.
    pub better: bool,
    /// Why not.
    pub against: Option<String>,
}

/// A model by its folder or by the word `shipped`.
///
/// # Errors
/// It is refused.
pub fn model(given: &str) -> Result<Predictor> {
    if given == SHIPPED {
        return Predictor::embedded().context("the shipped model is refused");
    }
    store::load(Path::new(given)).with_context(|| format!("the model {given:?} cannot be used"))
}

/// Runs the command: prints a table and, last, one line of JSON.
///
/// # Errors
/// A model or the data cannot be used.
pub fn run(options: &Compare) -> Result<()> {
    let models = options.models.iter().map(|given| model(given)).collect::<Result<Vec<_>>>()?;
    let named: Vec<(&str, &Predictor)> = options.models.iter().map(String::as_str).zip(&models).collect();
    let comparison = compare(&named, &options.data)?;
    print!("{}", table(&comparison));
    println!("{}", serde_json::to_string(&comparison)?);
    Ok(())
}

/// Scores the models on the newest part of the data.
///
/// # Errors
/// The data cannot be used or has no window.
pub fn compare(models: &[(&str, &Predictor)], data: &Data) -> Result<Comparison> {
    let mut wrong = Vec::new();
    if data.csv.is_empty() && data.record.is_none() {
        wrong.push("no data: give --csv FILE or --record DIR");
    }
    if !(data.newest > 0.0 && data.newest <= 1.0) {
        wrong.push("--newest must be above 0 and at most 1");
    }
    if data.stride == 0 {
        wrong.push("--stride must be at least 1 s");
    }
    let nameplates =
        Nameplates::parse(&data.nameplate_watts).map_err(|why| Usage(format!("--nameplate-watts: {why}")))?;
    if !wrong.is_empty() {
        return Err(Usage(wrong.join("; ")).into());
    }
    let all = data::load(&data.csv, data.record.as_deref(), &nameplates)?;
    let mut tallies = vec![
        vec![Tally { covered: vec![0.0; QUANTILES.len()], ..Tally::default() }; HORIZONS_S.len()];
        models.len() + 1
    ];
    let (mut windows, mut left_out) = (0, 0);
    let cases: Vec<Case> = all.iter().flat_map(|series| cases(series, data.newest, data.stride)).collect();
    for cases in cases.chunks(TOGETHER) {
        let histories: Vec<&History> = cases.iter().map(|c| &c.history).collect();
        let mut answers: Vec<_> = models.iter().map(|(_, model)| model.values(&histories).into_iter()).collect();
        for case in cases {
            let said = answers.iter_mut().map(|a| Some(a.next()?.ok()?.0)).collect::<Option<Vec<_>>>();
            let Some(mut said) = said else {
                left_out += 1;
                continue;
            };
            windows += 1;
            said.push(baseline::values(&case.history));
            for (tallies, values) in tallies.iter_mut().zip(&said) {
                count(tallies, values, &case.outcomes);
            }
        }
    }
    ensure!(
        windows > 0,
        Usage(format!(
            "the newest part has no window that every model has a say in ({left_out} left out): a minute of known power and its outcomes are needed"
        ))
    );
    let names =
        models.iter().map(|(given, m)| (m.id(), Some((*given).to_owned()))).chain([("baseline".to_owned(), None)]);
    let methods: Vec<Scored> = names.zip(&tallies).map(|((name, model), t)| scored(name, model, t)).collect();
    let champion = (models.len() > 1).then(|| &methods[1].all);
    let judged = verdict::beats(&methods[0].all, champion, &methods[models.len()].all);
    Ok(Comparison {
        windows,
        left_out,
        quantiles: QUANTILES.to_vec(),
        better: judged.is_ok(),
        against: judged.err(),
        methods,
    })
}

struct Case {
    history: History,
    outcomes: Vec<Option<Watts>>,
}

/// Histories that end in the newest part of a series, with what came of them.
fn cases(series: &Series, newest: f64, stride: usize) -> Vec<Case> {
    let n = series.samples.len();
    let first = n - (n as f64 * newest).round() as usize;
    let furthest = HORIZONS_S[HORIZONS_S.len() - 1] as usize;
    let ends = (first + WINDOW_S.min(n)).max(WINDOW_S)..(n + 1).saturating_sub(furthest);
    let case = |end: usize| {
        let mut history = History::new(series.nameplate);
        for (second, sample) in series.samples[end - WINDOW_S..end].iter().enumerate() {
            history.push(UnixMs::new(second as u64 * 1000), *sample);
        }
        let outcomes: Vec<_> = HORIZONS_S.iter().map(|h| series.samples[end + *h as usize - 1].power).collect();
        Case { history, outcomes }
    };
    ends.step_by(stride).map(case).filter(|c| c.outcomes.iter().all(Option::is_some)).collect()
}

fn count(tallies: &mut [Tally], values: &Values, outcomes: &[Option<Watts>]) {
    for ((tally, row), outcome) in tallies.iter_mut().zip(values).zip(outcomes) {
        let Some(outcome) = outcome.map(Watts::get) else { continue };
        tally.outcomes += 1.0;
        tally.absolute_watts += (outcome - row[0].get()).abs();
        let losses = QUANTILES.iter().zip(row).map(|(q, v)| pinball(*q, outcome, v.get()));
        tally.pinball_watts += losses.sum::<f64>() / QUANTILES.len() as f64;
        for (covered, value) in tally.covered.iter_mut().zip(row) {
            *covered += f64::from(u8::from(outcome <= value.get()));
        }
    }
}

fn scored(name: String, model: Option<String>, tallies: &[Tally]) -> Scored {
    let row = |(horizon_s, t): (&u32, &Tally)| Row {
        horizon_s: *horizon_s,
        pinball_watts: t.mean_pinball_watts().unwrap_or(f64::NAN),
        mae_watts: t.mae_watts().unwrap_or(f64::NAN),
        coverage: t.coverage().unwrap_or_default(),
    };
    let horizons = HORIZONS_S.iter().zip(tallies).map(row).collect();
    let all = Standing::of(tallies).expect("invariant: each horizon of a window has an outcome");
    Scored { name, model, all, horizons }
}

/// For people: one line per method and horizon.
fn table(comparison: &Comparison) -> String {
    let mut text =
        format!("{:<24} {:>9} {:>11} {:>9}   coverage of {QUANTILES:?}\n", "method", "horizon_s", "pinball_W", "MAE_W");
    for method in &comparison.methods {
        let mut line = |horizon: &str, pinball: f64, mae: f64, coverage: &[f64]| {
            let coverage: Vec<String> = coverage.iter().map(|c| format!("{c:.4}")).collect();
            text += &format!("{:<24} {horizon:>9} {pinball:>11.2} {mae:>9.2}   {}\n", method.name, coverage.join(" "));
        };
        for row in &method.horizons {
            line(&row.horizon_s.to_string(), row.pinball_watts, row.mae_watts, &row.coverage);
        }
        line("all", method.all.pinball_watts, method.all.mae_watts, &method.all.coverage);
    }
    text + &match &comparison.against {
        None => "the first may take the place of the others\n".to_owned(),
        Some(why) => format!("the first may not take the place of the others: {why}\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chance::Chance;
    use headroom_predict::Sample;

    fn restless(seconds: usize) -> Series {
        let mut chance = Chance::new(3, "compare");
        let mut level = 3000.0;
        let sample = |t: usize| {
            if t.is_multiple_of(20) {
                level = chance.between(1800.0, 7000.0);
            }
            Sample { power: Some(Watts::new(level)), ..Sample::default() }
        };
        Series {
            source: "s".into(),
            rack: "r".into(),
            nameplate: Watts::new(7300.0),
            start_s: 0,
            samples: (0..seconds).map(sample).collect(),
        }
    }

    #[test]
    fn only_windows_that_lie_wholly_in_the_newest_part_are_used() {
        let series = restless(2000);
        let found = cases(&series, 0.15, 1);
        assert_eq!(found.len(), 300 - 60 - 30 + 1);
        assert_eq!(found[0].history.samples().next(), Some(&series.samples[1700]));
        assert!(cases(&restless(80), 1.0, 1).is_empty() && cases(&restless(1), 1.0, 1).is_empty());
    }

    #[test]
    fn a_model_does_not_beat_itself_and_the_baseline_is_scored_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("trace.csv");
        let mut text = crate::data::csv::HEADER.to_owned() + "\n";
        for (t, s) in restless(4000).samples.iter().enumerate() {
            text += &format!("{t},rack-1,{},,\n", s.power.unwrap().get());
        }
        std::fs::write(&file, text).unwrap();
        let data = Data { csv: vec![file], record: None, nameplate_watts: vec!["7300".into()], newest: 1.0, stride: 1 };
        let shipped = model(SHIPPED).unwrap();
        let both = compare(&[("a", &shipped), ("b", &shipped)], &data).unwrap();
        assert!(!both.better && both.against.as_ref().unwrap().contains("not below the champion's"), "{both:?}");
        assert_eq!((both.windows, both.methods.len(), both.methods[2].name.as_str()), (4000 - 90 + 1, 3, "baseline"));
        assert!((both.methods[0].all.pinball_watts - both.methods[1].all.pinball_watts).abs() < 1e-9);
        let rows = table(&both).lines().count();
        assert_eq!(rows, 1 + 3 * 7 + 1);
        let none = Data { csv: vec![], newest: 0.0, ..data };
        let why = compare(&[("a", &shipped)], &none).unwrap_err().to_string();
        assert!(why.contains("--csv FILE") && why.contains("--newest"), "{why}");
    }
}

//! `headroom scenarios`: plays files with an expected outcome, or random cases, and judges. Whether a
//! trip was avoidable is not asked of the controller: the case is played again with every GPU that
//! can be reached at its floor from the reaction time after the first thing went wrong. What trips
//! then as well was beyond anybody's power.

mod file;
mod random;

use crate::harness::{Case, Outcome, play};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};

/// From a measurement to an enforced limit, s: the policy's default response time.
const REACTION_S: f64 = 3.0;

/// What can be told.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Scenario files (*.toml) in this folder, each with the outcome it must have.
    #[arg(value_name = "DIR", required_unless_present = "random")]
    dir: Option<PathBuf>,
    /// Play this many random cases: rows, workloads, up to three faults at once.
    #[arg(long, value_name = "COUNT")]
    random: Option<u64>,
    /// Seed of the first random case; the others follow it.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where a failing random case is written, made as small as it still fails.
    #[arg(long, value_name = "DIR")]
    failures: Option<PathBuf>,
    /// The last line is one JSON object.
    #[arg(long)]
    json: bool,
}

/// A played and judged case.
#[derive(Debug, Clone)]
pub struct Judged {
    /// As it went.
    pub outcome: Outcome,
    /// Trips that the floors would have avoided.
    pub avoidable_trips: u64,
    /// Shutdowns that the floors would have avoided.
    pub avoidable_shutdowns: u64,
}

impl Judged {
    fn failed(&self) -> bool {
        self.avoidable_trips + self.avoidable_shutdowns + self.outcome.floor_violations > 0
    }
}

/// Plays a case and, if something tripped or overheated, what would have happened at the floors.
pub fn judge(case: &Case) -> Judged {
    let outcome = play(case, None);
    let (mut avoidable_trips, mut avoidable_shutdowns) = (0, 0);
    if !outcome.trips.is_empty() || !outcome.shutdowns.is_empty() {
        let floors = play(case, Some(case.first_s() + REACTION_S));
        avoidable_trips = outcome.trips.difference(&floors.trips).count() as u64;
        avoidable_shutdowns = outcome.shutdowns.difference(&floors.shutdowns).count() as u64;
    }
    Judged { outcome, avoidable_trips, avoidable_shutdowns }
}

#[derive(Debug, Default, serde::Serialize)]
struct Sum {
    scenarios: u64,
    failed: u64,
    trips: u64,
    avoidable_trips: u64,
    thermal_shutdowns: u64,
    avoidable_thermal_shutdowns: u64,
    floor_violations: u64,
    /// Least time to a trip of any run in which nothing tripped.
    worst_margin_s: Option<f64>,
}

impl Sum {
    fn add(&mut self, judged: &Judged, failed: bool) {
        let outcome = &judged.outcome;
        self.scenarios += 1;
        self.failed += u64::from(failed);
        self.trips += outcome.trips.len() as u64;
        self.avoidable_trips += judged.avoidable_trips;
        self.thermal_shutdowns += outcome.shutdowns.len() as u64;
        self.avoidable_thermal_shutdowns += judged.avoidable_shutdowns;
        self.floor_violations += outcome.floor_violations;
        if outcome.trips.is_empty()
            && let Some(margin) = outcome.margin_s
        {
            let margin = (margin * 1000.0).round() / 1000.0;
            self.worst_margin_s = Some(self.worst_margin_s.map_or(margin, |w| w.min(margin)));
        }
    }
}

/// Does what the command line says. 0: every outcome as expected, 1: not, 2: a file is wrong.
pub fn run(options: &Options) -> ExitCode {
    let mut sum = Sum::default();
    if let Some(dir) = &options.dir {
        let files = match file::load_all(dir) {
            Ok(files) => files,
            Err(why) => {
                eprintln!("{why:#}");
                return ExitCode::from(2);
            }
        };
        for file in files {
            let judged = judge(&file.case);
            let wrong = file.outcome.differences(&judged);
            let verdict = if wrong.is_empty() { "as expected".to_owned() } else { wrong.join("; ") };
            println!("{}: {verdict}", file.name);
            sum.add(&judged, !wrong.is_empty());
        }
    }
    if let Some(count) = options.random {
        for (seed, judged) in play_random(options.seed, count) {
            let failed = judged.failed();
            sum.add(&judged, failed);
            if failed {
                println!("seed {seed}: {:?}", judged.outcome);
                if let Some(dir) = &options.failures
                    && let Err(why) = random::write(dir, seed, &random::shrink(seed, |case| judge(case).failed()))
                {
                    eprintln!("{}: {why}", dir.display());
                }
            }
        }
    }
    match serde_json::to_string(&sum) {
        Ok(line) if options.json => println!("{line}"),
        _ => println!(
            "{} scenarios, {} failed, {} trips of which {} avoidable",
            sum.scenarios, sum.failed, sum.trips, sum.avoidable_trips
        ),
    }
    ExitCode::from(u8::from(sum.failed > 0))
}

/// All cores take seeds from one counter; the answers come in the order of the seeds.
fn play_random(first: u64, count: u64) -> Vec<(u64, Judged)> {
    let next = AtomicU64::new(0);
    let work = || {
        let mut mine = Vec::new();
        loop {
            let seed = first + next.fetch_add(1, Ordering::Relaxed);
            if seed >= first + count {
                return mine;
            }
            mine.push((seed, judge(&random::case(seed, None))));
        }
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let mut all: Vec<(u64, Judged)> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..cores).map(|_| scope.spawn(work)).collect();
        threads.into_iter().flat_map(|t| t.join().expect("invariant: a case does not panic")).collect()
    });
    all.sort_by_key(|(seed, _)| *seed);
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn every_scenario_file_ends_as_it_says() {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/scenarios");
        let files = file::load_all(&dir).expect("sound files");
        assert!(files.len() >= 33, "{}", files.len());
        for file in files {
            assert_eq!(file.outcome.differences(&judge(&file.case)), Vec::<String>::new(), "{}", file.name);
        }
    }

    #[test]
    fn no_random_case_has_an_avoidable_trip() {
        for (seed, judged) in play_random(1, 300) {
            assert!(!judged.failed(), "seed {seed}: {judged:?}");
        }
    }

    #[test]
    fn a_seed_gives_the_same_run_twice() {
        let case = random::case(7, None);
        assert_eq!(play(&case, None), play(&case, None));
    }
}

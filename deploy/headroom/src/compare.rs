//! `headroom compare`: policies and an oracle on the same traces and the same plant. Each rack wants
//! what a trace recorded, from a place of its own; limits cut it off, and what is lost follows from the
//! clock. The plant's breaker is the judge. Ours is the controller's core with the agents' cores.

mod oracle;
mod play;
mod plot;
mod report;
mod rival;
mod trace;

use play::{Figures, Policy, floor_watts, nameplate_watts, play, worst};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use trace::{Reading, Trace};

/// Bands of priority, the most important first; the racks take them in turn.
pub const BANDS: [&str; 3] = ["training", "inference", "batch"];
/// Share of the breaker's rating that the racks that nameplate allows fill.
const DERATE: f64 = 0.95;
/// What must be reached: racks over those that nameplate allows.
const MORE_RACKS: f64 = 1.3;

/// What can be told.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Traces: CSV files, plain or .gz, or folders of them; without, the simulator generates some.
    ///
    /// Known are nvidia-smi's "timestamp, power.draw [W]" (a row per GPU and tick; with index, uuid or hostname it is known
    /// whose), "time_s,power_watts" of a rack's GPUs, what `headroom-sim trace` writes, and arrivals
    /// "TIMESTAMP,ContextTokens,GeneratedTokens" or "Timestamp,Request tokens,Response tokens", which a serving engine
    /// sized to them turns into power.
    #[arg(long, value_name = "DIR|FILES", num_args = 1..)]
    traces: Vec<PathBuf>,
    /// Power in the files, W, that counts as a GPU (or all GPUs of a rack) at its limit. Default: the highest
    /// in a file of "time_s,power_watts", the limits in what headroom-sim wrote, power.limit from nvidia-smi or, without it,
    /// watts as they are.
    #[arg(long, value_name = "WATTS")]
    top_watts: Option<f64>,
    /// Racks that the breaker carries at nameplate.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u16).range(2..=200))]
    nameplate_racks: u16,
    /// Lay the policies side by side at so many racks. Default: the most that all of ours and a reactive three-band host,
    /// at least 1.3 times those that the breaker carries at nameplate.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=600))]
    racks: Option<u16>,
    /// GPUs of a rack.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=64))]
    gpus: u16,
    /// At most so much of each trace is played, s.
    #[arg(long, default_value_t = 900.0, value_parser = seconds)]
    seconds: f64,
    /// Share of the breaker's rating that may flow for ever, 0.5 to 1, for every policy that asks for one. Default:
    /// what the reactive three-band lets flow (IEC 60898 allows all of the rating at 30 degrees Celsius).
    #[arg(long, default_value_t = 0.99, value_parser = derate)]
    derate: f64,
    /// Share of the wanted work that may be lost for a rack to count as hosted, 0 to 1.
    #[arg(long, default_value_t = 0.05, value_parser = share)]
    bound: f64,
    /// Seed of where in its trace each rack begins, and of generated traces.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The last line is one JSON object with all figures.
    #[arg(long)]
    json: bool,
    /// Where the table (report.md) and the plots (*.svg) go.
    #[arg(long, value_name = "DIR")]
    report: Option<PathBuf>,
}

fn share(text: &str) -> Result<f64, String> {
    let number = text.parse::<f64>().ok().filter(|n| (0.0..=1.0).contains(n));
    number.ok_or_else(|| "give a share from 0 to 1".to_owned())
}

fn derate(text: &str) -> Result<f64, String> {
    let number = text.parse::<f64>().ok().filter(|n| (0.5..=1.0).contains(n));
    number.ok_or_else(|| "give a share from 0.5 to 1".to_owned())
}

fn seconds(text: &str) -> Result<f64, String> {
    let number = text.parse::<f64>().ok().filter(|n| (30.0..=86_400.0).contains(n));
    number.ok_or_else(|| "give seconds from 30 to 86400".to_owned())
}

/// What all runs have in common.
#[derive(Debug, Clone)]
pub struct Setup {
    nameplate_racks: usize,
    racks: Option<usize>,
    gpus: usize,
    seconds: f64,
    bound: f64,
    derate: f64,
    seed: u64,
}

impl Setup {
    /// The breaker's rating: exactly the racks that nameplate allows fill its derated part.
    fn rating_watts(&self) -> f64 {
        self.nameplate_racks as f64 * nameplate_watts(self) / DERATE
    }

    /// The most racks that the breaker carries for ever with every GPU at its floor. With more no policy can promise anything, and
    /// `headroom-controller policy check` refuses them.
    fn most_racks(&self) -> usize {
        (self.rating_watts() * self.derate / floor_watts(self)) as usize
    }
}

/// Everything that came out.
pub struct Results {
    setup: Setup,
    traces: Vec<Trace>,
    /// Racks that each policy hosts.
    hosted: BTreeMap<Policy, usize>,
    /// At how many racks the policies are laid side by side.
    racks: usize,
    /// Side by side, by policy and trace. Static nameplate hosts fewer.
    runs: BTreeMap<(Policy, usize), Figures>,
    /// With as many racks: how much of the earliest trip is used up when all rise at once, and when whoever decides
    /// dies then too.
    worst: BTreeMap<Policy, [f64; 2]>,
}

impl Results {
    /// All traces of a policy together.
    fn sum(&self, policy: Policy) -> Figures {
        let mut sum = Figures::default();
        self.runs.iter().filter(|((p, _), _)| *p == policy).for_each(|(_, f)| sum.add(f));
        sum
    }

    /// How many racks its runs had.
    fn racks(&self, policy: Policy) -> usize {
        if policy == Policy::StaticNameplate { self.setup.nameplate_racks } else { self.racks }
    }
}

/// Does what the command line says. 0: done, 1: the report cannot be written, 2: a trace is wrong.
pub fn run(options: &Options) -> ExitCode {
    if options.top_watts.is_some_and(|w| !(w.is_finite() && w > 0.0)) {
        eprintln!("--top-watts: give a number of watts above 0");
        return ExitCode::from(2);
    }
    let traces = match options.traces.is_empty() {
        true => trace::builtin(options.seed),
        false => match trace::load(&options.traces, &Reading { top_watts: options.top_watts }) {
            Ok(traces) => traces,
            Err(why) => {
                eprintln!("{why}");
                return ExitCode::from(2);
            }
        },
    };
    let traces: Vec<Trace> = traces.into_iter().map(|t| t.parted(options.gpus.into())).collect();
    let setup = Setup {
        nameplate_racks: options.nameplate_racks.into(),
        racks: options.racks.map(usize::from),
        gpus: options.gpus.into(),
        seconds: options.seconds,
        bound: options.bound,
        derate: options.derate,
        seed: options.seed,
    };
    for trace in &traces {
        eprintln!("{}: {:.0} s, {}; {}", trace.name, trace.seconds(), trace.kind, trace.notes.join("; "));
    }
    let results = compare(setup, traces);
    let table = report::markdown(&results);
    println!("{table}");
    if let Some(dir) = &options.report
        && let Err(why) = write(dir, &table, &results)
    {
        eprintln!("{}: the report cannot be written: {why}", dir.display());
        return ExitCode::FAILURE;
    }
    if options.json {
        println!("{}", report::json(&results));
    }
    ExitCode::SUCCESS
}

fn write(dir: &std::path::Path, table: &str, results: &Results) -> std::io::Result<()> {
    std::fs::create_dir_all(dir)?;
    let mut text = table.to_owned();
    for (name, svg) in plot::all(results) {
        std::fs::write(dir.join(&name), svg)?;
        text.push_str(&format!("\n![{name}]({name})\n"));
    }
    std::fs::write(dir.join("report.json"), format!("{}\n", report::json(results)))?;
    std::fs::write(dir.join("report.md"), text)
}

/// Searches how many racks each policy hosts, then lays all side by side at the most that all of ours and one of the
/// reactive three-bands host, but at least at the racks that ours must.
fn compare(setup: Setup, traces: Vec<Trace>) -> Results {
    let searched: Vec<Policy> = Policy::ALL.into_iter().filter(|p| *p != Policy::StaticNameplate).collect();
    let found = parallel(searched.len(), |i| hosts(&setup, &traces, searched[i]));
    let mut hosted: BTreeMap<Policy, usize> = searched.into_iter().zip(found).collect();
    hosted.insert(Policy::StaticNameplate, setup.nameplate_racks);
    let racks = side_by_side(&setup, &hosted);
    let mut results = Results { setup, traces, hosted, racks, runs: BTreeMap::new(), worst: BTreeMap::new() };
    let todo: Vec<(Policy, usize)> =
        Policy::ALL.iter().flat_map(|p| (0..results.traces.len()).map(move |t| (*p, t))).collect();
    let figures = parallel(todo.len(), |i| {
        let (policy, t) = todo[i];
        play(&results.setup, &results.traces[t], policy, results.racks(policy))
    });
    results.runs = todo.into_iter().zip(figures).collect();
    let fates = parallel(Policy::ALL.len(), |i| worst(&results.setup, Policy::ALL[i], results.racks(Policy::ALL[i])));
    results.worst = Policy::ALL.into_iter().zip(fates).collect();
    results
}

/// At how many racks the policies are laid side by side.
fn side_by_side(setup: &Setup, hosted: &BTreeMap<Policy, usize>) -> usize {
    let least = (setup.nameplate_racks as f64 * MORE_RACKS).ceil() as usize;
    // Beyond what one of them hosts the other has nothing to be compared with.
    let ours = Policy::OURS.iter().map(|p| hosted[p]).min().unwrap_or(0);
    let theirs = hosted[&Policy::ThreeBand].max(hosted[&Policy::ThreeBandLowFirst]);
    setup.racks.unwrap_or(ours.min(theirs).max(least))
}

/// The largest number of racks with which, on every trace, nothing trips and no more than the bound is
/// lost; by steps, then by halves. 0: not even one.
fn hosts(setup: &Setup, traces: &[Trace], policy: Policy) -> usize {
    let fits = |racks: usize| {
        traces.iter().all(|trace| {
            let figures = play(setup, trace, policy, racks);
            figures.trips == 0 && figures.shutdowns == 0 && figures.lost_share() <= setup.bound
        })
    };
    largest(setup.nameplate_racks.min(setup.most_racks()), setup.most_racks(), fits)
}

/// The largest number up to `most` that fits, 0 if not even 1 does; what is more never fits where less does not.
fn largest(first: usize, most: usize, fits: impl Fn(usize) -> bool) -> usize {
    let (mut low, mut high) = (0, most + 1);
    let mut next = first;
    while high - low > 1 {
        if fits(next) {
            low = next
        } else {
            high = next
        }
        // What is hosted lies near above the nameplate more often than far.
        next = if high > most { (low * 5).div_ceil(4).min(most) } else { (low + high) / 2 };
    }
    low
}

/// All cores take numbers from one counter; the answers come in the order of the numbers.
fn parallel<T: Send>(count: usize, work: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::with_capacity(count));
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..cores.min(count) {
            scope.spawn(|| {
                loop {
                    let i = next.fetch_add(1, Ordering::Relaxed);
                    if i >= count {
                        break;
                    }
                    let answer = work(i);
                    done.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push((i, answer));
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    done.sort_by_key(|(i, _)| *i);
    done.into_iter().map(|(_, answer)| answer).collect()
}

#[cfg(test)]
mod tests;

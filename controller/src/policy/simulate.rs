//! A policy tried on the record: the Snapshots of the last hour are decided on again, once under the policy
//! of the config and once under the other. What the racks would have drawn uncapped is the decision's own
//! estimate; they are not replayed, so a cap that binds for long is counted for as long. What the nodes would have
//! carried is in `tried.rs`.

use super::tried::{self, Drawn, Lines, NodeTold};
use crate::config::{self, Config};
use crate::record::{self, Segment};
use headroom_controller_core::{Decider, Fleet, Rules};
use headroom_predict::Margins;
use headroom_rack::record::Entry;
use headroom_rack::{Forecast, Generation, Mode, Mono, Plan, RackId, UnixMs};
use std::collections::BTreeMap;
use std::path::Path;

/// A gap between two decisions counts for no longer than this, s.
const LONGEST_STEP_S: f64 = 10.0;

/// What came of it.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Simulated {
    /// Start of what was tried, ms since 1970.
    pub from_ms: u64,
    /// Its end.
    pub to_ms: u64,
    /// Decisions made again.
    pub decisions: u64,
    /// Each rack.
    pub racks: Vec<RackTold>,
    /// Each node.
    pub nodes: Vec<NodeTold>,
    /// What no controller can keep to in the policy that was tried.
    pub dangers: Vec<String>,
}

/// One rack under both policies.
#[derive(Debug, Clone, serde::Serialize)]
pub struct RackTold {
    /// Its name.
    pub rack: RackId,
    /// Its priority as the topology says.
    pub priority: String,
    /// Under the policy of the config.
    pub now: Cut,
    /// Under the policy that was tried.
    pub then: Cut,
}

/// What was taken from a rack.
#[derive(Debug, Clone, Copy, Default, PartialEq, serde::Serialize)]
pub struct Cut {
    /// How long it was held below what it wanted, s.
    pub capped_s: f64,
    /// By how much in the mean of that time, W.
    pub mean_watts: f64,
    /// By how much at most, W.
    pub most_watts: f64,
    /// The least limit of a GPU, W.
    pub least_gpu_watts: f64,
    /// Energy it would have had beyond its caps, Wh.
    pub cut_watt_hours: f64,
}

impl Cut {
    fn add(&mut self, plan: &Plan, rack: usize, dt_s: f64) {
        let cap = &plan.caps[rack];
        let gpu = cap.gpus.iter().map(|(_, w)| w.get()).fold(f64::INFINITY, f64::min);
        self.least_gpu_watts = if self.least_gpu_watts == 0.0 { gpu } else { self.least_gpu_watts.min(gpu) };
        if cap.binding {
            let watts = (cap.expected - cap.budget).get().max(0.0);
            self.capped_s += dt_s;
            self.most_watts = self.most_watts.max(watts);
            self.cut_watt_hours += watts * dt_s / 3600.0;
        }
    }

    fn end(&mut self) {
        if self.capped_s > 0.0 {
            self.mean_watts = self.cut_watt_hours * 3600.0 / self.capped_s;
        }
    }
}

/// Tries `rules` on the last `window_ms` of the record in `dir`.
///
/// # Errors
/// In words: no record there, or none with decisions in it.
pub fn simulate(config: &Config, rules: &Rules, dir: &Path, window_ms: u64) -> Result<Simulated, String> {
    let segments = record::list(dir).map_err(|why| why.to_string())?;
    let last = segments.iter().rev().find_map(|s| times(s).1).ok_or_else(|| {
        format!("there is no decision in the record {}; let the controller run, advisory mode is enough", dir.display())
    })?;
    let from = last.saturating_sub(window_ms);
    // From the newest segment back to the one in which the window begins.
    let begins = segments.iter().rposition(|s| times(s).0.is_some_and(|first| first <= from)).unwrap_or(0);
    let topology = config::core_topology(&config.tree).map_err(|why| format!("{why:?}"))?;
    let mut pair = [&config.rules, rules].map(|r| (r, Decider::new(topology.clone(), r.at(UnixMs::new(from)))));
    let mut fleet = Fleet::new(&topology);
    let mut forecasts: BTreeMap<RackId, Forecast> = BTreeMap::new();
    let mut margins: BTreeMap<RackId, Margins> = BTreeMap::new();
    let mut cuts = [vec![Cut::default(); config.racks.len()], vec![Cut::default(); config.racks.len()]];
    let mut drawn = Drawn::new(&topology);
    let mut lines = [(); 2].map(|()| Lines::new(&topology));
    let (mut first, mut at, mut decisions) = (None, from, 0);
    for segment in &segments[begins..] {
        let walked = record::walk(&segment.path, |entry| match entry {
            Entry::Snapshot(snapshot) if snapshot.at.get() >= from && !snapshot.historical => {
                // Arrival is not recorded: a Snapshot arrives with the next decision.
                fleet.fold(&snapshot, mono(at, from));
            }
            // Forecasts are recorded as they were said; what was decided with had these margins on top.
            Entry::Score(score) => {
                margins =
                    score.margins.into_iter().map(|(rack, shares)| (rack, Margins::from_shares(&shares))).collect();
            }
            Entry::Forecast(mut forecast) => {
                let rack = config.racks.iter().find(|r| r.id == forecast.rack);
                if let Some((rack, margins)) = rack.zip(margins.get(&forecast.rack)) {
                    forecast.values = margins.widen(&forecast.values, rack.nameplate());
                }
                forecasts.insert(forecast.rack.clone(), forecast);
            }
            Entry::Plan(plan) if plan.at.get() >= from => {
                let dt_s = first.map_or(0.0, |_| (plan.at.get().saturating_sub(at) as f64 / 1e3).min(LONGEST_STEP_S));
                at = plan.at.get();
                first.get_or_insert(at);
                decisions += 1;
                drawn.see(&fleet, &plan);
                for (((rules, decider), cuts), lines) in pair.iter_mut().zip(&mut cuts).zip(&mut lines) {
                    let policy = rules.at(plan.at);
                    if *decider.policy() != policy {
                        decider.set_policy(policy);
                    }
                    let generation = Generation { epoch: 0, counter: decisions };
                    let again = decider.decide(&fleet, &forecasts, mono(at, from), plan.at, generation, Mode::Advisory);
                    cuts.iter_mut().enumerate().for_each(|(r, cut)| cut.add(&again, r, dt_s));
                    lines.add(&drawn, &again, decider.policy(), dt_s);
                }
            }
            _ => {}
        });
        walked.map_err(|why| why.to_string())?;
    }
    cuts.iter_mut().flatten().for_each(Cut::end);
    let [now, then] = cuts;
    let told = |(rack, (now, then)): (&config::Rack, (Cut, Cut))| RackTold {
        rack: rack.id.clone(),
        priority: rack.priority.clone(),
        now,
        then,
    };
    let racks = config.racks.iter().zip(now.into_iter().zip(then)).map(told).collect();
    let [now, then] = lines.map(Lines::end);
    let nodes = topology.nodes().iter().zip(now.into_iter().zip(then)).map(NodeTold::from).collect();
    Ok(Simulated { from_ms: first.unwrap_or(from), to_ms: at, decisions, racks, nodes, dangers: Vec::new() })
}

fn mono(at: u64, from: u64) -> Mono {
    Mono::from_ms(1000 + at.saturating_sub(from))
}

/// When the first and the last decision in a segment were made, ms since 1970.
fn times(segment: &Segment) -> (Option<u64>, Option<u64>) {
    let (mut first, mut last) = (None, None);
    let walked = record::walk(&segment.path, |entry| {
        if let Entry::Plan(plan) = entry {
            first.get_or_insert(plan.at.get());
            last = Some(plan.at.get());
        }
    });
    if let Err(why) = walked {
        tracing::warn!(%why, "a segment of the record cannot be read");
    }
    (first, last)
}

impl Simulated {
    /// Whether the policy that was tried can be kept to, and would have tripped nothing.
    pub fn is_safe(&self) -> bool {
        self.dangers.is_empty() && self.nodes.iter().all(|node| node.then.tripped_ms.is_none())
    }

    /// For people.
    pub fn table(&self) -> String {
        let minutes = self.to_ms.saturating_sub(self.from_ms) as f64 / 60_000.0;
        let mut text = format!(
            "{} decisions in {minutes:.1} min of the record, made again under both policies\n\n\
             {:<20} {:<12} {:>28} {:>28}\n{:<33} {:>9} {:>9} {:>8} {:>9} {:>9} {:>8}\n",
            self.decisions,
            "",
            "",
            "policy in force",
            "policy tried",
            "rack, priority",
            "capped",
            "by mean",
            "GPU min",
            "capped",
            "by mean",
            "GPU min"
        );
        let cells = |c: &Cut| format!("{:>7.0} s {:>7.0} W {:>6.0} W", c.capped_s, c.mean_watts, c.least_gpu_watts);
        for rack in &self.racks {
            let line = format!(
                "{:<20} {:<12} {} {}\n",
                rack.rack.as_str(),
                rack.priority,
                cells(&rack.now),
                cells(&rack.then)
            );
            text.push_str(&line);
        }
        text.push_str(&tried::table(&self.nodes));
        let sum = |cut: fn(&RackTold) -> Cut| self.racks.iter().map(|r| cut(r).cut_watt_hours).sum::<f64>();
        text.push_str(&format!("\ntaken in all: {:.0} Wh in force, {:.0} Wh tried\n", sum(|r| r.now), sum(|r| r.then)));
        text.push_str(&tried::verdict(&self.nodes, !self.dangers.is_empty()));
        text
    }
}

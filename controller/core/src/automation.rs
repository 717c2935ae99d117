//! The automation's own breaker. It counts what speaks against the automation itself: limits that swing,
//! Receipts that say no, meters that contradict each other; one of them too much and the automation stops
//! until a person lets it go on. A rack that swings alone is held alone. Judges; sets nothing.
//!
//! Running -- a rack swings --> that rack at its safe share -- too many racks --> Stopped
//! Running -- Receipts fail or meters contradict, for longer than `patience` --> Stopped
//! any of them -- [`Automation::resume`], by a person --> Running, counted anew

use crate::decide::mean_limit;
use crate::fleet::{FRESH, Fleet, METER_TOLERANCE, SILENT, is_beyond};
use crate::topology::Topology;
use headroom_rack::{Clamp, DeviceId, Finding, Mono, Outcome, Plan, RackId, Receipt, Severity, UnixMs, Watts};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::time::Duration;

/// Swings are counted over this.
const HOUR: Duration = Duration::from_secs(3600);
/// A limit that moves by less has not moved.
const MOVED_WATTS: f64 = 10.0;

/// How much is too much.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tolerance {
    /// How often the limit of one rack may be lowered after it was raised, in an hour.
    pub swings_per_hour: usize,
    /// The share of racks that swing, of GPUs whose Receipts fail, of meters that contradict what hangs
    /// below them, beyond which the automation stops. One alone never stops it.
    pub share: f64,
    /// Receipts and meters must be bad for so long.
    pub patience: Duration,
}

impl Default for Tolerance {
    /// Swings: shaping lets a limit swing at most every 2 s, a load that hovers about every 10 s.
    fn default() -> Self {
        Self { swings_per_hour: 720, share: 0.2, patience: Duration::from_secs(30) }
    }
}

/// Why the automation stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// The limits of too many racks swung.
    Changes,
    /// The Receipts of too many GPUs failed.
    Receipts,
    /// Too many meters contradicted what hangs below them.
    Meters,
}

/// What stands until a person lets the automation go on; outlives a restart.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stops {
    /// The whole automation, and since when.
    pub whole: Option<Stop>,
    /// Single racks, and since when.
    pub racks: BTreeMap<RackId, Stop>,
}

/// One stop.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stop {
    /// Why.
    pub why: Why,
    /// In numbers, for people.
    pub seen: String,
    /// When.
    pub since: UnixMs,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Way {
    #[default]
    Still,
    Up,
    Down,
}

#[derive(Debug, Clone, Default)]
struct Limit {
    /// On average.
    watts: Option<Watts>,
    /// Of each GPU, as it was asked for.
    gpus: Vec<Watts>,
    way: Way,
    swings: VecDeque<Mono>,
}

/// The breaker.
#[derive(Debug, Clone)]
pub struct Automation {
    topology: Topology,
    tolerance: Tolerance,
    limits: HashMap<RackId, Limit>,
    failed: BTreeSet<(RackId, DeviceId)>,
    bad_since: [Option<Mono>; 2],
    stops: Stops,
}

impl Automation {
    /// With what an earlier run left.
    pub fn new(topology: &Topology, tolerance: Tolerance, stops: Stops) -> Self {
        Self {
            topology: topology.clone(),
            tolerance,
            limits: HashMap::new(),
            failed: BTreeSet::new(),
            bad_since: [None; 2],
            stops,
        }
    }

    /// What stands.
    pub fn stops(&self) -> &Stops {
        &self.stops
    }

    /// A person lets it go on: nothing stands, everything is counted anew. Whether anything stood.
    pub fn resume(&mut self) -> bool {
        let stood = self.stops != Stops::default();
        *self = Self::new(&self.topology, self.tolerance, Stops::default());
        stood
    }

    /// What became of Orders of this controller's `epoch`.
    pub fn receipts(&mut self, receipts: &[(RackId, Receipt)], epoch: u64) {
        for (rack, receipt) in receipts.iter().filter(|(_, r)| r.generation.epoch == epoch) {
            let asked = || {
                let index = receipt.device.gpu_index()?;
                self.limits.get(rack)?.gpus.get(usize::try_from(index).ok()?).copied()
            };
            let failed = match receipt.outcome {
                Outcome::Refused(_) => true,
                // Somebody who holds it lower does no harm.
                Outcome::Clamped { to, why: Clamp::ReadBack } => asked().is_some_and(|asked| is_beyond(to, asked)),
                Outcome::Applied | Outcome::Clamped { .. } | Outcome::Expired => false,
            };
            if failed {
                self.failed.insert((rack.clone(), receipt.device.clone()));
            } else if !self.failed.is_empty() {
                self.failed.remove(&(rack.clone(), receipt.device.clone()));
            }
        }
    }

    /// A Plan was made and its Orders sent, but for those to racks in advisory mode. True: something has
    /// stopped with it.
    pub fn decided(&mut self, plan: &Plan, advised: &BTreeSet<RackId>, fleet: &Fleet, now: Mono) -> bool {
        let before = (self.stops.whole.is_some(), self.stops.racks.len());
        for cap in plan.caps.iter().filter(|cap| !advised.contains(&cap.rack)) {
            let Some(watts) = mean_limit(cap) else { continue };
            let limit = self.limits.entry(cap.rack.clone()).or_default();
            limit.move_to(watts, now);
            limit.gpus.clear();
            limit.gpus.extend(cap.gpus.iter().map(|(_, watts)| *watts));
            if limit.swings.len() > self.tolerance.swings_per_hour && !self.stops.racks.contains_key(&cap.rack) {
                let seen = format!("its limit was lowered and raised {} times in an hour", limit.swings.len());
                self.stops.racks.insert(cap.rack.clone(), Stop { why: Why::Changes, seen, since: plan.at });
            }
        }
        let racks = self.topology.racks();
        let gpus: u32 = racks.iter().map(|r| r.gpus).sum();
        let heard = |id: &RackId| fleet.rack(id).is_some_and(|b| !b.dead && b.age(now) <= SILENT);
        let failed: Vec<_> = self.failed.iter().filter(|(rack, _)| heard(rack) && !advised.contains(rack)).collect();
        let failed_racks: BTreeSet<&RackId> = failed.iter().map(|(rack, _)| rack).collect();
        let (doubtful, meters) = self.contradictions(plan, fleet, now);
        let held = self.stops.racks.len();
        let bad = [
            // All GPUs of one rack are one agent that does not act.
            (failed_racks.len() > 1 && self.too_many(failed.len(), gpus as usize)).then(|| {
                let names = first(failed.iter().map(|(rack, device)| format!("{rack}/{device}")));
                (Why::Receipts, format!("{} of {gpus} GPUs do not take their Orders: {names}", failed.len()))
            }),
            self.too_many(doubtful.len(), meters).then(|| {
                let (count, names) = (doubtful.len(), first(doubtful.into_iter()));
                (Why::Meters, format!("{count} of {meters} meters show less than what hangs below them draws: {names}"))
            }),
        ];
        let mut stop = self
            .too_many(held, racks.len())
            .then(|| (Why::Changes, format!("the limits of {held} of {} racks swing", racks.len())));
        for (since, bad) in self.bad_since.iter_mut().zip(bad) {
            *since = bad.as_ref().map(|_| since.unwrap_or(now));
            if since.is_some_and(|since| now.since(since) >= self.tolerance.patience) {
                stop = stop.or(bad);
            }
        }
        if let (None, Some((why, seen))) = (&self.stops.whole, stop) {
            self.stops.whole = Some(Stop { why, seen, since: plan.at });
        }
        before != (self.stops.whole.is_some(), self.stops.racks.len())
    }

    /// What a person must look at; nothing else ends it.
    pub fn findings(&self) -> Vec<Finding> {
        let remedy = "find the cause, then let it go on: headroom-controller resume";
        let whole = self.stops.whole.iter().map(|stop| Finding {
            key: "automation_stopped:site".to_owned(),
            kind: "automation_stopped".to_owned(),
            subject: "site".to_owned(),
            severity: Severity::Critical,
            title: "the automation stopped itself; every rack is at its safe share".to_owned(),
            detail: format!("{}; {remedy}", stop.seen),
            since: stop.since,
        });
        let racks = self.stops.racks.iter().map(|(rack, stop)| Finding {
            key: format!("automation_held:{rack}"),
            kind: "automation_held".to_owned(),
            subject: rack.to_string(),
            severity: Severity::Critical,
            title: format!("{rack} is held at its safe share: its limit swings"),
            detail: format!("{}; {remedy}", stop.seen),
            since: stop.since,
        });
        whole.chain(racks).collect()
    }

    /// One alone is a broken device, which the decision deals with.
    fn too_many(&self, count: usize, of: usize) -> bool {
        count >= 2 && count as f64 > self.tolerance.share * of as f64
    }

    /// Names of meters that show less than what hangs below them, and how many there are.
    fn contradictions(&self, plan: &Plan, fleet: &Fleet, now: Mono) -> (Vec<String>, usize) {
        let racks = self.topology.racks().iter().enumerate();
        let fresh = racks.filter_map(|(i, spec)| Some((spec, fleet.rack_at(i, &spec.id)?)));
        let fresh = fresh.filter(|(_, belief)| !belief.dead && belief.age(now) <= SILENT);
        let mut doubtful: Vec<String> =
            fresh.filter(|(spec, belief)| belief.contradicts(spec)).map(|(spec, _)| spec.id.to_string()).collect();
        let mut count = self.topology.racks().len();
        // A sum with a part that nobody measured contradicts nothing.
        let mut unsure = vec![false; self.topology.nodes().len()];
        for (i, spec) in self.topology.racks().iter().enumerate() {
            let measured = fleet.rack_at(i, &spec.id).filter(|b| !b.dead && b.age(now) <= FRESH);
            if measured.is_none_or(|belief| belief.metered().is_none()) {
                let above = self.topology.shares(i).iter().map(|share| share.0);
                above.for_each(|node| unsure[node] = true);
            }
        }
        for ((spec, seen), unsure) in self.topology.nodes().iter().zip(&plan.nodes).zip(unsure) {
            let Some(own) = spec.meter.as_ref().and_then(|m| fleet.meter(&m.rack, &m.device, now)) else { continue };
            count += 1;
            if !unsure && own < seen.power * (1.0 - METER_TOLERANCE) {
                doubtful.push(spec.id.to_string());
            }
        }
        (doubtful, count)
    }
}

/// The first few of many names.
fn first(mut names: impl Iterator<Item = String>) -> String {
    let few: Vec<String> = names.by_ref().take(3).collect();
    few.join(", ") + if names.next().is_some() { ", and others" } else { "" }
}

impl Limit {
    fn move_to(&mut self, watts: Watts, now: Mono) {
        let by = self.watts.map_or(0.0, |before| (watts - before).get());
        let way = match by {
            by if by >= MOVED_WATTS => Way::Up,
            by if by <= -MOVED_WATTS => Way::Down,
            // Small steps add up to a move.
            _ if self.watts.is_some() => return,
            _ => Way::Still,
        };
        if (self.way, way) == (Way::Up, Way::Down) {
            self.swings.push_back(now);
        }
        while self.swings.front().is_some_and(|at| now.since(*at) > HOUR) {
            self.swings.pop_front();
        }
        (self.watts, self.way) = (Some(watts), way);
    }
}

#[cfg(test)]
mod tests;

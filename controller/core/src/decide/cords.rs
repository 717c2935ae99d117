//! Cords that have lost their feed, and what the others of their rack carry then.
//!
//! A cord is lost when its meter is silent or shows nothing while the rack's other cords carry most of
//! what the rack draws; a feed when the meter at its root shows nothing, or all its cords are lost. Where
//! one rack has just lost a cord, racks not heard since count as having lost theirs too: a feed dies for
//! all at once, and the survivors' breakers do not wait for the last Snapshot. So does a rack none of whose
//! meters speaks: it cannot say that its own cord is alive.
//!
//! Losing a cord only ever adds load to the others; a lost feed keeps the load it had. A lying meter can
//! make this too careful, never too careless.
//!
//! A cord behind a transfer switch whose own root is dead hangs on the standby, with all that is above that.
//!
//! What a cord carries of its rack is what its meter says, not what the plan says: supplies share unevenly, one is
//! kept as a hot spare, one is broken.

use super::{Decider, OTHER_S};
use crate::fleet::{FRESH, Fleet, RackBelief};
use crate::topology::{Constraint, FeedShare, NodeSpec, RackSpec, Topology};
use headroom_rack::{Mono, Watts};
use std::collections::BTreeMap;

/// The others must carry this much of what a lost cord carried: half of it, as meters are read apart.
const TAKEN_OVER: f64 = 0.5;
/// A circuit that carries less than this share of its rating or of the rack's nameplate carries nothing.
const NOTHING: f64 = 0.01;

/// A rack's cords carry what the plan says as long as none is off by more than this share of the rack: meters are read
/// apart on a load that swings.
const AS_PLANNED: f64 = 0.05;

/// What is above a rack now, where it is not what the plan says.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Way {
    /// The nodes above and the share of the rack that each carries.
    pub shares: Vec<(usize, f64)>,
    /// The failovers that would move some of it, and the share that would come on top.
    pub moves: Vec<(usize, f64)>,
    /// What each cord carries of the rack.
    pub cords: Vec<f64>,
    /// The nodes above each cord whose transfer switch has moved.
    switched: BTreeMap<usize, Vec<usize>>,
    /// Nodes without a feed, which keep the load they had.
    dead: Vec<usize>,
    /// Nothing of it has moved.
    whole: bool,
}

/// Per rack that has one; nothing where all is as planned.
pub(super) type Live = BTreeMap<usize, Way>;

/// The root above each cord.
#[derive(Debug, Clone)]
pub(super) struct Wiring {
    cords: Vec<Vec<usize>>,
}

impl Wiring {
    pub(super) fn new(topology: &Topology) -> Self {
        let root = |path: &Vec<usize>| *path.last().expect("invariant: a cord hangs on a node");
        let cords = |rack| topology.paths(rack).iter().map(root).collect();
        Self { cords: (0..topology.racks().len()).map(cords).collect() }
    }
}

/// What became of a cord.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Fate {
    Carries,
    Lost,
    /// It hangs on the standby of a transfer switch: the nodes above it now.
    Switched(Vec<usize>),
}

impl RackBelief {
    /// What a cord carries by its meter; `None` if nothing, or if the meter is silent.
    fn carried(&self, spec: &RackSpec, cord: usize) -> Option<Watts> {
        let reading = self.cords.get(&spec.feeds[cord].meter).and_then(|c| c.ok());
        reading.filter(|w| *w > spec.nameplate() * NOTHING)
    }

    /// Not one of its meters shows a load, so that they say of no cord whether it is alive.
    fn is_mute(&self, spec: &RackSpec) -> bool {
        (0..spec.feeds.len()).all(|cord| self.carried(spec, cord).is_none())
    }

    /// Which cords have lost their feed, as far as the rack's own meters tell; nothing if none has.
    pub fn lost_cords(&self, spec: &RackSpec) -> Vec<bool> {
        let carried = |cord: usize| self.carried(spec, cord);
        if (0..spec.feeds.len()).all(|c| carried(c).is_some()) {
            return Vec::new();
        }
        let all = self.gpu_power().map(|g| g + spec.overhead).or_else(|| self.metered());
        let carried: Vec<Option<Watts>> = (0..spec.feeds.len()).map(carried).collect();
        let alive: f64 = spec.feeds.iter().zip(&carried).filter(|(_, c)| c.is_some()).map(|(f, _)| f.share).sum();
        let on_others: Watts = carried.iter().flatten().copied().sum();
        let taken = all.is_some_and(|all| on_others > all * (alive + TAKEN_OVER * (1.0 - alive)));
        carried.iter().map(|c| c.is_none() && taken).collect()
    }
}

impl Decider {
    /// Learns what each cord carries of its rack.
    pub(super) fn learn_cords(&mut self, fleet: &Fleet, now: Mono, dt_s: f64) {
        let part = super::follows(dt_s, OTHER_S);
        for (i, (spec, memory)) in self.topology.racks().iter().zip(&mut self.racks).enumerate() {
            let belief = fleet.rack_at(i, &spec.id).filter(|b| spec.feeds.len() > 1 && b.age(now) <= FRESH);
            let Some(belief) = belief else { continue };
            let carried = || (0..spec.feeds.len()).map(|cord| belief.carried(spec, cord));
            // A cord that is lost says nothing about what it carries otherwise.
            let Some(sum) = carried().sum::<Option<Watts>>() else { continue };
            if memory.cords.len() != spec.feeds.len() {
                memory.cords = carried().flatten().map(|c| c / sum).collect();
            }
            for (known, carried) in memory.cords.iter_mut().zip(carried().flatten()) {
                *known += (carried / sum - *known) * part;
            }
        }
    }

    /// What a cord carries of its rack: what was learned or, where that is nearly what the plan says, the plan.
    pub(super) fn cord(&self, rack: usize, cord: usize) -> f64 {
        if self.is_as_planned(rack) {
            self.topology.racks()[rack].feeds[cord].share
        } else {
            self.racks[rack].cords[cord]
        }
    }

    fn is_as_planned(&self, rack: usize) -> bool {
        let feeds = &self.topology.racks()[rack].feeds;
        let known = &self.racks[rack].cords;
        known.len() != feeds.len() || known.iter().zip(feeds).all(|(k, cord)| (k - cord.share).abs() <= AS_PLANNED)
    }

    /// Where racks are not above what the plan says now.
    pub(super) fn live(&self, fleet: &Fleet, now: Mono) -> Live {
        let topology = &self.topology;
        let beliefs: Vec<Option<&RackBelief>> =
            topology.racks().iter().enumerate().map(|(i, r)| fleet.rack_at(i, &r.id)).collect();
        let own: Vec<Vec<bool>> = topology
            .racks()
            .iter()
            .zip(&beliefs)
            .map(|(spec, belief)| belief.map_or_else(Vec::new, |b| b.lost_cords(spec)))
            .collect();
        let dead_roots = self.dead_roots(fleet, now);
        let uneven = (0..topology.racks().len()).filter(|i| !self.is_as_planned(*i));
        let mut live: Live = uneven.map(|i| (i, self.way(i, &[]))).collect();
        if !dead_roots.contains(&true) && !own.iter().flatten().any(|lost| *lost) {
            return live;
        }
        // When the newest rack that has just lost its cord on each feed was heard.
        let mut since: Vec<Option<Mono>> = vec![None; topology.nodes().len()];
        for ((roots, lost), belief) in self.wiring.cords.iter().zip(&own).zip(&beliefs) {
            for (root, _) in roots.iter().zip(lost).filter(|(_, lost)| **lost) {
                since[*root] = since[*root].max(belief.map(|b| b.arrived));
            }
        }
        let presumed = |rack: usize, root: usize| {
            let heard = beliefs[rack].map(|b| b.arrived);
            let before = |at| heard.is_none_or(|h| h < at && at.since(h) <= FRESH);
            let mute = || beliefs[rack].is_some_and(|b| b.is_mute(&topology.racks()[rack]));
            since[root].is_some_and(|at| now.since(at) <= FRESH && (before(at) || mute()))
        };
        for (i, roots) in self.wiring.cords.iter().enumerate() {
            let fate = |c: usize| {
                let own = own[i].get(c).copied().unwrap_or(false);
                match own || dead_roots[roots[c]] || presumed(i, roots[c]) {
                    false => Fate::Carries,
                    true if own => Fate::Lost,
                    true => self.switched(i, c, &dead_roots).map_or(Fate::Lost, Fate::Switched),
                }
            };
            let fates: Vec<Fate> = (0..roots.len()).map(fate).collect();
            let lost = fates.iter().filter(|fate| **fate == Fate::Lost).count();
            // One that has lost everything draws nothing, whatever was believed of it.
            if fates.iter().any(|fate| *fate != Fate::Carries) && lost < fates.len() {
                live.insert(i, self.way(i, &fates));
            }
        }
        live
    }

    /// The nodes above a cord whose transfer switch has gone to its standby; `None`: it has none that lives.
    fn switched(&self, rack: usize, cord: usize, dead_roots: &[bool]) -> Option<Vec<usize>> {
        let switch = self.topology.switches(rack)[cord].as_ref()?;
        switch.above.last().filter(|root| !dead_roots[**root])?;
        Some(switch.below.iter().chain(&switch.above).copied().collect())
    }

    /// What is above a rack whose cords have come to this; all carry where nothing is said.
    pub(super) fn way(&self, rack: usize, fates: &[Fate]) -> Way {
        let topology = &self.topology;
        let carried: Vec<f64> = (0..topology.racks()[rack].feeds.len()).map(|c| self.cord(rack, c)).collect();
        let fate = |c: usize| fates.get(c).unwrap_or(&Fate::Carries);
        let lost = |c: &usize| *fate(*c) == Fate::Lost;
        let gone: f64 = (0..carried.len()).filter(lost).map(|c| carried[c]).sum();
        let planned = topology.paths(rack);
        let carries = |c: usize| if lost(&c) { 0.0 } else { carried[c] / (1.0 - gone).max(1e-9) };
        let cords: Vec<f64> = (0..carried.len()).map(carries).collect();
        let mut switched = BTreeMap::new();
        let mut on: BTreeMap<usize, f64> = BTreeMap::new();
        for c in (0..carried.len()).filter(|c| !lost(c)) {
            let path = if let Fate::Switched(path) = fate(c) {
                switched.insert(c, path.clone());
                path
            } else {
                &planned[c]
            };
            path.iter().for_each(|n| *on.entry(*n).or_default() += cords[c]);
        }
        // What has no feed keeps the load it had: it comes back with it.
        let mut kept: BTreeMap<usize, f64> = BTreeMap::new();
        for c in (0..carried.len()).filter(|c| *fate(*c) != Fate::Carries) {
            planned[c].iter().filter(|n| !on.contains_key(n)).for_each(|n| *kept.entry(*n).or_default() += carried[c]);
        }
        let dead = kept.keys().copied().collect();
        on.append(&mut kept);
        // What has moved already does not move again.
        let whole = fates.is_empty();
        let moves = if whole { topology.moves_with(rack, &carried) } else { Vec::new() };
        Way { shares: on.into_iter().collect(), moves, cords, switched, dead, whole }
    }

    /// The nodes that a cord loads, and with which share of its rack: the one told, or what it had where there is no feed.
    pub(super) fn loads<'s>(
        &'s self,
        (rack, cord): (usize, usize),
        way: Option<&'s Way>,
        share: f64,
    ) -> impl Iterator<Item = (usize, f64)> {
        let planned = &self.topology.paths(rack)[cord];
        let path = way.and_then(|way| way.switched.get(&cord)).unwrap_or(planned);
        let dead = move |node: &usize| way.is_some_and(|way| way.dead.contains(node));
        let kept = planned.iter().filter(move |node| dead(node)).map(move |node| (*node, self.cord(rack, cord)));
        path.iter().filter(move |node| !dead(node)).map(move |node| (*node, share)).chain(kept)
    }

    /// The nodes and constraints above a rack that are not what the plan says, and last the site.
    pub(super) fn path_of(&self, rack: usize, way: &Way) -> Vec<(usize, f64)> {
        let topology = &self.topology;
        let site = topology.nodes().len();
        let on = |node: usize, phase: Option<usize>, shares: &[f64]| -> f64 {
            let cords = topology.racks()[rack].feeds.iter().zip(shares).enumerate();
            let load = |(c, (cord, share)): (usize, (&FeedShare, &f64))| {
                let loads = self.loads((rack, c), Some(way), *share).filter(|(n, _)| *n == node);
                loads.map(|(_, share)| share).sum::<f64>() * phase.map_or(1.0, |p| cord.phases[p])
            };
            cords.map(load).sum()
        };
        let constrained = topology.constrained(rack).iter().map(|(c, share)| {
            let share = match &topology.constraints()[*c] {
                Constraint::Phase(node, phase) => on(*node, Some(*phase), &way.cords),
                Constraint::Failover { node, failover, phase } => match way.whole {
                    true => on(*node, *phase, &topology.after(rack, *failover, &way.cords)),
                    false => on(*node, *phase, &way.cords),
                },
                Constraint::Standby { .. } | Constraint::Cooling { .. } => *share,
            };
            (site + c, share)
        });
        let constrained = constrained.filter(|(_, share)| *share > 0.0);
        way.shares.iter().copied().chain(constrained).chain(self.grouped(rack, &way.shares)).collect()
    }

    /// Roots whose own meter says that nothing flows.
    fn dead_roots(&self, fleet: &Fleet, now: Mono) -> Vec<bool> {
        let is_dead = |spec: &NodeSpec| {
            let shown = spec.meter.as_ref().filter(|_| spec.parent.is_none());
            let shown = shown.and_then(|m| fleet.meter(&m.rack, &m.device, now));
            shown.is_some_and(|power| power < spec.rating * NOTHING)
        };
        self.topology.nodes().iter().map(is_dead).collect()
    }
}

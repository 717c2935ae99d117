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
use crate::topology::{Constraint, NodeSpec, RackSpec, Topology};
use headroom_rack::{Mono, NodeId, Watts};
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
}

/// Per rack that has one; nothing where all is as planned.
pub(super) type Live = BTreeMap<usize, Way>;

/// The root above each cord and each node.
#[derive(Debug, Clone)]
pub(super) struct Wiring {
    cords: Vec<Vec<usize>>,
    nodes: Vec<usize>,
}

impl Wiring {
    pub(super) fn new(topology: &Topology) -> Self {
        let place: BTreeMap<&NodeId, usize> = topology.nodes().iter().enumerate().map(|(i, n)| (&n.id, i)).collect();
        let mut nodes: Vec<usize> = Vec::with_capacity(topology.nodes().len());
        // Parents come before children.
        for (i, node) in topology.nodes().iter().enumerate() {
            nodes.push(node.parent.as_ref().map_or(i, |parent| nodes[place[parent]]));
        }
        let cords = topology.racks().iter().map(|r| r.feeds.iter().map(|c| nodes[place[&c.node]]).collect()).collect();
        Self { cords, nodes }
    }
}

/// What became of a cord.
#[derive(Debug, Clone, PartialEq)]
enum Fate {
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
            let carried = |b: &RackBelief| (0..spec.feeds.len()).map(|cord| b.carried(spec, cord)).collect();
            // A cord that is lost says nothing about what it carries otherwise.
            let Some(carried): Option<Vec<Watts>> = belief.and_then(carried) else { continue };
            let sum: Watts = carried.iter().copied().sum();
            if memory.cords.len() != carried.len() {
                memory.cords = carried.iter().map(|c| *c / sum).collect();
            }
            for (known, carried) in memory.cords.iter_mut().zip(carried) {
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
        let mut above: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (i, roots) in self.wiring.cords.iter().enumerate() {
            let mut fate = |c: usize| {
                let own = own[i].get(c).copied().unwrap_or(false);
                match own || dead_roots[roots[c]] || presumed(i, roots[c]) {
                    false => Fate::Carries,
                    true if own => Fate::Lost,
                    true => self.switched(i, c, &dead_roots, &mut above).map_or(Fate::Lost, Fate::Switched),
                }
            };
            let fates: Vec<Fate> = (0..roots.len()).map(&mut fate).collect();
            let lost = fates.iter().filter(|fate| **fate == Fate::Lost).count();
            // One that has lost everything draws nothing, whatever was believed of it.
            if fates.iter().any(|fate| *fate != Fate::Carries) && lost < fates.len() {
                live.insert(i, self.way(i, &fates));
            }
        }
        live
    }

    /// The nodes above a cord whose transfer switch has gone to its standby; `None`: it has none that lives.
    fn switched(
        &self,
        rack: usize,
        cord: usize,
        dead_roots: &[bool],
        above: &mut BTreeMap<usize, Vec<usize>>,
    ) -> Option<Vec<usize>> {
        let topology = &self.topology;
        let path = &topology.paths(rack)[cord];
        let at = path.iter().position(|n| topology.nodes()[*n].standby.is_some())?;
        let to = *self.standbys.get(&path[at])?;
        let up = above.entry(to).or_insert_with(|| topology.up(to));
        let lives = !dead_roots[self.wiring.nodes[to]];
        lives.then(|| path[..=at].iter().chain(&*up).copied().collect())
    }

    /// What is above a rack whose cords have come to this; all carry where nothing is said.
    fn way(&self, rack: usize, fates: &[Fate]) -> Way {
        let topology = &self.topology;
        let carried: Vec<f64> = (0..topology.racks()[rack].feeds.len()).map(|c| self.cord(rack, c)).collect();
        let fate = |c: usize| fates.get(c).unwrap_or(&Fate::Carries);
        let lost = |c: &usize| *fate(*c) == Fate::Lost;
        let gone: f64 = (0..carried.len()).filter(lost).map(|c| carried[c]).sum();
        let planned = topology.paths(rack);
        let mut on: BTreeMap<usize, f64> = BTreeMap::new();
        for c in (0..carried.len()).filter(|c| !lost(c)) {
            let path = if let Fate::Switched(path) = fate(c) { path } else { &planned[c] };
            path.iter().for_each(|n| *on.entry(*n).or_default() += carried[c] / (1.0 - gone).max(1e-9));
        }
        // What has no feed keeps the load it had: it comes back with it.
        let mut dead: BTreeMap<usize, f64> = BTreeMap::new();
        for c in (0..carried.len()).filter(|c| *fate(*c) != Fate::Carries) {
            planned[c].iter().filter(|n| !on.contains_key(n)).for_each(|n| *dead.entry(*n).or_default() += carried[c]);
        }
        on.append(&mut dead);
        // What has moved already does not move again.
        let moves = if fates.is_empty() { topology.moves_with(rack, &carried) } else { Vec::new() };
        Way { shares: on.into_iter().collect(), moves }
    }

    /// The nodes and constraints above a rack that are not what the plan says, and last the site: phases of a node
    /// carry more in step with it.
    pub(super) fn path_of(&self, rack: usize, way: &Way) -> Vec<(usize, f64)> {
        let topology = &self.topology;
        let site = topology.nodes().len();
        let find = |shares: &[(usize, f64)], node: usize| shares.iter().find(|s| s.0 == node).map(|s| s.1);
        let times = |node: usize| Some(find(&way.shares, node)? / find(topology.shares(rack), node)?);
        let constrained = topology.constrained(rack).iter().map(|(c, share)| {
            let share = match &topology.constraints()[*c] {
                Constraint::Phase(node, _) => share * times(*node).unwrap_or(1.0),
                Constraint::Failover { node, failover } => {
                    find(&way.shares, *node).unwrap_or(0.0) + find(&way.moves, *failover).unwrap_or(0.0)
                }
                _ => *share,
            };
            (site + c, share)
        });
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

/// For each node with a transfer switch its standby.
pub(super) fn standbys(topology: &Topology) -> BTreeMap<usize, usize> {
    let nodes = topology.nodes();
    let place: BTreeMap<&NodeId, usize> = nodes.iter().enumerate().map(|(i, n)| (&n.id, i)).collect();
    let switched = nodes.iter().enumerate();
    switched.filter_map(|(i, n)| Some((i, *place.get(n.standby.as_ref()?)?))).collect()
}

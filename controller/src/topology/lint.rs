//! What an operator should look at in a tree that can be read: racks on one feed, uneven phases, ratings
//! that promise more than what feeds them, safe shares that are not safe.

use super::loads::{Carried, loads};
use crate::config::{Cooling, Node, Rack, Tree};
use headroom_controller_core::topology::NodeKind;
use headroom_controller_core::{NodeSpec, Topology};
use headroom_rack::{NodeId, Watts};
use std::collections::{BTreeMap, BTreeSet};

/// A phase may lie this far above the mean of the three before somebody should swap plugs.
const UNEVEN: f64 = 0.10;

/// Something to look at.
#[derive(Debug, Clone, PartialEq)]
pub struct Warning {
    /// The node, rack or set of cooling units.
    pub of: String,
    /// What is odd.
    pub problem: String,
    /// What could be done.
    pub remedy: String,
}

/// Everything to look at, racks first.
pub fn lint(tree: &Tree, topology: &Topology) -> Vec<Warning> {
    let mut found = Vec::new();
    for (r, rack) in topology.racks().iter().enumerate() {
        one_feed(topology, r, rack.id.as_str(), &mut found);
    }
    let by_id: BTreeMap<&NodeId, &NodeSpec> = topology.nodes().iter().map(|n| (&n.id, n)).collect();
    let used: BTreeSet<&NodeId> = topology.nodes().iter().flat_map(|n| n.parent.iter().chain(&n.standby)).collect();
    for (node, load) in topology.nodes().iter().zip(loads(topology)) {
        let of = node.id.as_str();
        let mut say = |problem: String, remedy: &str| {
            found.push(Warning { of: of.to_owned(), problem, remedy: remedy.to_owned() });
        };
        if let Some(above) = node.parent.as_ref().and_then(|p| by_id.get(p))
            // Ratings are rounded: watts here, volts there.
            && node.rating > above.rating * 1.005
        {
            say(
                format!(
                    "is rated {} and hangs on {:?}, rated {}",
                    kw(node.rating),
                    above.id.as_str(),
                    kw(above.rating)
                ),
                "check both ratings; the parent trips first",
            );
        }
        if node.kind == NodeKind::Ups && node.meter.is_none() {
            say("has no meter: nobody sees it go on battery".to_owned(), "add meter = \"RACK/DEVICE\"");
        }
        if load.nameplate.total == Watts::ZERO && !used.contains(&node.id) {
            say("carries nothing".to_owned(), "hang a rack on it, or take it out");
        }
        if load.safe.of(node) > node.rating * 1.0001 {
            say(
                format!(
                    "carries {} with every GPU at its safe share, {}",
                    on(&load.safe, node),
                    rated(&load.safe, node)
                ),
                "lower safe_gpu_watts: without a controller this must hold for ever",
            );
        } else if load.safe_after_loss.of(node) > node.rating * node.curve.holds() {
            say(
                format!(
                    "carries {} with every GPU at its safe share once another feed is lost, {}",
                    on(&load.safe_after_loss, node),
                    rated(&load.safe_after_loss, node)
                ),
                "lower safe_gpu_watts, or the loss of a feed while no controller runs takes both",
            );
        }
        if let Some((phase, share)) = load.nameplate.uneven(node, UNEVEN) {
            say(
                format!(
                    "carries {:.0} % of its racks' nameplates on L{}, {:.0} % above the mean of its phases",
                    share * 100.0,
                    phase + 1,
                    (share * 3.0 - 1.0) * 100.0
                ),
                "move cords to another phase: the fullest phase trips it",
            );
        }
    }
    let by_id: BTreeMap<&NodeId, &Node> = tree.nodes.iter().map(|n| (&n.id, n)).collect();
    found.extend(tree.nodes.iter().filter_map(between_lines));
    found.extend(tree.nodes.iter().filter_map(|node| other_feed(node, by_id.get(node.parent.as_ref()?)?)));
    tree.cooling.iter().for_each(|set| cooling(set, &tree.racks, &mut found));
    found
}

/// Voltages that in data centres are between lines: from phase to neutral Canada has 347 of 600, the US 277 of 480 and
/// 120 of 208, Japan 115 of 200. Industry has 400 of 690, which is why this is no mistake.
fn between_lines(node: &Node) -> Option<Warning> {
    let current = node.current.filter(|c| c.phases == 3)?;
    let volts = current.volts.get();
    if !(volts > 350.0 || (199.0..=209.0).contains(&volts)) {
        return None;
    }
    Some(Warning {
        of: node.id.to_string(),
        problem: format!(
            "has volts = {volts} on three phases: volts is phase to neutral, and this looks like line to line"
        ),
        remedy: format!("write volts = {:.0}, or it is rated 73 % too high", volts / 3.0_f64.sqrt()),
    })
}

/// Below a device that fails as a whole, nothing is on another feed.
fn other_feed(node: &Node, above: &Node) -> Option<Warning> {
    use NodeKind::{Breaker, Busway, Pdu, RackPdu, Ups};
    let is_one = matches!(above.kind, Ups | Busway | Pdu | Breaker | RackPdu);
    (is_one && node.feed != above.feed).then(|| Warning {
        of: node.id.to_string(),
        problem: format!("is on feed {:?} and hangs on {:?} of feed {:?}", node.feed, above.id.as_str(), above.feed),
        remedy: "a feed is what fails together: take feed out here, or correct the parent".to_owned(),
    })
}

/// Whether a set of units removes the heat of its racks: at the safe shares also with one unit less, because nobody
/// lowers them then; a unit alone even at the nameplates, because no cap counts on it.
fn cooling(set: &Cooling, racks: &[Rack], found: &mut Vec<Warning>) {
    let mut say = |problem: String, remedy: &str| {
        found.push(Warning { of: set.id.to_string(), problem, remedy: remedy.to_owned() });
    };
    let whole: Watts = set.units.iter().map(|u| u.capacity).sum();
    let left = whole - set.units.iter().map(|u| u.capacity).fold(Watts::ZERO, Watts::max);
    let (safe, nameplate) = (heat(racks, &set.racks, |r| r.safe_gpu), heat(racks, &set.racks, |r| r.gpu_max));
    let is_alone = set.units.len() < 2;
    if is_alone {
        say(
            "is one cooling unit alone: its loss stops its racks".to_owned(),
            "name a second unit, or expect the racks at their floor when it fails",
        );
    }
    let lower = "check capacity_watts, name all units, or lower safe_gpu_watts";
    if safe > whole {
        say(
            format!("removes {} and its racks give off {} with every GPU at its safe share", kw(whole), kw(safe)),
            lower,
        );
    } else if safe > left && !is_alone {
        say(
            format!(
                "removes {} once its largest unit is lost, and its racks give off {} with every GPU at its safe share",
                kw(left),
                kw(safe)
            ),
            lower,
        );
    } else if is_alone && nameplate > whole {
        say(
            format!(
                "removes {} and its racks give off up to {}, which no cap holds for a unit alone",
                kw(whole),
                kw(nameplate)
            ),
            "check capacity_watts; with a second unit, racks are held to what is removed",
        );
    }
}

fn one_feed(topology: &Topology, r: usize, id: &str, found: &mut Vec<Warning>) {
    let (paths, nodes) = (topology.paths(r), topology.nodes());
    let on = paths.iter().filter_map(|p| p.first().copied());
    // A transfer switch helps against the loss of a feed if its other side is on another.
    let standbys = paths.iter().flatten().filter_map(|n| nodes[*n].standby.as_ref());
    let others: Vec<usize> = standbys.filter_map(|s| nodes.iter().position(|n| n.id == *s)).collect();
    let feeds: BTreeSet<&str> = on.chain(others.iter().copied()).map(|n| nodes[n].feed.as_str()).collect();
    let switched = !others.is_empty();
    let mut say = |problem: String, remedy: &str| {
        found.push(Warning { of: id.to_owned(), problem, remedy: remedy.to_owned() });
    };
    if feeds.len() == 1 {
        let feed = feeds.into_iter().next().unwrap_or_default();
        say(
            format!("hangs on feed {feed:?} alone: the loss of that feed stops it"),
            "give it a second cord on another feed",
        );
        return;
    }
    let common = paths.iter().map(|p| p.iter().copied().collect::<BTreeSet<_>>()).reduce(|a, b| &a & &b);
    let shared = common.into_iter().flatten().filter(|n| paths.len() > 1 && nodes[*n].kind != NodeKind::Utility).min();
    if let Some(shared) = shared.filter(|_| !switched) {
        say(
            format!("has all its cords behind {:?}", nodes[shared].id.as_str()),
            "hang the second cord on something that does not fail with the first",
        );
    }
}

/// What is carried, where the device that trips feels it: on its fullest phase if that is fuller than others.
fn on(carried: &Carried, node: &NodeSpec) -> String {
    match carried.fullest(node) {
        Some((phase, watts)) => format!("{} on L{}", kw(watts), phase + 1),
        None => kw(carried.total),
    }
}

/// The rating to hold it against.
fn rated(carried: &Carried, node: &NodeSpec) -> String {
    match carried.fullest(node) {
        Some(_) => format!("rated {} per phase", kw(node.rating / 3.0)),
        None => format!("rated {}", kw(node.rating)),
    }
}

pub(super) fn kw(power: Watts) -> String {
    format!("{:.1} kW", power.get() / 1e3)
}

/// What the racks of a set of cooling units, known by name, give off with each GPU at this power.
pub(super) fn heat(racks: &[Rack], names: &[headroom_rack::RackId], gpu: impl Fn(&Rack) -> Watts) -> Watts {
    let of = |r: &&Rack| names.contains(&r.id);
    racks.iter().filter(of).map(|r| r.overhead + gpu(r) * f64::from(r.gpus)).sum()
}

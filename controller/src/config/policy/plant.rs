//! A policy held against the plant: floors that no GPU can draw, floors that alone are more than a node carries, and
//! watts that cannot be kept or change nothing.

use super::super::document::{Mistake, Mistakes};
use super::super::{Rack, Tree};
use super::bounds::{Key, Of, Place, Stated, Written, sets};
use headroom_controller_core::Rules;
use headroom_rack::{NodeId, Watts};
use std::collections::{BTreeMap, BTreeSet};

/// Sums of shares are not exact.
const EXACT: f64 = 1.0001;

/// What no controller can keep to, and what should be looked at. A floor above what a GPU can draw is noted as a mistake.
pub(super) fn hold(rules: &Rules, written: &Written, tree: &Tree, m: &Mistakes) -> (Vec<Mistake>, Vec<Mistake>) {
    let mut held = Held { rules, written, tree, m, told: BTreeSet::new(), dangers: Vec::new(), warnings: Vec::new() };
    held.no_effect();
    let mut above = BTreeMap::new();
    for set in sets(rules) {
        held.look(&set, &mut above);
    }
    for ((_, of, _), (floor, racks)) in above {
        let racks: Vec<&Rack> = racks.into_iter().map(|rack| &tree.racks[rack]).collect();
        let most = racks.iter().map(|r| r.gpu_max.get()).fold(f64::INFINITY, f64::min);
        let own = if matches!(of, Of::Rack(_)) {
            ""
        } else {
            ", or give that rack a floor of its own: [[rack]] in a policy file"
        };
        let problem = format!(
            "floor_gpu_watts = {} is above what a GPU can draw at most: {most} W in {}",
            floor.watts.get(),
            names(&racks)
        );
        m.add(floor.at.unwrap_or(0), problem, format!("write floor_gpu_watts = {most} or less{own}"));
    }
    (held.dangers, held.warnings)
}

/// Floors above what a GPU draws, and the racks for which they hold.
type Above = BTreeMap<Place, (Stated, BTreeSet<usize>)>;

struct Held<'a> {
    rules: &'a Rules,
    written: &'a Written,
    tree: &'a Tree,
    m: &'a Mistakes,
    /// Each thing is told once, under the first rules that bring it about.
    told: BTreeSet<(&'static str, String)>,
    dangers: Vec<Mistake>,
    warnings: Vec<Mistake>,
}

impl Held<'_> {
    /// Looks at the plant while these rules are in force and every GPU is at its floor.
    fn look(&mut self, set: &[usize], above: &mut Above) {
        let mut floors = Vec::with_capacity(self.tree.racks.len());
        let mut places: BTreeMap<Place, (usize, Stated)> = BTreeMap::new();
        let mut classes: BTreeMap<&str, Option<(Place, Stated)>> = BTreeMap::new();
        for (i, rack) in self.tree.racks.iter().enumerate() {
            let class = self.rules.base.band(&rack.id, &rack.priority);
            let own = rack.id.as_str();
            let holding = |rack| self.written.holding(set, rack, Some(class), Key::Floor);
            let floor = match self.written.is_plain(own) {
                true => classes.entry(class).or_insert_with(|| holding(None)).clone(),
                false => holding(Some(own)),
            };
            let watts = floor.as_ref().map_or(Watts::ZERO, |(_, stated)| stated.watts.min(rack.gpu_max));
            floors.push(rack.overhead + watts * f64::from(rack.gpus));
            let Some((place, stated)) = floor else { continue };
            // A default says nothing of racks with small GPUs.
            if stated.watts > rack.gpu_max && stated.at.is_some() {
                above.entry(place.clone()).or_insert_with(|| (stated, BTreeSet::new())).1.insert(i);
            }
            places.entry(place).or_insert((0, stated)).0 += 1;
        }
        let loads = loads(self.tree, &floors);
        // The mistake stands where the floor does that most racks have.
        let most = places.iter().max_by_key(|(_, (racks, _))| *racks);
        let (at, said) = most.map_or((0, String::new()), |(place, (_, stated))| {
            (
                stated.at.unwrap_or(0),
                format!(" ({} W {})", stated.watts.get(), self.written.said(place, stated.at, self.rules)),
            )
        });
        for (node, load) in self.tree.nodes.iter().zip(&loads) {
            let (name, rating, derate) = (node.id.as_str(), node.rating, self.rules.base.derate);
            let carries = format!("node {name:?} carries {} with every GPU at its floor{said}", kw(*load));
            if *load > rating * EXACT && self.told.insert(("rating", name.to_owned())) {
                let problem =
                    format!("{carries}, rated {}: no limit can keep it from that{}", kw(rating), self.during(set));
                let remedy = format!("lower the floors of its racks: {} must go", kw(*load - rating * derate));
                self.dangers.push(self.m.made(at, problem, remedy));
            } else if *load > rating * (derate * EXACT) && self.told.insert(("derate", name.to_owned())) {
                let most = kw(rating * derate);
                let problem = format!("{carries}, and derate = {derate} leaves it {most}{}", self.during(set));
                let remedy = format!("lower the floors of its racks: {} must go", kw(*load - rating * derate));
                self.warnings.push(self.m.made(at, problem, remedy));
            }
            self.cap(set, &node.id, *load);
        }
        let all: Watts = floors.iter().copied().sum();
        for (scope, site) in self.written.sites.iter().filter(|(scope, _)| scope.is_none_or(|r| set.contains(&r))) {
            if all > site.watts * EXACT && self.told.insert(("site", format!("{scope:?}"))) {
                let problem = format!(
                    "site_watts = {} is less than the {} that all racks draw with every GPU at its floor{said}: it cannot be kept",
                    site.watts.get(),
                    kw(all)
                );
                let remedy = "write more, or lower the floors";
                self.warnings.push(self.m.made(site.at.unwrap_or(0), problem, remedy));
            }
        }
    }

    /// A node's watts that the floors alone exceed.
    fn cap(&mut self, set: &[usize], node: &NodeId, load: Watts) {
        for ((scope, _), most) in self.written.nodes.iter().filter(|((_, n), _)| n == node) {
            let holds = scope.is_none_or(|rule| set.contains(&rule)) && load > most.watts * EXACT;
            if holds && self.told.insert(("watts", format!("{scope:?} {node}"))) {
                let problem = format!(
                    "watts = {} of node {:?} is less than the {} that it carries with every GPU at its floor: it cannot be kept{}",
                    most.watts.get(),
                    node.as_str(),
                    kw(load),
                    self.during(set)
                );
                let remedy = "write more, or lower the floors of its racks";
                self.warnings.push(self.m.made(most.at.unwrap_or(0), problem, remedy));
            }
        }
    }

    /// Watts above a node's rating change nothing.
    fn no_effect(&mut self) {
        for ((_, node), most) in &self.written.nodes {
            let Some(found) = self.tree.nodes.iter().find(|n| n.id == *node) else { continue };
            if most.watts > found.rating * EXACT {
                let (name, rating) = (node.as_str(), found.rating.get().floor());
                let problem = format!(
                    "watts = {} of node {name:?} is above its rating of {rating} W, which holds in any case",
                    most.watts.get()
                );
                let remedy = format!("write less than {rating}, or take it out: it has no effect");
                self.warnings.push(self.m.made(most.at.unwrap_or(0), problem, remedy));
            }
        }
    }

    fn during(&self, set: &[usize]) -> String {
        let names: Vec<String> = set.iter().map(|rule| format!("{:?}", self.rules.rules[*rule].name)).collect();
        if names.is_empty() { String::new() } else { format!(", while {} is in force", names.join(" with ")) }
    }
}

/// What each node carries when the racks draw this, all cords there.
fn loads(tree: &Tree, racks: &[Watts]) -> Vec<Watts> {
    let place: BTreeMap<&NodeId, usize> = tree.nodes.iter().enumerate().map(|(i, n)| (&n.id, i)).collect();
    let mut loads = vec![Watts::ZERO; tree.nodes.len()];
    for (rack, watts) in tree.racks.iter().zip(racks) {
        for cord in &rack.feeds {
            let mut next = Some(&cord.node);
            while let Some(node) = next.and_then(|id| place.get(id)) {
                loads[*node] += *watts * cord.share;
                next = tree.nodes[*node].parent.as_ref();
            }
        }
    }
    loads
}

fn kw(watts: Watts) -> String {
    format!("{:.1} kW", watts.get() / 1000.0)
}

/// The first racks of many, for a line that can be read.
fn names(racks: &[&Rack]) -> String {
    const SHOWN: usize = 8;
    let more = racks.len().saturating_sub(SHOWN);
    let shown: Vec<&str> = racks.iter().take(SHOWN).map(|r| r.id.as_str()).collect();
    shown.join(", ") + &if more > 0 { format!(" and {more} more") } else { String::new() }
}

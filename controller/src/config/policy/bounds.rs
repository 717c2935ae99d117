//! What a policy says in several places, held against itself: floors and ceilings of limits, classes, racks and
//! rules, in every combination of rules that is ever in force. What the plant makes of it is in `plant.rs`.

use super::super::Tree;
use super::super::document::Mistakes;
use headroom_controller_core::Rules;
use headroom_rack::{NodeId, RackId, Watts};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Of what a bound is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Of {
    Limits,
    Class(String),
    Rack(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Key {
    Floor,
    Ceiling,
}

/// A number and where it is written; nowhere, if it is the default.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stated {
    pub watts: Watts,
    pub at: Option<usize>,
}

/// The rule in which something is said; none: outside all rules.
type Scope = Option<usize>;

/// A statement of a bound.
pub(super) type Place = (Scope, Of, Key);

/// Everything said in watts, with where it stands.
#[derive(Debug)]
pub(super) struct Written {
    /// The table of what holds for every GPU.
    limits: &'static str,
    /// The rule that is being read.
    pub rule: Scope,
    /// Where each rule stands.
    pub rules: Vec<usize>,
    bounds: BTreeMap<(Of, Key), BTreeMap<Scope, Stated>>,
    /// Racks with bounds of their own.
    racks: BTreeSet<String>,
    pub nodes: BTreeMap<(Scope, NodeId), Stated>,
    pub sites: BTreeMap<Scope, Stated>,
}

impl Written {
    pub fn new(limits: &'static str) -> Self {
        let (bounds, nodes, sites) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Self { limits, rule: None, rules: Vec::new(), bounds, racks: BTreeSet::new(), nodes, sites }
    }

    /// Where something is said, in words.
    pub fn said<'a>(&self, place: &'a Place, at: Option<usize>, rules: &'a Rules) -> Said<'a> {
        Said { limits: self.limits, place, at, rules }
    }

    pub fn floor(&mut self, watts: Watts, at: Option<usize>) {
        self.bound(Of::Limits, Key::Floor, Stated { watts, at });
    }

    pub fn bound(&mut self, of: Of, key: Key, stated: Stated) {
        if let Of::Rack(rack) = &of {
            self.racks.insert(rack.clone());
        }
        self.bounds.entry((of, key)).or_default().insert(self.rule, stated);
    }

    pub fn node(&mut self, node: NodeId, stated: Stated) {
        self.nodes.insert((self.rule, node), stated);
    }

    pub fn site(&mut self, stated: Stated) {
        self.sites.insert(self.rule, stated);
    }

    /// Whether the rack is only one of its class.
    pub fn is_plain(&self, rack: &str) -> bool {
        !self.racks.contains(rack)
    }

    /// What holds for a rack or, without one, for a class while these rules are in force: the rack before its class,
    /// later rules before earlier ones, and all of them before the limits. Without a class nobody knows.
    pub fn holding(
        &self,
        rules: &[usize],
        rack: Option<&str>,
        class: Option<&str>,
        key: Key,
    ) -> Option<(Place, Stated)> {
        let own = [rack.map(|r| Of::Rack(r.to_owned())), class.map(|c| Of::Class(c.to_owned()))];
        own.into_iter().flatten().chain(class.map(|_| Of::Limits)).find_map(|of| {
            let of = (of, key);
            let said = self.bounds.get(&of)?;
            let mut scopes = rules.iter().rev().map(|rule| Some(*rule)).chain([None]);
            let (scope, stated) = scopes.find_map(|scope| Some((scope, *said.get(&scope)?)))?;
            Some(((scope, of.0, key), stated))
        })
    }

    /// Notes each ceiling below a floor that holds at the same time.
    pub fn contradictions(&self, rules: &Rules, tree: Option<&Tree>, m: &Mistakes) {
        let classes = rules.base.bands.iter().map(String::as_str);
        let named =
            self.bounds.keys().filter_map(|(of, _)| if let Of::Class(c) = of { Some(c.as_str()) } else { None });
        let classes: BTreeSet<&str> = classes.chain(named).collect();
        let racks = self.racks(rules, tree);
        let all = classes.iter().map(|class| (None, Some(*class)));
        let all: Vec<(Option<&str>, Option<&str>)> = all.chain(racks.iter().map(|(r, c)| (Some(*r), *c))).collect();
        let mut told = BTreeSet::new();
        for set in sets(rules) {
            for (rack, class) in &all {
                let bound = |key| self.holding(&set, *rack, *class, key);
                let (Some((under, floor)), Some((over, ceiling))) = (bound(Key::Floor), bound(Key::Ceiling)) else {
                    continue;
                };
                let new = ceiling.watts < floor.watts && told.insert((over, under.clone()));
                if let Some(at) = ceiling.at.filter(|_| new) {
                    let (ceiling, floor, of) =
                        (ceiling.watts.get(), floor.watts.get(), self.said(&under, floor.at, rules));
                    m.add(
                        at,
                        format!("ceiling_gpu_watts = {ceiling} is below floor_gpu_watts = {floor} {of}"),
                        format!(
                            "write ceiling_gpu_watts = {floor} or more, or lower that floor: no GPU is limited below it"
                        ),
                    );
                }
            }
        }
    }

    /// Notes each rule that is in force at no time, on or off.
    pub fn never(&self, rules: &Rules, m: &Mistakes) {
        let ever: BTreeSet<usize> = sets(rules).into_iter().flatten().collect();
        for (rule, at) in self.rules.iter().enumerate().filter(|(rule, _)| !ever.contains(rule)) {
            let problem =
                format!("rule {:?} is never in force: its days, dates and times do not meet", rules.rules[rule].name);
            m.add(*at, problem, "leave out days or dates, or write a time that is not over as it begins");
        }
    }

    /// Every rack with bounds of its own, and its class, where that is known.
    fn racks<'a>(&'a self, rules: &'a Rules, tree: Option<&'a Tree>) -> BTreeMap<&'a str, Option<&'a str>> {
        let racks = tree.map_or(&[][..], |tree| &tree.racks).iter().filter(|r| !self.is_plain(r.id.as_str()));
        let classes: BTreeMap<&str, &str> =
            racks.map(|r| (r.id.as_str(), rules.base.band(&r.id, &r.priority))).collect();
        let said = |rack: &str| rules.base.priorities.get(&RackId::new(rack).ok()?).map(String::as_str);
        self.racks
            .iter()
            .map(|rack| (rack.as_str(), classes.get(rack.as_str()).copied().or_else(|| said(rack))))
            .collect()
    }
}

/// Every set of rules to look at: those that are ever in force together, and each that is switched off as if it were not,
/// for it is switched on when there is no time to correct it.
pub(super) fn sets(rules: &Rules) -> BTreeSet<Vec<usize>> {
    let mut sets = rules.together();
    for off in (0..rules.rules.len()).filter(|rule| !rules.rules[*rule].active) {
        let mut on = rules.clone();
        on.rules[off].active = true;
        sets.extend(on.together());
    }
    sets
}

/// Where something is said, in words.
pub(super) struct Said<'a> {
    limits: &'static str,
    place: &'a Place,
    at: Option<usize>,
    rules: &'a Rules,
}

impl fmt::Display for Said<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { limits, place: (scope, of, _), at, rules } = self;
        match of {
            Of::Limits if at.is_none() => write!(f, "of {limits}, where it is not written: the default")?,
            Of::Limits => write!(f, "of {limits}")?,
            Of::Class(class) => write!(f, "of class {class:?}")?,
            Of::Rack(rack) => write!(f, "of rack {rack:?}")?,
        }
        match scope {
            Some(rule) => write!(f, " in rule {:?}", rules.rules[*rule].name),
            None => Ok(()),
        }
    }
}

//! Names in a plant, and what is known by them while it is read: that each is used once, that those named
//! exist, that parents lead to a root.

use super::super::document::{Mistakes, Spot};
use std::collections::{BTreeMap, BTreeSet};

/// What is collected over all entries, to be held against each other at the end.
#[derive(Default)]
pub(super) struct Names {
    pub nodes: BTreeMap<String, usize>,
    pub racks: BTreeMap<String, usize>,
    /// Cooling sets and units.
    pub cooling: BTreeMap<String, usize>,
    /// Spots that must name a node.
    pub hung: Vec<Spot<String>>,
    /// Child, where its parent is written, and the parent; several if an id is used twice.
    pub parents: BTreeMap<String, Vec<Spot<String>>>,
    /// The node behind the transfer switch, and its standby.
    pub standbys: Vec<(String, Spot<String>)>,
    /// Feeds as written.
    pub feeds: BTreeMap<String, String>,
    /// Phases as written; 3 for a rating in amperes that says none.
    pub phased: BTreeMap<String, Spot<u32>>,
    /// Inlets of racks that say what they hang on.
    pub cords: Vec<Cord>,
    /// Spots that must name a rack.
    pub cooled: Vec<Spot<String>>,
    pub meters: Vec<Spot<String>>,
}

/// An inlet of a rack as written.
pub(super) struct Cord {
    /// Where it stands.
    pub at: usize,
    /// The node it hangs on.
    pub node: String,
    /// Share on each phase, if it says so.
    pub phases: Option<[f64; 3]>,
}

/// What has a name.
#[derive(Clone, Copy)]
pub(super) enum What {
    Node,
    Rack,
    Cooling,
}

impl Names {
    pub fn take(&mut self, spot: Option<&Spot<String>>, what: What, m: &Mistakes) {
        let Some(spot) = spot else { return };
        if [&self.nodes, &self.racks, &self.cooling].iter().any(|names| names.contains_key(&spot.value)) {
            m.add(spot.at, format!("{:?} is used twice", spot.value), "give each its own id");
        }
        let names = match what {
            What::Node => &mut self.nodes,
            What::Rack => &mut self.racks,
            What::Cooling => &mut self.cooling,
        };
        names.insert(spot.value.clone(), spot.at);
    }

    pub fn resolve(&self, m: &Mistakes) {
        let known = listed(self.nodes.keys());
        for spot in self.hung.iter().filter(|s| !self.nodes.contains_key(&s.value)) {
            let remedy = format!("write one of {known}, or add it as [[node]]");
            m.add(spot.at, format!("no node is named {:?}", spot.value), remedy);
        }
        for spot in self.cooled.iter().filter(|s| !self.racks.contains_key(&s.value)) {
            let remedy = format!("write racks out of {}", listed(self.racks.keys()));
            m.add(spot.at, format!("no rack is named {:?}", spot.value), remedy);
        }
        for spot in &self.meters {
            let rack = spot.value.split('/').next().unwrap_or_default();
            if !self.racks.contains_key(rack) {
                let remedy = format!(
                    "write RACK/DEVICE with RACK one of {}: the agent that reads the device",
                    listed(self.racks.keys())
                );
                m.add(spot.at, format!("meter = {:?}: no rack is named {rack:?}", spot.value), remedy);
            }
        }
    }
}

impl Names {
    /// The feed of a node: its own or that of the nearest node above that says one. In a circle, which is a mistake
    /// of its own, an empty one.
    pub fn feed(&self, of: &str) -> Option<String> {
        let found = self.path(of).find_map(|name| self.feeds.get(name)).cloned();
        let is_round = || self.path(of).last().is_some_and(|top| self.parents.contains_key(top));
        found.or_else(|| is_round().then(String::new))
    }

    fn above(&self, of: &str) -> impl Iterator<Item = &Spot<String>> {
        self.parents.get(of).into_iter().flatten()
    }

    /// The node and those above it, from the nearest up. A circle is followed once.
    pub fn path<'n>(&'n self, of: &'n str) -> impl Iterator<Item = &'n str> {
        let above = |name: &&str| self.above(name).next().map(|p| p.value.as_str());
        std::iter::successors(Some(of), above).take(self.nodes.len() + 1)
    }

    /// Phases of a node: what is rated in watts and says none has those of what is above it.
    pub fn phases(&self, of: &str) -> u32 {
        self.path(of).find_map(|name| self.phased.get(name)).map_or(3, |spot| spot.value)
    }

    /// Reports each circle of parents once.
    pub fn circles(&self, m: &Mistakes) {
        let mut done: BTreeSet<&str> = BTreeSet::new();
        for start in self.parents.keys() {
            self.circles_from(start, &mut Vec::new(), &mut done, m);
        }
    }

    fn circles_from<'n>(&'n self, name: &'n str, path: &mut Vec<&'n str>, done: &mut BTreeSet<&'n str>, m: &Mistakes) {
        if done.contains(name) {
            return;
        }
        path.push(name);
        for parent in self.above(name) {
            let Some(from) = path.iter().position(|p| *p == parent.value) else {
                self.circles_from(&parent.value, path, done, m);
                continue;
            };
            let round = path[from..].iter().chain([&path[from]]).map(|n| format!("{n:?}")).collect::<Vec<_>>();
            let remedy = "follow the cable upwards: one of these parents is wrong, a tree has a root";
            m.add(parent.at, format!("{} hang in a circle", round.join(" on ")), remedy);
        }
        path.pop();
        done.insert(name);
    }

    /// A standby that fails with the node it stands by for, or hangs on it, is none.
    pub fn standbys(&self, m: &Mistakes) {
        for (node, standby) in &self.standbys {
            let name = standby.value.as_str();
            let place = match name {
                _ if name == node => "itself",
                _ if self.path(node).any(|n| n == name) => "above it: it fails with what it stands by for",
                _ if self.path(name).any(|n| n == node) => "below it: it hangs on what it stands by for",
                _ => continue,
            };
            let problem = format!("standby = {name:?}: the standby of {node:?} is {place}");
            m.add(standby.at, problem, "name what takes over when the parent fails: a node on a way of its own");
        }
    }

    /// One meter shows one circuit.
    pub fn metered_twice(&self, m: &Mistakes) {
        let mut seen: BTreeSet<&str> = BTreeSet::new();
        for spot in self.meters.iter().filter(|s| !seen.insert(&s.value)) {
            let problem = format!("meter = {:?} is the meter of another node already", spot.value);
            m.add(spot.at, problem, "give each node its own, or leave meter out where there is none");
        }
    }
}

/// The first names of many, for a remedy that can be read.
fn listed<'a>(names: impl ExactSizeIterator<Item = &'a String>) -> String {
    const SHOWN: usize = 12;
    let more = names.len().saturating_sub(SHOWN);
    let mut text = names.take(SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
    if more > 0 {
        text.push_str(&format!(" and {more} more"));
    }
    text
}

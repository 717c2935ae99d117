//! Devices with outlets: PDUs in racks, and what stands between them and a power feed, a UPS above all.

use super::tables::{id_of, label, number, text};
use super::{Breaker, Import};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

/// The outlets of a device that are fed together: by the device and, where ports feed outlets of their own, the port.
type Key = (u64, u64);

/// Outlets that hang on a feed.
pub(super) struct Strip<'v> {
    pub device: &'v Value,
    pub node: String,
    pub phases: u32,
    /// The phase of the feed above, if it has one and NetBox knows it.
    pub on: Option<String>,
    /// Outlets and their legs.
    pub outlets: BTreeMap<u64, Option<String>>,
    /// Whether other strips hang on it, so that it is not a rack's own.
    pub is_above: bool,
    /// The other side of a transfer switch.
    pub standby: Option<String>,
    watts: f64,
}

/// A strip before it is known where it hangs.
struct Loose<'v> {
    ports: Vec<&'v Value>,
    outlets: BTreeMap<u64, Option<String>>,
    name: String,
    device: &'v Value,
}

impl<'v> Import<'v> {
    /// All strips, written from the feeds down.
    pub(super) fn strips(&mut self, breakers: &BTreeMap<u64, Breaker>) -> BTreeMap<Key, Strip<'v>> {
        let mut loose = self.loose();
        let by_outlet: BTreeMap<u64, Key> =
            loose.iter().flat_map(|(key, strip)| strip.outlets.keys().map(|id| (*id, *key))).collect();
        let above = |import: &Self, strip: &Loose<'_>| -> Vec<Key> {
            let ends = strip.ports.iter().flat_map(|port| import.tables.ends(port, "power-outlets"));
            ends.filter_map(|outlet| by_outlet.get(&outlet).copied()).collect()
        };
        let feeding: BTreeSet<Key> = loose.values().flat_map(|strip| above(self, strip)).collect();
        let mut strips: BTreeMap<Key, Strip<'v>> = BTreeMap::new();
        // First what has all above it; if nothing is left of that, what has something.
        for all in [true, false] {
            loop {
                let is_next = |(_, strip): &(&Key, &Loose<'v>)| {
                    let known = above(self, strip).iter().filter(|key| strips.contains_key(key)).count();
                    let on_feed = strip.ports.iter().flat_map(|p| self.tables.ends(p, "power-feeds"));
                    let on_feed = on_feed.filter(|id| breakers.contains_key(id)).count();
                    known + on_feed > 0 && (!all || known == above(self, strip).len())
                };
                let Some(key) = loose.iter().find(is_next).map(|(key, _)| *key) else { break };
                let Some(strip) = loose.remove(&key) else { break };
                let parents = self.parents(&strip, breakers, &by_outlet, &strips);
                let strip = self.strip(strip, &parents, feeding.contains(&key));
                strips.insert(key, strip);
            }
        }
        for strip in loose.values() {
            match strip.ports.first() {
                Some(port) => {
                    let of = label(&port["device"]);
                    self.open.push(format!("the port {:?} of {of:?} hangs on no feed", label(port)));
                }
                None => self.open.push(format!("{:?} has outlets and no power port: it is left out", strip.name)),
            }
        }
        strips
    }

    /// Strips by device; a device whose ports feed outlets of their own is several.
    fn loose(&self) -> BTreeMap<Key, Loose<'v>> {
        let tables = self.tables;
        let mut loose: BTreeMap<Key, Loose<'v>> = BTreeMap::new();
        let mut fed: BTreeMap<u64, BTreeSet<u64>> = BTreeMap::new();
        for outlet in tables.of("power-outlets") {
            if let Some(device) = id_of(&outlet["device"]) {
                fed.entry(device).or_default().extend(id_of(&outlet["power_port"]));
            }
        }
        let is_several = |device: u64| fed.get(&device).is_some_and(|ports| ports.len() > 1);
        for outlet in tables.of("power-outlets") {
            let (Some(device), Some(id)) = (id_of(&outlet["device"]), id_of(outlet)) else { continue };
            let about = tables.find("devices", device).unwrap_or(&outlet["device"]);
            let port = id_of(&outlet["power_port"]).filter(|_| is_several(device)).unwrap_or(0);
            let new = || Loose { ports: Vec::new(), outlets: BTreeMap::new(), name: label(about), device: about };
            loose.entry((device, port)).or_insert_with(new).outlets.insert(id, text(outlet, "feed_leg"));
        }
        for port in tables.of("power-ports") {
            let (Some(device), Some(id)) = (id_of(&port["device"]), id_of(port)) else { continue };
            let key = (device, if is_several(device) { id } else { 0 });
            if let Some(strip) = loose.get_mut(&key) {
                strip.ports.push(port);
                if is_several(device) {
                    strip.name = format!("{} {}", strip.name, label(port));
                }
            }
        }
        loose
    }

    /// What a strip hangs on: node, watts, phases and which one.
    fn parents(
        &self,
        strip: &Loose<'_>,
        breakers: &BTreeMap<u64, Breaker>,
        by_outlet: &BTreeMap<u64, Key>,
        strips: &BTreeMap<Key, Strip<'v>>,
    ) -> Vec<(String, f64, u32, Option<String>)> {
        let mut parents: Vec<(String, f64, u32, Option<String>)> = Vec::new();
        for port in &strip.ports {
            let feeds = self.tables.ends(port, "power-feeds").into_iter().filter_map(|id| breakers.get(&id));
            let feeds = feeds.map(|b| (b.node.clone(), b.watts, b.phases, b.on.clone()));
            let outlets = self.tables.ends(port, "power-outlets").into_iter();
            let outlets = outlets.filter_map(|outlet| {
                let key = by_outlet.get(&outlet)?;
                let above = strips.get(key)?;
                let leg = above.outlets.get(&outlet).cloned().flatten().and_then(|leg| line(&leg));
                Some((above.node.clone(), above.watts, above.phases, above.on.clone().or(leg.map(str::to_owned))))
            });
            let new: Vec<_> = feeds.chain(outlets).filter(|new| parents.iter().all(|p| p.0 != new.0)).collect();
            parents.extend(new);
        }
        parents
    }

    fn strip(&mut self, strip: Loose<'v>, parents: &[(String, f64, u32, Option<String>)], is_above: bool) -> Strip<'v> {
        let (parent, most, phases, on) = parents[0].clone();
        let id = strip.ports.first().and_then(|port| id_of(port)).unwrap_or_default();
        let node = self.names.take("strip", id, &strip.name);
        let is_ups = is_ups(strip.device);
        let kind = match (is_ups, is_above) {
            (true, _) => "ups",
            (_, true) => "pdu",
            _ => "rack-pdu",
        };
        let told = strip.ports.iter().find_map(|port| number(port, "maximum_draw")).filter(|w| *w > 0.0);
        let watts = told.unwrap_or(most);
        let _ = write!(
            self.toml,
            "\n[[node]]\nid = \"{node}\"\nkind = \"{kind}\"\nparent = \"{parent}\"\nrating_watts = {watts:.1}\n"
        );
        if is_ups {
            self.open.push(format!("UPS {node}: check rating_watts, and write its curve, battery and meter"));
        }
        let standby = parents.get(1).map(|p| p.0.as_str());
        match standby {
            Some(other) if self.way(other).contains(&parent.as_str()) || self.way(&parent).contains(&other) => {
                self.open
                    .push(format!("{node} hangs on {parent} and on {other} of the same way: the second is left out"));
            }
            Some(other) => {
                let _ = writeln!(self.toml, "standby = \"{other}\"");
                self.open.push(format!(
                    "{node} has ports on {parent} and {other}: taken for a transfer switch with {other} as its standby"
                ));
            }
            None => {}
        }
        let standby = standby.map(str::to_owned);
        self.above.insert(node.clone(), parent);
        Strip { device: strip.device, node, phases, on, outlets: strip.outlets, is_above, standby, watts }
    }
}

/// By its role or its type.
fn is_ups(device: &Value) -> bool {
    let words = [&device["role"], &device["device_role"], &device["device_type"]];
    let words = words.iter().flat_map(|v| ["slug", "name", "model"].map(|key| v[key].as_str().unwrap_or_default()));
    words
        .flat_map(|text| text.split(|c: char| !c.is_alphanumeric()).collect::<Vec<_>>())
        .any(|w| w.eq_ignore_ascii_case("ups"))
}

/// NetBox's leg in words of a topology.
pub(super) fn line(leg: &str) -> Option<&'static str> {
    ["A", "B", "C"].iter().position(|l| *l == leg).map(|place| ["L1", "L2", "L3"][place])
}

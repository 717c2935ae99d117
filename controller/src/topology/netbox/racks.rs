//! Racks, and the cords by which they hang on PDUs or on feeds of their own.

use super::strips::{Strip, line};
use super::tables::{Tables, id_of, label, number};
use super::{Breaker, Import, custom};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

/// One inlet.
struct Cord {
    node: String,
    meter: String,
    phases: Phases,
}

enum Phases {
    All,
    Shares([f64; 3]),
    One(String),
    /// One of three, and NetBox does not know which.
    Unknown,
}

impl<'v> Import<'v> {
    /// Writes all racks that hang on something; how many.
    pub(super) fn racks<K>(&mut self, breakers: &BTreeMap<u64, Breaker>, strips: &BTreeMap<K, Strip<'v>>) -> usize {
        let tables = self.tables;
        let mut named: BTreeMap<u64, &Value> = tables.of("racks").filter_map(|r| Some((id_of(r)?, r))).collect();
        for strip in strips.values().filter(|s| !s.is_above) {
            match id_of(&strip.device["rack"]) {
                Some(id) => {
                    named.entry(id).or_insert(&strip.device["rack"]);
                }
                None => self.open.push(format!("{} is in no rack: nothing hangs on it", strip.node)),
            }
        }
        let mut count = 0;
        for (id, rack) in named {
            let own: Vec<&Strip<'v>> = strips.values().filter(|s| id_of(&s.device["rack"]) == Some(id)).collect();
            let mut cords: Vec<Cord> = Vec::new();
            for strip in own.iter().filter(|s| !s.is_above) {
                let phases = self.phases(strip);
                cords.push(Cord { node: strip.node.clone(), meter: strip.node.clone(), phases });
            }
            let feeds = tables.of("power-feeds").filter(|f| id_of(&f["rack"]) == Some(id));
            let feeds: Vec<&Breaker> = feeds.filter_map(|f| breakers.get(&id_of(f)?)).collect();
            let is_fed = |strip: &&Strip<'v>, node: &str| {
                std::iter::once(&strip.node).chain(&strip.standby).any(|from| self.way(from).contains(&node))
            };
            for breaker in feeds.iter().filter(|b| !own.iter().any(|s| is_fed(s, &b.node))) {
                let meter = format!("pdu-{}", breaker.node);
                let phases = match (breaker.phases, &breaker.on) {
                    (1, Some(on)) => Phases::One(on.clone()),
                    (1, None) => Phases::Unknown,
                    _ => Phases::All,
                };
                cords.push(Cord { node: breaker.node.clone(), meter, phases });
            }
            for cord in cords.iter().filter(|c| own.iter().all(|s| s.node != c.node)) {
                let (rack, node, meter) = (label(rack), &cord.node, &cord.meter);
                self.open.push(format!(
                    "rack {rack:?} has power feed {node} and no PDU on it: taken as a cord metered by {meter:?}"
                ));
            }
            if cords.is_empty() {
                self.open.push(format!("rack {:?} has no PDU on a feed and is left out", label(rack)));
                continue;
            }
            self.rack(id, rack, &cords);
            count += 1;
        }
        count
    }

    /// How a strip loads its phases, as far as NetBox knows.
    fn phases(&mut self, strip: &Strip<'_>) -> Phases {
        if strip.phases == 1 {
            let legs: BTreeSet<&str> = strip.outlets.values().flatten().map(String::as_str).collect();
            let only = legs.first().filter(|_| legs.len() == 1).and_then(|leg| line(leg)).map(str::to_owned);
            return strip.on.clone().or(only).map_or(Phases::Unknown, Phases::One);
        }
        let (legs, guessed) = legs(self.tables, strip);
        if guessed > 0 && legs.is_some() {
            self.open.push(format!(
                "{}: {guessed} of the ports on it have no draw and count as the mean of the others",
                strip.node
            ));
        }
        legs.map_or(Phases::All, Phases::Shares)
    }

    fn rack(&mut self, id: u64, rack: &Value, cords: &[Cord]) {
        let name = self.names.take("rack", id, &label(rack));
        let priority = rack["custom_fields"]["priority"].as_str().unwrap_or(&self.defaults.priority).to_owned();
        let _ = write!(self.toml, "\n[[rack]]\nid = \"{name}\"\npriority = {priority:?}\n");
        let defaults = self.defaults;
        for (key, value) in [
            ("gpus", custom(rack, &["gpus", "gpu_count"]).or(defaults.gpus.map(f64::from))),
            ("overhead_watts", custom(rack, &["overhead_watts"]).or(defaults.overhead_watts)),
            ("gpu_max_watts", custom(rack, &["gpu_max_watts"]).or(defaults.gpu_max_watts)),
            ("safe_gpu_watts", custom(rack, &["safe_gpu_watts"]).or(defaults.safe_gpu_watts)),
        ] {
            match value {
                Some(value) if key == "gpus" => {
                    let _ = writeln!(self.toml, "{key} = {value:.0}");
                }
                Some(value) => {
                    let _ = writeln!(self.toml, "{key} = {value:?}");
                }
                None => {
                    let _ = writeln!(self.toml, "# {key} =");
                    let flag = key.replace('_', "-");
                    self.open.push(format!("rack {name}: write {key}, or import again with --{flag}"));
                }
            }
        }
        let share = round(1.0 / cords.len() as f64);
        self.toml.push_str("feeds = [\n");
        for (i, Cord { node, meter, phases }) in cords.iter().enumerate() {
            // The shares of a rack must add up to 1 as they are written.
            let share = if i + 1 == cords.len() { 1.0 - share * i as f64 } else { share };
            let phases = match phases {
                Phases::All => String::new(),
                Phases::Shares([a, b, c]) => format!(", phases = [{a:.4}, {b:.4}, {c:.4}]"),
                Phases::One(on) => format!(", phases = {on:?}"),
                Phases::Unknown => {
                    self.toml.push_str(
                        "    # phases = \"L1\", \"L2\" or \"L3\"? It has one phase, and NetBox does not know which.\n",
                    );
                    self.open.push(format!(
                        "rack {name}: write phases of its feed {node}, \"L1\", \"L2\" or \"L3\" (\"L1-L2\" between two lines), or phases as a custom field of the power feed"
                    ));
                    String::new()
                }
            };
            let _ =
                writeln!(self.toml, "    {{ node = \"{node}\", share = {share:.4}, meter = \"{meter}\"{phases} }},");
        }
        self.toml.push_str("]\n");
    }
}

fn round(share: f64) -> f64 {
    (share * 1e4).round() / 1e4
}

/// How the devices on a strip load its legs, when NetBox knows their ports and the loads differ, and how many ports
/// told no draw. Those count as the mean of the others.
fn legs(tables: &Tables, strip: &Strip<'_>) -> (Option<[f64; 3]>, usize) {
    let mut found: Vec<(usize, Option<f64>)> = Vec::new();
    for port in tables.of("power-ports") {
        for outlet in tables.ends(port, "power-outlets") {
            let leg = strip.outlets.get(&outlet).cloned().flatten();
            let Some(leg) = leg.and_then(|leg| ["A", "B", "C"].iter().position(|l| *l == leg)) else { continue };
            found.push((leg, ["allocated_draw", "maximum_draw"].iter().find_map(|key| number(port, key))));
        }
    }
    let told: Vec<f64> = found.iter().filter_map(|(_, draw)| *draw).collect();
    let mean = if told.is_empty() { 1.0 } else { told.iter().sum::<f64>() / told.len() as f64 };
    let mut sums = [0.0; 3];
    found.iter().for_each(|(leg, draw)| sums[*leg] += draw.unwrap_or(mean));
    let total: f64 = sums.iter().sum();
    let even = sums.iter().all(|s| (s * 3.0 - total).abs() < 0.01 * total);
    ((total > 0.0 && !even).then(|| sums.map(|s| s / total)), found.len() - told.len())
}

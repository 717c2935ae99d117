//! A topology from NetBox: its power panels, feeds, PDUs and racks as the REST API lists them become
//! `[[node]]` and `[[rack]]`. What NetBox does not know (GPUs, panel ratings, curves) is left
//! open and named, so that `topology check` asks for it.

mod tables;

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use tables::{Tables, id_of, label, number, text};

/// What every rack gets that NetBox does not know.
#[derive(Debug, Clone, clap::Args)]
pub struct Defaults {
    /// GPUs of a rack without a custom field `gpus`.
    #[arg(long, value_name = "N")]
    pub gpus: Option<u32>,
    /// Power of everything in a rack but its GPUs.
    #[arg(long, value_name = "W")]
    pub overhead_watts: Option<f64>,
    /// Most a GPU can draw.
    #[arg(long, value_name = "W")]
    pub gpu_max_watts: Option<f64>,
    /// What a GPU may draw without a controller.
    #[arg(long, value_name = "W")]
    pub safe_gpu_watts: Option<f64>,
    /// Priority of racks without a custom field `priority`.
    #[arg(long, value_name = "BAND", default_value = "training")]
    pub priority: String,
}

/// A topology file and what a person still has to say.
#[derive(Debug, Clone, PartialEq)]
pub struct Imported {
    /// The file.
    pub toml: String,
    /// What is missing or odd, one line each.
    pub open: Vec<String>,
}

/// Reads exports of NetBox, each the answer of one list or an object of several.
///
/// # Errors
/// Words for people: what was not understood and where it stands.
pub fn import(files: &[(String, String)], defaults: &Defaults) -> Result<Imported, String> {
    let tables = Tables::read(files)?;
    if tables.of("power-feeds").next().is_none() {
        return Err("there are no power feeds in it: export /api/dcim/power-feeds/?limit=0 as well".to_owned());
    }
    let mut import =
        Import { tables: &tables, defaults, names: Names::default(), toml: String::new(), open: Vec::new() };
    import.write();
    Ok(Imported { toml: import.toml, open: import.open })
}

/// Names NetBox allows and ids do not: one id per object, none twice.
#[derive(Default)]
struct Names {
    of: BTreeMap<(&'static str, u64), String>,
    taken: BTreeSet<String>,
}

impl Names {
    fn take(&mut self, kind: &'static str, id: u64, name: &str) -> String {
        if let Some(known) = self.of.get(&(kind, id)) {
            return known.clone();
        }
        let mut plain: String =
            name.to_lowercase().chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
        while plain.contains("--") {
            plain = plain.replace("--", "-");
        }
        let plain = plain.trim_matches('-');
        let plain = if plain.is_empty() { format!("{kind}-{id}") } else { plain.chars().take(50).collect() };
        let free = if self.taken.contains(&plain) { format!("{plain}-{id}") } else { plain };
        self.taken.insert(free.clone());
        self.of.insert((kind, id), free.clone());
        free
    }
}

/// A PDU that hangs on a feed.
struct Strip<'v> {
    device: &'v Value,
    node: String,
    outlets: BTreeMap<u64, Option<String>>,
}

struct Import<'v> {
    tables: &'v Tables,
    defaults: &'v Defaults,
    names: Names,
    toml: String,
    open: Vec<String>,
}

impl<'v> Import<'v> {
    fn write(&mut self) {
        self.toml.push_str("# From NetBox. `headroom-controller topology check FILE` tells what is still missing.\n");
        let tables = self.tables;
        let mut feeds_of: BTreeMap<u64, Vec<&'v Value>> = BTreeMap::new();
        for feed in tables.of("power-feeds") {
            let status = text(feed, "status").unwrap_or_default();
            if matches!(status.as_str(), "planned" | "failed" | "offline") {
                self.open.push(format!("power feed {:?} is {status} and left out", label(feed)));
                continue;
            }
            match id_of(&feed["power_panel"]) {
                Some(panel) => feeds_of.entry(panel).or_default().push(feed),
                None => self.open.push(format!("power feed {:?} names no panel and is left out", label(feed))),
            }
        }
        let mut breakers: BTreeMap<u64, (String, f64)> = BTreeMap::new();
        for (panel, feeds) in feeds_of {
            let about = tables.find("power-panels", panel).unwrap_or(&feeds[0]["power_panel"]);
            let name = self.panel(panel, about, &feeds);
            for feed in feeds {
                if let Some((id, node, rating)) = self.feed(feed, &name) {
                    breakers.insert(id, (node, rating));
                }
            }
        }
        let strips = self.strips(&breakers);
        self.racks(&breakers, &strips);
    }

    fn panel(&mut self, id: u64, panel: &Value, feeds: &[&Value]) -> String {
        let name = self.names.take("panel", id, &label(panel));
        let redundant = feeds.iter().filter(|f| text(f, "type").as_deref() == Some("redundant")).count();
        let side = if redundant * 2 > feeds.len() { "b" } else { "a" };
        let _ = write!(self.toml, "\n[[node]]\nid = \"{name}\"\nkind = \"pdu\"\nfeed = \"{side}\"\n");
        match custom(panel, &["rating_watts", "rated_power_watts"]) {
            Some(watts) => {
                let _ = writeln!(self.toml, "rating_watts = {watts:?}");
            }
            None => {
                self.toml.push_str("# rating_watts =    NetBox knows no rating of a panel\n");
                self.open.push(format!("panel {name}: write rating_watts, or rating_amperes, volts and phases"));
            }
        }
        name
    }

    /// NetBox's voltage of a three-phase feed is between lines: its own sum of a feed is `V * A * sqrt(3)`
    /// (netbox/dcim/models/power.py, `PowerFeed.save`).
    fn feed(&mut self, feed: &Value, panel: &str) -> Option<(u64, String, f64)> {
        let id = id_of(feed)?;
        let node = self.names.take("feed", id, &label(feed));
        let (Some(volts), Some(amperes)) = (number(feed, "voltage"), number(feed, "amperage")) else {
            self.open.push(format!("power feed {node} has no voltage or no amperage and is left out"));
            return None;
        };
        if text(feed, "supply").as_deref() == Some("dc") {
            self.open.push(format!("power feed {node} is direct current: check its rating and curve"));
        }
        let three = text(feed, "phase").as_deref() == Some("three-phase");
        let (volts, phases) = if three { (volts.abs() / 3.0_f64.sqrt(), 3) } else { (volts.abs(), 1) };
        let side = if text(feed, "type").as_deref() == Some("redundant") { "b" } else { "a" };
        let _ = write!(
            self.toml,
            "\n[[node]]\nid = \"{node}\"\nkind = \"breaker\"\nfeed = \"{side}\"\nparent = \"{panel}\"\n\
             rating_amperes = {amperes:?}\nvolts = {:.1}\nphases = {phases}\n",
            volts
        );
        if let Some(most) = number(feed, "max_utilization") {
            let _ =
                writeln!(self.toml, "# NetBox allows {most} % of it; `derate` in the policy is the share that is used");
        }
        Some((id, node, amperes * volts * f64::from(phases)))
    }

    /// Devices with outlets whose power port hangs on a feed, or on a rack's feed by its place.
    fn strips(&mut self, breakers: &BTreeMap<u64, (String, f64)>) -> BTreeMap<u64, Strip<'v>> {
        let tables = self.tables;
        let mut outlets: BTreeMap<u64, BTreeMap<u64, Option<String>>> = BTreeMap::new();
        for outlet in tables.of("power-outlets") {
            if let (Some(device), Some(id)) = (id_of(&outlet["device"]), id_of(outlet)) {
                outlets.entry(device).or_default().insert(id, text(outlet, "feed_leg"));
            }
        }
        let mut strips = BTreeMap::new();
        for port in tables.of("power-ports") {
            let Some(device) = id_of(&port["device"]).filter(|d| outlets.contains_key(d)) else { continue };
            let feed = tables.ends(port, "power-feeds").into_iter().find_map(|id| breakers.get(&id));
            let Some((breaker, rating)) = feed else {
                self.open.push(format!("the port {:?} of {:?} hangs on no feed", label(port), label(&port["device"])));
                continue;
            };
            let about = tables.find("devices", device).unwrap_or(&port["device"]);
            let node = self.names.take("device", device, &label(about));
            let side = if breaker.is_empty() { "a" } else { self.side(breaker) };
            let watts = number(port, "maximum_draw").filter(|w| *w > 0.0).unwrap_or(*rating);
            let _ = write!(
                self.toml,
                "\n[[node]]\nid = \"{node}\"\nkind = \"rack-pdu\"\nfeed = \"{side}\"\nparent = \"{breaker}\"\nrating_watts = {watts:.1}\n"
            );
            let outlets = outlets.get(&device).cloned().unwrap_or_default();
            strips.insert(device, Strip { device: about, node, outlets });
        }
        strips
    }

    /// The side of a breaker that was already written.
    fn side(&self, node: &str) -> &'static str {
        let entry = self.toml.split("[[node]]").find(|e| e.contains(&format!("\nid = \"{node}\"\n")));
        if entry.is_some_and(|e| e.contains("feed = \"b\"")) { "b" } else { "a" }
    }

    fn racks(&mut self, breakers: &BTreeMap<u64, (String, f64)>, strips: &BTreeMap<u64, Strip<'v>>) {
        let tables = self.tables;
        let mut named: BTreeMap<u64, &Value> = tables.of("racks").filter_map(|r| Some((id_of(r)?, r))).collect();
        for strip in strips.values() {
            if let Some(id) = id_of(&strip.device["rack"]) {
                named.entry(id).or_insert(&strip.device["rack"]);
            }
        }
        for (id, rack) in named {
            let mut cords: Vec<(String, String, Option<[f64; 3]>)> = strips
                .values()
                .filter(|s| id_of(&s.device["rack"]) == Some(id))
                .map(|s| (s.node.clone(), s.node.clone(), legs(tables, s)))
                .collect();
            if cords.is_empty() {
                let feeds = tables.of("power-feeds").filter(|f| id_of(&f["rack"]) == Some(id));
                let direct = feeds.filter_map(|f| Some(breakers.get(&id_of(f)?)?.0.clone()));
                cords = direct.map(|node| (node.clone(), format!("pdu-{node}"), None)).collect();
            }
            if cords.is_empty() {
                self.open.push(format!("rack {:?} has no PDU on a feed and is left out", label(rack)));
                continue;
            }
            self.rack(id, rack, &cords);
        }
    }

    fn rack(&mut self, id: u64, rack: &Value, cords: &[(String, String, Option<[f64; 3]>)]) {
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
        let share = 1.0 / cords.len() as f64;
        let each = cords.iter().enumerate().map(|(i, (node, meter, legs))| {
            // The shares of a rack must add up to 1 as they are written.
            let share = if i + 1 == cords.len() { 1.0 - round(share) * i as f64 } else { round(share) };
            let legs = legs.map_or_else(String::new, |l| format!(", phases = [{:.4}, {:.4}, {:.4}]", l[0], l[1], l[2]));
            format!("    {{ node = \"{node}\", share = {share:.4}, meter = \"{meter}\"{legs} }},\n")
        });
        let each: String = each.collect();
        let _ = write!(self.toml, "feeds = [\n{each}]\n");
    }
}

fn round(share: f64) -> f64 {
    (share * 1e4).round() / 1e4
}

/// A number among the object's custom fields.
fn custom(object: &Value, names: &[&str]) -> Option<f64> {
    names.iter().find_map(|name| number(&object["custom_fields"], name)).filter(|n| *n > 0.0)
}

/// How the devices on a strip load its legs, when NetBox knows their ports and the loads differ.
fn legs(tables: &Tables, strip: &Strip<'_>) -> Option<[f64; 3]> {
    let mut sums = [0.0; 3];
    for port in tables.of("power-ports") {
        for outlet in tables.ends(port, "power-outlets") {
            let Some(Some(leg)) = strip.outlets.get(&outlet) else { continue };
            let draw = ["allocated_draw", "maximum_draw"].iter().find_map(|key| number(port, key)).unwrap_or(1.0);
            match leg.as_str() {
                "A" => sums[0] += draw,
                "B" => sums[1] += draw,
                "C" => sums[2] += draw,
                _ => {}
            }
        }
    }
    let total: f64 = sums.iter().sum();
    let even = sums.iter().all(|s| (s * 3.0 - total).abs() < 0.01 * total);
    (total > 0.0 && !even).then(|| sums.map(|s| s / total))
}

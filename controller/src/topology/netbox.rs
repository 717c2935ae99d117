//! A topology from NetBox: its power panels, feeds, PDUs and racks as the REST API lists them become
//! `[[node]]` and `[[rack]]`. What NetBox does not know (GPUs, panel ratings, curves) is left
//! open and named, so that `topology check` asks for it. PDUs and UPSs between a feed and a rack are in
//! `strips.rs`, racks and their cords in `racks.rs`.

mod racks;
mod strips;
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

/// Reads exports of NetBox, each a page of one list or an object of several.
///
/// # Errors
/// Words for people: what was not understood and where it stands, all at once.
pub fn import(files: &[(String, String)], defaults: &Defaults) -> Result<Imported, String> {
    let tables = Tables::read(files)?;
    let mut wrong = tables.cut();
    if tables.of("power-feeds").next().is_none() {
        wrong.push("there are no power feeds in it: export /api/dcim/power-feeds/ as well".to_owned());
    }
    if !wrong.is_empty() {
        return Err(wrong.join("\n"));
    }
    let mut import = Import {
        tables: &tables,
        defaults,
        names: Names::default(),
        toml: String::new(),
        open: Vec::new(),
        above: BTreeMap::new(),
    };
    let racks = import.write();
    let missing = tables.missing(&["power-ports", "power-outlets", "devices", "racks"]);
    let export = format!("export /api/dcim/{}/ as well", missing.join("/ and /api/dcim/"));
    if racks == 0 {
        let none = "no rack hangs on a power feed";
        return Err(match missing.is_empty() {
            true => format!("{none}:\n{}", import.open.join("\n")),
            false => format!("{none}: {export}"),
        });
    }
    if !missing.is_empty() {
        import.open.push(format!("there is nothing in it of {}: {export}", missing.join(" and of ")));
    }
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

/// A power feed, as the breaker that it is.
struct Breaker {
    node: String,
    watts: f64,
    phases: u32,
    /// The phase of a feed of one, if its custom field `phases` says so.
    on: Option<String>,
}

struct Import<'v> {
    tables: &'v Tables,
    defaults: &'v Defaults,
    names: Names,
    toml: String,
    open: Vec<String>,
    /// What each node hangs on.
    above: BTreeMap<String, String>,
}

impl<'v> Import<'v> {
    /// Writes all; the number of racks.
    fn write(&mut self) -> usize {
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
        let sides = self.sides(&feeds_of);
        let mut breakers: BTreeMap<u64, Breaker> = BTreeMap::new();
        for (panel, feeds) in feeds_of {
            let about = tables.find("power-panels", panel).unwrap_or(&feeds[0]["power_panel"]);
            let name = self.panel(panel, about, sides.get(&panel).copied());
            for feed in feeds {
                if let Some((id, breaker)) = self.feed(feed, &name) {
                    self.above.insert(breaker.node.clone(), name.clone());
                    breakers.insert(id, breaker);
                }
            }
        }
        let strips = self.strips(&breakers);
        self.racks(&breakers, &strips)
    }

    /// Sides of panels, where NetBox tells them. Primary and redundant are said of a power feed towards its rack, and
    /// primary is what nobody changed: they tell sides only if both are there and each panel has one of them.
    fn sides(&mut self, feeds_of: &BTreeMap<u64, Vec<&'v Value>>) -> BTreeMap<u64, &'static str> {
        let redundant = |feeds: &Vec<&Value>| {
            let count = feeds.iter().filter(|f| text(f, "type").as_deref() == Some("redundant")).count();
            if count == 0 { Some("a") } else { (count == feeds.len()).then_some("b") }
        };
        let sides: BTreeMap<u64, Option<&str>> = feeds_of.iter().map(|(id, feeds)| (*id, redundant(feeds))).collect();
        let has = |side| sides.values().any(|s| *s == Some(side));
        if has("a") && has("b") && sides.values().all(Option::is_some) {
            self.toml.push_str("# feed a: panels with primary power feeds; feed b: panels with redundant ones.\n");
            return sides.into_iter().filter_map(|(id, side)| Some((id, side?))).collect();
        }
        self.toml.push_str("# Each panel is a feed of its own: primary and redundant do not tell their sides.\n");
        if sides.len() > 1 {
            let line =
                "each panel is a feed of its own: write the same feed to panels that fail together, as behind one UPS";
            self.open.push(line.to_owned());
        }
        BTreeMap::new()
    }

    fn panel(&mut self, id: u64, panel: &Value, side: Option<&str>) -> String {
        let name = self.names.take("panel", id, &label(panel));
        let side = side.unwrap_or(&name);
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
    fn feed(&mut self, feed: &Value, panel: &str) -> Option<(u64, Breaker)> {
        let id = id_of(feed)?;
        let node = self.names.take("feed", id, &label(feed));
        let above_zero = |key| number(feed, key).map(f64::abs).filter(|n| *n > 0.0);
        let (Some(volts), Some(amperes)) = (above_zero("voltage"), above_zero("amperage")) else {
            self.open.push(format!("power feed {node} has no voltage or no amperage and is left out"));
            return None;
        };
        if text(feed, "supply").as_deref() == Some("dc") {
            self.open.push(format!("power feed {node} is direct current: check its rating and curve"));
        }
        let three = text(feed, "phase").as_deref() == Some("three-phase");
        let (volts, phases) = if three { (volts / 3.0_f64.sqrt(), 3) } else { (volts, 1) };
        // As it is written, so that what hangs on it is rated no higher.
        let volts = (volts * 10.0).round() / 10.0;
        let _ = write!(
            self.toml,
            "\n[[node]]\nid = \"{node}\"\nkind = \"breaker\"\nparent = \"{panel}\"\n\
             rating_amperes = {amperes:?}\nvolts = {volts:.1}\nphases = {phases}\n"
        );
        if let Some(most) = number(feed, "max_utilization") {
            let _ =
                writeln!(self.toml, "# NetBox allows {most} % of it; `derate` in the policy is the share that is used");
        }
        let on = feed["custom_fields"]["phases"].as_str().map(str::to_owned);
        Some((id, Breaker { node, watts: amperes * volts * f64::from(phases), phases, on }))
    }

    /// The node and all above it.
    fn way(&self, node: &str) -> Vec<&str> {
        let start = self.above.get_key_value(node).map(|(node, _)| node.as_str());
        std::iter::successors(start, |n| self.above.get(*n).map(String::as_str)).collect()
    }
}

/// A number among the object's custom fields.
fn custom(object: &Value, names: &[&str]) -> Option<f64> {
    names.iter().find_map(|name| number(&object["custom_fields"], name)).filter(|n| *n > 0.0)
}

//! `[[node]]` and `[[rack]]`: the electrical tree as written in the config. Checks each entry and
//! that names resolve, so that every mistake has its line.

use super::document::{Mistakes, Spot, Table};
use super::{one_of, ranged};
use headroom_rack::{Amperes, DeviceId, NodeId, RackId, Volts, Watts};
use std::collections::BTreeMap;
use std::fmt::Display;
use std::str::FromStr;

/// A node above the racks.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Its name.
    pub id: NodeId,
    /// The feed it belongs to.
    pub feed: String,
    /// The node that feeds it.
    pub parent: Option<NodeId>,
    /// What it is.
    pub kind: NodeKind,
    /// The device that measures it: the rack whose agent reads it, and its name there.
    pub meter: Option<(RackId, DeviceId)>,
}

/// What a node is.
#[derive(Debug, Clone, PartialEq)]
pub enum NodeKind {
    /// A UPS.
    Ups {
        /// Rated active power.
        rating: Watts,
    },
    /// A circuit breaker.
    Breaker {
        /// Rated current per phase.
        rating: Amperes,
        /// Phase to neutral.
        volts: Volts,
        /// 1 or 3.
        phases: u32,
        /// Its trip curve.
        curve: Curve,
    },
}

impl NodeKind {
    /// Continuous rating of all phases together.
    pub fn rating(&self) -> Watts {
        match *self {
            Self::Ups { rating } => rating,
            Self::Breaker { rating, volts, phases, .. } => volts * rating * f64::from(phases),
        }
    }
}

/// When a breaker trips.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Curve {
    /// IEC 60898-1, type C.
    Iec60898C,
}

/// A rack.
#[derive(Debug, Clone, PartialEq)]
pub struct Rack {
    /// Its name.
    pub id: RackId,
    /// Its priority band.
    pub priority: String,
    /// Its weight within the band.
    pub weight: f64,
    /// Number of GPUs.
    pub gpus: u32,
    /// Everything that is not a GPU.
    pub overhead: Watts,
    /// Most a GPU can draw.
    pub gpu_max: Watts,
    /// What the agent falls back to, per GPU.
    pub safe_gpu: Watts,
    /// What it hangs on.
    pub feeds: Vec<Feed>,
    /// Its cooling unit.
    pub cooling: Option<DeviceId>,
}

impl Rack {
    /// What it draws at most: everything in it at once.
    pub fn nameplate(&self) -> Watts {
        self.overhead + self.gpu_max * f64::from(self.gpus)
    }
}

/// One inlet of a rack.
#[derive(Debug, Clone, PartialEq)]
pub struct Feed {
    /// The breaker.
    pub node: NodeId,
    /// Share of the rack's power it carries while all feeds are there.
    pub share: f64,
    /// The rack's own meter on this inlet.
    pub meter: DeviceId,
}

/// Trip curves the core knows, by name.
const CURVES: &[(&str, Curve)] = &[("iec60898-c", Curve::Iec60898C)];

pub(super) fn read(root: &Table<'_>, bands: &[String], m: &Mistakes) -> (Vec<Node>, Vec<Rack>) {
    let mut seen = BTreeMap::new();
    let mut parents = Vec::new();
    let mut meters = Vec::new();
    let nodes: Vec<Node> =
        root.tables("node").iter().filter_map(|t| node(t, &mut seen, &mut parents, &mut meters, m)).collect();
    let mut inlets = Vec::new();
    let mut rack_ids = BTreeMap::new();
    let mut names = seen.clone();
    let rack_tables = root.tables("rack");
    let racks: Vec<Rack> =
        rack_tables.iter().filter_map(|t| rack(t, bands, &mut names, &mut rack_ids, &mut inlets, m)).collect();
    if rack_tables.is_empty() {
        m.add(0, "there is no rack", "add one [[rack]] per agent; `default-config` prints an example");
    }
    let known: Vec<&str> = seen.keys().map(String::as_str).collect();
    for spot in parents.iter().chain(&inlets) {
        if !seen.contains_key(&spot.value) {
            let remedy = format!("write one of {}, or add it as [[node]]", known.join(", "));
            m.add(spot.at, format!("no node is named {:?}", spot.value), remedy);
        }
    }
    for spot in &meters {
        let rack = spot.value.split('/').next().unwrap_or_default();
        if !rack_ids.contains_key(rack) {
            let names: Vec<&str> = rack_ids.keys().map(String::as_str).collect();
            m.add(
                spot.at,
                format!("meter = {:?}: no rack is named {rack:?}", spot.value),
                format!("write RACK/DEVICE with RACK one of {}: the agent that reads the device", names.join(", ")),
            );
        }
    }
    (nodes, racks)
}

fn id<T: FromStr<Err: Display>>(spot: Option<&Spot<String>>, key: &str, m: &Mistakes) -> Option<T> {
    let spot = spot?;
    match spot.value.parse() {
        Ok(id) => Some(id),
        Err(why) => {
            m.add(spot.at, format!("{key} is not a name"), why.to_string());
            None
        }
    }
}

fn unique(spot: Option<&Spot<String>>, seen: &mut BTreeMap<String, usize>, m: &Mistakes) {
    if let Some(spot) = spot
        && seen.insert(spot.value.clone(), spot.at).is_some()
    {
        m.add(spot.at, format!("{:?} is used twice", spot.value), "give each its own id");
    }
}

fn positive(table: &Table<'_>, key: &'static str, example: &str, m: &Mistakes) -> Option<f64> {
    let spot = table.need::<f64>(key, example)?;
    if spot.value > 0.0 {
        return Some(spot.value);
    }
    m.add(spot.at, format!("{key} = {} must be above 0", spot.value), format!("write {key} = {example}"));
    None
}

fn node(
    table: &Table<'_>,
    seen: &mut BTreeMap<String, usize>,
    parents: &mut Vec<Spot<String>>,
    meters: &mut Vec<Spot<String>>,
    m: &Mistakes,
) -> Option<Node> {
    let name = table.need::<String>("id", "\"breaker-a\"");
    unique(name.as_ref(), seen, m);
    let feed = table.need::<String>("feed", "\"a\"");
    let parent = table.get::<String>("parent");
    parents.extend(parent.clone());
    let meter = table.get::<String>("meter");
    let kind = table.need::<String>("kind", "\"breaker\"").and_then(|k| {
        match one_of(&k, "kind", &[("ups", true), ("breaker", false)], m)? {
            true => Some(NodeKind::Ups { rating: Watts::new(positive(table, "rating_watts", "30000", m)?) }),
            false => breaker(table, m),
        }
    });
    table.refuse_unknown();
    let meter_path = meter.and_then(|spot| {
        let path = spot.value.split_once('/').and_then(|(r, d)| Some((RackId::new(r).ok()?, DeviceId::new(d).ok()?)));
        if path.is_none() {
            let remedy = "write RACK/DEVICE, like meter = \"rack-1/ups-a\"";
            m.add(spot.at, format!("meter = {:?} names no device", spot.value), remedy);
        } else {
            meters.push(spot);
        }
        path
    });
    Some(Node {
        id: id(name.as_ref(), "id", m)?,
        feed: feed?.value,
        parent: parent.and_then(|p| id(Some(&p), "parent", m)),
        kind: kind?,
        meter: meter_path,
    })
}

fn breaker(table: &Table<'_>, m: &Mistakes) -> Option<NodeKind> {
    let rating = positive(table, "rating_amperes", "16.0", m);
    let volts = positive(table, "volts", "240.0", m);
    let phases = match table.get::<u64>("phases") {
        None => 3,
        Some(Spot { value: n @ (1 | 3), .. }) => n as u32,
        Some(spot) => {
            m.add(spot.at, format!("phases = {} does not exist", spot.value), "write 1 or 3");
            3
        }
    };
    let curve = match table.get::<String>("curve") {
        None => Some(Curve::Iec60898C),
        Some(spot) => one_of(&spot, "curve", CURVES, m),
    };
    Some(NodeKind::Breaker { rating: Amperes::new(rating?), volts: Volts::new(volts?), phases, curve: curve? })
}

fn rack(
    table: &Table<'_>,
    bands: &[String],
    names: &mut BTreeMap<String, usize>,
    seen: &mut BTreeMap<String, usize>,
    inlets: &mut Vec<Spot<String>>,
    m: &Mistakes,
) -> Option<Rack> {
    let name = table.need::<String>("id", "\"rack-1\"");
    unique(name.as_ref(), names, m);
    seen.extend(name.iter().map(|n| (n.value.clone(), n.at)));
    let priority = table.need::<String>("priority", &format!("{:?}", bands[0])).and_then(|p| {
        let choices: Vec<(&str, &str)> = bands.iter().map(|b| (b.as_str(), b.as_str())).collect();
        one_of(&p, "priority", &choices, m).map(str::to_owned)
    });
    let weight = ranged(table.get("weight"), 1.0, 0.001, 1000.0, "weight", m);
    let gpus = table.need::<u64>("gpus", "8").filter(|g| {
        let good = (1..=1024).contains(&g.value);
        if !good {
            m.add(g.at, format!("gpus = {} in one rack", g.value), "write the number of GPUs this rack's agent reads");
        }
        good
    });
    let overhead = ranged(table.need("overhead_watts", "1700"), 0.0, 0.0, 1e6, "overhead_watts", m);
    let gpu_max = positive(table, "gpu_max_watts", "700", m);
    let safe = table.need::<f64>("safe_gpu_watts", "400");
    if let (Some(safe), Some(max)) = (safe, gpu_max)
        && !(safe.value > 0.0 && safe.value <= max)
    {
        let problem = format!("safe_gpu_watts = {} is not between 0 and gpu_max_watts = {max}", safe.value);
        m.add(safe.at, problem, "write what every GPU may draw at once without any breaker tripping");
    }
    let cooling = table.get::<String>("cooling").and_then(|c| id(Some(&c), "cooling", m));
    let feed_tables = table.tables("feeds");
    let feeds: Vec<Feed> = feed_tables.iter().filter_map(|f| feed(f, inlets, m)).collect();
    table.refuse_unknown();
    let example = "feeds = [{ node = \"breaker-a\", share = 1.0, meter = \"pdu-a\" }]";
    if feed_tables.is_empty() {
        m.add(table.at(), "a rack hangs on nothing", format!("add {example}"));
    } else if feeds.len() == feed_tables.len() {
        let sum: f64 = feeds.iter().map(|f| f.share).sum();
        if (sum - 1.0).abs() > 1e-6 {
            let problem = format!("the shares of the rack's feeds add up to {sum}");
            m.add(feed_tables[0].at(), problem, "let them add up to 1");
        }
    }
    Some(Rack {
        id: id(name.as_ref(), "id", m)?,
        priority: priority?,
        weight,
        gpus: gpus?.value as u32,
        overhead: Watts::new(overhead),
        gpu_max: Watts::new(gpu_max?),
        safe_gpu: Watts::new(safe?.value),
        feeds,
        cooling,
    })
}

fn feed(table: &Table<'_>, inlets: &mut Vec<Spot<String>>, m: &Mistakes) -> Option<Feed> {
    let node = table.need::<String>("node", "\"breaker-a\"");
    inlets.extend(node.clone());
    let share = ranged(table.need("share", "0.5"), 1.0, 0.001, 1.0, "share", m);
    let meter = table.need::<String>("meter", "\"pdu-a\"").and_then(|d| id(Some(&d), "meter", m));
    table.refuse_unknown();
    Some(Feed { node: id(node.as_ref(), "node", m)?, share, meter: meter? })
}

//! `[[node]]`, `[[rack]]` and `[[cooling]]`: the plant as written in the config or in a file of its own. Checks each entry and
//! that names resolve, so that every mistake has its line.

mod battery;
mod cooling;
mod names;
mod node;
mod overload;
mod phases;
mod protection;
mod rack;

use super::document::{Mistakes, Spot, Table};
use headroom_controller_core::trip::Curve;
use headroom_controller_core::{BatterySpec, NodeKind};
use headroom_rack::{Amperes, DeviceId, NodeId, RackId, Volts, Watts};
use names::{Names, What};
use std::collections::BTreeMap;
use std::fmt::Display;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

/// The plant: what feeds the racks and what cools them.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Tree {
    /// The electrical tree above the racks.
    pub nodes: Vec<Node>,
    /// The racks.
    pub racks: Vec<Rack>,
    /// Sets of racks and the cooling units that serve them.
    pub cooling: Vec<Cooling>,
    /// Where each of them stands in the file, by byte.
    pub spots: BTreeMap<String, usize>,
    /// The file, where it is not the one that was read but one it names.
    pub file: Option<PathBuf>,
    /// Whether all that is written is in it: an entry with a mistake may be left out.
    pub is_whole: bool,
}

/// Cooling units that serve a set of racks together.
#[derive(Debug, Clone, PartialEq)]
pub struct Cooling {
    /// Name of the set.
    pub id: NodeId,
    /// The racks.
    pub racks: Vec<RackId>,
    /// The units.
    pub units: Vec<Unit>,
}

/// One cooling unit.
#[derive(Debug, Clone, PartialEq)]
pub struct Unit {
    /// Its name.
    pub id: NodeId,
    /// Heat it removes.
    pub capacity: Watts,
}

/// A node above the racks.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Its name.
    pub id: NodeId,
    /// What it is.
    pub kind: NodeKind,
    /// The feed it belongs to.
    pub feed: String,
    /// The node that feeds it.
    pub parent: Option<NodeId>,
    /// The node that takes over when the parent fails.
    pub standby: Option<NodeId>,
    /// Continuous rating of all phases together at its ambient temperature.
    pub rating: Watts,
    /// The current that the rating was written as, if it was.
    pub current: Option<Current>,
    /// 1 or 3: as written, or for a rating in watts as above it.
    pub phases: u32,
    /// The family of its protection, or "own" for an overload table.
    pub family: String,
    /// Air around it, degrees Celsius, if it was written.
    pub ambient_celsius: Option<f64>,
    /// When it trips at the earliest.
    pub curve: Arc<Curve>,
    /// The device that measures it: the rack whose agent reads it, and its name there.
    pub meter: Option<(RackId, DeviceId)>,
    /// How long the battery of a UPS lasts, if it is written.
    pub battery: Option<Arc<BatterySpec>>,
}

/// A rating as a current.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Current {
    /// Per phase, before derating.
    pub rating: Amperes,
    /// Phase to neutral.
    pub volts: Volts,
    /// 1 or 3.
    pub phases: u32,
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
    /// Coolant in its loop, if it is written, l.
    pub coolant_liters: Option<f64>,
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
    /// Share of the inlet's power on each phase.
    pub phases: [f64; 3],
}

pub(super) fn read(root: &Table<'_>, bands: Option<&[String]>, m: &Mistakes) -> Tree {
    let mut names = Names::default();
    let nodes = root.tables("node");
    let racks = root.tables("rack");
    let cooling = root.tables("cooling");
    let read: Vec<(usize, Option<Node>)> = nodes.iter().map(|t| (t.at(), node::read(t, &mut names, m))).collect();
    if racks.is_empty() {
        m.add(0, "there is no rack", "add one [[rack]] per agent; `default-config` prints an example");
    }
    let written = [read.len(), racks.len(), cooling.len()];
    let racks: Vec<Rack> = racks.iter().filter_map(|t| rack::read(t, bands, &mut names, m)).collect();
    let cooling: Vec<Cooling> = cooling.iter().filter_map(|t| cooling::read(t, &mut names, m)).collect();
    names.resolve(m);
    names.circles(m);
    names.standbys(m);
    names.metered_twice(m);
    phases::check(&names, m);
    let mut nodes = Vec::with_capacity(read.len());
    for (at, node) in read {
        let Some(mut node) = node else { continue };
        match names.feed(node.id.as_str()) {
            Some(feed) => node.feed = feed,
            None => {
                let problem =
                    format!("{:?} belongs to no feed: neither it nor anything above it says feed", node.id.as_str());
                m.add(at, problem, "add feed = \"a\" to the root: what fails together has one feed");
            }
        }
        node.phases = names.phases(node.id.as_str());
        nodes.push(node);
    }
    let is_whole = written == [nodes.len(), racks.len(), cooling.len()] && nodes.iter().all(|n| !n.feed.is_empty());
    let spots = names.nodes.into_iter().chain(names.racks).chain(names.cooling).collect();
    Tree { nodes, racks, cooling, spots, file: None, is_whole }
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

fn positive(table: &Table<'_>, key: &'static str, example: &str, m: &Mistakes) -> Option<f64> {
    let spot = table.need::<f64>(key, example)?;
    if spot.value > 0.0 {
        return Some(spot.value);
    }
    m.add(spot.at, format!("{key} = {} must be above 0", spot.value), format!("write {key} = {example}"));
    None
}

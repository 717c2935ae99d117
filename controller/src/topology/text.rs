//! A tree as text: each root with what hangs on it, ratings, families and loads.

use super::lint::{heat, kw};
use super::loads::{Carried, Load, loads};
use crate::config::{Node, Tree};
use headroom_controller_core::NodeSpec;
use headroom_controller_core::Topology;
use headroom_controller_core::topology::{BALANCED, NodeKind};
use headroom_rack::{NodeId, Watts};
use std::collections::BTreeMap;

/// The tree in lines.
pub fn draw(tree: &Tree, topology: &Topology) -> String {
    let picture = Picture {
        topology,
        loads: loads(topology),
        written: tree.nodes.iter().map(|n| (&n.id, n)).collect(),
        children: children(topology),
        racks: racks(topology),
    };
    let mut rows = Vec::new();
    for n in (0..topology.nodes().len()).filter(|n| topology.nodes()[*n].parent.is_none()) {
        rows.push((String::new(), String::new()));
        picture.branch(n, "", "", &mut rows);
    }
    for unit in &tree.cooling {
        rows.push((String::new(), String::new()));
        let total: Watts = unit.units.iter().map(|u| u.capacity).sum();
        let about = format!(
            "cooling    {:>9} for {} at nameplate",
            kw(total),
            kw(heat(&tree.racks, &unit.racks, |r| r.gpu_max))
        );
        rows.push((unit.id.to_string(), about));
        for (i, of) in unit.units.iter().enumerate() {
            let corner = if i + 1 == unit.units.len() { "└─ " } else { "├─ " };
            rows.push((format!("{corner}{}", of.id), format!("unit       {:>9}", kw(of.capacity))));
        }
    }
    let width = rows.iter().map(|(left, _)| left.chars().count()).max().unwrap_or(0) + 2;
    let lines = rows.into_iter().skip(1).map(|(left, right)| {
        let pad = " ".repeat(width.saturating_sub(left.chars().count()));
        format!("{left}{pad}{right}").trim_end().to_owned() + "\n"
    });
    lines.collect()
}

struct Picture<'t> {
    topology: &'t Topology,
    loads: Vec<Load>,
    written: BTreeMap<&'t NodeId, &'t Node>,
    children: Vec<Vec<usize>>,
    racks: BTreeMap<&'t NodeId, Vec<(String, String)>>,
}

impl Picture<'_> {
    fn branch(&self, n: usize, lead: &str, below: &str, rows: &mut Vec<(String, String)>) {
        let (node, load) = (&self.topology.nodes()[n], &self.loads[n]);
        let written = self.written.get(&node.id);
        let percent = |carried: &Carried| {
            let on = carried.fullest(node).map_or_else(String::new, |(phase, _)| format!(" on L{}", phase + 1));
            format!("{:.0} %{on}", carried.of(node) / node.rating * 100.0)
        };
        let mut about = format!("{:<11}{:>9}", node.kind.word(), kw(node.rating));
        if let Some(current) = written.and_then(|w| w.current) {
            about.push_str(&format!("  {} A x {}", current.rating.get(), current.phases));
        }
        about.push_str(&format!(
            "  {}  feed {}  nameplate {}, safe {}, safe after a loss {}",
            written.map_or("", |w| w.family.as_str()),
            node.feed,
            percent(&load.nameplate),
            percent(&load.safe),
            percent(&load.safe_after_loss)
        ));
        if node.kind == NodeKind::Ups {
            about.push_str(&battery(node, load));
        }
        if let Some(standby) = &node.standby {
            about.push_str(&format!(", switches to {standby}"));
        }
        rows.push((format!("{lead}{}", node.id), about));
        let racks = self.racks.get(&node.id).map_or(&[][..], Vec::as_slice);
        let count = self.children[n].len() + racks.len();
        for (i, child) in self.children[n].iter().enumerate() {
            let (corner, bar) = if i + 1 == count { ("└─ ", "   ") } else { ("├─ ", "│  ") };
            self.branch(*child, &format!("{below}{corner}"), &format!("{below}{bar}"), rows);
        }
        for (i, (left, right)) in racks.iter().enumerate() {
            let corner = if self.children[n].len() + i + 1 == count { "└─ " } else { "├─ " };
            rows.push((format!("{below}{corner}{left}"), right.clone()));
        }
    }
}

/// Per node, what hangs on it.
pub(super) fn children(topology: &Topology) -> Vec<Vec<usize>> {
    let index: BTreeMap<&NodeId, usize> = topology.nodes().iter().enumerate().map(|(i, n)| (&n.id, i)).collect();
    let mut children = vec![Vec::new(); topology.nodes().len()];
    for (i, node) in topology.nodes().iter().enumerate() {
        if let Some(parent) = node.parent.as_ref().and_then(|p| index.get(p)) {
            children[*parent].push(i);
        }
    }
    children
}

fn racks(topology: &Topology) -> BTreeMap<&NodeId, Vec<(String, String)>> {
    let mut on: BTreeMap<&NodeId, Vec<(String, String)>> = BTreeMap::new();
    for (rack, cord) in topology.racks().iter().flat_map(|r| r.feeds.iter().map(move |f| (r, f))) {
        let share = format!("{:.0} % of {}", cord.share * 100.0, kw(rack.nameplate()));
        let about = format!("rack       {share}, {}, {} GPUs{}", rack.priority, rack.gpus, phases(&cord.phases));
        on.entry(&cord.node).or_default().push((rack.id.to_string(), about));
    }
    on
}

/// How long a full battery lasts.
fn battery(node: &NodeSpec, load: &Load) -> String {
    let Some(data) = &node.battery else { return ", battery as the UPS tells it".to_owned() };
    let seconds = |load: Watts| data.runtime_s(load);
    let (most, safe) = (seconds(load.nameplate.total), seconds(load.safe.total));
    format!(", battery {most:.0} s at nameplate, {safe:.0} s at safe")
}

fn phases(phases: &[f64; 3]) -> String {
    if *phases == BALANCED {
        return String::new();
    }
    let on: Vec<String> = (0..3).filter(|p| phases[*p] > 0.0).map(|p| format!("L{}", p + 1)).collect();
    format!(", {}", on.join("+"))
}

//! Nodes named together because their power adds up to something that has a name outside.

use super::Node;
use super::document::{Mistakes, Spot};
use headroom_rack::NodeId;
use std::collections::BTreeMap;

/// The nodes of `names`. `taken`: what the nodes of other groups belong to.
pub(super) fn nodes<'n>(
    group: &str,
    names: &Spot<Vec<String>>,
    nodes: &'n [Node],
    taken: &mut BTreeMap<String, String>,
    m: &Mistakes,
) -> Vec<&'n Node> {
    let mut found: Vec<&Node> = Vec::new();
    for name in &names.value {
        let Some(node) = nodes.iter().find(|n| n.id.as_str() == name) else {
            let known: Vec<&str> = nodes.iter().map(|n| n.id.as_str()).collect();
            m.add(names.at, format!("no node is named {name:?}"), format!("write some of {}", known.join(", ")));
            continue;
        };
        if let Some(other) = taken.insert(name.clone(), group.to_owned()) {
            m.add(names.at, format!("{name} is in feed {other:?} already"), "let each node be in one feed");
        }
        found.push(node);
    }
    for (node, other) in found.iter().flat_map(|n| found.iter().map(move |o| (n, o))) {
        if above(node, nodes).contains(&&other.id) {
            let problem = format!("{} hangs on {}: its power would count twice", node.id, other.id);
            m.add(names.at, problem, "name the upper one only");
        }
    }
    if found.is_empty() {
        m.add(names.at, format!("feed {group:?} has no node"), "name the node whose meter is the feed's");
    }
    found
}

/// The nodes that feed a node, also where the tree is not sound and goes in circles.
fn above<'n>(node: &'n Node, nodes: &'n [Node]) -> Vec<&'n NodeId> {
    let mut chain: Vec<&NodeId> = Vec::new();
    let mut next = node.parent.as_ref();
    while let Some(id) = next.filter(|id| !chain.contains(id)) {
        chain.push(id);
        next = nodes.iter().find(|n| n.id == *id).and_then(|n| n.parent.as_ref());
    }
    chain
}

//! That phases fit: what hangs on one phase of three says on which. Taken as spread over all three, it would
//! fill one of them unseen.

use super::super::document::Mistakes;
use super::names::{Cord, Names};
use std::collections::BTreeMap;

/// Holds nodes and cords against each other.
pub(super) fn check(names: &Names, m: &Mistakes) {
    for (node, at) in &names.nodes {
        let above = names.path(node).nth(1).filter(|p| names.nodes.contains_key(*p));
        if let Some(above) = above.filter(|above| names.phases(node) == 3 && names.phases(above) == 1) {
            let problem = format!("{node:?} has three phases and hangs on {above:?}, which has one");
            m.add(names.phased.get(node).map_or(*at, |s| s.at), problem, "write phases = 1 here, or 3 there");
        }
    }
    let mut on: BTreeMap<&str, [f64; 3]> = BTreeMap::new();
    for cord in &names.cords {
        let path: Vec<&str> = names.path(&cord.node).filter(|n| names.nodes.contains_key(*n)).collect();
        let Some(one) = path.iter().rposition(|n| names.phases(n) == 1) else { continue };
        let Some(three) = path.get(one + 1) else { continue };
        cord_of_one(cord, path[one], three, m);
        let Some(phases) = cord.phases.filter(|p| is_one(*p)) else { continue };
        for node in &path[..=one] {
            let first = on.entry(node).or_insert(phases);
            if *first != phases {
                let problem = format!("this feed is on {} and another of {node:?} on {}", lines(phases), lines(*first));
                m.add(cord.at, problem, format!("{node:?} has one phase: write the same for all that hang on it"));
            }
        }
    }
}

fn cord_of_one(cord: &Cord, one: &str, three: &str, m: &Mistakes) {
    let remedy = "\"L1\", \"L2\" or \"L3\", or \"L1-L2\" for a plug between two lines";
    match cord.phases {
        None => m.add(
            cord.at,
            format!("{one:?} has one phase and {three:?} above it three: on which of them is this feed?"),
            format!("add phases = {remedy}; or phases = 1 to {three:?}, if it has no more"),
        ),
        Some(phases) if !is_one(phases) => m.add(
            cord.at,
            format!("this feed is spread over {} and {one:?} has one phase", lines(phases)),
            format!("write phases = {remedy}"),
        ),
        Some(_) => {}
    }
}

/// Whether a plug of one phase can load lines so: one alone, or two with the same current.
fn is_one(phases: [f64; 3]) -> bool {
    let on: Vec<f64> = phases.into_iter().filter(|p| *p > 0.0).collect();
    matches!(on[..], [_]) || matches!(on[..], [a, b] if a + b > 1.0)
}

fn lines(phases: [f64; 3]) -> String {
    let on: Vec<String> = (0..3).filter(|p| phases[*p] > 0.0).map(|p| format!("L{}", p + 1)).collect();
    on.join("-")
}

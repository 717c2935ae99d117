//! What the loss of each feed moves where. A rack that loses a feed draws the same from its other cords, in
//! proportion: 2N doubles the other one, distributed redundancy spreads it. A cord behind a transfer switch stays;
//! what its standby must take is a constraint of its own.

use super::{NodeSpec, RackSpec};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

/// Shares nearer than this are the same.
const SAME: f64 = 1e-6;

/// The failovers of all nodes, one for each feed whose loss brings a node, or a phase of it that counts, more load.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Failovers {
    /// Per node, where its own begin; one more at the end.
    first: Vec<usize>,
    /// The feed that is lost.
    pub lost: Vec<String>,
    /// Per rack the failovers that move some of it, and the share of it that comes on top.
    pub moves: Vec<Vec<(usize, f64)>>,
    /// Whether the racks below the node take over unlike shares of what they draw.
    pub mixed: Vec<bool>,
}

/// What a node carries of a rack: in all, and by phase where its phases count.
type Load = [f64; 4];

impl Failovers {
    /// `split`: the nodes whose phases count one by one.
    pub(super) fn find(nodes: &[NodeSpec], racks: &[RackSpec], paths: &[Vec<Vec<usize>>], split: &[bool]) -> Self {
        let mut partners: Vec<BTreeSet<&str>> = vec![BTreeSet::new(); nodes.len()];
        let mut found = Vec::with_capacity(racks.len());
        for (rack, paths) in racks.iter().zip(paths) {
            let shares: Vec<f64> = rack.feeds.iter().map(|cord| cord.share).collect();
            let before = loads(rack, paths, &shares, split);
            let mut moved = Vec::new();
            for feed in feeds(nodes, paths) {
                let Some(after) = after(nodes, paths, &shares, feed) else { continue };
                for (node, after) in
                    loads(rack, paths, &after, split).into_iter().filter(|(n, _)| nodes[*n].feed != feed)
                {
                    let more: Load = std::array::from_fn(|i| after[i] - before[&node][i]);
                    if more.iter().any(|more| *more > 1e-9) {
                        partners[node].insert(feed);
                        moved.push((node, feed, more));
                    }
                }
            }
            found.push((before, moved));
        }
        let mut first = vec![0];
        for feeds in &partners {
            first.push(first[first.len() - 1] + feeds.len());
        }
        let slot = |node: usize, feed: &str| first[node] + partners[node].iter().take_while(|f| **f != feed).count();
        let moves = |moved: &[(usize, &str, Load)]| {
            let whole = moved.iter().filter(|(_, _, more)| more[0] > 1e-9);
            whole.map(|(node, feed, more)| (slot(*node, feed), more[0])).collect()
        };
        let mut range: Vec<Range<f64>> = vec![f64::INFINITY..f64::NEG_INFINITY; first[nodes.len()]];
        for (before, moved) in &found {
            for (node, before) in before {
                for (failover, range) in (first[*node]..first[node + 1]).zip(&mut range[first[*node]..first[node + 1]])
                {
                    let more = moved.iter().find(|(n, feed, _)| n == node && slot(*n, feed) == failover);
                    let more = more.map_or([0.0; 4], |(_, _, more)| *more);
                    for (before, more) in
                        before.iter().zip(more).filter(|(before, more)| **before > 0.0 || *more > 1e-9)
                    {
                        *range = range.start.min(more / before)..range.end.max(more / before);
                    }
                }
            }
        }
        Self {
            lost: partners.iter().flatten().map(|feed| (*feed).to_owned()).collect(),
            moves: found.iter().map(|(_, moved)| moves(moved)).collect(),
            // A phase that carried nothing before makes it infinite.
            mixed: range
                .into_iter()
                .map(|range| range.start < range.end - SAME || range.end == f64::INFINITY)
                .collect(),
            first,
        }
    }

    /// Those of a node.
    pub(super) fn of(&self, node: usize) -> Range<usize> {
        self.first[node]..self.first[node + 1]
    }

    pub(super) fn count(&self) -> usize {
        self.lost.len()
    }
}

/// What each node above the cords of a rack carries of it while they carry these shares.
fn loads(rack: &RackSpec, paths: &[Vec<usize>], shares: &[f64], split: &[bool]) -> BTreeMap<usize, Load> {
    let mut on: BTreeMap<usize, Load> = BTreeMap::new();
    for ((cord, path), share) in rack.feeds.iter().zip(paths).zip(shares) {
        for node in path {
            let load = on.entry(*node).or_default();
            load[0] += share;
            if split[*node] {
                load[1..].iter_mut().zip(cord.phases).for_each(|(load, part)| *load += share * part);
            }
        }
    }
    on
}

fn is_switched(nodes: &[NodeSpec], path: &[usize]) -> bool {
    path.iter().any(|n| nodes[*n].standby.is_some())
}

/// Whether a cord with these nodes above it goes dark with a feed; one behind a transfer switch stays.
pub(super) fn is_lost(nodes: &[NodeSpec], feed: &str, path: &[usize]) -> bool {
    !is_switched(nodes, path) && path.first().is_some_and(|n| nodes[*n].feed == feed)
}

/// The feeds whose loss makes a cord go dark.
fn feeds<'n>(nodes: &'n [NodeSpec], paths: &[Vec<usize>]) -> BTreeSet<&'n str> {
    let dark = paths.iter().filter(|path| !is_switched(nodes, path));
    dark.filter_map(|path| path.first()).map(|n| nodes[*n].feed.as_str()).collect()
}

/// What each cord of a rack carries after the loss of a feed, if they carry these shares now; `None`: the rack loses
/// nothing, or all.
pub(super) fn after(nodes: &[NodeSpec], paths: &[Vec<usize>], shares: &[f64], feed: &str) -> Option<Vec<f64>> {
    let gone: Vec<bool> = paths.iter().map(|path| is_lost(nodes, feed, path)).collect();
    let lost: f64 = shares.iter().zip(&gone).filter(|(_, gone)| **gone).map(|(share, _)| share).sum();
    let left = (1.0 - lost).max(1e-9);
    let carried = |(share, gone): (&f64, &bool)| if *gone { 0.0 } else { share / left };
    (1e-9..1.0 - 1e-9).contains(&lost).then(|| shares.iter().zip(&gone).map(carried).collect())
}

/// Where the power of a rack moves whose cords have these nodes above them and carry these shares of it: node, lost
/// feed, the share that comes on top.
pub(super) fn moved<'n>(nodes: &'n [NodeSpec], paths: &[Vec<usize>], shares: &[f64]) -> Vec<(usize, &'n str, f64)> {
    let mut moved = Vec::new();
    for feed in feeds(nodes, paths) {
        let Some(after) = after(nodes, paths, shares, feed) else { continue };
        let mut more: BTreeMap<usize, f64> = BTreeMap::new();
        for ((before, after), path) in shares.iter().zip(after).zip(paths) {
            path.iter().for_each(|node| *more.entry(*node).or_default() += after - before);
        }
        let grown = more.into_iter().filter(|(n, more)| *more > 1e-9 && nodes[*n].feed != feed);
        moved.extend(grown.map(|(node, more)| (node, feed, more)));
    }
    moved
}

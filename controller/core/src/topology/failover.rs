//! What the loss of each feed moves where. A rack that loses a feed draws the same from its other cords, in
//! proportion: 2N doubles the other one, distributed redundancy spreads it. A cord behind a transfer switch stays;
//! what its standby must take is a constraint of its own.

use super::{NodeSpec, RackSpec};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

/// Shares nearer than this are the same.
const SAME: f64 = 1e-6;

/// The failovers of all nodes, one for each feed whose loss brings a node more load.
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

impl Failovers {
    pub(super) fn find(
        nodes: &[NodeSpec],
        racks: &[RackSpec],
        paths: &[Vec<Vec<usize>>],
        shares: &[Vec<(usize, f64)>],
    ) -> Self {
        let mut partners: Vec<BTreeSet<&str>> = vec![BTreeSet::new(); nodes.len()];
        let planned = |rack: &RackSpec| rack.feeds.iter().map(|cord| cord.share).collect::<Vec<f64>>();
        let found: Vec<_> = racks.iter().zip(paths).map(|(rack, paths)| moved(nodes, paths, &planned(rack))).collect();
        for (node, feed, _) in found.iter().flatten() {
            partners[*node].insert(feed);
        }
        let mut first = vec![0];
        for feeds in &partners {
            first.push(first[first.len() - 1] + feeds.len());
        }
        let slot = |node: usize, feed: &str| first[node] + partners[node].iter().take_while(|f| **f != feed).count();
        let moves: Vec<Vec<(usize, f64)>> =
            found.iter().map(|rack| rack.iter().map(|(n, f, more)| (slot(*n, f), *more)).collect()).collect();
        let lost = partners.iter().flatten().map(|feed| (*feed).to_owned()).collect();
        let mixed = mixed(&first, shares, &moves);
        Self { first, lost, moves, mixed }
    }

    /// Those of a node.
    pub(super) fn of(&self, node: usize) -> Range<usize> {
        self.first[node]..self.first[node + 1]
    }

    pub(super) fn count(&self) -> usize {
        self.lost.len()
    }
}

/// Where the power of a rack moves whose cords have these nodes above them and carry these shares of it: node, lost
/// feed, the share that comes on top.
pub(super) fn moved<'n>(nodes: &'n [NodeSpec], paths: &[Vec<usize>], shares: &[f64]) -> Vec<(usize, &'n str, f64)> {
    let switched = |path: &[usize]| path.iter().any(|n| nodes[*n].standby.is_some());
    let mut on_feed: BTreeMap<&'n str, f64> = BTreeMap::new();
    for (share, path) in shares.iter().zip(paths).filter(|(_, path)| !switched(path)) {
        *on_feed.entry(path.first().map_or("", |n| nodes[*n].feed.as_str())).or_default() += share;
    }
    let mut moved = Vec::new();
    for (feed, lost) in on_feed.into_iter().filter(|(_, lost)| *lost < 1.0 - 1e-9) {
        let mut more: BTreeMap<usize, f64> = BTreeMap::new();
        for (share, path) in shares.iter().zip(paths) {
            let gone = !switched(path) && path.first().is_some_and(|n| nodes[*n].feed == feed);
            let change = if gone { -share } else { share * (1.0 / (1.0 - lost) - 1.0) };
            for node in path {
                *more.entry(*node).or_default() += change;
            }
        }
        let grown = more.into_iter().filter(|(n, more)| *more > 1e-9 && nodes[*n].feed != feed);
        moved.extend(grown.map(|(node, more)| (node, feed, more)));
    }
    moved
}

/// Per failover whether the racks below its node take over unlike shares of what they draw.
fn mixed(first: &[usize], shares: &[Vec<(usize, f64)>], moves: &[Vec<(usize, f64)>]) -> Vec<bool> {
    let count = first.last().copied().unwrap_or(0);
    let mut range: Vec<Range<f64>> = vec![f64::INFINITY..f64::NEG_INFINITY; count];
    for (shares, moves) in shares.iter().zip(moves) {
        for (node, share) in shares.iter().filter(|(_, share)| *share > 0.0) {
            let (begin, end) = (first[*node], first[node + 1]);
            for (slot, range) in (begin..end).zip(&mut range[begin..end]) {
                let more = moves.iter().find(|(s, _)| *s == slot).map_or(0.0, |(_, more)| more / share);
                *range = range.start.min(more)..range.end.max(more);
            }
        }
    }
    range.into_iter().map(|range| range.end - range.start > SAME).collect()
}

//! Splits what the nodes allow among the racks: floors first, then band by band, inside a band by
//! weighted fair share (progressive filling, Bertsekas & Gallager, *Data Networks*, 6.5.2). A
//! rack's share must fit every node it hangs on.
//!
//! All racks of a band rise together; a rack stops at its demand or when a node above it is full.
//! The stops are taken in the order of their levels from a heap, so that the work grows with the
//! racks times the nodes above one of them, times a logarithm, whatever the numbers are.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

/// What one rack asks for, in watts.
#[derive(Debug, Clone, PartialEq)]
pub struct Ask<'t> {
    /// Given in any case.
    pub floor: f64,
    /// Wanted at most.
    pub demand: f64,
    /// Weight inside the band, above 0.
    pub weight: f64,
    /// Band, 0 first.
    pub band: usize,
    /// Nodes above and the share each carries.
    pub shares: &'t [(usize, f64)],
}

/// What one rack got.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Grant {
    /// Watts.
    pub watts: f64,
    /// The node that kept it below its demand.
    pub bound_by: Option<usize>,
}

/// Watts below which a difference is rounding.
const EPSILON: f64 = 1e-6;

/// Allocates `limits[node]` among `asks`. Sums never exceed a limit unless the floors alone do.
pub fn allocate(limits: &[f64], asks: &[Ask<'_>]) -> Vec<Grant> {
    let mut filling = Filling::new(limits, asks);
    let mut order: Vec<usize> = (0..asks.len()).collect();
    order.sort_by_key(|i| asks[*i].band);
    for members in order.chunk_by(|a, b| asks[*a].band == asks[*b].band) {
        filling.fill(members);
    }
    filling.grants
}

/// A node while a band rises.
#[derive(Debug, Clone, Copy)]
struct Node {
    /// Watts left at level `at`.
    left: f64,
    /// Level up to which `left` is right.
    at: f64,
    /// Watts per level that the racks still rising take here.
    rate: f64,
    /// How many they are.
    rising: u32,
    /// The level at which the last of them has what it wants.
    last: f64,
    full: bool,
}

impl Node {
    fn rise(&mut self, level: f64) {
        self.left -= self.rate * (level - self.at);
        self.at = level;
    }

    /// The level at which nothing is left.
    fn fills_at(&self) -> f64 {
        if self.left <= EPSILON { self.at } else { self.at + self.left / self.rate }
    }
}

/// Something that stops racks at a level. The least level comes first, racks before nodes.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Stop {
    level: f64,
    what: What,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    Node(usize),
    Rack(usize),
}

impl Eq for Stop {}

impl Ord for Stop {
    fn cmp(&self, other: &Self) -> Ordering {
        other.level.total_cmp(&self.level).then_with(|| self.what.cmp(&other.what))
    }
}

impl PartialOrd for Stop {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

struct Filling<'a> {
    asks: &'a [Ask<'a>],
    nodes: Vec<Node>,
    grants: Vec<Grant>,
    rising: Vec<bool>,
    /// Racks by node: those of node `n` are `below[first[n]..first[n + 1]]`.
    first: Vec<usize>,
    below: Vec<usize>,
}

impl<'a> Filling<'a> {
    fn new(limits: &[f64], asks: &'a [Ask<'a>]) -> Self {
        let mut nodes: Vec<Node> = limits
            .iter()
            .map(|left| Node { left: *left, at: 0.0, rate: 0.0, rising: 0, last: 0.0, full: false })
            .collect();
        let mut first = vec![0; limits.len() + 1];
        for ask in asks {
            for (node, share) in ask.shares {
                nodes[*node].left -= ask.floor * share;
                first[node + 1] += 1;
            }
        }
        for n in 0..limits.len() {
            first[n + 1] += first[n];
        }
        let mut next = first.clone();
        let mut below = vec![0; first[limits.len()]];
        for (i, ask) in asks.iter().enumerate() {
            for (node, _) in ask.shares {
                below[next[*node]] = i;
                next[*node] += 1;
            }
        }
        let grants = asks.iter().map(|a| Grant { watts: a.floor, bound_by: None }).collect();
        Self { asks, nodes, grants, rising: vec![false; asks.len()], first, below }
    }

    /// Raises `members` together from their floors, by weight.
    fn fill(&mut self, members: &[usize]) {
        for node in &mut self.nodes {
            (node.at, node.rate, node.rising, node.last) = (0.0, 0.0, 0, 0.0);
            node.full = node.left <= EPSILON;
        }
        let mut stops = Vec::with_capacity(members.len());
        for i in members {
            let ask = &self.asks[*i];
            if ask.demand <= ask.floor + EPSILON {
                continue;
            }
            if let Some((node, _)) = ask.shares.iter().find(|(n, share)| *share > 0.0 && self.nodes[*n].full) {
                self.grants[*i].bound_by = Some(*node);
                continue;
            }
            self.rising[*i] = true;
            let level = (ask.demand - ask.floor) / ask.weight;
            stops.push(Stop { level, what: What::Rack(*i) });
            for (node, share) in ask.shares {
                let node = &mut self.nodes[*node];
                node.rate += ask.weight * share;
                node.rising += 1;
                node.last = node.last.max(level);
            }
        }
        // A node that would fill only when all its racks have what they want stops none: most are like that.
        let risen = self.nodes.iter().enumerate().filter(|(_, n)| n.rising > 0 && n.fills_at() < n.last);
        stops.extend(risen.map(|(n, node)| Stop { level: node.fills_at(), what: What::Node(n) }));
        let mut stops = BinaryHeap::from(stops);
        while let Some(Stop { level, what }) = stops.pop() {
            match what {
                What::Rack(i) => self.stop(i, level, None),
                What::Node(n) if self.nodes[n].rising == 0 => {}
                // Racks that stopped since have put this off: look again then.
                What::Node(n) if self.nodes[n].fills_at() > level * (1.0 + 1e-12) + 1e-12 => {
                    stops.push(Stop { level: self.nodes[n].fills_at(), what });
                }
                What::Node(n) => {
                    self.nodes[n].full = true;
                    for k in self.first[n]..self.first[n + 1] {
                        self.stop(self.below[k], level, Some(n));
                    }
                }
            }
        }
    }

    fn stop(&mut self, i: usize, level: f64, bound_by: Option<usize>) {
        if !std::mem::take(&mut self.rising[i]) {
            return;
        }
        let ask = &self.asks[i];
        self.grants[i] = Grant { watts: (ask.floor + level * ask.weight).min(ask.demand), bound_by };
        for (node, share) in ask.shares {
            let node = &mut self.nodes[*node];
            node.rise(level);
            node.rate -= ask.weight * share;
            node.rising -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ask(band: usize, floor: f64, demand: f64) -> Ask<'static> {
        Ask { floor, demand, weight: 1.0, band, shares: &[(0, 0.5), (1, 0.5)] }
    }

    #[test]
    fn a_higher_band_is_served_before_a_lower_one() {
        let grants = allocate(&[50.0, 50.0], &[ask(1, 10.0, 80.0), ask(0, 10.0, 80.0)]);
        assert!((grants[1].watts - 80.0).abs() < 1e-3, "{grants:?}");
        assert!((grants[0].watts - 20.0).abs() < 1e-3 && grants[0].bound_by.is_some(), "{grants:?}");
    }

    #[test]
    fn equals_share_equally_and_weight_counts() {
        let mut heavy = ask(0, 0.0, 1e3);
        heavy.weight = 3.0;
        let grants = allocate(&[50.0, 50.0], &[heavy, ask(0, 0.0, 1e3)]);
        assert!((grants[0].watts - 75.0).abs() < 1e-3 && (grants[1].watts - 25.0).abs() < 1e-3, "{grants:?}");
    }

    type Shares = [(usize, f64); 3];

    fn asks() -> impl Strategy<Value = (Vec<f64>, Vec<(Ask<'static>, Shares)>)> {
        let node = || prop::collection::vec(0.0_f64..5000.0, 3);
        let one = (0.0_f64..300.0, 0.0_f64..2000.0, 0.1_f64..5.0, 0_usize..3, 0.05_f64..0.95).prop_map(
            |(floor, more, weight, band, share)| {
                let ask = Ask { floor, demand: floor + more, weight, band, shares: &[] };
                (ask, [(0, share), (1, 1.0 - share), (2, 1.0)])
            },
        );
        (node(), prop::collection::vec(one, 1..12))
    }

    fn with_shares<'a>(asks: &'a [(Ask<'static>, Shares)]) -> Vec<Ask<'a>> {
        asks.iter().map(|(ask, shares)| Ask { shares, ..ask.clone() }).collect()
    }

    /// Progressive filling by its definition: all rise by a small step until they may not.
    fn by_definition(limits: &[f64], asks: &[Ask<'_>]) -> Vec<f64> {
        const STEP: f64 = 0.25;
        let mut watts: Vec<f64> = asks.iter().map(|a| a.floor).collect();
        for band in 0..3 {
            let mut rising: Vec<usize> = (0..asks.len()).filter(|i| asks[*i].band == band).collect();
            while !rising.is_empty() {
                let stopped: Vec<usize> = rising
                    .iter()
                    .copied()
                    .filter(|i| {
                        let full = |n: usize| on(n, asks, |k| watts[k]) >= limits[n];
                        watts[*i] >= asks[*i].demand || asks[*i].shares.iter().any(|(n, _)| full(*n))
                    })
                    .collect();
                rising.retain(|i| !stopped.contains(i));
                for i in &rising {
                    watts[*i] = (watts[*i] + STEP * asks[*i].weight).min(asks[*i].demand);
                }
            }
        }
        watts
    }

    fn on(node: usize, asks: &[Ask<'_>], watts: impl Fn(usize) -> f64) -> f64 {
        let share = |a: &Ask| a.shares.iter().filter(|s| s.0 == node).map(|s| s.1).sum::<f64>();
        asks.iter().enumerate().map(|(i, a)| share(a) * watts(i)).sum()
    }

    proptest! {
        #[test]
        fn no_node_carries_more_than_its_limit_or_its_floors((limits, asks) in asks()) {
            let asks = with_shares(&asks);
            let grants = allocate(&limits, &asks);
            for (node, limit) in limits.iter().enumerate() {
                let floors = on(node, &asks, |i| asks[i].floor);
                let sum = on(node, &asks, |i| grants[i].watts);
                prop_assert!(sum <= limit.max(floors) + 1e-3, "node {node}: {sum} over {limit}, floors {floors}");
            }
        }

        #[test]
        fn nobody_gets_less_than_the_floor_or_more_than_it_wants((limits, asks) in asks()) {
            let asks = with_shares(&asks);
            for (grant, ask) in allocate(&limits, &asks).iter().zip(&asks) {
                prop_assert!(grant.watts >= ask.floor && grant.watts <= ask.demand + 1e-3);
            }
        }

        #[test]
        fn asking_for_what_one_got_changes_nothing((limits, asks) in asks()) {
            let mut asks = with_shares(&asks);
            let first = allocate(&limits, &asks);
            for (ask, grant) in asks.iter_mut().zip(&first) {
                ask.demand = grant.watts;
            }
            for (a, b) in first.iter().zip(allocate(&limits, &asks)) {
                prop_assert!((a.watts - b.watts).abs() < 1e-2, "{a:?} {b:?}");
            }
        }

        #[test]
        fn a_higher_band_is_never_cut_while_a_lower_one_has_more_than_its_floor_there((limits, asks) in asks()) {
            let asks = with_shares(&asks);
            let grants = allocate(&limits, &asks);
            for (high, grant) in asks.iter().zip(&grants) {
                let Some(node) = grant.bound_by else { continue };
                for (low, got) in asks.iter().zip(&grants).filter(|(low, _)| low.band > high.band) {
                    let there = low.shares.iter().any(|(n, s)| *n == node && *s > 0.0);
                    prop_assert!(!there || got.watts <= low.floor + 1e-3);
                }
            }
        }

        #[test]
        fn the_order_of_stops_gives_what_the_definition_gives((limits, asks) in asks()) {
            let asks = with_shares(&asks);
            // A step of the definition moves twelve racks of weight up to 5 at once.
            for (grant, slow) in allocate(&limits, &asks).iter().zip(by_definition(&limits, &asks)) {
                prop_assert!((grant.watts - slow).abs() <= 0.25 * 5.0 * 12.0, "{grant:?} {slow}");
            }
        }
    }
}

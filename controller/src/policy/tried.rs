//! What the nodes would have carried under a policy that is tried: what they did carry, and on top what racks would have
//! drawn more or less under other caps. A rack that was not held draws what it drew and no more; one that was held may
//! rise to what it was expected to want. A cap acts one response time after it is decided. The record does not answer
//! back, so a node is taken to be held at the limit that was decided for it, as far as floors let it be.

use headroom_controller_core::trip::Protection;
use headroom_controller_core::{Fleet, NodeSpec, Policy, RackSpec, Topology};
use headroom_rack::{Mode, NodeId, Plan, Quality, UnixMs, Watts};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// A node under both policies.
#[derive(Debug, Clone, serde::Serialize)]
pub struct NodeTold {
    /// Its name.
    pub node: NodeId,
    /// Its continuous rating, W.
    pub rating_watts: f64,
    /// Under the policy of the config.
    pub now: Carried,
    /// Under the policy that was tried.
    pub then: Carried,
}

/// What a node carried.
#[derive(Debug, Clone, Copy, Default, PartialEq, serde::Serialize)]
pub struct Carried {
    /// For how long it is known what it carried, s. What follows is within that.
    pub known_s: f64,
    /// How long it carried more than the policy lets it for long: its derated rating, or less where the policy says so.
    pub over_limit_s: f64,
    /// How long it carried more than its rating, s.
    pub over_rating_s: f64,
    /// The most it carried, W.
    pub most_watts: f64,
    /// The most of its trip image that was used up, 0 to 1: at 1 it trips.
    pub trip_used: f64,
    /// When it would have tripped first, ms since 1970.
    pub tripped_ms: Option<u64>,
}

impl From<(&NodeSpec, (Carried, Carried))> for NodeTold {
    fn from((spec, (now, then)): (&NodeSpec, (Carried, Carried))) -> Self {
        Self { node: spec.id.clone(), rating_watts: spec.rating.get(), now, then }
    }
}

/// What was drawn and recorded at one decision, in the order of the topology.
pub(super) struct Drawn<'t> {
    topology: &'t Topology,
    at: UnixMs,
    /// By node, W, and the used share of its trip image; none where it was only taken for its racks' nameplates.
    nodes: Vec<Option<(f64, f64)>>,
    /// By rack: what it drew, and what it would have drawn uncapped, W.
    racks: Vec<Option<(f64, f64)>>,
    /// The budgets that were sent; none where nothing was.
    sent: Vec<f64>,
}

impl<'t> Drawn<'t> {
    pub(super) fn new(topology: &'t Topology) -> Self {
        let (nodes, racks) = (vec![None; topology.nodes().len()], vec![None; topology.racks().len()]);
        let sent = vec![f64::INFINITY; racks.len()];
        Self { topology, at: UnixMs::new(0), nodes, racks, sent }
    }

    /// Takes in a Plan as it was recorded and what is known of the racks.
    pub(super) fn see(&mut self, fleet: &Fleet, plan: &Plan) {
        self.at = plan.at;
        let known = plan.nodes.iter().filter(|n| n.quality != Quality::Nameplate);
        let nodes: BTreeMap<_, _> = known.map(|n| (&n.node, (n.power.get(), n.trip_used))).collect();
        let caps: BTreeMap<_, _> = plan.caps.iter().map(|c| (&c.rack, c)).collect();
        let of_nodes = self.topology.nodes().iter().map(|n| nodes.get(&n.id).copied());
        self.nodes = of_nodes.collect();
        for (i, spec) in self.topology.racks().iter().enumerate() {
            let cap = caps.get(&spec.id).filter(|_| plan.mode != Mode::Advisory);
            self.sent[i] = cap.map_or(f64::INFINITY, |c| c.budget.get());
            let power = fleet.rack(&spec.id).and_then(|belief| belief.power(spec)).map(Watts::get);
            let held = cap.filter(|c| c.binding).map_or(0.0, |c| c.expected.get());
            self.racks[i] = power.map(|power| (power, held.max(power)));
        }
    }
}

/// The nodes under one policy.
pub(super) struct Lines {
    carried: Vec<Carried>,
    images: Vec<Option<Protection>>,
    /// When what was decided, by rack: the budget that was sent and the one under this policy, W.
    budgets: VecDeque<(u64, Vec<(f64, f64)>)>,
}

impl Lines {
    pub(super) fn new(topology: &Topology) -> Self {
        let count = topology.nodes().len();
        Self { carried: vec![Carried::default(); count], images: vec![None; count], budgets: VecDeque::new() }
    }

    /// One decision under this policy, `dt_s` after the last.
    pub(super) fn add(&mut self, drawn: &Drawn<'_>, again: &Plan, policy: &Policy, dt_s: f64) {
        let now = drawn.at.get();
        let pairs = drawn.sent.iter().zip(&again.caps).map(|(sent, cap)| (*sent, cap.budget.get()));
        self.budgets.push_back((now, pairs.collect()));
        let acts = now.saturating_sub(policy.response.as_millis() as u64);
        while self.budgets.get(1).is_some_and(|(at, _)| *at <= acts) {
            self.budgets.pop_front();
        }
        let acting = self.budgets.front().filter(|(at, _)| *at <= acts);
        // How much more than was recorded flows, and how much of that no limit can take away.
        let (mut more, mut least) = (vec![0.0; self.carried.len()], vec![0.0; self.carried.len()]);
        for (i, (rack, spec)) in drawn.racks.iter().zip(drawn.topology.racks()).enumerate() {
            let (Some((power, wants)), Some((_, budgets))) = (rack, acting) else { continue };
            let (sent, budget) = budgets[i];
            let draws = wants.min(power + (budget - sent).max(0.0)).min(budget);
            for (node, share) in drawn.topology.shares(i) {
                more[*node] += (draws - power) * share;
                least[*node] += (draws.min(floor(spec, policy)) - power) * share;
            }
        }
        for (i, spec) in drawn.topology.nodes().iter().enumerate() {
            let Some((power, used)) = drawn.nodes[i] else { continue };
            let held = power.max(power + least[i]).max(again.nodes[i].limit.get());
            let load = (power + more[i]).min(held).max(0.0);
            let (carried, rating) = (&mut self.carried[i], spec.rating.get());
            carried.known_s += dt_s;
            let capped = policy.nodes.get(&spec.id).map_or(f64::INFINITY, |most| most.get());
            let limit = (rating * policy.derate).min(capped);
            carried.over_limit_s += if load > limit { dt_s } else { 0.0 };
            carried.over_rating_s += if load > rating { dt_s } else { 0.0 };
            carried.most_watts = carried.most_watts.max(load);
            // It begins as warm as it was.
            let image =
                self.images[i].get_or_insert_with(|| Protection::with_used(Arc::clone(&spec.curve), used).by_power());
            image.advance(load / rating, dt_s);
            carried.trip_used = carried.trip_used.max(image.used());
            if image.used() >= 1.0 {
                carried.tripped_ms.get_or_insert(now);
            }
        }
    }

    pub(super) fn end(self) -> Vec<Carried> {
        self.carried
    }
}

/// What a rack draws with every GPU at its floor, W.
fn floor(spec: &RackSpec, policy: &Policy) -> f64 {
    let bounds = policy.bounds(&spec.id, policy.band(&spec.id, &spec.priority));
    spec.at(bounds.floor_gpu.unwrap_or(policy.floor_gpu).min(spec.gpu_max)).get()
}

/// The nodes for people.
pub(super) fn table(nodes: &[NodeTold]) -> String {
    let mut text = format!(
        "\n{:<20} {:>12} {:>28} {:>28}\n{:<20} {:>12} {:>9} {:>9} {:>8} {:>9} {:>9} {:>8}\n",
        "",
        "",
        "policy in force",
        "policy tried",
        "node",
        "rating",
        "> limit",
        "> rating",
        "trip",
        "> limit",
        "> rating",
        "trip"
    );
    let trip = |c: &Carried| match c.tripped_ms {
        Some(_) => "TRIPS".to_owned(),
        None => format!("{:.0} %", (c.trip_used * 100.0).min(99.0)),
    };
    let cells = |c: &Carried| match c.known_s > 0.0 {
        true => format!("{:>7.0} s {:>7.0} s {:>8}", c.over_limit_s, c.over_rating_s, trip(c)),
        false => format!("{:>28}", "not known"),
    };
    for node in nodes {
        let (name, rating) = (node.node.as_str(), node.rating_watts);
        text.push_str(&format!("{name:<20} {rating:>10.0} W {} {}\n", cells(&node.now), cells(&node.then)));
    }
    text
}

/// What must not be missed beside what racks gain; nothing, if there is nothing.
pub(super) fn verdict(nodes: &[NodeTold], dangers: bool) -> String {
    let named = |which: &dyn Fn(&NodeTold) -> bool| -> Vec<&str> {
        nodes.iter().filter(|n| which(n)).map(|n| n.node.as_str()).collect()
    };
    let trips = named(&|n| n.then.tripped_ms.is_some());
    let also = named(&|n| n.then.tripped_ms.is_some() && n.now.tripped_ms.is_some());
    let longer = named(&|n| n.then.over_rating_s > n.now.over_rating_s);
    let lines = [
        (!trips.is_empty()).then(|| {
            let also = if also.is_empty() { String::new() } else { format!(" ({} in force as well)", also.join(", ")) };
            format!("NOT SAFE: under the policy tried {} would have tripped{also}", trips.join(", "))
        }),
        dangers
            .then(|| "NOT SAFE: floors alone are more than a node is rated for; `policy check` refuses it".to_owned()),
        (trips.is_empty() && !longer.is_empty()).then(|| {
            format!("WORSE: under the policy tried {} would have been over the rating for longer", longer.join(", "))
        }),
    ];
    lines.into_iter().flatten().map(|line| line + "\n").collect()
}

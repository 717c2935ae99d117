//! Limits from outside on groups of nodes: the site as a whole, and each feed of a load-flexibility
//! partner. To the allocation a group is one more node above every rack that hangs on its nodes.

use super::Decider;
use super::believe::RackNow;
use super::limit::NodeNow;
use super::slack::Slack;
use crate::topology::Topology;
use headroom_rack::{NodeId, Watts};
use std::sync::Arc;

/// The name under which a Plan speaks of everything together.
const SITE: &str = "site";

/// Nodes that share one limit from outside.
#[derive(Debug, Clone)]
pub(super) struct Group {
    pub name: NodeId,
    nodes: Vec<usize>,
    target: Option<Watts>,
    /// Only racks of the flexible bands give way.
    gentle: bool,
    slack: Slack,
}

/// The group that every decider has: all roots of the tree.
pub(super) fn site(topology: &Topology) -> Group {
    let roots = topology.nodes().iter().enumerate().filter(|(_, n)| n.parent.is_none());
    let name = NodeId::new(SITE).expect("invariant: the word is an id");
    Group { name, nodes: roots.map(|(i, _)| i).collect(), target: None, gentle: false, slack: Slack::default() }
}

impl Decider {
    /// Sets what all racks and what else hangs on the feeds may draw together; `None` lifts it.
    pub fn set_target(&mut self, target: Option<Watts>) {
        self.groups[0].target = target.filter(|t| t.is_finite());
    }

    /// Makes nodes a group with a limit of its own, none yet. No node of a group may hang on another
    /// one of it. Names that are no node are passed over.
    pub fn add_group(&mut self, name: NodeId, nodes: &[NodeId]) {
        let all = self.topology.nodes();
        let nodes = nodes.iter().filter_map(|id| all.iter().position(|n| n.id == *id)).collect();
        self.groups.push(Group { name, nodes, target: None, gentle: false, slack: Slack::default() });
        self.regroup();
    }

    /// Limits a group, or lifts its limit. `gentle`: only racks outside the first band give way, and
    /// the limit is missed if they cannot make up for the rest.
    pub fn set_group(&mut self, name: &NodeId, target: Option<Watts>, gentle: bool) {
        let Some(group) = self.groups.iter_mut().skip(1).find(|g| g.name == *name) else { return };
        group.target = target.filter(|t| t.is_finite());
        let gentle = gentle && group.target.is_some();
        if std::mem::replace(&mut group.gentle, gentle) != gentle {
            self.regroup();
        }
    }

    /// Puts racks under their groups anew: a group, its gentleness or a rack's band has changed.
    pub(super) fn regroup(&mut self) {
        self.paths = paths(&self.topology, &self.groups, &self.flexible());
    }

    /// What a group may draw: the limit from outside or, for the site, the policy's, whichever is less.
    fn target(&self, group: usize) -> Option<Watts> {
        let ruled = self.policy.site.filter(|_| group == 0);
        self.groups[group].target.into_iter().chain(ruled).reduce(Watts::min)
    }

    /// The groups that a rack counts in while its cords carry these shares.
    pub(super) fn grouped(&self, rack: usize, shares: &[(usize, f64)]) -> impl Iterator<Item = (usize, f64)> {
        let first = self.topology.nodes().len() + self.topology.constraints().len();
        grouped(&self.groups, first, self.racks[rack].wanted.band > 0, shares)
    }

    /// Somebody outside limits something now.
    pub(super) fn is_targeted(&self) -> bool {
        self.groups.iter().any(|group| group.target.is_some())
    }

    fn flexible(&self) -> Vec<bool> {
        self.racks.iter().map(|r| r.wanted.band > 0).collect()
    }

    /// What each group's limit leaves for its racks, in watts; without one, everything.
    pub(super) fn outside(&mut self, nodes: &[NodeNow], racks: &[RackNow], dt_s: f64) -> Vec<f64> {
        for number in 0..self.groups.len() {
            let target = self.target(number);
            let group = &self.groups[number];
            let flows = group.nodes.iter().map(|n| nodes[*n].power).sum();
            let specs = self.topology.racks().iter().zip(&self.racks).enumerate();
            let unused = specs.filter(|(i, _)| racks[*i].pressed).map(|(i, (spec, memory))| {
                let given = racks[i].overhead + memory.gpu_limit.unwrap_or(spec.safe_gpu) * f64::from(spec.gpus);
                (given - racks[i].power).max(Watts::ZERO) * share(self.topology.shares(i), group)
            });
            let unused = if target.is_some() { unused.sum() } else { Watts::ZERO };
            self.groups[number].slack.step(target, flows, unused, dt_s);
        }
        let room = |(number, group): (usize, &Group)| {
            let Some(target) = self.target(number) else { return f64::INFINITY };
            let other: Watts = group.nodes.iter().map(|n| nodes[*n].other).sum();
            let firm = racks.iter().enumerate().filter(|(i, _)| group.gentle && self.racks[*i].wanted.band == 0);
            let firm: Watts = firm.map(|(i, rack)| rack.demand * share(self.topology.shares(i), group)).sum();
            (target - other - firm + group.slack.watts()).get()
        };
        self.groups.iter().enumerate().map(room).collect()
    }

    /// Watts left at a group.
    pub(super) fn outside_margin(&self, group: usize, nodes: &[NodeNow]) -> Watts {
        let flows: Watts = self.groups[group].nodes.iter().map(|n| nodes[*n].power).sum();
        self.target(group).unwrap_or(Watts::ZERO) - flows
    }
}

/// How much of a rack with these shares of the nodes above it counts in a group.
fn share(shares: &[(usize, f64)], group: &Group) -> f64 {
    shares.iter().filter(|(node, _)| group.nodes.contains(node)).map(|(_, share)| share).sum()
}

/// The groups that a rack with these shares counts in, numbered from `first` on.
fn grouped(
    groups: &[Group],
    first: usize,
    flexible: bool,
    shares: &[(usize, f64)],
) -> impl Iterator<Item = (usize, f64)> {
    let open = groups.iter().enumerate().filter(move |(_, g)| !g.gentle || flexible);
    open.map(move |(i, g)| (first + i, share(shares, g))).filter(|(_, share)| *share > 0.0)
}

/// Per rack the nodes above it, the constraints it counts in and, after them, the groups it belongs to.
pub(super) fn paths(topology: &Topology, groups: &[Group], flexible: &[bool]) -> Arc<Vec<Vec<(usize, f64)>>> {
    let (nodes, constraints) = (topology.nodes().len(), topology.constraints().len());
    let path = |rack: usize| {
        let grouped = grouped(groups, nodes + constraints, flexible[rack], topology.shares(rack));
        let constrained = topology.constrained(rack).iter().filter(|(_, share)| *share > 0.0);
        let constrained = constrained.map(|(c, share)| (nodes + c, *share));
        topology.shares(rack).iter().copied().chain(constrained).chain(grouped).collect()
    };
    Arc::new((0..topology.racks().len()).map(path).collect())
}

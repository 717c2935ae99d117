//! From a budget to limits, slowly upwards, and the reasons for people.

use super::Decider;
use super::believe::RackNow;
use super::limit::{Hold, NodeNow};
use super::spread::Bounds;
use crate::allocate::Grant;
use crate::fleet::RackBelief;
use crate::topology::Constraint;
use headroom_rack::{Cap, LimitKind, Mono, NodeId, RackId, Watts};
use std::time::Duration;

/// GPU limits are whole multiples of this: boards round, and people read them.
const STEP_WATTS: f64 = 5.0;
/// A limit is not raised by less than this, so that it does not follow noise.
const TRIFLE_WATTS: f64 = 10.0;
/// A rack counts as held below its demand from this share of it on: demand is an estimate with room
/// to grow in it, and nobody should be told of less.
const HELD: f64 = 0.05;
/// A limit that was just lowered is not raised for this long, so that a load that swings faster, as a training
/// step does, is held at the lower end of what fits.
const RAISE_AFTER: Duration = Duration::from_secs(2);

/// The limit that a board is given for what it may draw.
pub(super) fn whole(per_gpu: Watts) -> Watts {
    Watts::new((per_gpu.get() / STEP_WATTS + 1e-6).floor() * STEP_WATTS)
}

/// A part of a rack that is no node of the tree, as a Plan speaks of it: `rack-1.cooling`.
pub(super) fn part(rack: &RackId, device: &str) -> NodeId {
    // A name too long for both is the rack's, which every node's may be.
    NodeId::new(format!("{rack}.{device}")).or_else(|_| NodeId::new(rack.as_str())).expect("a rack's name is a node's")
}

impl Decider {
    pub(super) fn shape(&mut self, index: usize, rack: &RackNow, budget: Watts, now: Mono, dt_s: f64) -> Watts {
        let spec = &self.topology.racks()[index];
        let memory = &mut self.racks[index];
        let per_gpu = (budget - rack.overhead) / f64::from(spec.gpus);
        let target = whole(per_gpu).clamp(memory.wanted.floor_gpu, memory.wanted.ceiling_gpu);
        let before = memory.gpu_limit.unwrap_or(spec.safe_gpu);
        let rise = self.policy.release_watts_per_s * dt_s / f64::from(spec.gpus);
        // An Order that cannot arrive must not loosen what is in force when the rack comes back.
        let trifle = (target - before).get() < TRIFLE_WATTS && target < memory.wanted.ceiling_gpu;
        let settling = memory.lowered.is_some_and(|at| now.since(at) < RAISE_AFTER);
        let shaped = match target > before {
            false => target,
            true if trifle || settling || !rack.reachable => before,
            true => target.min(before + Watts::new(rise)),
        };
        if shaped < before {
            memory.lowered = Some(now);
        }
        memory.gpu_limit = Some(shaped);
        // What cannot arrive lowers nothing.
        let stands = if rack.reachable { shaped } else { memory.given.unwrap_or(spec.gpu_max).max(shaped) };
        memory.given = Some(stands);
        shaped
    }

    /// Limits for the GPUs of a rack which may be limited to `each` on average.
    pub(super) fn spread(&mut self, index: usize, each: Watts, belief: Option<&RackBelief>, dt_s: f64) -> Vec<Watts> {
        let memory = &mut self.racks[index];
        let bounds = Bounds { floor: memory.wanted.floor_gpu, ceiling: memory.wanted.ceiling_gpu };
        memory.spread.limits(self.topology.racks()[index].gpus as usize, each, bounds, belief, dt_s)
    }

    /// The cap and why, but for the limits of its GPUs.
    pub(super) fn explain(
        &self,
        index: usize,
        rack: &RackNow,
        grant: &Grant,
        gpu: Watts,
        nodes: &[NodeNow],
        held: &[Hold],
    ) -> Cap {
        let spec = &self.topology.racks()[index];
        let budget = rack.overhead + gpu * f64::from(spec.gpus);
        let margin = |node: usize| nodes[node].limit - nodes[node].power;
        let above = self.topology.shares(index).iter().map(|s| s.0);
        let tightest = above.min_by(|a, b| margin(*a).get().total_cmp(&margin(*b).get())).unwrap_or(0);
        let binding = budget < rack.demand * (1.0 - HELD) && gpu < spec.gpu_max;
        let bound = grant.bound_by.map(|by| self.bound(by, nodes, held));
        let by_word = |word| Some((word, LimitKind::External, Watts::ZERO, None));
        let stands = self.stands(index, grant, gpu).filter(|_| binding).and_then(by_word);
        let nearest =
            || (self.topology.nodes()[tightest].id.clone(), LimitKind::Device, margin(tightest), Some(tightest));
        // What a node lets through was less still than what the coolant carries.
        let most = rack.cooling.filter(|most| *most < rack.demand && grant.bound_by.is_none() && stands.is_none());
        let cooled = || most.map(|most| (self.cooler(index), LimitKind::Cooling, most - rack.power, None));
        let (id, kind, left, node) = stands.clone().or(bound).or_else(cooled).unwrap_or_else(nearest);
        Cap {
            rack: spec.id.clone(),
            budget,
            gpus: Vec::new(),
            bound_by: id,
            kind,
            margin: left,
            margin_s: match most {
                Some(_) => self.racks[index].heat.coolant_s(),
                None => node.and_then(|n| nodes[n].drops_s),
            },
            expected: rack.demand,
            binding,
        }
    }

    /// What cools a rack, as a Plan speaks of it.
    pub(super) fn cooler(&self, rack: usize) -> NodeId {
        let spec = &self.topology.racks()[rack];
        part(&spec.id, spec.cooling.as_ref().map_or("coolant", |unit| unit.as_str()))
    }

    /// What the limit at this place of a path is: its name, its kind, the watts left there and the node
    /// that would trip.
    fn bound(&self, by: usize, nodes: &[NodeNow], held: &[Hold]) -> (NodeId, LimitKind, Watts, Option<usize>) {
        let name = |node: usize| self.topology.nodes()[node].id.clone();
        if let Some(node) = nodes.get(by) {
            return (name(by), node.by, node.limit - node.power, Some(by));
        }
        if let Some((hold, constraint)) =
            held.get(by - nodes.len()).zip(self.topology.constraints().get(by - nodes.len()))
        {
            let left = Watts::new(hold.limit - hold.power);
            return match constraint {
                Constraint::Phase(node, _) | Constraint::Standby { node, .. } | Constraint::Failover { node, .. } => {
                    (name(*node), hold.kind, left, Some(*node))
                }
                Constraint::Cooling { id, .. } => (id.clone(), hold.kind, left, None),
            };
        }
        let group = by - nodes.len() - held.len();
        (self.groups[group].name.clone(), LimitKind::External, self.outside_margin(group, nodes), None)
    }
}

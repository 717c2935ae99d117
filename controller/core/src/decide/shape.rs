//! From a budget to limits, slowly upwards, and the reasons for people.

use super::Decider;
use super::believe::RackNow;
use super::limit::NodeNow;
use crate::allocate::Grant;
use headroom_rack::{Cap, LimitKind, Mono, Watts};
use std::time::Duration;

/// GPU limits are whole multiples of this: boards round, and people read them.
const STEP_WATTS: f64 = 5.0;
/// A limit is not raised by less than this, so that it does not follow noise.
const TRIFLE_WATTS: f64 = 10.0;
/// A rack counts as held below its demand from this share of it on: demand is an estimate with room
/// to grow in it, and nobody should be told of less.
const HELD: f64 = 0.05;
/// A limit that was just lowered is not raised for this long, so that a load that swings faster is
/// held at the lower end of what fits.
const RAISE_AFTER: Duration = Duration::from_secs(5);

/// The limit that a board is given for what it may draw.
pub(super) fn whole(per_gpu: Watts) -> Watts {
    Watts::new((per_gpu.get() / STEP_WATTS + 1e-6).floor() * STEP_WATTS)
}

impl Decider {
    pub(super) fn shape(&mut self, index: usize, rack: &RackNow, budget: Watts, now: Mono, dt_s: f64) -> Watts {
        let spec = &self.topology.racks()[index];
        let memory = &mut self.racks[index];
        let per_gpu = (budget - rack.overhead) / f64::from(spec.gpus);
        let target = whole(per_gpu).clamp(self.policy.floor_gpu.min(spec.gpu_max), spec.gpu_max);
        let before = memory.gpu_limit.unwrap_or(spec.safe_gpu);
        let rise = self.policy.release_watts_per_s * dt_s / f64::from(spec.gpus);
        // An Order that cannot arrive must not loosen what is in force when the rack comes back.
        let trifle = (target - before).get() < TRIFLE_WATTS && target < spec.gpu_max;
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
        shaped
    }

    pub(super) fn explain(&self, index: usize, rack: &RackNow, grant: &Grant, gpu: Watts, nodes: &[NodeNow]) -> Cap {
        let spec = &self.topology.racks()[index];
        let budget = rack.overhead + gpu * f64::from(spec.gpus);
        let margin = |node: usize| nodes[node].limit - nodes[node].power;
        let above = self.topology.shares(index).iter().map(|s| s.0);
        let tightest = above.min_by(|a, b| margin(*a).get().total_cmp(&margin(*b).get())).unwrap_or(0);
        let cooled = rack.cooling.is_some_and(|c| c < rack.demand);
        let binding = budget < rack.demand * (1.0 - HELD) && gpu < spec.gpu_max;
        let group = grant.bound_by.and_then(|node| node.checked_sub(nodes.len()));
        let node = grant.bound_by.filter(|_| group.is_none()).unwrap_or(tightest);
        let kind = match grant.bound_by {
            _ if cooled => LimitKind::Cooling,
            Some(_) if group.is_some() => LimitKind::External,
            Some(node) => nodes[node].kind,
            None => LimitKind::Device,
        };
        let at = &self.topology.nodes()[node];
        Cap {
            rack: spec.id.clone(),
            budget,
            gpus: self.gpu_ids.iter().take(spec.gpus as usize).map(|id| (id.clone(), gpu)).collect(),
            bound_by: group.map_or(&at.id, |g| &self.groups[g].name).clone(),
            kind,
            margin: group.map_or_else(|| margin(node), |g| self.outside_margin(g, nodes)),
            margin_s: self.protection[node].time_to_trip_s(nodes[node].power / at.rating),
            expected: rack.demand,
            binding,
        }
    }
}

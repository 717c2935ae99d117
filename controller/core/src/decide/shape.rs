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

impl Decider {
    pub(super) fn shape(&mut self, index: usize, rack: &RackNow, budget: Watts, now: Mono, dt_s: f64) -> Watts {
        let spec = &self.topology.racks()[index];
        let memory = &mut self.racks[index];
        let per_gpu = (budget - rack.overhead) / f64::from(spec.gpus);
        let whole = Watts::new((per_gpu.get() / STEP_WATTS + 1e-6).floor() * STEP_WATTS);
        let target = whole.clamp(self.policy.floor_gpu.min(spec.gpu_max), spec.gpu_max);
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
        let by_site = grant.bound_by.is_some_and(|node| node >= nodes.len());
        let node = grant.bound_by.filter(|_| !by_site).unwrap_or(tightest);
        let kind = match grant.bound_by {
            _ if cooled => LimitKind::Cooling,
            Some(_) if by_site => LimitKind::External,
            Some(node) => nodes[node].kind,
            None => LimitKind::Device,
        };
        let at = &self.topology.nodes()[node];
        let site_margin = || {
            let roots = self.topology.nodes().iter().zip(nodes).filter(|(spec, _)| spec.parent.is_none());
            self.target.unwrap_or(Watts::ZERO) - roots.map(|(_, n)| n.power).sum::<Watts>()
        };
        Cap {
            rack: spec.id.clone(),
            budget,
            gpus: self.gpu_ids.iter().take(spec.gpus as usize).map(|id| (id.clone(), gpu)).collect(),
            bound_by: if by_site { self.site.clone() } else { at.id.clone() },
            kind,
            margin: if by_site { site_margin() } else { margin(node) },
            margin_s: self.protection[node].time_to_trip_s(nodes[node].power / at.rating),
            expected: rack.demand,
            binding,
        }
    }
}

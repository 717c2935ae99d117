//! Which limits stay although others would be right by a little: a limit that nobody feels, or that is off by a
//! trifle, is not worth an Order. What trips a breaker is never a trifle: as soon as all that was given would
//! load a node beyond what its trip image allows, everybody below it gets what is right now, and so does a rack that has
//! more than it may keep should its agent hang.
//!
//! What a load that lasts leaves is a matter of minutes, and loads swing in seconds: a rack held by it follows the
//! mean of what is right, faster downwards.

use super::Decider;
use super::believe::RackNow;
use super::limit::{Hold, NodeNow};
use crate::allocate::Grant;
use headroom_rack::{LimitKind, Mono, Quality};

/// A limit that is off by less stays, W per GPU.
const TRIFLE_WATTS: f64 = 25.0;
/// A limit that nobody feels is not raised by less, W per GPU.
const UNFELT_WATTS: f64 = 50.0;
/// Time constants of the mean that a rack held by what lasts follows, s: downwards, upwards.
const FALLS_S: f64 = 4.0;
const RISES_S: f64 = 12.0;

/// Where racks are held: the nodes, the constraints beside them, and the groups.
#[derive(Clone, Copy)]
pub(super) struct Places<'a> {
    /// What may flow through each until Orders run out.
    pub ramp: &'a [f64],
    /// Per rack the places it counts in and with which share.
    pub paths: &'a [Vec<(usize, f64)>],
    pub nodes: &'a [NodeNow],
    pub held: &'a [Hold],
}

impl Decider {
    /// Budgets of the racks: what is right or what stands; `lent`: what is right for each, and the most that it may have.
    pub(super) fn stand(
        &mut self,
        racks: &[RackNow],
        grants: &[Grant],
        lent: &[(f64, f64)],
        places: &Places<'_>,
        now: Mono,
        dt_s: f64,
    ) -> Vec<f64> {
        // Whoever asked for less does not want it back at once: what lasts is no matter of minutes then.
        let lasting = if self.is_calming(now) { LimitKind::External } else { LimitKind::Continuous };
        let Places { ramp, paths, nodes, held } = *places;
        let kind = |by: usize| match nodes.get(by) {
            Some(node) => node.by,
            None => held.get(by - nodes.len()).map_or(LimitKind::External, |hold| hold.kind),
        };
        let kind = |by: usize| if kind(by) == LimitKind::Continuous { lasting } else { kind(by) };
        let mut budgets: Vec<f64> = (0..racks.len())
            .map(|i| self.stands_at(i, &racks[i], grants[i].bound_by.map(kind), lent[i].0, dt_s))
            .collect();
        let mut given = vec![0.0; ramp.len()];
        for (budget, path) in budgets.iter().zip(paths) {
            path.iter().for_each(|(place, share)| given[*place] += budget * share);
        }
        let too_much: Vec<bool> = given.iter().zip(ramp).map(|(given, ramp)| *given > ramp + 1e-6).collect();
        for ((budget, (right, most)), path) in budgets.iter_mut().zip(lent).zip(paths) {
            if *budget > *most || path.iter().any(|(place, _)| too_much[*place]) {
                *budget = budget.min(*right);
            }
        }
        budgets
    }

    fn stands_at(&mut self, i: usize, rack: &RackNow, bound: Option<LimitKind>, right: f64, dt_s: f64) -> f64 {
        let spec = &self.topology.racks()[i];
        let memory = &mut self.racks[i];
        let gpus = f64::from(spec.gpus);
        let before = memory.gpu_limit.map(|gpu| (rack.overhead + gpu * gpus).get());
        let mean = memory.mean.take();
        let Some(before) = before.filter(|_| memory.over.pin.is_none() && rack.cooling.is_none_or(|c| right < c.get()))
        else {
            return right;
        };
        if matches!(rack.quality, Quality::Aged | Quality::Nameplate) {
            // Nobody knows what it does with what it has.
            return right.min(before);
        }
        // Whatever binds: or else worse data, where more binds, would raise it.
        let rises = right > before && right - before < UNFELT_WATTS * gpus;
        if rises && !rack.pressed && !self.is_top(i, rack, right) {
            return before;
        }
        let memory = &mut self.racks[i];
        let trifle = TRIFLE_WATTS * gpus;
        let stays = |right: f64| if (before - right).abs() < trifle { before } else { right };
        match bound {
            Some(LimitKind::Continuous) => {
                let mean = mean.unwrap_or(before);
                let over_s = if right < mean { FALLS_S } else { RISES_S };
                let mean = mean + (right - mean) * super::follows(dt_s, over_s);
                memory.mean = Some(mean);
                stays(mean)
            }
            Some(LimitKind::TimeToTrip | LimitKind::UpsOverload) => stays(right),
            Some(_) => right,
            None if rack.pressed && right > before => stays(right),
            None if right <= before && !self.is_top(i, rack, right) => before,
            None => right,
        }
    }

    /// Nothing more can be given.
    fn is_top(&self, i: usize, rack: &RackNow, budget: f64) -> bool {
        let gpus = f64::from(self.topology.racks()[i].gpus);
        budget + 1.0 >= (rack.overhead + self.racks[i].wanted.ceiling_gpu * gpus).get()
    }
}

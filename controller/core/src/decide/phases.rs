//! How cords load the phases of what is above them, and what that leaves where a loss is to be survived.

use super::Decider;
use super::believe::RackNow;
use crate::fleet::Fleet;
use crate::topology::BALANCED;
use headroom_rack::Watts;

impl Decider {
    /// How a cord loads the phases, by its meter or, where the plan says it, by the plan; `None`: alike, as far as is known.
    pub(super) fn phases(&self, fleet: &Fleet, rack: usize, cord: usize) -> Option<[f64; 3]> {
        let spec = &self.topology.racks()[rack];
        let cord = &spec.feeds[cord];
        // A meter that shows three even phases on a plug of one has them swapped in its words.
        if cord.phases != BALANCED {
            return Some(cord.phases);
        }
        let told = fleet.rack_at(rack, &spec.id).map(|belief| &belief.phases).filter(|told| !told.is_empty());
        told.and_then(|told| told.get(&cord.meter)).copied()
    }

    /// Learns how uneven what each constraint holds would be after the loss that it is for.
    pub(super) fn lean(&mut self, fleet: &Fleet, racks: &[RackNow], dt_s: f64) {
        if (0..racks.len()).all(|i| self.topology.constrained_cords(i).is_empty()) {
            return;
        }
        let mut phases = vec![[0.0; 3]; self.leans.len()];
        for (i, rack) in racks.iter().enumerate() {
            for (cord, constraint, share) in self.topology.constrained_cords(i) {
                let told = self.phases(fleet, i, *cord).unwrap_or(BALANCED);
                let watts = (rack.power * *share).get();
                phases[*constraint].iter_mut().zip(told).for_each(|(sum, part)| *sum += watts * part);
            }
        }
        let smooth = if dt_s > 0.0 { super::follows(dt_s, super::OTHER_S) } else { 1.0 };
        for (known, phases) in self.leans.iter_mut().zip(phases) {
            let sum: f64 = phases.iter().sum();
            if sum > 0.0 {
                let now = phases.into_iter().fold(0.0, f64::max) * 3.0 / sum;
                *known += (now.max(1.0) - *known) * smooth;
            }
        }
    }

    /// What a node, or one of its phases, carries of racks for one response time after the loss that a constraint is for,
    /// W.
    pub(super) fn survived(&self, constraint: usize, node: usize, phase: Option<usize>, other: Watts) -> f64 {
        let rating = self.rated(node) * (1.0 / self.leans[constraint]);
        let left = (rating * self.allowed[node] - other).get();
        if phase.is_some() { left / 3.0 } else { left }
    }
}

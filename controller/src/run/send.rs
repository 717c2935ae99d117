//! Orders on their way to the racks, with the answers that lie ready there.

use super::Parts;
use super::control::Control;
use headroom_controller_core::Prepared;
use headroom_rack::{Mode, Plan, Setting};
use headroom_wire::Downlink;

/// To whom a Plan goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum To {
    /// Every rack: it renews the leases.
    All,
    /// Racks that must come down, and those that rose at once and may wait at their limit for a higher one.
    Moved,
}

impl Control {
    /// Makes the answers that go out with the next Plans. Not part of a decision: it must not delay one.
    pub(super) fn prepare(&mut self) {
        self.answers.iter_mut().for_each(Vec::clear);
        if self.config.mode == Mode::Automatic {
            for Prepared { rack, when, gpu } in self.decider.answers(&self.fleet) {
                if let Some(place) = self.places.get(&rack) {
                    self.answers[*place].push((when, gpu));
                }
            }
        }
    }

    /// Sends the Orders of a Plan.
    pub(super) fn send(&mut self, plan: &Plan, to: To, parts: &Parts) {
        let stored = parts.record.stored();
        let changed = self.plan.as_ref().is_none_or(|last| last.mode != plan.mode);
        for (place, cap) in plan.caps.iter().enumerate() {
            let waits = !self.urgency.cannot_wait(place, cap, &self.sent[place]);
            let silent = plan.mode == Mode::Advisory || self.advised.contains(&cap.rack);
            // Who gets no Orders can wait for the period's word on what is stored.
            if to == To::Moved && !changed && (silent || waits) {
                continue;
            }
            let orders = match silent {
                true => Vec::new(),
                false => cap.gpus.iter().map(|(gpu, watts)| (gpu.clone(), Setting::PowerLimit(*watts))).collect(),
            };
            let message = Downlink {
                generation: plan.generation,
                lease_ms: self.config.lease_ms,
                stored: stored.get(&cap.rack).copied(),
                held: Some(parts.record.take_held(&cap.rack)),
                orders,
                rebirth: false,
            };
            let unheard = self.decider.unheard(place).map(|prepared| (prepared.when, prepared.gpu));
            let ready = self.answers[place].iter().chain(&unheard).filter(|_| !silent);
            let ready = ready.flat_map(|(when, watts)| cap.gpus.iter().map(move |(gpu, _)| (when, gpu, *watts)));
            if parts.link.send_bytes(&cap.rack, message.encode_preparing(ready)) {
                self.counts.orders += message.orders.len() as u64;
                self.sent[place] = cap.gpus.iter().filter(|_| !silent).map(|(_, watts)| *watts).collect();
            }
        }
    }
}

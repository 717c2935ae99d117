//! What comes from the racks: each Snapshot is recorded, believed and judged, and how soon to decide with it.

use super::Parts;
use super::control::Control;
use crate::influx::line::snapshot_lines;
use crate::link::LinkEvent;
use crate::observed::observe_gpus;
use crate::picture::Latest;
use headroom_controller_core::urgency::Event;
use headroom_predict::Sample;
use headroom_rack::{Mono, Snapshot};
use std::sync::Arc;
use std::time::Duration;

/// Decisions for what does not wait for the tick are at least so far apart; what comes meanwhile is
/// gathered for the next one.
const GATHER: Duration = Duration::from_millis(30);
/// A turn of so much work is followed by a time without one that is longer by this: on a site so large that something
/// happens all the time most of the time is left for hearing.
const REST: f64 = 4.0;
/// The same for what only creeps or steps, somewhere in which something always does: a tenth of a core.
const LONG_REST: f64 = 9.0;

/// How soon to decide.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Haste {
    /// With the next period.
    Calm,
    /// What others say to the same is heard first.
    Soon,
    /// The first one says all there is to know: a feed, a battery, a loop is lost.
    Now,
}

impl Control {
    /// Takes in one event, and says how soon to decide.
    pub(super) fn hear(&mut self, event: LinkEvent, parts: &Parts) -> Haste {
        match event {
            LinkEvent::Connected => {
                self.note(parts, "link", "the broker is there".to_owned());
                Haste::Calm
            }
            LinkEvent::Disconnected => {
                self.note(
                    parts,
                    "link",
                    "the broker is gone; agents hold their leases, then their safe share".to_owned(),
                );
                Haste::Calm
            }
            LinkEvent::Death { rack, .. } => {
                self.fleet.death(&rack);
                if let Some(latest) = self.latest.get_mut(&rack) {
                    latest.gone = true;
                }
                Haste::Soon
            }
            LinkEvent::Snapshot { snapshot, arrived, .. } => self.hear_snapshot(snapshot, arrived, parts),
        }
    }

    fn hear_snapshot(&mut self, snapshot: Arc<Snapshot>, arrived: Mono, parts: &Parts) -> Haste {
        if self.counted.insert(&snapshot) {
            self.counts.take(&snapshot);
            if let Some(influx) = &parts.influx {
                influx.write(snapshot_lines(&snapshot));
            }
        }
        parts.record.append_snapshot(Arc::clone(&snapshot));
        let last = self.latest.get(&snapshot.rack);
        let overtaken = last.is_some_and(|l| l.snapshot.boot == snapshot.boot && l.snapshot.seq > snapshot.seq);
        if snapshot.historical || overtaken {
            return Haste::Calm;
        }
        let whole = !self.fleet.lost_a_cord(&snapshot.rack);
        self.fleet.fold(&snapshot, arrived);
        let lost = whole && self.fleet.lost_a_cord(&snapshot.rack);
        self.automation.receipts(&self.fleet.take_receipts(), self.generation.epoch);
        self.health.fold(&snapshot, arrived, &self.fleet);
        let Some(place) = self.places.get(&snapshot.rack).copied() else { return Haste::Calm };
        let seen = observe_gpus(&self.config.racks[place], &snapshot, &self.gpus);
        if let Some(history) = self.histories.get_mut(&snapshot.rack) {
            let sample = Sample { power: seen.power, limit: seen.limit, utilization: seen.utilization };
            Arc::make_mut(history).push(self.clock.unix(), sample);
        }
        let back = last.is_none_or(|l| l.gone);
        if back {
            // It knows nothing of what was sent to the agent before it.
            self.sent[place].clear();
        }
        let latest = Latest { snapshot, arrived, gone: false };
        let event = self.urgency.see(&latest.snapshot);
        if let Some(event) = event {
            tracing::debug!(rack = %latest.snapshot.rack, ?event, "a Snapshot does not wait for the period");
        }
        self.latest.insert(latest.snapshot.rack.clone(), latest);
        match event {
            _ if lost => Haste::Now,
            Some(Event::Battery | Event::Inlet | Event::Leak | Event::Flow) => Haste::Now,
            Some(Event::Step | Event::Overload) => Haste::Soon,
            None if back && self.plan.is_some() => Haste::Soon,
            None => Haste::Calm,
        }
    }

    /// When to decide because of that; never, with what is calm.
    pub(super) fn due(&mut self, haste: Haste) -> Option<Mono> {
        let rest = Duration::from_secs_f64(if haste == Haste::Now { REST } else { LONG_REST } * self.turn_s);
        let after = |at: Option<Mono>, gap| at.map_or(Mono::default(), |at| at.after(gap));
        let now = self.clock.now();
        match haste {
            Haste::Calm => None,
            Haste::Soon => Some(after(self.decided_at, GATHER.max(rest)).max(now)),
            // One is under way.
            Haste::Now if self.rushed_at > Some(now) => self.rushed_at,
            Haste::Now => {
                // The others that see the same loss are gathered.
                self.rushed_at = Some(after(self.decided_at, rest).max(after(self.rushed_at, GATHER)).max(now));
                self.rushed_at
            }
        }
    }
}

//! Room to ramp: what racks may draw beyond what lasts, and how it is taken back.
//!
//! A rack that rises faster than Orders come would wait at its limit, so limits are higher than what lasts as long as
//! a rise of everybody at once is safe: Orders say otherwise within the response time, and with each Order goes
//! the answer to none, so that a rack that hears nothing more is back at its part of what lasts long before its lease is
//! over. More than what lasts loads a breaker for that short time only.

use super::believe::RackNow;
use super::shape::whole;
use super::{Decider, Prepared};
use crate::allocate::{Ask, Grant, allocate};
use crate::fleet::SILENT;
use crate::topology::{Constraint, Topology};
use headroom_rack::{Condition, Mono, Watts};

/// So much of what may flow until it is taken back is not lent: limits need not follow each second's change of it.
const SPARE: f64 = 0.03;

/// So many agents may hang at once with what they have: a common cause is likely, as one image or one driver.
const HUNG: usize = 2;

/// What the racks below each place add up to, W.
pub(super) struct Below {
    /// How many they are.
    count: Vec<usize>,
    floors: Vec<f64>,
    /// Granted beyond the floors, above 0.
    more: Vec<f64>,
}

impl Below {
    pub(super) fn new(asks: &[Ask<'_>], grants: &[Grant], places: usize) -> Self {
        let mut below = Self { count: vec![0; places], floors: vec![0.0; places], more: vec![1e-9; places] };
        for (ask, grant) in asks.iter().zip(grants) {
            for (place, share) in ask.shares {
                below.count[*place] += 1;
                below.floors[*place] += ask.floor * share;
                below.more[*place] += (grant.watts - ask.floor) * share;
            }
        }
        below
    }
}

/// How much more than their safe share the racks below each node can draw of which so many agents hang at once, over the
/// node's rating; of a node whose phases count one by one the same of its phase where that is most.
pub(super) fn hung(topology: &Topology) -> Vec<f64> {
    let nodes = topology.nodes().len();
    let mut most = vec![[0.0_f64; HUNG]; nodes + topology.constraints().len()];
    for (i, rack) in topology.racks().iter().enumerate() {
        let more = (rack.nameplate() - rack.at(rack.safe_gpu)).max(Watts::ZERO).get();
        let phases = topology.constrained(i).iter().map(|(c, share)| (nodes + c, share * 3.0));
        for (place, share) in topology.shares(i).iter().copied().chain(phases) {
            let most = &mut most[place];
            let least = most.iter_mut().reduce(|a, b| if *b < *a { b } else { a });
            least.into_iter().for_each(|least| *least = least.max(more * share));
        }
    }
    let sum = |place: usize| most[place].iter().sum::<f64>();
    let mut hung: Vec<f64> = (0..nodes).map(sum).collect();
    for (c, constraint) in topology.constraints().iter().enumerate() {
        if let Constraint::Phase(node, _) = constraint {
            hung[*node] = hung[*node].max(sum(nodes + c));
        }
    }
    hung.iter().zip(topology.nodes()).map(|(watts, node)| watts / node.rating.get()).collect()
}

impl Decider {
    /// The load, over its rating, that a node bears if everybody rises at once to all that was given. More than
    /// what lasts flows until Orders say otherwise, one of which or of the Snapshots before them may be lost, or until
    /// agents that hear none have fallen back. Then what lasts flows, and racks whose agents hang draw their most, until
    /// the safe shares are in force or the others have made room for them.
    pub(super) fn hot(&self, node: usize) -> f64 {
        let (response, period) = (self.policy.response, self.policy.period);
        let first = (response + period).max(self.policy.unheard() + response.saturating_sub(period)).as_secs_f64();
        let all = (self.policy.lease.max(SILENT) + response).as_secs_f64().max(first);
        let uneven = if self.topology.is_split(node) { 1.0 } else { self.uneven[node].max(1.0) };
        let then = self.policy.derate + self.hung[node] * uneven * self.currents[node].more();
        let image = &self.protection[node];
        image.allowed_before(first, then, all - first).max(image.allowed(all))
    }

    /// What is left over becomes room to ramp: up to what a sudden ramp of all leaves time for, and no rack more than
    /// the others could make room for by going to their floors where `holds` flows without a trip, W, should its agent
    /// hang and as many others as may at once; where the floors alone are too much for that, nobody can promise it. All
    /// bands share by weight: who comes first has what it demands within a second in any case, and room that the first
    /// band leaves unused is what the last one is cut for at each rise. For each rack what is right for it, and the most
    /// that it may have, W.
    pub(super) fn lend(
        &self,
        racks: &[RackNow],
        (asks, grants): (&[Ask<'_>], &[Grant]),
        below: &Below,
        (ramp, holds): (&[f64], &[f64]),
        now: Mono,
    ) -> Vec<(f64, f64)> {
        let spare: Vec<f64> = ramp.iter().map(|r| r * (1.0 - SPARE)).collect();
        let left = |((holds, floors), count): ((&f64, &f64), &usize)| match holds >= floors {
            true => (holds - floors) / (*count).clamp(1, HUNG) as f64,
            false => f64::INFINITY,
        };
        let left: Vec<f64> = holds.iter().zip(&below.floors).zip(&below.count).map(left).collect();
        let top = |(i, (ask, grant)): (usize, (&Ask<'_>, &Grant))| {
            let (spec, rack, memory) = (&self.topology.racks()[i], &racks[i], &self.racks[i]);
            let full = memory.wanted.ceiling_gpu * f64::from(spec.gpus) + rack.overhead;
            let full = rack.cooling.map_or(full, |c| full.min(c)).get();
            let shared = ask.shares.iter().filter(|(_, share)| *share > 0.0);
            shared.map(|(place, share)| ask.floor + left[*place] / share).fold(full, f64::min).max(grant.watts)
        };
        let tops: Vec<f64> = asks.iter().zip(grants).enumerate().map(top).collect();
        let more: Vec<Ask<'_>> = asks
            .iter()
            .zip(grants)
            .enumerate()
            .map(|(i, (ask, grant))| {
                let over = &self.racks[i].over;
                let stands = self.is_bound(i, now) || over.pin.is_some() || over.advised;
                let demand = if stands { grant.watts } else { tops[i] };
                Ask { floor: grant.watts, demand, band: 0, ..ask.clone() }
            })
            .collect();
        allocate(&spare, &more).iter().map(|g| g.watts).zip(tops).collect()
    }

    /// What each rack falls back on without Orders, so that every place it hangs on is at what `lasts` there, W, or
    /// below: what it was granted and a part of what it was `lent` beyond; or a part of what it was granted beyond its floor.
    pub(super) fn fall_back(
        &mut self,
        (asks, grants): (&[Ask<'_>], &[Grant]),
        lent: &[f64],
        below: &Below,
        lasts: &[f64],
    ) {
        let mut ramps = vec![1e-9; lasts.len()];
        for ((ask, grant), lent) in asks.iter().zip(grants).zip(lent) {
            ask.shares.iter().for_each(|(place, share)| ramps[*place] += (lent - grant.watts) * share);
        }
        let parts =
            lasts.iter().zip(&below.floors).zip(&below.more).zip(&ramps).map(|(((lasts, floors), more), ramps)| {
                let left = lasts - floors;
                ((left / more).clamp(0.0, 1.0), ((left - more) / ramps).clamp(0.0, 1.0))
            });
        let parts: Vec<(f64, f64)> = parts.collect();
        for (((memory, ask), grant), lent) in self.racks.iter_mut().zip(asks).zip(grants).zip(lent) {
            let least = |least: (f64, f64), (place, _): &(usize, f64)| {
                let part = parts[*place];
                (least.0.min(part.0), least.1.min(part.1))
            };
            let (granted, ramp) = ask.shares.iter().fold((1.0, 1.0), least);
            memory.falls_to = ask.floor + (grant.watts - ask.floor) * granted + (lent - grant.watts) * ramp;
        }
    }

    /// The limit of the GPUs of a rack when Orders stay away; none where their limits are no higher.
    pub fn unheard(&self, rack: usize) -> Option<Prepared> {
        let (spec, memory) = (self.topology.racks().get(rack)?, &self.racks[rack]);
        let per_gpu = (Watts::new(memory.falls_to) - self.kept.overhead(rack)?) / f64::from(spec.gpus);
        let gpu = whole(per_gpu).clamp(memory.wanted.floor_gpu, memory.wanted.ceiling_gpu);
        let after_ms = u32::try_from(self.policy.unheard().as_millis()).unwrap_or(u32::MAX);
        let prepared = Prepared { rack: spec.id.clone(), when: Condition::NoOrders(after_ms), gpu };
        memory.gpu_limit.is_some_and(|limit| gpu < limit).then_some(prepared)
    }
}

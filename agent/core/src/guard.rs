//! The rack's own guard (control.md, level 2): holds each phase of each PDU under its breaker
//! without asking anybody. It only ever lowers: its ceiling clamps Orders, and it lets go slowly.
//!
//! Watch: time to trip at the believed current above [`ACTS_BELOW_S`] -> no ceiling.
//! Hold: below it -> GPU ceiling such that the worst phase returns under [`HOLD_AT`] of its
//! rating; tightened again after [`SETTLE`] if that was not enough; released by
//! [`RELEASE_WATTS_PER_S`] once the breaker has cooled, back to Watch when no GPU is held down.
//!
//! Believed current: the meter's; a stale one aged by what the GPUs could have added since; the
//! larger one when the meters show less power than the GPUs alone draw. Worse data never loosens.

pub mod trip;

use headroom_rack::{Amperes, DeviceId, Mono, Volts, Watts};
use std::collections::BTreeMap;
use std::time::Duration;
use trip::Trip;

/// The guard's tick.
pub const PERIOD: Duration = Duration::from_millis(100);
/// Acts when the breaker would trip within this time: twice what a limit takes until it can be
/// judged (2 to 3 s) plus the age of the meter, so that one correction still fits.
pub const ACTS_BELOW_S: f64 = 8.0;
/// Aimed-at share of the rating while holding.
pub const HOLD_AT: f64 = 0.95;
/// Lets go per GPU and second: a 700 W GPU is back from its floor after about 50 s.
pub const RELEASE_WATTS_PER_S: f64 = 10.0;
/// Used share of the accumulator below which it starts to let go: what 0.95 In settles at is
/// 0.82 (0.95^2 / 1.05^2).
const RELEASE_BELOW_USED: f64 = 0.85;
/// A limit acts within 0.1 to 1 s; before that a further cut would count the same watts twice.
const SETTLE: Duration = Duration::from_secs(1);
/// Below this the guard does not wait for its last cut to settle.
const URGENT_S: f64 = 2.0;
/// A meter reading older than this is aged.
const FRESH: Duration = Duration::from_millis(1500);
/// So long after the start a meter may be without its first reading: the GPUs are at the safe share.
const FIRST_READING: Duration = Duration::from_secs(2);
/// A meter reading older than this counts as nameplate at least.
const LOST: Duration = Duration::from_secs(10);
/// Rack power at nameplate as a multiple of the GPUs' limits: an 8-GPU H100 server is rated
/// 10.2 kW for 5.6 kW of GPUs less what never peaks together; 1.35 is this project's default.
const NAMEPLATE_OVER_GPUS: f64 = 1.35;
/// Meters may show this much less than the GPUs before they are disbelieved.
const METER_TOLERANCE: f64 = 0.9;
const DEFAULT_VOLTS: Volts = Volts::new(230.0);
const PHASES: usize = 3;

/// What is known of one PDU now.
#[derive(Debug, Clone)]
pub struct PduInput {
    /// Which one.
    pub device: DeviceId,
    /// Which phases it has: those whose currents somebody reads, whether or not they could be read. None: not known yet.
    pub phases: [bool; PHASES],
    /// Current per phase.
    pub currents: [Option<Amperes>; PHASES],
    /// Phase voltage.
    pub volts: Option<Volts>,
    /// Age of the currents; `None` when there are none.
    pub age: Option<Duration>,
}

/// What is known of one GPU now.
#[derive(Debug, Clone)]
pub struct GpuInput {
    /// Which one.
    pub device: DeviceId,
    /// Instantaneous power, when known.
    pub power: Option<Watts>,
    /// The lowest limit the board accepts.
    pub min: Watts,
    /// The highest limit the board accepts.
    pub max: Watts,
}

/// What the guard says at one tick.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Verdict {
    /// Ceiling for each GPU's limit, inside the board's range; empty when nothing is held.
    pub ceilings: BTreeMap<DeviceId, Watts>,
    /// The PDU whose phase is worst.
    pub worst: Option<DeviceId>,
    /// Used share of the worst accumulator.
    pub used: f64,
    /// Seconds to trip at the believed current of the worst phase; `None`: never.
    pub seconds_left: Option<f64>,
}

#[derive(Debug, Clone)]
struct Meter {
    trips: Option<[Trip; PHASES]>,
    last: [Amperes; PHASES],
    /// GPU power when the meter was last fresh.
    gpus_then: Option<Watts>,
    volts: Volts,
    phases: [bool; PHASES],
}

impl Meter {
    /// What so much power is on each of its phases.
    fn per_phase(&self, power: Watts) -> Amperes {
        Amperes::new(power.get() / (self.volts.get() * self.count()))
    }

    /// How many phases it has.
    fn count(&self) -> f64 {
        self.phases.iter().filter(|there| **there).count() as f64
    }

    /// What flows on the phases that are there.
    fn on(&self, mut currents: [Amperes; PHASES]) -> [Amperes; PHASES] {
        let absent = currents.iter_mut().zip(self.phases).filter(|(_, there)| !there);
        absent.for_each(|(current, _)| *current = Amperes::ZERO);
        currents
    }
}

/// The guard of one rack.
#[derive(Debug, Clone)]
pub struct Guard {
    breaker: Amperes,
    meters: BTreeMap<DeviceId, Meter>,
    ceiling: Option<Watts>,
    cut_at: Option<Mono>,
    first_step: Option<Mono>,
    last_step: Option<Mono>,
}

#[derive(Debug, Clone)]
struct Phase {
    device: DeviceId,
    used: f64,
    seconds_left: Option<f64>,
    /// Power above the hold level if all its phases carried what this one does.
    excess: Watts,
}

impl Guard {
    /// A guard for PDUs that each feed through a breaker of `breaker` amperes per phase.
    pub fn new(breaker: Amperes) -> Self {
        Self { breaker, meters: BTreeMap::new(), ceiling: None, cut_at: None, first_step: None, last_step: None }
    }

    /// The breakers were exchanged for others of `breaker` amperes; what the circuits carried so far
    /// is not forgotten.
    pub fn rerate(&mut self, breaker: Amperes) {
        let scale = self.breaker.get() / breaker.get();
        for trips in self.meters.values_mut().filter_map(|m| m.trips.as_mut()) {
            *trips = trips.map(|t| t.rerated(scale));
        }
        self.breaker = breaker;
    }

    /// One tick.
    pub fn step(&mut self, now: Mono, pdus: &[PduInput], gpus: &[GpuInput]) -> Verdict {
        let dt = self.last_step.map_or(PERIOD, |last| now.since(last));
        self.last_step = Some(now);
        let starts = now.since(*self.first_step.get_or_insert(now)) < FIRST_READING;
        let unread = |pdu: &&PduInput| pdu.age.is_none() && !self.meters.contains_key(&pdu.device);
        if starts && pdus.iter().any(|pdu| unread(&pdu)) {
            return Verdict::default();
        }
        let phases = self.believe(dt, pdus, gpus);
        let Some(worst) = phases.iter().min_by(|a, b| urgency(a).total_cmp(&urgency(b))).cloned() else {
            return Verdict::default();
        };
        let excess = phases.iter().map(|p| p.excess).fold(Watts::ZERO, Watts::max);
        self.hold(now, dt, &worst, excess, gpus);
        let ceilings = self.ceiling.map(|c| gpus.iter().map(|g| (g.device.clone(), c.clamp(g.min, g.max))).collect());
        Verdict {
            ceilings: ceilings.unwrap_or_default(),
            worst: Some(worst.device),
            used: phases.iter().map(|p| p.used).fold(0.0, f64::max),
            seconds_left: worst.seconds_left,
        }
    }

    fn hold(&mut self, now: Mono, dt: Duration, worst: &Phase, excess: Watts, gpus: &[GpuInput]) {
        let left = worst.seconds_left.unwrap_or(f64::INFINITY);
        let settled = self.cut_at.is_none_or(|cut| now.since(cut) >= SETTLE);
        let holding = self.ceiling.is_some();
        if excess > Watts::ZERO && (left < ACTS_BELOW_S || holding) && (settled || left < URGENT_S) {
            let aim = level(gpus, excess);
            self.ceiling = Some(self.ceiling.map_or(aim, |c| c.min(aim)));
            self.cut_at = Some(now);
        } else if excess <= Watts::ZERO && worst.used < RELEASE_BELOW_USED && settled {
            let highest = gpus.iter().map(|g| g.max).fold(Watts::ZERO, Watts::max);
            self.ceiling =
                self.ceiling.map(|c| c + Watts::new(RELEASE_WATTS_PER_S * dt.as_secs_f64())).filter(|c| *c < highest);
        }
    }

    fn believe(&mut self, dt: Duration, pdus: &[PduInput], gpus: &[GpuInput]) -> Vec<Phase> {
        let gpus_most: Watts = gpus.iter().map(|g| g.power.unwrap_or(g.max)).sum();
        let gpus_known: Option<Watts> = gpus.iter().map(|g| g.power).sum::<Option<Watts>>();
        let nameplate = gpus.iter().map(|g| g.max).sum::<Watts>() * NAMEPLATE_OVER_GPUS;
        let mut believed = Vec::new();
        let mut metered = Watts::ZERO;
        for pdu in pdus {
            let meter = self.meters.entry(pdu.device.clone()).or_insert_with(|| Meter {
                trips: None,
                last: [Amperes::ZERO; PHASES],
                gpus_then: None,
                volts: DEFAULT_VOLTS,
                phases: [true; PHASES],
            });
            if pdu.phases.contains(&true) {
                meter.phases = pdu.phases;
            }
            if let Some(volts) = pdu.volts.filter(|v| v.get() > 50.0) {
                meter.volts = volts;
            }
            let age = pdu.age.unwrap_or(Duration::MAX);
            let complete = pdu.currents.iter().any(Option::is_some) && age <= FRESH;
            let currents = if complete {
                let known = pdu.currents.iter().flatten().copied().fold(Amperes::ZERO, Amperes::max);
                // A phase without a value is believed to carry as much as the fullest other one.
                let currents = meter.on(pdu.currents.map(|c| c.unwrap_or(known)));
                meter.last = currents;
                meter.gpus_then = Some(gpus_known.unwrap_or(Watts::ZERO));
                currents
            } else {
                let grown = meter.gpus_then.map_or(nameplate, |then| (gpus_most - then).max(Watts::ZERO));
                let added = meter.per_phase(grown);
                let least = if age > LOST { meter.per_phase(nameplate) } else { Amperes::ZERO };
                meter.on(meter.last.map(|c| (c + added).max(least)))
            };
            metered += currents.iter().map(|c| meter.volts * *c).sum::<Watts>();
            believed.push((pdu.device.clone(), currents));
        }
        // Meters that show less than the GPUs alone draw say nothing about the rest of the rack
        // either: it counts as nameplate.
        let rest = nameplate - gpus.iter().map(|g| g.max).sum();
        let missing = gpus_known.filter(|g| metered < *g * METER_TOLERANCE).map_or(Watts::ZERO, |g| g + rest - metered);
        let breaker = self.breaker;
        let mut phases = Vec::new();
        for (device, currents) in believed {
            let Some(meter) = self.meters.get_mut(&device) else { continue };
            let more = meter.per_phase(missing);
            let multiples = meter.on(currents.map(|c| c + more)).map(|c| (c / breaker).max(0.0));
            let count = meter.count();
            let trips = meter.trips.get_or_insert_with(|| multiples.map(Trip::settled_at));
            for (trip, multiple) in trips.iter_mut().zip(multiples) {
                trip.carry(multiple, dt);
                let over = breaker * (multiple - HOLD_AT);
                phases.push(Phase {
                    device: device.clone(),
                    used: trip.used(),
                    seconds_left: trip.seconds_left(multiple),
                    excess: (meter.volts * over) * count,
                });
            }
        }
        let total = metered.max(Watts::new(1.0));
        scale_by_share(&mut phases, &self.meters, total);
        phases
    }
}

/// A watt less at a GPU is only its share less at one PDU: the cut must be larger by that.
fn scale_by_share(phases: &mut [Phase], meters: &BTreeMap<DeviceId, Meter>, total: Watts) {
    for phase in phases.iter_mut().filter(|p| p.excess > Watts::ZERO) {
        let Some(meter) = meters.get(&phase.device) else { continue };
        let here = meter.last.iter().map(|c| meter.volts * *c).sum::<Watts>();
        // Under a tenth the share says more about noise than about the rack.
        phase.excess = phase.excess / (here / total).clamp(0.1, 1.0);
    }
}

fn urgency(phase: &Phase) -> f64 {
    // Among phases that never trip the fullest comes first.
    phase.seconds_left.unwrap_or(1e9 * (2.0 - phase.used))
}

/// The limit per GPU at which the GPUs together draw `less` than now. Unknown power counts low
/// for the total and high for the single GPU: both err towards the lower limit.
fn level(gpus: &[GpuInput], less: Watts) -> Watts {
    let total: Watts = gpus.iter().map(|g| g.power.unwrap_or(g.min).max(Watts::ZERO)).sum();
    let target = (total - less).max(Watts::ZERO);
    let mut draws: Vec<f64> = gpus.iter().map(|g| g.power.unwrap_or(g.max).get().max(0.0)).collect();
    draws.sort_by(f64::total_cmp);
    let (mut rest, mut left) = (target.get(), draws.len());
    for draw in draws {
        let even = rest / left as f64;
        if draw >= even {
            return Watts::new(even);
        }
        rest -= draw;
        left -= 1;
    }
    gpus.iter().map(|g| g.max).fold(Watts::ZERO, Watts::max)
}

#[cfg(test)]
mod tests;

//! Conditions that a rack can see by itself, under which an answer prepared by the controller is in force
//! at once: an inlet without voltage, or whose meter died with it; a UPS on battery.

use headroom_rack::{Condition, DeviceId, Mono, Signal};
use std::collections::BTreeMap;
use std::time::Duration;

/// Below this a phase carries nothing: 120 V less every tolerance is far above, what a dead cord picks up
/// far below.
pub const DEAD_BELOW_VOLTS: f64 = 50.0;
/// An answer stays in force so long after its condition was last seen: a feed that comes and goes must
/// not make the GPUs come and go.
pub const HOLD: Duration = Duration::from_secs(5);

/// A meter that lives on its inlet dies with it: silent for so many of its usual intervals it may be dead.
const SILENT_INTERVALS: f64 = 2.5;
/// And not before this: one lost answer is none.
const SILENT: Duration = Duration::from_millis(150);
/// Ages are taken a little after the moment of the look.
const JITTER: Duration = Duration::from_millis(10);
/// The others must have taken over this much of what it carried: half of it, as meters are read apart.
const TAKEN_OVER: f64 = 0.5;
/// A part of it in here makes a meter dead that is asked and does not answer, long before it counts as silent: cords share a
/// load by halves or nearly so, and a load that rises by just so much between two looks while an answer is late is
/// rare. GPUs that go from idle to full draw rise by more.
const TAKEN_OVER_AT_ONCE: std::ops::RangeInclusive<f64> = 0.7..=1.5;
/// Below this the others carry nothing to compare with, A.
const CARRIED_AMPERES: f64 = 0.1;

/// Which conditions hold, and when they were last seen.
#[derive(Debug, Clone, Default)]
pub struct Conditions {
    seen: BTreeMap<Condition, Mono>,
    meters: BTreeMap<DeviceId, Meter>,
}

fn told_at(now: Mono, age: Duration) -> Mono {
    Mono::from_ms(now.as_ms().saturating_sub(age.as_millis() as u64))
}

/// What is remembered of the meter of an inlet.
#[derive(Debug, Clone, Copy)]
struct Meter {
    /// When it last told of an inlet that lives.
    last: Mono,
    /// Its two last intervals.
    intervals: [Duration; 2],
    /// What the other inlets carried at its last two readings, A: it may have died between the last one and
    /// the look at it.
    others: [f64; 2],
    /// It fell silent and the others took over: so it stays until it speaks again, however low they go.
    lost: bool,
}

impl Conditions {
    /// Looks at the conditions that somebody has an answer to. `value` is a value of a signal that counts as
    /// known, with its age; `overdue` whether a device is asked and takes longer to answer than it did of late. What
    /// is not known is no condition by itself: silence is the guard's to age.
    pub fn look<'c>(
        &mut self,
        asked: impl Iterator<Item = &'c Condition> + Clone,
        value: impl Fn(&DeviceId, Signal) -> Option<(f64, Duration)>,
        overdue: impl Fn(&DeviceId) -> bool,
        now: Mono,
    ) {
        let pdus = || {
            asked.clone().filter_map(|condition| match condition {
                Condition::InletDead(pdu) => Some(pdu),
                Condition::OnBattery(_) | Condition::NoOrders(_) => None,
            })
        };
        for condition in asked.clone() {
            let holds = match condition {
                Condition::InletDead(pdu) => {
                    self.is_dead(pdu, pdus().filter(|other| *other != pdu), &value, overdue(pdu), now)
                }
                Condition::OnBattery(ups) => value(ups, Signal::UpsOnBattery).is_some_and(|(flag, _)| flag > 0.5),
                // No signal tells of it.
                Condition::NoOrders(_) => false,
            };
            if holds {
                self.seen.insert(condition.clone(), now);
            }
        }
        self.seen.retain(|_, at| now.since(*at) < HOLD);
    }

    /// Whether a condition holds, or held a moment ago.
    pub fn holds(&self, condition: &Condition, now: Mono) -> bool {
        self.seen.get(condition).is_some_and(|at| now.since(*at) < HOLD)
    }

    /// An inlet is dead when its meter says so, or when the meter has fallen silent or is overdue and the other inlets
    /// carry what it carried.
    fn is_dead<'d>(
        &mut self,
        pdu: &DeviceId,
        others: impl Iterator<Item = &'d DeviceId>,
        value: impl Fn(&DeviceId, Signal) -> Option<(f64, Duration)>,
        overdue: bool,
        now: Mono,
    ) -> bool {
        let phases = [Signal::PduVoltageL1, Signal::PduVoltageL2, Signal::PduVoltageL3];
        let volts: Vec<(f64, Duration)> = phases.iter().filter_map(|phase| value(pdu, *phase)).collect();
        if !volts.is_empty() && volts.iter().all(|(v, _)| *v < DEAD_BELOW_VOLTS) {
            return true;
        }
        let currents = [Signal::PduCurrentL1, Signal::PduCurrentL2, Signal::PduCurrentL3];
        let (mut count, mut carried, mut age) = (0, 0.0, Duration::ZERO);
        for other in others {
            count += 1;
            for (amperes, old) in currents.iter().filter_map(|phase| value(other, *phase)) {
                (carried, age) = (carried + amperes, age.max(old));
            }
        }
        let told = volts.iter().map(|(_, age)| *age).min();
        let Some(meter) = self.meters.get_mut(pdu) else {
            let fresh = told.map(|age| Meter {
                last: told_at(now, age),
                intervals: [Duration::ZERO; 2],
                others: [carried; 2],
                lost: false,
            });
            self.meters.extend(fresh.map(|meter| (pdu.clone(), meter)));
            return false;
        };
        if let Some(at) = told.map(|age| told_at(now, age)).filter(|at| at.since(meter.last) > JITTER) {
            meter.intervals = [meter.intervals[1], at.since(meter.last)];
            meter.others = [meter.others[1], carried];
            (meter.last, meter.lost) = (at, false);
            return false;
        }
        let usual = meter.intervals[0].max(meter.intervals[1]);
        let silent = now.since(meter.last) > usual.mul_f64(SILENT_INTERVALS).max(SILENT);
        let before = meter.others[0].min(meter.others[1]);
        // Of `count + 1` inlets that shared a load each of the others takes its part of the lost one's.
        let taken = (carried / before - 1.0) * f64::from(count);
        let since = told_at(now, age) > meter.last && before >= CARRIED_AMPERES;
        let gone = silent && taken >= TAKEN_OVER || overdue && TAKEN_OVER_AT_ONCE.contains(&taken);
        meter.lost |= gone && usual > Duration::ZERO && count > 0 && since;
        meter.lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pdu() -> Condition {
        Condition::InletDead(DeviceId::new("pdu-a").unwrap())
    }

    fn fresh(value: f64) -> (f64, Duration) {
        (value, Duration::ZERO)
    }

    fn look(c: &mut Conditions, volts: [Option<f64>; 3], ms: u64) -> bool {
        let value = |_: &DeviceId, signal| match signal {
            Signal::PduVoltageL1 => volts[0].map(fresh),
            Signal::PduVoltageL2 => volts[1].map(fresh),
            Signal::PduVoltageL3 => volts[2].map(fresh),
            _ => None,
        };
        c.look([pdu()].iter(), value, |_| false, Mono::from_ms(ms));
        c.holds(&pdu(), Mono::from_ms(ms))
    }

    #[test]
    fn an_inlet_is_dead_when_every_phase_that_is_known_is_and_for_a_while_after() {
        let mut c = Conditions::default();
        assert!(!look(&mut c, [None; 3], 0), "silence is no condition");
        assert!(!look(&mut c, [Some(230.0), Some(0.0), Some(0.0)], 1), "a lost phase is not a lost feed");
        assert!(look(&mut c, [Some(3.0), None, Some(0.0)], 2));
        assert!(look(&mut c, [Some(230.0); 3], 5001));
        assert!(!look(&mut c, [Some(230.0); 3], 5002));
    }

    #[test]
    fn a_ups_on_battery_is_a_condition() {
        let ups = Condition::OnBattery(DeviceId::new("ups-a").unwrap());
        let mut c = Conditions::default();
        c.look(
            [&ups].into_iter(),
            |_, signal| (signal == Signal::UpsOnBattery).then_some(fresh(1.0)),
            |_| false,
            Mono::from_ms(0),
        );
        assert!(c.holds(&ups, Mono::from_ms(1)) && !c.holds(&pdu(), Mono::from_ms(1)));
    }

    /// Two PDUs read every 100 ms, by turns: what pdu-a and pdu-b carry and whether pdu-a answers. When it was
    /// first taken for dead, ms.
    fn dead_after(carry: impl Fn(u64) -> (f64, bool), until_ms: u64) -> Option<u64> {
        dead_or_overdue(carry, |_| false, until_ms)
    }

    fn dead_or_overdue(
        carry: impl Fn(u64) -> (f64, bool),
        overdue: impl Fn(u64) -> bool,
        until_ms: u64,
    ) -> Option<u64> {
        let conditions = ["pdu-a", "pdu-b"].map(|id| Condition::InletDead(DeviceId::new(id).unwrap()));
        let mut c = Conditions::default();
        let mut last = [0, 0];
        (0..until_ms).step_by(10).find(|now| {
            for (meter, offset) in [(0, 0), (1, 50)] {
                if (now + offset) % 100 == 0 && (meter == 1 || carry(*now).1) {
                    last[meter] = *now;
                }
            }
            let value = |device: &DeviceId, signal: Signal| {
                let meter = usize::from(device.as_str() == "pdu-b");
                let age = Duration::from_millis(now - last[meter]);
                match signal {
                    Signal::PduVoltageL1 => Some((230.0, age)),
                    Signal::PduCurrentL1 => Some((carry(last[meter]).0, age)),
                    _ => None,
                }
            };
            c.look(conditions.iter(), value, |_| overdue(*now), Mono::from_ms(*now));
            c.holds(&conditions[0], Mono::from_ms(*now))
        })
    }

    #[test]
    fn a_meter_that_dies_with_its_inlet_is_known_by_what_the_other_carries() {
        let lost_at = |at: u64| move |now: u64| if now < at { (8.0, true) } else { (16.0, false) };
        for at in (2000..2100).step_by(10) {
            let seen = dead_after(lost_at(at), 5000).expect("it is seen");
            assert!((at..at + 400).contains(&seen), "lost at {at}, seen at {seen}");
        }
    }

    #[test]
    fn a_meter_that_is_asked_in_vain_is_not_waited_for_once_the_other_carries_all() {
        // Lost at 2010; pdu-b is read at 2050, and from 2060 on pdu-a should have answered.
        let lost = |now: u64| if now < 2010 { (8.0, true) } else { (16.0, false) };
        assert_eq!(dead_or_overdue(lost, |now| now >= 2060, 5000), Some(2060));
        // Overdue, but the load stays where it was, or rises by a fifth: not dead.
        let late = |now: u64| (8.0, !(2010..2190).contains(&now));
        assert_eq!(dead_or_overdue(late, |now| (2060..2200).contains(&now), 5000), None);
        let rises = |now: u64| (if now < 2010 { 8.0 } else { 9.6 }, !(2010..2190).contains(&now));
        assert_eq!(dead_or_overdue(rises, |now| (2060..2200).contains(&now), 5000), None);
        // Nor when it rises to far more than the other cord ever carried.
        let starts = |now: u64| (if now < 2010 { 8.0 } else { 30.0 }, !(2010..2190).contains(&now));
        assert_eq!(dead_or_overdue(starts, |now| (2060..2200).contains(&now), 5000), None);
    }

    #[test]
    fn neither_silence_nor_a_rise_alone_is_a_dead_inlet() {
        assert_eq!(dead_after(|now| (8.0, now < 2000), 8000), None, "a meter that fell silent");
        assert_eq!(dead_after(|now| (if now < 2000 { 8.0 } else { 20.0 }, true), 8000), None, "a load that rose");
        let one_lost = |now: u64| (if now < 2000 { 8.0 } else { 20.0 }, !(1990..2090).contains(&now));
        assert_eq!(dead_after(one_lost, 8000), None, "a load that rose while one answer was lost");
    }

    #[test]
    fn a_dead_inlet_stays_dead_while_its_meter_is_silent_however_low_the_load_goes() {
        let conditions = ["pdu-a", "pdu-b"].map(|id| Condition::InletDead(DeviceId::new(id).unwrap()));
        let mut c = Conditions::default();
        let mut at = |now: u64, amperes: f64, silent_since: Option<u64>| {
            let value = |device: &DeviceId, signal: Signal| match (device.as_str(), signal) {
                ("pdu-a", Signal::PduVoltageL1) => {
                    Some((230.0, Duration::from_millis(silent_since.map_or(0, |since| now - since))))
                }
                ("pdu-b", Signal::PduCurrentL1) => Some((amperes, Duration::ZERO)),
                _ => None,
            };
            c.look(conditions.iter(), value, |_| false, Mono::from_ms(now));
            c.holds(&conditions[0], Mono::from_ms(now))
        };
        assert!((0..10).all(|i| !at(100 * i, 8.0, None)));
        assert!(at(1300, 16.0, Some(900)));
        assert!((2..20).all(|s| at(1000 * s, 5.0, Some(900))), "the answer has lowered the load");
        assert!(at(21_000, 4.0, None), "and a while after");
        assert!(!at(26_000, 4.0, None));
    }
}

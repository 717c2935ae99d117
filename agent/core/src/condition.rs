//! Conditions that a rack can see by itself, under which an answer prepared by the controller is in force
//! at once: an inlet without voltage, a UPS on battery.

use headroom_rack::{Condition, DeviceId, Mono, Signal};
use std::collections::BTreeMap;
use std::time::Duration;

/// Below this a phase carries nothing: 120 V less every tolerance is far above, what a dead cord picks up
/// far below.
pub const DEAD_BELOW_VOLTS: f64 = 50.0;
/// An answer stays in force so long after its condition was last seen: a feed that comes and goes must
/// not make the GPUs come and go.
pub const HOLD: Duration = Duration::from_secs(5);

/// Which conditions hold, and when they were last seen.
#[derive(Debug, Clone, Default)]
pub struct Conditions {
    seen: BTreeMap<Condition, Mono>,
}

impl Conditions {
    /// Looks at the conditions that somebody has an answer to. `value` is a fresh value of a signal; what
    /// is not known is no condition: silence is the guard's to age.
    pub fn look<'c>(
        &mut self,
        asked: impl Iterator<Item = &'c Condition>,
        value: impl Fn(&DeviceId, Signal) -> Option<f64>,
        now: Mono,
    ) {
        for condition in asked {
            if holds(condition, &value) {
                self.seen.insert(condition.clone(), now);
            }
        }
        self.seen.retain(|_, at| now.since(*at) < HOLD);
    }

    /// Whether a condition holds, or held a moment ago.
    pub fn holds(&self, condition: &Condition, now: Mono) -> bool {
        self.seen.get(condition).is_some_and(|at| now.since(*at) < HOLD)
    }
}

fn holds(condition: &Condition, value: impl Fn(&DeviceId, Signal) -> Option<f64>) -> bool {
    match condition {
        Condition::InletDead(pdu) => {
            let phases = [Signal::PduVoltageL1, Signal::PduVoltageL2, Signal::PduVoltageL3];
            let volts: Vec<f64> = phases.iter().filter_map(|phase| value(pdu, *phase)).collect();
            !volts.is_empty() && volts.iter().all(|v| *v < DEAD_BELOW_VOLTS)
        }
        Condition::OnBattery(ups) => value(ups, Signal::UpsOnBattery).is_some_and(|flag| flag > 0.5),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pdu() -> Condition {
        Condition::InletDead(DeviceId::new("pdu-a").unwrap())
    }

    fn look(c: &mut Conditions, volts: [Option<f64>; 3], ms: u64) -> bool {
        let value = |_: &DeviceId, signal| match signal {
            Signal::PduVoltageL1 => volts[0],
            Signal::PduVoltageL2 => volts[1],
            Signal::PduVoltageL3 => volts[2],
            _ => None,
        };
        c.look([pdu()].iter(), value, Mono::from_ms(ms));
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
        c.look([&ups].into_iter(), |_, signal| (signal == Signal::UpsOnBattery).then_some(1.0), Mono::from_ms(0));
        assert!(c.holds(&ups, Mono::from_ms(1)) && !c.holds(&pdu(), Mono::from_ms(1)));
    }
}

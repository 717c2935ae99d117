//! Which reading cannot wait for the next period: what is new to the controller goes up at once, what the
//! guard must see wakes it. Periods are for the calm. Compares each reading with what was last told.

use crate::condition::DEAD_BELOW_VOLTS;
use headroom_rack::{DeviceId, Mono, Reading, Signal, SignalPath};
use std::collections::BTreeMap;
use std::time::Duration;

/// Snapshots between two periods are at least so far apart: ten meters that see the same event in turn
/// shall not flood the bus.
pub const APART: Duration = Duration::from_millis(50);
/// And in any case: no two may carry the same millisecond, which is a point's name in a time-series store.
const OTHER_MS: Duration = Duration::from_millis(2);
/// A meter that rose by this share of what was last told is news: at a row breaker two such steps are
/// what a controller that looks once a second must not miss.
const RISE: f64 = 0.05;
/// So much in one step is what a cord takes over from another one that died: the other meters are asked at once.
const STEP: f64 = 0.25;
/// Below this a rise is noise of an idle rack, W.
const RISE_WATTS: f64 = 100.0;
/// Flow below this share of what was last told is lost flow.
const FLOW_LOST: f64 = 0.5;
/// The guard looks at once at a phase above this share of its breaker; below it holds nothing.
const GUARD_FROM: f64 = 0.9;

/// What a reading asks for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Urgency {
    /// The rack's own guard shall look now.
    pub guard: bool,
    /// The controller shall know now.
    pub controller: bool,
    /// The other devices shall be read now: they may know why.
    pub around: bool,
}

impl Urgency {
    /// Both wishes together.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            guard: self.guard || other.guard,
            controller: self.controller || other.controller,
            around: self.around || other.around,
        }
    }
}

/// What was last told of the signals that matter.
#[derive(Debug, Clone, Default)]
pub struct Watch {
    told: BTreeMap<DeviceId, BTreeMap<Signal, f64>>,
    breaker_amperes: Option<f64>,
    last: Option<Mono>,
    owed: bool,
    /// And at once.
    at_once: bool,
}

impl Watch {
    /// The breaker behind each phase of the PDUs, if the guard watches one.
    pub fn set_breaker(&mut self, amperes: Option<f64>) {
        self.breaker_amperes = amperes;
    }

    /// Judges one reading. No value is no event: silence is the guard's and the controller's to age.
    pub fn see(&mut self, device: &DeviceId, signal: Signal, reading: &Reading) -> Urgency {
        let Ok(value) = reading.value else { return Urgency::default() };
        let current = matches!(signal, Signal::PduCurrentL1 | Signal::PduCurrentL2 | Signal::PduCurrentL3);
        if current {
            let guard = self.breaker_amperes.is_some_and(|breaker| value >= breaker * GUARD_FROM);
            return Urgency { guard, ..Urgency::default() };
        }
        let both = Urgency { guard: true, controller: true, around: false };
        let is_news = |before: f64| match signal {
            Signal::UpsOnBattery | Signal::CoolingLeak => ((before > 0.5) != (value > 0.5)).then_some(both),
            Signal::PduVoltageL1 | Signal::PduVoltageL2 | Signal::PduVoltageL3 => {
                ((before < DEAD_BELOW_VOLTS) != (value < DEAD_BELOW_VOLTS)).then_some(both)
            }
            Signal::CoolingFlow => (value < before * FLOW_LOST).then_some(both),
            Signal::PduPower => (value > before * (1.0 + RISE) && value - before > RISE_WATTS).then_some(Urgency {
                guard: false,
                controller: true,
                around: value > before * (1.0 + STEP),
            }),
            _ => None,
        };
        let watched = matches!(
            signal,
            Signal::UpsOnBattery
                | Signal::CoolingLeak
                | Signal::PduVoltageL1
                | Signal::PduVoltageL2
                | Signal::PduVoltageL3
                | Signal::CoolingFlow
                | Signal::PduPower
        );
        if !watched {
            return Urgency::default();
        }
        let Some(before) = self.told.get_mut(device).and_then(|told| told.get_mut(&signal)) else {
            self.told.entry(device.clone()).or_default().insert(signal, value);
            // What was never told cannot have changed; but what begins in trouble is trouble.
            let flagged = matches!(signal, Signal::UpsOnBattery | Signal::CoolingLeak) && value > 0.5;
            return if flagged { both } else { Urgency::default() };
        };
        let news = is_news(*before);
        // A level creeps: it is compared with what a Snapshot said. A state is compared with the last one.
        if !is_level(signal) || value < *before && signal == Signal::PduPower {
            *before = value;
        }
        let urgency = news.unwrap_or_default();
        self.owed |= urgency.controller;
        urgency
    }

    /// Something became known that is in no reading and that no other device sees in turn: a Snapshot is due now.
    pub fn owe(&mut self) {
        (self.owed, self.at_once) = (true, true);
    }

    /// Whether a Snapshot is due between two periods; if not yet, how long to wait.
    pub fn due(&self, now: Mono) -> Option<Duration> {
        let since = self.last.map_or(APART, |last| now.since(last));
        self.owed.then(|| if self.at_once { OTHER_MS } else { APART }.saturating_sub(since))
    }

    /// A Snapshot goes out that says these values.
    pub fn told<'r>(&mut self, readings: impl Iterator<Item = (&'r SignalPath, &'r Reading)>, now: Mono) {
        (self.last, self.owed, self.at_once) = (Some(now), false, false);
        for (path, reading) in readings.filter(|(path, _)| is_level(path.signal)) {
            let before = self.told.get_mut(&path.device).and_then(|told| told.get_mut(&path.signal));
            if let (Some(before), Ok(value)) = (before, reading.value) {
                *before = value;
            }
        }
    }

    /// Forgets a device.
    pub fn retire(&mut self, device: &DeviceId) {
        self.told.remove(device);
    }
}

fn is_level(signal: Signal) -> bool {
    matches!(signal, Signal::PduPower | Signal::CoolingFlow)
}

#[cfg(test)]
mod tests {
    use super::*;
    use headroom_rack::UnixMs;

    fn see(watch: &mut Watch, device: &str, signal: Signal, value: f64) -> Urgency {
        watch.see(&DeviceId::new(device).unwrap(), signal, &Reading::new(value, UnixMs::new(0)))
    }

    const BOTH: Urgency = Urgency { guard: true, controller: true, around: false };
    const NONE: Urgency = Urgency { guard: false, controller: false, around: false };

    #[test]
    fn a_state_that_changes_is_told_once_and_its_return_as_well() {
        let mut w = Watch::default();
        for (signal, calm, trouble) in
            [(Signal::UpsOnBattery, 0.0, 1.0), (Signal::CoolingLeak, 0.0, 1.0), (Signal::PduVoltageL1, 230.0, 0.0)]
        {
            let seen = [calm, calm, trouble, trouble, calm, calm].map(|v| see(&mut w, "d", signal, v));
            assert_eq!(seen, [NONE, NONE, BOTH, NONE, BOTH, NONE], "{signal:?}");
        }
        assert_eq!(see(&mut w, "late", Signal::UpsOnBattery, 1.0), BOTH, "an agent that starts in an outage says so");
    }

    #[test]
    fn a_load_that_creeps_is_news_when_it_is_five_per_cent_from_what_was_told() {
        let mut w = Watch::default();
        let mut rise = |watts: f64| see(&mut w, "pdu-a", Signal::PduPower, watts).controller;
        assert_eq!([4000.0, 4100.0, 4200.0, 4201.0].map(&mut rise), [false, false, false, true]);
        // Told, it is measured from there.
        let path = SignalPath::new(DeviceId::new("pdu-a").unwrap(), Signal::PduPower);
        let reading = Reading::new(4201.0, UnixMs::new(0));
        assert_eq!(w.due(Mono::from_ms(0)), Some(Duration::ZERO));
        w.told([(&path, &reading)].into_iter(), Mono::from_ms(0));
        assert_eq!(w.due(Mono::from_ms(0)), None);
        assert!(!see(&mut w, "pdu-a", Signal::PduPower, 4400.0).controller);
        assert!(!see(&mut w, "pdu-a", Signal::PduPower, 3000.0).controller);
        assert!(see(&mut w, "pdu-a", Signal::PduPower, 3200.0).controller, "from the low it fell to");
        assert_eq!(w.due(Mono::from_ms(20)), Some(Duration::from_millis(30)));
        w.owe();
        assert_eq!(w.due(Mono::from_ms(20)), Some(Duration::ZERO));
        assert_eq!(w.due(Mono::from_ms(0)), Some(Duration::from_millis(2)), "in another millisecond");
    }

    #[test]
    fn a_step_makes_the_others_be_asked_and_a_creeping_load_does_not() {
        let mut w = Watch::default();
        let mut around = |watts: f64| see(&mut w, "pdu-a", Signal::PduPower, watts).around;
        assert_eq!([4000.0, 4300.0, 4900.0, 5100.0].map(&mut around), [false, false, false, true]);
    }

    #[test]
    fn flow_that_halves_is_lost_and_noise_of_an_idle_rack_is_none() {
        let mut w = Watch::default();
        let flow = [40.0, 25.0, 19.0].map(|v| see(&mut w, "cooling", Signal::CoolingFlow, v));
        assert_eq!(flow, [NONE, NONE, BOTH]);
        assert_eq!([900.0, 999.0].map(|v| see(&mut w, "pdu-b", Signal::PduPower, v)), [NONE, NONE]);
    }

    #[test]
    fn the_guard_wakes_for_a_phase_near_its_breaker_only() {
        let mut w = Watch::default();
        assert_eq!(see(&mut w, "pdu-a", Signal::PduCurrentL2, 99.0), NONE, "no breaker is known");
        w.set_breaker(Some(16.0));
        let seen = [14.0, 14.5].map(|v| see(&mut w, "pdu-a", Signal::PduCurrentL2, v).guard);
        assert_eq!(seen, [false, true]);
    }
}

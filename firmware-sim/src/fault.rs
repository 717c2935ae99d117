//! What can go wrong: kinds, targets and values, checked against the racks there are. What a fault
//! does is up to the plant (physics) and to `serve` (devices on the wire).

use crate::plant::spec::{Medium, RackSpec};
use crate::plant::{FEED_NAMES, Plant};

/// Kinds of faults.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A device repeats what it said when the fault came.
    MeterFrozen,
    /// A device reports power and current times the value.
    MeterLying,
    /// A device does not answer.
    DeviceSilent,
    /// A device answers with random bytes.
    DeviceGarbage,
    /// A device answers every request with an exception.
    DeviceException,
    /// A device answers late.
    DeviceLate,
    /// A GPU reports an Xid.
    Xid,
    /// A GPU falls off the bus.
    GpuLost,
    /// A GPU accepts a limit and does not keep it.
    GpuIgnoresLimit,
    /// The board's management controller holds a limit of its own.
    BmcLimit,
    /// The host's driver is replaced while clients use it.
    DriverUpgraded,
    /// Pumps stop.
    PumpStopped,
    /// Pumps deliver less at the same speed.
    PumpWorn,
    /// The loop leaks.
    Leak,
    /// A battery has aged.
    BatteryWeak,
    /// The utility of a feed is gone.
    FeedLost,
    /// A UPS fails: what it fed is dead.
    UpsLost,
    /// The voltage of a feed is low behind its UPS.
    VoltageLow,
    /// The facility water warms.
    SupplyWarms,
    /// Ends every fault of the target.
    Clear,
}

/// Word, kind, and a line of help for each.
pub const KINDS: &[(&str, Kind, &str)] = &[
    ("meter_frozen", Kind::MeterFrozen, "device repeats its last values"),
    ("meter_lying", Kind::MeterLying, "device reports power and current times value (0.5)"),
    ("device_silent", Kind::DeviceSilent, "device does not answer"),
    ("device_garbage", Kind::DeviceGarbage, "device answers with random bytes"),
    ("device_exception", Kind::DeviceException, "device answers with exception number value (4)"),
    ("device_late", Kind::DeviceLate, "device answers value milliseconds late (1500)"),
    ("xid", Kind::Xid, "GPU reports Xid number value (79)"),
    ("gpu_lost", Kind::GpuLost, "GPU falls off the bus; cleared, it is back as after a reset"),
    ("gpu_ignores_limit", Kind::GpuIgnoresLimit, "GPU accepts limits and does not keep them"),
    ("bmc_limit", Kind::BmcLimit, "the BMC limits a GPU to value (300) watts, out of band"),
    ("driver_upgraded", Kind::DriverUpgraded, "the driver of the GPU's host is replaced by 580.<value> (105)"),
    (
        "pump_stopped",
        Kind::PumpStopped,
        "pump (or bank of fans, of a rack cooled by air) number value (1 or 2; both) of a cooling unit stops",
    ),
    ("pump_worn", Kind::PumpWorn, "pumps (or fans) deliver only value (0.75) of their flow"),
    ("leak", Kind::Leak, "cooling loop loses value (0.5) litres per minute; none where air cools"),
    ("battery_weak", Kind::BatteryWeak, "UPS battery holds only value (0.5) of its capacity"),
    ("feed_lost", Kind::FeedLost, "utility of a feed is lost: the UPS goes on battery"),
    ("ups_lost", Kind::UpsLost, "a UPS fails: its feed is dead, the other feeds carry its racks"),
    ("voltage_low", Kind::VoltageLow, "voltage behind the UPS of a feed is value (0.94) of the nominal one"),
    (
        "supply_warms",
        Kind::SupplyWarms,
        "facility water of a cooling unit warms by value (6) kelvin a minute, up to 60 degrees (chilled water for air: 32)",
    ),
    ("clear", Kind::Clear, "ends every fault of the target"),
];

/// What a fault is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Target {
    /// A GPU, by rack and number.
    Gpu(usize, usize),
    /// A PDU's meter, by rack and cord.
    Pdu(usize, usize),
    /// A cooling unit, by rack.
    Cooling(usize),
    /// A UPS, by feed.
    Ups(usize),
    /// A feed.
    Feed(usize),
}

/// Why a fault cannot be.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum FaultError {
    /// No such kind.
    #[error("kind {given:?} is not known; known are {}", words())]
    Kind {
        /// As given.
        given: String,
    },
    /// No such target in this plant.
    #[error("target {given:?} is not in this plant; give {right}")]
    Target {
        /// As given.
        given: String,
        /// What would be right.
        right: String,
    },
    /// The target exists but this kind does not apply to it.
    #[error("{kind} does not apply to target {given:?}; give {right}")]
    Mismatch {
        /// The kind.
        kind: &'static str,
        /// As given.
        given: String,
        /// What would be right.
        right: String,
    },
    /// Nothing in a rack cooled by air can leak.
    #[error("leak does not apply to target {given:?}: its rack is cooled by air; give {right}")]
    NoLoop {
        /// As given.
        given: String,
        /// What would be right.
        right: String,
    },
    /// The value makes no sense for this kind.
    #[error("value {value} is out of range for {kind}: give {low} to {high}")]
    Value {
        /// The kind.
        kind: &'static str,
        /// As given.
        value: f64,
        /// Least.
        low: f64,
        /// Greatest.
        high: f64,
    },
}

impl FaultError {
    /// Whether the value is wrong rather than the target.
    pub fn is_about_value(&self) -> bool {
        matches!(self, Self::Value { .. })
    }
}

fn words() -> String {
    KINDS.iter().map(|k| k.0).collect::<Vec<_>>().join(", ")
}

/// One fault.
#[derive(Debug, Clone, PartialEq)]
pub struct Fault {
    /// What happens.
    pub kind: Kind,
    /// To what.
    pub target: Target,
    /// How much; each kind has a default.
    pub value: Option<f64>,
    /// The target as written.
    pub name: String,
}

impl Kind {
    /// The kind of this word.
    ///
    /// # Errors
    /// [`FaultError::Kind`] with the known words.
    pub fn parse(word: &str) -> Result<Self, FaultError> {
        let found = KINDS.iter().find(|k| k.0 == word);
        found.map(|k| k.1).ok_or_else(|| FaultError::Kind { given: word.to_owned() })
    }

    /// The word of this kind.
    pub fn word(self) -> &'static str {
        KINDS.iter().find(|k| k.1 == self).map_or("", |k| k.0)
    }

    fn applies(self, target: Target) -> bool {
        match self {
            Self::MeterFrozen
            | Self::MeterLying
            | Self::DeviceSilent
            | Self::DeviceGarbage
            | Self::DeviceException
            | Self::DeviceLate => matches!(target, Target::Pdu(..) | Target::Cooling(_) | Target::Ups(_)),
            Self::Xid | Self::GpuLost | Self::GpuIgnoresLimit | Self::BmcLimit | Self::DriverUpgraded => {
                matches!(target, Target::Gpu(..))
            }
            Self::PumpStopped | Self::PumpWorn | Self::Leak | Self::SupplyWarms => matches!(target, Target::Cooling(_)),
            Self::BatteryWeak | Self::UpsLost => matches!(target, Target::Ups(_)),
            Self::FeedLost => matches!(target, Target::Feed(_) | Target::Ups(_)),
            Self::VoltageLow => matches!(target, Target::Feed(_)),
            Self::Clear => true,
        }
    }

    fn value_range(self) -> (f64, f64) {
        match self {
            Self::MeterLying => (0.0, 10.0),
            Self::DeviceException => (1.0, 127.0),
            Self::DeviceLate => (0.0, 60_000.0),
            Self::Xid => (1.0, 1000.0),
            Self::BmcLimit => (200.0, 700.0),
            Self::DriverUpgraded => (82.0, 999.0),
            Self::PumpStopped => (1.0, 2.0),
            Self::PumpWorn => (0.1, 1.0),
            Self::Leak => (0.0, 20.0),
            Self::BatteryWeak => (0.05, 1.0),
            Self::VoltageLow => (0.8, 1.1),
            Self::SupplyWarms => (0.1, 120.0),
            _ => (f64::MIN, f64::MAX),
        }
    }
}

impl Fault {
    /// Checks target and value against the racks there are.
    ///
    /// # Errors
    /// [`FaultError`] with what would be right.
    pub fn new(kind: Kind, target: &str, value: Option<f64>, racks: &[RackSpec]) -> Result<Self, FaultError> {
        let name = target.to_owned();
        let found = parse_target(target, racks);
        let Some(parsed) = found else { return Err(FaultError::Target { given: name, right: rights(kind, racks) }) };
        if !kind.applies(parsed) {
            return Err(FaultError::Mismatch { kind: kind.word(), given: name, right: rights(kind, racks) });
        }
        if let (Kind::Leak, Target::Cooling(r)) = (kind, parsed)
            && racks[r].medium == Medium::Air
        {
            let liquid = racks.iter().find(|r| r.medium == Medium::Liquid).map(|r| format!("{}/cooling, or ", r.id));
            let right = liquid.unwrap_or_default() + "pump_stopped, pump_worn or supply_warms";
            return Err(FaultError::NoLoop { given: name, right });
        }
        let (low, high) = kind.value_range();
        if let Some(value) = value.filter(|v| !(low..=high).contains(v)) {
            return Err(FaultError::Value { kind: kind.word(), value, low, high });
        }
        Ok(Self { kind, target: parsed, value, name })
    }

    /// Acts on the physics. Faults of devices on the wire change nothing here.
    pub fn act(&self, plant: &mut Plant) {
        match (self.kind, self.target) {
            (Kind::GpuLost, Target::Gpu(r, g)) => plant.racks_mut()[r].gpus[g].set_lost(true),
            (Kind::GpuIgnoresLimit, Target::Gpu(r, g)) => plant.racks_mut()[r].gpus[g].set_ignores_limit(true),
            (Kind::PumpStopped, Target::Cooling(r)) => {
                let pump = self.value.map(|v| if v < 1.5 { 0 } else { 1 });
                plant.racks_mut()[r].cooling.set_stopped(pump, true);
            }
            (Kind::PumpWorn, Target::Cooling(r)) => plant.racks_mut()[r].cooling.set_wear(self.value.unwrap_or(0.75)),
            (Kind::Leak, Target::Cooling(r)) => plant.racks_mut()[r].cooling.set_leak(self.value.unwrap_or(0.5)),
            (Kind::BatteryWeak, Target::Ups(f)) => plant.feeds_mut()[f].ups.set_health(self.value.unwrap_or(0.5)),
            (Kind::FeedLost, Target::Feed(f) | Target::Ups(f)) => plant.feeds_mut()[f].utility = false,
            (Kind::UpsLost, Target::Ups(f)) => plant.feeds_mut()[f].ups.set_failed(true),
            (Kind::VoltageLow, Target::Feed(f)) => {
                let nominal = plant.spec().volts;
                plant.feeds_mut()[f].volts = nominal * self.value.unwrap_or(0.94);
            }
            (Kind::SupplyWarms, Target::Cooling(r)) => {
                plant.racks_mut()[r].cooling.set_water_drift(self.value.unwrap_or(6.0) / 60.0);
            }
            (Kind::Clear, target) => self.clear(plant, target),
            _ => {}
        }
    }

    fn clear(&self, plant: &mut Plant, target: Target) {
        match target {
            Target::Gpu(r, g) => {
                let gpu = &mut plant.racks_mut()[r].gpus[g];
                gpu.set_lost(false);
                gpu.set_ignores_limit(false);
            }
            Target::Cooling(r) => {
                let cooling = &mut plant.racks_mut()[r].cooling;
                cooling.set_stopped(None, false);
                cooling.set_wear(1.0);
                cooling.set_leak(0.0);
                cooling.set_water_drift(0.0);
            }
            Target::Ups(f) => {
                let feed = &mut plant.feeds_mut()[f];
                let health = feed.ups.initial_health();
                feed.ups.set_health(health);
                feed.ups.set_failed(false);
                feed.utility = true;
            }
            Target::Feed(f) => {
                let nominal = plant.spec().volts;
                let feed = &mut plant.feeds_mut()[f];
                feed.utility = true;
                feed.volts = nominal;
            }
            Target::Pdu(..) => {}
        }
    }
}

fn parse_target(text: &str, racks: &[RackSpec]) -> Option<Target> {
    let feed = |word: &str, prefix: &str| {
        let on = |f: &usize| racks.iter().any(|r| r.feeds().any(|feed| feed == *f));
        FEED_NAMES.iter().position(|f| word.strip_prefix(prefix) == Some(f)).filter(on)
    };
    let Some((rack, device)) = text.split_once('/') else {
        return feed(text, "ups-").map(Target::Ups).or_else(|| feed(text, "feed-").map(Target::Feed));
    };
    let rack = racks.iter().position(|r| r.id == rack)?;
    if let Some(gpu) = device.strip_prefix("gpu-").and_then(|n| n.parse::<usize>().ok()) {
        return (gpu < racks[rack].gpus).then_some(Target::Gpu(rack, gpu));
    }
    if device == "cooling" {
        return Some(Target::Cooling(rack));
    }
    // A UPS is read by one rack's agent and may be named through it.
    let cord = |f: usize| racks[rack].cords.iter().position(|c| *c == f);
    feed(device, "pdu-").and_then(cord).map(|c| Target::Pdu(rack, c)).or_else(|| feed(device, "ups-").map(Target::Ups))
}

fn rights(kind: Kind, racks: &[RackSpec]) -> String {
    let Some(first) = racks.first() else { return "a target of a rack in the scenario".into() };
    let (id, last) = (&first.id, first.gpus - 1);
    let candidates = [
        (format!("{id}/gpu-0 to gpu-{last}"), Target::Gpu(0, 0)),
        (format!("{id}/pdu-a or pdu-b"), Target::Pdu(0, 0)),
        (format!("{id}/cooling"), Target::Cooling(0)),
        ("ups-a or ups-b".to_owned(), Target::Ups(0)),
        ("feed-a or feed-b".to_owned(), Target::Feed(0)),
    ];
    let fitting: Vec<String> = candidates.into_iter().filter(|(_, t)| kind.applies(*t)).map(|(text, _)| text).collect();
    fitting.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::Scenario;

    fn plant() -> Plant {
        Plant::new(&Scenario::load(None).expect("valid").plant)
    }

    fn fault(kind: &str, target: &str, value: Option<f64>) -> Result<Fault, FaultError> {
        Fault::new(Kind::parse(kind)?, target, value, &plant().spec().racks)
    }

    #[test]
    fn every_kind_acts_on_a_fitting_target_and_can_be_cleared() {
        let mut plant = plant();
        for (kind, target) in [
            ("gpu_lost", "rack-1/gpu-0"),
            ("pump_stopped", "rack-2/cooling"),
            ("battery_weak", "ups-a"),
            ("feed_lost", "feed-b"),
            ("voltage_low", "feed-b"),
            ("meter_frozen", "rack-1/ups-a"),
        ] {
            fault(kind, target, None).expect(kind).act(&mut plant);
        }
        (0..100).for_each(|_| plant.step(0.02));
        let view = plant.view();
        assert!(view.racks[0].gpus[0].lost && view.racks[1].cooling.flow_lpm < 1.0);
        assert!(view.feeds[0].ups.battery_weak && view.feeds[1].ups.on_battery);
        assert!(view.racks[0].pdus[1].phase_volts[0] < 0.94 * 240.0);
        for target in ["rack-1/gpu-0", "rack-2/cooling", "ups-a", "feed-b"] {
            fault("clear", target, None).expect(target).act(&mut plant);
        }
        (0..500).for_each(|_| plant.step(0.02));
        let view = plant.view();
        assert!(!view.racks[0].gpus[0].lost && view.racks[1].cooling.flow_lpm > 5.0);
        assert!(!view.feeds[0].ups.battery_weak && !view.feeds[1].ups.on_battery);
        assert!(view.racks[0].pdus[1].phase_volts[0] > 0.99 * 240.0);
    }

    #[test]
    fn a_wrong_fault_says_what_would_be_right() {
        for (kind, target, value, said) in [
            ("burn", "ups-a", None, "meter_frozen"),
            ("xid", "rack-9/gpu-0", None, "rack-1/gpu-0 to gpu-7"),
            ("xid", "rack-1/pdu-a", None, "does not apply"),
            ("battery_weak", "ups-a", Some(7.0), "0.05 to 1"),
        ] {
            let error = fault(kind, target, value).expect_err(kind).to_string();
            assert!(error.contains(said), "{error}");
        }
    }
}

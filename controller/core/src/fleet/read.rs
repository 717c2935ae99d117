//! Where in a rack's Snapshots the Readings of each device stand. Found once for all Snapshots with the same paths:
//! looking for names is most of the work on a large site.

use crate::topology::RackSpec;
use headroom_rack::{Class, DeviceId, NoData, Paths, Reading, Readings, Signal, SignalPath, Watts};
use std::ops::Range;

/// The places of one rack's devices.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    paths: Paths,
    /// Of each GPU of the rack, with its name.
    pub gpus: Vec<(DeviceId, Range<usize>)>,
    /// Of the meter of each cord.
    pub cords: Vec<Range<usize>>,
    /// Of all that is no GPU, with its name.
    pub others: Vec<(DeviceId, Range<usize>)>,
    /// Whether a UPS is among them.
    pub ups: bool,
}

impl Layout {
    pub(super) fn new(spec: &RackSpec, readings: &Readings) -> Self {
        let paths = readings.paths();
        let all: Vec<&SignalPath> = paths.iter().collect();
        let of = |device: &DeviceId| {
            let begin = all.partition_point(|path| path.device < *device);
            begin..begin + all[begin..].iter().take_while(|path| path.device == *device).count()
        };
        let named = |id: DeviceId| {
            let place = of(&id);
            (id, place)
        };
        let mut others: Vec<&DeviceId> = all.iter().map(|path| &path.device).collect();
        others.dedup();
        others.retain(|device| device.gpu_index().is_none());
        Self {
            gpus: (0..spec.gpus).map(DeviceId::gpu).map(named).collect(),
            cords: spec.feeds.iter().map(|cord| of(&cord.meter)).collect(),
            others: others.into_iter().cloned().map(named).collect(),
            ups: all.iter().any(|path| path.signal == Signal::UpsOnBattery),
            paths,
        }
    }

    /// Whether it is that of these Readings.
    pub(super) fn is_of(&self, readings: &Readings) -> bool {
        self.paths.are_of(readings)
    }
}

/// The readings of one device.
#[derive(Clone, Copy)]
pub(super) struct Of<'r> {
    paths: &'r [SignalPath],
    readings: &'r [Reading],
}

impl<'r> Of<'r> {
    /// Those at a place.
    pub(super) fn new(readings: &'r Readings, place: &Range<usize>) -> Self {
        Self {
            paths: &readings.keys().as_slice()[place.clone()],
            readings: &readings.values().as_slice()[place.clone()],
        }
    }
}

impl Of<'_> {
    pub(super) fn watts(self, signal: Signal) -> Result<Watts, NoData> {
        let at = self.paths.iter().position(|path| path.signal == signal);
        at.map_or(Err(NoData::NotYetRead), |at| self.readings[at].value.map(Watts::new))
    }

    pub(super) fn value(self, signal: Signal) -> Option<f64> {
        self.watts(signal).ok().map(Watts::get)
    }

    /// Sum, number and greatest of those of `signals` that the device has; `None` when it has none or one of them is
    /// unknown.
    pub(super) fn all(self, signals: [Signal; 3]) -> Option<[f64; 3]> {
        let read = self.paths.iter().zip(self.readings).filter(|(path, _)| signals.contains(&path.signal));
        read.map(|(_, reading)| reading.ok())
            .try_fold([0.0, 0.0, 0.0_f64], |[sum, count, most], value| {
                let value = value?;
                Some([sum + value, count + 1.0, most.max(value)])
            })
            .filter(|[_, count, _]| *count > 0.0)
    }

    /// How the device divides its load among its phases, by currents (what trips a breaker) or else by power;
    /// `None` when a phase is unknown or nothing flows.
    pub(super) fn phases(self) -> Option<[f64; 3]> {
        let all = |signals: [Signal; 3]| -> Option<[f64; 3]> {
            let [a, b, c] = signals.map(|s| self.value(s));
            Some([a?.max(0.0), b?.max(0.0), c?.max(0.0)])
        };
        let told = all([Signal::PduCurrentL1, Signal::PduCurrentL2, Signal::PduCurrentL3])
            .or_else(|| all([Signal::PduPowerL1, Signal::PduPowerL2, Signal::PduPowerL3]))
            .or_else(|| all([Signal::UpsOutputPowerL1, Signal::UpsOutputPowerL2, Signal::UpsOutputPowerL3]))?;
        let sum: f64 = told.iter().sum();
        (sum > 0.0).then(|| told.map(|p| p / sum))
    }

    pub(super) fn power(self) -> Option<Watts> {
        if self.paths.iter().any(|path| path.signal.class() == Class::Ups) {
            // One of a single phase has no others; one of three whose phase is unknown has an unknown sum.
            let phases = [Signal::UpsOutputPowerL1, Signal::UpsOutputPowerL2, Signal::UpsOutputPowerL3];
            let there = || phases.iter().filter(|phase| self.paths.iter().any(|path| path.signal == **phase));
            there().next()?;
            return there().map(|phase| self.watts(*phase).ok()).sum();
        }
        self.watts(Signal::PduPower).ok()
    }
}

#[cfg(test)]
mod tests {
    use crate::fleet::Fleet;
    use crate::topology::tests::row;
    use headroom_rack::{DeviceId, Mono, RackId, Reading, Readings, Signal, SignalPath, Snapshot, UnixMs};

    fn snapshot(seq: u64, readings: Readings) -> Snapshot {
        let (rack, at) = (RackId::new("rack-1").unwrap(), UnixMs::new(1000 * seq));
        Snapshot { rack, boot: 1, seq, at, historical: false, readings, receipts: vec![] }
    }

    #[test]
    fn what_is_believed_follows_from_the_newest_snapshot_whatever_devices_came_before() {
        let value = |device: &str, signal, value| {
            let path = SignalPath::new(DeviceId::new(device).unwrap(), signal);
            (path, Reading::new(value, UnixMs::new(1)))
        };
        let plain = [value("gpu-0", Signal::GpuPower, 300.0), value("pdu-b", Signal::PduPower, 2000.0)];
        let more = [value("gpu-10", Signal::GpuPower, 1.0), value("a-ups", Signal::UpsOnBattery, 1.0)];
        let phases = [Signal::PduCurrentL1, Signal::PduCurrentL2, Signal::PduCurrentL3].map(|s| value("pdu-a", s, 4.0));
        let all = || plain.iter().chain(&more).chain(&phases).cloned();
        let later = plain.each_ref().map(|(path, r)| (path.clone(), Reading::new(r.ok().unwrap() + 50.0, r.at)));
        let first: Readings = plain.iter().cloned().collect();
        let same = Readings::alike(&first.paths(), later.iter().map(|(_, r)| *r).collect()).unwrap();
        let mut fleet = Fleet::new(&row());
        for (seq, readings) in [(1, first), (2, same), (3, all().collect()), (4, later.into())] {
            let seen = snapshot(seq, readings);
            fleet.fold(&seen, Mono::from_ms(seq));
            let mut fresh = Fleet::new(&row());
            fresh.fold(&seen, Mono::from_ms(seq));
            let [long, short] = [&fleet, &fresh].map(|fleet| {
                let known = fleet.rack(&seen.rack).unwrap().clone();
                crate::fleet::RackBelief { recent: std::collections::VecDeque::new(), ..known }
            });
            assert_eq!(long, short, "{seq}");
            assert!(fleet.rack(&seen.rack).unwrap().gpus[0].power.is_ok());
            assert_eq!(fleet.rack(&seen.rack).unwrap().batteries.len(), usize::from(seq == 3));
        }
    }
}

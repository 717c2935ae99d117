//! The latest Reading of each signal and the Snapshot made of them. A value that grows too old
//! becomes `Stale`: nothing here repeats a last value in silence.

use headroom_rack::{
    DeviceId, Mono, NoData, Paths, RackId, Reading, Readings, Receipt, Signal, SignalPath, Snapshot, UnixMs,
};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// Receipts kept between two Snapshots; the oldest go first.
const MAX_RECEIPTS: usize = 256;

#[derive(Debug, Clone, Copy)]
struct Entry {
    reading: Reading,
    arrived: Mono,
    stale_after: Duration,
}

/// The latest of everything, and the Receipts of the next Snapshot.
#[derive(Debug, Clone)]
pub struct Latest {
    rack: RackId,
    boot: u64,
    seq: u64,
    entries: BTreeMap<DeviceId, BTreeMap<Signal, Entry>>,
    /// Those of all entries, until there are others.
    paths: Option<Paths>,
    receipts: VecDeque<Receipt>,
}

impl Latest {
    /// Nothing known yet. `boot` names this run of the agent.
    pub fn new(rack: RackId, boot: u64) -> Self {
        Self { rack, boot, seq: 0, entries: BTreeMap::new(), paths: None, receipts: VecDeque::new() }
    }

    /// Announces a signal before it was ever read, so that it is in every Snapshot from the
    /// start. A value older than `stale_after` becomes [`NoData::Stale`].
    pub fn declare(&mut self, path: SignalPath, stale_after: Duration, now: Mono, at: UnixMs) {
        let reading = Reading::none(NoData::NotYetRead, at);
        self.paths = None;
        let of_device = self.entries.entry(path.device).or_default();
        of_device.entry(path.signal).or_insert(Entry { reading, arrived: now, stale_after });
    }

    /// Forgets a device that is no longer there: it is in no further Snapshot.
    pub fn retire(&mut self, device: &DeviceId) {
        self.paths = None;
        self.entries.remove(device);
    }

    /// Stores Readings of a device's declared signals; others are ignored.
    pub fn put(&mut self, device: &DeviceId, readings: impl IntoIterator<Item = (Signal, Reading)>, now: Mono) {
        let mut of_device = self.entries.get_mut(device);
        for (signal, reading) in readings {
            if let Some(entry) = of_device.as_mut().and_then(|entries| entries.get_mut(&signal)) {
                entry.reading = reading;
                entry.arrived = now;
            }
        }
    }

    /// Adds a Receipt to the next Snapshot.
    pub fn receipt(&mut self, receipt: Receipt) {
        if self.receipts.len() == MAX_RECEIPTS {
            self.receipts.pop_front();
        }
        self.receipts.push_back(receipt);
    }

    /// Whether anything was ever said of a signal.
    pub fn has(&self, device: &DeviceId, signal: Signal) -> bool {
        self.entries.get(device).is_some_and(|of| of.contains_key(&signal))
    }

    /// The value of a signal with its age, when there is one that is not stale.
    pub fn value(&self, device: &DeviceId, signal: Signal, now: Mono) -> Option<(f64, Duration)> {
        let entry = self.entries.get(device)?.get(&signal)?;
        let age = now.since(entry.arrived);
        if age > entry.stale_after {
            return None;
        }
        entry.reading.ok().map(|value| (value, age))
    }

    /// What is known now of every signal.
    pub fn readings(&mut self, now: Mono) -> Readings {
        let alike =
            |paths| Readings::alike(paths, self.entries.values().flatten().map(|(_, e)| aged(e, now)).collect());
        let readings = self.paths.as_ref().and_then(alike).unwrap_or_else(|| {
            let all = self.entries.iter().flat_map(|(device, of)| of.iter().map(move |of| (device, of)));
            all.map(|(d, (signal, entry))| (SignalPath::new(d.clone(), *signal), aged(entry, now))).collect()
        });
        self.paths = Some(readings.paths());
        readings
    }

    /// The next Snapshot of this run.
    pub fn snapshot(&mut self, now: Mono, at: UnixMs) -> Snapshot {
        self.seq += 1;
        Snapshot {
            rack: self.rack.clone(),
            boot: self.boot,
            seq: self.seq,
            at,
            historical: false,
            readings: self.readings(now),
            receipts: self.receipts.drain(..).collect(),
        }
    }
}

fn aged(entry: &Entry, now: Mono) -> Reading {
    if entry.reading.value.is_ok() && now.since(entry.arrived) > entry.stale_after {
        return Reading::none(NoData::Stale, entry.reading.at);
    }
    entry.reading
}

#[cfg(test)]
mod tests {
    use super::*;
    use headroom_rack::{Generation, Outcome};

    const LIMIT: Duration = Duration::from_secs(2);

    fn latest() -> (Latest, SignalPath) {
        let mut latest = Latest::new(RackId::new("rack-1").unwrap(), 7);
        let path = SignalPath::new(DeviceId::new("pdu-a").unwrap(), Signal::PduPower);
        latest.declare(path.clone(), LIMIT, Mono::from_ms(0), UnixMs::new(0));
        (latest, path)
    }

    #[test]
    fn a_signal_nobody_has_read_says_so() {
        let (mut latest, path) = latest();
        let snapshot = latest.snapshot(Mono::from_ms(9000), UnixMs::new(9000));
        assert_eq!(snapshot.readings[&path].value, Err(NoData::NotYetRead));
        assert_eq!((snapshot.boot, snapshot.seq), (7, 1));
    }

    #[test]
    fn an_old_value_becomes_stale_and_a_reason_stays() {
        let (mut latest, path) = latest();
        latest.put(&path.device, [(path.signal, Reading::new(5.0, UnixMs::new(1)))], Mono::from_ms(1000));
        assert_eq!(latest.snapshot(Mono::from_ms(3000), UnixMs::new(3)).readings[&path].value, Ok(5.0));
        assert_eq!(latest.snapshot(Mono::from_ms(3001), UnixMs::new(3)).readings[&path].value, Err(NoData::Stale));
        assert!(latest.value(&path.device, path.signal, Mono::from_ms(3001)).is_none());
        latest.put(&path.device, [(path.signal, Reading::none(NoData::Timeout, UnixMs::new(4)))], Mono::from_ms(4000));
        assert_eq!(latest.snapshot(Mono::from_ms(99_000), UnixMs::new(3)).readings[&path].value, Err(NoData::Timeout));
    }

    #[test]
    fn a_retired_device_is_in_no_further_snapshot_and_a_late_reading_does_not_bring_it_back() {
        let (mut latest, path) = latest();
        latest.retire(&path.device);
        latest.put(&path.device, [(path.signal, Reading::new(5.0, UnixMs::new(1)))], Mono::from_ms(1000));
        assert!(latest.snapshot(Mono::from_ms(1000), UnixMs::new(1)).readings.is_empty());
    }

    #[test]
    fn each_snapshot_names_the_signals_of_now_and_those_between_share_their_names() {
        let (mut latest, path) = latest();
        let earlier = SignalPath::new(DeviceId::new("a").unwrap(), Signal::UpsOnBattery);
        let said = |latest: &mut Latest| latest.snapshot(Mono::from_ms(1), UnixMs::new(1)).readings;
        let (first, second) = (said(&mut latest), said(&mut latest));
        assert!(first.paths().are_of(&second));
        latest.declare(earlier.clone(), LIMIT, Mono::from_ms(1), UnixMs::new(1));
        latest.put(&path.device, [(path.signal, Reading::new(5.0, UnixMs::new(1)))], Mono::from_ms(1));
        let both = said(&mut latest);
        let keys: Vec<_> = both.keys().cloned().collect();
        assert_eq!((keys, both[&path].value), (vec![earlier.clone(), path.clone()], Ok(5.0)));
        latest.retire(&path.device);
        assert!(said(&mut latest).keys().eq([&earlier]));
    }

    #[test]
    fn receipts_ride_in_one_snapshot_only_and_are_bounded() {
        let (mut latest, path) = latest();
        for counter in 0..1000 {
            latest.receipt(Receipt {
                device: path.device.clone(),
                generation: Generation { epoch: 1, counter },
                outcome: Outcome::Applied,
                at: UnixMs::new(0),
            });
        }
        let first = latest.snapshot(Mono::from_ms(1), UnixMs::new(1));
        assert_eq!(first.receipts.len(), MAX_RECEIPTS);
        assert_eq!(first.receipts[0].generation.counter, 1000 - 256);
        assert!(latest.snapshot(Mono::from_ms(2), UnixMs::new(2)).receipts.is_empty());
    }
}

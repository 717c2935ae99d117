//! The latest Reading of each signal and the Snapshot made of them. A value that grows too old
//! becomes `Stale`: nothing here repeats a last value in silence.

use headroom_rack::{DeviceId, Mono, NoData, RackId, Reading, Receipt, Signal, SignalPath, Snapshot, UnixMs};
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
    /// Since the last Snapshot there are other signals.
    changed: bool,
    receipts: VecDeque<Receipt>,
}

impl Latest {
    /// Nothing known yet. `boot` names this run of the agent.
    pub fn new(rack: RackId, boot: u64) -> Self {
        Self { rack, boot, seq: 0, entries: BTreeMap::new(), changed: false, receipts: VecDeque::new() }
    }

    /// Announces a signal before it was ever read, so that it is in every Snapshot from the
    /// start. A value older than `stale_after` becomes [`NoData::Stale`].
    pub fn declare(&mut self, path: SignalPath, stale_after: Duration, now: Mono, at: UnixMs) {
        let reading = Reading::none(NoData::NotYetRead, at);
        self.changed = true;
        let of_device = self.entries.entry(path.device).or_default();
        of_device.entry(path.signal).or_insert(Entry { reading, arrived: now, stale_after });
    }

    /// Forgets a device that is no longer there: it is in no further Snapshot.
    pub fn retire(&mut self, device: &DeviceId) {
        self.changed |= self.entries.remove(device).is_some();
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

    /// The value of a signal with its age, when there is one that is not stale.
    pub fn value(&self, device: &DeviceId, signal: Signal, now: Mono) -> Option<(f64, Duration)> {
        let entry = self.entries.get(device)?.get(&signal)?;
        let age = now.since(entry.arrived);
        if age > entry.stale_after {
            return None;
        }
        entry.reading.ok().map(|value| (value, age))
    }

    /// The next Snapshot of this run, made in the place of the `last` one if that is no longer needed.
    pub fn snapshot(&mut self, last: Option<Snapshot>, now: Mono, at: UnixMs) -> Snapshot {
        self.seq += 1;
        let all = self.entries.iter().flat_map(|(device, entries)| entries.iter().map(move |of| (device, of)));
        let changed = std::mem::take(&mut self.changed);
        let readings = match last.filter(|_| !changed) {
            Some(Snapshot { mut readings, .. }) => {
                for (reading, (_, (_, entry))) in readings.values_mut().zip(all) {
                    *reading = aged(entry, now);
                }
                readings
            }
            None => all.map(|(d, (signal, entry))| (SignalPath::new(d.clone(), *signal), aged(entry, now))).collect(),
        };
        Snapshot {
            rack: self.rack.clone(),
            boot: self.boot,
            seq: self.seq,
            at,
            historical: false,
            readings,
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
        let snapshot = latest.snapshot(None, Mono::from_ms(9000), UnixMs::new(9000));
        assert_eq!(snapshot.readings[&path].value, Err(NoData::NotYetRead));
        assert_eq!((snapshot.boot, snapshot.seq), (7, 1));
    }

    #[test]
    fn an_old_value_becomes_stale_and_a_reason_stays() {
        let (mut latest, path) = latest();
        latest.put(&path.device, [(path.signal, Reading::new(5.0, UnixMs::new(1)))], Mono::from_ms(1000));
        assert_eq!(latest.snapshot(None, Mono::from_ms(3000), UnixMs::new(3)).readings[&path].value, Ok(5.0));
        assert_eq!(
            latest.snapshot(None, Mono::from_ms(3001), UnixMs::new(3)).readings[&path].value,
            Err(NoData::Stale)
        );
        assert!(latest.value(&path.device, path.signal, Mono::from_ms(3001)).is_none());
        latest.put(&path.device, [(path.signal, Reading::none(NoData::Timeout, UnixMs::new(4)))], Mono::from_ms(4000));
        assert_eq!(
            latest.snapshot(None, Mono::from_ms(99_000), UnixMs::new(3)).readings[&path].value,
            Err(NoData::Timeout)
        );
    }

    #[test]
    fn a_retired_device_is_in_no_further_snapshot_and_a_late_reading_does_not_bring_it_back() {
        let (mut latest, path) = latest();
        latest.retire(&path.device);
        latest.put(&path.device, [(path.signal, Reading::new(5.0, UnixMs::new(1)))], Mono::from_ms(1000));
        assert!(latest.snapshot(None, Mono::from_ms(1000), UnixMs::new(1)).readings.is_empty());
    }

    #[test]
    fn a_snapshot_in_the_place_of_the_last_one_says_what_a_new_one_would() {
        let (mut latest, path) = latest();
        let mut afresh = latest.clone();
        let mut last = None;
        let ups = SignalPath::new(DeviceId::new("ups-a").unwrap(), Signal::UpsOnBattery);
        let earlier = SignalPath::new(DeviceId::new("a").unwrap(), Signal::PduPower);
        for step in 0_u64..8 {
            let (now, at) = (Mono::from_ms(step * 1000), UnixMs::new(step));
            for latest in [&mut latest, &mut afresh] {
                match step {
                    1 => latest.declare(ups.clone(), LIMIT, now, at),
                    2 => latest.put(&path.device, [(path.signal, Reading::new(step as f64, at))], now),
                    3 => latest.declare(earlier.clone(), LIMIT, now, at),
                    6 => latest.retire(&path.device),
                    _ => latest.put(&ups.device, [(ups.signal, Reading::new(1.0, at))], now),
                }
            }
            let made = latest.snapshot(last.take(), now, at);
            assert_eq!(made, afresh.snapshot(None, now, at), "step {step}");
            last = Some(made);
        }
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
        let first = latest.snapshot(None, Mono::from_ms(1), UnixMs::new(1));
        assert_eq!(first.receipts.len(), MAX_RECEIPTS);
        assert_eq!(first.receipts[0].generation.counter, 1000 - 256);
        assert!(latest.snapshot(None, Mono::from_ms(2), UnixMs::new(2)).receipts.is_empty());
    }
}

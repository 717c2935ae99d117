//! The short way through an NDATA against the general one.

use super::*;
use headroom_rack::{Generation, Outcome, Signal};

fn snapshot(seq: u64, extra: bool) -> Snapshot {
    let at = UnixMs::new(1_700_000_000_000 + 1000 * seq);
    let mut readings = Readings::new();
    for gpu in 0..4 {
        readings
            .insert(SignalPath::new(DeviceId::gpu(gpu), Signal::GpuPower), Reading::new(300.5 + f64::from(gpu), at));
        let reason = [NoData::Timeout, NoData::Stale, NoData::Exception(2), NoData::NotSupported][gpu as usize];
        readings.insert(SignalPath::new(DeviceId::gpu(gpu), Signal::GpuTemperature), Reading::none(reason, at));
    }
    if extra {
        let path = SignalPath::new(DeviceId::new("pdu-a").expect("an id"), Signal::PduPower);
        readings.insert(path, Reading::new(5e8, at));
    }
    let device = DeviceId::gpu(1);
    let receipts =
        vec![Receipt { device, generation: Generation { epoch: 1, counter: seq }, outcome: Outcome::Applied, at }];
    let rack = RackId::new("rack-1").expect("an id");
    Snapshot { rack, boot: 7, seq, at, historical: seq.is_multiple_of(3), readings, receipts }
}

/// A session and its decoder after the birth of everything.
fn born() -> (Uplink, UplinkDecoder) {
    let mut up = Uplink::new(0);
    let mut down = UplinkDecoder::new(RackId::new("rack-1").expect("an id"));
    down.birth(&up.birth(&snapshot(1, true))).expect("a birth");
    (up, down)
}

#[test]
fn what_agents_send_is_plain_and_says_the_same_both_ways() {
    let (mut up, mut down) = born();
    let mut shared = None;
    // With one signal less in between, as when a device is taken out of the config.
    for (seq, extra) in [(2, true), (3, true), (4, false), (5, false), (6, true), (7, true)] {
        let sent = snapshot(seq, extra);
        let bytes = up.data(&sent).expect("all are named");
        let (plain, payload) = (plain::read(&bytes).expect("plain"), parse(&bytes).expect("a payload"));
        assert_eq!(plain, Plain::of(&payload));
        let read = down.metrics(&plain);
        let Ok(Uplinked::Data { snapshot, gap: false }) = read else { panic!("{read:?}") };
        assert_eq!((snapshot.seq, snapshot.historical, &snapshot.receipts), (seq, sent.historical, &sent.receipts));
        assert_eq!(snapshot.readings.len(), sent.readings.len());
        let same =
            shared.replace(snapshot.readings.paths()).is_some_and(|paths: Paths| paths.are_of(&snapshot.readings));
        assert_eq!(same, matches!(seq, 3 | 5 | 7), "paths are shared while they stay: {seq}");
    }
}

#[test]
fn damaged_bytes_say_the_same_both_ways_or_are_not_plain() {
    let (mut up, down) = born();
    let bytes = up.data(&snapshot(2, true)).expect("all are named");
    let mut random = 1_u64;
    let mut next = || {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) as usize
    };
    let mut plain_ones = 0;
    for _ in 0..40_000 {
        let mut damaged = bytes.clone();
        for _ in 0..1 + next() % 3 {
            match next() % 4 {
                0 => damaged.truncate(next() % (damaged.len() + 1)),
                1 if !damaged.is_empty() => drop(damaged.remove(next() % damaged.len())),
                2 => damaged.insert(next() % (damaged.len() + 1), next() as u8),
                _ if !damaged.is_empty() => {
                    let at = next() % damaged.len();
                    damaged[at] ^= 1 << (next() % 8);
                }
                _ => {}
            }
        }
        let general = parse(&damaged).and_then(|payload| down.clone().metrics(&Plain::of(&payload)));
        assert_eq!(down.clone().data(&damaged), general, "{damaged:02x?}");
        plain_ones += u32::from(plain::read(&damaged).is_some());
    }
    assert!(plain_ones > 2000, "{plain_ones} of the damaged ones are plain");
}

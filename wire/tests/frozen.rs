//! Bytes that agents and controllers in the field already speak. Do not change a literal here:
//! an incompatible change needs another topic namespace, and both kept for one release.

use headroom_rack::*;
use headroom_wire::{Downlink, Held, Stored, Uplink, UplinkDecoder, Uplinked, WireError};
use std::collections::BTreeSet;

fn snapshot(seq: u64) -> Snapshot {
    let at = UnixMs::new(1_700_000_000_000);
    let path = |device: &str, signal| SignalPath::new(DeviceId::new(device).expect("valid"), signal);
    Snapshot {
        rack: RackId::new("rack-1").expect("valid"),
        boot: 42,
        seq,
        at,
        historical: false,
        readings: Readings::from([
            (path("gpu-0", Signal::GpuPower), Reading::new(431.5, at)),
            (path("pdu-a", Signal::PduPower), Reading::none(NoData::Exception(2), at)),
        ]),
        receipts: vec![Receipt {
            device: DeviceId::gpu(0),
            generation: Generation { epoch: 7, counter: 9 },
            outcome: Outcome::Clamped { to: Watts::new(200.0), why: Clamp::DeviceMin },
            at,
        }],
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

#[test]
fn the_bytes_of_birth_data_death_and_command_are_frozen() {
    let mut uplink = Uplink::new(3);
    let downlink = Downlink {
        generation: Generation { epoch: 7, counter: 9 },
        lease_ms: 5000,
        stored: Some(Stored { boot: 42, seq: 17 }),
        held: None,
        orders: vec![
            (DeviceId::gpu(0), Setting::PowerLimit(Watts::new(350.0))),
            (DeviceId::gpu(1), Setting::ClockCeilingMhz(1200)),
        ],
        rebirth: false,
    };
    let held = vec![Held { boot: 41, first: 3, last: 3 }, Held { boot: 42, first: 16, last: 17 }];
    let acknowledging = Downlink { held: Some(held), orders: vec![], ..downlink.clone() };
    let former = BTreeSet::from([SignalPath::new(DeviceId::gpu(7), Signal::GpuPower)]);
    let frames = [
        ("death", uplink.death()),
        ("birth", uplink.birth(&snapshot(1))),
        ("data", uplink.data(&snapshot(2)).expect("named by the birth")),
        ("command", downlink.encode()),
        ("acknowledgement", acknowledging.encode()),
        ("birth with a former signal", Uplink::new(3).birth_naming(&snapshot(1), &former)),
    ];
    let now: String = frames.iter().map(|(name, bytes)| format!("{name} {}\n", hex(bytes))).collect();
    assert_eq!(include_str!("frozen.txt"), now, "now:\n{now}");
}

fn frozen(name: &str) -> Vec<u8> {
    let line = include_str!("frozen.txt").lines().find_map(|l| l.strip_prefix(&format!("{name} ")));
    let digits: Vec<char> = line.expect("a line of this name").chars().collect();
    let byte = |pair: &[char]| u8::from_str_radix(&String::from_iter(pair), 16).expect("hexadecimal");
    digits.chunks(2).map(byte).collect()
}

#[test]
fn a_command_of_before_acknowledgements_is_still_understood() {
    let old = Downlink::decode(&frozen("command")).expect("decodes");
    assert_eq!((old.stored, old.held), (Some(Stored { boot: 42, seq: 17 }), None));
    let new = Downlink::decode(&frozen("acknowledgement")).expect("decodes");
    assert_eq!(new.stored, old.stored, "an agent that knows only the mark reads the same mark");
    let held = vec![Held { boot: 41, first: 3, last: 3 }, Held { boot: 42, first: 16, last: 17 }];
    assert_eq!(new.held, Some(held));
    let nothing = Downlink { held: Some(vec![]), ..new };
    assert_eq!(Downlink::decode(&nothing.encode()), Ok(nothing));
}

#[test]
fn an_acknowledgement_that_cannot_be_read_acknowledges_nothing() {
    use headroom_wire::sparkplug::{Metric, Payload, Value};
    use prost::Message;
    for text in ["42:9-3", "42:1", "x:1-2", "42:1-2,5"] {
        let metric = Metric::named("Stored/held", Value::Text(text.into()));
        let frame = Payload { timestamp: None, metrics: vec![metric], seq: None }.encode_to_vec();
        assert_eq!(Downlink::decode(&frame), Err(WireError::Metric("Stored/held".into())), "{text}");
    }
}

#[test]
fn a_birth_can_name_signals_of_earlier_runs_for_their_back_fill() {
    let mut uplink = Uplink::new(3);
    let mut decoder = UplinkDecoder::new(snapshot(1).rack);
    let gone = SignalPath::new(DeviceId::gpu(7), Signal::GpuPower);
    let birth = uplink.birth_naming(&snapshot(1), &BTreeSet::from([gone.clone()]));
    assert_eq!(decoder.birth(&birth), Ok(Uplinked::Birth(snapshot(1))), "nothing is said about it now");
    let mut old = Snapshot { boot: 41, historical: true, ..snapshot(9) };
    old.readings.insert(gone, Reading::new(250.0, old.at));
    let frame = uplink.data(&old).expect("named by the birth");
    assert_eq!(decoder.data(&frame), Ok(Uplinked::Data { snapshot: old, gap: false }));
}

#[test]
fn a_snapshot_survives_the_way_up() {
    let mut uplink = Uplink::new(3);
    let mut decoder = UplinkDecoder::new(snapshot(1).rack);
    assert_eq!(decoder.birth(&uplink.birth(&snapshot(1))), Ok(Uplinked::Birth(snapshot(1))));
    let frame = uplink.data(&snapshot(2)).expect("named");
    assert_eq!(decoder.data(&frame), Ok(Uplinked::Data { snapshot: snapshot(2), gap: false }));
}

#[test]
fn a_lost_message_is_seen_and_costs_no_other() {
    let mut uplink = Uplink::new(3);
    let mut decoder = UplinkDecoder::new(snapshot(1).rack);
    decoder.birth(&uplink.birth(&snapshot(1))).expect("decodes");
    uplink.data(&snapshot(2)).expect("lost on the way");
    let frame = uplink.data(&snapshot(3)).expect("named");
    assert_eq!(decoder.data(&frame), Ok(Uplinked::Data { snapshot: snapshot(3), gap: true }));
}

#[test]
fn the_sequence_wraps_after_255() {
    let mut uplink = Uplink::new(3);
    let mut decoder = UplinkDecoder::new(snapshot(1).rack);
    decoder.birth(&uplink.birth(&snapshot(1))).expect("decodes");
    for seq in 2..600 {
        let frame = uplink.data(&snapshot(seq)).expect("named");
        assert_eq!(decoder.data(&frame), Ok(Uplinked::Data { snapshot: snapshot(seq), gap: false }));
    }
}

#[test]
fn back_filled_data_says_so() {
    let mut uplink = Uplink::new(3);
    let mut decoder = UplinkDecoder::new(snapshot(1).rack);
    decoder.birth(&uplink.birth(&snapshot(1))).expect("decodes");
    let old = Snapshot { historical: true, ..snapshot(2) };
    let frame = uplink.data(&old).expect("named");
    assert_eq!(decoder.data(&frame), Ok(Uplinked::Data { snapshot: old, gap: false }));
}

#[test]
fn data_before_a_birth_asks_for_one() {
    let mut uplink = Uplink::new(0);
    uplink.birth(&snapshot(1));
    let frame = uplink.data(&snapshot(2)).expect("named");
    let mut decoder = UplinkDecoder::new(snapshot(1).rack);
    assert!(matches!(decoder.data(&frame), Err(WireError::NeedsRebirth(_))));
}

#[test]
fn a_new_signal_needs_a_new_birth() {
    let mut uplink = Uplink::new(0);
    uplink.birth(&snapshot(1));
    let mut grown = snapshot(2);
    let path = SignalPath::new(DeviceId::gpu(1), Signal::GpuPower);
    grown.readings.insert(path, Reading::new(1.0, grown.at));
    assert!(matches!(uplink.data(&grown), Err(WireError::NeedsRebirth(_))));
}

#[test]
fn the_death_of_an_old_session_is_not_the_death_of_the_new_one() {
    let (mut old, mut new) = (Uplink::new(1), Uplink::new(2));
    let mut decoder = UplinkDecoder::new(snapshot(1).rack);
    decoder.birth(&old.birth(&snapshot(1))).expect("decodes");
    decoder.birth(&new.birth(&snapshot(1))).expect("decodes");
    assert_eq!(decoder.death(&old.death()), Ok(Uplinked::Death { current: false }));
    assert_eq!(decoder.death(&new.death()), Ok(Uplinked::Death { current: true }));
}

#[test]
fn orders_without_a_lease_are_refused() {
    use headroom_wire::sparkplug::{Metric, Payload, Value};
    use prost::Message;
    let metric = Metric::named("Order/gpu-0/power_limit_watts", Value::Double(300.0));
    let frame = Payload { timestamp: None, metrics: vec![metric], seq: None }.encode_to_vec();
    assert_eq!(Downlink::decode(&frame), Err(WireError::Metric("Order/epoch".into())));
}

#[test]
fn no_altered_byte_makes_a_panic_or_an_implausible_reading() {
    let mut uplink = Uplink::new(3);
    let birth = uplink.birth(&snapshot(1));
    let data = uplink.data(&snapshot(2)).expect("named");
    for at in 0..birth.len().max(data.len()) {
        for flip in [0x01_u8, 0x80, 0xff] {
            let alter = |frame: &[u8]| {
                let mut frame = frame.to_vec();
                if let Some(byte) = frame.get_mut(at) {
                    *byte ^= flip;
                }
                frame
            };
            let mut decoder = UplinkDecoder::new(snapshot(1).rack);
            let results = [decoder.birth(&alter(&birth)), decoder.data(&alter(&data))];
            for result in results.into_iter().flatten() {
                let (Uplinked::Birth(s) | Uplinked::Data { snapshot: s, .. }) = result else { continue };
                for (path, reading) in &s.readings {
                    assert!(reading.ok().is_none_or(|v| path.signal.is_plausible(v)));
                }
            }
        }
    }
}

//! Every parser that eats bytes from outside, fed with what is nearly right: real inputs with bytes
//! flipped, cut out, repeated and replaced. Nothing may panic, and what comes out as a number must be
//! one. The cases are the same in each run; for longer, and others:
//! `FUZZ_TIMES=1000 FUZZ_SEED=7 cargo test --release -p headroom-tests --test fuzz`

use headroom_agent::config::{BusAddress, Config, JsonPoint, JsonQuality, JsonTime};
use headroom_agent::profiles::SHIPPED;
use headroom_agent::source::modbus::bus::{ModbusBus, RegisterBus, Request};
use headroom_agent::source::{dsx, json};
use headroom_agent_core::decode::{Registers, decode};
use headroom_agent_core::profile::{Profile, RegisterKind};
use headroom_agent_core::schedule::Span;
use headroom_rack::{NoData, RackId, Reading, Signal, UnixMs};
use headroom_tests::repository;
use headroom_wire::{Downlink, UplinkDecoder, Uplinked, topic};
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{RngSeed, TestRunner};
use std::cell::RefCell;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

fn from_environment(name: &str, usual: u64) -> u64 {
    std::env::var(name).map_or(usual, |text| text.parse().unwrap_or_else(|_| panic!("{name} is a whole number")))
}

fn cases(usual: u32) -> ProptestConfig {
    ProptestConfig {
        cases: usual.saturating_mul(u32::try_from(from_environment("FUZZ_TIMES", 1)).unwrap_or(u32::MAX)),
        rng_seed: RngSeed::Fixed(from_environment("FUZZ_SEED", 1)),
        // The input is in the message, and becomes a test of its own.
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

/// What breaks parsers of numbers, texts and tables.
const WORDS: &[&str] = &[
    "nan",
    "-1",
    "1e999",
    "18446744073709551616",
    "0x",
    "\"",
    "'''",
    "[[",
    "]]",
    "{",
    "}",
    "null",
    "\\u0000",
    "\0",
    "\n",
    "=",
    "#",
    "é",
    "[[point]]",
    "[probe]",
    "signal",
    "/",
    "//",
    "true",
    "[]",
    "{}",
    "\u{7f}\u{7f}\u{7f}\u{7f}",
];

#[derive(Debug, Clone)]
enum Change {
    Flip(Index, u8),
    Set(Index, u8),
    Insert(Index, &'static str),
    Cut(Index, usize),
    Repeat(Index, usize),
    End(Index),
}

fn changes() -> impl Strategy<Value = Vec<Change>> {
    let at = any::<Index>;
    let change = prop_oneof![
        (at(), 0..8_u8).prop_map(|(i, bit)| Change::Flip(i, 1 << bit)),
        (at(), any::<u8>()).prop_map(|(i, byte)| Change::Set(i, byte)),
        (at(), prop::sample::select(WORDS)).prop_map(|(i, word)| Change::Insert(i, word)),
        (at(), 1..64_usize).prop_map(|(i, n)| Change::Cut(i, n)),
        (at(), 1..64_usize).prop_map(|(i, n)| Change::Repeat(i, n)),
        at().prop_map(Change::End),
    ];
    prop::collection::vec(change, 0..6)
}

/// Changes that hit seldom: where a wrong one means that the rest is not looked at.
fn seldom() -> impl Strategy<Value = Vec<Change>> {
    prop_oneof![4 => Just(Vec::new()), 1 => changes()]
}

fn mutated(seed: &[u8], changes: &[Change]) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for change in changes {
        if bytes.is_empty() {
            bytes.push(0);
        }
        let length = bytes.len();
        match change {
            Change::Flip(at, mask) => bytes[at.index(length)] ^= mask,
            Change::Set(at, byte) => bytes[at.index(length)] = *byte,
            Change::Insert(at, word) => drop(bytes.splice(at.index(length)..at.index(length), word.bytes())),
            Change::Cut(at, n) => drop(bytes.drain(at.index(length)..(at.index(length) + n).min(length))),
            Change::Repeat(at, n) => {
                let piece = bytes[at.index(length)..(at.index(length) + n).min(length)].to_vec();
                drop(bytes.splice(at.index(length)..at.index(length), piece));
            }
            Change::End(at) => bytes.truncate(at.index(length)),
        }
    }
    bytes
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn is_truthful(signal: Signal, reading: &Reading) -> bool {
    reading.value.is_err() || reading.value.is_ok_and(|v| v.is_finite() && signal.is_plausible(v))
}

proptest! {
    #![proptest_config(cases(4000))]

    #[test]
    fn a_profile_is_refused_with_a_place_and_a_remedy_or_reads_no_nonsense(
        which in any::<Index>(), changes in changes(), words in prop::collection::vec(any::<u16>(), 1..8)
    ) {
        let seed = which.get(SHIPPED).1;
        let text = text(&mutated(seed.as_bytes(), &changes));
        match Profile::parse("fuzz.toml", &text) {
            Err(mistakes) => {
                prop_assert!(!mistakes.is_empty());
                let lines = text.lines().count() + 1;
                for m in mistakes {
                    prop_assert!((1..=lines).contains(&m.line) && !m.remedy.is_empty(), "{m}");
                }
            }
            Ok(profile) => for point in &profile.points {
                let mut registers = Registers::new();
                for (kind, address, count) in point.runs() {
                    let answer: Vec<u16> = words.iter().copied().cycle().take(count.into()).collect();
                    registers.answer(kind, address, count, &answer);
                }
                let reading = decode(point, &registers, UnixMs::new(0));
                prop_assert!(is_truthful(point.signal, &reading), "{} is {reading:?}", point.signal);
            }
        }
    }

    #[test]
    fn an_agents_config_is_refused_with_a_place_and_a_remedy_or_taken(changes in changes()) {
        let seed = std::fs::read(repository("deploy/examples/agent.toml")).expect("a shipped file");
        let text = text(&mutated(&seed, &changes));
        // Paths in it lead nowhere from here.
        if let Err(mistakes) = Config::parse("fuzz.toml", &text, Path::new("/nonexistent")) {
            prop_assert!(!mistakes.is_empty() && mistakes.iter().all(|m| !m.remedy.is_empty()));
        }
    }
}

const DSX: &[(&str, &str)] = &[
    (
        "Metadata/CDU/LiquidTemperature/s/r/c/Supply",
        r#"{"pointType":"LiquidTemperature","engUnit":"C","processArea":["Secondary","Supply"]}"#,
    ),
    ("Value/CDU/LiquidTemperature/s/r/c/Supply", r#"{"value":30.5,"timestamp":1764000000000,"quality":1}"#),
    ("Metadata/CDU/LiquidFlow/s/r/c", r#"{"engUnit":"GPM","isSetpoint":false}"#),
    ("Value/CDU/LiquidFlow/s/r/c", r#"{"value":1.5e2,"timestamp":1764000000000,"quality":1}"#),
];

proptest! {
    #![proptest_config(cases(20_000))]

    #[test]
    fn dsx_points_give_plausible_numbers_or_reasons(
        said in prop::collection::vec((any::<Index>(), seldom(), changes()), 1..6)
    ) {
        let mut points = dsx::Points::default();
        for (topic, payload) in DSX {
            points.hear(&format!("BMS/v1/PUB/{topic}"), payload.as_bytes(), UnixMs::new(0));
        }
        for (which, of_topic, of_payload) in said {
            let (topic, payload) = which.get(DSX);
            let topic = format!("BMS/v1/PUB/{}", text(&mutated(topic.as_bytes(), &of_topic)));
            let payload = mutated(payload.as_bytes(), &of_payload);
            if let Some((signal, reading)) = points.hear(&topic, &payload, UnixMs::new(0)) {
                prop_assert!(is_truthful(signal, &reading), "{signal} is {reading:?}");
            }
        }
    }

    #[test]
    fn json_of_any_device_gives_plausible_numbers_or_reasons(of_payload in changes(), of_pointer in seldom()) {
        let point = JsonPoint {
            signal: Signal::CoolingSupplyTemperature,
            topic: "t".into(),
            pointer: text(&mutated(b"/air/0/supply", &of_pointer)),
            factor: 5.0 / 9.0,
            offset: -160.0 / 9.0,
            time: Some(JsonTime { pointer: "/t".into(), unit_ms: 1000.0 }),
            quality: Some(JsonQuality { pointer: "/q".into(), good: vec![192.0] }),
        };
        let message = br#"{"air": [{"supply": "68.5"}, {"supply": 70}], "t": 1764000000.25, "q": 192}"#;
        for (signal, reading) in json::hear(&[point], "t", &mutated(message, &of_payload), UnixMs::new(0)) {
            prop_assert!(is_truthful(signal, &reading), "{signal} is {reading:?}");
        }
    }

    #[test]
    fn sparkplug_frames_and_topics_are_read_or_refused(
        which in any::<Index>(), changes in changes(), of_topic in changes()
    ) {
        let lines = include_str!("../../wire/tests/frozen.txt").lines();
        let frames: Vec<(&str, Vec<u8>)> = lines.filter_map(|l| l.rsplit_once(' ')).map(|(n, h)| (n, bytes(h))).collect();
        let frame = |name: &str| &frames.iter().find(|(n, _)| *n == name).expect("a frozen frame").1;
        let mut decoder = UplinkDecoder::new(RackId::new("rack-1").expect("valid"));
        prop_assert!(decoder.birth(frame("birth")).is_ok());
        let hit = mutated(&which.get(&frames).1, &changes);
        let heard = [decoder.data(&hit), decoder.birth(&hit), decoder.data(frame("data")), decoder.death(&hit)];
        for heard in heard.into_iter().flatten() {
            let (Uplinked::Birth(snapshot) | Uplinked::Data { snapshot, .. }) = heard else { continue };
            for (path, reading) in &snapshot.readings {
                prop_assert!(is_truthful(path.signal, reading), "{path:?} is {reading:?}");
            }
        }
        if let Ok(downlink) = Downlink::decode(&hit) {
            let again = Downlink::decode(&downlink.encode());
            prop_assert_eq!(again.as_ref(), Ok(&downlink), "what was understood can be said again");
        }
        let _ = topic::parse(&text(&mutated(b"spBv1.0/demo/NDATA/rack-1", &of_topic)));
    }
}

fn bytes(hex: &str) -> Vec<u8> {
    hex.as_bytes().chunks(2).map(|pair| u8::from_str_radix(&text(pair), 16).expect("hexadecimal")).collect()
}

const TRUTH: [u16; 3] = [0x4366, 0x8000, 7];

/// The frame that answers a request for three holding registers.
fn answer(request: &[u8], rtu: bool) -> Vec<u8> {
    let words = TRUTH.iter().flat_map(|w| w.to_be_bytes());
    if !rtu {
        // Transaction and protocol of the request; 9 bytes follow the length: unit, function, 6, and 6.
        return [&request[..4], &[0, 9, request[6], 3, 6]].concat().into_iter().chain(words).collect();
    }
    let mut frame: Vec<u8> = [request[0], 3, 6].into_iter().chain(words).collect();
    // CRC-16 (Modbus over Serial Line v1.02, 6.2.2).
    let mut crc = 0xFFFF_u16;
    for byte in &frame {
        crc ^= u16::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0xA001 } else { crc >> 1 };
        }
    }
    frame.extend(crc.to_le_bytes());
    frame
}

/// What a device does with the answers it gives, and the last request and answer.
#[derive(Debug, Default)]
struct Device {
    changes: Vec<Change>,
    request: Vec<u8>,
    answer: Vec<u8>,
}

/// Answers one request of each connection, then closes it.
async fn serve(listener: TcpListener, rtu: bool, device: Arc<Mutex<Device>>) {
    while let Ok((mut stream, _)) = listener.accept().await {
        let mut request = vec![0; if rtu { 8 } else { 12 }];
        if stream.read_exact(&mut request).await.is_ok() {
            let frame = {
                let mut device = device.lock().expect("nobody panics with it");
                device.answer = mutated(&answer(&request, rtu), &device.changes);
                device.request = request;
                device.answer.clone()
            };
            let _ = stream.write_all(&frame).await;
        }
    }
}

fn read(runtime: &Runtime, bus: &mut ModbusBus) -> Result<Vec<u16>, NoData> {
    let span = Span { register: RegisterKind::Holding, address: 10, count: 3 };
    let request = Request { unit: 1, span, timeout: Duration::from_secs(5), startup: Duration::ZERO };
    runtime.block_on(bus.read(request))
}

fn mutated_answers(rtu: bool) {
    // Reading may block its thread, and the device has to answer meanwhile.
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    let device = Arc::new(Mutex::new(Device::default()));
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("a port");
    let address = listener.local_addr().expect("a port").to_string();
    runtime.spawn(serve(listener, rtu, device.clone()));
    let to = if rtu { BusAddress::RtuOverTcp(address) } else { BusAddress::Tcp(address) };
    let bus = RefCell::new(ModbusBus::new(to));
    let outcome = TestRunner::new(cases(2000)).run(&changes(), |changes| {
        device.lock().expect("nobody panics with it").changes = changes;
        let Ok(words) = read(&runtime, &mut bus.borrow_mut()) else { return Ok(()) };
        let device = device.lock().expect("nobody panics with it");
        if rtu {
            prop_assert_eq!(&words[..], &TRUTH[..], "in spite of the checksum of {:02x?}", device.answer);
        } else {
            prop_assert_eq!(words.len(), TRUTH.len());
            prop_assert_eq!(&device.answer[..2], &device.request[..2], "the answer to another request");
        }
        Ok(())
    });
    outcome.unwrap_or_else(|why| panic!("{why}"));
    device.lock().expect("nobody panics with it").changes.clear();
    // The first one may still find the connection of the last case.
    let _ = read(&runtime, &mut bus.borrow_mut());
    assert_eq!(read(&runtime, &mut bus.borrow_mut()), Ok(TRUTH.to_vec()), "after all that it is read as before");
}

#[test]
fn a_modbus_tcp_answer_is_that_of_its_request_or_a_reason() {
    mutated_answers(false);
}

#[test]
fn a_modbus_rtu_answer_is_the_truth_or_a_reason() {
    mutated_answers(true);
}

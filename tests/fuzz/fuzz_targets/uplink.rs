#![no_main]
//! What an agent says to the controller (Sparkplug B): read or refused, and what follows is read as before.

use headroom_rack::RackId;
use headroom_wire::{UplinkDecoder, Uplinked, topic};
use libfuzzer_sys::fuzz_target;

/// A real birth, without which data mean nothing: the frozen bytes of the wire's tests.
const FROZEN: &str = include_str!("../../../wire/tests/frozen.txt");

fn frozen(name: &str) -> Vec<u8> {
    let line = FROZEN.lines().find_map(|l| l.rsplit_once(' ').filter(|(n, _)| *n == name)).expect("a frozen frame");
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).expect("text"), 16).expect("hexadecimal");
    line.1.as_bytes().chunks(2).map(byte).collect()
}

fuzz_target!(|input: &[u8]| {
    let mut decoder = UplinkDecoder::new(RackId::new("rack-1").expect("valid"));
    assert!(decoder.birth(&frozen("birth")).is_ok());
    let heard = [decoder.data(input), decoder.birth(input), decoder.data(input), decoder.death(input)];
    for heard in heard.into_iter().flatten() {
        let (Uplinked::Birth(snapshot) | Uplinked::Data { snapshot, .. }) = heard else { continue };
        for (path, reading) in &snapshot.readings {
            assert!(reading.value.is_err() || reading.value.is_ok_and(|v| path.signal.is_plausible(v)), "{path:?}");
        }
    }
    assert!(decoder.birth(&frozen("birth")).is_ok() && decoder.data(&frozen("data")).is_ok());
    let _ = topic::parse(&String::from_utf8_lossy(input));
});

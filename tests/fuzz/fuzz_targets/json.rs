#![no_main]
//! JSON of any device, the pointer to the value in the first line: plausible numbers or reasons.

use headroom_agent::config::{JsonPoint, JsonQuality, JsonTime};
use headroom_agent::source::json;
use headroom_rack::{Signal, UnixMs};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let at = input.iter().position(|b| *b == b'\n').unwrap_or(0);
    let (pointer, payload) = (String::from_utf8_lossy(&input[..at]), &input[(at + 1).min(input.len())..]);
    let point = |time, quality| JsonPoint {
        signal: Signal::CoolingSupplyTemperature,
        topic: "t".into(),
        pointer: pointer.clone().into_owned(),
        factor: 5.0 / 9.0,
        offset: -160.0 / 9.0,
        time,
        quality,
    };
    let time = Some(JsonTime { pointer: "/t".into(), unit_ms: 1000.0 });
    let quality = Some(JsonQuality { pointer: "/q".into(), good: vec![192.0] });
    for (signal, reading) in json::hear(&[point(None, None), point(time, quality)], "t", payload, UnixMs::new(0)) {
        assert!(reading.value.is_err() || reading.value.is_ok_and(|v| signal.is_plausible(v)));
    }
});

#![no_main]
//! A device profile: refused with a place and a remedy, or one that reads no nonsense from any registers.

use headroom_agent_core::decode::{Registers, decode};
use headroom_agent_core::profile::Profile;
use headroom_rack::UnixMs;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    match Profile::parse("fuzz.toml", text) {
        Err(mistakes) => {
            assert!(!mistakes.is_empty());
            let lines = text.lines().count() + 1;
            for m in mistakes {
                assert!((1..=lines).contains(&m.line) && !m.remedy.is_empty() && !m.to_string().is_empty());
            }
        }
        Ok(profile) => {
            let fill = text.bytes().map(|b| u16::from_be_bytes([b, b.rotate_left(3)]));
            for point in &profile.points {
                let mut registers = Registers::new();
                for (kind, address, count) in point.runs() {
                    let answer: Vec<u16> = fill.clone().cycle().skip(address.into()).take(count.into()).collect();
                    registers.answer(kind, address, count, &answer);
                }
                let reading = decode(point, &registers, UnixMs::new(0));
                assert!(reading.value.is_err() || reading.value.is_ok_and(|v| point.signal.is_plausible(v)));
            }
        }
    }
});

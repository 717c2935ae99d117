#![no_main]
//! Messages of DSX Exchange, topic and payload line by line: plausible numbers or reasons, also while and
//! after a heartbeat is missing.

use headroom_agent::config::Dsx;
use headroom_agent::source::dsx::Ear;
use headroom_rack::{Mono, UnixMs};
use libfuzzer_sys::fuzz_target;
use std::time::Duration;

fuzz_target!(|input: &[u8]| {
    let dsx = Dsx {
        topic_prefix: "s/r/c".to_owned(),
        heartbeat: Duration::from_secs(10),
        integration: Some("headroom-1".to_owned()),
        own_heartbeat: None,
    };
    let mut ear = Ear::new(&dsx);
    let mut lines = input.split(|b| *b == b'\n');
    let mut seconds = 0;
    while let (Some(topic), Some(payload)) = (lines.next(), lines.next()) {
        seconds += 7;
        let (now, wall) = (Mono::from_ms(seconds * 1000), UnixMs::new(seconds * 1000));
        let topic = String::from_utf8_lossy(topic);
        let heard = [ear.hear(&topic, payload, now, wall), ear.look(now, wall)];
        for (signal, reading) in heard.iter().flat_map(|h| &h.readings) {
            assert!(reading.value.is_err() || reading.value.is_ok_and(|v| signal.is_plausible(v)));
        }
        for (topic, payload) in heard.iter().flat_map(|h| &h.say) {
            assert!(topic.starts_with("BMS/v1/headroom-1/Value/System/") && !payload.is_empty());
        }
    }
});

#![no_main]
//! What the controller says to an agent (Sparkplug B): refused, or what was understood can be said again.

use headroom_wire::Downlink;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    if let Ok(downlink) = Downlink::decode(input) {
        assert_eq!(Downlink::decode(&downlink.encode()).as_ref(), Ok(&downlink));
        assert!(downlink.orders().count() <= downlink.orders.len());
    }
});

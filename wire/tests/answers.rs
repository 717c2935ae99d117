//! Orders that lie ready beside a Plan: their bytes are frozen, and an agent that does not know them reads
//! the same Plan.

use headroom_rack::{Answer, Condition, DeviceId, Generation, Order, Setting, Watts};
use headroom_wire::{Downlink, WireError};

/// Do not change the test: a new form needs a new name.
const FROZEN: &str = "12110a0b4f726465722f65706f63682008580112130a0d4f726465722f636f756e7465722008580212150a0e4f726465722f\
    6c656173655f6d732007508827122a0a1d4f726465722f6770752d302f706f7765725f6c696d69745f7761747473200a6900\
    00000000407f40123c0a2f416e737765722f696e6c65745f646561642f7064752d612f6770752d302f706f7765725f6c696d\
    69745f7761747473200a690000000000e07540123c0a2f416e737765722f6f6e5f626174746572792f7570732d612f677075\
    2d302f706f7765725f6c696d69745f7761747473200a690000000000007940";

fn downlink() -> Downlink {
    let generation = Generation { epoch: 1, counter: 2 };
    let orders = vec![(DeviceId::gpu(0), Setting::PowerLimit(Watts::new(500.0)))];
    Downlink { generation, lease_ms: 5000, stored: None, held: None, orders, rebirth: false }
}

fn bytes() -> Vec<u8> {
    let id = |text: &str| DeviceId::new(text).expect("an id");
    let (dead, battery) = (Condition::InletDead(id("pdu-a")), Condition::OnBattery(id("ups-a")));
    let gpu = DeviceId::gpu(0);
    downlink().encode_preparing([(&dead, &gpu, Watts::new(350.0)), (&battery, &gpu, Watts::new(400.0))].into_iter())
}

#[test]
fn answers_are_read_back_and_their_bytes_never_change() {
    let bytes = bytes();
    let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
    assert_eq!(hex, FROZEN);
    let read = Downlink::decode(&bytes).expect("a message");
    assert_eq!(read, downlink(), "an agent that knows no answers sees the Plan");
    let (with, answers) = Downlink::decode_with_answers(&bytes).expect("a message with answers");
    assert_eq!(with, read);
    let order = |watts: f64| Order {
        device: DeviceId::gpu(0),
        setting: Setting::PowerLimit(Watts::new(watts)),
        generation: Generation { epoch: 1, counter: 2 },
        lease_ms: 5000,
    };
    let id = |text: &str| DeviceId::new(text).expect("an id");
    let expected = [
        Answer { when: Condition::InletDead(id("pdu-a")), order: order(350.0) },
        Answer { when: Condition::OnBattery(id("ups-a")), order: order(400.0) },
    ];
    assert_eq!(answers, expected);
    assert_eq!(Downlink::decode_with_answers(&downlink().encode()), Ok((downlink(), vec![])));
}

#[test]
fn what_holds_when_orders_stay_away_is_named_by_its_time() {
    let when = Condition::NoOrders(2000);
    let bytes = downlink().encode_preparing([(&when, &DeviceId::gpu(0), Watts::new(450.0))].into_iter());
    let name = b"Answer/no_orders/2000/gpu-0/power_limit_watts";
    let at = bytes.windows(name.len()).position(|part| part == name).expect("the name is frozen");
    let (_, answers) = Downlink::decode_with_answers(&bytes).expect("a message with answers");
    assert_eq!(answers.iter().map(|a| &a.when).collect::<Vec<_>>(), [&when]);
    let mut wrong = bytes;
    wrong[at..at + name.len()].copy_from_slice(b"Answer/no_orders/soon/gpu-0/power_limit_watts");
    assert!(matches!(Downlink::decode_with_answers(&wrong), Err(WireError::Metric(_))));
    assert_eq!(Downlink::decode(&wrong), Ok(downlink()), "the Plan itself can be read");
}

#[test]
fn answers_without_a_lease_are_refused() {
    let when = Condition::InletDead(DeviceId::new("pdu-a").expect("an id"));
    let bare = Downlink { lease_ms: 0, orders: Vec::new(), ..downlink() };
    let bytes = bare.encode_preparing([(&when, &DeviceId::gpu(0), Watts::new(350.0))].into_iter());
    assert!(matches!(Downlink::decode_with_answers(&bytes), Err(WireError::Metric(_))));
}

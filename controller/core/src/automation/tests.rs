//! What stops the automation, what does not, and what lets it go on.

use super::*;
use crate::topology::tests::row;
use headroom_rack::{
    Cap, Generation, LimitKind, Mode, NodeId, NodeView, Quality, Reading, Refusal, Signal, SignalPath, Snapshot,
};
use proptest::prelude::*;

fn rack(number: u32) -> RackId {
    RackId::new(format!("rack-{number}")).unwrap()
}

fn plan(limits: [f64; 4], second: u64) -> Plan {
    let cap = |n: u32| Cap {
        rack: rack(n),
        budget: Watts::new(5000.0),
        gpus: (0..8).map(|g| (DeviceId::gpu(g), Watts::new(limits[n as usize - 1]))).collect(),
        bound_by: NodeId::new("breaker-a").unwrap(),
        kind: LimitKind::Continuous,
        margin: Watts::ZERO,
        margin_s: None,
        expected: Watts::new(5000.0),
        binding: false,
    };
    let node = |spec: &crate::NodeSpec| NodeView {
        node: spec.id.clone(),
        power: Watts::new(9000.0),
        quality: Quality::Measured,
        expected: Watts::new(9000.0),
        limit: spec.rating,
        limit_kind: LimitKind::Continuous,
        rating: spec.rating,
        time_to_trip_s: None,
        trip_used: 0.0,
        battery: None,
    };
    Plan {
        generation: Generation { epoch: 7, counter: second },
        at: UnixMs::new(1000 * second),
        mode: Mode::Automatic,
        caps: (1..=4).map(cap).collect(),
        nodes: row().nodes().iter().map(node).collect(),
    }
}

/// Racks whose PDUs show what is given where their GPUs draw 8 times 600 W.
fn fleet(pdus: [f64; 4], second: u64) -> Fleet {
    let mut fleet = Fleet::new(&row());
    let at = UnixMs::new(1);
    for (n, watts) in (1..).zip(pdus) {
        let gpus = (0..8).map(|g| (DeviceId::gpu(g), Signal::GpuPower, 600.0));
        let meters = ["pdu-a", "pdu-b"].map(|d| (DeviceId::new(d).unwrap(), Signal::PduPower, watts / 2.0));
        let readings = gpus.chain(meters).map(|(d, s, v)| (SignalPath::new(d, s), Reading::new(v, at))).collect();
        let snapshot = Snapshot { rack: rack(n), boot: 1, seq: 1, at, historical: false, readings, receipts: vec![] };
        fleet.fold(&snapshot, Mono::from_ms(1000 * second));
    }
    fleet
}

fn receipts(of: &[(u32, u32)], outcome: Outcome) -> Vec<(RackId, Receipt)> {
    let generation = Generation { epoch: 7, counter: 1 };
    let at = UnixMs::new(1);
    of.iter().map(|(r, g)| (rack(*r), Receipt { device: DeviceId::gpu(*g), generation, outcome, at })).collect()
}

const SOUND: [f64; 4] = [6500.0; 4];

fn automation() -> Automation {
    Automation::new(&row(), Tolerance::default(), Stops::default())
}

/// One decision a second; whether the whole automation stood still at the end.
fn stands_after(seconds: u64, a: &mut Automation, look: impl Fn(u64) -> ([f64; 4], [f64; 4])) -> bool {
    for second in 1..=seconds {
        let (limits, pdus) = look(second);
        a.decided(&plan(limits, second), &BTreeSet::new(), &fleet(pdus, second), Mono::from_ms(1000 * second));
    }
    a.stops().whole.is_some()
}

#[test]
fn a_rack_whose_limit_swings_is_held_alone_and_many_stop_everything() {
    let swing = |second: u64| if second.is_multiple_of(2) { 500.0 } else { 400.0 };
    let mut a = automation();
    assert!(!stands_after(1442, &mut a, |s| ([swing(s), 700.0, 700.0, 700.0], SOUND)));
    assert!(a.stops().racks.is_empty(), "720 swings are none too many: {:?}", a.stops());
    assert!(!stands_after(1450, &mut a, |s| ([swing(s), 700.0, 700.0, 700.0], SOUND)));
    assert_eq!(a.stops().racks.keys().collect::<Vec<_>>(), [&rack(1)]);
    assert!(a.findings()[0].detail.contains("headroom-controller resume"), "{:?}", a.findings());
    let mut b = automation();
    assert!(stands_after(1450, &mut b, |s| ([swing(s), swing(s), 700.0, 700.0], SOUND)));
    assert_eq!(b.stops().whole.as_ref().unwrap().why, Why::Changes);
}

#[test]
fn a_limit_that_only_rises_or_trembles_does_not_swing() {
    let mut a = automation();
    let look = |s: u64| ([200.0 + s as f64 / 10.0, 400.0 + (s % 2) as f64 * 5.0, 700.0, 700.0], SOUND);
    assert!(!stands_after(3600, &mut a, look));
    assert_eq!(*a.stops(), Stops::default());
}

#[test]
fn receipts_that_fail_stop_it_when_they_are_many_and_last() {
    let refused = Outcome::Refused(Refusal::PermissionDenied);
    let some: Vec<(u32, u32)> = (0..7).map(|g| (1 + g % 2, g)).collect();
    let after = |seconds, of: &[(u32, u32)], outcome| {
        let mut a = automation();
        a.receipts(&receipts(of, outcome), 7);
        stands_after(seconds, &mut a, |_| ([400.0; 4], SOUND))
    };
    assert!(after(32, &some, refused));
    assert!(!after(29, &some, refused), "too soon");
    assert!(!after(60, &some[..6], refused), "6 of 32 are not too many");
    let one: Vec<(u32, u32)> = (0..8).map(|g| (1, g)).collect();
    assert!(!after(60, &one, refused), "one rack is one agent");
    let above = |to: f64| Outcome::Clamped { to: Watts::new(to), why: Clamp::ReadBack };
    assert!(!after(60, &some, above(300.0)), "held lower by somebody else");
    assert!(!after(60, &some, Outcome::Expired));
    let mut a = automation();
    a.decided(&plan([400.0; 4], 0), &BTreeSet::new(), &fleet(SOUND, 0), Mono::from_ms(0));
    a.receipts(&receipts(&some, above(700.0)), 7);
    a.receipts(&receipts(&some[..2], Outcome::Applied), 7);
    assert!(!stands_after(60, &mut a, |_| ([400.0; 4], SOUND)), "two took theirs since");
    a.receipts(&receipts(&some[..2], above(700.0)), 7);
    a.receipts(&receipts(&some, Outcome::Applied), 6);
    assert!(stands_after(60, &mut a, |_| ([400.0; 4], SOUND)), "another controller's say nothing");
}

#[test]
fn meters_that_contradict_stop_it_when_they_are_many_and_last() {
    let lie = 3000.0;
    assert!(!stands_after(300, &mut automation(), |_| ([400.0; 4], [lie, 6500.0, 6500.0, 6500.0])));
    let mut a = automation();
    assert!(stands_after(40, &mut a, |_| ([400.0; 4], [lie, lie, 6500.0, 6500.0])));
    assert!(a.findings()[0].detail.starts_with("2 of 4 meters"), "{:?}", a.findings());
    let flicker = |s: u64| ([400.0; 4], if s.is_multiple_of(20) { SOUND } else { [lie; 4] });
    assert!(!stands_after(300, &mut automation(), flicker));
}

#[test]
fn a_stop_lasts_until_a_person_lets_it_go_on() {
    let mut a = automation();
    assert!(!a.resume(), "nothing stood");
    assert!(stands_after(40, &mut a, |_| ([400.0; 4], [3000.0; 4])));
    assert!(stands_after(400, &mut a, |_| ([400.0; 4], SOUND)), "not by itself");
    let kept = Automation::new(&row(), Tolerance::default(), a.stops().clone());
    assert_eq!(kept.findings(), a.findings(), "a restart does not end it");
    assert!(a.resume() && a.findings().is_empty());
    assert!(!stands_after(20, &mut a, |_| ([400.0; 4], [3000.0; 4])), "counted anew");
}

proptest! {
    /// Whatever is swung, a rack is held exactly when it swung too often within the hour.
    #[test]
    fn swings_are_counted_over_an_hour(steps in prop::collection::vec((1_u64..60, any::<bool>()), 1..600)) {
        let tolerance = Tolerance { swings_per_hour: 20, ..Tolerance::default() };
        let mut a = Automation::new(&row(), tolerance, Stops::default());
        let (mut second, mut high, mut swings, mut held) = (0, false, Vec::new(), false);
        let sound = fleet(SOUND, 0);
        for (i, (gap, up)) in steps.into_iter().enumerate() {
            second += gap;
            if i > 1 && high && !up {
                swings.push(second);
            }
            high = if i == 0 { false } else { up };
            let watts = if high { 600.0 } else { 500.0 };
            a.decided(&plan([watts, 700.0, 700.0, 700.0], second), &BTreeSet::new(), &sound, Mono::from_ms(1000 * second));
            held |= swings.iter().filter(|s| second - **s <= 3600).count() > 20;
        }
        prop_assert_eq!(a.stops().racks.contains_key(&rack(1)), held);
    }
}

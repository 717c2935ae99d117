//! Against Plans made by hand, second by second.

use super::*;
use crate::topology::tests::row;
use headroom_rack::{DeviceId, Generation, LimitKind, NodeId, Reading, Readings, Signal, SignalPath, Snapshot, UnixMs};

/// What is open in each second, over `seconds`.
fn run(seconds: u64, mut facts: impl FnMut(u64, &mut Plan, &mut Vec<CoolantView>, &mut Fleet)) -> Vec<Vec<String>> {
    let (topology, policy) = (row(), Policy::default());
    let mut grave = Grave::default();
    let second = |s| {
        let (mut plan, mut coolants, mut fleet) = (plan(&topology), Vec::new(), Fleet::new(&topology));
        facts(s, &mut plan, &mut coolants, &mut fleet);
        let (coolants, pins) = (&coolants[..], &BTreeMap::new());
        let facts = Facts { plan: &plan, coolants, advice: &[], fleet: &fleet, policy: &policy, site: None, pins };
        grave.see(facts, &topology, Mono::from_ms(s * 1000));
        grave.findings().map(|f| f.key).collect()
    };
    (0..seconds).map(second).collect()
}

fn open(seen: &[Vec<String>], key: &str) -> Vec<usize> {
    seen.iter().enumerate().filter(|(_, keys)| keys.iter().any(|k| k == key)).map(|(s, _)| s).collect()
}

/// Every node half loaded, every GPU at 500 W.
fn plan(topology: &Topology) -> Plan {
    let node = |id: &NodeId| NodeView {
        node: id.clone(),
        power: Watts::new(5000.0),
        quality: Quality::Measured,
        expected: Watts::new(5000.0),
        limit: Watts::new(10_000.0),
        limit_kind: LimitKind::Continuous,
        rating: Watts::new(11_520.0),
        time_to_trip_s: None,
        trip_used: 0.1,
        battery: None,
    };
    let cap = |spec: &RackSpec| Cap {
        rack: spec.id.clone(),
        budget: Watts::new(5700.0),
        gpus: (0..8).map(|g| (DeviceId::gpu(g), Watts::new(500.0))).collect(),
        bound_by: NodeId::new("breaker-a").unwrap(),
        kind: LimitKind::Continuous,
        margin: Watts::ZERO,
        margin_s: None,
        expected: Watts::new(5700.0),
        binding: true,
    };
    Plan {
        generation: Generation::default(),
        at: UnixMs::new(0),
        mode: Mode::Automatic,
        caps: topology.racks().iter().map(cap).collect(),
        nodes: topology.nodes().iter().map(|n| node(&n.id)).collect(),
    }
}

fn hear(fleet: &mut Fleet, topology: &Topology, second: u64, gpu_0: f64) {
    for spec in topology.racks() {
        let at = UnixMs::new(second * 1000);
        let mut readings = Readings::new();
        for g in 0..8 {
            let watts = if g == 0 && spec.id.as_str() == "rack-1" { gpu_0 } else { 300.0 };
            let of = |signal| SignalPath::new(DeviceId::gpu(g), signal);
            readings.insert(of(Signal::GpuPower), Reading::new(watts, at));
            readings.insert(of(Signal::GpuLimitEnforced), Reading::new(300.0, at));
        }
        let (rack, receipts) = (spec.id.clone(), Vec::new());
        let snapshot = Snapshot { rack, boot: 1, seq: second, at, historical: false, readings, receipts };
        fleet.fold(&snapshot, Mono::from_ms(second * 1000));
    }
}

#[test]
fn coolant_soon_at_its_limit_is_found_after_a_moment_and_does_not_flicker() {
    let seen = run(120, |s, _, coolants, _| {
        let left_s = match s {
            // A moment, then for good, then to and fro, then further away.
            10..12 => Some(20.0),
            20..40 => Some(40.0 - s as f64 / 2.0),
            40..60 => Some(if s % 2 == 0 { 59.0 } else { 61.0 }),
            _ => None,
        };
        let view = left_s.map(|left_s| CoolantView { rack: RackId::new("rack-1").unwrap(), celsius: 58.0, left_s });
        coolants.extend(view);
    });
    assert_eq!(open(&seen, "coolant_near_limit:rack-1"), (25..90).collect::<Vec<_>>());
}

#[test]
fn a_breaker_about_to_trip_is_found() {
    let mut topology = None;
    let seen = run(100, |s, plan, _, fleet| {
        hear(fleet, topology.get_or_insert_with(row), s, 300.0);
        let node = &mut plan.nodes[2];
        match s {
            10..30 => (node.power, node.time_to_trip_s) = (Watts::new(12_000.0), Some(50.0)),
            // Near its limit, and still warm.
            30..40 => (node.power, node.trip_used) = (Watts::new(9_900.0), 0.9),
            // A load that rises is let pass on what a breaker has left.
            _ => (node.power, node.trip_used) = (Watts::new(9_700.0), 0.97),
        }
    });
    assert_eq!(open(&seen, "trip_near:breaker-a"), (15..70).collect::<Vec<_>>());
    assert!(seen.iter().flatten().all(|key| key == "trip_near:breaker-a"));
}

#[test]
fn a_limit_cannot_be_kept_when_everything_below_is_at_its_floor() {
    let mut topology = None;
    let seen = run(60, |s, plan, _, fleet| {
        hear(fleet, topology.get_or_insert_with(row), s, 300.0);
        plan.nodes[2].power = Watts::new(10_500.0);
        if s >= 20 {
            plan.caps.iter_mut().flat_map(|cap| &mut cap.gpus).for_each(|gpu| gpu.1 = Watts::new(200.0));
        }
    });
    assert_eq!(open(&seen, "limit_cannot_be_kept:breaker-a"), (35..60).collect::<Vec<_>>());
}

#[test]
fn gpus_that_draw_more_than_they_confirm_are_named() {
    let mut topology = None;
    let seen = run(60, |s, _, _, fleet| {
        hear(fleet, topology.get_or_insert_with(row), s, if s >= 10 { 400.0 } else { 310.0 });
    });
    assert_eq!(open(&seen, "gpu_unruly:rack-1"), (25..60).collect::<Vec<_>>());
}

#[test]
fn cooling_that_holds_work_back_for_a_minute_asks_for_its_set_point() {
    let (topology, policy) = (row(), Policy::default());
    let plan = plan(&topology);
    let fleet = Fleet::new(&topology);
    let mut grave = Grave::default();
    let mut advice = vec![CoolingAdvice {
        cooler: NodeId::new("rack-1.cooling").unwrap(),
        racks: vec![RackId::new("rack-1").unwrap()],
        change: Change::Cooler,
        supply_celsius: 53.0,
        setpoint_celsius: None,
        at_most_celsius: Some(44.5),
        flow_at_least_lpm: Some(31.0),
        wanted: Watts::new(6200.0),
        held: Watts::new(1500.0),
    }];
    let mut see = |s: u64, advice: &[CoolingAdvice]| {
        let pins = &BTreeMap::new();
        let facts = Facts { plan: &plan, coolants: &[], advice, fleet: &fleet, policy: &policy, site: None, pins };
        grave.see(facts, &topology, Mono::from_ms(s * 1000));
        grave.findings().collect::<Vec<_>>()
    };
    assert!((0..60).all(|s| see(s, &advice).is_empty()), "it may pass");
    let found = see(60, &advice).remove(0);
    assert_eq!((found.key.as_str(), found.severity), ("cooling_short:rack-1.cooling", Severity::Warning));
    assert!(found.title.contains("holds back 1.5 kW") && found.detail.contains("44.5 C or less"), "{found:?}");
    advice[0].change = Change::Keep;
    assert!((61..91).all(|s| see(s, &advice).len() == 1) && see(92, &advice).is_empty());
}

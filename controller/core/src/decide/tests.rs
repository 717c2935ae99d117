//! The decision against a toy plant: GPUs that follow limit and workload at once, on two breakers.

mod feeds;
mod lend;
mod phases;
mod thermal;

use super::*;
use crate::topology::tests::row;
use crate::topology::{FeedShare, NodeKind, RackSpec};
use headroom_rack::{LimitKind, Quality, Reading, Signal, SignalPath, Snapshot};
use proptest::prelude::*;

pub(super) const GENERATION: Generation = Generation { epoch: 1, counter: 1 };

pub(super) fn snapshot(rack: usize, gpu_power: f64, limit: f64, cord: Option<f64>) -> Snapshot {
    let at = UnixMs::new(1);
    let mut readings = headroom_rack::Readings::new();
    let mut put = |device: DeviceId, signal, value| {
        readings.insert(SignalPath::new(device, signal), Reading::new(value, at));
    };
    for i in 0..8 {
        put(DeviceId::gpu(i), Signal::GpuPower, gpu_power);
        put(DeviceId::gpu(i), Signal::GpuLimitEnforced, limit);
    }
    for pdu in ["pdu-a", "pdu-b"] {
        if let Some(cord) = cord {
            put(DeviceId::new(pdu).unwrap(), Signal::PduPower, cord);
        }
    }
    let rack = RackId::new(format!("rack-{}", rack + 1)).unwrap();
    Snapshot { rack, boot: 1, seq: 1, at, historical: false, readings, receipts: Vec::new() }
}

pub(super) fn fleet_at(powers: &[f64; 4], limits: &[f64; 4], now: Mono) -> Fleet {
    let mut fleet = Fleet::new(&row());
    for rack in 0..4 {
        let cord = (powers[rack] * 8.0 + 1700.0) / 2.0;
        fleet.fold(&snapshot(rack, powers[rack], limits[rack], Some(cord)), now);
    }
    fleet
}

pub(super) fn decide(decider: &mut Decider, fleet: &Fleet, now: Mono) -> Plan {
    decider.decide(fleet, &BTreeMap::new(), now, UnixMs::new(now.as_ms()), GENERATION, Mode::Automatic)
}

pub(super) fn gpu(plan: &Plan, rack: usize) -> f64 {
    plan.caps[rack].gpus[0].1.get()
}

/// Runs plant and decider for `seconds`, with Orders acting two seconds later; the plant's breaker is
/// a thermal image that trips at 1.13 In for ever. Returns limits at the end and the largest heat seen.
fn closed_loop(seconds: u64, workload: impl Fn(u64, usize) -> f64) -> ([f64; 4], f64, Vec<Plan>) {
    let mut decider = Decider::new(row(), Policy::default());
    let mut limits = [400.0; 4];
    let mut pipeline = std::collections::VecDeque::from([limits, limits]);
    let mut heat = 0.2;
    let mut worst: f64 = 0.0;
    let mut plans = Vec::new();
    for second in 0..seconds {
        let powers: [f64; 4] = std::array::from_fn(|r| (700.0 * workload(second, r)).min(limits[r]).max(75.0));
        let feed: f64 = powers.iter().map(|p| (p * 8.0 + 1700.0) / 2.0).sum();
        heat += ((feed / 11_520.0_f64).powi(2) - heat) / 31.0;
        worst = worst.max(heat);
        let now = Mono::from_ms(1000 * second + 1000);
        let plan = decide(&mut decider, &fleet_at(&powers, &limits, now), now);
        pipeline.push_back(std::array::from_fn(|r| gpu(&plan, r)));
        limits = pipeline.pop_front().unwrap();
        plans.push(plan);
    }
    (limits, worst, plans)
}

#[test]
fn a_ramp_from_20_to_100_percent_of_every_gpu_never_trips() {
    let ramp = |second: u64, _| if second < 40 { 0.2 } else { 1.0 };
    let (limits, worst, plans) = closed_loop(700, ramp);
    assert!(worst < 1.05 * 1.05, "heat reached {worst}");
    let last = plans.last().unwrap();
    for node in &last.nodes {
        assert!(node.power <= node.rating * 0.97, "{} carries {} for long", node.node, node.power);
    }
    assert!(limits[0] > limits[3], "training {} not before batch {}", limits[0], limits[3]);
    assert!(last.caps[3].binding && last.caps[3].bound_by.as_str().starts_with("breaker-"));
}

#[test]
fn caps_are_released_when_the_load_goes() {
    let pulse = |second: u64, _| if (40..90).contains(&second) { 1.0 } else { 0.2 };
    let (limits, _, plans) = closed_loop(200, pulse);
    assert!(gpu(&plans[80], 3) < 300.0);
    assert!(limits[3] > 600.0, "batch still at {}", limits[3]);
}

#[test]
fn a_settled_load_gets_a_settled_plan() {
    let (_, _, plans) = closed_loop(600, |_, rack| if rack == 0 { 1.0 } else { 0.9 });
    let tail: Vec<Vec<f64>> = plans[500..].iter().map(|p| (0..4).map(|r| gpu(p, r)).collect()).collect();
    // The image of what lasts still creeps: steps of a limit's grain, not power traded between racks.
    let spread = |r: usize| {
        let limits = tail.iter().map(|limits| limits[r]);
        limits.clone().fold(f64::MIN, f64::max) - limits.fold(f64::MAX, f64::min)
    };
    assert!((0..4).all(|r| spread(r) <= 10.0), "{tail:?}");
    assert!(tail.windows(2).filter(|w| w[0] != w[1]).count() <= 10, "{tail:?}");
}

#[test]
fn a_rack_nobody_hears_counts_with_its_worst() {
    let now = Mono::from_ms(10_000);
    let heard = fleet_at(&[600.0; 4], &[700.0; 4], now);
    let mut decider = Decider::new(row(), Policy::default());
    decide(&mut decider, &heard, now);
    let mut silent = decider.clone();
    let later = Mono::from_ms(17_000);
    let mut others = heard.clone();
    for rack in 0..3 {
        others.fold(&snapshot(rack, 600.0, 700.0, Some(3250.0)), later);
    }
    let plan = decide(&mut silent, &others, later);
    assert_eq!(plan.nodes.iter().map(|n| n.quality).max_by_key(|q| *q as u8), Some(Quality::Aged));
    assert!(!plan.nodes.iter().any(|n| n.power < decide(&mut decider.clone(), &heard, now).nodes[0].power * 0.5));
}

#[test]
fn a_frozen_meter_is_overruled_by_the_gpus_behind_it() {
    let mut fleet = fleet_at(&[700.0; 4], &[700.0; 4], Mono::from_ms(1000));
    for second in 2..10 {
        let now = Mono::from_ms(1000 * second);
        (1..4).for_each(|rack| fleet.fold(&snapshot(rack, 700.0, 700.0, Some(3650.0)), now));
        fleet.fold(&snapshot(0, 700.0, 700.0, Some(1500.0)), now);
    }
    let now = Mono::from_ms(9000);
    let plan = decide(&mut Decider::new(row(), Policy::default()), &fleet, now);
    let sum = 4.0 * (5600.0 + 1700.0) / 2.0;
    assert!(plan.nodes.iter().all(|n| n.power.get() > sum * 0.98), "{:?}", plan.nodes);
}

#[test]
fn a_load_that_swings_faster_than_nvml_averages_contradicts_no_meter() {
    let spec = &row().racks()[0].clone();
    let mut fleet = Fleet::new(&row());
    for second in 1..30 {
        // Two fifths of each step at 250 W, the rest at 690; NVML says the mean.
        let trough = second % 5 < 2;
        let cord = if trough { 250.0 * 8.0 + 1700.0 } else { 690.0 * 8.0 + 1700.0 } / 2.0;
        fleet.fold(&snapshot(0, 514.0, 700.0, Some(cord)), Mono::from_ms(1000 * second));
        let seen = fleet.rack(&spec.id).unwrap();
        assert!(second < 5 || !seen.contradicts(spec), "after {second} s");
        assert!(second < 5 || seen.power(spec) == Some(Watts::new(cord * 2.0)), "a trough is one");
    }
    for second in 30..36 {
        fleet.fold(&snapshot(0, 690.0, 700.0, Some(1850.0)), Mono::from_ms(1000 * second));
    }
    let seen = fleet.rack(&spec.id).unwrap();
    assert!(
        seen.contradicts(spec) && seen.power(spec) == Some(spec.at(Watts::new(690.0))),
        "a meter that stands still"
    );
}

#[test]
fn a_silent_rack_that_no_meter_shows_counts_with_the_limit_it_was_given_until_it_is_back() {
    let mut decider = Decider::new(row(), Policy { release_watts_per_s: 1e6, ..Policy::default() });
    let heard =
        |rack: usize, now: Mono, fleet: &mut Fleet| fleet.fold(&snapshot(rack, 300.0, 700.0, Some(2050.0)), now);
    let mut fleet = fleet_at(&[300.0; 4], &[700.0; 4], Mono::from_ms(1000));
    let given = |decider: &Decider| decider.racks[3].given.unwrap();
    let mut at = Watts::ZERO;
    for second in 1..120 {
        let now = Mono::from_ms(1000 * second);
        (0..if second < 20 { 4 } else { 3 }).for_each(|rack| heard(rack, now, &mut fleet));
        decide(&mut decider, &fleet, now);
        if second == 19 {
            at = given(&decider);
        }
    }
    assert!(at > Watts::new(500.0) && given(&decider) >= at, "what cannot arrive lowers nothing: {at}");
    let node = decide(&mut decider, &fleet, Mono::from_ms(120_000)).nodes[0].clone();
    assert!(node.power.get() >= (3.0 * 4100.0 + at.get() * 8.0 + 1700.0) / 2.0 - 1.0, "{node:?}");
    // Nobody is heard: that is the bus, and all agents are at their safe share.
    let node = decide(&mut decider, &fleet, Mono::from_ms(160_000)).nodes[0].clone();
    assert!((node.power.get() - 2.0 * (400.0 * 8.0 + 1700.0)).abs() < 1.0, "{node:?}");
}

#[test]
fn a_floor_holds_where_a_ceiling_contradicts_it() {
    let bounds = |floor: Option<f64>, ceiling| crate::policy::Bounds {
        floor_gpu: floor.map(Watts::new),
        ceiling_gpu: Some(Watts::new(ceiling)),
        weight: None,
    };
    let policy = Policy {
        classes: [("inference".to_owned(), bounds(Some(300.0), 250.0)), ("batch".to_owned(), bounds(None, 120.0))]
            .into(),
        ..Policy::default()
    };
    let now = Mono::from_ms(10_000);
    let plan = decide(&mut Decider::new(row(), policy), &fleet_at(&[700.0; 4], &[700.0; 4], now), now);
    assert_eq!((gpu(&plan, 2), gpu(&plan, 3)), (300.0, 200.0));
}

#[test]
fn a_target_from_outside_is_met_in_one_decision_and_says_so() {
    let now = Mono::from_ms(10_000);
    let fleet = fleet_at(&[500.0; 4], &[700.0; 4], now);
    let mut decider = Decider::new(row(), Policy::default());
    decide(&mut decider, &fleet, now);
    let drawn = 4.0 * (8.0 * 500.0 + 1700.0);
    decider.set_target(Some(Watts::new(drawn * 0.75)));
    let plan = decide(&mut decider, &fleet, now);
    let budgets: f64 = plan.caps.iter().map(|c| c.budget.get()).sum();
    assert!(budgets <= drawn * 0.75 && budgets > drawn * 0.7, "{budgets} of {drawn}");
    assert!(plan.caps[3].kind == LimitKind::External && plan.caps[3].bound_by.as_str() == "site");
    assert!(gpu(&plan, 0) > gpu(&plan, 3), "batch gives way first");
    let later = Mono::from_ms(11_000);
    decider.set_target(None);
    let free = decide(&mut decider, &fleet_at(&[500.0; 4], &[700.0; 4], later), later);
    assert!(free.caps.iter().all(|c| c.kind != LimitKind::External), "{:?}", free.caps);
}

#[test]
fn a_feed_is_limited_alone_and_gently_only_where_the_flexible_give_way() {
    let now = Mono::from_ms(10_000);
    let fleet = fleet_at(&[500.0; 4], &[700.0; 4], now);
    let group = |name: &str| NodeId::new(name).unwrap();
    let on_feed = |plan: &Plan| plan.caps.iter().map(|c| c.budget.get() / 2.0).sum::<f64>();
    let drawn = 2.0 * (8.0 * 500.0 + 1700.0);
    let limited = |target: f64, gentle: bool| {
        let mut decider = Decider::new(row(), Policy::default());
        decider.add_group(group("feed-main-a"), &[NodeId::new("ups-a").unwrap()]);
        decide(&mut decider, &fleet, now);
        decider.set_group(&group("feed-main-a"), Some(Watts::new(target)), gentle);
        decider.set_group(&group("no-such"), Some(Watts::new(1.0)), false);
        decide(&mut decider, &fleet, now)
    };
    let firm = limited(drawn * 0.75, false);
    assert!(on_feed(&firm) <= drawn * 0.75 && on_feed(&firm) > drawn * 0.7, "{}", on_feed(&firm));
    assert_eq!((firm.caps[3].kind, firm.caps[3].bound_by.as_str()), (LimitKind::External, "feed-main-a"));
    let strict = limited(drawn * 0.4, false);
    let gentle = limited(drawn * 0.4, true);
    assert_eq!(gpu(&strict, 0), 200.0, "everybody gives way, down to the floor");
    assert!(gpu(&gentle, 0) >= 400.0 && gpu(&gentle, 3) == 200.0, "{:?}", gentle.caps);
    assert!(on_feed(&gentle) > drawn * 0.4, "and the target is missed");
}

#[test]
fn a_battery_is_stretched_to_its_target() {
    let mut nodes = row().nodes().to_vec();
    let meter = crate::MeterRef { rack: RackId::new("rack-1").unwrap(), device: DeviceId::new("ups-a").unwrap() };
    nodes.iter_mut().find(|n| n.id.as_str() == "ups-a").unwrap().meter = Some(meter);
    let topology = Topology::new(nodes, row().racks().to_vec()).unwrap();
    let policy = Policy { battery_target: Duration::from_secs(600), ..Policy::default() };
    let mut decider = Decider::new(topology.clone(), policy);
    let now = Mono::from_ms(10_000);
    let mut fleet = Fleet::new(&topology);
    for rack in 0..4 {
        let mut snapshot = snapshot(rack, 300.0, 700.0, Some(2050.0));
        if rack == 0 {
            let on_ups = [
                (Signal::UpsOutputPowerL1, 2733.0),
                (Signal::UpsOutputPowerL2, 2733.0),
                (Signal::UpsOutputPowerL3, 2734.0),
                (Signal::UpsOnBattery, 1.0),
                (Signal::UpsBatteryRuntime, 500.0),
            ];
            for (signal, value) in on_ups {
                let path = SignalPath::new(DeviceId::new("ups-a").unwrap(), signal);
                snapshot.readings.insert(path, Reading::new(value, snapshot.at));
            }
        }
        fleet.fold(&snapshot, now);
    }
    let plan = decide(&mut decider, &fleet, now);
    let ups = plan.nodes.iter().find(|n| n.node.as_str() == "ups-a").unwrap();
    assert_eq!((ups.limit_kind, ups.limit.get().round()), (LimitKind::UpsOverload, 6833.0));
    assert!(plan.caps.iter().map(|c| c.budget.get() / 2.0).sum::<f64>() <= 6833.0);
}

#[test]
fn what_gpus_draw_beyond_their_limits_is_taken_from_the_others() {
    let others = |beyond: f64| {
        let mut decider = Decider::new(row(), Policy::default());
        let mut limits = [400.0; 4];
        for second in 1..200 {
            let now = Mono::from_ms(1000 * second);
            let mut fleet = fleet_at(&limits, &limits, now);
            let drawn = limits[3] + beyond;
            fleet.fold(&snapshot(3, drawn, limits[3], Some((drawn * 8.0 + 1700.0) / 2.0)), now);
            let plan = decide(&mut decider, &fleet, now);
            limits = std::array::from_fn(|r| gpu(&plan, r));
        }
        limits[..3].iter().sum::<f64>()
    };
    let (obedient, stubborn) = (others(0.0), others(250.0));
    assert!((150.0..350.0).contains(&(obedient - stubborn)), "2 kW, of {obedient} W for one GPU of each: {stubborn}");
}

#[test]
fn gpus_under_a_higher_limit_than_was_asked_for_count_with_what_they_draw() {
    let mut decider = Decider::new(row(), Policy::default());
    let mut limits = [400.0; 4];
    for second in 1..100 {
        let now = Mono::from_ms(1000 * second);
        let mut fleet = fleet_at(&limits, &limits, now);
        // This agent only watches.
        fleet.fold(&snapshot(3, 650.0, 700.0, Some((650.0 * 8.0 + 1700.0) / 2.0)), now);
        let plan = decide(&mut decider, &fleet, now);
        limits = std::array::from_fn(|r| gpu(&plan, r));
    }
    let drawn: f64 = limits[..3].iter().map(|watts| watts * 8.0 + 1700.0).sum::<f64>() + 650.0 * 8.0 + 1700.0;
    assert!(drawn / 2.0 <= 11_520.0 * 0.98, "{drawn} W on two breakers, {limits:?}");
}

/// A rack that is let further because less is known of `rack`: silent for so many seconds or, without, its PDUs not read.
fn loosened(powers: &[f64; 4], rack: usize, silent_s: Option<u64>) -> Option<(usize, [Plan; 2])> {
    let start = Mono::from_ms(1_000);
    let mut decider = Decider::new(row(), Policy::default());
    for second in 0..30 {
        let now = start.after(Duration::from_secs(second));
        decide(&mut decider, &fleet_at(powers, &[700.0; 4], now), now);
    }
    let last = Mono::from_ms(30_000);
    let now = last.after(Duration::from_secs(silent_s.unwrap_or(1)));
    let good = fleet_at(powers, &[700.0; 4], now);
    let mut bad = good.clone();
    if silent_s.is_some() {
        // The others are as fresh as in the good case.
        bad = fleet_at(powers, &[700.0; 4], last);
        for other in (0..4).filter(|r| *r != rack) {
            bad.fold(&snapshot(other, powers[other], 700.0, Some((powers[other] * 8.0 + 1700.0) / 2.0)), now);
        }
    } else {
        bad.fold(&snapshot(rack, powers[rack], 700.0, None), now);
    }
    let before: Vec<Watts> = decider.racks.iter().map(|r| r.gpu_limit.unwrap()).collect();
    let with_good = decide(&mut decider.clone(), &good, now);
    let with_bad = decide(&mut decider, &bad, now);
    // A silent rack takes what its last Orders allow, whatever is decided: it must not be let further.
    let bound = |r: usize| match silent_s.is_some() && r == rack {
        true => gpu(&with_good, r).max(before[r].get()),
        false => gpu(&with_good, r),
    };
    let loosened = (0..4).find(|r| gpu(&with_bad, *r) > bound(*r) + 5.0)?;
    Some((loosened, [with_good, with_bad]))
}

#[test]
fn a_limit_that_nobody_feels_is_not_raised_because_more_binds() {
    let powers = [128.7488803216707, 618.2205675316523, 535.8448826002121, 393.79795808206023];
    assert_eq!(loosened(&powers, 0, Some(3)), None);
}

proptest! {
    #[test]
    fn the_same_facts_give_the_same_plan(powers in prop::array::uniform4(75.0_f64..700.0), limit in 200.0_f64..700.0) {
        let now = Mono::from_ms(5_000);
        let fleet = fleet_at(&powers, &[limit; 4], now);
        let mut decider = Decider::new(row(), Policy::default());
        let first = decide(&mut decider, &fleet, now);
        prop_assert_eq!(first, decide(&mut decider, &fleet, now));
    }

    #[test]
    fn every_cap_lies_between_floor_and_maximum(powers in prop::array::uniform4(0.0_f64..900.0), lost in 0_usize..5) {
        let now = Mono::from_ms(5_000);
        let mut fleet = fleet_at(&powers, &[700.0; 4], Mono::from_ms(1));
        for rack in (0..4).filter(|r| *r != lost) {
            fleet.fold(&snapshot(rack, powers[rack], 700.0, None), now);
        }
        let plan = decide(&mut Decider::new(row(), Policy::default()), &fleet, now);
        for cap in &plan.caps {
            for (_, watts) in &cap.gpus {
                prop_assert!((200.0..=700.0).contains(&watts.get()));
            }
        }
    }

    #[test]
    fn worse_data_never_loosens_a_cap(powers in prop::array::uniform4(75.0_f64..700.0), rack in 0_usize..4, age_s in 3_u64..30, lose in any::<bool>()) {
        let loosened = loosened(&powers, rack, lose.then_some(age_s));
        // Past lease and settling a silent rack is known to be at its safe share: knowledge, not worse data.
        prop_assert!(loosened.is_none() || lose && age_s >= 8, "{loosened:?}");
    }
}

#[test]
fn a_breaker_that_was_hot_is_hot_after_a_restart() {
    let mut decider = Decider::new(row(), Policy::default());
    let mut plan = None;
    for second in 1..60 {
        let now = Mono::from_ms(1000 * second);
        plan = Some(decide(&mut decider, &fleet_at(&[700.0; 4], &[700.0; 4], now), now));
    }
    let plan = plan.unwrap();
    let used = |d: &Decider| d.trip_state()[&NodeId::new("breaker-a").unwrap()];
    let before = used(&decider);
    let after = |gap_s| {
        let mut fresh = Decider::new(row(), Policy::default());
        fresh.restore(&plan, Duration::from_secs(gap_s));
        used(&fresh)
    };
    assert!(before > 0.9, "{before}");
    assert!((after(0) - before).abs() < 1e-9);
    // Nobody looked for a second, then for an hour: first it may have gone on, then the safe shares held it.
    let mut held = Protection::at(NodeKind::Breaker.curve(), 0.95).by_power();
    held.advance(0.95, 3600.0);
    assert!(after(1) >= before && (after(3600) - held.used()).abs() < 1e-6, "{}", after(3600));
}

#[test]
fn short_peaks_pass_and_what_lasts_is_held_at_the_derated_rating() {
    let id = NodeId::new("breaker-a").unwrap();
    let breaker = NodeSpec::new(id.clone(), NodeKind::Breaker, "a", Watts::new(23_040.0));
    let like = row();
    let racks = like.racks().iter().map(|rack| {
        let feeds = vec![FeedShare::new(id.clone(), 1.0, DeviceId::new("pdu-a").unwrap())];
        RackSpec { feeds, ..rack.clone() }
    });
    let topology = Topology::new(vec![breaker], racks.collect()).unwrap();
    let limit_at = |ratio: f64, seconds: u64| {
        let mut decider = Decider::new(topology.clone(), Policy::default());
        let gpu = (ratio * 23_040.0 / 4.0 - 1700.0) / 8.0;
        let plans = (0..seconds).map(|second| {
            let now = Mono::from_ms(1000 * second + 1000);
            let mut fleet = Fleet::new(&topology);
            (0..4).for_each(|rack| fleet.fold(&snapshot(rack, gpu, 700.0, Some(gpu * 8.0 + 1700.0)), now));
            decide(&mut decider, &fleet, now).nodes[0].limit.get() / 23_040.0
        });
        plans.last().unwrap()
    };
    assert!(limit_at(0.6, 200) > 1.2, "after calm: {}", limit_at(0.6, 200));
    assert!((limit_at(0.95, 400) - 0.95).abs() < 0.01, "after long load: {}", limit_at(0.95, 400));
    // What was too much is made good, but not deeper than caps that cost little.
    assert!((0.85..=0.951).contains(&limit_at(1.2, 60)), "after an overload: {}", limit_at(1.2, 60));
}

/// The plan after `seconds` of GPUs that want all they can get, under this policy.
fn after(policy: Policy, seconds: u64, then: Option<Policy>) -> Plan {
    let mut decider = Decider::new(row(), Policy { release_watts_per_s: 1e6, ..policy });
    let mut plan: Option<Plan> = None;
    for second in 1..=2 * seconds {
        if let Some(then) = then.clone().filter(|_| second == seconds) {
            decider.set_policy(Policy { release_watts_per_s: 1e6, ..then });
        }
        let now = Mono::from_ms(1000 * second);
        let limits: [f64; 4] = plan.as_ref().map_or([400.0; 4], |p| std::array::from_fn(|r| gpu(p, r)));
        plan = Some(decide(&mut decider, &fleet_at(&limits, &limits, now), now));
    }
    plan.unwrap()
}

#[test]
fn a_floor_and_a_ceiling_of_a_class_hold_and_say_so() {
    let bounds = |floor: f64, ceiling: f64| crate::Bounds {
        floor_gpu: Some(Watts::new(floor)),
        ceiling_gpu: Some(Watts::new(ceiling)),
        weight: None,
    };
    let classes = [("batch".to_owned(), bounds(300.0, 320.0)), ("training".to_owned(), bounds(100.0, 350.0))];
    let plan = after(Policy { classes: classes.into(), ..Policy::default() }, 40, None);
    assert_eq!(gpu(&plan, 0), 350.0);
    assert!(gpu(&plan, 3) >= 300.0 && gpu(&plan, 3) <= 320.0, "{}", gpu(&plan, 3));
    assert!(
        plan.caps[0].bound_by.as_str() == "policy" && plan.caps[0].kind == LimitKind::External,
        "{:?}",
        plan.caps[0]
    );
}

#[test]
fn another_policy_takes_effect_at_once_and_forgets_nothing_of_the_plant() {
    let turned = Policy { bands: ["batch", "inference", "training"].map(str::to_owned).to_vec(), ..Policy::default() };
    let before = after(Policy::default(), 200, None);
    let turned = after(Policy::default(), 200, Some(turned));
    assert!(gpu(&before, 0) > gpu(&before, 3) && gpu(&turned, 3) > gpu(&turned, 0), "{:?}", turned.caps);
    assert!((before.nodes[2].trip_used - turned.nodes[2].trip_used).abs() < 0.1);
    let held = [(NodeId::new("breaker-a").unwrap(), Watts::new(8_000.0))];
    let plan = after(Policy { nodes: held.into(), site: Some(Watts::new(15_000.0)), ..Policy::default() }, 40, None);
    let all: f64 = plan.caps.iter().map(|c| c.budget.get()).sum();
    assert!(all <= 15_000.0 + 1.0, "{all}");
    assert!(plan.caps.iter().all(|c| !c.binding || c.kind == LimitKind::External), "{:?}", plan.caps);
}

#[test]
fn a_rack_without_a_meter_that_speaks_shares_the_loss_that_others_see() {
    let now = Mono::from_ms(10_000);
    let mut fleet = fleet_at(&[450.0; 4], &[700.0; 4], now);
    fleet.fold(&snapshot(1, 450.0, 700.0, None), now);
    let decider = Decider::new(row(), Policy::default());
    assert!(decider.live(&fleet, now).is_empty(), "nobody has lost anything");
    let mut seen = snapshot(0, 450.0, 700.0, None);
    let all = Reading::new(450.0 * 8.0 + 1700.0, UnixMs::new(1));
    seen.readings.insert(SignalPath::new(DeviceId::new("pdu-b").unwrap(), Signal::PduPower), all);
    fleet.fold(&seen, now);
    assert_eq!(decider.live(&fleet, now).keys().copied().collect::<Vec<_>>(), [0, 1]);
}

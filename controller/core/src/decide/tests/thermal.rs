//! Coolant, cooling units and GPUs that warm.

use super::*;

#[test]
fn without_coolant_a_rack_falls_to_its_floor() {
    let now = Mono::from_ms(10_000);
    let mut fleet = fleet_at(&[600.0, 100.0, 100.0, 100.0], &[700.0; 4], now);
    let mut dry = snapshot(0, 600.0, 700.0, Some(3250.0));
    for (signal, value) in [(Signal::CoolingFlow, 0.0), (Signal::CoolingSupplyTemperature, 30.0)] {
        let path = SignalPath::new(DeviceId::new("cooling").unwrap(), signal);
        dry.readings.insert(path, Reading::new(value, dry.at));
    }
    fleet.fold(&dry, now);
    let plan = decide(&mut Decider::new(row(), Policy::default()), &fleet, now);
    assert_eq!(gpu(&plan, 0), 200.0);
    assert_eq!(plan.caps[0].kind, LimitKind::Cooling);
    assert_eq!(plan.caps[0].bound_by.as_str(), "rack-1.cooling", "what cools it, not a breaker that has room");
}

#[test]
fn a_rack_that_a_breaker_holds_below_what_its_coolant_carries_names_the_breaker() {
    let now = Mono::from_ms(10_000);
    let mut fleet = fleet_at(&[700.0; 4], &[700.0; 4], now);
    let mut warm = snapshot(3, 700.0, 700.0, Some(3650.0));
    // 3.6 l/min carry 7.0 kW of the 7.3 that are wanted; the breakers leave it less.
    let told = [
        (Signal::CoolingFlow, 3.6),
        (Signal::CoolingSupplyTemperature, 32.0),
        (Signal::CoolingReturnTemperature, 40.0),
    ];
    for (signal, value) in told {
        let path = SignalPath::new(DeviceId::new("cooling").unwrap(), signal);
        warm.readings.insert(path, Reading::new(value, warm.at));
    }
    fleet.fold(&warm, now);
    let plan = decide(&mut Decider::new(row(), Policy::default()), &fleet, now);
    let cap = &plan.caps[3];
    assert!(cap.binding && cap.budget.get() < 6500.0, "{cap:?}");
    assert!(cap.bound_by.as_str().starts_with("breaker-") && cap.kind != LimitKind::Cooling, "{cap:?}");
    fleet = fleet_at(&[150.0, 150.0, 150.0, 700.0], &[700.0; 4], now);
    fleet.fold(&warm, now);
    let alone = decide(&mut Decider::new(row(), Policy::default()), &fleet, now);
    let cap = &alone.caps[3];
    assert!(cap.bound_by.as_str() == "rack-4.cooling" && cap.kind == LimitKind::Cooling, "{cap:?}");
}

#[test]
fn racks_are_held_to_what_is_cooled_after_the_loss_of_one_unit() {
    let row = row();
    let cooling = crate::CoolingSpec {
        id: NodeId::new("row-cooling").unwrap(),
        racks: row.racks().iter().map(|r| r.id.clone()).collect(),
        units: [12_000.0, 10_000.0].map(Watts::new).to_vec(),
    };
    let topology = Topology::with_cooling(row.nodes().to_vec(), row.racks().to_vec(), &[cooling]).unwrap();
    let now = Mono::from_ms(10_000);
    let plan = decide(&mut Decider::new(topology, Policy::default()), &fleet_at(&[500.0; 4], &[700.0; 4], now), now);
    let heat: f64 = plan.caps.iter().map(|c| c.budget.get()).sum();
    // 10 kW are left of the smaller unit; four racks at their floors of 3.3 kW want more than that.
    assert!((heat - 4.0 * (8.0 * 200.0 + 1700.0)).abs() < 1.0, "{heat}");
    assert!(plan.caps.iter().all(|c| c.kind == LimitKind::Cooling && c.bound_by.as_str() == "row-cooling"));
}

/// A rack whose GPUs tell these margins, and whose loop carries so many l/min or is silent.
fn warm(margins: [f64; 8], flow: Option<f64>) -> Snapshot {
    let mut seen = snapshot(0, 500.0, 700.0, Some(2850.0));
    let mut put = |device: DeviceId, signal, value| {
        seen.readings.insert(SignalPath::new(device, signal), Reading::new(value, UnixMs::new(1)));
    };
    for (g, margin) in margins.into_iter().enumerate() {
        put(DeviceId::gpu(g as u32), Signal::GpuTemperatureMargin, margin);
    }
    if let Some(flow) = flow {
        put(DeviceId::new("cooling").unwrap(), Signal::CoolingFlow, flow);
        put(DeviceId::new("cooling").unwrap(), Signal::CoolingSupplyTemperature, 32.0);
    }
    seen
}

/// The limits of the GPUs after so many seconds of these Snapshots.
fn heated(seconds: u64, seen: impl Fn(u64) -> Snapshot) -> (Vec<f64>, Plan) {
    let mut decider = Decider::new(row(), Policy::default());
    let mut limits: [f64; 4] = [700.0; 4];
    let plans = (1..=seconds).map(|second| {
        let now = Mono::from_ms(second * 1000);
        // The others leave the first so much that nothing but heat holds it.
        let powers: [f64; 4] = [500.0, 400.0, 400.0, 400.0];
        let mut fleet = fleet_at(&std::array::from_fn(|r| powers[r].min(limits[r])), &limits, now);
        fleet.fold(&seen(second), now);
        let plan = decide(&mut decider, &fleet, now);
        limits = std::array::from_fn(|r| gpu(&plan, r));
        plan
    });
    let last = plans.last().unwrap();
    (last.caps[0].gpus.iter().map(|g| g.1.get()).collect(), last)
}

#[test]
fn a_gpu_that_warms_towards_its_limit_is_held_before_it_and_the_others_are_not() {
    let one_warms = |second: u64| {
        let mut margins = [30.0; 8];
        margins[3] = 30.0 - second as f64;
        warm(margins, None)
    };
    let (early, _) = heated(8, one_warms);
    assert!(early.iter().all(|limit| *limit > 500.0), "22 K at 1 K/s are more than 20 s: {early:?}");
    let (held, plan) = heated(20, one_warms);
    assert!(held[3] < 500.0 && held[4] > 500.0, "{held:?}");
    assert_eq!((plan.caps[0].kind, plan.caps[0].bound_by.as_str()), (LimitKind::Cooling, "rack-1.gpu-3"));
    assert!((4.0..10.0).contains(&plan.caps[0].margin_s.unwrap()), "{:?}", plan.caps[0].margin_s);
    let (at_limit, _) = heated(40, one_warms);
    assert_eq!(at_limit[3], 200.0, "never under the floor");
    let (steady, _) = heated(40, |_| warm([8.0; 8], None));
    assert!(steady.iter().all(|limit| *limit > 500.0), "warm, but no warmer: {steady:?}");
}

#[test]
fn a_loop_that_falls_silent_keeps_its_last_limit() {
    let (limits, plan) = heated(30, |second| warm([30.0; 8], (second < 10).then_some(0.0)));
    assert_eq!(limits, [200.0; 8]);
    assert_eq!(plan.caps[0].kind, LimitKind::Cooling);
    let (limits, _) = heated(30, |second| warm([30.0; 8], (second < 10).then_some(16.0)));
    assert!(limits[0] > 500.0, "{limits:?}");
}

//! The guard against a small rack: two PDUs, half the power each, eight GPUs.

use super::*;
use proptest::prelude::*;

const OVERHEAD: f64 = 1700.0;

fn device(name: &str) -> DeviceId {
    DeviceId::new(name).unwrap()
}

fn gpus(power: Option<f64>) -> Vec<GpuInput> {
    (0..8)
        .map(|i| GpuInput {
            device: DeviceId::gpu(i),
            power: power.map(Watts::new),
            min: Watts::new(200.0),
            max: Watts::new(700.0),
        })
        .collect()
}

fn pdu(name: &str, watts: f64, age: Duration) -> PduInput {
    let amperes = Amperes::new(watts / 720.0);
    let (phases, currents) = ([true; 3], [Some(amperes); 3]);
    PduInput { device: device(name), phases, currents, volts: Some(Volts::new(240.0)), age: Some(age) }
}

fn silent(name: &str) -> PduInput {
    PduInput { device: device(name), phases: [false; 3], currents: [None; 3], volts: None, age: None }
}

const LIGHT_TICKS: u64 = 200;

/// Runs the guard against a rack whose GPUs obey their ceiling at once; after [`LIGHT_TICKS`] of
/// light load the GPUs want `wanted` watts each, PDU a carries `share`. Returns the verdicts, one per tick, and the highest real
/// state of PDU a's breaker.
fn run(breaker: f64, wanted: f64, share: f64, seconds: u64, meter: impl Fn(f64) -> f64) -> (Vec<Verdict>, f64) {
    let mut guard = Guard::new(Amperes::new(breaker));
    let mut real = Trip::settled_at(0.0);
    let (mut verdicts, mut worst, mut power): (Vec<Verdict>, f64, f64) = (vec![], 0.0, 250.0);
    for tick in 0..seconds * 10 {
        let wanted = if tick < LIGHT_TICKS { 250.0 } else { wanted };
        let rack = power * 8.0 + OVERHEAD;
        let inputs = [pdu("a", meter(rack * share), PERIOD), pdu("b", meter(rack * (1.0 - share)), PERIOD)];
        let verdict = guard.step(Mono::from_ms(tick * 100), &inputs, &gpus(Some(power)));
        real.carry(rack * share / 720.0 / breaker, PERIOD);
        worst = worst.max(real.used());
        power = verdict.ceilings.get(&DeviceId::gpu(0)).map_or(wanted, |c| c.get().min(wanted));
        verdicts.push(verdict);
    }
    (verdicts, worst)
}

#[test]
fn a_pdu_of_one_phase_is_cut_by_what_is_too_much_and_not_by_three_times_that() {
    let mut guard = Guard::new(Amperes::new(32.0));
    let (mut power, mut least) = (600.0_f64, f64::INFINITY);
    for tick in 0..600 {
        let amperes = (power * 8.0 + 3500.0) / 230.0;
        let one = PduInput {
            phases: [true, false, false],
            currents: [Some(Amperes::new(amperes)), None, None],
            volts: Some(Volts::new(230.0)),
            ..pdu("a", 0.0, PERIOD)
        };
        let verdict = guard.step(Mono::from_ms(tick * 100), &[one], &gpus(Some(power)));
        power = verdict.ceilings.get(&DeviceId::gpu(0)).map_or(600.0, |c| c.get().min(600.0));
        least = least.min(power);
    }
    // 0.95 of 32 A at 230 V are 6,992 W, of which the rest of the rack takes 3,500.
    assert!((least - (6992.0 - 3500.0) / 8.0).abs() < 2.0, "{least}");
}

#[test]
fn a_rack_under_its_breaker_is_left_alone() {
    let (verdicts, _) = run(25.0, 700.0, 0.5, 120, |w| w);
    assert!(verdicts.iter().all(|v| v.ceilings.is_empty()));
}

#[test]
fn an_overloaded_phase_is_held_before_it_trips_and_let_go_slowly() {
    // 7.3 kW on one PDU with 8 A per phase: 1.27 times its rating.
    let (verdicts, worst) = run(8.0, 700.0, 1.0, 300, |w| w);
    assert!(worst < 1.0, "tripped: {worst}");
    let first = verdicts.iter().position(|v| !v.ceilings.is_empty()).unwrap();
    assert!(first as u64 > LIGHT_TICKS + 10, "there was time, and it was left to the controller");
    assert_eq!(verdicts[first].worst, Some(device("a")));
    for pair in verdicts.windows(2) {
        let rise = |v: &Verdict| v.ceilings.get(&DeviceId::gpu(0)).map_or(700.0, |c| c.get());
        if !pair[0].ceilings.is_empty() {
            assert!(rise(&pair[1]) - rise(&pair[0]) <= RELEASE_WATTS_PER_S * 0.1 + 1e-9);
        }
    }
}

#[test]
fn a_meter_that_lies_low_does_not_blind_the_guard() {
    let (_, worst) = run(7.0, 700.0, 1.0, 300, |w| w * 0.3);
    assert!(worst < 1.0, "tripped: {worst}");
}

#[test]
fn a_silent_meter_counts_as_nameplate() {
    let mut guard = Guard::new(Amperes::new(5.0));
    let mut held = false;
    for tick in 0..600 {
        let verdict = guard.step(Mono::from_ms(tick * 100), &[silent("a")], &gpus(Some(600.0)));
        held |= !verdict.ceilings.is_empty();
    }
    assert!(held);
}

#[test]
fn a_meter_that_was_not_read_yet_holds_nobody_at_the_start() {
    let mut guard = Guard::new(Amperes::new(25.0));
    for tick in 0..100 {
        let input = if tick < 15 { silent("a") } else { pdu("a", 6000.0, PERIOD) };
        let verdict = guard.step(Mono::from_ms(tick * 100), &[input], &gpus(Some(600.0)));
        assert!(verdict.ceilings.is_empty(), "tick {tick}");
    }
}

#[test]
fn no_pdu_no_verdict() {
    assert_eq!(Guard::new(Amperes::new(5.0)).step(Mono::from_ms(0), &[], &gpus(None)), Verdict::default());
}

#[test]
fn not_knowing_what_the_gpus_draw_never_raises_the_level() {
    let known = level(&gpus(Some(600.0)), Watts::new(1000.0));
    assert!(level(&gpus(None), Watts::new(1000.0)) <= known);
}

proptest! {
    #[test]
    fn a_ceiling_is_never_above_the_board_nor_below_it(
        ticks in prop::collection::vec((prop::option::of(-10.0..40_000.0_f64), 0_u64..20_000, prop::option::of(-5.0..3000.0_f64)), 1..80),
        breaker in 1.0..63.0_f64,
    ) {
        let mut guard = Guard::new(Amperes::new(breaker));
        for (tick, (watts, age, power)) in ticks.into_iter().enumerate() {
            let input = match watts {
                Some(w) => pdu("a", w, Duration::from_millis(age)),
                None => silent("a"),
            };
            let gpus = gpus(power);
            let verdict = guard.step(Mono::from_ms(tick as u64 * 100), &[input], &gpus);
            for gpu in &gpus {
                if let Some(ceiling) = verdict.ceilings.get(&gpu.device) {
                    prop_assert!(*ceiling >= gpu.min && *ceiling <= gpu.max);
                }
            }
            prop_assert!(verdict.used.is_finite());
        }
    }

    #[test]
    fn a_rack_that_obeys_is_never_tripped(wanted in 250.0..700.0_f64, breaker in 7.0..12.0_f64, share in 0.4..1.0_f64) {
        // Only where the floor itself fits under the breaker is it physically possible.
        prop_assume!((200.0 * 8.0 + OVERHEAD) * share / 720.0 < breaker * 0.9);
        let (_, worst) = run(breaker, wanted, share, 120, |w| w);
        prop_assert!(worst < 1.0, "used {worst}");
    }
}

//! The loop of one rack of 5 kW against sums made by hand.

use super::*;
use headroom_rack::Mono;
use proptest::prelude::*;
use std::collections::BTreeMap;

/// 2.5 l, half of it on the return side: 5200 J/K.
const BOUNDS: Bounds = Bounds { limit_celsius: 60.0, air_celsius: None, response_s: 3.0, liters: 2.5, dark: None };
const POWER: Watts = Watts::new(5200.0);

fn heard(flow_lpm: Option<f64>, supply: f64, returns: Option<f64>) -> RackBelief {
    RackBelief {
        arrived: Mono::from_ms(0),
        dead: false,
        cords: BTreeMap::new(),
        phases: BTreeMap::new(),
        drawn: Vec::new(),
        gpus: Vec::new(),
        flow_lpm,
        supply_celsius: Some(supply),
        supply_setpoint_celsius: None,
        return_celsius: returns,
        batteries: BTreeMap::new(),
        recent: Default::default(),
    }
}

/// Hears the same each second.
fn after(coolant: &mut Loop, seconds: usize, belief: &RackBelief) {
    (0..seconds).for_each(|_| coolant.see(belief, POWER, 1.0, &BOUNDS));
}

#[test]
fn still_coolant_warms_by_its_heat_whatever_the_sensor_in_the_pipe_says() {
    let mut coolant = Loop::default();
    after(&mut coolant, 30, &heard(Some(8.0), 32.0, Some(41.0)));
    assert_eq!((coolant.celsius(), coolant.left_s()), (Some(41.0), None));
    after(&mut coolant, 5, &heard(Some(0.0), 32.0, Some(41.0)));
    // 5200 W into 5200 J/K are a kelvin a second.
    assert!((coolant.celsius().unwrap() - 46.0).abs() < 1e-6, "{coolant:?}");
    assert!((coolant.left_s().unwrap() - 14.0).abs() < 1e-6, "{coolant:?}");
    assert_eq!(coolant.most(), Some(Watts::ZERO));
    after(&mut coolant, 20, &heard(Some(0.0), 32.0, Some(41.0)));
    assert_eq!(coolant.left_s(), Some(0.0));
    after(&mut coolant, 1, &heard(Some(8.0), 32.0, Some(44.0)));
    assert_eq!((coolant.celsius(), coolant.left_s()), (Some(44.0), None), "it flows again, the sensor knows");
}

#[test]
fn little_flow_takes_it_to_the_limit_later_than_none_and_enough_never() {
    let left = |flow: f64| {
        let mut coolant = Loop::default();
        after(&mut coolant, 30, &heard(Some(8.0), 32.0, Some(41.0)));
        after(&mut coolant, 1, &heard(Some(flow), 32.0, Some(42.0)));
        coolant.left_s()
    };
    let (none, little, more) = (left(0.0).unwrap(), left(1.0).unwrap(), left(2.0).unwrap());
    assert!(none < little && little < more, "{none} {little} {more}");
    // 69.3 W/K: to 32 + 75 = 107 degrees with 75 s; 75 ln((107 - T) / 47) with T a second after 41.
    let celsius = 107.0 + (41.0 - 107.0) * (-1.0_f64 / 75.0).exp();
    assert!((little - 75.0 * ((107.0 - celsius.max(42.0)) / 47.0_f64).ln()).abs() < 0.5, "{little}");
    assert_eq!(left(4.0), None);
}

#[test]
fn a_supply_that_warms_tells_when_it_will_be_too_warm_and_is_met_ahead() {
    let mut coolant = Loop::default();
    let mut supply = 32.0;
    for _ in 0..120 {
        supply += 0.1;
        after(&mut coolant, 1, &heard(Some(8.0), supply, Some(supply + 9.4)));
    }
    // 44 degrees and 9.4 K on top leave 6.6 K at 0.1 K/s.
    assert!((60.0..72.0).contains(&coolant.left_s().unwrap()), "{coolant:?}");
    let carried = 8.0 / 60.0 * J_PER_L_K * (60.0 - supply - 0.3);
    assert!((coolant.most().unwrap().get() - carried).abs() < 2.0, "{coolant:?}");
    let mut steady = Loop::default();
    (0..600).for_each(|s| after(&mut steady, 1, &heard(Some(8.0), 32.0 + f64::from(s % 2) * 0.1, None)));
    assert_eq!(steady.left_s(), None, "the last digit of a sensor is no drift");
}

#[test]
fn a_loop_near_its_limit_leaves_the_response_time_should_all_flow_be_lost() {
    let mut coolant = Loop::default();
    after(&mut coolant, 30, &heard(Some(20.0), 57.0, Some(58.5)));
    // 1.5 K of 5200 J/K within 3 s, where the flow alone would carry 4160 W.
    assert!((coolant.most().unwrap().get() - 2600.0).abs() < 1.0, "{coolant:?}");
}

#[test]
fn air_at_the_inlets_counts_where_the_policy_says_so_and_gives_way_before_its_limit() {
    let bounds = Bounds { air_celsius: Some(35.0), ..BOUNDS };
    let mut coolant = Loop::default();
    let mut see = |celsius: f64| {
        coolant.see(&heard(None, celsius, None), POWER, 1.0, &bounds);
        (coolant.left_s(), coolant.most())
    };
    assert_eq!(see(24.0), (None, None));
    let warming: Vec<_> = (0..200).map(|s| see(24.0 + 0.05 * f64::from(s))).collect();
    assert!(warming[90].0.unwrap() > 120.0 && warming[90].1.is_none(), "{:?}", warming[90]);
    // Since it was 6 K below the limit 0.05 K/s were 2.06 K more than a hundred-and-twentieth of what was left.
    let follows = POWER * (-0.3_f64 * 2.06).exp();
    assert!(
        warming[199].0.unwrap() < 60.0 && (warming[199].1.unwrap() / follows - 1.0).abs() < 0.02,
        "{:?}",
        warming[199]
    );
    assert_eq!(see(35.5).1, Some(Watts::ZERO));
    assert!((0..120).all(|_| see(35.5).0.is_some()));
    assert_eq!(see(34.5).1, Some(Watts::ZERO), "not let go within a kelvin");
    assert!((0..120).any(|_| see(33.0).1.is_none()));
    assert_eq!(see(33.0), (None, None));
    let mut unasked = Loop::default();
    unasked.see(&heard(None, 50.0, None), POWER, 1.0, &BOUNDS);
    assert_eq!((unasked.left_s(), unasked.most()), (None, None));
}

#[test]
fn air_that_falls_silent_while_it_warms_goes_on_and_silence_gives_nothing_back() {
    let bounds = Bounds { air_celsius: Some(35.0), ..BOUNDS };
    let mut coolant = Loop::default();
    let mut see = |celsius: Option<f64>| {
        coolant.see(&RackBelief { supply_celsius: celsius, ..heard(None, 0.0, None) }, POWER, 1.0, &bounds);
        (coolant.celsius().unwrap(), coolant.most())
    };
    (0..100).for_each(|s| _ = see(Some(22.0 + 0.1 * f64::from(s))));
    let (told, held) = see(None);
    assert!((told - 32.0).abs() < 0.05 && held.unwrap() < POWER, "{told} {held:?}");
    let (silent, least) = (0..20).map(|_| see(None)).last().unwrap();
    assert!((silent - 34.0).abs() < 0.1 && least < held, "{silent} {least:?}");
    // It is heard again, cooler, and falls silent once more.
    (0..3).for_each(|_| _ = see(Some(33.0)));
    let (_, before) = see(Some(30.0));
    assert!(before.is_some());
    assert!((0..120).all(|_| see(None).1 == before));
}

#[test]
fn a_cooler_that_falls_silent_with_a_cord_of_its_rack_counts_as_stopped() {
    let bounds = Bounds { air_celsius: Some(35.0), ..BOUNDS };
    let mut coolant = Loop::default();
    let mut see = |celsius: Option<f64>, power: f64, bounds: &Bounds| {
        let belief = RackBelief { supply_celsius: celsius, ..heard(None, 0.0, None) };
        coolant.see(&belief, Watts::new(power), 1.0, bounds);
        (coolant.celsius().unwrap(), coolant.most())
    };
    (0..60).for_each(|_| _ = see(Some(22.0), 9000.0, &bounds));
    assert_eq!((0..60).map(|_| see(None, 9000.0, &bounds)).last(), Some((22.0, None)), "a lost answer is no lost fan");
    let dark = Bounds { dark: Some(Watts::new(10_000.0)), ..bounds };
    let (celsius, most) = (0..20).map(|_| see(None, 9000.0, &dark)).last().unwrap();
    // 9 kW into 60 kJ/K.
    assert!((celsius - 25.0).abs() < 0.1 && most.unwrap() < Watts::new(9000.0), "{celsius} {most:?}");
    let (later, least) = (0..120).map(|_| see(None, 4000.0, &dark)).last().unwrap();
    assert!(later > celsius && least < most, "{later} {least:?}");
    // Heard again it is what it says.
    assert_eq!(see(Some(24.0), 4000.0, &dark).0, 24.0);
    assert!((0..120).any(|_| see(Some(22.0), 4000.0, &bounds).1.is_none()));
}

proptest! {
    /// What was foretold is what happens when nothing changes.
    #[test]
    fn the_seconds_told_are_the_seconds_it_takes(flow in 0.0_f64..3.0, supply in 25.0_f64..45.0, watts in 3000.0_f64..12_000.0) {
        let mut coolant = Loop::default();
        let power = Watts::new(watts);
        let belief = heard(Some(flow), supply, None);
        coolant.see(&heard(Some(0.0), supply, Some(supply)), power, 0.0, &BOUNDS);
        coolant.see(&belief, power, 1.0, &BOUNDS);
        if let Some(told) = coolant.left_s() {
            let mut took = 0.0;
            while coolant.celsius().unwrap() < BOUNDS.limit_celsius && took < 4000.0 {
                coolant.see(&belief, power, 0.1, &BOUNDS);
                took += 0.1;
            }
            prop_assert!((took - told).abs() < 0.5 + told * 0.01, "{took} {told}");
        }
    }
}

proptest! {
    /// What is said a supply or a flow carries is what a loop that has settled there may give, and a little less is less.
    #[test]
    fn supply_and_flow_for_a_power_are_where_that_power_is_the_most(
        lpm in 2.0..30.0_f64, watts in 1000.0..9000.0_f64, liters in 1.0..8.0_f64, response_s in 1.0..6.0_f64,
    ) {
        let bounds = Bounds { liters, response_s, ..BOUNDS };
        let most = |lpm: f64, supply: f64| {
            let settled = supply + watts / (lpm / 60.0 * J_PER_L_K);
            let mut coolant = Loop::default();
            coolant.see(&heard(Some(lpm), supply, Some(settled)), Watts::new(watts), 1.0, &bounds);
            (coolant.most().unwrap().get(), coolant)
        };
        let (_, coolant) = most(lpm, 30.0);
        let supply = coolant.supply_for(watts, lpm / 60.0 * J_PER_L_K, &bounds);
        // A return pipe flushed too slowly is reckoned with, not read.
        prop_assume!(bounds.capacity() <= lpm / 60.0 * J_PER_L_K * FLUSHED_S);
        prop_assert!((most(lpm, supply).0 / watts - 1.0).abs() < 1e-6);
        prop_assert!(most(lpm, supply + 0.1).0 < watts);
        if let Some(least) = coolant.flow_for(watts, &bounds).filter(|l| bounds.capacity() <= l / 60.0 * J_PER_L_K * FLUSHED_S) {
            prop_assert!((most(least, 30.0).0 / watts - 1.0).abs() < 1e-6);
            prop_assert!(most(least * 0.99, 30.0).0 < watts);
        }
    }
}

//! Every shipped family, held to its own numbers and to what any trip curve must be.

use super::*;
use proptest::prelude::*;

/// Settings in the middle of what exists, as far as a family has them.
fn settings(family: &Family) -> Settings {
    let all = Settings {
        amperes: Some(63.0),
        tr_s: Some(8.0),
        isd: Some(4.0),
        tsd_s: Some(0.2),
        ii: Some(10.0),
        ambient_celsius: None,
    };
    let none = Settings { amperes: Some(63.0), ..Settings::default() };
    if family.is_electronic() { all } else { none }
}

/// A device of every family.
fn devices() -> Vec<(&'static Family, Arc<Curve>)> {
    families().iter().map(|f| (f, Arc::new(f.curve(&settings(f)).unwrap()))).collect()
}

/// What a site wrote from data sheets: a UPS and a breaker.
fn own() -> [Curve; 2] {
    let bears = [(1.1, 600.0), (1.25, 60.0), (1.5, 10.0), (6.0, 0.05)];
    [true, false].map(|is_table| Curve::own(&bears, is_table).unwrap())
}

fn device(index: usize) -> (&'static Family, Arc<Curve>) {
    let mut all = devices();
    // For their laws a site's own are like any; the family only names them in a failure.
    all.extend(own().map(|curve| (family("ups-market").unwrap(), Arc::new(curve))));
    all[index % all.len()].clone()
}

fn cold(name: &str, ratio: f64) -> Option<f64> {
    let settings = Settings { amperes: Some(63.0), ..Settings::default() };
    let curve = Arc::new(family(name).unwrap().curve(&settings).unwrap());
    Protection::with_used(curve, 0.0).time_to_trip_s(ratio)
}

#[test]
fn every_shipped_family_has_a_source_a_name_of_its_own_and_falling_times() {
    let names: std::collections::BTreeSet<&str> = families().iter().map(|f| f.name.as_str()).collect();
    assert_eq!(names.len(), families().len());
    for (family, curve) in devices() {
        assert!(family.source.len() > 20 && family.words.len() > 5, "{}", family.name);
        assert!(curve.holds() >= 1.0 && curve.holds() < 1.3, "{} holds {}", family.name, curve.holds());
        let protection = Protection::with_used(curve, 0.0);
        let latest = family.latest(&settings(family));
        assert_eq!(latest.is_empty(), family.no_latest().is_some(), "{}: a latest trip, or why none", family.name);
        for (ratio, at_most_s) in latest {
            // The latest trip of the standard is never earlier than our earliest.
            let earliest = protection.time_to_trip_s(ratio).unwrap();
            assert!(earliest <= at_most_s, "{} at {ratio}: {earliest} after {at_most_s}", family.name);
        }
    }
}

#[test]
fn a_type_c_breaker_meets_the_least_times_of_its_standard_from_the_safe_side() {
    assert_eq!(cold("iec60898-c", 1.05), None);
    for (ratio, at_most_s) in [(1.13, 3600.0), (2.0, 10.01), (2.55, 1.01), (5.0, 0.1), (5.1, 0.02)] {
        let t = cold("iec60898-c", ratio).unwrap();
        assert!(t <= at_most_s, "{ratio}: {t}");
    }
    assert!((cold("iec60898-c", 2.0).unwrap() - 10.0).abs() < 0.05);
}

#[test]
fn the_coil_decides_between_types_b_c_and_d() {
    let at_four = ["iec60898-b", "iec60898-c", "iec60898-d"].map(|name| cold(name, 4.0).unwrap());
    assert!(at_four[0] < at_four[1] && at_four[1] < at_four[2], "{at_four:?}");
}

#[test]
fn a_fuse_melts_no_later_than_the_gates_of_its_rating_allow() {
    // 63 A: 160 A for 10 s, 450 A for 0.1 s.
    assert!(cold("iec60269-gg", 160.0 / 63.0).unwrap() <= 10.01);
    assert!(cold("iec60269-gg", 450.0 / 63.0).unwrap() <= 0.101);
    assert_eq!(cold("iec60269-gg", 1.25), None);
    // Least pre-arcing I2t of 9000 A2s at 0.01 s: 949 A, and the same I2t for what is faster still.
    assert!(cold("iec60269-gg", 949.0 / 63.0).unwrap() <= 0.0101);
    assert!(cold("iec60269-gg", 9490.0 / 63.0).unwrap() <= 0.000_101);
}

#[test]
fn a_fuse_smaller_than_the_smallest_row_has_no_curve() {
    let small = Settings { amperes: Some(10.0), ..Settings::default() };
    let wrong = family("iec60269-gg").unwrap().curve(&small).unwrap_err();
    assert!(wrong.to_string().contains("rating_amperes = 10 is not 16 to 1250 A"), "{wrong}");
}

#[test]
fn types_of_which_nobody_states_a_least_time_trip_no_later_than_those_of_which_somebody_does() {
    for ratio in [1.2, 1.5, 2.0, 2.55, 3.0, 5.0, 7.0] {
        let (k, d) = (cold("iec60947-k", ratio).unwrap(), cold("iec60898-d", ratio).unwrap());
        assert!(k <= d * 1.0001, "{ratio}: {k} {d}");
    }
    for ratio in [1.2, 1.5, 1.9, 2.0, 3.0] {
        let (z, b) = (cold("iec60947-z", ratio).unwrap(), cold("iec60898-b", ratio).unwrap());
        assert!(z <= b * 1.0001, "{ratio}: {z} {b}");
    }
    assert!(family("iec60947-k").unwrap().unverified.is_some());
}

#[test]
fn a_trip_unit_follows_its_settings() {
    let unit = family("electronic-lsi").unwrap();
    let settings =
        Settings { tr_s: Some(8.0), isd: Some(4.0), tsd_s: Some(0.2), ii: Some(10.0), ..Settings::default() };
    let cold = Protection::with_used(Arc::new(unit.curve(&settings).unwrap()), 0.0);
    // 8 s at 6 Ir are 128 s at 1.5 Ir, less 30 %.
    let long = cold.time_to_trip_s(1.5).unwrap();
    assert!(long <= 0.7 * 128.0 + 0.01 && long > 80.0, "{long}");
    assert!(cold.time_to_trip_s(4.0).unwrap() <= 0.14);
    assert!(cold.time_to_trip_s(9.5).unwrap() <= 0.011);
    let missing = unit.curve(&Settings::default()).unwrap_err();
    assert_eq!(missing.to_string(), "electronic-lsi needs tr_s");
    let wrong = unit.curve(&Settings { ii: Some(99.0), ..settings }).unwrap_err();
    assert!(wrong.to_string().contains("ii = 99 is not 1.5 to 20"), "{wrong}");
}

#[test]
fn every_setting_counts_or_is_refused_and_all_are_refused_at_once() {
    let set = Settings { tr_s: Some(8.0), ii: Some(99.0), isd: Some(2.0), ..Settings::default() };
    let wrong = |name: &str, settings: &Settings| -> Vec<String> {
        family(name).unwrap().mistakes(settings).iter().map(ToString::to_string).collect()
    };
    assert_eq!(wrong("iec60898-c", &set).len(), 3, "{:?}", wrong("iec60898-c", &set));
    assert_eq!(wrong("electronic-lsi", &set).len(), 2, "ii is too high and tsd_s missing");
    let alone = Settings { isd: None, ii: Some(10.0), tsd_s: Some(0.2), ..set };
    assert!(wrong("electronic-lsi", &alone)[0].contains("without isd"));
}

#[test]
fn the_coil_of_a_moulded_case_breaker_acts_where_it_is_set_less_a_fifth() {
    let at = |ii, ratio| {
        let curve = family("iec60947-tm").unwrap().curve(&Settings { ii, ..Settings::default() }).unwrap();
        Protection::with_used(Arc::new(curve), 0.0).time_to_trip_s(ratio).unwrap()
    };
    assert!(at(Some(10.0), 8.01) <= 0.011 && at(Some(10.0), 5.1) > 0.02, "{}", at(Some(10.0), 5.1));
    assert!(at(Some(3.0), 2.41) <= 0.011 && at(None, 2.41) > 0.1);
    assert!((at(Some(6.25), 4.0) - at(None, 4.0)).abs() < 1e-9);
}

#[test]
fn the_latest_trip_is_that_of_the_size_and_of_the_settings() {
    let ul = family("ul489-tm").unwrap();
    let of = |amperes| ul.latest_s(&Settings { amperes, ..Settings::default() }, 2.5);
    assert_eq!([of(None), of(Some(400.0)), of(Some(20.0))], [Some(1680.0), Some(1680.0), Some(120.0)]);
    assert_eq!(ul.latest_s(&Settings::default(), 1.2), None);
    let sized = |name: &str, amperes, ratio| {
        family(name).unwrap().latest_s(&Settings { amperes: Some(amperes), ..Settings::default() }, ratio)
    };
    assert_eq!([sized("iec60898-c", 32.0, 3.0), sized("iec60898-c", 40.0, 3.0)], [Some(60.0), Some(120.0)]);
    assert_eq!([50.0, 100.0, 630.0].map(|a| sized("iec60269-gg", a, 2.0)), [Some(3600.0), Some(7200.0), Some(14400.0)]);
    let unit = family("electronic-lsi").unwrap();
    let set = Settings { tr_s: Some(8.0), isd: Some(4.0), tsd_s: Some(0.2), ii: Some(10.0), ..Settings::default() };
    let at = |ratio| unit.latest_s(&set, ratio);
    assert_eq!([at(1.2), at(2.0), at(4.5), at(11.1)], [None, Some(200.0), Some(0.2), Some(0.08)]);
    let long = Settings { isd: None, tsd_s: None, ..set };
    assert_eq!(unit.latest_s(&long, 6.5), Some(8.0));
    let moulded = family("iec60947-tm").unwrap();
    assert_eq!(moulded.latest_s(&Settings { ii: Some(10.0), ..Settings::default() }, 12.0), Some(0.2));
}

#[test]
fn an_overload_table_of_a_site_bears_what_it_says_and_the_higher_load_between() {
    let [ups, breaker] = own().map(|curve| Protection::with_used(Arc::new(curve), 0.0));
    for (ratio, seconds) in [(1.05, 600.0), (1.1, 600.0), (1.11, 60.0), (1.5, 10.0), (2.0, 0.05), (6.1, 0.01)] {
        let told = ups.time_to_trip_s(ratio).unwrap();
        assert!((told - seconds).abs() < 1e-6, "{ratio}: {told}");
        let told = breaker.time_to_trip_s(ratio).unwrap();
        assert!(told <= seconds * 1.001 || ratio < 1.1, "{ratio}: {told}");
    }
    assert_eq!((ups.time_to_trip_s(1.0), breaker.time_to_trip_s(1.0)), (None, None));
    let warm = Protection::at(Arc::new(own()[1].clone()), 0.9);
    assert!(warm.time_to_trip_s(1.1).unwrap() < 0.7 * breaker.time_to_trip_s(1.1).unwrap());
}

#[test]
fn everything_wrong_with_an_overload_table_is_told() {
    let wrong = Curve::own(&[(0.9, 600.0), (0.8, 700.0), (2.0, f64::NAN)], true).unwrap_err();
    let text: Vec<String> = wrong.iter().map(ToString::to_string).collect();
    for part in ["[0.9, 600] is not above 1", "loads must rise: 0.9 comes before 0.8", "seconds must fall: 600", "NaN"]
    {
        assert!(text.iter().any(|t| t.contains(part)), "{part} is not in {text:?}");
    }
    assert_eq!(Curve::own(&[], true), Err(vec![OwnError::Nothing]));
    assert_eq!(Curve::own(&[(5.0, 0.02)], false), Err(vec![OwnError::NoSlow]));
    assert!(Curve::own(&[(5.0, 0.02)], true).is_ok());
}

#[test]
fn a_small_ups_in_a_hot_room_has_a_second_and_a_half() {
    let ups2000 = family("huawei-ups2000-g-3k").unwrap();
    let at = |ambient_celsius, ratio| {
        let curve = ups2000.curve(&Settings { ambient_celsius, ..Settings::default() }).unwrap();
        Protection::with_used(Arc::new(curve), 0.0).time_to_trip_s(ratio).unwrap()
    };
    for (ambient, ratio, seconds) in
        [(Some(30.0), 1.4, 3.0), (Some(38.0), 1.4, 1.5), (None, 1.3, 60.0), (None, 1.31, 3.0)]
    {
        assert!((at(ambient, ratio) - seconds).abs() < 1e-6, "{ambient:?} {ratio}: {}", at(ambient, ratio));
    }
}

#[test]
fn a_warm_place_takes_rating_away_and_a_cold_one_gives_none() {
    let c = family("iec60898-c").unwrap();
    assert_eq!((c.ambient_factor(20.0), c.ambient_factor(30.0)), (1.0, 1.0));
    assert!((c.ambient_factor(35.0) - 0.97).abs() < 1e-9 && (c.ambient_factor(40.0) - 0.94).abs() < 1e-9);
    assert!(c.ambient_factor(80.0) < 0.75 && c.ambient_factor(500.0) >= 0.1);
    assert_eq!(family("ul489-tm").unwrap().ambient_factor(40.0), 1.0);
}

#[test]
fn a_warm_breaker_has_less_time_than_a_cold_one_and_gets_it_back_by_cooling() {
    let curve = NodeKind::Breaker.curve();
    let cold = Protection::with_used(Arc::clone(&curve), 0.0).time_to_trip_s(1.33).unwrap();
    let mut warm = Protection::at(curve, 0.9);
    assert!(warm.time_to_trip_s(1.33).unwrap() < 0.5 * cold);
    warm.advance(0.1, 300.0);
    assert!(warm.time_to_trip_s(1.33).unwrap() > 0.95 * cold);
}

proptest! {
    #[test]
    fn integrating_step_by_step_trips_when_foretold(family in 0_usize..64, ratio in 1.02_f64..12.0, used in 0.0_f64..0.99, steps in 20_u32..400) {
        let (family, curve) = device(family);
        let mut state = Protection::with_used(curve, used);
        if let Some(told) = state.time_to_trip_s(ratio) {
            let dt = told / f64::from(steps);
            for _ in 0..steps - 1 {
                state.advance(ratio, dt);
            }
            prop_assert!(state.used() < 1.0, "{} at {ratio} tripped before {told}", family.name);
            state.advance(ratio, dt * 1.001 + 1e-9);
            prop_assert!(state.used() > 1.0 - 1e-6, "{} at {ratio}: {} after {told}", family.name, state.used());
        } else {
            state.advance(ratio, 1e6);
            prop_assert!(state.used() < 1.0 || ratio == state.curve().holds(), "{} tripped at {ratio}", family.name);
        }
    }

    #[test]
    fn more_load_or_more_heat_never_gives_more_time(family in 0_usize..64, ratio in 0.1_f64..12.0, more in 0.0_f64..4.0, used in 0.0_f64..1.0, hotter in 0.0_f64..1.0) {
        let (family, curve) = device(family);
        let time = |used, ratio| Protection::with_used(Arc::clone(&curve), used).time_to_trip_s(ratio).unwrap_or(f64::INFINITY);
        let base = time(used, ratio);
        prop_assert!(time(used, ratio + more) <= base * (1.0 + 1e-9) + 1e-9, "{}: load", family.name);
        prop_assert!(time(used.max(hotter), ratio) <= base * (1.0 + 1e-9) + 1e-9, "{}: heat", family.name);
    }

    #[test]
    fn more_load_never_leaves_less_heat(family in 0_usize..64, ratio in 0.0_f64..12.0, more in 0.0_f64..4.0, used in 0.0_f64..1.0, dt in 0.0_f64..600.0) {
        let (family, curve) = device(family);
        let after = |ratio| { let mut p = Protection::with_used(Arc::clone(&curve), used); p.advance(ratio, dt); p.used() };
        prop_assert!(after(ratio + more) >= after(ratio) - 1e-9, "{}", family.name);
    }

    #[test]
    fn what_is_allowed_holds(family in 0_usize..64, used in 0.0_f64..1.0, hold in 0.5_f64..60.0) {
        let (family, curve) = device(family);
        let state = Protection::with_used(curve, used);
        let ratio = state.allowed(hold);
        prop_assert!(ratio >= 1.0, "{}: {ratio}", family.name);
        prop_assert!(state.time_to_trip_s(ratio * 0.9999).is_none_or(|t| t >= hold * 0.99), "{} allows {ratio}, {:?}", family.name, state.time_to_trip_s(ratio * 0.9999));
    }

    #[test]
    fn what_is_allowed_before_something_leaves_room_for_it(
        family in 0_usize..64, used in 0.0_f64..1.0, hold in 0.5_f64..30.0, then in 0.5_f64..2.5, then_s in 0.5_f64..30.0
    ) {
        let (family, curve) = device(family);
        let mut state = Protection::with_used(curve, used);
        let before = state.allowed_before(hold, then, then_s);
        prop_assert!(before >= 1.0 && before <= state.allowed(hold) * (1.0 + 1e-9), "{}: {before}", family.name);
        let is_held = |state: &Protection| state.time_to_trip_s(then).is_none_or(|t| t >= then_s * 0.99);
        // 1 is what is said where nothing more can be.
        if before > 1.0 {
            state.advance(before * 0.9999, hold);
            prop_assert!(is_held(&state), "{} allows {before}, then {:?}", family.name, state.time_to_trip_s(then));
        }
    }

    #[test]
    fn of_the_usual_ones_hardly_more_than_allowed_can_be_held(used in 0.0_f64..0.98, hold in 3.0_f64..60.0, ups in any::<bool>()) {
        let kind = if ups { NodeKind::Ups } else { NodeKind::Breaker };
        let state = Protection::with_used(kind.curve(), used);
        let ratio = state.allowed(hold);
        prop_assert!(ratio >= 2.0 || ratio <= 1.0 || state.time_to_trip_s(ratio * 1.003).is_some_and(|t| t <= hold * 1.02), "{ratio}");
    }
}

#[test]
fn a_ups_limits_at_once_beyond_what_it_carries_for_seconds() {
    // Above half more than its rating the inverter limits at once; nothing in between is a few seconds.
    let allowed = Protection::with_used(NodeKind::Ups.curve(), 0.0).allowed(3.0);
    assert!((1.5..=1.501).contains(&allowed), "{allowed}");
}

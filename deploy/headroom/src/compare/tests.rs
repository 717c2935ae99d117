//! The comparison on a small row: who must be better than whom, and what is written.

mod claims;

use super::*;
use std::sync::Arc;

/// Jobs that start and end together in half the GPUs, so that shifted copies overlap at times.
fn trace() -> Trace {
    let watts = (0..1800_u32).map(|i| vec![if i / 300 % 2 == 0 { 690.0 } else { 160.0 }; 8]).collect();
    Trace {
        name: "square".to_owned(),
        kind: "test",
        clock_sensitivity: 0.9,
        watts: Arc::new(watts),
        parts: vec![],
        notes: vec![],
    }
}

fn setup() -> Setup {
    Setup { nameplate_racks: 3, racks: None, gpus: 8, seconds: 120.0, bound: 0.05, derate: 0.99, seed: 1 }
}

#[test]
fn nameplate_loses_nothing_and_too_many_racks_without_limits_trip() {
    let fits = play(&setup(), &trace(), Policy::StaticNameplate, 3);
    assert_eq!((fits.trips, fits.lost_share()), (0, 0.0));
    assert!(fits.seconds_over_rating == 0.0 && fits.wanted.iter().all(|w| *w > 100.0), "{fits:?}");
    assert!(play(&setup(), &trace(), Policy::StaticNameplate, 9).trips > 0);
}

#[test]
fn ours_never_trips_and_the_oracle_loses_least() {
    let lost = |policy| {
        let figures = play(&setup(), &trace(), policy, 5);
        assert_eq!(figures.trips, 0, "{policy:?}");
        figures.lost_share()
    };
    let (reactive, forecast, oracle) = (lost(Policy::OursReactive), lost(Policy::OursForecast), lost(Policy::Oracle));
    assert!(oracle <= reactive + 1e-3 && oracle <= forecast + 1e-3, "{oracle} {reactive} {forecast}");
    assert!(reactive < lost(Policy::StaticShare));
}

#[test]
fn ours_survives_that_all_rise_at_once_as_it_dies_and_others_do_not() {
    let most = |policy, racks| worst(&setup(), policy, racks).into_iter().fold(0.0, f64::max);
    // 2.3 times what nameplate allows; their floors fit.
    for policy in [Policy::OursAlike, Policy::OursReactive, Policy::OursForecast] {
        assert!(most(policy, 7) < 1.0, "{policy:?}: {}", most(policy, 7));
    }
    assert!(most(Policy::StaticNameplate, 3) < 1.0);
    for policy in [Policy::StaticNameplate, Policy::ThreeBand] {
        assert_eq!(most(policy, 7), 1.0, "{policy:?}");
    }
}

#[test]
fn a_swing_within_a_second_shows_in_its_highest_load() {
    let watts = (0..1200_u32).map(|i| vec![if i % 10 < 5 { 690.0 } else { 160.0 }; 8]).collect();
    let figures = play(&setup(), &Trace { watts: Arc::new(watts), ..trace() }, Policy::StaticNameplate, 1);
    assert_eq!(figures.load.len(), 120);
    assert!(figures.load.iter().all(|[mean, highest]| *mean > 0.0 && *highest > mean * 1.02), "{:?}", figures.load);
}

#[test]
fn a_run_repeats_to_the_last_digit() {
    let once = || format!("{:?}", play(&setup(), &trace(), Policy::OursForecast, 4));
    assert_eq!(once(), once());
}

#[test]
fn the_report_has_every_policy_and_plots_that_are_svg() {
    let results = compare(Setup { seconds: 60.0, ..setup() }, vec![trace()]);
    let dir = tempfile::tempdir().expect("a folder");
    let table = report::markdown(&results);
    write(dir.path(), &table, &results).expect("a writable folder");
    let json = report::json(&results);
    for policy in Policy::ALL {
        assert!(table.contains(&policy.word().replace('_', " ")));
        let figures = &json["policies"][policy.word()];
        assert!(figures["racks_hosted"].as_u64().is_some() && figures["lost_work"]["batch"]["lost_share"].is_number());
    }
    assert!(json["reached"]["no_trips"]["reached"].as_bool().is_some());
    for name in ["report.md", "report.json", "racks.svg", "lost.svg", "power-1.svg"] {
        let text = std::fs::read_to_string(dir.path().join(name)).expect(name);
        assert!(!name.ends_with(".svg") || (text.starts_with("<svg") && text.ends_with("</svg>\n")), "{name}");
        assert!(!text.contains("NaN"), "{name}");
    }
}

#[test]
fn the_most_racks_are_found_wherever_they_lie() {
    for first in 1..=12 {
        let most = 3 * first;
        for right in 0..=most {
            assert_eq!(largest(first, most, |racks| racks <= right), right, "{first} {most}");
        }
        assert_eq!(largest(first, most, |_| true), most, "no more is tried");
    }
}

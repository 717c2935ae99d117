//! What the report claims of runs made up for it, and why it says something was not reached.

use super::*;

/// Runs of 100 s in which 1000 GPU-seconds were wanted: `lost` of them by policy, the load half the rating at nameplate.
fn results(lost: impl Fn(Policy) -> f64) -> Results {
    let run = |policy: Policy| Figures {
        wanted: [1000.0, 0.0, 0.0],
        lost: [lost(policy), 0.0, 0.0],
        cap_changes: 10,
        gpu_hours: 1.0,
        load: vec![[0.5, 0.6]; 100],
        ..Figures::default()
    };
    Results {
        setup: Setup { nameplate_racks: 10, ..setup() },
        traces: vec![trace()],
        hosted: Policy::ALL.into_iter().map(|p| (p, 14)).collect(),
        racks: 14,
        runs: Policy::ALL.into_iter().map(|p| ((p, 0), run(p))).collect(),
        worst: Policy::ALL.into_iter().map(|p| (p, [0.5, 0.5])).collect(),
    }
}

fn says(results: &Results, key: &str) -> (bool, String) {
    let claim = &report::json(results)["reached"][key];
    (claim["reached"].as_bool().expect("a bool"), claim["says"].as_str().expect("a text").to_owned())
}

fn change(results: &mut Results, policy: Policy, by: impl Fn(&mut Figures)) {
    by(results.runs.get_mut(&(policy, 0)).expect("a run"));
}

/// Ours `mine`, with the forecast `with`, the oracle `oracle`, all others 40.
fn lost(mine: f64, with: f64, oracle: f64) -> Results {
    results(|policy| match policy {
        Policy::OursAlike | Policy::OursReactive => mine,
        Policy::OursForecast => with,
        Policy::Oracle | Policy::StaticNameplate => oracle,
        _ => 40.0,
    })
}

#[test]
fn a_forecast_that_did_not_help_gets_the_reason_that_its_runs_show() {
    let mut idle = lost(3.0, 3.0, 3.0);
    [Policy::OursForecast, Policy::OursReactive].iter().for_each(|p| change(&mut idle, *p, |f| f.cap_changes = 0));
    let mut stopped = lost(10.0, 5.0, 1.0);
    change(&mut stopped, Policy::OursReactive, |f| (f.stopped, f.stopped_s) = (1, Some(12.0)));
    let mut sooner = lost(10.0, 10.05, 1.0);
    change(&mut sooner, Policy::OursReactive, |f| f.seconds_over_rating = 90.0);
    for (results, why) in [
        (idle, "Why not: nothing was held (square)"),
        (lost(3.0, 3.0, 3.0), "Why not: even the oracle loses as much (square)"),
        (stopped, "Why not: the automation stopped itself (square)"),
        (
            lost(10.0, 12.0, 1.0),
            "Why not: the room kept for the forecast's band held others more than it saved (square)",
        ),
        (sooner, "Why not: what was held cost the same with it as without (square)"),
    ] {
        let (reached, text) = says(&results, "forecast_better");
        assert!(!reached && text.contains(why), "{why}: {text}");
    }
    assert!(says(&lost(10.0, 9.0, 1.0), "forecast_better").0);
}

#[test]
fn half_of_the_loss_not_reached_says_what_even_the_oracle_loses_and_what_is_wanted() {
    let (reached, text) = says(&lost(30.0, 30.0, 25.0), "lost_work_at_most_half_of_three_band");
    for said in [
        "even the oracle, which knows what comes and protects the important, loses 2.50 %",
        "2.50 % is lost without any limit",
    ] {
        assert!(!reached && text.contains(said), "{said}: {text}");
    }
    assert!(!text.contains("on average"), "{text}");
    let mut much = lost(30.0, 30.0, 1.0);
    change(&mut much, Policy::StaticNameplate, |f| f.load = vec![[0.8, 0.9]; 100]);
    let (_, text) = says(&much, "lost_work_at_most_half_of_three_band");
    for said in [
        "want more on average than the 99 % that may flow: 112 % of the rating of square",
        "the oracle, which knows what comes and this very breaker, loses 0.10 %, less than half",
    ] {
        assert!(text.contains(said), "{said}: {text}");
    }
    let (reached, text) = says(&lost(10.0, 10.0, 1.0), "lost_work_at_most_half_of_three_band");
    assert!(reached && !text.contains("Why not"), "{text}");
}

#[test]
fn racks_count_when_all_three_of_ours_host_them() {
    let mut results = lost(10.0, 10.0, 1.0);
    assert!(says(&results, "racks_30_percent_more").0);
    results.hosted.insert(Policy::OursAlike, 12);
    results.hosted.insert(Policy::Oracle, 12);
    let (reached, text) = says(&results, "racks_30_percent_more");
    assert!(!reached && text.contains("even the oracle, which knows what comes, hosts 12 of these 13"), "{text}");
    results.hosted.insert(Policy::OursAlike, 14);
    assert_eq!(side_by_side(&results.setup, &results.hosted), 14);
    results.hosted.insert(Policy::OursAlike, 13);
    assert_eq!(side_by_side(&results.setup, &results.hosted), 13);
}

#[test]
fn trips_shutdowns_and_stops_of_each_of_ours_count_and_show() {
    for policy in Policy::OURS {
        for by in [|f: &mut Figures| f.trips = 1, |f: &mut Figures| f.shutdowns = 1] {
            let mut results = lost(10.0, 10.0, 1.0);
            change(&mut results, policy, by);
            assert!(!says(&results, "no_trips").0, "{policy:?}");
        }
        let mut results = lost(10.0, 10.0, 1.0);
        change(&mut results, policy, |f| (f.stopped, f.stopped_s) = (1, Some(12.0)));
        let (reached, text) = says(&results, "automation_never_stopped");
        assert!(!reached && text.contains("on square after 12 s"), "{text}");
        let table = report::markdown(&results);
        assert!(
            table.contains("| runs in which the automation stopped |\n") && table.contains(" stopped |"),
            "{table}"
        );
        assert!(table.contains("* square: 180 s, test"), "{table}");
        let (_, plot) = plot::all(&results).pop().expect("a plot");
        assert!(
            plot.contains("automation stopped")
                && plot.contains(">100 %<")
                && plot.contains("stroke-dasharray=\"1 2\"")
        );
    }
}

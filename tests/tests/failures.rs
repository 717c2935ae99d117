//! Parts of a row in the middle of an overload ramp fail one after another. What is done and what
//! must come of it stands in `failures/*.json`; no breaker may trip in any of them.

use headroom_tests::parts::until;
use headroom_tests::program;
use headroom_tests::row::Row;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

/// One step of a file: `do` something once the plant is `at_s` old, or `wait` for something.
fn step(row: &mut Row, step: &Value) {
    let words = step.to_string();
    let text = |key: &str| step[key].as_str();
    if let Some(at) = step["at_s"].as_f64() {
        until(&words, || (row.plant_s() >= at).then_some(()));
    }
    if let Some(name) = text("kill") {
        row.kill(name);
    } else if let Some(name) = text("stop") {
        assert!(row.stop(name), "{name} did not end with success");
    } else if let Some(name) = text("start") {
        row.begin(name);
    } else if step["fault"].is_object() {
        let fault = &step["fault"];
        let word = |key: &str| fault[key].as_str().unwrap_or_else(|| panic!("{key} missing in {words}"));
        row.plant.fault(word("kind"), word("target"), fault["value"].as_f64());
    } else if let Some(finding) = text("wait_alert") {
        until(&words, || alerts(row, "firing").contains(finding).then_some(()));
    } else if let Some(finding) = text("wait_resolved") {
        until(&words, || alerts(row, "resolved").contains(finding).then_some(()));
    } else if step["wait_limits"].is_object() {
        let wait = &step["wait_limits"];
        let range = wait["at_least"].as_f64().unwrap_or(0.0)..=wait["at_most"].as_f64().unwrap_or(f64::MAX);
        until(&words, || {
            let limits = row.limits(wait["rack"].as_str());
            let good = |w: &f64| range.contains(w);
            let all = if wait["any"] == true { limits.iter().any(good) } else { limits.iter().all(good) };
            (!limits.is_empty() && all).then_some(())
        });
    } else if let Some(most) = step["wait_record_gap_s"].as_u64() {
        until(&words, || gaps(row).filter(|gaps| gaps.len() == 4 && gaps.iter().all(|g| *g <= most)));
    } else {
        assert!(step["at_s"].is_number() && step.as_object().is_some_and(|o| o.len() == 1), "unknown step {words}");
    }
}

/// `kind subject` of the alerts that came with this status.
fn alerts(row: &Row, status: &str) -> BTreeSet<String> {
    let bodies = row.hook.bodies();
    let alerts = bodies.iter().flat_map(|b| b["alerts"].as_array().into_iter().flatten());
    let named = alerts.filter(|a| a["status"] == status).map(|a| {
        let label = |name: &str| a["labels"][name].as_str().unwrap_or_default().to_owned();
        format!("{} {}", label("alertname"), label("subject"))
    });
    named.collect()
}

/// The longest gap of each rack in the record, s, as the trainer reads it while the controller writes.
fn gaps(row: &Row) -> Option<Vec<u64>> {
    let inspect =
        Command::new(program("headroom-train")).args(["data", "inspect", "--record"]).arg(&row.record).output();
    let table = String::from_utf8(inspect.ok()?.stdout).ok()?;
    let column = table.lines().next()?.split_whitespace().position(|c| c == "gap_s")?;
    let racks = table.lines().filter(|l| l.starts_with("record "));
    racks.map(|l| l.split_whitespace().nth(column)?.parse().ok()).collect()
}

fn play(name: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("failures").join(format!("{name}.json"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let file: Value = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let mut row = Row::start();
    for one in file["steps"].as_array().expect("steps") {
        step(&mut row, one);
    }
    until("all racks live", || {
        let state = row.state();
        let racks = state["racks"].as_array()?;
        (racks.len() == 4 && racks.iter().all(|r| r["age_ms"].as_f64().is_some_and(|ms| ms < 3000.0))).then_some(())
    });
    let (firing, resolved) = (alerts(&row, "firing"), alerts(&row, "resolved"));
    let logs = row.logs();
    let (clean, safe, plant) = row.end();
    let outcome = json!({
        "trips": plant["trips"].as_array().map(Vec::len),
        "alerts": firing,
        "resolved": resolved,
        "clean_stop": clean,
        "gpus_at_safe_limit": safe,
    });
    assert_eq!(outcome, file["outcome"], "{name}: {plant:#}\n{logs}");
}

#[test]
fn an_agent_is_killed_and_comes_back() {
    play("agent-killed");
}

#[test]
fn the_controller_is_killed_and_comes_back() {
    play("controller-killed");
}

#[test]
fn the_broker_is_stopped_and_comes_back() {
    play("broker-restarted");
}

#[test]
fn a_meter_freezes() {
    play("meter-frozen");
}

#[test]
fn a_battery_and_a_pump_wear_out() {
    play("worn-out");
}

//! People's hands on a running row: pins, advisory mode and the automation's own breaker, over the command
//! line and through a restart.

use headroom_tests::parts::{content, until};
use headroom_tests::row::{Row, SAFE_GPU_WATTS};
use headroom_tests::{program, succeed};
use serde_json::Value;
use std::process::{Command, Output};

fn ask(row: &Row, words: &[&str]) -> Output {
    let config = row.plant.dir().join("controller.toml");
    let mut command = Command::new(program("headroom-controller"));
    command.args(words).arg("--config").arg(config).args(["--console", &row.console(), "--by", "kim"]);
    command.env("TOKEN", "t").output().expect("it starts")
}

fn told(row: &Row, words: &[&str]) -> Value {
    let output = ask(row, words);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{words:?}: {said}{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_str(&said).unwrap_or_else(|why| panic!("{words:?}: {why} in {said}"))
}

fn rack(state: &Value, name: &str) -> Value {
    let mut racks = state["racks"].as_array().into_iter().flatten();
    racks.find(|r| r["id"] == name).cloned().unwrap_or(Value::Null)
}

fn all(limits: &[f64], good: impl Fn(f64) -> bool) -> Option<()> {
    (!limits.is_empty() && limits.iter().all(|w| good(*w))).then_some(())
}

/// Notes of this kind in the record, as an auditor finds them.
fn notes(row: &Row, kind: &str) -> Vec<String> {
    let events = headroom_tests::http::json(&row.console(), "/api/events");
    let lines = events.as_array().into_iter().flatten().filter(|l| l["kind"] == kind);
    lines.filter_map(|l| l["text"].as_str()).map(str::to_owned).collect()
}

#[test]
fn a_pin_stands_through_a_restart_and_advisory_mode_sends_nothing() {
    let mut row = Row::start();
    until("the batch rack to be held at its floor", || all(&row.limits(Some("rack-4")), |w| w < 260.0));
    // 4500 W for a rack of batch, far more than it would get now.
    let said = told(&row, &["pin", "rack-4", "4500", "--note", "deadline"]);
    assert_eq!(said["set"]["rack-4"]["pin_watts"], 4500.0, "{said}");
    until("the pinned rack to get its limit", || all(&row.limits(Some("rack-4")), |w| (320.0..=400.0).contains(&w)));
    assert!(notes(&row, "hand").iter().any(|n| n.starts_with("kim pins rack-4 to 4500 W: deadline")));
    let refused = ask(&row, &["pin", "rack-9", "4500"]);
    let why = String::from_utf8_lossy(&refused.stderr).into_owned() + &String::from_utf8_lossy(&refused.stdout);
    assert!(!refused.status.success() && why.contains("no node or rack is called"), "{why}");

    row.kill("controller");
    row.begin("controller");
    until("the pin of before in force", || {
        let state = row.state();
        let stands = state["hands"]["set"]["rack-4"]["pin_watts"] == 4500.0;
        let budget = rack(&state, "rack-4")["budget_watts"].as_f64()?;
        (stands && budget <= 4501.0).then_some(())
    });

    told(&row, &["advise", "rack-1"]);
    until("the lease of rack-1 to run out", || all(&row.limits(Some("rack-1")), |w| (w - SAFE_GPU_WATTS).abs() < 1.0));
    let decided = rack(&row.state(), "rack-1")["gpu_limit_watts"].as_f64().expect("it is decided all the same");
    told(&row, &["release", "rack-1"]);
    told(&row, &["release", "rack-4"]);
    until("rack-1 under Orders again", || {
        let limit = rack(&row.state(), "rack-1")["gpu_limit_watts"].as_f64()?;
        all(&row.limits(Some("rack-1")), |w| (w - limit).abs() < 1.0 && (limit - SAFE_GPU_WATTS).abs() > 1.0)
    });
    eprintln!("rack-1 was decided {decided:.0} W a GPU while it had none");

    // Four racks of 6500 W are more than two breakers of 11.5 kW carry.
    let racks = ["rack-1", "rack-2", "rack-3", "rack-4"];
    racks.iter().for_each(|rack| _ = told(&row, &["pin", rack, "6500"]));
    let lowered = |row: &Row| {
        let state = row.state();
        let findings = state["findings"].as_array().cloned().unwrap_or_default();
        findings.into_iter().filter(|f| f["kind"] == "pin_lowered").collect::<Vec<Value>>()
    };
    let found = until("a pin that is lowered", || lowered(&row).into_iter().next());
    let title = found["title"].as_str().expect("a title");
    assert!(title.contains(" is pinned to 6500 W and lowered to "), "{found}");
    until("whoever pinned to be told", || row.hook.texts().iter().any(|t| t.contains("pin_lowered")).then_some(()));
    racks.iter().for_each(|rack| _ = told(&row, &["release", rack]));
    until("it to be over", || lowered(&row).is_empty().then_some(()));
    let (clean, safe, summary) = row.end();
    assert!(clean && safe && summary["trips"].as_array().is_some_and(Vec::is_empty), "{summary:#}\n{}", row.logs());
}

#[test]
fn meters_that_contradict_stop_the_automation_until_a_person_resumes_it() {
    let quick = |text: String| text + "\n[automation]\npatience_s = 3\n";
    let mut row = Row::of(None, |_| String::new(), quick);
    until("GPUs above their safe share", || row.limits(None).iter().any(|w| *w > SAFE_GPU_WATTS + 50.0).then_some(()));
    for rack in ["rack-1", "rack-2"] {
        for pdu in ["pdu-a", "pdu-b"] {
            row.plant.fault("meter_lying", &format!("{rack}/{pdu}"), Some(0.3));
        }
    }
    let stopped = |row: &Row| {
        let state = row.state();
        let safe = state["mode"] == "safe" && state["hands"]["stops"]["whole"]["why"] == "meters";
        safe.then_some(state)
    };
    until("the automation to stop", || stopped(&row));
    until("no GPU above its safe share", || all(&row.limits(None), |w| w < SAFE_GPU_WATTS + 1.0));
    until("a person to be called", || row.hook.texts().iter().any(|t| t.contains("automation_stopped")).then_some(()));
    row.kill("controller");
    row.begin("controller");
    until("still stopped after a restart", || stopped(&row));
    for rack in ["rack-1", "rack-2"] {
        for pdu in ["pdu-a", "pdu-b"] {
            row.plant.fault("clear", &format!("{rack}/{pdu}"), None);
        }
    }
    let said = told(&row, &["resume", "--note", "meters changed"]);
    assert!(said["stops"]["whole"].is_null(), "{said}");
    until("GPUs above their safe share again", || {
        let above = row.limits(None).iter().any(|w| *w > SAFE_GPU_WATTS + 50.0);
        (above && row.state()["mode"] == "automatic").then_some(())
    });
    let mut again = Command::new(program("headroom-controller"));
    let config = row.plant.dir().join("controller.toml");
    again.args(["hands", "--console", &row.console(), "--config"]).arg(config).env("TOKEN", "t");
    succeed(&mut again, "headroom-controller hands");
    assert!(!content(&row.record.join("hands.json")).contains("\"why\""), "the stop is kept though it is over");
    let (clean, safe, summary) = row.end();
    assert!(clean && safe && summary["trips"].as_array().is_some_and(Vec::is_empty), "{summary:#}\n{}", row.logs());
}

//! The tasks beside power as an operator runs them, on small made-up records in which something is
//! to be found: the networks must find it, better than what they are held against. And what is wrong
//! with a record is said with file and line.

use serde_json::Value;
use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, Output};

fn train(args: &[&str], dir: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_headroom-train")).args(args).current_dir(dir).output().expect("the trainer starts")
}

fn last_line(output: &Output) -> Value {
    let text = String::from_utf8_lossy(&output.stdout);
    let last = text.lines().last().unwrap_or_default();
    serde_json::from_str(last).unwrap_or_else(|e| panic!("{e}: {last}\n{}", String::from_utf8_lossy(&output.stderr)))
}

fn figure(result: &Value, path: &str) -> f64 {
    result.pointer(path).and_then(Value::as_f64).unwrap_or_else(|| panic!("no number at {path} in {result}"))
}

/// Wrong data: exit code 2, and every one of these words on stderr.
fn refused(output: &Output, words: &[&str]) {
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(words.iter().all(|w| text.contains(w)), "{text}");
}

/// Numbers without pattern, the same on every machine: Knuth's multiplier on 64 bits.
struct Noise(u64);

impl Noise {
    /// Uniform in [0, 1).
    fn unit(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.unit()
    }
}

/// Engines in two operating conditions whose wear shows in the third power of the life used, in a
/// sensor that says more about the condition than about the wear.
fn engines(dir: &Path) {
    let mut noise = Noise(7);
    let mut remaining = String::new();
    for (name, count) in [("train", 24_u32), ("test", 20)] {
        let mut text = String::new();
        for unit in 1..=count {
            let life = noise.between(60.0, 140.0) as u32;
            let shown = if name == "train" { life } else { (f64::from(life) * noise.between(0.3, 0.95)) as u32 };
            for cycle in 1..=shown {
                let high = noise.unit() < 0.5;
                let wear = (f64::from(cycle) / f64::from(life)).powi(3);
                let setting = if high { 35.0 } else { 0.0 } + noise.between(-0.01, 0.01);
                let sensor = if high { 900.0 } else { 500.0 } + 12.0 * wear + noise.between(-1.0, 1.0);
                let _ = writeln!(text, "{unit} {cycle} {setting:.4} 0 100 {sensor:.3} 518.67 {:.3}", noise.unit());
            }
            if name == "test" {
                let _ = writeln!(remaining, "{}", life - shown);
            }
        }
        std::fs::write(dir.join(format!("{name}_MINE.txt")), text).expect("a writable folder");
    }
    std::fs::write(dir.join("RUL_MINE.txt"), remaining).expect("a writable folder");
}

#[test]
fn remaining_life_is_seen_through_changing_conditions() {
    let dir = tempfile::tempdir().unwrap();
    engines(dir.path());
    let output = train(&["bench", "cmapss", "--dir", ".", "--subset", "MINE", "--seeds", "1"], dir.path());
    let result = last_line(&output);
    let error = figure(&result, "/rmse_clipped");
    for baseline in ["constant_mean", "linear_on_age", "linear_on_features"] {
        let other = figure(&result, &format!("/baselines/{baseline}/rmse_clipped"));
        assert!(error < 0.9 * other, "{error} against {other} of {baseline}");
    }
    assert_eq!((figure(&result, "/operating_conditions"), figure(&result, "/sensors_used")), (2.0, 2.0));
    assert!(figure(&result, "/coverage") >= 0.6, "{result}");
}

/// Units in racks of five slots; those of the first half fail after a year or so, soonest in the top slot.
fn stays(dir: &Path) {
    let mut noise = Noise(3);
    let mut text = "SN,location,insert,remove,event\n".to_owned();
    let month = |m: u32| format!("{}-{:02}-01", 2015 + m / 12, 1 + m % 12);
    for unit in 0..600_u32 {
        let (slot, old) = (unit % 5, unit < 300);
        let hazard = if old { 0.01 } else { 0.001 } * if slot == 4 { 4.0 } else { 1.0 };
        let start = if old { 0 } else { 6 };
        let fails = (start + 6..48).find(|_| noise.unit() < hazard);
        let end = fails.unwrap_or(48);
        let event = if fails.is_some() { "DBE" } else { "" };
        let _ = writeln!(text, "{unit:05},r{}s{slot},{},{},{event}", unit % 30, month(start), month(end));
    }
    std::fs::write(dir.join("stays.csv"), text).expect("a writable folder");
    std::fs::write(dir.join("summary.csv"), "SN,dead\n1,TRUE\n").expect("a writable folder");
}

#[test]
fn failure_risk_is_told_better_than_by_place_alone() {
    let dir = tempfile::tempdir().unwrap();
    stays(dir.path());
    let output = train(&["bench", "failures", "--dir", ".", "--seeds", "1", "--split", "2017-06-15"], dir.path());
    let result = last_line(&output);
    let model = figure(&result, "/concordance");
    let place = figure(&result, "/baselines/location_only/concordance");
    assert!(model > place + 0.03 && model > 0.6, "{model} against {place}");
    assert_eq!(result["split"], "2017-06-15");
    assert!(String::from_utf8_lossy(&output.stderr).contains("summary.csv is no record of stays"));
}

#[test]
fn an_operator_learns_which_units_fail_next() {
    let dir = tempfile::tempdir().unwrap();
    stays(dir.path());
    let fit = ["fit", "--task", "failure-risk", "--csv", "stays.csv", "--out", "run", "--name", "cards"];
    let output = train(&fit, dir.path());
    let result = last_line(&output);
    assert!(figure(&result, "/parity") <= 1e-5, "{result}");
    let [model, place] =
        ["concordance", "location_only_concordance"].map(|key| figure(&result["measured"], &format!("/{key}")));
    assert!(model > place + 0.03 && model > 0.6, "{model} against {place}");
    let run = |name: &str| std::fs::read_to_string(dir.path().join("run").join(name)).unwrap();
    let manifest: Value = serde_json::from_str(&run("manifest.json")).unwrap();
    let data = &manifest["data"];
    assert_eq!((manifest["task"].as_str(), data["from"].as_str()), (Some("failure_risk"), Some("2015-01-01")));
    assert_eq!(
        (data["rows"].as_u64(), data["units"].as_u64(), data["to"].as_str()),
        (Some(600), Some(600), Some("2019-01-01"))
    );
    // The first half of the units fails ten times as often: they come first.
    let risks = run("risks.csv");
    let units: Vec<u32> = risks.lines().skip(1).filter_map(|l| l.split(',').next()?.parse().ok()).collect();
    assert_eq!(units.len() as u64, result["units_in_place"].as_u64().unwrap());
    let old = units.iter().take(50).filter(|unit| **unit < 300).count();
    assert!(old >= 45, "{old} of the 50 riskiest: {risks}");
    // Four networks to measure, four to export, and every one drew its losses.
    assert!(run("metrics.csv").lines().any(|line| line.starts_with("8,")) && run("loss.svg").contains("<svg"));
    refused(&train(&fit, dir.path()), &["run already holds a training"]);
    refused(&train(&["fit", "--task", "failure-risk", "--record", ".", "--out", "other"], dir.path()), &["--csv"]);
}

/// Cells that fade ever faster, each at its own pace, with noise and a rest that gives some back.
fn cells(dir: &Path) {
    let mut noise = Noise(11);
    let mut text = "battery,cycle,capacity_ah\n".to_owned();
    for cell in 0..4_u32 {
        let pace = noise.between(0.8, 1.4);
        for cycle in 1..=220_u32 {
            let used = f64::from(cycle) / 220.0 * pace;
            let rest = if cycle % 40 == 0 { 0.01 } else { 0.0 };
            let health = 1.0 - 0.25 * used.powi(2) + rest + noise.between(-0.004, 0.004);
            let _ = writeln!(text, "C{cell},{cycle},{:.5}", 2.0 * health);
        }
    }
    std::fs::write(dir.join("cells.csv"), text).expect("a writable folder");
}

#[test]
fn the_fade_of_a_cell_is_learnt_from_others() {
    let dir = tempfile::tempdir().unwrap();
    cells(dir.path());
    let result = last_line(&train(&["bench", "battery", "--dir", ".", "--seeds", "1"], dir.path()));
    for (horizon, share) in [(0, 0.95), (1, 0.8), (2, 0.6)] {
        let error = figure(&result, &format!("/horizons/{horizon}/rmse"));
        let naive = figure(&result, &format!("/horizons/{horizon}/baselines/naive"));
        assert!(error < share * naive, "{error} against {naive}: {result}");
    }
}

/// Fans whose vibration grows with wear; two still run, one of them nearly worn out.
fn fans(dir: &Path) {
    let mut noise = Noise(5);
    let mut text = "unit,cycle,setting_speed,vibration,failed\n".to_owned();
    for unit in 0..18_u32 {
        let life = noise.between(60.0, 120.0) as u32;
        let (name, shown) = match unit {
            0 => ("worn".to_owned(), life - 4),
            1 => ("fresh".to_owned(), 25),
            _ => (format!("fan-{unit}"), life),
        };
        for cycle in 1..=shown {
            let wear = (f64::from(cycle) / f64::from(life)).powi(2);
            let failed = u8::from(cycle == life);
            let vibration = 5.0 + 8.0 * wear + noise.between(-0.5, 0.5);
            let _ = writeln!(text, "{name},{cycle},{:.2},{vibration:.3},{failed}", noise.between(0.4, 0.6));
        }
    }
    std::fs::write(dir.join("fans.csv"), text).expect("a writable folder");
}

#[test]
fn an_operator_learns_which_running_unit_is_nearly_worn_out() {
    let dir = tempfile::tempdir().unwrap();
    fans(dir.path());
    let fit = ["fit", "--task", "remaining-life", "--csv", "fans.csv", "--out", "run", "--name", "fans"];
    let output = train(&fit, dir.path());
    let result = last_line(&output);
    assert!(figure(&result, "/parity") <= 1e-5, "{result}");
    let (error, constant) =
        (figure(&result, "/measured/rmse_cycles"), figure(&result, "/measured/constant_rmse_cycles"));
    assert!(error < 0.6 * constant, "{error} against {constant}");
    let epochs = std::fs::read_to_string(dir.path().join("run/metrics.csv")).unwrap();
    assert!(epochs.starts_with("network,epoch,train_loss") && epochs.lines().any(|line| line.starts_with("2,1,")));
    assert!(dir.path().join("run/loss.svg").exists());
    let lives = std::fs::read_to_string(dir.path().join("run/lives.csv")).unwrap();
    let rows: Vec<Vec<&str>> = lives.lines().skip(1).map(|l| l.split(',').collect()).collect();
    assert_eq!(rows.iter().map(|r| r[0]).collect::<Vec<_>>(), ["worn", "fresh"], "{lives}");
    assert!(rows[0][2].parse::<f64>().unwrap() < 20.0 && rows[1][2].parse::<f64>().unwrap() > 30.0, "{lives}");
    let manifest: Value =
        serde_json::from_slice(&std::fs::read(dir.path().join("run/manifest.json")).unwrap()).unwrap();
    assert_eq!((manifest["units"].as_u64(), manifest["task"].as_str()), (Some(16), Some("remaining_life")));
    let data = &manifest["data"];
    let lines = std::fs::read_to_string(dir.path().join("fans.csv")).unwrap().lines().count() as u64 - 1;
    assert_eq!(
        (data["rows"].as_u64(), data["units"].as_u64(), data["from"].as_f64()),
        (Some(lines), Some(18), Some(1.0))
    );
    refused(&train(&fit, dir.path()), &["run already holds a training"]);
}

/// Begins a training, ends it once `epoch` of `network` is kept, and says what the folder then holds of networks.
fn interrupted(fit: &[&str], dir: &Path, out: &str, network: u32, epoch: usize) -> usize {
    let mut command = Command::new(env!("CARGO_BIN_EXE_headroom-train"));
    let mut running = command.args(fit).current_dir(dir).spawn().expect("the trainer starts");
    let state = dir.join(out).join(format!("networks/{network}/checkpoint/state.json"));
    loop {
        let kept = std::fs::read_to_string(&state).unwrap_or_default();
        if serde_json::from_str::<Value>(&kept).is_ok_and(|s| s["epochs"].as_array().is_some_and(|e| e.len() >= epoch))
        {
            break;
        }
        assert!(running.try_wait().expect("a child").is_none(), "it ended before it was to be ended");
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    // As when the power fails.
    running.kill().expect("a child");
    running.wait().expect("a child");
    std::fs::read_dir(dir.join(out).join("networks")).expect("a folder").count()
}

#[test]
fn tasks_on_tables_resume_where_they_were_ended_and_end_as_if_they_had_not_been() {
    let dir = tempfile::tempdir().unwrap();
    fans(dir.path());
    stays(dir.path());
    for (task, csv, network, epoch) in [("remaining-life", "fans.csv", 3, 20), ("failure-risk", "stays.csv", 6, 30)] {
        let fit = |out| ["fit", "--task", task, "--csv", csv, "--out", out, "--name", "a", "--device", "cpu:1"];
        let straight = last_line(&train(&fit("straight"), dir.path()));
        let networks = interrupted(&fit("resumed"), dir.path(), "resumed", network, epoch);
        assert_eq!(networks, network as usize);
        let resume = |more: &[&'static str]| train(&[&fit("resumed")[..], &["--resume"], more].concat(), dir.path());
        refused(&resume(&["--seed", "7"]), &["not the training to resume", "seed is 7, was 1"]);
        let text = std::fs::read(dir.path().join(csv)).unwrap();
        std::fs::write(dir.path().join(csv), [&text[..], b"\n"].concat()).unwrap();
        refused(&resume(&[]), &["the data has changed"]);
        std::fs::write(dir.path().join(csv), text).unwrap();
        let resumed = last_line(&resume(&[]));
        assert_eq!(resumed, straight, "{task}");
        let rows =
            |out: &str| std::fs::read_to_string(dir.path().join(out).join("metrics.csv")).unwrap().lines().count();
        assert_eq!(rows("resumed"), rows("straight"), "every epoch is told once");
        for out in ["straight", "resumed"] {
            std::fs::remove_dir_all(dir.path().join(out)).unwrap();
        }
        refused(&train(&[&fit("none")[..], &["--resume"]].concat(), dir.path()), &["no training to resume"]);
    }
}

#[test]
fn a_bad_record_is_refused_with_file_and_line() {
    let dir = tempfile::tempdir().unwrap();
    let bench = |args: &[&str]| train(&[&["bench"], args].concat(), dir.path());
    refused(&bench(&["cmapss", "--dir", ".", "--subset", "MINE"]), &["train_MINE.txt"]);
    std::fs::write(dir.path().join("train_MINE.txt"), "1 1 0 0 100 5\n1 1 0 0 100 x\n").unwrap();
    refused(&bench(&["cmapss", "--dir", ".", "--subset", "MINE"]), &["train_MINE.txt", "line 2", "field 6"]);
    refused(&bench(&["battery", "--dir", "."]), &["no CSV file", "capacity_ah"]);
    refused(&bench(&["failures", "--dir", "."]), &["no CSV file", "SN, location, insert, remove, event"]);
    std::fs::write(dir.path().join("stays.csv"), "SN,location,insert,remove,event\n1,a1,2015-01-01,soon,\n").unwrap();
    refused(&bench(&["failures", "stays.csv"]), &["stays.csv", "line 2", "\"soon\" must be a date"]);
    std::fs::write(dir.path().join("cells.csv"), "cycle,capacity_ah\n1,1\n").unwrap();
    refused(&bench(&["battery", "--dir", "."]), &["cells.csv", "has 1 cycles, must have 40"]);
}

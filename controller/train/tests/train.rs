//! The trainer as an operator runs it: a trace goes in, a model that the predictor takes comes out,
//! the same again for the same seed, resumed or not; and what is wrong is said before any learning.

use headroom_predict::Predictor;
use serde_json::Value;
use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, Output};

/// A trace of two racks that rise and fall as inference load does, 20 minutes long.
fn trace(path: &Path) {
    let mut text = "time_s,rack,power_watts,limit_watts,utilization_ratio\n".to_owned();
    for t in 0..1200_u32 {
        for (rack, period) in [("a", 90.0), ("b", 130.0)] {
            let phase = (f64::from(t) / period).fract();
            let load = if phase < 0.6 { 0.2 + phase } else { 0.25 };
            let power = 1800.0 + 4000.0 * load + 40.0 * f64::from(t * 7919 % 13);
            let _ = writeln!(text, "{t},{rack},{power:.1},5600,{load:.3}");
        }
    }
    std::fs::write(path, text).expect("a trace");
}

fn train(args: &[&str], dir: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_headroom-train")).args(args).current_dir(dir).output().expect("the trainer starts")
}

const SMALL: [&str; 12] = [
    "fit",
    "--csv",
    "trace.csv",
    "--width",
    "16",
    "--blocks",
    "1",
    "--batch",
    "64",
    "--stride",
    "4",
    "--hold-out-rack",
];

fn fit(dir: &Path, out: &str, epochs: &str, more: &[&str]) -> Output {
    let args = [&SMALL[..], &["b", "--out", out, "--epochs", epochs], more].concat();
    train(&args, dir)
}

fn last_line(output: &Output) -> Value {
    let text = String::from_utf8_lossy(&output.stdout);
    let last = text.lines().last().unwrap_or_default();
    serde_json::from_str(last).unwrap_or_else(|e| panic!("{e}: {last}\n{}", String::from_utf8_lossy(&output.stderr)))
}

#[test]
fn a_training_leaves_a_model_that_tract_runs_as_the_trainer_does() {
    let dir = tempfile::tempdir().unwrap();
    trace(&dir.path().join("trace.csv"));
    let output = fit(dir.path(), "run", "3", &[]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let result = last_line(&output);
    assert!(result["parity"].as_f64().unwrap() <= 1e-5, "{result}");
    let progress = String::from_utf8_lossy(&output.stderr);
    assert!(progress.contains("epoch   3") && progress.contains("windows/s"), "{progress}");

    let read = |name: &str| std::fs::read(dir.path().join("run").join(name)).unwrap();
    let predictor = Predictor::load(&read("model.onnx"), &read("manifest.json")).unwrap();
    let probes: Value = serde_json::from_slice(&read("probes.json")).unwrap();
    for probe in probes["windows"].as_array().unwrap() {
        let floats = |key: &str| serde_json::from_value::<Vec<f32>>(probe[key].clone()).unwrap();
        let ours = predictor.answer(&floats("features")).unwrap();
        assert!(ours.iter().zip(floats("answer")).all(|(a, b)| (a - b).abs() <= 1e-5));
    }
    for name in ["metrics.csv", "loss.svg", "metrics.json", "config.json", "prepared.json"] {
        assert!(!read(name).is_empty(), "{name}");
    }

    let measured = last_line(&train(&["eval", "--model", "run", "--csv", "trace.csv"], dir.path()));
    assert!(measured["windows"].as_u64().unwrap() > 0 && measured["pinball_watts"]["model"].is_f64(), "{measured}");
}

#[test]
fn a_resumed_training_ends_as_an_uninterrupted_one_and_refuses_another_recipe() {
    let dir = tempfile::tempdir().unwrap();
    trace(&dir.path().join("trace.csv"));
    let straight = last_line(&fit(dir.path(), "straight", "3", &[]));
    let whole = last_line(&fit(dir.path(), "again", "3", &[]));
    assert_eq!(straight["onnx_sha256"], whole["onnx_sha256"], "the same seed gives the same model");

    // What an interruption after the second epoch leaves: the same recipe, a checkpoint of epoch 2.
    let folder = dir.path().join("resumed");
    let mut running = Command::new(env!("CARGO_BIN_EXE_headroom-train"))
        .args([&SMALL[..], &["b", "--out", "resumed", "--epochs", "3"]].concat())
        .current_dir(dir.path())
        .stderr(std::process::Stdio::null())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    while !folder.join("checkpoint").exists() && running.try_wait().unwrap().is_none() {
        std::thread::yield_now();
    }
    let _ = running.kill();
    running.wait().unwrap();

    let other = fit(dir.path(), "resumed", "3", &["--resume", "--seed", "2"]);
    assert_eq!(other.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&other.stderr).contains("seed is 2, was 1"));
    let resumed = last_line(&fit(dir.path(), "resumed", "3", &["--resume"]));
    assert_eq!(resumed["onnx_sha256"], straight["onnx_sha256"]);
}

#[test]
fn every_wrong_option_and_every_wrong_line_is_named_before_any_learning() {
    let dir = tempfile::tempdir().unwrap();
    trace(&dir.path().join("trace.csv"));
    let output = fit(dir.path(), "run", "0", &["--rate", "3"]);
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{error}");
    assert!(error.contains("--epochs must be at least 1") && error.contains("--rate must be above 0"), "{error}");
    assert!(!dir.path().join("run").exists());

    let text = "time_s,rack,power_watts,limit_watts,utilization_ratio\n0,a,much,5600,0.5\n1,a,900,5600,7\n";
    std::fs::write(dir.path().join("bad.csv"), text).unwrap();
    let output = train(&["data", "inspect", "bad.csv"], dir.path());
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{error}");
    assert!(error.contains("bad.csv") && error.contains("line 2") && error.contains("line 3"), "{error}");

    let missing = train(&["data", "inspect", "nowhere.csv"], dir.path());
    assert_eq!(missing.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&missing.stderr).contains("nowhere.csv"));
}

#[test]
fn sources_are_brought_together_and_cut_by_time_and_by_rack() {
    let dir = tempfile::tempdir().unwrap();
    trace(&dir.path().join("trace.csv"));
    let mut export = String::new();
    for t in 0..300_u64 {
        let nanoseconds = (1_700_000_000 + t) * 1_000_000_000;
        let _ = writeln!(export, "headroom_pdu_power_watts,device=pdu-a,rack=c value={} {nanoseconds}", 1000 + t);
    }
    std::fs::write(dir.path().join("export.lp"), export).unwrap();
    let import = ["data", "import", "--csv", "trace.csv", "--influx", "export.lp", "--out", "all.csv"];
    let said = last_line(&train(&import, dir.path()));
    assert_eq!((&said["racks"], &said["seconds"]), (&serde_json::json!(["a", "b", "c"]), &2700.into()), "{said}");
    assert_eq!(train(&import, dir.path()).status.code(), Some(2), "what is there already is not overwritten");

    let split = ["data", "split", "--csv", "all.csv", "--hold-out-rack", "b", "--out", "parts"];
    let said = last_line(&train(&split, dir.path()));
    let expected =
        serde_json::json!({"train": 840 + 210, "validation": 180 + 45, "test-time": 180 + 45, "test-rack": 1200});
    assert_eq!(said["seconds"], expected);
    let rows = |name: &str| std::fs::read_to_string(dir.path().join("parts").join(name)).unwrap();
    assert_eq!(rows("test-rack.csv").lines().count(), 1201);
    assert!(rows("test-rack.csv").lines().skip(1).all(|line| line.contains(",b,")));
    assert!(!rows("train.csv").contains(",b,") && rows("train.csv").contains("\n839,a,"));
    assert!(rows("validation.csv").contains("\n840,a,") && rows("test-time.csv").contains("\n1199,a,"));

    let unknown = train(&["data", "split", "--csv", "all.csv", "--hold-out-rack", "z", "--out", "other"], dir.path());
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("z: no such rack"));
}

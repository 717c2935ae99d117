//! Exported models before judges that share no line with ours: onnx's checker and onnxruntime accept them and answer as the trainer does
//! (tract, which the controller runs, is held to the same limit by the trainer itself before it writes a model).

use headroom_tests::peer::ask;
use headroom_tests::{program, repository};
use std::path::Path;
use std::process::Command;

/// Nameplates. Rounding is some 1e-6.
const LIMIT: f64 = 1e-5;

fn judge(model: &Path, probes: &Path) {
    let said = ask("onnx_models.py", &[&model.to_string_lossy(), &probes.to_string_lossy()], &[]);
    let number = |key: &str| said[key].as_f64().unwrap_or_else(|| panic!("no {key} in {said}"));
    assert!(number("windows") >= 8.0 && number("outputs") >= 1.0, "{said}");
    assert!(number("one_by_one") <= LIMIT && number("together") <= LIMIT, "{said}");
    assert!(number("moved") > 3.0 * LIMIT, "a wrong weight would not be seen: {said}");
}

#[test]
fn the_shipped_forecaster_is_accepted_and_answers_as_the_trainer_did() {
    judge(&repository("controller/models/rack-power.onnx"), &repository("controller/models/rack-power.probes.json"));
}

#[test]
fn a_model_trained_just_now_is_accepted_and_answers_as_the_trainer_does() {
    let dir = tempfile::tempdir().unwrap();
    let trace = dir.path().join("trace.csv");
    let run = |name: &str, args: &[&str]| {
        let output = Command::new(program(name)).args(args).current_dir(dir.path()).output().unwrap();
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    };
    run("headroom-sim", &["trace", "--hours", "0.5", "--seed", "3", "--out", &trace.to_string_lossy()]);
    let fit = ["fit", "--csv", "trace.csv", "--out", "run", "--epochs", "2", "--width", "24", "--blocks", "3"];
    run("headroom-train", &fit);
    judge(&dir.path().join("run/model.onnx"), &dir.path().join("run/probes.json"));
}

//! Networks that must not serve, written operator by operator with the trainer's own writer, described by a manifest whose hash
//! is right, and refused by the predictor with the reason when they are loaded, not when a rack depends on them.

use super::{Writer, file};
use headroom_predict::{FEATURES, OUTPUTS, Predictor, Refused, file_hash};

/// `answer = op(features, weight)`, a matrix product unless another operator is named.
fn network(op: &str, inputs: usize, outputs: usize, weight: f32) -> Vec<u8> {
    let mut w = Writer::default();
    let weights = w.floats("weight", &[inputs, outputs], &vec![weight; inputs * outputs]);
    let answer = w.op(op, "answer", &["features", &weights], None);
    file(&mut w, "made", inputs, &answer, outputs)
}

/// Loads it with the shipped manifest, its hash put right.
fn load(onnx: &[u8]) -> Result<Predictor, Refused> {
    let mut manifest: serde_json::Value =
        serde_json::from_slice(include_bytes!("../../../models/rack-power.manifest.json")).unwrap();
    manifest["onnx_sha256"] = file_hash(onnx).into();
    Predictor::load(onnx, manifest.to_string().as_bytes())
}

fn reason(onnx: &[u8]) -> String {
    match load(onnx) {
        Err(Refused::Network(why)) => why,
        other => panic!("not refused as a network: {other:?}"),
    }
}

#[test]
fn a_network_made_here_is_taken_so_that_the_others_are_refused_for_their_fault_alone() {
    assert!(load(&network("MatMul", FEATURES, OUTPUTS, 0.01)).is_ok());
}

#[test]
fn a_network_with_another_number_of_answers_is_refused() {
    let why = reason(&network("MatMul", FEATURES, OUTPUTS - 1, 0.01));
    assert!(why.contains("answers 17 numbers, 18 are expected"), "{why}");
}

#[test]
fn a_network_for_another_number_of_features_is_refused() {
    reason(&network("MatMul", FEATURES + 1, OUTPUTS, 0.01));
}

#[test]
fn an_operator_that_tract_does_not_know_is_refused_by_its_name() {
    let why = reason(&network("Frobnicate", FEATURES, OUTPUTS, 0.01));
    assert!(why.contains("Frobnicate"), "{why}");
}

#[test]
fn a_network_that_answers_nan_or_infinity_is_refused() {
    for weight in [f32::NAN, f32::INFINITY, f32::MAX] {
        let why = reason(&network("MatMul", FEATURES, OUTPUTS, weight));
        assert!(why.contains("a number that is none"), "{weight}: {why}");
    }
}

#[test]
fn bytes_cut_off_anywhere_are_refused_and_never_a_panic() {
    let whole = network("MatMul", FEATURES, OUTPUTS, 0.01);
    for length in [0, 1, 10, 100, whole.len() / 2, whole.len() - 1] {
        assert!(load(&whole[..length]).is_err(), "{length} bytes");
    }
}

//! Networks that must not serve: built here operator by operator, described by a manifest whose hash
//! is right, and refused with the reason when they are loaded, not when a rack depends on them.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers too")]

use headroom_predict::{FEATURES, OUTPUTS, Predictor, Refused, file_hash};
use prost::Message;
use tract_onnx::pb::tensor_shape_proto::{Dimension, dimension};
use tract_onnx::pb::{
    GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, TensorShapeProto, TypeProto, ValueInfoProto,
    tensor_proto, type_proto,
};

fn value(name: &str, columns: usize) -> ValueInfoProto {
    let dimension = |value| Dimension { value: Some(value), ..Dimension::default() };
    let rows = dimension(dimension::Value::DimParam("windows".to_owned()));
    let shape = TensorShapeProto { dim: vec![rows, dimension(dimension::Value::DimValue(columns as i64))] };
    let tensor = type_proto::Tensor { elem_type: tensor_proto::DataType::Float as i32, shape: Some(shape) };
    ValueInfoProto {
        name: name.to_owned(),
        r#type: Some(TypeProto { denotation: String::new(), value: Some(type_proto::Value::TensorType(tensor)) }),
        ..ValueInfoProto::default()
    }
}

/// `answer = op(features, weight)`, a matrix product unless another operator is named.
fn network(op: &str, inputs: usize, outputs: usize, weight: f32) -> Vec<u8> {
    let weights = TensorProto {
        name: "weight".to_owned(),
        dims: vec![inputs as i64, outputs as i64],
        data_type: tensor_proto::DataType::Float as i32,
        raw_data: vec![weight; inputs * outputs].iter().flat_map(|v| v.to_le_bytes()).collect(),
        ..TensorProto::default()
    };
    let node = NodeProto {
        name: "answer".to_owned(),
        op_type: op.to_owned(),
        input: ["features", "weight"].map(str::to_owned).to_vec(),
        output: vec!["answer".to_owned()],
        ..NodeProto::default()
    };
    let graph = GraphProto {
        name: "made".to_owned(),
        input: vec![value("features", inputs)],
        output: vec![value("answer", outputs)],
        node: vec![node],
        initializer: vec![weights],
        ..GraphProto::default()
    };
    ModelProto {
        ir_version: 8,
        opset_import: vec![OperatorSetIdProto { domain: String::new(), version: 17 }],
        graph: Some(graph),
        ..ModelProto::default()
    }
    .encode_to_vec()
}

/// Loads it with the shipped manifest, its hash put right.
fn load(onnx: &[u8]) -> Result<Predictor, Refused> {
    let mut manifest: serde_json::Value =
        serde_json::from_slice(include_bytes!("../../models/rack-power.manifest.json")).unwrap();
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

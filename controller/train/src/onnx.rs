//! Writes the network as ONNX: plain weights in, bytes out. Only operators that tract and
//! onnxruntime both have; scaling is part of the graph, so the file takes raw features.

use crate::scale::Scale;
use crate::weights::{Dense, Weights};
use crate::windows::TARGETS;
use headroom_predict::{FEATURES, OUTPUTS};
use prost::Message;
use tract_onnx::pb::tensor_shape_proto::{Dimension, dimension};
use tract_onnx::pb::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, TensorShapeProto, TypeProto,
    ValueInfoProto, attribute_proto, tensor_proto, type_proto,
};

/// Old enough for every runtime in use, new enough for axes as inputs.
const OPSET: i64 = 17;
/// The file format that goes with it.
const IR_VERSION: i64 = 8;

/// Nodes and constants of a graph that is being written.
#[derive(Debug, Default)]
pub(crate) struct Writer {
    nodes: Vec<NodeProto>,
    constants: Vec<TensorProto>,
}

impl Writer {
    /// A constant of floats; its name.
    pub(crate) fn floats(&mut self, name: &str, dims: &[usize], values: &[f32]) -> String {
        self.constants.push(TensorProto {
            name: name.to_owned(),
            dims: dims.iter().map(|d| *d as i64).collect(),
            data_type: tensor_proto::DataType::Float as i32,
            raw_data: values.iter().flat_map(|v| v.to_le_bytes()).collect(),
            ..TensorProto::default()
        });
        name.to_owned()
    }

    /// A constant of one integer; its name.
    pub(crate) fn integer(&mut self, name: &str, value: i64) -> String {
        self.constants.push(TensorProto {
            name: name.to_owned(),
            dims: vec![1],
            data_type: tensor_proto::DataType::Int64 as i32,
            raw_data: value.to_le_bytes().to_vec(),
            ..TensorProto::default()
        });
        name.to_owned()
    }

    /// Adds a node with one output, named like the node.
    pub(crate) fn op(&mut self, kind: &str, name: &str, inputs: &[&str], axis: Option<i64>) -> String {
        let attribute = axis.map(|i| AttributeProto {
            name: "axis".to_owned(),
            r#type: attribute_proto::AttributeType::Int as i32,
            i,
            ..AttributeProto::default()
        });
        self.nodes.push(NodeProto {
            name: name.to_owned(),
            op_type: kind.to_owned(),
            input: inputs.iter().map(|i| (*i).to_owned()).collect(),
            output: vec![name.to_owned()],
            attribute: attribute.into_iter().collect(),
            ..NodeProto::default()
        });
        name.to_owned()
    }

    fn dense(&mut self, name: &str, dense: &Dense, x: &str) -> String {
        let weight = self.floats(&format!("{name}.weight"), &[dense.inputs, dense.outputs], &dense.weight);
        let bias = self.floats(&format!("{name}.bias"), &[dense.outputs], &dense.bias);
        self.op("Gemm", name, &[x, &weight, &bias], None)
    }

    /// As in the network: `relu(x) + ln(1 + exp(-|x|))`, which cannot overflow.
    fn softplus(&mut self, name: &str, x: &str, one: &str) -> String {
        let size = self.op("Abs", &format!("{name}.abs"), &[x], None);
        let minus = self.op("Neg", &format!("{name}.neg"), &[&size], None);
        let small = self.op("Exp", &format!("{name}.exp"), &[&minus], None);
        let more = self.op("Add", &format!("{name}.one"), &[&small, one], None);
        let log = self.op("Log", &format!("{name}.log"), &[&more], None);
        let relu = self.op("Relu", &format!("{name}.relu"), &[x], None);
        self.op("Add", name, &[&relu, &log], None)
    }

    /// One number per horizon of the raw output, as a column.
    fn part(&mut self, name: &str, raw: &str, index: usize, axis: &str) -> String {
        let start = self.integer(&format!("{name}.start"), (index * TARGETS) as i64);
        let end = self.integer(&format!("{name}.end"), ((index + 1) * TARGETS) as i64);
        self.op("Slice", name, &[raw, &start, &end, axis], None)
    }
}

/// The bytes of the ONNX file of one network.
pub fn encode(name: &str, weights: &Weights, scale: &Scale) -> Vec<u8> {
    let w = &mut Writer::default();
    let mean = w.floats("mean", &[1, FEATURES], &scale.mean);
    let deviation = w.floats("deviation", &[1, FEATURES], &scale.deviation);
    let centred = w.op("Sub", "centred", &["features", &mean], None);
    let x = w.op("Div", "normalised", &[&centred, &deviation], None);
    let dense = w.dense("input", &weights.input, &x);
    let mut h = w.op("Relu", "hidden", &[&dense], None);
    for (i, [first, second]) in weights.blocks.iter().enumerate() {
        let a = w.dense(&format!("block{i}.first"), first, &h);
        let b = w.op("Relu", &format!("block{i}.relu"), &[&a], None);
        let c = w.dense(&format!("block{i}.second"), second, &b);
        h = w.op("Add", &format!("block{i}"), &[&h, &c], None);
    }
    let head = w.dense("head", &weights.head, &h);
    let skip = w.dense("skip", &weights.skip, &x);
    let raw = w.op("Add", "raw", &[&head, &skip], None);
    let answer = quantiles(w, &raw, scale);
    file(w, name, FEATURES, &answer, OUTPUTS)
}

/// The file of a graph from `features`, so many to a row, to `answer`.
pub(crate) fn file(w: &mut Writer, name: &str, features: usize, answer: &str, outputs: usize) -> Vec<u8> {
    let graph = GraphProto {
        name: name.to_owned(),
        input: vec![value("features", features)],
        output: vec![value(answer, outputs)],
        node: std::mem::take(&mut w.nodes),
        initializer: std::mem::take(&mut w.constants),
        ..GraphProto::default()
    };
    ModelProto {
        ir_version: IR_VERSION,
        opset_import: vec![OperatorSetIdProto { domain: String::new(), version: OPSET }],
        producer_name: "headroom-train".to_owned(),
        producer_version: env!("CARGO_PKG_VERSION").to_owned(),
        graph: Some(graph),
        ..ModelProto::default()
    }
    .encode_to_vec()
}

/// Median and increments to ascending quantiles, times the scale of each horizon.
fn quantiles(w: &mut Writer, raw: &str, scale: &Scale) -> String {
    let one = w.floats("one", &[1, 1], &[1.0]);
    let (axis, last) = (w.integer("axis", 1), w.integer("last", 2));
    let median = w.part("median", raw, 0, &axis);
    let mut rows = vec![median];
    for (i, name) in [(1, "upper"), (2, "highest")] {
        let increment = w.part(&format!("{name}.increment"), raw, i, &axis);
        let positive = w.softplus(&format!("{name}.positive"), &increment, &one);
        let below = rows[i - 1].clone();
        rows.push(w.op("Add", name, &[&below, &positive], None));
    }
    let columns: Vec<String> =
        rows.iter().map(|row| w.op("Unsqueeze", &format!("{row}.column"), &[row, &last], None)).collect();
    let columns: Vec<&str> = columns.iter().map(String::as_str).collect();
    let joined = w.op("Concat", "joined", &columns, Some(2));
    let scale = w.floats("scale", &[1, TARGETS, 1], &scale.output);
    let scaled = w.op("Mul", "scaled", &[&joined, &scale], None);
    w.op("Flatten", "changes", &[&scaled], Some(1))
}

/// A matrix of any number of rows.
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

#[cfg(test)]
mod refused;

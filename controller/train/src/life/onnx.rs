//! A model of remaining life as ONNX: features of a cycle in; expected life, low and high end in cycles out.

use super::model::{Life, Model};
use crate::onnx::{Writer, file};
use crate::tabular;
use anyhow::Result;

/// tract and the trainer may differ by this much, in shares of the longest life told. Rounding is some 1e-6.
pub const PARITY: f64 = 1e-5;
/// Mean, low and high end.
const OUTPUTS: usize = 3;

/// The bytes of the file.
pub fn encode(name: &str, model: &Model) -> Vec<u8> {
    let w = &mut Writer::default();
    let shares = tabular::onnx::add(w, &model.ensemble);
    let one = |w: &mut Writer, name: &str, value: f64| w.floats(name, &[1, 1], &[value as f32]);
    let (cap, zero) = (one(w, "cap", model.cap), one(w, "zero", 0.0));
    let widening = one(w, "widening", model.widening);
    let axis = w.integer("axis", 1);
    let cycles = w.op("Mul", "cycles", &[&shares, &cap], None);
    let column = |w: &mut Writer, k: i64| {
        let (start, end) = (w.integer(&format!("start{k}"), k), w.integer(&format!("end{k}"), k + 1));
        w.op("Slice", &format!("column{k}"), &[&cycles, &start, &end, &axis], None)
    };
    let (expected, a, b) = (column(w, 0), column(w, 1), column(w, 2));
    let within = |w: &mut Writer, name: &str, x: &str| {
        let above = w.op("Max", &format!("{name}.above"), &[x, &zero], None);
        w.op("Min", &format!("{name}.within"), &[&above, &cap], None)
    };
    let mean = within(w, "mean_life", &expected);
    let (least, most) = (w.op("Min", "least", &[&a, &b], None), w.op("Max", "most", &[&a, &b], None));
    let (low, high) =
        (w.op("Sub", "lower", &[&least, &widening], None), w.op("Add", "higher", &[&most, &widening], None));
    let (low, high) = (within(w, "low_end", &low), within(w, "high_end", &high));
    let (low, high) = (w.op("Min", "low", &[&low, &mean], None), w.op("Max", "high", &[&high, &mean], None));
    let answer = w.op("Concat", "life", &[&mean, &low, &high], Some(1));
    file(w, name, model.ensemble.columns.mean.len(), &answer, OUTPUTS)
}

/// Largest difference between tract's answers to the file and the trainer's own, in shares of the
/// longest life told.
///
/// # Errors
/// tract cannot run the file.
pub fn parity(onnx: &[u8], model: &Model, rows: &[&[f32]]) -> Result<f64> {
    let own = |row: &[f32]| {
        let Life { mean, low, high } = model.life(&model.ensemble.answer(row));
        vec![mean, low, high]
    };
    Ok(tabular::onnx::parity(onnx, model.ensemble.columns.mean.len(), rows, own)? / model.cap)
}

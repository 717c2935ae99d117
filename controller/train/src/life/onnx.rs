//! A model of remaining life as ONNX: features of a cycle in; expected life, low and high end in cycles out.

use super::model::{Life, Model};
use crate::onnx::{Writer, file};
use crate::tabular;
use anyhow::{Context, Result, ensure};
use std::panic::{AssertUnwindSafe, catch_unwind};
use tract_onnx::prelude::*;

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
    let width = model.ensemble.columns.mean.len();
    let run = || -> TractResult<f64> {
        let plan = tract_onnx::onnx()
            .model_for_read(&mut std::io::Cursor::new(onnx))?
            .with_input_fact(0, f32::fact([1, width]).into())?
            .into_optimized()?
            .into_runnable()?;
        let mut largest = 0.0_f64;
        for row in rows {
            let answer = plan.run(tvec!(Tensor::from_shape(&[1, width], row)?.into()))?;
            let theirs: Vec<f32> = answer[0].to_plain_array_view::<f32>()?.iter().copied().collect();
            let Life { mean, low, high } = model.life(&model.ensemble.answer(row));
            let differences = theirs.iter().zip([mean, low, high]).map(|(t, o)| (f64::from(*t) - o).abs());
            largest = differences.fold(largest, f64::max);
        }
        Ok(largest / model.cap)
    };
    // tract panics on some shapes; nothing is changed by a run.
    let outcome = catch_unwind(AssertUnwindSafe(run)).ok().context("tract panics on the exported network")?;
    let parity = outcome.context("tract cannot run the exported network")?;
    ensure!(parity.is_finite(), "tract answers with something that is not a number");
    Ok(parity)
}

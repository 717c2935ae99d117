//! Writes an ensemble as ONNX (raw features in, the mean answer of its networks out) and holds tract's answers against the trainer's.

use super::ensemble::Ensemble;
use crate::onnx::Writer;
use anyhow::{Context, Result, ensure};
use std::panic::{AssertUnwindSafe, catch_unwind};
use tract_onnx::prelude::*;

/// Adds the ensemble to a graph whose input is `features`; the name of its answer.
pub(crate) fn add(w: &mut Writer, ensemble: &Ensemble) -> String {
    let floats = |values: &[f64]| values.iter().map(|v| *v as f32).collect::<Vec<f32>>();
    let columns = &ensemble.columns;
    let width = columns.mean.len();
    let mean = w.floats("mean", &[1, width], &floats(&columns.mean));
    let deviation = w.floats("deviation", &[1, width], &floats(&columns.deviation));
    let centred = w.op("Sub", "centred", &["features", &mean], None);
    let normalised = w.op("Div", "normalised", &[&centred, &deviation], None);
    let mut sum: Option<String> = None;
    for (m, member) in ensemble.members.iter().enumerate() {
        let mut h = normalised.clone();
        let layers = member.sizes.len() - 1;
        for (i, layer) in member.parameters.chunks_exact(2).enumerate() {
            let name = format!("network{m}.layer{i}");
            let weight = w.floats(&format!("{name}.weight"), &[member.sizes[i], member.sizes[i + 1]], &layer[0]);
            let bias = w.floats(&format!("{name}.bias"), &[member.sizes[i + 1]], &layer[1]);
            h = w.op("Gemm", &name, &[&h, &weight, &bias], None);
            if i + 1 < layers {
                h = w.op("Relu", &format!("{name}.relu"), &[&h], None);
            }
        }
        sum = Some(match sum {
            Some(before) => w.op("Add", &format!("sum{m}"), &[&before, &h], None),
            None => h,
        });
    }
    let share = w.floats("share", &[1, 1], &[1.0 / ensemble.members.len() as f32]);
    w.op("Mul", "ensemble", &[sum.as_deref().unwrap_or("normalised"), &share], None)
}

/// Largest difference between tract's answers to a file and the trainer's own, on rows of `width` features.
///
/// # Errors
/// tract cannot run the file.
pub(crate) fn parity(onnx: &[u8], width: usize, rows: &[&[f32]], own: impl Fn(&[f32]) -> Vec<f64>) -> Result<f64> {
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
            let differences = theirs.iter().zip(own(row)).map(|(theirs, own)| (f64::from(*theirs) - own).abs());
            // A comparison with something that is no number is false, so it must not be lost in a maximum.
            largest = differences.fold(largest, |most, d| if d <= most { most } else { d });
        }
        Ok(largest)
    };
    // tract panics on some shapes; nothing is changed by a run.
    let outcome = catch_unwind(AssertUnwindSafe(run)).ok().context("tract panics on the exported network")?;
    let parity = outcome.context("tract cannot run the exported network")?;
    ensure!(parity.is_finite(), "tract answers with something that is not a number");
    Ok(parity)
}

//! Writes an ensemble as ONNX: raw features in, the mean answer of its networks out.

use super::ensemble::Ensemble;
use crate::onnx::Writer;

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

//! A model of failure risk as ONNX: features of a unit in; the logarithm of how many times likelier than usual it fails next out.

use crate::onnx::{Writer, file};
use crate::tabular::{self, Ensemble};
use anyhow::Result;

/// tract and the trainer may differ by this much. Rounding is some 1e-6.
pub const PARITY: f64 = 1e-5;
/// A logarithm beyond this is cut: e^8 times the usual is certain failure.
pub const LARGEST: f64 = 8.0;

/// The bytes of the file.
pub fn encode(name: &str, ensemble: &Ensemble) -> Vec<u8> {
    let w = &mut Writer::default();
    let answer = tabular::onnx::add(w, ensemble);
    let [most, least] = [("most", LARGEST), ("least", -LARGEST)].map(|(name, v)| w.floats(name, &[1, 1], &[v as f32]));
    let below = w.op("Min", "below", &[&answer, &most], None);
    let risk = w.op("Max", "risk", &[&below, &least], None);
    file(w, name, ensemble.columns.mean.len(), &risk, 1)
}

/// Largest difference between tract's answers to the file and the trainer's own.
///
/// # Errors
/// tract cannot run the file.
pub fn parity(onnx: &[u8], ensemble: &Ensemble, rows: &[&[f32]]) -> Result<f64> {
    let own = |row: &[f32]| vec![f64::from(ensemble.answer(row)[0]).clamp(-LARGEST, LARGEST)];
    tabular::onnx::parity(onnx, ensemble.columns.mean.len(), rows, own)
}

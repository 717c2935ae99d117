//! The network itself: ONNX bytes to a tract plan for one window at a time.

use crate::{FEATURES, OUTPUTS};
use std::panic::{AssertUnwindSafe, catch_unwind};
use tract_onnx::prelude::*;

/// A loaded and optimised network.
#[derive(Debug)]
pub struct Net {
    plan: Arc<TypedRunnableModel>,
}

impl Net {
    /// Loads, fixes the input shape (tract can panic on symbolic ones) and optimises.
    pub fn load(onnx: &[u8]) -> Result<Self, String> {
        let load = || -> TractResult<Self> {
            let model = tract_onnx::onnx()
                .model_for_read(&mut std::io::Cursor::new(onnx))?
                .with_input_fact(0, f32::fact([1, FEATURES]).into())?
                .into_optimized()?;
            Ok(Self { plan: model.into_runnable()? })
        };
        match catch_unwind(load) {
            Ok(loaded) => loaded.map_err(|e| format!("{e:#}")),
            Err(_) => Err("an operator or shape is not supported".to_owned()),
        }
    }

    /// One answer of [`OUTPUTS`] finite numbers.
    pub fn run(&self, features: &[f32]) -> Result<Vec<f32>, String> {
        let run = || -> TractResult<Vec<f32>> {
            let input = Tensor::from_shape(&[1, FEATURES], features)?;
            let output = self.plan.run(tvec!(input.into()))?;
            let answer = output[0].to_plain_array_view::<f32>()?.iter().copied().collect();
            Ok(answer)
        };
        // The plan is not changed by a run: a panic leaves nothing half done.
        let answer = match catch_unwind(AssertUnwindSafe(run)) {
            Ok(answer) => answer.map_err(|e| format!("{e:#}"))?,
            Err(_) => return Err("it panics".to_owned()),
        };
        if answer.len() != OUTPUTS {
            return Err(format!("it answers {} numbers, {OUTPUTS} are expected", answer.len()));
        }
        if answer.iter().any(|v| !v.is_finite()) {
            return Err("it answers a number that is none".to_owned());
        }
        Ok(answer)
    }
}

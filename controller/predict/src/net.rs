//! The network itself: ONNX bytes to tract plans, for one window at a time and for many at once.

use crate::{FEATURES, OUTPUTS};
use std::panic::{AssertUnwindSafe, catch_unwind};
use tract_onnx::prelude::*;

/// Windows in one run of the larger plan: enough for the matrix products to be worth it, small
/// enough that the last, half-empty run costs little.
const MANY: usize = 64;

type Plan = Arc<TypedRunnableModel>;

/// A loaded and optimised network.
#[derive(Debug)]
pub struct Net {
    one: Plan,
    /// None where the network takes only one window at a time.
    many: Option<Plan>,
}

impl Net {
    /// Loads, fixes the input shape (tract can panic on symbolic ones) and optimises.
    pub fn load(onnx: &[u8]) -> Result<Self, String> {
        let one = plan(onnx, 1)?;
        let net = Self { one, many: plan(onnx, MANY).ok() };
        // A network may load for many windows and mix them up, or answer for one of them only.
        let mixed = (0..MANY * FEATURES).map(|i| ((i * 37 % 101) as f32 - 50.0) / 100.0);
        let mixed: Vec<f32> = mixed.collect();
        let agrees = net.many.as_ref().is_some_and(|many| {
            run(many, &mixed, MANY).is_ok_and(|together| {
                [0, 1, MANY - 1].into_iter().all(|i| {
                    net.run(&mixed[i * FEATURES..(i + 1) * FEATURES]).is_ok_and(|alone| {
                        let there = &together[i * OUTPUTS..(i + 1) * OUTPUTS];
                        alone.iter().zip(there).all(|(a, b)| (a - b).abs() <= 1e-5 * (1.0 + a.abs()))
                    })
                })
            })
        });
        Ok(Self { many: net.many.filter(|_| agrees), ..net })
    }

    /// One answer of [`OUTPUTS`] finite numbers.
    pub fn run(&self, features: &[f32]) -> Result<Vec<f32>, String> {
        finite(&run(&self.one, features, 1)?)
    }

    /// An answer for each window; one that is nonsense is an error of its own.
    pub fn run_all(&self, windows: &[&[f32]]) -> Vec<Result<Vec<f32>, String>> {
        let Some(many) = self.many.as_ref().filter(|_| windows.len() > MANY / 8) else {
            return windows.iter().map(|w| self.run(w)).collect();
        };
        let mut answers = Vec::with_capacity(windows.len());
        for chunk in windows.chunks(MANY) {
            let mut features = chunk.concat();
            features.resize(MANY * FEATURES, 0.0);
            match run(many, &features, MANY) {
                Ok(together) => answers.extend(together.chunks(OUTPUTS).take(chunk.len()).map(finite)),
                Err(why) => answers.extend(chunk.iter().map(|_| Err(why.clone()))),
            }
        }
        answers
    }
}

fn plan(onnx: &[u8], windows: usize) -> Result<Plan, String> {
    let load = || -> TractResult<Plan> {
        let model = tract_onnx::onnx()
            .model_for_read(&mut std::io::Cursor::new(onnx))?
            .with_input_fact(0, f32::fact([windows, FEATURES]).into())?
            .into_optimized()?;
        model.into_runnable()
    };
    match catch_unwind(load) {
        Ok(loaded) => loaded.map_err(|e| format!("{e:#}")),
        Err(_) => Err("an operator or shape is not supported".to_owned()),
    }
}

fn run(plan: &Plan, features: &[f32], windows: usize) -> Result<Vec<f32>, String> {
    let run = || -> TractResult<Vec<f32>> {
        let input = Tensor::from_shape(&[windows, FEATURES], features)?;
        let output = plan.run(tvec!(input.into()))?;
        let answer = output[0].to_plain_array_view::<f32>()?.iter().copied().collect();
        Ok(answer)
    };
    // The plan is not changed by a run: a panic leaves nothing half done.
    let answer = match catch_unwind(AssertUnwindSafe(run)) {
        Ok(answer) => answer.map_err(|e| format!("{e:#}"))?,
        Err(_) => return Err("it panics".to_owned()),
    };
    let expected = windows * OUTPUTS;
    if answer.len() != expected {
        return Err(format!("it answers {} numbers, {expected} are expected", answer.len()));
    }
    Ok(answer)
}

fn finite(answer: &[f32]) -> Result<Vec<f32>, String> {
    if answer.iter().any(|v| !v.is_finite()) {
        return Err("it answers a number that is none".to_owned());
    }
    Ok(answer.to_vec())
}

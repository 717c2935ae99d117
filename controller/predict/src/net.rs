//! The network itself: ONNX bytes to tract plans, for one window at a time and for many at once. Products with constant matrices run
//! as operators of our own inside tract's graph ([`fused`]) where they give tract's own answers.

mod dense;
mod fused;

use crate::{FEATURES, OUTPUTS};
use dense::Layer;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, PoisonError};
use tract_onnx::prelude::*;

/// Windows in one run of the larger plans, the most first.
pub(crate) const MANY: [usize; 2] = [256, 32];
/// So many windows one by one take about as long as a run of the smaller plan.
const FEW: usize = 4;

/// A loaded and optimised network.
#[derive(Debug)]
pub struct Net {
    one: Plan,
    /// The most windows first; none where the network takes only one at a time.
    many: Vec<Plan>,
}

/// A network for so many windows.
#[derive(Debug)]
struct Plan {
    windows: usize,
    plan: Arc<TypedRunnableModel>,
    /// What a run needs and the next one can use again; as many as ran at the same time.
    idle: Mutex<Vec<TypedSimpleState>>,
}

impl Net {
    /// Loads, fixes the input shape (tract can panic on symbolic ones) and optimises.
    ///
    /// # Errors
    /// tract does not take it, or it answers another number of numbers.
    pub fn load(onnx: &[u8]) -> Result<Self, String> {
        let theirs = Plan::load(onnx, 1, None)?;
        let mixed = (0..MANY[0] * FEATURES).map(|i| ((i * 37 % 101) as f32 - 50.0) / 100.0);
        let mixed: Vec<f32> = mixed.collect();
        let windows: Vec<&[f32]> = mixed.chunks(FEATURES).collect();
        // Whatever tract makes of our operators: what they answer must be what its own do.
        let ours = dense::layers().first().and_then(|layer| Some((*layer, Plan::load(onnx, 1, Some(*layer)).ok()?)));
        let ours = ours.filter(|(_, ours)| windows[..8].iter().all(|window| agree(&theirs, ours, &[window])));
        let (layer, one) = ours.map_or((None, theirs), |(layer, ours)| (Some(layer), ours));
        // A network may load for many windows and mix them up, or answer for one of them only.
        let many = MANY.into_iter().filter_map(|n| Plan::load(onnx, n, layer).ok());
        let many = many.filter(|many| agree(&one, many, &windows[..many.windows])).collect();
        Ok(Self { one, many })
    }

    /// One answer of [`OUTPUTS`] finite numbers.
    ///
    /// # Errors
    /// What tract says, or that a number is none.
    pub fn run(&self, features: &[f32]) -> Result<[f32; OUTPUTS], String> {
        finite(&self.one.run(&[features])?)
    }

    /// An answer for each window; one that is nonsense is an error of its own.
    pub fn run_all(&self, windows: &[&[f32]]) -> Vec<Result<[f32; OUTPUTS], String>> {
        let mut answers = Vec::with_capacity(windows.len());
        while let Some(rest) = windows.get(answers.len()..).filter(|rest| !rest.is_empty()) {
            // The largest one that is filled, else the smallest one, which zeros fill up.
            let full = self.many.iter().find(|many| many.windows <= rest.len());
            let plan = full.or(self.many.last().filter(|_| rest.len() > FEW)).unwrap_or(&self.one);
            let now = &rest[..rest.len().min(plan.windows)];
            match plan.run(now) {
                Ok(together) => answers.extend(together.chunks(OUTPUTS).take(now.len()).map(finite)),
                Err(why) => answers.extend(now.iter().map(|_| Err(why.clone()))),
            }
        }
        answers
    }
}

impl Plan {
    fn load(onnx: &[u8], windows: usize, ours: Option<Layer>) -> Result<Self, String> {
        let load = || -> TractResult<Arc<TypedRunnableModel>> {
            let mut model = tract_onnx::onnx()
                .model_for_read(&mut std::io::Cursor::new(onnx))?
                .with_input_fact(0, f32::fact([windows, FEATURES]).into())?
                .into_typed()?;
            if let Some(layer) = ours {
                fused::rewrite(&mut model, layer)?;
            }
            model.into_optimized()?.into_runnable()
        };
        match catch_unwind(load) {
            Ok(Ok(plan)) => Ok(Self { windows, plan, idle: Mutex::default() }),
            Ok(Err(why)) => Err(format!("{why:#}")),
            Err(_) => Err("an operator or shape is not supported".to_owned()),
        }
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<TypedSimpleState>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The answers to so many windows at most, and after them those to zeros.
    fn run(&self, windows: &[&[f32]]) -> Result<Vec<f32>, String> {
        let run = || -> TractResult<Vec<f32>> {
            let mut features = Vec::with_capacity(self.windows * FEATURES);
            windows.iter().for_each(|window| features.extend_from_slice(window));
            features.resize(self.windows * FEATURES, 0.0);
            let input = tract_ndarray::Array2::from_shape_vec((self.windows, FEATURES), features)?.into_tensor();
            let idle = self.idle().pop();
            let mut state = idle.map_or_else(|| self.plan.spawn(), Ok)?;
            let output = state.run(tvec!(input.into()))?;
            let answer = output[0].try_as_plain_ram()?.as_slice::<f32>()?.to_vec();
            self.idle().push(state);
            Ok(answer)
        };
        // The plan is not changed by a run, and what an unfinished run used is not used again.
        let answer = match catch_unwind(AssertUnwindSafe(run)) {
            Ok(answer) => answer.map_err(|e| format!("{e:#}"))?,
            Err(_) => return Err("it panics".to_owned()),
        };
        let expected = self.windows * OUTPUTS;
        if answer.len() != expected {
            return Err(format!("it answers {} numbers, {expected} are expected", answer.len()));
        }
        Ok(answer)
    }
}

/// Whether the windows together get the answers that each of them gets alone.
fn agree(one: &Plan, other: &Plan, windows: &[&[f32]]) -> bool {
    let Ok(together) = other.run(windows) else { return false };
    let mut answers = windows.iter().zip(together.chunks(OUTPUTS));
    answers.all(|(window, there)| {
        let close = |(a, b): (&f32, &f32)| (a - b).abs() <= 1e-5 * (1.0 + a.abs());
        one.run(&[window]).is_ok_and(|alone| alone.iter().zip(there).all(close))
    })
}

fn finite(answer: &[f32]) -> Result<[f32; OUTPUTS], String> {
    if answer.iter().any(|v| !v.is_finite()) {
        return Err("it answers a number that is none".to_owned());
    }
    answer.try_into().map_err(|_| "it answers too few numbers".to_owned())
}

#[cfg(test)]
mod tests;

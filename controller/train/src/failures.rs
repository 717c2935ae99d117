//! Failure risk: which units fail next, from the record of where each was and what failed before.

pub mod concordance;
pub mod cox;
pub mod dates;
pub mod fit;
pub mod landmark;
pub mod model;
pub mod onnx;
pub mod stays;

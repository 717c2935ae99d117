//! The training module: data set, split, networks, fit, evaluation, export to ONNX. A program of
//! its own, never linked into the controller; what it leaves behind is an ONNX file and a manifest.
//!
//! burn appears in [`engine`] and in networks and losses ([`network`], [`tabular`], `model.rs` of a task, `bench/`) only; everything else is plain Rust.

pub mod background;
pub mod battery;
pub mod bench;
pub mod chance;
pub mod cli;
pub mod compare;
pub mod data;
pub mod engine;
pub mod eval;
pub mod failures;
pub mod fit;
pub mod life;
pub mod metrics;
pub mod network;
pub mod onnx;
pub mod options;
pub mod progress;
pub mod promote;
pub mod reference;
pub mod run_folder;
pub mod scale;
pub mod split;
pub mod stop;
pub mod table;
pub mod tabular;
pub mod weights;
pub mod windows;

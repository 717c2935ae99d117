//! Small networks on rows of features: several of them, each trained without one part of the groups
//! (units, GPUs, cells) and stopped by that part, answer together with their mean. What each row is
//! answered by the network that never saw its group tells honestly how large errors are.

mod ensemble;
pub mod linear;
mod member;
mod network;
pub mod onnx;

pub use ensemble::{Design, Ensemble, Fitted, fit};
pub use member::Member;

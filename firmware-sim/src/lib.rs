//! The other side of the cable: plant physics, device firmware, servers, scenarios, faults.

mod cli;
pub mod fault;
pub mod firmware;
pub mod nvml_library;
pub mod nvml_state;
pub mod plant;
pub mod scenario;
pub mod serve;
pub mod trace;

pub use cli::{Cli, load, run};

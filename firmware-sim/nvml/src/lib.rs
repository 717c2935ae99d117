//! A shared library that looks like libnvidia-ml, backed by the simulated plant. The one place with
//! unsafe code: `sys` calls the system, `arg` touches the caller's pointers, `state` the mapping.
//! Everything else, `calls` above all, is safe code on top of these. No crates: `build.rs` of
//! headroom-sim compiles this file by itself.
#![allow(unsafe_code, non_snake_case, reason = "a C library: exported names, the caller's pointers")]

mod abi;
mod arg;
mod calls;
mod code;
mod eventset;
pub mod layout;
mod state;
mod stubs;
mod sys;
#[cfg(test)]
mod tests;

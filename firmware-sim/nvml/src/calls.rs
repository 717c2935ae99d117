//! The exported functions, by what they are about. Each is safe code on `arg` and `state`; a name that
//! is in none of these rooms is in `stubs`.

pub mod clock;
pub mod event;
pub mod field;
pub mod identity;
pub mod link;
pub mod memory;
pub mod power;
pub mod session;
pub mod thermal;
pub mod usage;

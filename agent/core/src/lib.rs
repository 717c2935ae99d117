//! Pure parts of the agent: no clock, disk, network, thread or chance. Time is always an argument,
//! bad input becomes a `NoData`, a `Refusal` or a `Mistake`, never a panic. What touches the world
//! is the shell's (`headroom-agent`).

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

pub mod assemble;
pub mod condition;
pub mod decode;
pub mod document;
pub mod event;
pub mod failsafe;
pub mod guard;
pub mod patience;
pub mod profile;
pub mod schedule;
pub mod spool;

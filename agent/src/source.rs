//! Where Readings come from. Each source owns its connection and its thread or task, so that a
//! dead, slow or lying device is nobody else's matter.

pub mod dsx;
pub mod json;
pub mod modbus;
pub mod mqtt;
pub mod nvml;

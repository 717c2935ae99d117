//! State of health of battery cells: capacity by cycle, forecast from a cell's own past.

pub mod cells;
pub mod features;
pub mod forecast;

//! Remaining life: how many cycles a unit still runs, from its record so far, with an interval.

pub mod cmapss;
pub mod conditions;
pub mod features;
pub mod fit;
pub mod measure;
pub mod model;
pub mod onnx;
pub mod tidy;

/// The record of one unit, cycle by cycle from its first.
#[derive(Debug, Clone, PartialEq)]
pub struct Unit {
    /// Its name in the file.
    pub name: String,
    /// What it was asked to do, by cycle.
    pub settings: Vec<Vec<f64>>,
    /// What was measured, by cycle.
    pub sensors: Vec<Vec<f64>>,
}

impl Unit {
    /// One without cycles.
    pub fn new(name: String) -> Self {
        Self { name, settings: Vec::new(), sensors: Vec::new() }
    }

    /// How many cycles there are.
    pub fn cycles(&self) -> usize {
        self.sensors.len()
    }
}

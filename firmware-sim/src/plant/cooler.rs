//! What cools a rack: a liquid loop through its cold plates, or air through its heat sinks.

use super::air::{AirReadout, AirUnit};
use super::cooling::{Cooling, CoolingReadout};
use super::spec::{Medium, RackSpec};

/// One of them.
#[derive(Debug, Clone)]
pub enum Cooler {
    /// A pumping unit and its loop.
    Liquid(Cooling),
    /// A unit with fans and a coil.
    Air(AirUnit),
}

/// What a rack gives it.
#[derive(Debug, Clone, Copy)]
pub struct Heat {
    /// From the GPUs.
    pub gpus_watts: f64,
    /// From everything in the rack.
    pub rack_watts: f64,
    /// Speed of the servers' own fans as a share of full speed.
    pub fan_ratio: f64,
}

impl Cooler {
    /// For a rack whose GPUs draw `gpus_watts` together at most.
    pub fn new(spec: &RackSpec, gpus_watts: f64) -> Self {
        match spec.medium {
            Medium::Liquid => Self::Liquid(Cooling::new(gpus_watts, spec.cooling_watts)),
            Medium::Air => Self::Air(AirUnit::new(gpus_watts + spec.overhead_watts, spec.cooling_watts)),
        }
    }

    /// What can be read from the unit of a liquid loop.
    pub fn liquid(&self) -> Option<&CoolingReadout> {
        match self {
            Self::Liquid(unit) => Some(&unit.readout),
            Self::Air(_) => None,
        }
    }

    /// What can be read from a unit for air.
    pub fn air(&self) -> Option<&AirReadout> {
        match self {
            Self::Liquid(_) => None,
            Self::Air(unit) => Some(&unit.readout),
        }
    }

    /// The building's staff set another supply temperature.
    pub fn set_setpoint(&mut self, celsius: f64) {
        match self {
            Self::Liquid(unit) => unit.set_setpoint(celsius),
            Self::Air(unit) => unit.set_setpoint(celsius),
        }
    }

    /// Power drawn by the unit.
    pub fn power_watts(&self) -> f64 {
        match self {
            Self::Liquid(unit) => unit.readout.power_watts,
            Self::Air(unit) => unit.readout.power_watts,
        }
    }

    /// Energy taken since the start.
    pub fn energy_joules(&self) -> f64 {
        match self {
            Self::Liquid(unit) => unit.readout.energy_joules,
            Self::Air(unit) => unit.readout.energy_joules,
        }
    }

    /// What the GPUs are cooled by: its temperature, and by how much their thermal resistance differs from that of
    /// cold plates at nominal flow.
    pub fn at_gpus(&self) -> (f64, f64) {
        match self {
            Self::Liquid(unit) => (unit.coolant_celsius(), unit.resistance_factor()),
            Self::Air(unit) => (unit.readout.inlet_celsius, unit.resistance_factor()),
        }
    }

    /// Advances by `dt` seconds.
    pub fn step(&mut self, dt: f64, powered: bool, heat: Heat) {
        match self {
            Self::Liquid(unit) => unit.step(dt, powered, heat.gpus_watts),
            Self::Air(unit) => unit.step(dt, powered, heat.rack_watts, heat.fan_ratio),
        }
    }

    /// Fault: stops pump or bank of fans 1 or 2, or both.
    pub fn set_stopped(&mut self, which: Option<usize>, on: bool) {
        match self {
            Self::Liquid(unit) => unit.set_stopped(which, on),
            Self::Air(unit) => unit.set_stopped(which, on),
        }
    }

    /// Fault: pumps or fans deliver only this share at the same speed.
    pub fn set_wear(&mut self, delivered_ratio: f64) {
        match self {
            Self::Liquid(unit) => unit.set_wear(delivered_ratio),
            Self::Air(unit) => unit.set_wear(delivered_ratio),
        }
    }

    /// Fault: a liquid loop loses this much; air has none.
    pub fn set_leak(&mut self, lpm: f64) {
        if let Self::Liquid(unit) = self {
            unit.set_leak(lpm);
        }
    }

    /// Fault: the water that it gives its heat to warms by so much a second; 0 brings it back.
    pub fn set_water_drift(&mut self, kelvins_per_s: f64) {
        match self {
            Self::Liquid(unit) => unit.set_facility_drift(kelvins_per_s),
            Self::Air(unit) => unit.set_water_drift(kelvins_per_s),
        }
    }
}

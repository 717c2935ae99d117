//! The cooling unit of a rack: two pumps, a small loop, a heat exchanger to facility water.

use super::drive::{Drive, NOMINAL_DRIVE};

/// What can be read from it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct CoolingReadout {
    /// Coolant supplied to the rack.
    pub supply_celsius: f64,
    /// What the valve is to hold that at.
    pub setpoint_celsius: f64,
    /// Coolant returning from the rack.
    pub return_celsius: f64,
    /// Coolant flow.
    pub flow_lpm: f64,
    /// Coolant flow it is to hold.
    pub flow_target_lpm: f64,
    /// Pressure at the outlet to the rack.
    pub supply_kpa: f64,
    /// Pressure at the inlet from the rack.
    pub return_kpa: f64,
    /// Pump drive as a share of full speed.
    pub pump_ratio: f64,
    /// Speed of each pump.
    pub pump_rpm: [f64; 2],
    /// Running time of each pump.
    pub pump_runtime_s: [f64; 2],
    /// Power drawn by the unit.
    pub power_watts: f64,
    /// Heat removed to the facility water.
    pub removed_watts: f64,
    /// A leak is detected.
    pub leak: bool,
    /// Coolant in the reservoir as a share of full.
    pub reservoir_ratio: f64,
    /// The unit has power.
    pub powered: bool,
    /// Energy taken since the start.
    pub energy_joules: f64,
}

/// One cooling unit.
#[derive(Debug, Clone)]
pub struct Cooling {
    max_watts: f64,
    nominal_lpm: f64,
    volume_l: f64,
    pumps: Drive,
    valve_ratio: f64,
    leak_lpm: f64,
    facility_celsius: f64,
    facility_k_per_s: f64,
    /// What can be read from it.
    pub readout: CoolingReadout,
}

/// Water with 25 % propylene glycol: density and heat capacity at 35 degrees.
const KG_PER_L: f64 = 1.02;
const J_PER_KG_K: f64 = 3900.0;
/// Facility water (ASHRAE W27 class) and the supply temperature to hold.
const FACILITY_CELSIUS: f64 = 24.0;
/// A cooling tower that fails ends here: chilled water pipes hold it, GPUs do not.
pub const FACILITY_HOTTEST_CELSIUS: f64 = 60.0;
/// Supply temperature the valve holds until somebody sets another.
pub const SUPPLY_SETPOINT_CELSIUS: f64 = 32.0;
/// Flow per kilowatt of GPUs: 1.43 l/min give about 10 K.
const LPM_PER_KW: f64 = 1.43;
/// Loop volume per kilowatt: 60 l at 120 kW lose 0.5 K/s without flow.
const LITERS_PER_KW: f64 = 0.5;
const FULL_RPM: f64 = 6000.0;
/// Share of the power that is electronics.
const ELECTRONICS: f64 = 0.28;
const PUMP_TIME_S: f64 = 0.5;

impl Cooling {
    /// A unit for GPUs of `gpu_watts` together.
    pub fn new(gpu_watts: f64, max_watts: f64) -> Self {
        let kilowatts = gpu_watts / 1000.0;
        Self {
            max_watts,
            nominal_lpm: LPM_PER_KW * kilowatts,
            volume_l: LITERS_PER_KW * kilowatts,
            pumps: Drive::new(PUMP_TIME_S),
            valve_ratio: 0.2,
            leak_lpm: 0.0,
            facility_celsius: FACILITY_CELSIUS,
            facility_k_per_s: 0.0,
            readout: CoolingReadout {
                supply_celsius: SUPPLY_SETPOINT_CELSIUS,
                setpoint_celsius: SUPPLY_SETPOINT_CELSIUS,
                return_celsius: SUPPLY_SETPOINT_CELSIUS,
                reservoir_ratio: 1.0,
                pump_ratio: NOMINAL_DRIVE,
                pump_rpm: [NOMINAL_DRIVE * FULL_RPM; 2],
                flow_lpm: LPM_PER_KW * kilowatts,
                flow_target_lpm: LPM_PER_KW * kilowatts,
                powered: true,
                ..CoolingReadout::default()
            },
        }
    }

    /// Fault: stops pump 1 or 2, or both.
    pub fn set_stopped(&mut self, pump: Option<usize>, on: bool) {
        self.pumps.set_stopped(pump, on);
    }

    /// Fault: both pumps deliver only this share of their flow at the same speed.
    pub fn set_wear(&mut self, delivered_ratio: f64) {
        self.pumps.set_wear(delivered_ratio);
    }

    /// Fault: the loop loses this much.
    pub fn set_leak(&mut self, lpm: f64) {
        self.leak_lpm = lpm.max(0.0);
    }

    /// Fault: the facility water warms by so much a second, up to [`FACILITY_HOTTEST_CELSIUS`]; 0 brings
    /// it back.
    pub fn set_facility_drift(&mut self, kelvins_per_s: f64) {
        self.facility_k_per_s = kelvins_per_s;
        if kelvins_per_s == 0.0 {
            self.facility_celsius = FACILITY_CELSIUS;
        }
    }

    /// The building's staff set another supply temperature.
    pub fn set_setpoint(&mut self, celsius: f64) {
        self.readout.setpoint_celsius = celsius;
    }

    /// Flow it is designed for.
    pub fn nominal_lpm(&self) -> f64 {
        self.nominal_lpm
    }

    /// By how much the cold plates' thermal resistance grows at this flow: 1 at nominal flow,
    /// with the 0.6th power of the flow (turbulent forced convection), at most 6 in still coolant.
    pub fn resistance_factor(&self) -> f64 {
        (self.readout.flow_lpm / self.nominal_lpm).max(0.05).powf(-0.6).clamp(0.8, 6.0)
    }

    /// Coolant temperature the cold plates see.
    pub fn coolant_celsius(&self) -> f64 {
        (self.readout.supply_celsius + self.readout.return_celsius) / 2.0
    }

    /// Advances by `dt` seconds with `heat_watts` from the GPUs.
    pub fn step(&mut self, dt: f64, powered: bool, heat_watts: f64) {
        self.pump(dt, powered);
        self.facility_celsius = (self.facility_celsius + self.facility_k_per_s * dt).min(FACILITY_HOTTEST_CELSIUS);
        let r = &mut self.readout;
        let flow_w_per_k = r.flow_lpm / 60.0 * KG_PER_L * J_PER_KG_K;
        let side_j_per_k = (self.volume_l / 2.0 * r.reservoir_ratio).max(0.1) * KG_PER_L * J_PER_KG_K;
        // The valve on the facility side holds the supply temperature (integral control).
        let error = r.supply_celsius - r.setpoint_celsius;
        if powered {
            self.valve_ratio = (self.valve_ratio + error * 0.02 * dt).clamp(0.0, 1.0);
        }
        let position = (self.valve_ratio + error * 0.05).clamp(0.0, 1.0);
        // Counterflow exchanger: effectiveness grows with the valve.
        let effectiveness = 0.95 * position;
        r.removed_watts = effectiveness * flow_w_per_k * (r.return_celsius - self.facility_celsius).max(0.0);
        let carried = flow_w_per_k * (r.return_celsius - r.supply_celsius);
        r.return_celsius += dt * (heat_watts - carried) / side_j_per_k;
        r.supply_celsius += dt * (carried - r.removed_watts) / side_j_per_k;
        r.reservoir_ratio = (r.reservoir_ratio - self.leak_lpm / 60.0 * dt / self.volume_l).max(0.0);
        r.leak = self.leak_lpm > 0.0;
        r.energy_joules += r.power_watts * dt;
        r.powered = powered;
    }

    fn pump(&mut self, dt: f64, powered: bool) {
        let r = &mut self.readout;
        let moved = self.pumps.step(dt, powered, r.flow_lpm / self.nominal_lpm);
        r.pump_rpm = self.pumps.speeds().map(|speed| speed * FULL_RPM);
        for (runtime_s, rpm) in r.pump_runtime_s.iter_mut().zip(r.pump_rpm) {
            *runtime_s += if rpm > 60.0 { dt } else { 0.0 };
        }
        let wet = (r.reservoir_ratio / 0.2).min(1.0);
        r.flow_lpm = self.nominal_lpm * moved.flow_ratio * wet;
        r.pump_ratio = if powered { self.pumps.ratio() } else { 0.0 };
        let flow_share = r.flow_lpm / self.nominal_lpm;
        r.supply_kpa = 80.0 + 140.0 * flow_share * flow_share;
        r.return_kpa = 80.0 - 60.0 * flow_share * flow_share;
        let effort = ELECTRONICS + (1.0 - ELECTRONICS) * moved.effort_ratio;
        r.power_watts = if powered { self.max_watts * effort } else { 0.0 };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settled(heat_watts: f64) -> Cooling {
        let mut unit = Cooling::new(5600.0, 250.0);
        run(&mut unit, 400.0, heat_watts);
        unit
    }

    fn run(unit: &mut Cooling, seconds: f64, heat_watts: f64) {
        for _ in 0..(seconds / 0.02) as usize {
            unit.step(0.02, true, heat_watts);
        }
    }

    #[test]
    fn the_steady_state_removes_what_comes_in_at_the_setpoint() {
        let unit = settled(5000.0);
        let r = &unit.readout;
        assert!((r.removed_watts - 5000.0).abs() < 100.0, "{r:?}");
        assert!((r.supply_celsius - SUPPLY_SETPOINT_CELSIUS).abs() < 0.5, "{r:?}");
        assert!(
            (r.flow_lpm - 8.0).abs() < 0.1 && (8.0..11.0).contains(&(r.return_celsius - r.supply_celsius)),
            "{r:?}"
        );
        assert!(r.power_watts < 250.0);
    }

    #[test]
    fn without_flow_the_coolant_heats_by_half_a_kelvin_per_second() {
        let mut unit = settled(5600.0);
        unit.set_stopped(None, true);
        run(&mut unit, 5.0, 5600.0);
        let before = unit.coolant_celsius();
        run(&mut unit, 10.0, 5600.0);
        let slope = (unit.coolant_celsius() - before) / 10.0;
        assert!((0.4..0.6).contains(&slope), "{slope}");
    }

    #[test]
    fn worn_pumps_turn_faster_for_the_same_flow() {
        let mut unit = settled(4000.0);
        let before = unit.readout.pump_rpm[0];
        unit.set_wear(0.8);
        run(&mut unit, 60.0, 4000.0);
        assert!(unit.readout.pump_rpm[0] > 1.2 * before && (unit.readout.flow_lpm - 8.0).abs() < 0.1);
    }

    #[test]
    fn one_pump_alone_gives_less_flow_and_a_leak_empties_the_loop() {
        let mut unit = settled(4000.0);
        unit.set_stopped(Some(1), true);
        run(&mut unit, 30.0, 4000.0);
        assert!((0.6..0.8).contains(&(unit.readout.flow_lpm / 8.0)), "{:?}", unit.readout);
        unit.set_leak(0.5);
        run(&mut unit, 60.0, 4000.0);
        assert!(unit.readout.leak && unit.readout.reservoir_ratio < 0.9);
    }
}

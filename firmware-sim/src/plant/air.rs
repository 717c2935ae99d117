//! An air cooling unit of a rack: two banks of fans and a chilled-water coil between the hot side and the cold one, and
//! the air and the metal that they share with the servers.
//!
//! Cold side and servers are two heat capacities that exchange what the servers' fans move. What they move beyond
//! what the unit supplies comes back from the hot side (Khankari, "Rate of Heating Analysis of Data Centers during
//! Power Shutdown", ASHRAE Transactions 117-1, 2011: air first, then the metal of the racks sets the rate).

use super::drive::{Drive, NOMINAL_DRIVE};
use super::gpu::RESISTANCE_K_PER_W;

/// What can be read from it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct AirReadout {
    /// Air at the inlets of the servers: sensors on the rack, not in the unit.
    pub inlet_celsius: f64,
    /// Air behind the coil.
    pub supply_celsius: f64,
    /// Air that the unit takes in.
    pub return_celsius: f64,
    /// Air that it moves, m3/s.
    pub flow_m3_per_s: f64,
    /// Speed of each bank of fans as a share of full speed.
    pub fan_ratios: [f64; 2],
    /// Power drawn by the unit.
    pub power_watts: f64,
    /// Heat removed to the chilled water.
    pub removed_watts: f64,
    /// The unit has power.
    pub powered: bool,
    /// Energy taken since the start.
    pub energy_joules: f64,
}

/// One unit with the air around its rack.
#[derive(Debug, Clone)]
pub struct AirUnit {
    max_watts: f64,
    /// What the servers' fans move at full speed, W/K.
    servers_w_per_k: f64,
    servers_j_per_k: f64,
    servers_celsius: f64,
    setpoint_celsius: f64,
    servers_fan_ratio: f64,
    fans: Drive,
    valve_ratio: f64,
    water_celsius: f64,
    water_k_per_s: f64,
    /// What can be read from it.
    pub readout: AirReadout,
}

/// Dry air of 25 degrees at sea level: 1.184 kg/m3 and 1006 J/(kg K).
const AIR_J_PER_M3_K: f64 = 1.184 * 1006.0;
/// Air through the servers at full speed: 110 ft3/min per kilowatt, which gives 16 K. ASHRAE TC 9.9 expects 10 to
/// 20 K of servers at load, which is 160 to 90.
const M3_PER_S_PER_KW: f64 = 110.0 * 4.719e-4;
/// The unit moves so much more than the servers at full speed, so that nothing comes back.
const SPARE: f64 = 1.1;
/// Share of the power that is electronics and valve; the rest are fans (cube of the speed).
const ELECTRONICS: f64 = 0.10;
/// Fans of half a metre run down in seconds.
const FAN_TIME_S: f64 = 3.0;
/// Supply air that the valve holds until somebody sets another: in the middle of the 18 to 27 degrees that ASHRAE TC 9.9 recommends.
pub const SUPPLY_SETPOINT_CELSIUS: f64 = 22.0;
/// Chilled water as it enters.
const WATER_CELSIUS: f64 = 12.0;
/// Chilled water without chillers: what dry coolers alone hold on a hot day (ASHRAE class W32).
pub const WATER_HOTTEST_CELSIUS: f64 = 32.0;
/// Effectiveness of the coil with its valve open: `1 - exp(-NTU)` of a wet side that hardly warms and 1.2 units.
const EFFECTIVENESS: f64 = 0.70;
/// Copper, fins and water of the coil against the air through it.
const COIL_TIME_S: f64 = 15.0;
/// Air on the cold side: 5 m2 of room per rack, 3 m high.
const ROOM_M3: f64 = 15.0;
/// Metal that the air passes: a server of 10.2 kW weighs 130 kg (NVIDIA DGX H100), steel, aluminium and copper take
/// up 0.47 kJ/(kg K). At full speed it follows within 100 s, and measured servers within minutes (ASME IPACK2013).
const SERVERS_J_PER_K_PER_KW: f64 = 6000.0;
/// Die to air with the servers' fans at full speed: 700 W at an inlet of 35 degrees (ASHRAE A2) stay 6 K below the
/// slowdown at 87.
const HEAT_SINK_K_PER_W: f64 = 0.065;

impl AirUnit {
    /// A unit for a rack that draws `rack_watts` at most; the air stands at the set-point.
    pub fn new(rack_watts: f64, max_watts: f64) -> Self {
        let kilowatts = rack_watts / 1000.0;
        let servers_w_per_k = kilowatts * M3_PER_S_PER_KW * AIR_J_PER_M3_K;
        Self {
            max_watts,
            servers_w_per_k,
            servers_j_per_k: kilowatts * SERVERS_J_PER_K_PER_KW,
            servers_celsius: SUPPLY_SETPOINT_CELSIUS,
            setpoint_celsius: SUPPLY_SETPOINT_CELSIUS,
            servers_fan_ratio: 0.5,
            fans: Drive::new(FAN_TIME_S),
            valve_ratio: 0.2,
            water_celsius: WATER_CELSIUS,
            water_k_per_s: 0.0,
            readout: AirReadout {
                inlet_celsius: SUPPLY_SETPOINT_CELSIUS,
                supply_celsius: SUPPLY_SETPOINT_CELSIUS,
                return_celsius: SUPPLY_SETPOINT_CELSIUS,
                flow_m3_per_s: SPARE * servers_w_per_k / AIR_J_PER_M3_K,
                fan_ratios: [NOMINAL_DRIVE; 2],
                powered: true,
                ..AirReadout::default()
            },
        }
    }

    /// The building's staff set another supply temperature.
    pub fn set_setpoint(&mut self, celsius: f64) {
        self.setpoint_celsius = celsius;
    }

    /// Fault: stops the first or second bank of fans, or both.
    pub fn set_stopped(&mut self, bank: Option<usize>, on: bool) {
        self.fans.set_stopped(bank, on);
    }

    /// Fault: a clogged filter; both banks deliver only this share at the same speed.
    pub fn set_wear(&mut self, delivered_ratio: f64) {
        self.fans.set_wear(delivered_ratio);
    }

    /// Fault: the chilled water warms by so much a second, up to [`WATER_HOTTEST_CELSIUS`]; 0 brings it back.
    pub fn set_water_drift(&mut self, kelvins_per_s: f64) {
        self.water_k_per_s = kelvins_per_s;
        if kelvins_per_s == 0.0 {
            self.water_celsius = WATER_CELSIUS;
        }
    }

    /// The heat sinks' thermal resistance against that of cold plates at nominal flow: with the 0.8th power of the
    /// air (turbulent forced convection), at most tenfold in still air.
    pub fn resistance_factor(&self) -> f64 {
        HEAT_SINK_K_PER_W / RESISTANCE_K_PER_W * self.servers_fan_ratio.max(0.056).powf(-0.8)
    }

    /// Advances by `dt` seconds with `heat_watts` from the rack, whose fans turn at `servers_fan_ratio` of full speed.
    pub fn step(&mut self, dt: f64, powered: bool, heat_watts: f64, servers_fan_ratio: f64) {
        self.blow(dt, powered);
        self.servers_fan_ratio = servers_fan_ratio;
        self.water_celsius = (self.water_celsius + self.water_k_per_s * dt).min(WATER_HOTTEST_CELSIUS);
        let r = &mut self.readout;
        let (unit, servers) = (r.flow_m3_per_s * AIR_J_PER_M3_K, self.servers_w_per_k * servers_fan_ratio);
        let (inlet, exhaust) = (r.inlet_celsius, self.servers_celsius);
        // What the unit moves beyond the servers passes them by; what they move beyond it comes back.
        let (past, back) = ((unit - servers).max(0.0), (servers - unit).max(0.0));
        r.return_celsius = if past > 0.0 { (servers * exhaust + past * inlet) / unit } else { exhaust };
        let error = r.supply_celsius - self.setpoint_celsius;
        if powered {
            self.valve_ratio = (self.valve_ratio + error * 0.02 * dt).clamp(0.0, 1.0);
        }
        let position = (self.valve_ratio + error * 0.05).clamp(0.0, 1.0);
        let cooled = EFFECTIVENESS * position * (r.return_celsius - self.water_celsius).max(0.0);
        r.supply_celsius += dt / COIL_TIME_S * (r.return_celsius - cooled - r.supply_celsius);
        r.removed_watts = unit * (r.return_celsius - r.supply_celsius);
        let room_j_per_k = ROOM_M3 * AIR_J_PER_M3_K;
        r.inlet_celsius += dt * (unit * (r.supply_celsius - inlet) + back * (exhaust - inlet)) / room_j_per_k;
        self.servers_celsius += dt * (heat_watts - servers * (exhaust - inlet)) / self.servers_j_per_k;
        r.energy_joules += r.power_watts * dt;
        r.powered = powered;
    }

    fn blow(&mut self, dt: f64, powered: bool) {
        let r = &mut self.readout;
        let nominal = SPARE * self.servers_w_per_k / AIR_J_PER_M3_K;
        let moved = self.fans.step(dt, powered, r.flow_m3_per_s / nominal);
        r.fan_ratios = self.fans.speeds();
        r.flow_m3_per_s = nominal * moved.flow_ratio;
        let effort = ELECTRONICS + (1.0 - ELECTRONICS) * moved.effort_ratio;
        r.power_watts = if powered { self.max_watts * effort } else { 0.0 };
    }
}

#[cfg(test)]
mod tests;

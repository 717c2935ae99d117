//! One GPU: power from demand, clock and limit, with the driver's settling time; energy, heat and
//! throttling. What runs on it is `workload`'s business, what cools it `cooling`'s.

use super::chance::Chance;
use super::mean::SecondMean;
use super::spec::GpuSpec;

/// Highest SM clock of an H100 SXM (nvidia-smi: Max Clocks, SM).
pub const BOOST_MHZ: f64 = 1980.0;
/// Clock of an H100 SXM without a process.
pub const IDLE_MHZ: f64 = 345.0;
/// Lowest clock the power control goes down to.
const FLOOR_MHZ: f64 = 345.0;
/// HBM3 clock of an H100 SXM.
pub const MEMORY_MHZ: f64 = 2619.0;
/// Dynamic power goes with V^2 f (CMOS), and V falls with f only in part: measured GPUs lie
/// between 2 and 3.
const POWER_EXPONENT: f64 = 2.4;
/// How long the driver remembers the highest activity when it sets the clock, so that the pauses
/// of a training step do not lift it.
const ACTIVITY_MEMORY_S: f64 = 5.0;
/// Length of the spans over which peaks of demand are kept.
const DEMAND_SPAN_S: f64 = 1.5;
/// Temperature at which software slowdown starts: T.Limit margin 0.
pub const MAX_OPERATING_CELSIUS: f64 = 87.0;
/// Hardware slowdown, T.Limit margin -2.
const SLOWDOWN_CELSIUS: f64 = MAX_OPERATING_CELSIUS + 2.0;
/// Shutdown, T.Limit margin -8.
const SHUTDOWN_CELSIUS: f64 = MAX_OPERATING_CELSIUS + 8.0;
/// Die, lid and cold plate together: about 0.9 kg of copper at 385 J/(kg K).
const HEAT_CAPACITY_J_PER_K: f64 = 350.0;
/// Cold plate to coolant at nominal flow: 700 W give 31 K, the usual 0.04 to 0.05 K/W.
pub(super) const RESISTANCE_K_PER_W: f64 = 0.045;
/// The memory stacks share the plate; they run warmer per watt and follow more slowly.
const MEMORY_RESISTANCE_K_PER_W: f64 = 0.055;
const MEMORY_TIME_S: f64 = 25.0;
/// Memory of an H100 80 GB: 81559 MiB.
pub const MEMORY_BYTES: f64 = 81_559.0 * 1_048_576.0;

/// Clock event reasons as in nvml.h.
pub mod reason {
    /// Nothing runs.
    pub const IDLE: u64 = 0x001;
    /// A locked clock holds it.
    pub const CLOCK_SETTING: u64 = 0x002;
    /// The power limit holds it.
    pub const POWER_CAP: u64 = 0x004;
    /// Hardware slowdown.
    pub const HW_SLOWDOWN: u64 = 0x008;
    /// Software thermal slowdown.
    pub const SW_THERMAL: u64 = 0x020;
    /// Hardware thermal slowdown.
    pub const HW_THERMAL: u64 = 0x040;
}

/// What a workload asks of a GPU.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Demand {
    /// Share of time with a kernel running, 0 to 1.
    pub busy: f64,
    /// Share of the range between loaded and maximum power at full clock; may exceed 1.
    pub intensity: f64,
    /// A process holds memory.
    pub loaded: bool,
    /// Memory in use as a share of all.
    pub memory_ratio: f64,
    /// How work follows the clock: 1 in step with it, 0 not at all (memory-bound).
    pub clock_sensitivity: f64,
}

/// What was asked of the driver.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Requests {
    /// Power limit in force.
    pub limit_watts: f64,
    /// Locked SM clocks, least and greatest.
    pub locked_mhz: Option<(f64, f64)>,
}

/// Everything one can see of a GPU.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct GpuReadout {
    /// Board power, mean of the last second.
    pub power_watts: f64,
    /// Board power now.
    pub power_instant_watts: f64,
    /// Board power it would draw now at full clock without a limit below its maximum.
    pub demand_watts: f64,
    /// Highest `demand_watts` of the last one and a half to three seconds: the demand apart from
    /// the pauses inside a training step.
    pub demand_peak_watts: f64,
    /// Energy since the start.
    pub energy_joules: f64,
    /// Limit in force.
    pub limit_watts: f64,
    /// SM clock.
    pub sm_clock_mhz: f64,
    /// Memory clock.
    pub memory_clock_mhz: f64,
    /// Utilisation, smoothed as NVML's sample period does.
    pub utilization_ratio: f64,
    /// Memory in use.
    pub memory_used_bytes: f64,
    /// Core temperature.
    pub temperature_celsius: f64,
    /// Memory temperature.
    pub memory_temperature_celsius: f64,
    /// Clock event reasons, [`reason`].
    pub throttle_reasons: u64,
    /// Time held by the power limit.
    pub power_capped_s: f64,
    /// Time in software thermal slowdown.
    pub sw_thermal_s: f64,
    /// Time in hardware thermal slowdown.
    pub hw_thermal_s: f64,
    /// No answer from the GPU: lost, shut down or without power.
    pub lost: bool,
}

/// One GPU.
#[derive(Debug, Clone)]
pub struct Gpu {
    spec: GpuSpec,
    requests: Requests,
    ignores_limit: bool,
    fell_off: bool,
    overheated: bool,
    power_ceiling_mhz: f64,
    thermal_ceiling_mhz: f64,
    recent_activity: f64,
    noise: f64,
    /// Peaks of demand in this span and the one before, and how long this one lasts.
    demand_spans: (f64, f64, f64),
    chance: Chance,
    mean: SecondMean,
    /// Work left undone because of clocks below full, in seconds of this GPU.
    pub lost_work_s: f64,
    /// Work there was to do, likewise.
    pub wanted_work_s: f64,
    /// What can be read from it.
    pub readout: GpuReadout,
}

impl Gpu {
    /// A cold, idle GPU at its default limit in coolant of `coolant_celsius`.
    pub fn new(spec: &GpuSpec, coolant_celsius: f64, chance: Chance) -> Self {
        let temperature = coolant_celsius + spec.idle_watts * RESISTANCE_K_PER_W;
        Self {
            requests: Requests { limit_watts: spec.max_watts, locked_mhz: None },
            ignores_limit: false,
            fell_off: false,
            overheated: false,
            power_ceiling_mhz: BOOST_MHZ,
            thermal_ceiling_mhz: BOOST_MHZ,
            recent_activity: 0.0,
            noise: 0.0,
            demand_spans: (0.0, 0.0, 0.0),
            chance,
            mean: SecondMean::new(),
            lost_work_s: 0.0,
            wanted_work_s: 0.0,
            readout: GpuReadout {
                limit_watts: spec.max_watts,
                temperature_celsius: temperature,
                memory_temperature_celsius: temperature,
                ..GpuReadout::default()
            },
            spec: spec.clone(),
        }
    }

    /// Sets limit and locked clocks; a limit outside the board's range is held inside it.
    pub fn request(&mut self, requests: Requests) {
        self.requests =
            Requests { limit_watts: requests.limit_watts.clamp(self.spec.min_watts, self.spec.max_watts), ..requests };
    }

    /// Fault: the limit is reported but has no effect.
    pub fn set_ignores_limit(&mut self, on: bool) {
        self.ignores_limit = on;
    }

    /// Fault: fallen off the bus.
    pub fn set_lost(&mut self, on: bool) {
        self.fell_off = on;
    }

    /// Whether the fault "fallen off the bus" is set.
    pub fn fell_off(&self) -> bool {
        self.fell_off
    }

    /// Whether it shut itself down for its temperature.
    pub fn overheated(&self) -> bool {
        self.overheated
    }

    fn base_watts(&self, demand: &Demand) -> f64 {
        if demand.loaded { self.spec.loaded_watts } else { self.spec.idle_watts }
    }

    fn power_watts(&self, demand: &Demand, activity: f64, clock_mhz: f64) -> f64 {
        let base = self.base_watts(demand);
        base + (self.spec.max_watts - base) * activity * (clock_mhz / BOOST_MHZ).powf(POWER_EXPONENT)
    }

    /// The clock at which `activity` draws exactly `limit_watts`.
    fn clock_for(&self, demand: &Demand, activity: f64, limit_watts: f64) -> f64 {
        let base = self.base_watts(demand);
        let full = (self.spec.max_watts - base) * activity;
        if full <= 0.0 {
            return BOOST_MHZ;
        }
        let share = ((limit_watts - base) / full).max(0.0);
        (BOOST_MHZ * share.powf(1.0 / POWER_EXPONENT)).clamp(FLOOR_MHZ, BOOST_MHZ)
    }

    /// Speed of its work as a share of full speed, for the workload.
    pub fn speed(&self, demand: &Demand) -> f64 {
        if self.readout.lost { 0.0 } else { (self.readout.sm_clock_mhz / BOOST_MHZ).powf(demand.clock_sensitivity) }
    }

    /// Advances by `dt` seconds. `resistance_factor` is 1 at nominal coolant flow and grows as the
    /// flow falls. Gives the power drawn.
    pub fn step(
        &mut self,
        dt: f64,
        powered: bool,
        demand: &Demand,
        coolant_celsius: f64,
        resistance_factor: f64,
    ) -> f64 {
        let activity = demand.busy * demand.intensity;
        self.wanted_work_s += demand.busy * dt;
        self.readout.limit_watts = self.requests.limit_watts;
        self.readout.demand_watts = self.power_watts(demand, activity, BOOST_MHZ).min(self.spec.max_watts);
        self.note_demand(dt);
        let lost = self.fell_off || self.overheated || !powered;
        self.readout.lost = lost;
        let power = if lost {
            self.power_ceiling_mhz = BOOST_MHZ;
            self.readout.sm_clock_mhz = 0.0;
            self.readout.throttle_reasons = 0;
            self.lost_work_s += demand.busy * dt;
            // A GPU off the bus still idles; one without supply or shut down does not.
            if powered && !self.overheated { self.spec.idle_watts } else { 0.0 }
        } else {
            self.settle(dt, demand, activity);
            let noise_share = (dt / 0.2).min(1.0);
            self.noise += noise_share * (0.02 * self.chance.normal() - self.noise);
            let clean = self.power_watts(demand, activity, self.readout.sm_clock_mhz);
            let base = self.base_watts(demand);
            self.lost_work_s += demand.busy * (1.0 - self.speed(demand)) * dt;
            base + (clean - base) * (1.0 + self.noise)
        };
        self.readout.utilization_ratio +=
            (dt / 0.5).min(1.0) * (if lost { 0.0 } else { demand.busy } - self.readout.utilization_ratio);
        self.readout.memory_clock_mhz = if lost { 0.0 } else { MEMORY_MHZ };
        self.readout.memory_used_bytes = if lost { 0.0 } else { demand.memory_ratio * MEMORY_BYTES };
        self.readout.power_instant_watts = power;
        self.readout.power_watts = self.mean.push(power, dt);
        self.readout.energy_joules = self.mean.energy_joules();
        self.warm(dt, power, coolant_celsius, resistance_factor);
        power
    }

    fn note_demand(&mut self, dt: f64) {
        let (now, before, age_s) = self.demand_spans;
        let now = now.max(self.readout.demand_watts);
        let age_s = age_s + dt;
        self.readout.demand_peak_watts = now.max(before);
        self.demand_spans = if age_s >= DEMAND_SPAN_S { (0.0, now, 0.0) } else { (now, before, age_s) };
    }

    /// The driver's control of the clock: first order towards the clock that meets the limit.
    fn settle(&mut self, dt: f64, demand: &Demand, activity: f64) {
        let fade = (-dt / ACTIVITY_MEMORY_S).exp();
        self.recent_activity = (self.recent_activity * fade).max(activity);
        let limit = if self.ignores_limit { self.spec.max_watts } else { self.requests.limit_watts };
        let target = self.clock_for(demand, self.recent_activity, limit);
        self.power_ceiling_mhz += (1.0 - (-dt / self.spec.settle_s).exp()) * (target - self.power_ceiling_mhz);
        let locked = self.requests.locked_mhz.map_or(BOOST_MHZ, |(_, high)| high.clamp(FLOOR_MHZ, BOOST_MHZ));
        let hot = self.readout.temperature_celsius;
        let mut clock = self.power_ceiling_mhz.min(locked).min(self.thermal_ceiling_mhz);
        let hardware_slowdown = hot > SLOWDOWN_CELSIUS;
        if hardware_slowdown {
            clock = (clock / 2.0).max(FLOOR_MHZ);
        }
        let busy = activity > 0.005;
        self.readout.sm_clock_mhz = if demand.loaded { clock } else { IDLE_MHZ };
        let mut reasons = 0;
        if !busy {
            reasons |= reason::IDLE;
        } else {
            if target < BOOST_MHZ - 1.0 {
                reasons |= reason::POWER_CAP;
                self.readout.power_capped_s += dt;
            }
            if locked < BOOST_MHZ && locked <= clock + 1.0 {
                reasons |= reason::CLOCK_SETTING;
            }
        }
        if self.thermal_ceiling_mhz < BOOST_MHZ - 1.0 {
            reasons |= reason::SW_THERMAL;
            self.readout.sw_thermal_s += dt;
        }
        if hardware_slowdown {
            reasons |= reason::HW_SLOWDOWN | reason::HW_THERMAL;
            self.readout.hw_thermal_s += dt;
        }
        self.readout.throttle_reasons = reasons;
    }

    fn warm(&mut self, dt: f64, power: f64, coolant_celsius: f64, resistance_factor: f64) {
        let core = self.readout.temperature_celsius;
        let out_watts = (core - coolant_celsius) / (RESISTANCE_K_PER_W * resistance_factor);
        let core = core + (power - out_watts) * dt / HEAT_CAPACITY_J_PER_K;
        self.readout.temperature_celsius = core;
        let memory_target = coolant_celsius + power * MEMORY_RESISTANCE_K_PER_W * resistance_factor;
        self.readout.memory_temperature_celsius +=
            (dt / MEMORY_TIME_S).min(1.0) * (memory_target - self.readout.memory_temperature_celsius);
        if core > SHUTDOWN_CELSIUS {
            self.overheated = true;
        }
        // Software slowdown steps the clock down while above the limit and up again below it.
        let slope_mhz_per_s =
            if core > MAX_OPERATING_CELSIUS { -60.0 * (core - MAX_OPERATING_CELSIUS).max(1.0) } else { 60.0 };
        self.thermal_ceiling_mhz = (self.thermal_ceiling_mhz + slope_mhz_per_s * dt).clamp(FLOOR_MHZ, BOOST_MHZ);
    }
}

#[cfg(test)]
mod tests;

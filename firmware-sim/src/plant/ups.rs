//! A double-conversion UPS with its battery: charge, voltage, runtime, ageing, overload.

use super::spec::UpsSpec;

/// What its card reports.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct UpsReadout {
    /// Utility voltage, phase to neutral; 0 when lost.
    pub input_volts: f64,
    /// Utility frequency; 0 when lost.
    pub input_frequency_hz: f64,
    /// Power taken from the utility.
    pub input_watts: f64,
    /// Output voltage, phase to neutral.
    pub output_volts: f64,
    /// Output frequency.
    pub output_frequency_hz: f64,
    /// Output power by phase.
    pub output_phase_watts: [f64; 3],
    /// Output current by phase.
    pub output_phase_amperes: [f64; 3],
    /// Rated active power.
    pub rating_watts: f64,
    /// Rated voltage, phase to neutral, in and out.
    pub rated_volts: f64,
    /// Rated frequency.
    pub rated_hz: f64,
    /// Load of the fullest phase as a share of its third of the rating.
    pub load_ratio: f64,
    /// State of charge, 0 to 1 of what the battery can hold now.
    pub battery_charge_ratio: f64,
    /// What the battery holds now when it is full, at its nominal voltage.
    pub battery_capacity_amperehours: f64,
    /// Voltage of the battery string.
    pub battery_volts: f64,
    /// Battery current; positive while it charges.
    pub battery_amperes: f64,
    /// Battery temperature.
    pub battery_celsius: f64,
    /// Runtime left at the present load, were the utility lost now.
    pub runtime_s: f64,
    /// Time on battery since the utility was lost.
    pub on_battery_s: f64,
    /// The battery carries the load.
    pub on_battery: bool,
    /// The UPS calls its battery weak: under 80 % of rated capacity (IEEE 1188: replace).
    pub battery_weak: bool,
    /// Energy delivered since the start.
    pub output_energy_joules: f64,
    /// The output has voltage.
    pub output_on: bool,
    /// Losses of the conversion.
    pub loss_watts: f64,
    /// Power into the battery.
    pub charging_watts: f64,
}

/// One UPS.
#[derive(Debug, Clone)]
pub struct Ups {
    spec: UpsSpec,
    volts: f64,
    frequency_hz: f64,
    energy_joules: f64,
    health_ratio: f64,
    overload_used: f64,
    failed: bool,
    /// What its card reports.
    pub readout: UpsReadout,
}

impl UpsReadout {
    /// Little is left while the battery carries the load: under a fifth of its charge.
    pub fn battery_low(&self) -> bool {
        self.on_battery && self.battery_charge_ratio < 0.2
    }
}

/// Efficiency at load of a double conversion unit.
const EFFICIENCY: f64 = 0.955;
/// Draw of the electronics without load, as a share of the rating.
const STANDING: f64 = 0.008;
/// Blocks of 12 V in the string, and its resistance when new.
const BLOCKS: f64 = 20.0;
const STRING_OHMS: f64 = 0.12;
/// Lead-acid: capacity falls with the rate of discharge (Peukert), exponent of a VRLA block.
const PEUKERT: f64 = 1.1;
/// Charging power as a share of the rating.
const CHARGER: f64 = 0.08;
/// Under this health the UPS says "weak".
const WEAK: f64 = 0.8;

impl Ups {
    /// A charged UPS on utility.
    pub fn new(spec: &UpsSpec, volts: f64, frequency_hz: f64) -> Self {
        let mut ups = Self {
            spec: spec.clone(),
            volts,
            frequency_hz,
            energy_joules: 0.0,
            health_ratio: spec.battery_health_ratio,
            overload_used: 0.0,
            failed: false,
            readout: UpsReadout {
                rating_watts: spec.rating_watts,
                rated_volts: volts,
                rated_hz: frequency_hz,
                battery_celsius: 25.0,
                output_on: true,
                ..UpsReadout::default()
            },
        };
        ups.energy_joules = ups.capacity_joules();
        ups
    }

    fn capacity_joules(&self) -> f64 {
        self.spec.rating_watts / EFFICIENCY * self.spec.battery_minutes * 60.0 * self.health_ratio
    }

    /// Sets the remaining share of capacity; the charge ratio stays.
    pub fn set_health(&mut self, ratio: f64) {
        let charge = self.energy_joules / self.capacity_joules();
        self.health_ratio = ratio.clamp(0.05, 1.0);
        self.energy_joules = charge * self.capacity_joules();
    }

    /// Fault: it fails and gives nothing until it is repaired.
    pub fn set_failed(&mut self, on: bool) {
        self.failed = on;
    }

    /// Seconds until an overload makes it drop its load, on battery; `None`: it does not.
    pub fn overload_seconds_left(&self) -> Option<f64> {
        let rate = Self::overload_rate(self.readout.load_ratio);
        (self.readout.on_battery && rate > 0.0).then(|| ((1.0 - self.overload_used) / rate).max(0.0))
    }

    /// The health at the start.
    pub fn initial_health(&self) -> f64 {
        self.spec.battery_health_ratio
    }

    /// How fast an overload uses up the time to bypass, per second: 105 to 125 % ten minutes, to
    /// 150 % one minute, above half a second (usual table of units of this size).
    fn overload_rate(load_ratio: f64) -> f64 {
        match load_ratio {
            r if r <= 1.05 => -1.0 / 600.0,
            r if r <= 1.25 => 1.0 / 600.0,
            r if r <= 1.5 => 1.0 / 60.0,
            _ => 2.0,
        }
    }

    /// Advances by `dt` seconds with this output.
    pub fn step(&mut self, dt: f64, utility: bool, phase_watts: [f64; 3], phase_amperes: [f64; 3]) {
        let output: f64 = phase_watts.iter().sum();
        let converted =
            if self.readout.output_on { output / EFFICIENCY + STANDING * self.spec.rating_watts } else { 0.0 };
        let capacity = self.capacity_joules();
        let load_ratio = phase_watts.iter().copied().fold(0.0, f64::max) * 3.0 / self.spec.rating_watts;
        self.overload_used = (self.overload_used + Self::overload_rate(load_ratio) * dt).max(0.0);
        let r = &mut self.readout;
        let on_battery = !utility && r.output_on;
        let rate_penalty = (converted / self.spec.rating_watts).max(0.05).powf(PEUKERT - 1.0);
        let charging = if utility && self.energy_joules < capacity { CHARGER * self.spec.rating_watts } else { 0.0 };
        if on_battery {
            self.energy_joules = (self.energy_joules - converted * rate_penalty * dt).max(0.0);
            // On battery an overload cannot go to bypass: the inverter stops.
            if self.energy_joules == 0.0 || self.overload_used >= 1.0 {
                r.output_on = false;
            }
        } else {
            self.energy_joules = (self.energy_joules + charging * dt).min(capacity);
            r.output_on |= utility;
        }
        r.output_on &= !self.failed;
        r.on_battery = on_battery && r.output_on;
        r.on_battery_s = if on_battery { r.on_battery_s + dt } else { 0.0 };
        r.input_volts = if utility { self.volts } else { 0.0 };
        r.input_frequency_hz = if utility { self.frequency_hz } else { 0.0 };
        r.input_watts = if utility { converted + charging } else { 0.0 };
        r.charging_watts = charging;
        r.loss_watts = converted - output;
        r.output_volts = if r.output_on { self.volts } else { 0.0 };
        r.output_frequency_hz = if r.output_on { self.frequency_hz } else { 0.0 };
        r.output_phase_watts = phase_watts;
        r.output_phase_amperes = phase_amperes;
        r.output_energy_joules += output * dt;
        r.load_ratio = load_ratio;
        let charge = self.energy_joules / capacity;
        r.battery_charge_ratio = charge;
        r.battery_capacity_amperehours = capacity / 3600.0 / (BLOCKS * 12.0);
        let expected = output.max(0.02 * self.spec.rating_watts) / EFFICIENCY + STANDING * self.spec.rating_watts;
        r.runtime_s =
            self.energy_joules / (expected * (expected / self.spec.rating_watts).max(0.05).powf(PEUKERT - 1.0));
        r.battery_weak = self.health_ratio < WEAK;
        // 12 V block: 13.6 V on float, open circuit 11.6 V empty to 12.8 V full, minus the drop.
        let open = BLOCKS * (11.6 + 1.2 * charge);
        let ohms = STRING_OHMS * (1.0 + 2.0 * (1.0 - self.health_ratio));
        let volts = if on_battery {
            open - ohms * converted / open
        } else if charging > 0.0 {
            BLOCKS * 13.8
        } else {
            BLOCKS * 13.6
        };
        r.battery_volts = volts;
        r.battery_amperes = if on_battery { -converted / volts } else { charging / volts };
        let heat_kelvins = if on_battery { 12.0 * (converted / self.spec.rating_watts) } else { 0.0 };
        r.battery_celsius += dt / 1800.0 * (25.0 + heat_kelvins - r.battery_celsius);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ups(health: f64) -> Ups {
        let spec = UpsSpec { rating_watts: 30_000.0, battery_minutes: 6.0, battery_health_ratio: health };
        Ups::new(&spec, 240.0, 50.0)
    }

    fn seconds_on_battery(ups: &mut Ups, watts: f64) -> f64 {
        let mut time_s = 0.0;
        while ups.readout.output_on && time_s < 36_000.0 {
            ups.step(0.1, false, [watts / 3.0; 3], [0.0; 3]);
            time_s += 0.1;
        }
        time_s
    }

    #[test]
    fn input_is_output_plus_loss_plus_charging() {
        let mut ups = ups(1.0);
        for _ in 0..100 {
            ups.step(0.02, true, [3000.0; 3], [12.5; 3]);
        }
        let r = &ups.readout;
        assert!((r.input_watts - (9000.0 + r.loss_watts + r.charging_watts)).abs() < 1e-6);
        assert!(!r.on_battery && r.battery_charge_ratio == 1.0);
    }

    #[test]
    fn the_runtime_it_promises_is_the_runtime_it_keeps() {
        let mut ups = ups(1.0);
        ups.step(0.1, true, [4000.0; 3], [0.0; 3]);
        let promised = ups.readout.runtime_s;
        let kept = seconds_on_battery(&mut ups, 12_000.0);
        assert!((kept / promised - 1.0).abs() < 0.02, "{promised} {kept}");
    }

    #[test]
    fn full_load_lasts_about_the_rated_minutes_and_a_weak_battery_half_of_it() {
        let full = seconds_on_battery(&mut ups(1.0), 30_000.0);
        let weak = seconds_on_battery(&mut ups(0.5), 30_000.0);
        assert!((full - 360.0).abs() < 20.0, "{full}");
        assert!((weak / full - 0.5).abs() < 0.02);
        let mut ups = ups(0.5);
        ups.step(0.1, true, [0.0; 3], [0.0; 3]);
        assert!(ups.readout.battery_weak);
    }

    #[test]
    fn energy_from_the_battery_equals_output_and_losses() {
        let mut ups = ups(1.0);
        ups.step(1.0, false, [10_000.0; 3], [0.0; 3]);
        let before = ups.energy_joules;
        ups.step(1.0, false, [10_000.0; 3], [0.0; 3]);
        let used = before - ups.energy_joules;
        let expected = 30_000.0 + ups.readout.loss_watts;
        assert!((used / expected - 1.0).abs() < 0.02, "Peukert apart: {used} {expected}");
    }

    #[test]
    fn utility_back_charges_the_battery_and_brings_the_output_back() {
        let mut ups = ups(1.0);
        seconds_on_battery(&mut ups, 30_000.0);
        assert!(!ups.readout.output_on);
        ups.step(0.1, true, [0.0; 3], [0.0; 3]);
        assert!(ups.readout.output_on && ups.readout.charging_watts > 0.0 && ups.readout.battery_amperes > 0.0);
    }
}

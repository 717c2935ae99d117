//! One rack PDU: three phases, a loss, and what a meter at its inlet sees.

/// What the meter at the inlet sees.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct PduReadout {
    /// The circuit has voltage. The meter is fed by it and is silent without.
    pub energised: bool,
    /// Active power, all phases.
    pub power_watts: f64,
    /// Active power by phase.
    pub phase_watts: [f64; 3],
    /// Current by phase.
    pub phase_amperes: [f64; 3],
    /// Voltage to neutral by phase.
    pub phase_volts: [f64; 3],
    /// Power factor of the sum.
    pub power_factor: f64,
    /// Line frequency.
    pub frequency_hz: f64,
    /// Imported energy since the start.
    pub energy_joules: f64,
    /// Imported energy by phase.
    pub phase_energy_joules: [f64; 3],
    /// Power delivered to the rack behind it.
    pub output_watts: f64,
}

/// What feeds a PDU, and what it loses.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Supply {
    /// The feed has voltage.
    pub energised: bool,
    /// Its voltage to neutral.
    pub volts: f64,
    /// Its frequency.
    pub frequency_hz: f64,
    /// Power factor of what hangs on it at load.
    pub power_factor: f64,
    /// Share of the input that is lost.
    pub loss_ratio: f64,
}

/// So much worse is the power factor below [`LIGHT_WATTS`]: supplies with active correction reach 0.99, less at light
/// load (80 PLUS Titanium asks for 0.95 at 20 % load).
const LIGHT: f64 = 0.02;
const LIGHT_WATTS: f64 = 1500.0;
/// Impedance of the cord and plugs from the breaker.
const CORD_OHMS: f64 = 0.03;

impl PduReadout {
    /// Apparent power, all phases.
    pub fn apparent_va(&self) -> f64 {
        self.phase_va().iter().sum()
    }

    /// Apparent power by phase.
    pub fn phase_va(&self) -> [f64; 3] {
        std::array::from_fn(|p| self.phase_volts[p] * self.phase_amperes[p])
    }

    /// Takes `output_watts` through the PDU for `dt` seconds. `weights` split it over the phases
    /// and sum to 1.
    pub fn step(&mut self, dt: f64, supply: Supply, output_watts: f64, weights: [f64; 3]) {
        let Supply { energised, volts, frequency_hz, power_factor, loss_ratio } = supply;
        self.energised = energised;
        self.output_watts = if energised { output_watts } else { 0.0 };
        self.power_watts = self.output_watts / (1.0 - loss_ratio);
        self.frequency_hz = if energised { frequency_hz } else { 0.0 };
        self.power_factor = if self.power_watts > LIGHT_WATTS { power_factor } else { power_factor - LIGHT };
        for (p, weight) in weights.into_iter().enumerate() {
            self.phase_watts[p] = self.power_watts * weight;
            let ideal = self.phase_watts[p] / (volts * self.power_factor);
            self.phase_volts[p] = if energised { volts - CORD_OHMS * ideal } else { 0.0 };
            self.phase_amperes[p] =
                if energised { self.phase_watts[p] / (self.phase_volts[p] * self.power_factor) } else { 0.0 };
            self.phase_energy_joules[p] += self.phase_watts[p] * dt;
        }
        self.energy_joules += self.power_watts * dt;
    }
}

/// How the load of a rack spreads over the phases: nearly even, as each GPU leans a little on one
/// of them and eight are not divisible by three. `turn` rotates the phases from rack to rack.
pub fn phase_weights(gpu_watts: &[f64], turn: usize) -> [f64; 3] {
    const LEAN: f64 = 0.06;
    let total: f64 = gpu_watts.iter().sum();
    if total <= 0.0 {
        return [1.0 / 3.0; 3];
    }
    let mut weights = [0.0; 3];
    for (i, watts) in gpu_watts.iter().enumerate() {
        for (p, weight) in weights.iter_mut().enumerate() {
            let lean = if (i + turn) % 3 == p { LEAN } else { -LEAN / 2.0 };
            *weight += watts / total * (1.0 / 3.0 + lean);
        }
    }
    weights
}

#[cfg(test)]
mod tests {
    use super::*;

    const ON: Supply =
        Supply { energised: true, volts: 240.0, frequency_hz: 50.0, power_factor: 0.99, loss_ratio: 0.02 };

    #[test]
    fn the_phases_differ_by_a_few_percent_and_sum_to_the_whole() {
        let weights = phase_weights(&[500.0; 8], 0);
        assert!((weights.iter().sum::<f64>() - 1.0).abs() < 1e-12);
        let (low, high) = (weights.iter().copied().fold(1.0, f64::min), weights.iter().copied().fold(0.0, f64::max));
        assert!(high / low > 1.01 && high / low < 1.06, "{weights:?}");
    }

    #[test]
    fn input_is_output_plus_loss_and_the_phases_sum_up() {
        let mut pdu = PduReadout::default();
        for _ in 0..100 {
            pdu.step(0.02, ON, 3600.0, phase_weights(&[600.0, 500.0], 1));
        }
        assert!((pdu.power_watts * 0.98 - 3600.0).abs() < 1e-9);
        assert!((pdu.phase_watts.iter().sum::<f64>() - pdu.power_watts).abs() < 1e-9);
        assert!((pdu.energy_joules - pdu.power_watts * 2.0).abs() < 1e-6);
        assert!((pdu.apparent_va() * pdu.power_factor - pdu.power_watts).abs() < 1e-6);
    }

    #[test]
    fn the_same_power_takes_more_current_from_a_low_voltage_and_with_a_low_power_factor() {
        let amperes = |supply: Supply| {
            let mut pdu = PduReadout::default();
            pdu.step(0.02, supply, 3600.0, [1.0 / 3.0; 3]);
            pdu.phase_amperes[0]
        };
        let more = amperes(Supply { volts: 0.94 * 240.0, power_factor: 0.9, ..ON }) / amperes(ON);
        assert!((more * 0.94 * 0.9 / 0.99 - 1.0).abs() < 1e-3, "{more}");
    }

    #[test]
    fn a_dead_circuit_carries_nothing() {
        let mut pdu = PduReadout::default();
        pdu.step(0.02, Supply { energised: false, ..ON }, 3600.0, [1.0 / 3.0; 3]);
        assert_eq!((pdu.power_watts, pdu.phase_amperes, pdu.phase_volts), (0.0, [0.0; 3], [0.0; 3]));
    }
}

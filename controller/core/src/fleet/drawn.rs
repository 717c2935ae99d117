//! How much more current a meter tells than its power does. Breakers trip on currents, and all else is reckoned in
//! powers: a low power factor, or a voltage below the nominal one under supplies that draw the same power from it,
//! makes one more than the other.

use super::read::Of;
use headroom_rack::{Signal, Volts, Watts};

/// Current over what the power tells, at the least and the most that can be: 15 % above the nominal voltage with no
/// reactive power, and a power factor of 0.75 at a tenth below it. Beyond, a meter is wrong or wired otherwise than
/// written (between two lines, behind a transformer): quality, no number.
const PLAUSIBLE: std::ops::RangeInclusive<f64> = 0.85..=1.5;

/// What a meter tells of the current behind its power.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Drawn {
    /// Amperes for each watt: of all phases together, and of the fullest one.
    per_watt: Option<[f64; 2]>,
    /// Apparent power over power.
    apparent: Option<f64>,
    /// Voltage of a phase, on average.
    volts: Option<f64>,
    /// Told by an earlier Snapshot, and by none since.
    is_last: bool,
}

impl Drawn {
    /// What a device that carries `power` tells; `None`: nothing.
    pub(super) fn read(of: Of<'_>, power: Watts) -> Option<Self> {
        let watts = Some(power.get()).filter(|watts| *watts > 0.0)?;
        let amperes = of.all([Signal::PduCurrentL1, Signal::PduCurrentL2, Signal::PduCurrentL3]);
        let per_watt = amperes.map(|[sum, _, most]| [sum / watts, most / watts]);
        let volts = of.all([Signal::PduVoltageL1, Signal::PduVoltageL2, Signal::PduVoltageL3]);
        let volts = volts.map(|[sum, count, _]| sum / count).or_else(|| of.value(Signal::UpsOutputVoltage));
        let apparent = of.value(Signal::PduApparentPower).map(|va| va / watts);
        let apparent = apparent.or_else(|| Some(1.0 / of.value(Signal::PduPowerFactor)?.abs()));
        let apparent = apparent.filter(|a| PLAUSIBLE.contains(a));
        let told = per_watt.is_some() || volts.is_some() || apparent.is_some();
        told.then_some(Self { per_watt, apparent, volts, is_last: false })
    }

    /// The same when it is told no more.
    pub(super) fn last(self) -> Self {
        Self { is_last: true, ..self }
    }

    /// Whether a Snapshot told it that was not the newest.
    pub fn is_last(self) -> bool {
        self.is_last
    }

    /// Current over what the power tells at a `nominal` voltage, phase to neutral, in a circuit of `phases`; `lines`: what
    /// the plan has its phases sum to, more than 1 where lines are connected to lines, which is counted with the phases.
    pub fn over_power(&self, nominal: Option<Volts>, phases: u32, lines: f64) -> Option<f64> {
        let plausible = |over: &f64| PLAUSIBLE.contains(over);
        let by_amperes = || {
            let [all, fullest] = self.per_watt?;
            // Of two lines with one load between them both carry its current.
            let per_watt = if phases == 1 { fullest } else { all / lines };
            Some(per_watt * nominal?.get()).filter(plausible)
        };
        let sag = || Some(nominal?.get() / self.volts?).filter(plausible);
        by_amperes().or_else(|| match (self.apparent, sag()) {
            (Some(apparent), sag) => Some(apparent * sag.unwrap_or(1.0)).filter(plausible),
            (None, sag) => sag.map(|sag| sag * crate::trip::CURRENT),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use headroom_rack::{DeviceId, NoData, Reading, Readings, SignalPath, UnixMs};

    fn drawn(watts: f64, told: &[(Signal, f64)]) -> Option<Drawn> {
        let reading = |value: f64| match value.is_nan() {
            true => Reading::none(NoData::Timeout, UnixMs::new(1)),
            false => Reading::new(value, UnixMs::new(1)),
        };
        let path = |signal| SignalPath::new(DeviceId::new("pdu-a").unwrap(), signal);
        let readings: Readings = told.iter().map(|(signal, value)| (path(*signal), reading(*value))).collect();
        Drawn::read(Of::new(&readings, &(0..told.len())), Watts::new(watts))
    }

    use Signal::{PduApparentPower, PduCurrentL1, PduCurrentL2, PduCurrentL3, PduPowerFactor, PduVoltageL1};

    fn over(watts: f64, told: &[(Signal, f64)], nominal: f64, phases: u32, lines: f64) -> Option<f64> {
        let nominal = Some(Volts::new(nominal)).filter(|volts| volts.get() > 0.0);
        let over = drawn(watts, told)?.over_power(nominal, phases, lines)?;
        Some((over * 1e4).round() / 1e4)
    }

    #[test]
    fn amperes_at_the_nominal_voltage_tell_of_power_factor_and_low_voltage_together() {
        // 3 kW at 225.6 V, 0.94 of 240, with a power factor of 0.95.
        let each = 1000.0 / (225.6 * 0.95);
        let three = [(PduCurrentL1, each), (PduCurrentL2, each), (PduCurrentL3, each)];
        assert_eq!(over(3000.0, &three, 240.0, 3, 1.0), Some(1.1198));
        // Nobody wrote the nominal voltage: the power factor alone.
        let told = [three.as_slice(), &[(PduApparentPower, 3000.0 / 0.95)]].concat();
        assert_eq!(over(3000.0, &told, 0.0, 3, 1.0), Some(1.0526));
        assert_eq!(over(3000.0, &[(PduPowerFactor, -0.95)], 0.0, 3, 1.0), Some(1.0526));
        let told = [(PduVoltageL1, 225.6), (PduPowerFactor, 0.95)];
        assert_eq!(over(3000.0, &told, 240.0, 3, 1.0), Some(1.1198));
        assert_eq!(over(3000.0, &told[..1], 240.0, 3, 1.0), Some(1.0745), "as supplies are at load");
        assert_eq!(over(3000.0, &three, 0.0, 3, 1.0), None);
    }

    #[test]
    fn a_load_between_two_lines_is_not_taken_for_a_low_power_factor() {
        // 5 kW at 208 V between two lines of a panel of 120 V to neutral: both carry it.
        let each = 5000.0 / 208.0;
        let both = [(PduCurrentL1, each), (PduCurrentL2, each)];
        let lines = 2.0 / 3.0_f64.sqrt();
        assert!((over(5000.0, &both, 120.0, 3, lines).unwrap() - 1.0).abs() < 2e-3);
        assert_eq!(over(5000.0, &both, 208.0, 1, lines), Some(1.0), "rated by the voltage between them");
        let one = [(PduCurrentL1, each), (PduPowerFactor, 0.97)];
        assert_eq!(over(5000.0, &one, 120.0, 3, lines), Some(1.0309), "half of the current cannot be");
    }

    #[test]
    fn what_cannot_be_and_what_could_not_be_read_is_no_number() {
        let amperes = |a: f64| [(PduCurrentL1, a), (PduCurrentL2, 4.0), (PduCurrentL3, 4.0)];
        assert_eq!(over(2900.0, &amperes(4.0), 240.0, 3, 1.0), Some(0.9931));
        for (watts, told) in [(2900.0, amperes(f64::NAN)), (2900.0, amperes(900.0)), (290.0, amperes(4.0))] {
            assert_eq!(over(watts, &told, 240.0, 3, 1.0), None, "{watts} {told:?}");
        }
        for watts in [0.0, -500.0] {
            assert_eq!(drawn(watts, &amperes(4.0)), None);
        }
        for told in [(PduPowerFactor, 0.0), (PduPowerFactor, f64::NAN), (PduApparentPower, 1e6)] {
            assert_eq!(over(2900.0, &[told], 240.0, 3, 1.0), None, "{told:?}");
        }
        assert_eq!(over(2900.0, &[(PduVoltageL1, 0.0), (PduPowerFactor, 0.95)], 240.0, 3, 1.0), Some(1.0526));
    }
}

//! Eastron SDM630 three-phase meter: input registers (function 4), each value an IEEE single, high
//! word first. Addresses from volkszaehler/mbmd `meters/rs485/sdm.go`, agreed by OpenEMS
//! `MeterEastronSdm630Impl` (3xxxx numbers minus 30001).

use super::image::Image;
use crate::plant::pdu::PduReadout;

/// At most 40 values in one request.
pub const SPAN: u16 = 80;
const JOULES_PER_KWH: f64 = 3.6e6;
/// Harmonic distortion of the voltage behind a double-conversion UPS.
const THD_PERCENT: f64 = 1.8;

/// The registers. `factor` scales power, current and energy.
pub fn image(pdu: &PduReadout, factor: f64) -> Image {
    let mut image = Image::default();
    let mut three = |first: u16, values: [f64; 3]| {
        for (address, value) in (first..).step_by(2).zip(values) {
            image.float(address, value);
        }
    };
    let watts = pdu.phase_watts.map(|w| w * factor);
    let va = pdu.phase_va().map(|s| s * factor);
    let var: [f64; 3] = std::array::from_fn(|p| (va[p] * va[p] - watts[p] * watts[p]).max(0.0).sqrt());
    let kwh = pdu.phase_energy_joules.map(|j| j * factor / JOULES_PER_KWH);
    let kvarh = kwh.map(|e| e * pdu.power_factor.acos().tan());
    three(0, pdu.phase_volts);
    three(6, pdu.phase_amperes.map(|a| a * factor));
    three(12, watts);
    three(18, va);
    three(24, var);
    three(30, [pdu.power_factor; 3]);
    three(234, [THD_PERCENT; 3]);
    three(346, kwh); // import
    three(352, [0.0; 3]); // export
    three(358, kwh); // sum
    three(364, kvarh); // reactive import
    three(370, [0.0; 3]); // reactive export
    three(376, kvarh); // reactive sum
    let (total_kwh, total_kvarh) = (kwh.iter().sum::<f64>(), kvarh.iter().sum::<f64>());
    for (address, value) in [
        (48, pdu.phase_amperes.iter().sum::<f64>() * factor),
        (52, watts.iter().sum()),
        (56, va.iter().sum()),
        (60, var.iter().sum()),
        (62, pdu.power_factor),
        (66, pdu.power_factor.acos().to_degrees()),
        (70, pdu.frequency_hz),
        (72, total_kwh),   // import
        (74, 0.0),         // export
        (76, total_kvarh), // reactive import
        (78, 0.0),         // reactive export
        (248, THD_PERCENT),
        (342, total_kwh),   // sum
        (344, total_kvarh), // reactive sum
    ] {
        image.float(address, value);
    }
    image
}

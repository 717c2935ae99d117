//! A SunSpec meter: holding registers (function 3) from 40000 on, a chain of models: the common model (1),
//! a three-phase wye meter with integers (203) or with floats (213), the end. Offsets and types from
//! sunspec/models `json/model_1.json`, `model_203.json`, `model_213.json`; values that a meter does not
//! have as the SunSpec Information Model Specification writes them.

use super::image::Image;
use crate::plant::pdu::PduReadout;

/// Where the marker "SunS" stands.
const BASE: u16 = 40_000;
/// Where the meter's model begins: behind the marker and the 68 registers of the common model.
const METER: u16 = BASE + 70;
const JOULES_PER_WH: f64 = 3600.0;
/// A scale factor for points that are not implemented.
const NO_SCALE: u16 = 0x8000;

/// What both models tell, total first and then by phase.
struct Measured {
    amperes: [f64; 4],
    volts: [f64; 4],
    line_volts: [f64; 4],
    watts: [f64; 4],
    va: [f64; 4],
    var: [f64; 4],
    wh: [f64; 4],
}

fn measure(pdu: &PduReadout, factor: f64) -> Measured {
    let total = |phases: [f64; 3]| [phases.iter().sum(), phases[0], phases[1], phases[2]];
    let average = |phases: [f64; 3]| [phases.iter().sum::<f64>() / 3.0, phases[0], phases[1], phases[2]];
    let watts = pdu.phase_watts.map(|w| w * factor);
    let va = pdu.phase_va().map(|s| s * factor);
    // Between two phases a third of a turn apart.
    let volts = pdu.phase_volts;
    let between = |a: f64, b: f64| (a * a + b * b + a * b).sqrt();
    let lines = [between(volts[0], volts[1]), between(volts[1], volts[2]), between(volts[2], volts[0])];
    Measured {
        amperes: total(pdu.phase_amperes.map(|a| a * factor)),
        volts: average(volts),
        line_volts: average(lines),
        watts: total(watts),
        va: total(va),
        var: total(std::array::from_fn(|p| (va[p] * va[p] - watts[p] * watts[p]).max(0.0).sqrt())),
        wh: total(pdu.phase_energy_joules.map(|j| j * factor / JOULES_PER_WH)),
    }
}

/// Marker, common model and the head of the meter's model; the end stands behind its `length` registers.
fn chain(meter: u16, length: u16) -> Image {
    let mut image = Image::default();
    image.string(BASE, "SunS", 2);
    image.word(BASE + 2, 1);
    image.word(BASE + 3, 66);
    image.string(BASE + 4, "Headroom", 16); // manufacturer
    image.string(BASE + 20, "Simulated meter", 16);
    image.string(BASE + 36, "", 8); // options
    image.string(BASE + 44, "1.0", 8); // version
    image.string(BASE + 52, "SIM0000000000001", 16);
    image.word(BASE + 68, 1); // device address
    image.word(BASE + 69, 0x8000); // pad
    image.word(METER, meter);
    image.word(METER + 1, length);
    image.fill(METER + 2..=METER + 1 + length, 0);
    image.word(METER + 2 + length, 0xffff);
    image.word(METER + 3 + length, 0);
    image
}

/// The registers with model 203. `factor` scales power, current and energy.
pub fn integers(pdu: &PduReadout, factor: f64) -> Image {
    let mut image = chain(203, 105);
    let measured = measure(pdu, factor);
    let ratios = [pdu.power_factor * 100.0; 4]; // per cent
    // First offset, values, offset of the scale factor, and its value.
    let groups = [
        (2, &measured.amperes, 6, -2),
        (7, &measured.volts, 15, -1),
        (11, &measured.line_volts, 15, -1),
        (18, &measured.watts, 22, 0),
        (23, &measured.va, 27, 0),
        (28, &measured.var, 32, 0),
        (33, &ratios, 37, -2),
    ];
    for (first, values, scale_at, scale) in groups {
        for (offset, value) in (first..).zip(values) {
            image.signed(METER + offset, *value, 10_f64.powi(scale));
        }
        image.word(METER + scale_at, scale as u16);
    }
    image.signed(METER + 16, pdu.frequency_hz, 0.01);
    image.word(METER + 17, -2_i16 as u16);
    // Exported energy stays 0, as do VAh and varh, which this meter does not count.
    for (offset, value) in (46..).step_by(2).zip(measured.wh) {
        image.long(METER + offset, value.round() as u32);
    }
    image.word(METER + 54, 0);
    image.word(METER + 71, NO_SCALE);
    image.word(METER + 104, NO_SCALE);
    image
}

/// The registers with model 213. `factor` scales power, current and energy.
pub fn floats(pdu: &PduReadout, factor: f64) -> Image {
    let mut image = chain(213, 124);
    let measured = measure(pdu, factor);
    let groups = [
        (2, measured.amperes),
        (10, measured.volts),
        (18, measured.line_volts),
        (28, measured.watts),
        (36, measured.va),
        (44, measured.var),
        (52, [pdu.power_factor; 4]),
        (68, measured.wh), // imported; exported stays 0
    ];
    for (first, values) in groups {
        for (offset, value) in (first..).step_by(2).zip(values) {
            image.float(METER + offset, value);
        }
    }
    image.float(METER + 26, pdu.frequency_hz);
    // VAh and varh are not counted.
    for offset in (76..124).step_by(2) {
        image.float(METER + offset, f64::NAN);
    }
    image
}

//! Delta DPH UPS with its Modbus card (same map as Tripp Lite MODBUSCARD): input registers
//! (function 4), 16 bits each, 0xFFFF for what this UPS does not have. Addresses and units from the
//! MODBUSCARD owner's manual 201003113.

use super::image::Image;
use crate::plant::ups::UpsReadout;

/// This UPS does not have the point.
const ABSENT: u16 = 0xffff;
const MOST: u16 = 0xfffe;

/// The registers. `factor` scales output power, current and load.
pub fn image(ups: &UpsReadout, factor: f64) -> Image {
    let mut image = Image::default();
    image.fill(1025..=1130, ABSENT);
    let mut put = |address: u16, value: f64, unit: f64| image.scaled(address, value, unit, MOST);
    // Ratings.
    put(1025, ups.rated_volts, 1.0);
    put(1026, ups.rated_hz, 0.1);
    put(1027, ups.rated_volts, 1.0);
    put(1028, ups.rated_hz, 0.1);
    put(1029, ups.rating_watts, 10.0); // VA: this model is rated at power factor 1
    put(1030, ups.rating_watts, 10.0);
    put(1038, 3.0, 1.0); // three-phase
    put(1039, 240.0, 1.0); // battery
    // Battery.
    put(1054, if ups.battery_weak { 1.0 } else { 0.0 }, 1.0);
    let low = ups.battery_charge_ratio < 0.2;
    let depleted = ups.battery_charge_ratio < 0.01;
    put(1055, if depleted { 2.0 } else { f64::from(u8::from(low)) }, 1.0);
    let state = if ups.on_battery { 3.0 } else { f64::from(u8::from(ups.charging_watts > 0.0)) };
    put(1056, state, 1.0);
    put(1057, ups.on_battery_s.floor(), 1.0);
    put(1058, (ups.runtime_s / 60.0).floor(), 1.0);
    put(1059, ups.battery_charge_ratio * 100.0, 1.0);
    put(1060, ups.battery_volts, 0.1);
    put(1061, ups.battery_amperes.abs(), 0.1);
    put(1062, ups.battery_celsius, 1.0);
    put(1063, ups.battery_charge_ratio * 100.0, 1.0);
    put(1064, 0.0, 1.0); // external packs
    // Input and output by line.
    let input_amperes = if ups.input_volts > 0.0 { ups.input_watts / 3.0 / (ups.input_volts * 0.99) } else { 0.0 };
    put(1091, ups.output_frequency_hz, 0.1);
    for line in 0..3_u16 {
        let at = 4 * line;
        put(1073 + at, ups.input_frequency_hz, 0.1);
        put(1074 + at, ups.input_volts, 0.1);
        put(1075 + at, input_amperes, 0.1);
        put(1076 + at, ups.input_watts / 3.0, 10.0);
        let watts = ups.output_phase_watts[usize::from(line)] * factor;
        put(1093 + at, ups.output_volts, 0.1);
        put(1094 + at, ups.output_phase_amperes[usize::from(line)] * factor, 0.1);
        put(1095 + at, watts, 10.0);
        put(1096 + at, watts / (ups.rating_watts / 3.0) * 100.0, 1.0);
    }
    // Bypass sees the utility and carries nothing.
    put(1110, ups.input_frequency_hz, 0.1);
    put(1112, ups.input_volts, 0.1);
    put(1113, 0.0, 0.1);
    put(1114, 0.0, 10.0);
    image.text(0x0503, "DPH 30K", 11);
    image.text(0x050e, "01.00", 8);
    image
}

//! Huawei UPS2000-A and -G: holding registers (function 3), 16 bits each, and device identification
//! (function 0x2B). Numbers from Huawei's "UPS2000 Modbus protocol" (EDOC1000110696) as
//! networkupstools/nut `drivers/huawei-ups2000.c` restates them; on the wire 10000 is added to the number
//! of a value and 1024 to that of an alarm. A single-phase UPS: its one output carries all of the plant's
//! three lines, and its rating is the plant's, not the 1 to 3 kVA it is sold in.

use super::image::{Image, Refusal};
use crate::plant::ups::UpsReadout;

/// Not measured: a fixed-point register, and an integer one.
const NO_FIXED: u16 = 0x7fff;
const NO_INTEGER: u16 = 0xffff;
const MOST: u16 = 0x7ffe;
/// Added to the number of a value.
const VALUES: u16 = 10_000;
/// The first alarm register, number 40156, with the 1024 added.
const ALARMS: u16 = 41_180;
/// Objects of the device list: how many units there are, and what the first one is.
const COUNT_OBJECT: u8 = 0x87;
const FIRST_UNIT_OBJECT: u8 = 0x88;

/// The registers. `factor` scales output power, current and load.
pub fn image(ups: &UpsReadout, factor: f64) -> Image {
    let mut image = Image::default();
    image.fill(VALUES + 1000..=VALUES + 1027, NO_FIXED);
    image.fill(VALUES + 1028..=VALUES + 1049, 0); // commands and settings, as they leave the factory
    image.fill(VALUES + 2000..=VALUES + 2033, NO_INTEGER);
    image.fill(ALARMS..=ALARMS + 26, 0);
    let watts = ups.output_phase_watts.iter().sum::<f64>() * factor;
    let amperes = ups.output_phase_amperes.iter().sum::<f64>() * factor;
    let mut put = |number: u16, value: f64, unit: f64| image.scaled(VALUES + number, value, unit, MOST);
    put(1000, ups.input_volts, 0.1);
    put(1003, ups.input_frequency_hz, 0.1);
    put(1004, ups.input_volts, 0.1); // bypass sees the utility
    put(1007, ups.input_frequency_hz, 0.1);
    put(1008, ups.output_volts, 0.1);
    put(1011, amperes, 0.1);
    put(1014, ups.output_frequency_hz, 0.1);
    put(1015, watts, 100.0);
    put(1018, ups.output_volts * amperes, 100.0);
    put(1021, watts / ups.rating_watts * 100.0, 0.1);
    put(1027, ups.battery_celsius, 0.1); // the battery is inside
    put(2000, ups.battery_volts, 0.1);
    put(2003, ups.battery_charge_ratio * 100.0, 1.0);
    put(2007, 1.0, 1.0); // packs
    put(2033, ups.battery_capacity_amperehours, 1.0);
    put(9009, ups.rating_watts, 100.0); // VA: rated at power factor 1
    let mode = if ups.on_battery { 3 } else { u16::from(ups.output_on) * 2 }; // 0 off, 2 online, 3 battery
    image.word(VALUES + 1024, mode);
    image.word(VALUES + 1043, u16::from(ups.battery_low()) << 6);
    // Battery: 3 floats, 4 is equalised, 5 discharges.
    let battery = if ups.on_battery { 5 } else { 3 + u16::from(ups.charging_watts > 0.0) };
    image.word(VALUES + 2002, battery);
    image.long(VALUES + 2004, ups.runtime_s as u32);
    let alarm = |number: u16| ALARMS + (number - 40_156);
    let no_utility = u16::from(ups.input_volts == 0.0);
    image.word(alarm(40_161), no_utility << 1 | no_utility << 2);
    image.word(alarm(40_164), u16::from(ups.battery_weak) << 1);
    let load = watts / ups.rating_watts;
    image.word(alarm(40_173), u16::from(load > 1.1) << 3 | u16::from(load > 1.05 && load <= 1.1) << 5);
    image
}

/// What function 0x2B says from `object` on: how many units there are, and the first one's fields: model,
/// firmware, protocol, serial number, device id, parallel id.
///
/// # Errors
/// [`Refusal::Address`] for an object other than the device list.
pub fn identity(object: u8) -> Result<Vec<(u8, Vec<u8>)>, Refusal> {
    let unit = b"1=UPS2000A;2=V200R001C90SPC100;3=V1.0;4=SIM0000000000001;5=1;6=1".to_vec();
    match object {
        COUNT_OBJECT => Ok(vec![(COUNT_OBJECT, 1_u32.to_be_bytes().to_vec()), (FIRST_UNIT_OBJECT, unit)]),
        _ => Err(Refusal::Address),
    }
}

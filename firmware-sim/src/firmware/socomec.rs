//! Socomec UPS over JBUS, a three-phase DELPHYS MX: holding registers (function 3), unsigned 16 bits,
//! 0xFFFF for what it does not say. Addresses and units from Socomec's "JBUS/MODBUS for Delphys MP and
//! Delphys MX" operating manual as networkupstools/nut `drivers/socomec_jbus.c` restates it.

use super::image::Image;
use crate::plant::ups::UpsReadout;

/// Not available.
const ABSENT: u16 = 0xffff;
const MOST: u16 = 0xfffe;
/// Model code of the DELPHYS MX.
const DELPHYS_MX: u16 = 515;
/// Above this share of the rating it calls an overload.
const OVERLOAD: f64 = 1.05;

/// The registers at `time_s` since the start. `factor` scales output current and load.
pub fn image(ups: &UpsReadout, time_s: f64, factor: f64) -> Image {
    let mut image = Image::default();
    identity(&mut image, ups);
    states(&mut image, ups);
    measurements(&mut image, ups, factor);
    clock(&mut image, time_s);
    image
}

fn identity(image: &mut Image, ups: &UpsReadout) {
    image.fill(0x1000..=0x100b, 0);
    image.word(0x1000, DELPHYS_MX);
    image.scaled(0x1001, ups.rating_watts, 100.0, MOST); // tenths of a kVA, at power factor 1
    // The serial number has its first character in the low byte.
    for (address, pair) in (0x1003..).zip(b"SIM0000001".chunks(2)) {
        image.word(address, u16::from_le_bytes([pair[0], pair[1]]));
    }
    image.fill(0x10e0..=0x10ff, 0);
    for (address, value) in
        [(0x10e0, ups.rated_volts), (0x10e1, ups.rated_volts), (0x10e2, ups.rated_hz), (0x10e3, ups.rated_hz)]
    {
        image.scaled(address, value, 1.0, MOST);
    }
    image.scaled(0x10e8, ups.battery_capacity_amperehours, 0.1, MOST);
    image.word(0x10e9, 120); // elements of 2 V
}

fn states(image: &mut Image, ups: &UpsReadout) {
    let bit = |on: bool, n: u16| u16::from(on) << n;
    let (utility, on) = (ups.input_volts > 0.0, ups.output_on);
    let near_the_end = ups.battery_low();
    let state = bit(utility, 0) | bit(on, 1) | bit(utility, 2) | bit(on, 3) | bit(ups.on_battery, 5);
    image.word(0x1020, state | bit(near_the_end, 15));
    image.word(0x1021, bit(!ups.battery_weak, 0) | bit(utility, 10) | bit(ups.charging_watts > 0.0, 11));
    image.word(0x1022, bit(on, 0));
    image.word(0x1023, 0);
    image.word(0x1024, bit(on, 2) | bit(on, 6) | bit(on, 9) | bit(!ups.on_battery && on, 12));
    image.word(0x1025, 0);
    let overload = ups.load_ratio > OVERLOAD;
    let empty = ups.battery_charge_ratio < 0.01;
    let any = ups.battery_weak || overload || !utility || empty;
    let alarm = bit(any, 0) | bit(ups.battery_weak, 1) | bit(overload, 2) | bit(!utility, 5) | bit(!utility, 6);
    image.word(0x1040, alarm);
    image.fill(0x1041..=0x1042, 0);
    image.word(0x1043, bit(empty, 1));
}

fn measurements(image: &mut Image, ups: &UpsReadout, factor: f64) {
    image.fill(0x1060..=0x108f, ABSENT);
    let mut put = |address: u16, value: f64, unit: f64| image.scaled(address, value, unit, MOST);
    for line in 0..3_u16 {
        let phase = usize::from(line);
        put(0x1060 + line, ups.output_phase_watts[phase] * factor / (ups.rating_watts / 3.0) * 100.0, 1.0);
        put(0x1066 + line, ups.input_volts, 1.0); // bypass
        put(0x1069 + line, ups.output_volts, 1.0);
        put(0x106f + line, ups.output_phase_amperes[phase] * factor, 1.0);
    }
    put(0x1063, ups.output_phase_watts.iter().sum::<f64>() * factor / ups.rating_watts * 100.0, 1.0);
    put(0x1064, ups.battery_charge_ratio * 100.0, 1.0);
    put(0x1065, ups.battery_capacity_amperehours * ups.battery_charge_ratio, 0.1);
    put(0x1072, ups.input_frequency_hz, 0.1);
    put(0x1073, ups.output_frequency_hz, 0.1);
    put(0x1074, ups.battery_volts, 0.1);
    put(0x1076, ups.battery_celsius, 1.0);
    if ups.on_battery {
        put(0x1077, (ups.runtime_s / 60.0).floor(), 1.0); // only said while it counts
    }
    put(0x1078, ups.battery_amperes.abs(), 0.1);
}

/// The clock was set to the first of January 2026, 0:00, at the start; the date does not advance.
fn clock(image: &mut Image, time_s: f64) {
    let seconds = time_s as u32 % 86_400;
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let packed = |high: u32, low: u32| (high << 8 | low) as u16;
    image.word(0x1360, packed(minute, second));
    image.word(0x1361, packed(1, hour));
    image.word(0x1362, packed(1, 0));
    image.word(0x1363, 26);
}

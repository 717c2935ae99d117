//! Phoenix Contact QUINT-UPS/24DC/24DC/40 and its successor QUINT4: input registers (function 4) of a
//! 24 V DC supply. Addresses from networkupstools/nut `drivers/phoenixcontact_modbus.c`, decimal for the
//! first generation and hexadecimal for the fourth as in the makers' data sheets. A scale model of the
//! plant's UPS: as full, as loaded and for as long, at 24 V and with a battery string of 24 V. The
//! settings in holding registers are left out.

use super::image::Image;
use crate::plant::ups::UpsReadout;

const MOST: u16 = 0xfffe;
/// Rated output (data sheet of part 2320241).
const RATED_VOLTS: f64 = 24.0;
const RATED_AMPERES: f64 = 40.0;
/// The plant's battery has twenty blocks of 12 V, this one has two.
const STRING: f64 = 10.0;
const KELVINS: f64 = 273.0;

/// What both generations measure, in their units.
struct Measured {
    output_millivolts: f64,
    output_milliamperes: f64,
    battery_millivolts: f64,
    battery_kelvins: f64,
    charge_percent: f64,
    runtime_s: f64,
}

fn measure(ups: &UpsReadout, factor: f64) -> Measured {
    let load = ups.output_phase_watts.iter().sum::<f64>() / ups.rating_watts;
    Measured {
        output_millivolts: ups.output_volts / ups.rated_volts * RATED_VOLTS * 1000.0,
        output_milliamperes: load * RATED_AMPERES * factor * 1000.0,
        battery_millivolts: ups.battery_volts / STRING * 1000.0,
        battery_kelvins: ups.battery_celsius + KELVINS,
        charge_percent: ups.battery_charge_ratio * 100.0,
        runtime_s: ups.runtime_s.floor(),
    }
}

/// The registers of the first generation. `factor` scales output current.
pub fn first(ups: &UpsReadout, factor: f64) -> Image {
    let mut image = Image::default();
    let measured = measure(ups, factor);
    image.word(4, 544); // firmware
    image.word(29_697, u16::from(ups.on_battery));
    image.word(29_698, u16::from(ups.battery_low())); // "shutdown event"
    image.word(29_699, u16::from(ups.charging_watts > 0.0));
    image.fill(29_745..=29_753, 0);
    image.fill(29_792..=29_801, 0);
    let mut put = |address: u16, value: f64| image.scaled(address, value, 1.0, MOST);
    put(29_745, measured.output_millivolts);
    put(29_749, measured.charge_percent);
    put(29_750, (measured.runtime_s / 60.0).floor());
    put(29_792, measured.battery_millivolts);
    put(29_793, measured.battery_kelvins);
    put(29_795, measured.runtime_s);
    put(29_798, measured.output_milliamperes);
    put(29_800, (ups.battery_capacity_amperehours / 10.0).round()); // tens of ampere-hours
    // Alarms: 4 and 5 together the battery's resistance, 13 charge is low.
    let weak = u16::from(ups.battery_weak);
    image.word(29_840, weak << 4 | weak << 5 | u16::from(ups.battery_low()) << 13);
    image
}

/// The registers of the fourth generation. `factor` scales output current.
pub fn fourth(ups: &UpsReadout, factor: f64) -> Image {
    let mut image = Image::default();
    let measured = measure(ups, factor);
    image.word(4, 305); // firmware
    // The part number, 2907072, begins a decimal number of 64 bits, the highest word last.
    let part = 2_907_072_000_000_000_000_u64;
    (0..4).for_each(|n| image.word(5 + n, (part >> (16 * n) & 0xffff) as u16));
    image.fill(0x2000..=0x2010, 0);
    image.word(0x2000, u16::from(ups.on_battery) << 2 | u16::from(ups.charging_watts > 0.0) << 5);
    let mut put = |address: u16, value: f64| image.scaled(address, value, 1.0, MOST);
    put(0x2006, measured.output_millivolts);
    put(0x2007, measured.output_milliamperes);
    put(0x200a, measured.battery_millivolts);
    put(0x200d, measured.battery_kelvins);
    put(0x200f, measured.charge_percent);
    put(0x2010, measured.runtime_s);
    put(0x4211, ups.battery_capacity_amperehours);
    image.word(0x3000, u16::from(ups.battery_weak) << 9);
    image.word(0x3001, u16::from(ups.battery_low()) << 2 | u16::from(ups.battery_low()) << 4);
    image
}

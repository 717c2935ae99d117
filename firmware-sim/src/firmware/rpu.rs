//! Open Rack reservoir and pumping unit (AALC): holding registers (function 3), big-endian, most in
//! tenths. Addresses from facebook/openbmc `rackmon/configs/orv3_rpu.json`, agreed by
//! openbmc/phosphor-modbus `DeltaRDF040DSS5193E0ReservoirPumpUnit.json`. This unit has two of four
//! pumps and no air heat exchanger: its sensors are flagged at 0x9200 and read 0. The registers of
//! hot-swap controllers and of each heat-exchanger fan (0xA000 and up) are left out, except the
//! whole unit's power at 0xA02D.

use super::image::Image;
use crate::plant::cooling::CoolingReadout;

/// Its unit on the bus.
pub const UNIT: u8 = 12;
/// 0x9200: thermometers and gauges that are not there: heat exchanger air and water (5 to 9),
/// static pressure (14), bladder level (15).
const NOT_FITTED: u16 = 0b1100_0011_1110_0000;
const RESERVOIR_LOW: f64 = 0.8;

/// The registers at `time_s` since the start. `factor` scales flow and power.
pub fn image(unit: &CoolingReadout, time_s: f64, factor: f64) -> Image {
    let mut image = Image::default();
    let flag = |on: bool| u16::from(on);
    // Identity.
    image.text(0x19c4, "03-000000", 8);
    image.text(0x19cc, "RDF040DSS5193E0", 8);
    image.text(0x19d4, "20261123", 4);
    image.text(0x19d8, "SIM0000000000001", 8);
    image.text(0x19e4, "REV A", 4);
    image.text(0x19e8, "1.0.0", 4);
    image.long(0x19ec, time_s as u32);
    // Sticky alarms: the leak is external to the unit.
    image.fill(0x19a1..=0x19ac, 0);
    image.word(0x19a6, flag(unit.leak));
    // Measurements.
    let tenths = 0.1;
    image.scaled(0x9000, unit.flow_lpm * factor, tenths, u16::MAX);
    image.signed(0x9001, unit.supply_celsius, tenths);
    image.signed(0x9002, unit.return_celsius, tenths);
    image.signed(0x9003, unit.supply_kpa, tenths);
    image.signed(0x9004, unit.return_kpa, tenths);
    image.scaled(0x9005, unit.power_watts * factor, tenths, u16::MAX);
    image.scaled(0x9006, unit.power_watts * factor, tenths, u16::MAX);
    image.scaled(0x9007, 48.0, tenths, u16::MAX);
    image.scaled(0x9008, 27.0, tenths, u16::MAX);
    image.scaled(0x9009, unit.pump_ratio * 100.0, 1.0, 100);
    image.scaled(0x900a, unit.pump_rpm[0], 1.0, u16::MAX);
    image.scaled(0x900b, unit.pump_rpm[1], 1.0, u16::MAX);
    image.fill(0x900c..=0x9010, 0); // pumps 3 and 4, fans
    image.scaled(0x9011, unit.removed_watts, tenths, u16::MAX);
    let stopped = unit.pump_rpm.map(|rpm| unit.pump_ratio > 0.0 && rpm < 300.0);
    image.word(0x9012, flag(stopped[0]));
    image.word(0x9013, flag(stopped[1]));
    image.fill(0x9014..=0x9015, 0);
    let reservoir_low = unit.reservoir_ratio < RESERVOIR_LOW;
    image.word(0x9016, flag(reservoir_low));
    let fault = stopped[0] || stopped[1] || unit.leak;
    image.word(0x9017, flag(unit.leak) << 2 | flag(fault) << 3 | 1 << 4);
    image.word(0x9018, flag(stopped[0] || stopped[1]));
    image.word(0x9019, 0);
    image.long(0x9030, unit.pump_runtime_s[0] as u32);
    image.long(0x9032, unit.pump_runtime_s[1] as u32);
    image.fill(0x9034..=0x9037, 0);
    image.fill(0x9100..=0x9116, 0); // heat exchanger
    // Validity and alarms.
    image.word(0x91ff, 0);
    image.word(0x9200, NOT_FITTED);
    let hot = unit.supply_celsius > unit.setpoint_celsius + 13.0;
    image.word(0x9201, flag(reservoir_low) | flag(hot) << 1 | flag(stopped[0] || stopped[1]) << 6);
    image.word(0x9202, flag(unit.leak) << 5);
    image.word(0x9203, 0);
    // Settings, as they are: this firmware takes no writes.
    image.scaled(0x9400, unit.flow_target_lpm, tenths, u16::MAX);
    image.scaled(0x9401, unit.setpoint_celsius, tenths, u16::MAX);
    image.fill(0x9402..=0x9404, 0);
    image.word(0x9410, 1 << 3); // flow control on
    image.word(0x9411, 0b11);
    image.scaled(0xa02d, unit.power_watts * factor, 1.0, u16::MAX);
    image
}

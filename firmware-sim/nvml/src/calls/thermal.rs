//! Temperatures, thresholds, margins.

use crate::abi::{MarginTemperature, Temperature, version};
use crate::arg::Out;
use crate::code::{ARGUMENT_VERSION_MISMATCH, Code, INVALID_ARGUMENT, NOT_SUPPORTED, exports};
use crate::state::{Device, board};

/// `NVML_TEMPERATURE_GPU`, the only sensor.
const SENSOR_GPU: u32 = 0;

exports! {
    fn nvmlDeviceGetTemperature(device: Device, sensor: u32, out: Out<u32>) {
        out.put(core(device, sensor)?.max(0) as u32)
    }
    fn nvmlDeviceGetTemperatureV(device: Device, out: Out<Temperature>) {
        let asked = out.get()?;
        if asked.version != version::<Temperature>(1) {
            return Err(ARGUMENT_VERSION_MISMATCH);
        }
        out.put(Temperature { celsius: core(device, asked.sensor)?, ..asked })
    }
    /// Degrees left until software slowdown; negative beyond.
    fn nvmlDeviceGetMarginTemperature(device: Device, out: Out<MarginTemperature>) {
        let asked = out.get()?;
        if asked.version != version::<MarginTemperature>(1) {
            return Err(ARGUMENT_VERSION_MISMATCH);
        }
        let board = board(device)?;
        let margin = board.constants()?.max_operating_celsius - board.telemetry()?.temperature_celsius;
        out.put(MarginTemperature { celsius: margin as i32, ..asked })
    }
    fn nvmlDeviceGetTemperatureThreshold(device: Device, threshold: u32, out: Out<u32>) {
        let constants = board(device)?.constants()?;
        let celsius = match threshold {
            0 => constants.max_operating_celsius - constants.shutdown_margin_celsius,
            1 => constants.max_operating_celsius - constants.slowdown_margin_celsius,
            2 => constants.memory_max_celsius,
            3 => constants.max_operating_celsius,
            4..=7 => return Err(NOT_SUPPORTED),
            _ => return Err(INVALID_ARGUMENT),
        };
        out.put(celsius as u32)
    }
}

fn core(device: Device, sensor: u32) -> Result<i32, Code> {
    let board = board(device)?;
    if sensor != SENSOR_GPU {
        return Err(INVALID_ARGUMENT);
    }
    Ok(board.telemetry()?.temperature_celsius as i32)
}

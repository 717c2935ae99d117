//! `nvmlDeviceGetFieldValues`: many values in one call, each with its own time and return code.
//! Ids are those of nvml.h 13 Update 1, which clients expect from driver 580.82 on.

use crate::abi::FieldValue;
use crate::arg::Out;
use crate::code::{Code, INVALID_ARGUMENT, NOT_SUPPORTED, SUCCESS, exports};
use crate::layout::{GpuConstants, GpuTelemetry};
use crate::state::{Board, Device, board};
use std::sync::atomic::Ordering;

/// Far more than there are fields.
const FIELDS_MAX: i32 = 4096;

enum Value {
    Unsigned(u64),
    Long(u64),
    Signed(i64),
}

exports! {
    fn nvmlDeviceGetFieldValues(device: Device, count: i32, fields: Out<FieldValue>) {
        let board = board(device)?;
        if fields.is_null() || !(1..=FIELDS_MAX).contains(&count) {
            return Err(INVALID_ARGUMENT);
        }
        let (constants, (telemetry, unix_us)) = (board.constants()?, board.sample()?);
        (0..count.unsigned_abs() as usize).map(|index| fields.at(index)).try_for_each(|place| {
            let asked = place.get()?;
            let answer = match asked.scope {
                0 => value(asked.field, &board, &constants, &telemetry),
                // Module and memory power exist on Grace boards; links are not simulated.
                _ => Err(NOT_SUPPORTED),
            };
            place.put(filled(asked, answer, unix_us))
        })
    }
}

/// The union's other bytes are zero, so that a client reading the wrong member sees no rubbish.
fn filled(asked: FieldValue, answer: Result<Value, Code>, unix_us: u64) -> FieldValue {
    let (value_type, value, code) = match answer {
        Ok(Value::Unsigned(value)) => (1, u64::from(value as u32), SUCCESS),
        Ok(Value::Long(value)) => (3, value, SUCCESS),
        // The 64-bit type: nvml-wrapper 0.13 does not know the signed 32-bit one (5). A client that
        // takes the lower half without looking at the type gets the same number.
        Ok(Value::Signed(value)) => (4, value.cast_unsigned(), SUCCESS),
        Err(code) => (1, 0, code.0),
    };
    FieldValue { timestamp_us: unix_us.cast_signed(), latency_us: 0, value_type, code, value, ..asked }
}

fn value(field: u32, board: &Board, constants: &GpuConstants, now: &GpuTelemetry) -> Result<Value, Code> {
    use Value::{Long, Signed, Unsigned};
    Ok(match field {
        1 | 2 => Unsigned(1),
        3 => Long(now.ecc_corrected_volatile),
        4 => Long(now.ecc_uncorrected_volatile),
        5 => Long(now.ecc_corrected_aggregate),
        6 => Long(now.ecc_uncorrected_aggregate),
        74 => Long(now.power_capped_ns),
        75 => Long(now.sw_thermal_ns + now.hw_thermal_ns),
        82 => Unsigned(now.memory_temperature_celsius.max(0).cast_unsigned()),
        83 | 191 => Long(now.energy_mj),
        94 => Unsigned(now.pcie_replays),
        142 => Unsigned(now.remapped_corrected_rows),
        143 => Unsigned(now.remapped_uncorrected_rows),
        144 => Unsigned(u64::from(now.remap_pending)),
        145 => Unsigned(u64::from(now.remap_failed)),
        185 => Unsigned(now.power_average_mw),
        186 => Unsigned(now.power_instant_mw),
        187 => Unsigned(constants.power_limit_min_mw),
        188 => Unsigned(constants.power_limit_max_mw),
        189 => Unsigned(constants.power_limit_default_mw),
        190 => Unsigned(board.enforced_limit_mw()),
        192 => Unsigned(board.requests.power_limit_mw.load(Ordering::Acquire)),
        193 => Signed(constants.shutdown_margin_celsius),
        194 => Signed(constants.slowdown_margin_celsius),
        195 | 196 => Signed(0),
        230 => Unsigned(now.recovery_action),
        269 => Long(now.sw_thermal_ns),
        270 => Long(now.hw_thermal_ns),
        271 => Long(now.power_brake_ns),
        _ => return Err(NOT_SUPPORTED),
    })
}

//! Power: what is drawn, what is allowed, and the one setting that matters.

use crate::abi::{PowerValue, version};
use crate::arg::Out;
use crate::code::{ARGUMENT_VERSION_MISMATCH, Done, INVALID_ARGUMENT, NOT_SUPPORTED, exports};
use crate::state::{Device, board};
use std::sync::atomic::Ordering;

/// `NVML_POWER_SCOPE_GPU`. Module and memory scopes exist on other boards.
const SCOPE_GPU: u32 = 0;

exports! {
    /// The mean of the last second, as on every architecture since Ampere except GA100.
    fn nvmlDeviceGetPowerUsage(device: Device, out: Out<u32>) {
        out.put(board(device)?.telemetry()?.power_average_mw as u32)
    }
    fn nvmlDeviceGetTotalEnergyConsumption(device: Device, out: Out<u64>) {
        out.put(board(device)?.telemetry()?.energy_mj)
    }
    fn nvmlDeviceGetPowerManagementMode(device: Device, out: Out<u32>) {
        board(device)?;
        out.put(1)
    }
    fn nvmlDeviceGetPowerManagementLimit(device: Device, out: Out<u32>) {
        out.put(board(device)?.requests.power_limit_mw.load(Ordering::Acquire) as u32)
    }
    fn nvmlDeviceGetEnforcedPowerLimit(device: Device, out: Out<u32>) {
        out.put(board(device)?.enforced_limit_mw() as u32)
    }
    fn nvmlDeviceGetPowerManagementDefaultLimit(device: Device, out: Out<u32>) {
        out.put(board(device)?.constants()?.power_limit_default_mw as u32)
    }
    fn nvmlDeviceGetPowerManagementLimitConstraints(device: Device, least: Out<u32>, greatest: Out<u32>) {
        let constants = board(device)?.constants()?;
        if least.is_null() || greatest.is_null() {
            return Err(INVALID_ARGUMENT);
        }
        least.put(constants.power_limit_min_mw as u32)?;
        greatest.put(constants.power_limit_max_mw as u32)
    }
    /// `NVML_POWER_SOURCE_AC`.
    fn nvmlDeviceGetPowerSource(device: Device, out: Out<u32>) {
        board(device)?;
        out.put(0)
    }
    fn nvmlDeviceSetPowerManagementLimit(device: Device, milliwatts: u32) { set_limit(device, milliwatts) }
    fn nvmlDeviceSetPowerManagementLimit_v2(device: Device, value: Out<PowerValue>) {
        let value = value.get()?;
        if value.version != version::<PowerValue>(2) {
            return Err(ARGUMENT_VERSION_MISMATCH);
        }
        if value.scope != SCOPE_GPU {
            return Err(NOT_SUPPORTED);
        }
        set_limit(device, value.milliwatts)
    }
}

/// Out of range is refused, not clamped. The enforced limit follows at once, the power when the
/// simulated driver has settled.
fn set_limit(device: Device, milliwatts: u32) -> Done {
    let board = board(device)?;
    let constants = board.constants()?;
    if !(constants.power_limit_min_mw..=constants.power_limit_max_mw).contains(&u64::from(milliwatts)) {
        return Err(INVALID_ARGUMENT);
    }
    board.writable()?;
    board.requests.power_limit_mw.store(u64::from(milliwatts), Ordering::Release);
    board.changed();
    Ok(())
}

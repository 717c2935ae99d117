//! Clocks, why they are held back, and locking them.

use crate::abi::ViolationTime;
use crate::arg::Out;
use crate::code::{Code, Done, INSUFFICIENT_SIZE, INVALID_ARGUMENT, NOT_FOUND, NOT_SUPPORTED, exports};
use crate::state::{Device, board};
use std::sync::atomic::Ordering;

/// The video clock follows the SM clock: 1545 MHz at 1980 MHz in captures of an H100.
const VIDEO_NUMERATOR: u64 = 1545;
const VIDEO_DENOMINATOR: u64 = 1980;
/// Lowest SM clock on offer and the distance between two, MHz (nvidia-smi -q -d SUPPORTED_CLOCKS).
const SM_CLOCK_MIN_MHZ: u64 = 210;
const SM_CLOCK_STEP_MHZ: usize = 15;
/// All reasons of nvml.h: bits 0 to 8.
const ALL_REASONS: u64 = 0x1ff;

exports! {
    fn nvmlDeviceGetClockInfo(device: Device, kind: u32, out: Out<u32>) { out.put(clock(device, kind, false)?) }
    fn nvmlDeviceGetMaxClockInfo(device: Device, kind: u32, out: Out<u32>) { out.put(clock(device, kind, true)?) }
    fn nvmlDeviceGetMaxCustomerBoostClock(device: Device, kind: u32, out: Out<u32>) {
        out.put(clock(device, kind, true)?)
    }
    fn nvmlDeviceGetClock(device: Device, kind: u32, id: u32, out: Out<u32>) {
        match id {
            0 => out.put(clock(device, kind, false)?),
            1..=3 => out.put(clock(device, kind, true)?),
            _ => Err(INVALID_ARGUMENT),
        }
    }
    fn nvmlDeviceGetApplicationsClock(device: Device, kind: u32, out: Out<u32>) { out.put(clock(device, kind, true)?) }
    fn nvmlDeviceGetDefaultApplicationsClock(device: Device, kind: u32, out: Out<u32>) {
        out.put(clock(device, kind, true)?)
    }
    fn nvmlDeviceGetSupportedMemoryClocks(device: Device, count: Out<u32>, out: Out<u32>) {
        list(count, out, &[board(device)?.constants()?.memory_clock_max_mhz as u32])
    }
    fn nvmlDeviceGetSupportedGraphicsClocks(device: Device, memory: u32, count: Out<u32>, out: Out<u32>) {
        let constants = board(device)?.constants()?;
        if u64::from(memory) != constants.memory_clock_max_mhz {
            return Err(NOT_FOUND);
        }
        let clocks = (SM_CLOCK_MIN_MHZ..=constants.sm_clock_max_mhz).rev().step_by(SM_CLOCK_STEP_MHZ);
        list(count, out, &clocks.map(|mhz| mhz as u32).collect::<Vec<_>>())
    }
    fn nvmlDeviceSetGpuLockedClocks(device: Device, least: u32, greatest: u32) {
        let board = board(device)?;
        if least > greatest || greatest == 0 {
            return Err(INVALID_ARGUMENT);
        }
        board.writable()?;
        let fit = |mhz: u32, max: u64| u64::from(mhz).clamp(SM_CLOCK_MIN_MHZ, max);
        let max = board.constants()?.sm_clock_max_mhz.max(SM_CLOCK_MIN_MHZ);
        board.requests.locked_clocks.store(fit(least, max) << 32 | fit(greatest, max), Ordering::Release);
        board.changed();
        Ok(())
    }
    fn nvmlDeviceResetGpuLockedClocks(device: Device) {
        let board = board(device)?;
        board.writable()?;
        board.requests.locked_clocks.store(0, Ordering::Release);
        board.changed();
        Ok(())
    }
    fn nvmlDeviceGetCurrentClocksThrottleReasons(device: Device, out: Out<u64>) { reasons(device, out) }
    fn nvmlDeviceGetCurrentClocksEventReasons(device: Device, out: Out<u64>) { reasons(device, out) }
    fn nvmlDeviceGetSupportedClocksThrottleReasons(device: Device, out: Out<u64>) {
        board(device)?;
        out.put(ALL_REASONS)
    }
    fn nvmlDeviceGetSupportedClocksEventReasons(device: Device, out: Out<u64>) {
        board(device)?;
        out.put(ALL_REASONS)
    }
    fn nvmlDeviceGetPerformanceState(device: Device, out: Out<u32>) { performance_state(device, out) }
    fn nvmlDeviceGetPowerState(device: Device, out: Out<u32>) { performance_state(device, out) }
    fn nvmlDeviceGetViolationStatus(device: Device, policy: u32, out: Out<ViolationTime>) {
        let (telemetry, reference) = board(device)?.sample()?;
        let violation = match policy {
            0 => telemetry.power_capped_ns,
            1 => telemetry.sw_thermal_ns + telemetry.hw_thermal_ns,
            2..=11 => return Err(NOT_SUPPORTED),
            _ => return Err(INVALID_ARGUMENT),
        };
        out.put(ViolationTime { reference, violation })
    }
}

fn clock(device: Device, kind: u32, greatest: bool) -> Result<u32, Code> {
    let board = board(device)?;
    let (constants, telemetry) = (board.constants()?, board.telemetry()?);
    let pick = |now, max| if greatest { max } else { now };
    let sm = pick(telemetry.sm_clock_mhz, constants.sm_clock_max_mhz);
    let mhz = match kind {
        0 | 1 => sm,
        2 => pick(telemetry.memory_clock_mhz, constants.memory_clock_max_mhz),
        3 => sm * VIDEO_NUMERATOR / VIDEO_DENOMINATOR,
        _ => return Err(INVALID_ARGUMENT),
    };
    Ok(mhz as u32)
}

fn reasons(device: Device, out: Out<u64>) -> Done {
    out.put(board(device)?.telemetry()?.throttle_reasons)
}

fn performance_state(device: Device, out: Out<u32>) -> Done {
    out.put(board(device)?.telemetry()?.performance_state as u32)
}

/// NVML's way to return a list: too little room yields the number needed.
pub fn list<T: Copy>(count: Out<u32>, out: Out<T>, items: &[T]) -> Done {
    let room = count.get()? as usize;
    count.put(items.len() as u32)?;
    if room < items.len() {
        return Err(INSUFFICIENT_SIZE);
    }
    items.iter().enumerate().try_for_each(
        |(index, item)| {
            if out.is_null() { Err(INVALID_ARGUMENT) } else { out.at(index).put(*item) }
        },
    )
}

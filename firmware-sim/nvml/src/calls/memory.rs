//! Memory: how full, how healthy.

use crate::abi::{Bar1Memory, EccErrorCounts, Memory, MemoryV2, version};
use crate::arg::Out;
use crate::code::{ARGUMENT_VERSION_MISMATCH, Code, INVALID_ARGUMENT, NOT_SUPPORTED, exports};
use crate::state::{Device, board};

/// BAR1 of an H100 SXM maps all of its memory, rounded up to a power of two.
const BAR1_BYTES: u64 = 128 << 30;
/// `NVML_MEMORY_LOCATION_DEVICE_MEMORY` among the counters that can be asked for.
const DEVICE_MEMORY: u32 = 2;
const LOCATIONS: u32 = 8;

exports! {
    /// Version 1 counts what the driver keeps as used.
    fn nvmlDeviceGetMemoryInfo(device: Device, out: Out<Memory>) {
        let (total, reserved, used) = memory(device)?;
        let used = used + reserved;
        out.put(Memory { total, free: total - used, used })
    }
    fn nvmlDeviceGetMemoryInfo_v2(device: Device, out: Out<MemoryV2>) {
        let asked = out.get()?.version;
        if asked != version::<MemoryV2>(2) {
            return Err(ARGUMENT_VERSION_MISMATCH);
        }
        let (total, reserved, used) = memory(device)?;
        out.put(MemoryV2 { version: asked, total, reserved, free: total - used - reserved, used })
    }
    fn nvmlDeviceGetBAR1MemoryInfo(device: Device, out: Out<Bar1Memory>) {
        board(device)?;
        out.put(Bar1Memory { total: BAR1_BYTES, free: BAR1_BYTES, used: 0 })
    }
    fn nvmlDeviceGetTotalEccErrors(device: Device, kind: u32, counter: u32, out: Out<u64>) {
        out.put(ecc(device, kind, counter)?)
    }
    /// All errors are the memory's: the plant has no caches.
    fn nvmlDeviceGetDetailedEccErrors(device: Device, kind: u32, counter: u32, out: Out<EccErrorCounts>) {
        let device_memory = ecc(device, kind, counter)?;
        out.put(EccErrorCounts { l1_cache: 0, l2_cache: 0, device_memory, register_file: 0 })
    }
    fn nvmlDeviceGetMemoryErrorCounter(device: Device, kind: u32, counter: u32, location: u32, out: Out<u64>) {
        match location {
            DEVICE_MEMORY => out.put(ecc(device, kind, counter)?),
            0..LOCATIONS => board(device).and(Err(NOT_SUPPORTED)),
            _ => Err(INVALID_ARGUMENT),
        }
    }
    fn nvmlDeviceGetRemappedRows(
        device: Device, corrected: Out<u32>, uncorrected: Out<u32>, pending: Out<u32>, failed: Out<u32>,
    ) {
        let telemetry = board(device)?.telemetry()?;
        if [&corrected, &uncorrected, &pending, &failed].iter().any(|out| out.is_null()) {
            return Err(INVALID_ARGUMENT);
        }
        corrected.put(telemetry.remapped_corrected_rows as u32)?;
        uncorrected.put(telemetry.remapped_uncorrected_rows as u32)?;
        pending.put(u32::from(telemetry.remap_pending))?;
        failed.put(u32::from(telemetry.remap_failed))
    }
}

/// Total, reserved, used by processes.
fn memory(device: Device) -> Result<(u64, u64, u64), Code> {
    let board = board(device)?;
    let constants = board.constants()?;
    let (total, reserved) = (constants.memory_total_bytes, constants.memory_reserved_bytes);
    let reserved = reserved.min(total);
    Ok((total, reserved, board.telemetry()?.memory_used_bytes.min(total - reserved)))
}

/// `kind`: 0 corrected, 1 uncorrected. `counter`: 0 since the driver was loaded, 1 of the board's life.
fn ecc(device: Device, kind: u32, counter: u32) -> Result<u64, Code> {
    let telemetry = board(device)?.telemetry()?;
    match (kind, counter) {
        (0, 0) => Ok(telemetry.ecc_corrected_volatile),
        (1, 0) => Ok(telemetry.ecc_uncorrected_volatile),
        (0, 1) => Ok(telemetry.ecc_corrected_aggregate),
        (1, 1) => Ok(telemetry.ecc_uncorrected_aggregate),
        _ => Err(INVALID_ARGUMENT),
    }
}

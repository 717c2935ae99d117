//! The exported functions as a careless C caller uses them: too early, too late, with wrong pointers,
//! handles and versions. The good paths are tested through a client in headroom-sim, `tests/nvml_abi.rs`.

use crate::abi::{FieldValue, MemoryV2, PowerValue, Temperature, version};
use crate::arg::{Handle, InText, Out};
use crate::calls::{clock, event, field, identity, memory, power, session, thermal, usage};
use crate::code::*;
use crate::layout::{GpuConstants, GpuTelemetry, MAGIC, NO_LIMIT, Region, VERSION};
use crate::state;
use crate::sys;
use std::fs::File;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

/// There is one session in a process, as in the real library: one test at a time.
static ALONE: Mutex<()> = Mutex::new(());

struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let name = format!("headroom-nvml-{}-{}", std::process::id(), NUMBER.fetch_add(1, Relaxed));
        Self(std::env::temp_dir().join(name))
    }

    /// Writes a region with the given magic and version, by the same mapping that the library uses.
    fn with(magic: u64, layout_version: u64) -> Self {
        let scratch = Self::new();
        let file = File::options().read(true).write(true).create_new(true).open(&scratch.0).unwrap();
        file.set_len(size_of::<Region>() as u64).unwrap();
        let address = sys::map(&file, size_of::<Region>(), true).unwrap();
        // SAFETY: just mapped with this length; atomics only.
        let region = unsafe { address.cast::<Region>().as_ref() };
        region.version.store(layout_version, Relaxed);
        region.size_bytes.store(size_of::<Region>() as u64, Relaxed);
        region.gpu_count.store(2, Relaxed);
        region.heartbeat_ns.store(u64::MAX, Relaxed);
        region.driver_version.set("580.95.05");
        for gpu in &region.gpus[..2] {
            gpu.name.set("NVIDIA H100 80GB HBM3");
            let constants = GpuConstants {
                power_limit_min_mw: 200_000,
                power_limit_max_mw: 700_000,
                power_limit_default_mw: 700_000,
                sm_clock_max_mhz: 1980,
                ..GpuConstants::default()
            };
            gpu.constants.write(constants.pack());
            gpu.publish(&GpuTelemetry { process_id: 7, ..GpuTelemetry::default() }, 1);
            gpu.out_of_band_limit_mw.store(NO_LIMIT, Relaxed);
            gpu.requests.power_limit_mw.store(700_000, Relaxed);
        }
        region.magic.store(magic, Relaxed);
        // SAFETY: `region` is not used after this.
        unsafe { sys::unmap(address, size_of::<Region>()) };
        scratch
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Runs with an initialised library and the handle of GPU 0.
fn initialised(test: impl FnOnce(Handle)) {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let scratch = Scratch::with(MAGIC, VERSION);
    state::init_at(Some(&scratch.0)).unwrap();
    let mut gpu = Handle::wild(0);
    assert_eq!(session::nvmlDeviceGetHandleByIndex_v2(0, Out::to(&mut gpu)), SUCCESS);
    test(gpu);
    assert_eq!(session::nvmlShutdown(), SUCCESS);
}

#[test]
fn every_call_before_init_and_after_the_last_shutdown_says_uninitialised() {
    let mut old = Handle::wild(0);
    initialised(|gpu| old = gpu);
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut number = 0;
    assert_eq!(session::nvmlDeviceGetCount_v2(Out::to(&mut number)), UNINITIALIZED.0);
    assert_eq!(power::nvmlDeviceGetPowerUsage(old, Out::to(&mut number)), UNINITIALIZED.0);
    assert_eq!(power::nvmlDeviceSetPowerManagementLimit(old, 300_000), UNINITIALIZED.0);
    assert_eq!(event::nvmlEventSetCreate(Out::to(&mut old)), UNINITIALIZED.0);
    assert_eq!(crate::stubs::nvmlDeviceGetFanSpeed(), UNINITIALIZED.0);
    assert_eq!(session::nvmlShutdown(), UNINITIALIZED.0);
}

#[test]
fn initialisation_is_counted() {
    initialised(|gpu| {
        assert_eq!(session::nvmlInit_v2(), SUCCESS, "already mapped: the environment is not asked again");
        assert_eq!(session::nvmlShutdown(), SUCCESS);
        let mut number = 0;
        assert_eq!(power::nvmlDeviceGetPowerUsage(gpu, Out::to(&mut number)), SUCCESS);
    });
}

#[test]
fn a_missing_unfinished_short_or_foreign_state_file_is_told_apart() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    assert_eq!(state::init_at(None), Err(DRIVER_NOT_LOADED));
    assert_eq!(state::init_at(Some(&Scratch::new().0)), Err(DRIVER_NOT_LOADED));
    assert_eq!(state::init_at(Some(&Scratch::with(0, VERSION).0)), Err(DRIVER_NOT_LOADED));
    assert_eq!(state::init_at(Some(&Scratch::with(MAGIC, VERSION + 1).0)), Err(LIB_RM_VERSION_MISMATCH));
    let short = Scratch::new();
    std::fs::write(&short.0, MAGIC.to_le_bytes()).unwrap();
    assert_eq!(state::init_at(Some(&short.0)), Err(DRIVER_NOT_LOADED));
}

#[test]
fn null_pointers_are_refused_and_never_written_to() {
    initialised(|gpu| {
        let refused = [
            session::nvmlDeviceGetCount_v2(Out::null()),
            session::nvmlDeviceGetHandleByIndex_v2(0, Out::null()),
            session::nvmlDeviceGetHandleByUUID(InText::from(None), Out::null()),
            session::nvmlSystemGetDriverVersion(Out::null(), 80),
            identity::nvmlDeviceGetName(gpu, Out::null(), 96),
            identity::nvmlDeviceGetPciInfo_v3(gpu, Out::null()),
            power::nvmlDeviceGetPowerUsage(gpu, Out::null()),
            power::nvmlDeviceGetPowerManagementLimitConstraints(gpu, Out::null(), Out::null()),
            power::nvmlDeviceSetPowerManagementLimit_v2(gpu, Out::null()),
            thermal::nvmlDeviceGetTemperatureV(gpu, Out::null()),
            memory::nvmlDeviceGetMemoryInfo_v2(gpu, Out::null()),
            memory::nvmlDeviceGetRemappedRows(gpu, Out::null(), Out::null(), Out::null(), Out::null()),
            usage::nvmlDeviceGetComputeRunningProcesses_v3(gpu, Out::null(), Out::null()),
            usage::nvmlDeviceGetProcessUtilization(gpu, Out::null(), Out::null(), 0),
            field::nvmlDeviceGetFieldValues(gpu, 1, Out::null()),
            event::nvmlEventSetCreate(Out::null()),
        ];
        assert_eq!(refused, [INVALID_ARGUMENT.0; 16]);
        let mut room = 4;
        let listed = usage::nvmlDeviceGetComputeRunningProcesses_v3(gpu, Out::to(&mut room), Out::null());
        assert_eq!((listed, room), (INVALID_ARGUMENT.0, 1), "room promised, none given");
    });
}

#[test]
fn wrong_handles_are_refused() {
    initialised(|gpu| {
        let mut number = 0;
        let mut set = Handle::wild(0);
        assert_eq!(event::nvmlEventSetCreate(Out::to(&mut set)), SUCCESS);
        for wrong in [Handle::wild(0), Handle::wild(usize::MAX), Handle::wild(0x6e76_0001), state::handle(2), set] {
            assert_eq!(power::nvmlDeviceGetPowerUsage(wrong, Out::to(&mut number)), INVALID_ARGUMENT.0);
        }
        for wrong in [Handle::wild(0), Handle::wild(usize::MAX), gpu] {
            assert_eq!(event::nvmlEventSetWait_v2(wrong, Out::null(), 0), INVALID_ARGUMENT.0);
            assert_eq!(event::nvmlEventSetFree(wrong), INVALID_ARGUMENT.0);
        }
        assert_eq!(event::nvmlEventSetFree(set), SUCCESS);
        assert_eq!(event::nvmlEventSetFree(set), INVALID_ARGUMENT.0, "freed twice");
        assert_eq!(session::nvmlDeviceGetHandleByIndex_v2(2, Out::to(&mut set)), INVALID_ARGUMENT.0);
        let foreign = InText::from(Some(c"GPU-0"));
        assert_eq!(session::nvmlDeviceGetHandleByUUID(foreign, Out::to(&mut set)), NOT_FOUND.0);
    });
}

#[test]
fn numbers_out_of_range_are_refused_and_change_nothing() {
    initialised(|gpu| {
        let mut number = 0;
        for limit in [0, 199_999, 700_001, u32::MAX] {
            assert_eq!(power::nvmlDeviceSetPowerManagementLimit(gpu, limit), INVALID_ARGUMENT.0, "{limit} mW");
        }
        assert_eq!(power::nvmlDeviceGetEnforcedPowerLimit(gpu, Out::to(&mut number)), SUCCESS);
        assert_eq!(number, 700_000);
        let refused = [
            clock::nvmlDeviceSetGpuLockedClocks(gpu, 900, 800),
            clock::nvmlDeviceGetClockInfo(gpu, 4, Out::to(&mut number)),
            thermal::nvmlDeviceGetTemperature(gpu, 1, Out::to(&mut number)),
            thermal::nvmlDeviceGetTemperatureThreshold(gpu, 99, Out::to(&mut number)),
            memory::nvmlDeviceGetTotalEccErrors(gpu, 2, 0, Out::to(&mut 0)),
            identity::nvmlDeviceSetPersistenceMode(gpu, 2),
        ];
        assert_eq!(refused, [INVALID_ARGUMENT.0; 6]);
    });
}

#[test]
fn structures_of_another_version_and_scope_are_refused() {
    initialised(|gpu| {
        let mut temperature = Temperature { version: 0, sensor: 0, celsius: 0 };
        assert_eq!(thermal::nvmlDeviceGetTemperatureV(gpu, Out::to(&mut temperature)), ARGUMENT_VERSION_MISMATCH.0);
        let mut memory = MemoryV2 { version: version::<MemoryV2>(1), total: 0, reserved: 0, free: 0, used: 0 };
        assert_eq!(memory::nvmlDeviceGetMemoryInfo_v2(gpu, Out::to(&mut memory)), ARGUMENT_VERSION_MISMATCH.0);
        let mut value = PowerValue { version: version::<PowerValue>(2), scope: 1, milliwatts: 300_000 };
        assert_eq!(power::nvmlDeviceSetPowerManagementLimit_v2(gpu, Out::to(&mut value)), NOT_SUPPORTED.0);
        value.scope = 0;
        assert_eq!(power::nvmlDeviceSetPowerManagementLimit_v2(gpu, Out::to(&mut value)), SUCCESS);
        assert_eq!((version::<PowerValue>(2), version::<Temperature>(1)), (0x0200_000c, 0x0100_000c));
    });
}

#[test]
fn each_field_has_its_own_return_code() {
    initialised(|gpu| {
        let empty = FieldValue { field: 0, scope: 0, timestamp_us: 0, latency_us: 0, value_type: 0, code: 9, value: 9 };
        let mut fields = [190, 38, 186, 9999].map(|field| FieldValue { field, ..empty });
        fields[2].scope = 1;
        assert_eq!(field::nvmlDeviceGetFieldValues(gpu, 4, Out::to(&mut fields[0])), SUCCESS);
        assert_eq!(fields.map(|f| f.code), [SUCCESS, NOT_SUPPORTED.0, NOT_SUPPORTED.0, NOT_SUPPORTED.0]);
        assert_eq!(fields.map(|f| f.value), [700_000, 0, 0, 0]);
        for count in [0, -1, i32::MAX] {
            assert_eq!(field::nvmlDeviceGetFieldValues(gpu, count, Out::to(&mut fields[0])), INVALID_ARGUMENT.0);
        }
    });
}

#[test]
fn too_little_room_is_told_with_what_is_needed() {
    initialised(|gpu| {
        let mut room = 0;
        let asked = usage::nvmlDeviceGetComputeRunningProcesses_v3(gpu, Out::to(&mut room), Out::null());
        assert_eq!((asked, room), (INSUFFICIENT_SIZE.0, 1));
        let mut letters = [1; 22];
        assert_eq!(identity::nvmlDeviceGetName(gpu, Out::to(&mut letters[0]), 21), INSUFFICIENT_SIZE.0);
        assert_eq!(identity::nvmlDeviceGetName(gpu, Out::to(&mut letters[0]), 22), SUCCESS);
        assert_eq!(letters[21], 0);
    });
}

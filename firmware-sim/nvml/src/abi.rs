//! The structures of nvml.h that cross the boundary, with their sizes checked.

use crate::arg::Handle;
use std::ffi::c_char;

macro_rules! structs {
    ($($(#[$meta:meta])* $name:ident($size:literal) { $($field:ident: $kind:ty,)* })*) => {$(
        $(#[$meta])*
        #[repr(C)]
        #[derive(Clone, Copy)]
        pub struct $name { $(pub $field: $kind,)* }
        const _: () = assert!(size_of::<$name>() == $size);
    )*};
}

structs! {
    /// `nvmlPciInfo_t` from v3 on.
    PciInfo(68) {
        bus_id_legacy: [c_char; 16],
        domain: u32,
        bus: u32,
        device: u32,
        pci_device_id: u32,
        pci_subsystem_id: u32,
        bus_id: [c_char; 32],
    }
    /// What `nvmlDeviceGetPciInfo` and `_v2` fill.
    PciInfoV2(36) {
        bus_id: [c_char; 16],
        domain: u32,
        bus: u32,
        device: u32,
        pci_device_id: u32,
        pci_subsystem_id: u32,
    }
    Utilization(8) { gpu: u32, memory: u32, }
    Memory(24) { total: u64, free: u64, used: u64, }
    MemoryV2(40) { version: u32, total: u64, reserved: u64, free: u64, used: u64, }
    Bar1Memory(24) { total: u64, free: u64, used: u64, }
    EccErrorCounts(32) { l1_cache: u64, l2_cache: u64, device_memory: u64, register_file: u64, }
    ProcessV1(16) { pid: u32, used_memory: u64, }
    Process(24) { pid: u32, used_memory: u64, gpu_instance: u32, compute_instance: u32, }
    ProcessUtilization(32) { pid: u32, time_us: u64, sm: u32, memory: u32, encoder: u32, decoder: u32, }
    Temperature(12) { version: u32, sensor: u32, celsius: i32, }
    MarginTemperature(8) { version: u32, celsius: i32, }
    PowerValue(12) { version: u32, scope: u32, milliwatts: u32, }
    ViolationTime(16) { reference: u64, violation: u64, }
    /// `value` is a union; this is its widest member.
    FieldValue(40) {
        field: u32,
        scope: u32,
        timestamp_us: i64,
        latency_us: i64,
        value_type: u32,
        code: u32,
        value: u64,
    }
    /// What `nvmlEventSetWait` fills.
    EventDataV1(24) { device: Handle, kind: u64, data: u64, }
    /// What `nvmlEventSetWait_v2` fills.
    EventData(32) { device: Handle, kind: u64, data: u64, gpu_instance: u32, compute_instance: u32, }
}

/// `NVML_STRUCT_VERSION`: the version above the size.
pub const fn version<T>(number: u32) -> u32 {
    size_of::<T>() as u32 | number << 24
}

/// No MIG instance.
pub const NO_INSTANCE: u32 = u32::MAX;

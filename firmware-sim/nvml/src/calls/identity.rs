//! What a GPU is: names, numbers, modes that never change here.

use crate::abi::{PciInfo, PciInfoV2};
use crate::arg::{Out, OutText};
use crate::code::{Done, INVALID_ARGUMENT, exports};
use crate::layout::GpuConstants;
use crate::state::{Device, board};
use std::ffi::c_char;
use std::sync::atomic::Ordering;

/// `NVML_BRAND_NVIDIA`, what data-centre boards report since Ampere.
const BRAND_NVIDIA: u32 = 14;
/// `NVML_DEVICE_ARCH_HOPPER`.
const HOPPER: u32 = 9;
/// Five HBM3 stacks of 1024 bits.
const MEMORY_BUS_BITS: u32 = 5120;
const OFF: u32 = 0;
const ON: u32 = 1;

exports! {
    fn nvmlDeviceGetName(device: Device, out: OutText, length: u32) {
        out.put_text(length, &board(device)?.name.get())
    }
    fn nvmlDeviceGetUUID(device: Device, out: OutText, length: u32) {
        out.put_text(length, &board(device)?.uuid.get())
    }
    fn nvmlDeviceGetSerial(device: Device, out: OutText, length: u32) {
        out.put_text(length, &board(device)?.serial.get())
    }
    fn nvmlDeviceGetBoardPartNumber(device: Device, out: OutText, length: u32) {
        board(device)?;
        out.put_text(length, b"692-2G520-0200-000")
    }
    fn nvmlDeviceGetVbiosVersion(device: Device, out: OutText, length: u32) {
        board(device)?;
        out.put_text(length, b"96.00.74.00.01")
    }
    fn nvmlDeviceGetIndex(device: Device, out: Out<u32>) { out.put(board(device)?.index as u32) }
    fn nvmlDeviceGetModuleId(device: Device, out: Out<u32>) { out.put(board(device)?.index as u32) }
    fn nvmlDeviceGetMinorNumber(device: Device, out: Out<u32>) {
        out.put(board(device)?.constants()?.minor_number as u32)
    }
    fn nvmlDeviceGetBoardId(device: Device, out: Out<u32>) {
        let constants = board(device)?.constants()?;
        out.put((constants.pci_domain << 16 | constants.pci_bus << 8 | constants.pci_device << 3) as u32)
    }
    fn nvmlDeviceGetMultiGpuBoard(device: Device, out: Out<u32>) { constant(device, out, 0) }
    fn nvmlDeviceGetBrand(device: Device, out: Out<u32>) { constant(device, out, BRAND_NVIDIA) }
    fn nvmlDeviceGetArchitecture(device: Device, out: Out<u32>) { constant(device, out, HOPPER) }
    fn nvmlDeviceGetCudaComputeCapability(device: Device, major: Out<i32>, minor: Out<i32>) {
        board(device)?;
        major.put(9)?;
        minor.put(0)
    }
    fn nvmlDeviceGetNumGpuCores(device: Device, out: Out<u32>) { out.put(board(device)?.constants()?.cores as u32) }
    fn nvmlDeviceGetMemoryBusWidth(device: Device, out: Out<u32>) { constant(device, out, MEMORY_BUS_BITS) }

    fn nvmlDeviceGetComputeMode(device: Device, out: Out<u32>) { constant(device, out, 0) }
    fn nvmlDeviceGetDisplayActive(device: Device, out: Out<u32>) { constant(device, out, OFF) }
    fn nvmlDeviceGetDisplayMode(device: Device, out: Out<u32>) { constant(device, out, OFF) }
    fn nvmlDeviceGetMigMode(device: Device, current: Out<u32>, pending: Out<u32>) {
        board(device)?;
        current.put(OFF)?;
        pending.put(OFF)
    }
    fn nvmlDeviceIsMigDeviceHandle(device: Device, out: Out<u32>) { constant(device, out, 0) }
    fn nvmlDeviceGetEccMode(device: Device, current: Out<u32>, pending: Out<u32>) {
        board(device)?;
        current.put(ON)?;
        pending.put(ON)
    }
    fn nvmlDeviceGetPersistenceMode(device: Device, out: Out<u32>) {
        out.put(board(device)?.persistence.load(Ordering::Relaxed) as u32)
    }
    fn nvmlDeviceSetPersistenceMode(device: Device, mode: u32) {
        let board = board(device)?;
        if mode > ON {
            return Err(INVALID_ARGUMENT);
        }
        board.writable()?;
        board.persistence.store(u64::from(mode), Ordering::Relaxed);
        Ok(())
    }

    fn nvmlDeviceGetPciInfo(device: Device, out: Out<PciInfoV2>) { pci_v2(device, out) }
    fn nvmlDeviceGetPciInfo_v2(device: Device, out: Out<PciInfoV2>) { pci_v2(device, out) }
    fn nvmlDeviceGetPciInfo_v3(device: Device, out: Out<PciInfo>) {
        let c = board(device)?.constants()?;
        out.put(PciInfo {
            bus_id_legacy: chars(&bus_id(&c, 4)),
            domain: c.pci_domain as u32,
            bus: c.pci_bus as u32,
            device: c.pci_device as u32,
            pci_device_id: c.pci_device_id as u32,
            pci_subsystem_id: c.pci_subsystem_id as u32,
            bus_id: chars(&bus_id(&c, 8)),
        })
    }
}

fn constant(device: Device, out: Out<u32>, value: u32) -> Done {
    board(device)?;
    out.put(value)
}

fn pci_v2(device: Device, out: Out<PciInfoV2>) -> Done {
    let c = board(device)?.constants()?;
    out.put(PciInfoV2 {
        bus_id: chars(&bus_id(&c, 4)),
        domain: c.pci_domain as u32,
        bus: c.pci_bus as u32,
        device: c.pci_device as u32,
        pci_device_id: c.pci_device_id as u32,
        pci_subsystem_id: c.pci_subsystem_id as u32,
    })
}

fn bus_id(constants: &GpuConstants, domain_digits: usize) -> String {
    let GpuConstants { pci_domain, pci_bus, pci_device, .. } = constants;
    format!("{pci_domain:0domain_digits$X}:{pci_bus:02X}:{pci_device:02X}.0")
}

fn chars<const N: usize>(text: &str) -> [c_char; N] {
    let mut chars = [0; N];
    for (cell, byte) in chars.iter_mut().take(N - 1).zip(text.bytes()) {
        *cell = byte as c_char;
    }
    chars
}

//! Initialisation, the system, and handles.

use crate::arg::{InText, Out, OutText};
use crate::code::{INVALID_ARGUMENT, NOT_FOUND, exports, text};
use crate::layout::{Gpu, GpuConstants};
use crate::state::{Board, Device, Mapped, handle, init, session, shutdown};
use std::ffi::c_char;
use std::sync::Arc;
use std::sync::atomic::Ordering;

exports! {
    fn nvmlInit() { init() }
    fn nvmlInit_v2() { init() }
    fn nvmlInitWithFlags(_flags: u32) { init() }
    fn nvmlShutdown() { shutdown() }

    fn nvmlSystemGetDriverVersion(out: OutText, length: u32) {
        out.put_text(length, &session()?.driver_version.get())
    }
    fn nvmlSystemGetNVMLVersion(out: OutText, length: u32) { out.put_text(length, &session()?.nvml_version.get()) }
    fn nvmlSystemGetCudaDriverVersion(out: Out<i32>) { cuda_version(out) }
    fn nvmlSystemGetCudaDriverVersion_v2(out: Out<i32>) { cuda_version(out) }
    fn nvmlSystemGetProcessName(pid: u32, out: OutText, length: u32) {
        session()?;
        let name = std::fs::read(format!("/proc/{pid}/comm")).map_err(|_| NOT_FOUND)?;
        out.put_text(length, name.trim_ascii_end())
    }

    fn nvmlDeviceGetCount(out: Out<u32>) { out.put(session()?.gpus().len() as u32) }
    fn nvmlDeviceGetCount_v2(out: Out<u32>) { out.put(session()?.gpus().len() as u32) }
    fn nvmlDeviceGetHandleByIndex(index: u32, out: Out<Device>) { by_index(index, out) }
    fn nvmlDeviceGetHandleByIndex_v2(index: u32, out: Out<Device>) { by_index(index, out) }
    fn nvmlDeviceGetHandleByUUID(uuid: InText, out: Out<Device>) {
        let uuid = uuid.get()?;
        find(session()?, out, |gpu, _| gpu.uuid.get() == uuid.as_bytes())
    }
    fn nvmlDeviceGetHandleBySerial(serial: InText, out: Out<Device>) {
        let serial = serial.get()?;
        find(session()?, out, |gpu, _| gpu.serial.get() == serial.as_bytes())
    }
    fn nvmlDeviceGetHandleByPciBusId(bus: InText, out: Out<Device>) { by_bus(bus, out) }
    fn nvmlDeviceGetHandleByPciBusId_v2(bus: InText, out: Out<Device>) { by_bus(bus, out) }
}

/// Valid for ever, also before initialisation.
#[unsafe(no_mangle)]
pub extern "C" fn nvmlErrorString(code: u32) -> *const c_char {
    text(code).as_ptr()
}

fn cuda_version(out: Out<i32>) -> crate::code::Done {
    out.put(session()?.cuda_version.load(Ordering::Relaxed) as i32)
}

fn by_index(index: u32, out: Out<Device>) -> crate::code::Done {
    let board = Board::number(session()?, index as usize)?;
    out.put(handle(board.index))
}

fn by_bus(bus: InText, out: Out<Device>) -> crate::code::Done {
    let wanted = bus_address(&bus.get()?).ok_or(INVALID_ARGUMENT)?;
    find(session()?, out, |_, constants| (constants.pci_domain, constants.pci_bus, constants.pci_device) == wanted)
}

fn find(mapped: Arc<Mapped>, out: Out<Device>, wanted: impl Fn(&Gpu, &GpuConstants) -> bool) -> crate::code::Done {
    let matches = |gpu: &Gpu| gpu.constants.read().is_some_and(|words| wanted(gpu, &GpuConstants::unpack(words)));
    let index = mapped.gpus().iter().position(matches).ok_or(NOT_FOUND)?;
    let board = Board::number(mapped, index)?;
    out.put(handle(board.index))
}

/// "domain:bus:device.function", with or without domain, in hexadecimal.
fn bus_address(text: &str) -> Option<(u64, u64, u64)> {
    let (rest, _function) = text.rsplit_once('.').unwrap_or((text, "0"));
    let mut parts = rest.rsplit(':').map(|part| u64::from_str_radix(part, 16).ok());
    let (device, bus) = (parts.next()??, parts.next()??);
    let domain = parts.next().unwrap_or(Some(0))?;
    parts.next().is_none().then_some((domain, bus, device))
}

#[cfg(test)]
mod tests {
    use super::bus_address;

    #[test]
    fn bus_addresses_are_read_with_and_without_domain() {
        assert_eq!(bus_address("00000000:1B:00.0"), Some((0, 0x1b, 0)));
        assert_eq!(bus_address("0001:1b:02.0"), Some((1, 0x1b, 2)));
        assert_eq!(bus_address("1b:00"), Some((0, 0x1b, 0)));
        for wrong in ["", "1b", "x:y:z", "0:0:1b:00.0"] {
            assert_eq!(bus_address(wrong), None, "{wrong}");
        }
    }
}

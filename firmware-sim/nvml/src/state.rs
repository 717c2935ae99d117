//! The mapped state file, counted initialisation, and the way from a device handle to its block.

use crate::arg::Handle;
use crate::code::{
    Code, DRIVER_NOT_LOADED, GPU_IS_LOST, LIB_RM_VERSION_MISMATCH, NO_PERMISSION, UNINITIALIZED, UNKNOWN,
};
use crate::layout::{Gpu, GpuConstants, GpuTelemetry, MAGIC, Region};
use crate::sys;
use std::fs::{File, OpenOptions};
use std::ops::Deref;
use std::path::Path;
use std::ptr::NonNull;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError, RwLock};

/// Where the state file is.
const PATH_VARIABLE: &str = "HEADROOM_NVML_STATE";
const DEVICES: usize = 0x6e76_0000;

/// The region of a state file, unmapped with the last user.
pub struct Mapped {
    region: NonNull<Region>,
    writable: bool,
    /// The driver when this client came.
    driver: Vec<u8>,
}

// SAFETY: owns the mapping, which is not tied to a thread; all access is through atomics.
unsafe impl Send for Mapped {}
// SAFETY: as above.
unsafe impl Sync for Mapped {}

impl Mapped {
    fn open(path: &Path) -> Result<Self, Code> {
        let (file, writable) = match OpenOptions::new().read(true).write(true).open(path) {
            Ok(file) => (file, true),
            // Who may only read is a user without root's right to set.
            Err(_) => (File::open(path).map_err(|_| DRIVER_NOT_LOADED)?, false),
        };
        let length = file.metadata().map_err(|_| DRIVER_NOT_LOADED)?.len();
        if length < size_of::<Region>() as u64 {
            return Err(DRIVER_NOT_LOADED);
        }
        let address = sys::map(&file, size_of::<Region>(), writable).map_err(|_| DRIVER_NOT_LOADED)?;
        let mut mapped = Self { region: address.cast(), writable, driver: Vec::new() };
        mapped.driver = mapped.driver_version.get().to_vec();
        match mapped.refusal() {
            None => Ok(mapped),
            Some(_) if mapped.magic.load(Ordering::Relaxed) == MAGIC => Err(LIB_RM_VERSION_MISMATCH),
            Some(_) => Err(DRIVER_NOT_LOADED),
        }
    }
}

impl Deref for Mapped {
    type Target = Region;

    fn deref(&self) -> &Region {
        // SAFETY: page-aligned, at least this long (checked; the simulator never shrinks the file) and
        // mapped until `drop`. `Region` is atomics only: any bytes are valid, others may change them.
        unsafe { self.region.as_ref() }
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        // SAFETY: mapped in `open` with this length, and no reference outlives `self`.
        unsafe { sys::unmap(self.region.cast(), size_of::<Region>()) };
    }
}

struct Session {
    initialised: u32,
    mapped: Option<Arc<Mapped>>,
}

static SESSION: RwLock<Session> = RwLock::new(Session { initialised: 0, mapped: None });

/// Maps the file that the environment names on the first call, counts on all.
pub fn init() -> Result<(), Code> {
    init_at(std::env::var_os(PATH_VARIABLE).as_ref().map(Path::new))
}

/// The same with the file named.
pub fn init_at(path: Option<&Path>) -> Result<(), Code> {
    let mut session = SESSION.write().unwrap_or_else(PoisonError::into_inner);
    if session.mapped.is_none() {
        session.mapped = Some(Arc::new(Mapped::open(path.ok_or(DRIVER_NOT_LOADED)?)?));
    }
    session.initialised += 1;
    Ok(())
}

/// The counterpart of `init`; lets go on the last call.
pub fn shutdown() -> Result<(), Code> {
    let mut session = SESSION.write().unwrap_or_else(PoisonError::into_inner);
    session.initialised = session.initialised.checked_sub(1).ok_or(UNINITIALIZED)?;
    if session.initialised == 0 {
        session.mapped = None;
    }
    Ok(())
}

/// The state file, while initialised and the driver is the one there was then.
pub fn session() -> Result<Arc<Mapped>, Code> {
    let mapped = SESSION.read().unwrap_or_else(PoisonError::into_inner).mapped.clone().ok_or(UNINITIALIZED)?;
    if mapped.driver_version.get()[..] == mapped.driver[..] { Ok(mapped) } else { Err(LIB_RM_VERSION_MISMATCH) }
}

/// `nvmlDevice_t`.
pub type Device = Handle;

/// The handle of GPU `index`.
pub fn handle(index: usize) -> Device {
    Handle::new(DEVICES, index)
}

/// A GPU that answers: initialised, a good handle, not lost, the simulator alive.
pub struct Board {
    mapped: Arc<Mapped>,
    /// Which one.
    pub index: usize,
}

impl Deref for Board {
    type Target = Gpu;

    fn deref(&self) -> &Gpu {
        &self.mapped.gpus[self.index]
    }
}

impl Board {
    /// By its index.
    pub fn number(mapped: Arc<Mapped>, index: usize) -> Result<Self, Code> {
        let gpu = mapped.gpus().get(index).ok_or(crate::code::INVALID_ARGUMENT)?;
        let lost = gpu.lost.load(Ordering::Acquire) != 0 || !mapped.alive(sys::monotonic_ns());
        if lost { Err(GPU_IS_LOST) } else { Ok(Self { mapped, index }) }
    }

    /// The latest sample.
    pub fn telemetry(&self) -> Result<GpuTelemetry, Code> {
        Ok(self.sample()?.0)
    }

    /// The latest sample and when it was taken, us since 1970.
    pub fn sample(&self) -> Result<(GpuTelemetry, u64), Code> {
        Gpu::telemetry(self).ok_or(UNKNOWN)
    }

    /// What the board is.
    pub fn constants(&self) -> Result<GpuConstants, Code> {
        self.constants.read().map(GpuConstants::unpack).ok_or(UNKNOWN)
    }

    /// Lets a set call go on only where the state file may be written.
    pub fn writable(&self) -> Result<(), Code> {
        if self.mapped.writable { Ok(()) } else { Err(NO_PERMISSION) }
    }

    /// Counts and stamps a set call that succeeded.
    pub fn changed(&self) {
        self.requested(sys::monotonic_ns());
    }
}

/// The index a handle stands for, whether or not the GPU answers.
pub fn index(device: Device, mapped: &Mapped) -> Result<usize, Code> {
    device.number(DEVICES, mapped.gpus().len())
}

/// The board a handle stands for.
pub fn board(device: Device) -> Result<Board, Code> {
    let mapped = session()?;
    let index = index(device, &mapped)?;
    Board::number(mapped, index)
}

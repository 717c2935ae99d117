//! The lever of an NVIDIA GPU: `nvmlDeviceSetPowerManagementLimit` and the locked SM clock.

use super::Lever;
use headroom_agent_core::failsafe::Bounds;
use headroom_rack::{DeviceId, Refusal, Watts};
use nvml_wrapper::enum_wrappers::device::Clock;
use nvml_wrapper::enums::device::GpuLockedClocksSetting;
use nvml_wrapper::error::NvmlError;
use nvml_wrapper::{Device, Nvml};
use std::sync::{Arc, PoisonError, RwLock};

/// The NVML library, while it is loaded. A driver upgrade takes it away and brings another.
#[derive(Debug, Clone, Default)]
pub struct Library(Arc<RwLock<Option<Arc<Nvml>>>>);

impl Library {
    /// Replaces it.
    pub fn set(&self, nvml: Option<Arc<Nvml>>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = nvml;
    }

    /// What is loaded now.
    pub fn loaded(&self) -> Option<Arc<Nvml>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn get(&self) -> Result<Arc<Nvml>, Refusal> {
        self.loaded().ok_or(Refusal::DeviceFailed)
    }
}

impl From<Arc<Nvml>> for Library {
    fn from(nvml: Arc<Nvml>) -> Self {
        Self(Arc::new(RwLock::new(Some(nvml))))
    }
}

/// Acts through the library that is loaded.
#[derive(Debug, Clone)]
pub struct NvmlLever {
    library: Library,
}

impl NvmlLever {
    /// A lever on all GPUs of the library.
    pub fn new(library: impl Into<Library>) -> Self {
        Self { library: library.into() }
    }

    /// What the board accepts.
    ///
    /// # Errors
    /// Why it cannot be told; such a GPU is never set.
    pub fn bounds(&self, device: &DeviceId) -> Result<Bounds, Refusal> {
        let nvml = self.library.get()?;
        let limits = gpu(&nvml, device)?.power_management_limit_constraints().map_err(|e| refusal(&e))?;
        Ok(Bounds { min: watts(limits.min_limit), max: watts(limits.max_limit) })
    }
}

impl Lever for NvmlLever {
    fn set_limit(&self, device: &DeviceId, limit: Watts) -> Result<(), Refusal> {
        let bounds = self.bounds(device)?;
        let held = limit.clamp(bounds.min, bounds.max);
        let nvml = self.library.get()?;
        gpu(&nvml, device)?.set_power_management_limit(milliwatts(held)).map_err(|e| refusal(&e))
    }

    fn enforced(&self, device: &DeviceId) -> Result<Watts, Refusal> {
        let nvml = self.library.get()?;
        gpu(&nvml, device)?.enforced_power_limit().map(watts).map_err(|e| refusal(&e))
    }

    fn set_clock_ceiling(&self, device: &DeviceId, mhz: u32) -> Result<(), Refusal> {
        let nvml = self.library.get()?;
        let mut device = gpu(&nvml, device)?;
        let done = if mhz == 0 {
            device.reset_gpu_locked_clocks()
        } else {
            // The driver raises a lower bound of 0 to the lowest clock the board has.
            device.set_gpu_locked_clocks(GpuLockedClocksSetting::Numeric { min_clock_mhz: 0, max_clock_mhz: mhz })
        };
        done.map_err(|e| refusal(&e))
    }

    fn sm_clock(&self, device: &DeviceId) -> Result<u32, Refusal> {
        let nvml = self.library.get()?;
        gpu(&nvml, device)?.clock_info(Clock::SM).map_err(|e| refusal(&e))
    }
}

fn gpu<'nvml>(nvml: &'nvml Nvml, device: &DeviceId) -> Result<Device<'nvml>, Refusal> {
    let index = device.gpu_index().ok_or(Refusal::UnknownDevice)?;
    nvml.device_by_index(index).map_err(|e| refusal(&e))
}

fn watts(milliwatts: u32) -> Watts {
    Watts::new(f64::from(milliwatts) / 1000.0)
}

fn milliwatts(watts: Watts) -> u32 {
    // Saturates; bounds were applied before.
    (watts.get() * 1000.0).round() as u32
}

fn refusal(error: &NvmlError) -> Refusal {
    match error {
        NvmlError::NoPermission => Refusal::PermissionDenied,
        NvmlError::NotSupported | NvmlError::FunctionNotFound | NvmlError::FailedToLoadSymbol(_) => {
            Refusal::NotSupported
        }
        _ => Refusal::DeviceFailed,
    }
}

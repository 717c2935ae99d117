//! `nvmlDeviceGetMarginTemperature`, which nvml-wrapper 0.13 does not wrap: the one raw call.
#![allow(unsafe_code)]

use nvml_wrapper::Device;
use nvml_wrapper::error::{NvmlError, nvml_sym, nvml_try};
use nvml_wrapper_sys::bindings::nvmlMarginTemperature_t;

/// `NVML_STRUCT_VERSION(MarginTemperature, 1)` of nvml.h: size and version.
const VERSION: u32 = size_of::<nvmlMarginTemperature_t>() as u32 | 1 << 24;

/// Kelvins left until the nearest slowdown threshold (T.Limit), negative beyond it. Drivers before 570
/// do not have the function.
///
/// # Errors
/// What NVML says, or that it has no such function.
pub fn kelvins(device: &Device<'_>) -> Result<f64, NvmlError> {
    let call = nvml_sym(device.nvml().lib().nvmlDeviceGetMarginTemperature.as_ref())?;
    let mut margin = nvmlMarginTemperature_t { version: VERSION, marginTemperature: 0 };
    // SAFETY: the library is loaded for as long as the device lives, which has a handle of it; the function
    // writes into a live struct of the version told.
    nvml_try(unsafe { call(device.handle(), &raw mut margin) })?;
    Ok(f64::from(margin.marginTemperature))
}

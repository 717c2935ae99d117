//! Whether CUDA can be used: the driver is asked before burn is, which panics without one. The only
//! unsafe code here are two calls into the driver's library.
#![allow(unsafe_code)]

use libloading::{Library, Symbol};
use std::ffi::c_int;

/// The driver's library, as it is called on every Linux.
const DRIVER: &str = "libcuda.so.1";

/// Checks that the driver is there and knows these GPUs.
///
/// # Errors
/// What is missing.
pub(super) fn check(gpus: &[usize]) -> Result<(), String> {
    let there = count()?;
    match gpus.iter().find(|gpu| **gpu >= there) {
        None => Ok(()),
        Some(_) if there == 0 => Err("the driver knows no GPU".to_owned()),
        Some(gpu) => Err(format!("there is no GPU {gpu}: the driver knows {there}, numbered from 0")),
    }
}

fn count() -> Result<usize, String> {
    // SAFETY: the driver's library has no constructors that could be misused; it is never unloaded
    // while burn uses it, because burn loads it again.
    let driver = unsafe { Library::new(DRIVER) }
        .map_err(|why| format!("NVIDIA's driver is not installed ({DRIVER} cannot be loaded: {why})"))?;
    let incomplete = |why: libloading::Error| format!("{DRIVER} is not NVIDIA's driver: {why}");
    // SAFETY: signatures as in cuda.h: CUresult cuInit(unsigned int), CUresult cuDeviceGetCount(int *).
    let init: Symbol<unsafe extern "C" fn(u32) -> c_int> = unsafe { driver.get(b"cuInit") }.map_err(incomplete)?;
    // SAFETY: as above.
    let get: Symbol<unsafe extern "C" fn(*mut c_int) -> c_int> =
        unsafe { driver.get(b"cuDeviceGetCount") }.map_err(incomplete)?;
    let mut n: c_int = 0;
    // SAFETY: cuInit comes first, and the count is written into a number that lives long enough.
    let code = unsafe {
        match init(0) {
            0 => get(&raw mut n),
            code => code,
        }
    };
    match code {
        0 => Ok(usize::try_from(n).unwrap_or(0)),
        100 => Err("the driver finds no GPU (CUDA error 100)".to_owned()),
        code => Err(format!("the driver does not start (CUDA error {code})")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gpu_that_is_not_there_is_refused_in_words() {
        let why = check(&[4096]).unwrap_err();
        assert!(why.contains("driver"), "{why}");
    }
}

//! `safe-share`: sets all GPUs to the safe share once. What systemd runs after the agent ended,
//! however it ended.

use crate::actuator::{Lever, TOLERANCE, nvml::NvmlLever, release_clock};
use crate::config::Config;
use crate::source;
use anyhow::Context;
use headroom_rack::DeviceId;
use std::sync::Arc;
use std::time::Duration;

/// Tries for this long until the enforced limit shows the new one.
const SETTLE_TRIES: u32 = 20;
const TRY_AGAIN: Duration = Duration::from_millis(50);

/// Sets the safe share. Returns how many GPUs were set; 0 when the config does not let the agent
/// act or there are no GPUs.
///
/// # Errors
/// When NVML or any GPU refuses. All others are set nevertheless.
pub fn run(config: &Config) -> anyhow::Result<u32> {
    if !config.control.enabled || !config.nvml.enabled {
        return Ok(0);
    }
    let nvml = source::nvml::load(config.nvml.library.as_deref()).context("NVML is not there")?;
    let count = nvml.device_count().context("NVML does not tell how many GPUs there are")?;
    let lever = NvmlLever::new(Arc::new(nvml));
    let failed: Vec<String> = (0..count)
        .map(DeviceId::gpu)
        .filter_map(|gpu| set(&lever, &gpu, config).err().map(|why| format!("{gpu}: {why}")))
        .collect();
    anyhow::ensure!(failed.is_empty(), "not at the safe share: {}", failed.join(", "));
    Ok(count)
}

fn set(lever: &NvmlLever, gpu: &DeviceId, config: &Config) -> Result<(), String> {
    let refused = |why| format!("{why:?}");
    let bounds = lever.bounds(gpu).map_err(refused)?;
    let limit = config.control.safe_gpu.clamp(bounds.min, bounds.max);
    lever.set_limit(gpu, limit).map_err(refused)?;
    release_clock(lever, gpu).map_err(|why| format!("its clock stays locked: {why:?}"))?;
    for _ in 0..SETTLE_TRIES {
        let enforced = lever.enforced(gpu).map_err(refused)?;
        // A limiter that holds lower is safer still.
        if enforced.get() <= limit.get() + TOLERANCE.get() {
            return Ok(());
        }
        std::thread::sleep(TRY_AGAIN);
    }
    Err(format!("it does not enforce {limit}"))
}

//! GPUs through NVML. The library is loaded here (and tried again while it is missing), each GPU
//! is read on a thread of its own, and Xid events are awaited on another. What the
//! calls return is told in `nvml/read.rs`. Nothing here sets anything: that is the actuator's.

mod read;

pub use read::{SIGNALS, no_data, readings};

use crate::actuator::nvml::NvmlLever;
use crate::board::{Board, DeviceState};
use crate::config;
use headroom_rack::{DeviceId, NoData, Reading, Signal};
use nvml_wrapper::bitmasks::event::EventTypes;
use nvml_wrapper::enums::event::XidError;
use nvml_wrapper::error::NvmlError;
use nvml_wrapper::{Device, Nvml};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Instantaneous power for the guard.
const FAST: Duration = Duration::from_millis(100);
/// Everything else.
const FULL_EVERY: u32 = 10;
const STALE_AFTER: Duration = Duration::from_secs(3);
const LOAD_AGAIN: Duration = Duration::from_secs(5);
const EVENT_WAIT_MS: u32 = 1000;

/// Loads the library once.
///
/// # Errors
/// What NVML says.
pub fn load(library: Option<&Path>) -> Result<Nvml, NvmlError> {
    match library {
        Some(path) => Nvml::builder().lib_path(path.as_os_str()).init(),
        // The development name (libnvidia-ml.so) is often missing on servers.
        None => Nvml::builder().lib_path("libnvidia-ml.so.1".as_ref()).init(),
    }
}

/// Starts the threads. `loaded` is called once, when the library is there and its GPUs are known.
///
/// # Errors
/// When no thread can be started.
pub fn start(
    nvml: &config::Nvml,
    board: Arc<Board>,
    stop: Arc<AtomicBool>,
    loaded: impl FnOnce(Arc<Nvml>) + Send + 'static,
) -> std::io::Result<()> {
    let library = nvml.library.clone();
    std::thread::Builder::new().name("nvml".into()).spawn(move || {
        let Some(nvml) = load_patiently(library.as_deref(), &stop) else { return };
        let nvml = Arc::new(nvml);
        loaded(nvml.clone());
        let count = announce(&nvml, &board);
        let (events_nvml, events_board, events_stop) = (nvml.clone(), board.clone(), stop.clone());
        let events = std::thread::Builder::new()
            .name("nvml-events".into())
            .spawn(move || await_events(&events_nvml, count, &events_board, &events_stop));
        if let Err(error) = events {
            tracing::error!(%error, "no thread for GPU events");
        }
        for index in 0..count {
            let (nvml, board, stop) = (nvml.clone(), board.clone(), stop.clone());
            let name = format!("nvml-{index}");
            if let Err(error) = std::thread::Builder::new().name(name).spawn(move || poll(&nvml, index, &board, &stop))
            {
                tracing::error!(gpu = index, %error, "no thread to read it");
            }
        }
    })?;
    Ok(())
}

fn load_patiently(library: Option<&Path>, stop: &AtomicBool) -> Option<Nvml> {
    let mut told = false;
    while !stop.load(Ordering::Relaxed) {
        match load(library) {
            Ok(nvml) => return Some(nvml),
            Err(error) if !told => {
                tracing::warn!(%error, "NVML is not there; GPUs are missing until it is");
                told = true;
            }
            Err(_) => {}
        }
        let again = Instant::now() + LOAD_AGAIN;
        while Instant::now() < again && !stop.load(Ordering::Relaxed) {
            std::thread::sleep(FAST);
        }
    }
    None
}

/// Declares all signals of all GPUs, and the bounds of those that can be limited.
fn announce(nvml: &Arc<Nvml>, board: &Board) -> u32 {
    let count = nvml.device_count().unwrap_or_else(|error| {
        tracing::error!(%error, "NVML does not tell how many GPUs there are");
        0
    });
    let lever = NvmlLever::new(nvml.clone());
    for device in (0..count).map(DeviceId::gpu) {
        board.declare(&device, SIGNALS.iter().copied(), STALE_AFTER);
        match lever.bounds(&device) {
            Ok(bounds) => board.set_bounds(&device, bounds),
            Err(why) => tracing::warn!(%device, ?why, "its power limit cannot be set"),
        }
    }
    let driver = nvml.sys_driver_version().unwrap_or_default();
    tracing::info!(gpus = count, driver, "NVML is there");
    count
}

/// Reads one GPU for ever: each has its thread, because a driver call can hang.
fn poll(nvml: &Nvml, index: u32, board: &Board, stop: &AtomicBool) {
    let id = DeviceId::gpu(index);
    let mut handle: Option<Device<'_>> = None;
    let mut deadline = Instant::now();
    let mut tick = 0_u32;
    while !stop.load(Ordering::Relaxed) {
        let (began, at) = (Instant::now(), board.clock().wall());
        if tick.is_multiple_of(FULL_EVERY) {
            handle = handle.or_else(|| nvml.device_by_index(index).ok());
            let readings = match &handle {
                Some(device) => readings(device, at),
                None => SIGNALS.iter().map(|s| (*s, Reading::none(NoData::DeviceLost, at))).collect(),
            };
            let lost = readings.iter().all(|(_, r)| r.value == Err(NoData::DeviceLost));
            board.put(&id, readings);
            board.polled(&id, DeviceState { up: !lost, poll_seconds: began.elapsed().as_secs_f64() });
            if lost {
                handle = None;
            }
        } else if let Some(device) = &handle {
            board.put(&id, [(Signal::GpuPowerInstant, read::instant_power(device, at))]);
        }
        tick = tick.wrapping_add(1);
        deadline = (deadline + FAST).max(Instant::now());
        std::thread::sleep(deadline.saturating_duration_since(Instant::now()));
    }
}

/// Waits for Xid events and keeps the two Xid signals fresh.
fn await_events(nvml: &Nvml, count: u32, board: &Board, stop: &AtomicBool) {
    let ids: Vec<DeviceId> = (0..count).map(DeviceId::gpu).collect();
    let mut seen: BTreeMap<DeviceId, (u64, u64)> = ids.iter().map(|id| (id.clone(), (0, 0))).collect();
    let mut set = nvml.create_event_set();
    for index in 0..count {
        set = set.and_then(|set| {
            let device = nvml.device_by_index(index)?;
            device.register_events(EventTypes::CRITICAL_XID_ERROR, set).map_err(|e| e.error)
        });
    }
    let set = match set {
        Ok(set) => set,
        Err(error) => {
            tracing::warn!(%error, "Xid events are not available");
            let none = Reading::none(no_data(&error), board.clock().wall());
            ids.iter().for_each(|id| board.put(id, [(Signal::GpuXid, none), (Signal::GpuXidEvents, none)]));
            return;
        }
    };
    while !stop.load(Ordering::Relaxed) {
        match set.wait(EVENT_WAIT_MS) {
            Ok(event) => {
                let xid = match event.event_data {
                    Some(XidError::Value(xid)) => xid,
                    _ => 0,
                };
                if let Ok(id) = event.device.index().map(DeviceId::gpu) {
                    tracing::warn!(device = %id, xid, "Xid event");
                    if let Some((last, events)) = seen.get_mut(&id) {
                        (*last, *events) = (xid, *events + 1);
                    }
                }
            }
            Err(NvmlError::Timeout) => {}
            // A lost GPU answers every wait at once.
            Err(_) => std::thread::sleep(Duration::from_millis(EVENT_WAIT_MS.into())),
        }
        let at = board.clock().wall();
        for (id, (last, events)) in &seen {
            let count = |n: u64| Reading::new(n as f64, at);
            board.put(id, [(Signal::GpuXid, count(*last)), (Signal::GpuXidEvents, count(*events))]);
        }
    }
}

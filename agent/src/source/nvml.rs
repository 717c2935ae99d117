//! GPUs through NVML. The library is loaded here (tried again while it is missing, loaded anew when
//! the driver was replaced or the host has other GPUs), each GPU is read on a thread of its own, and Xid events are awaited on another. What the
//! calls return is told in `nvml/read.rs`. Nothing here sets anything: that is the actuator's.

mod margin;
mod read;

pub use read::{SIGNALS, no_data, readings};

use crate::actuator::nvml::{Library, NvmlLever};
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

/// Instantaneous power, where a guard acts on it.
const FAST: Duration = Duration::from_millis(100);
/// Everything.
const FULL: Duration = Duration::from_secs(1);
const STALE_AFTER: Duration = Duration::from_secs(3);
const LOAD_AGAIN: Duration = Duration::from_secs(5);
const EVENT_WAIT_MS: u32 = 1000;
/// How often the GPUs are counted.
const COUNT_AGAIN: Duration = Duration::from_secs(10);
/// An event is awaited for a second; a read takes milliseconds.
const LET_GO_WITHIN: Duration = Duration::from_secs(5);

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

/// Starts the threads. `library` holds what is loaded, whenever there is anything.
///
/// # Errors
/// When no thread can be started.
pub fn start(nvml: &config::Nvml, board: Arc<Board>, stop: Arc<AtomicBool>, library: Library) -> std::io::Result<()> {
    let path = nvml.library.clone();
    std::thread::Builder::new().name("nvml".into()).spawn(move || {
        while let Some(nvml) = load_patiently(path.as_deref(), &stop) {
            library.set(Some(Arc::new(nvml)));
            let Some(nvml) = library.loaded() else { return };
            serve(nvml, &board, &stop);
            // The last one that lets go unloads it: only then is the new driver's to be had.
            library.set(None);
        }
    })?;
    Ok(())
}

/// One loaded library, until the agent stops, its driver is gone, or there are other GPUs.
fn serve(nvml: Arc<Nvml>, board: &Arc<Board>, stop: &Arc<AtomicBool>) {
    let count = announce(&nvml, board);
    let over = Arc::new(AtomicBool::new(false));
    let mut threads = Vec::new();
    let mut begin =
        |name: String, work: Box<dyn FnOnce() + Send>| match std::thread::Builder::new().name(name.clone()).spawn(work)
        {
            Ok(thread) => threads.push(thread),
            Err(error) => tracing::error!(thread = name, %error, "no thread for GPUs"),
        };
    let shared = || (nvml.clone(), board.clone(), over.clone());
    let (nvml_of_events, board_of_events, over_of_events) = shared();
    begin(
        "nvml-events".into(),
        Box::new(move || await_events(&nvml_of_events, count, &board_of_events, &over_of_events)),
    );
    for index in 0..count {
        let (nvml, board, over) = shared();
        begin(format!("nvml-{index}"), Box::new(move || poll(&nvml, index, &board, &over)));
    }
    let mut look_again = Instant::now() + COUNT_AGAIN;
    while !over.load(Ordering::Relaxed) {
        std::thread::sleep(FAST);
        if stop.load(Ordering::Relaxed) {
            over.store(true, Ordering::Relaxed);
        } else if Instant::now() >= look_again {
            look_again = Instant::now() + COUNT_AGAIN;
            let now = nvml.device_count();
            if now.as_ref().map_or_else(is_over, |now| *now != count) {
                tracing::warn!(gpus = ?now, before = count, "the GPUs of this host changed; loading NVML again");
                over.store(true, Ordering::Relaxed);
            }
        }
    }
    if stop.load(Ordering::Relaxed) {
        return;
    }
    // A thread that hangs in the driver keeps the old library; the others must not wait for it.
    let until = Instant::now() + LET_GO_WITHIN;
    while threads.iter().any(|t| !t.is_finished()) && Instant::now() < until {
        std::thread::sleep(FAST);
    }
    let none = Reading::none(NoData::Disconnected, board.clock().wall());
    for device in (0..count).map(DeviceId::gpu) {
        board.put(&device, SIGNALS.iter().map(|signal| (*signal, none)));
        board.polled(&device, DeviceState { up: false, poll_seconds: 0.0 });
    }
}

/// The library answers no more, whatever it is asked.
fn is_over(error: &NvmlError) -> bool {
    no_data(error) == NoData::Disconnected
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
    for gone in board.bounds().into_keys().filter(|d| d.gpu_index().is_some_and(|index| index >= count)) {
        board.retire(&gone);
    }
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

/// Reads one GPU until it is over: each has its thread, because a driver call can hang.
fn poll(nvml: &Arc<Nvml>, index: u32, board: &Board, over: &AtomicBool) {
    let id = DeviceId::gpu(index);
    let mut handle: Option<Device<'_>> = None;
    let mut deadline = Instant::now();
    let mut full = deadline;
    while !over.load(Ordering::Relaxed) {
        let (began, at) = (Instant::now(), board.clock().wall());
        if began >= full {
            full = (full + FULL).max(began);
            let found = handle.map_or_else(|| nvml.device_by_index(index), Ok);
            let readings = match &found {
                Ok(device) => readings(device, at),
                Err(error) => SIGNALS.iter().map(|s| (*s, Reading::none(no_data(error), at))).collect(),
            };
            handle = found.ok();
            let all = |why| readings.iter().all(|(_, r)| r.value == Err(why));
            if all(NoData::Disconnected) && !over.swap(true, Ordering::Relaxed) {
                tracing::warn!("the driver that NVML was loaded for is gone; loading NVML again");
            }
            let lost = all(NoData::DeviceLost) || all(NoData::Disconnected);
            if !lost && !board.bounds().contains_key(&id) {
                // Lost when the others were announced.
                board.declare(&id, SIGNALS.iter().copied(), STALE_AFTER);
                let bounds = NvmlLever::new(nvml.clone()).bounds(&id);
                bounds.into_iter().for_each(|bounds| board.set_bounds(&id, bounds));
            }
            board.put(&id, readings);
            board.polled(&id, DeviceState { up: !lost, poll_seconds: began.elapsed().as_secs_f64() });
            if lost {
                handle = None;
            }
        } else if let Some(device) = &handle {
            board.put(&id, [(Signal::GpuPowerInstant, read::instant_power(device, at))]);
        }
        deadline = (deadline + if board.guarded() { FAST } else { FULL }).max(Instant::now());
        std::thread::sleep(deadline.saturating_duration_since(Instant::now()));
    }
}

/// Waits for Xid events and keeps the two Xid signals fresh.
fn await_events(nvml: &Nvml, count: u32, board: &Board, over: &AtomicBool) {
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
    while !over.load(Ordering::Relaxed) {
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

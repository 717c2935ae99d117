//! `probe`: reads each configured device once and prints a table of what it said, with unit and
//! quality. For the person who has just wired a rack.

use crate::board::Board;
use crate::clock::Clock;
use crate::config::Config;
use crate::source;
use headroom_rack::{DeviceId, Snapshot};
use nvml_wrapper::Nvml;
use std::fmt::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// DSX metadata is retained and values are published on change; a second covers most.
const LISTEN: Duration = Duration::from_secs(3);
/// Room for the longest signal name.
const NAME: usize = 38;

/// Reads everything once. Returns the table and whether every device answered.
pub async fn run(config: &Config) -> (String, bool) {
    let board = Arc::new(Board::new(config.rack.clone(), Clock::start()));
    let stale = Duration::from_secs(3600);
    let mut silent: Vec<DeviceId> = Vec::new();
    let mut notes = String::new();
    let mut reads = Vec::new();
    for device in &config.modbus {
        board.declare(&device.device, device.profile.points.iter().map(|p| p.signal), stale);
        let (device, board) = (device.clone(), board.clone());
        reads.push(tokio::spawn(async move {
            let answered = source::modbus::read_once(&device, &board).await;
            (device, answered)
        }));
    }
    if config.nvml.enabled {
        match source::nvml::load(config.nvml.library.as_deref()) {
            Ok(nvml) => gpus(&nvml, &board, &mut silent),
            Err(error) => {
                let _ = writeln!(notes, "GPUs: NVML is not there: {error}");
            }
        }
    }
    if !config.dsx.is_empty() {
        source::dsx::start(&config.dsx, &format!("headroom-probe-{}-{}", config.site, config.rack), &board);
        let until = Instant::now() + LISTEN;
        let waiting = || config.dsx.iter().any(|d| !board.own_now().devices.get(&d.device).is_some_and(|s| s.up));
        while waiting() && Instant::now() < until {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
        let own = board.own_now();
        let quiet = |d: &DeviceId| !own.devices.get(d).is_some_and(|s| s.up);
        silent.extend(config.dsx.iter().map(|d| d.device.clone()).filter(quiet));
    }
    for read in reads {
        if let Ok((device, false)) = read.await {
            let _ = writeln!(notes, "{} at {} unit {} does not answer", device.device, device.address, device.unit);
            silent.push(device.device);
        }
    }
    let all_answered = silent.is_empty() && notes.is_empty();
    (table(&board.snapshot()) + &notes, all_answered)
}

fn gpus(nvml: &Nvml, board: &Board, silent: &mut Vec<DeviceId>) {
    for index in 0..nvml.device_count().unwrap_or(0) {
        let id = DeviceId::gpu(index);
        board.declare(&id, source::nvml::SIGNALS.iter().copied(), Duration::from_secs(3600));
        match nvml.device_by_index(index) {
            Ok(device) => board.put(&id, source::nvml::readings(&device, board.clock().wall())),
            Err(_) => silent.push(id),
        }
    }
}

fn table(snapshot: &Snapshot) -> String {
    let mut out = format!("{:<14} {:<NAME$} {:>16} {:<6} quality\n", "device", "signal", "value", "unit");
    for (path, reading) in &snapshot.readings {
        let unit = path.signal.unit().symbol();
        let (value, quality) = match reading.value {
            Ok(value) => (format!("{value:.3}"), "good".to_owned()),
            Err(reason) => ("-".to_owned(), reason.code()),
        };
        let _ = writeln!(out, "{:<14} {:<NAME$} {value:>16} {unit:<6} {quality}", path.device, path.signal);
    }
    out
}

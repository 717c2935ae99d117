//! Readings for people, as a table, and for programs, as JSON.

use headroom_rack::{DeviceId, NoData, RackId, Reading, Readings, UnixMs};
use serde_json::{Map, Value, json};
use std::fmt::Write;

/// Room for the longest signal name.
const NAME: usize = 38;

/// `good`, or the reason why there is no value.
pub fn quality(reading: &Reading) -> String {
    reading.value.err().map_or_else(|| "good".to_owned(), NoData::code)
}

/// A line for each signal.
pub fn table(readings: &Readings) -> String {
    let mut out = format!("{:<14} {:<NAME$} {:>16} {:<6} quality\n", "device", "signal", "value", "unit");
    for (path, reading) in readings {
        let unit = path.signal.unit().symbol();
        let value = reading.ok().map_or_else(|| "-".to_owned(), |value| format!("{value:.3}"));
        let quality = quality(reading);
        let _ = writeln!(out, "{:<14} {:<NAME$} {value:>16} {unit:<6} {quality}", path.device, path.signal);
    }
    out
}

/// One object: devices, each with what `about` says of it and its signals with value, unit and
/// quality; `null` is no value.
pub fn json(rack: &RackId, at: UnixMs, readings: &Readings, about: impl Fn(&DeviceId) -> Value) -> Value {
    let mut devices: Map<String, Value> = Map::new();
    for (path, reading) in readings {
        let device = devices.entry(path.device.to_string()).or_insert_with(|| about(&path.device));
        device["signals"][path.signal.name()] =
            json!({"value": reading.ok(), "unit": path.signal.unit().symbol(), "quality": quality(reading)});
    }
    json!({"rack": rack, "at_ms": at.get(), "devices": devices})
}

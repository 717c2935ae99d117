//! `plant-summary.json`: what the run came to.

use super::ServeError;
use super::bench::Bench;
use super::inventory::write_json;
use crate::plant::FEEDS;
use serde_json::{Value, json};
use std::path::Path;

/// The summary so far.
pub fn json(bench: &Bench) -> Value {
    let view = bench.view();
    let tally = &view.tally;
    let trips: Vec<Value> = tally.trips.iter().map(|t| json!({"breaker": t.breaker, "at_s": t.at_s})).collect();
    let peaks: serde_json::Map<String, Value> =
        FEEDS.iter().zip(tally.peak_load_ratio).map(|(f, peak)| (format!("breaker-{f}"), json!(peak))).collect();
    json!({
        "racks": view.racks.len(),
        "gpus": view.racks.iter().map(|r| r.gpus.len()).sum::<usize>(),
        "seconds": tally.seconds,
        "trips": trips,
        "overloads": tally.overloads,
        "overload_seconds": tally.overload_seconds,
        "overload_to_cap_ms": tally.overload_to_cap_ms,
        "peak_load_ratio": peaks,
        "energy_joules": tally.energy_joules,
        "lost_work_gpu_seconds": tally.lost_work_gpu_seconds,
    })
}

/// Writes the summary.
///
/// # Errors
/// [`ServeError::Write`].
pub fn write(bench: &Bench, path: &Path) -> Result<(), ServeError> {
    write_json(path, &json(bench))
}

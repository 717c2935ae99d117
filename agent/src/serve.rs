//! `/metrics` (OpenMetrics text) and `/healthz`. Names are those of `headroom_rack::metric`; an
//! absent value is absent here too.

use crate::board::Board;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};
use headroom_rack::{RackId, Signal};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;

const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// Without a Snapshot for this long the agent is not well.
const HUNG_AFTER: Duration = Duration::from_secs(5);

#[derive(Clone)]
struct Shared {
    rack: RackId,
    board: Arc<Board>,
}

/// Serves until the runtime ends.
pub async fn run(listener: TcpListener, rack: RackId, board: Arc<Board>) {
    let router = Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(healthz))
        .with_state(Shared { rack, board });
    if let Err(error) = axum::serve(listener, router).await {
        tracing::error!(%error, "metrics are no longer served");
    }
}

async fn metrics(State(shared): State<Shared>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, CONTENT_TYPE)], text(&shared.rack, &shared.board))
}

async fn healthz(State(Shared { rack, board }): State<Shared>) -> impl IntoResponse {
    let own = board.own_now();
    let age = board.last().map(|(_, age)| age);
    let well = age.is_some_and(|age| age < HUNG_AFTER);
    let body = serde_json::json!({
        "rack": rack,
        "well": well,
        "snapshot_age_ms": age.map(|a| a.as_millis() as u64),
        "link_up": own.link_up,
        "guard_active": own.guard_active,
        "lease_left_ms": own.lease_left.as_millis() as u64,
        "devices_up": own.devices.values().filter(|d| d.up).count(),
        "devices": own.devices.len(),
    });
    (if well { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, Json(body))
}

fn text(rack: &RackId, board: &Board) -> String {
    let mut out = String::new();
    if let Some((snapshot, _)) = board.last() {
        let mut by_signal: BTreeMap<Signal, Vec<(String, f64)>> = BTreeMap::new();
        for (path, reading) in &snapshot.readings {
            if let Some(value) = reading.ok() {
                let labels = format!("rack=\"{rack}\",device=\"{}\"", path.device);
                by_signal.entry(path.signal).or_default().push((labels, value));
            }
        }
        for (signal, samples) in by_signal {
            family(&mut out, &format!("headroom_{signal}"), "gauge", signal.describe(), &samples);
        }
    }
    let own = board.own_now();
    let of_rack = |value: f64| vec![(format!("rack=\"{rack}\""), value)];
    let of_devices = |value: &dyn Fn(&crate::board::DeviceState) -> f64| -> Vec<_> {
        own.devices.iter().map(|(d, s)| (format!("rack=\"{rack}\",device=\"{d}\""), value(s))).collect()
    };
    let samples = |name: &str| match name {
        "headroom_agent_guard_active" => of_rack(f64::from(u8::from(own.guard_active))),
        "headroom_agent_lease_remaining_seconds" => of_rack(own.lease_left.as_secs_f64()),
        "headroom_agent_device_up" => of_devices(&|s| f64::from(u8::from(s.up))),
        "headroom_agent_poll_seconds" => of_devices(&|s| s.poll_seconds),
        "headroom_agent_spool_snapshots" => of_rack(own.spool.snapshots as f64),
        "headroom_agent_snapshots_total" => of_rack(own.made as f64),
        "headroom_agent_spool_memory_snapshots" => of_rack(own.spool.in_memory as f64),
        "headroom_agent_spool_bytes" => of_rack(own.spool.bytes as f64),
        "headroom_agent_spool_dropped_total" => of_rack(own.spool.dropped as f64),
        "headroom_agent_spool_thinned_total" => of_rack(own.spool.thinned as f64),
        "headroom_agent_spool_failures_total" => of_rack(own.spool.failures as f64),
        _ => Vec::new(),
    };
    for (name, kind, _, help) in headroom_rack::metric::METRICS {
        let samples = samples(name);
        if !samples.is_empty() {
            family(&mut out, name, kind, help, &samples);
        }
    }
    out.push_str("# EOF\n");
    out
}

fn family(out: &mut String, name: &str, kind: &str, help: &str, samples: &[(String, f64)]) {
    // OpenMetrics names a counter's family without the suffix of its samples.
    let family = if kind == "counter" { name.trim_end_matches("_total") } else { name };
    let _ = writeln!(out, "# TYPE {family} {kind}\n# HELP {family} {help}");
    for (labels, value) in samples {
        let _ = writeln!(out, "{name}{{{labels}}} {value}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use headroom_rack::{DeviceId, NoData, Reading, UnixMs};

    #[test]
    fn an_absent_value_is_absent_in_the_metrics() {
        let rack = RackId::new("rack-1").unwrap();
        let board = Board::new(rack.clone(), Clock::start());
        let pdu = DeviceId::new("pdu-a").unwrap();
        board.declare(&pdu, [Signal::PduPower, Signal::PduFrequency], Duration::from_secs(5));
        board.put(
            &pdu,
            [
                (Signal::PduPower, Reading::new(1234.5, UnixMs::new(1))),
                (Signal::PduFrequency, Reading::none(NoData::Timeout, UnixMs::new(1))),
            ],
        );
        board.snapshot();
        let text = text(&rack, &board);
        assert!(text.contains("headroom_pdu_power_watts{rack=\"rack-1\",device=\"pdu-a\"} 1234.5\n"), "{text}");
        assert!(!text.contains("pdu_frequency"));
        assert!(text.contains("# TYPE headroom_agent_spool_dropped counter\n"));
        assert!(text.ends_with("# EOF\n"));
    }
}

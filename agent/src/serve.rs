//! `/metrics` (OpenMetrics text), `/healthz` and `/livez`, and `/readings` for `watch`. Names are
//! those of `headroom_rack::metric`; an absent value is absent here too, with its reason beside it.

mod health;

use crate::board::{Board, DeviceState};
use crate::config::Config;
use crate::show;
use anyhow::Context;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};
use headroom_rack::{RackId, SignalPath};
use health::Health;
pub use health::{hangs, state};
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// About so long is a line of the page.
const LINE: usize = 80;

#[derive(Clone)]
struct Shared {
    rack: RackId,
    board: Arc<Board>,
}

/// What is served now, where the config says.
#[derive(Debug, Default)]
pub struct Server {
    port_file: Option<PathBuf>,
    task: Option<JoinHandle<()>>,
}

impl Server {
    /// Serves nothing yet; the address will be written into `port_file`.
    pub fn new(port_file: Option<PathBuf>) -> Self {
        Self { port_file, task: None }
    }

    /// Serves at the config's address, if it names one.
    ///
    /// # Errors
    /// When the address is taken or the port file cannot be written.
    pub async fn start(&mut self, config: &Config, board: &Arc<Board>) -> anyhow::Result<()> {
        let Some(listen) = &config.listen else { return Ok(()) };
        let listener = TcpListener::bind(listen).await.with_context(|| format!("cannot listen on {listen}"))?;
        let address = listener.local_addr().context("no local address")?;
        tracing::info!(%address, "serving /metrics, /healthz, /livez and /readings");
        if let Some(file) = &self.port_file {
            write_whole(file, &address.to_string()).with_context(|| format!("cannot write {}", file.display()))?;
        }
        self.task = Some(tokio::spawn(run(listener, config.rack.clone(), board.clone())));
        Ok(())
    }

    /// Serves at another address; while that is not to be had, at the old one.
    pub async fn follow(&mut self, config: &Config, board: &Arc<Board>) {
        let former = self.task.take();
        match self.start(config, board).await {
            Ok(()) => former.iter().for_each(JoinHandle::abort),
            Err(error) => {
                tracing::error!("{error:#}; serving where it was");
                self.task = former;
            }
        }
    }
}

fn write_whole(file: &Path, text: &str) -> std::io::Result<()> {
    let unfinished = file.with_extension("tmp");
    std::fs::write(&unfinished, text)?;
    std::fs::rename(&unfinished, file)
}

async fn run(listener: TcpListener, rack: RackId, board: Arc<Board>) {
    let router = Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(healthz))
        .route("/livez", get(livez))
        .route("/readings", get(readings))
        .with_state(Shared { rack, board });
    if let Err(error) = axum::serve(listener, router).await {
        tracing::error!(%error, "metrics are no longer served");
    }
}

async fn metrics(State(shared): State<Shared>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, CONTENT_TYPE)], text(&shared.rack, &shared.board))
}

async fn healthz(State(Shared { rack, board }): State<Shared>) -> impl IntoResponse {
    let health = Health::of(&board);
    let code = if health.is_known() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (code, Json(health.json(&rack, &board)))
}

/// Whether a restart would help: a device that is down is no reason for one.
async fn livez(State(Shared { board, .. }): State<Shared>) -> impl IntoResponse {
    if health::hangs(&board) { (StatusCode::SERVICE_UNAVAILABLE, "hung\n") } else { (StatusCode::OK, "alive\n") }
}

async fn readings(State(Shared { rack, board }): State<Shared>) -> impl IntoResponse {
    let own = board.own_now();
    let about = |device: &_| serde_json::json!({"state": health::state(own.devices.get(device).copied().flatten())});
    Json(show::json(&rack, board.clock().wall(), &board.readings(), about))
}

fn text(rack: &RackId, board: &Board) -> String {
    let readings = board.readings();
    let mut out = String::with_capacity(LINE * readings.len());
    let mut without = Vec::new();
    let mut samples = Vec::new();
    for (SignalPath { device, signal }, reading) in &readings {
        match reading.value {
            Ok(value) => samples.push((signal, device, value)),
            Err(why) => {
                let reason = why.code();
                let labels = format!("rack=\"{rack}\",device=\"{device}\",signal=\"{signal}\",reason=\"{reason}\"");
                without.push((labels, 1.0));
            }
        }
    }
    samples.sort_by_key(|(signal, ..)| *signal);
    for of_signal in samples.chunk_by(|(one, ..), (other, ..)| one == other) {
        let signal = of_signal[0].0;
        let name = format!("headroom_{signal}");
        head(&mut out, &name, "gauge", signal.describe());
        // The page is mostly these: a format string for each line is most of what it costs.
        let before = format!("{name}{{rack=\"{rack}\",device=\"");
        for (_, device, value) in of_signal {
            out.extend([&before, device.as_str(), "\"} "]);
            number(&mut out, *value);
        }
    }
    let own = board.own_now();
    let labels = format!("rack=\"{rack}\"");
    let of_rack = |value: f64| vec![(labels.clone(), value)];
    let of_devices = |value: &dyn Fn(DeviceState) -> f64| -> Vec<_> {
        let polled = own.devices.iter().filter_map(|(device, state)| Some((device, (*state)?)));
        polled.map(|(d, s)| ([&labels, ",device=\"", d.as_str(), "\""].concat(), value(s))).collect()
    };
    let samples = |name: &str| match name {
        "headroom_agent_guard_active" => of_rack(f64::from(u8::from(own.guard_active))),
        "headroom_agent_lease_remaining_seconds" => of_rack(own.lease_left.as_secs_f64()),
        "headroom_agent_device_up" => of_devices(&|s| f64::from(u8::from(s.up))),
        "headroom_agent_integration_up" => {
            let labels = |id: &String| format!("rack=\"{rack}\",integration=\"{id}\"");
            own.integrations.iter().map(|(id, up)| (labels(id), f64::from(u8::from(*up)))).collect()
        }
        "headroom_agent_poll_seconds" => of_devices(&|s| s.poll_seconds),
        "headroom_agent_signal_no_data" => without.clone(),
        "headroom_agent_config_refused" => of_rack(f64::from(u8::from(own.config_refused))),
        "headroom_agent_config_reloads_total" => of_rack(own.reloads as f64),
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
    head(out, name, kind, help);
    for (labels, value) in samples {
        out.extend([name, "{", labels, "} "]);
        number(out, *value);
    }
}

/// Most devices count in whole units: no search for the shortest text of a float is needed there.
fn number(out: &mut String, value: f64) {
    let whole = value as i64;
    if whole as f64 == value {
        out.extend([itoa::Buffer::new().format(whole), "\n"]);
    } else {
        let _ = writeln!(out, "{value}");
    }
}

fn head(out: &mut String, name: &str, kind: &str, help: &str) {
    // OpenMetrics names a counter's family without the suffix of its samples.
    let family = if kind == "counter" { name.trim_end_matches("_total") } else { name };
    let _ = writeln!(out, "# TYPE {family} {kind}\n# HELP {family} {help}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use headroom_rack::{DeviceId, NoData, Reading, Signal, UnixMs};
    use std::time::Duration;

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
        let text = text(&rack, &board);
        assert!(text.contains("headroom_pdu_power_watts{rack=\"rack-1\",device=\"pdu-a\"} 1234.5\n"), "{text}");
        assert!(!text.contains("headroom_pdu_frequency"));
        let why = "headroom_agent_signal_no_data{rack=\"rack-1\",device=\"pdu-a\",signal=\"pdu_frequency_hz\",reason=\"timeout\"} 1\n";
        assert!(text.contains(why), "{text}");
        assert!(!text.contains("headroom_agent_device_up{"), "a device that was not polled is neither up nor down");
        assert!(text.contains("# TYPE headroom_agent_spool_dropped counter\n"));
        assert!(text.ends_with("# EOF\n"));
    }
}

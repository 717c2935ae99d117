//! `run`: puts the sources, the control loop and the link together, makes a Snapshot each second,
//! and on SIGTERM or SIGINT ends with the safe share.

use crate::actuator::{self, Handoff, nvml::NvmlLever};
use crate::board::Board;
use crate::clock::Clock;
use crate::config::Config;
use crate::{control, link, serve, source};
use anyhow::Context;
use headroom_rack::{Class, Receipt};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};

/// From Snapshot to Snapshot.
const SNAPSHOT_PERIOD: Duration = Duration::from_secs(1);
/// Snapshots waiting for the link; it takes them even while disconnected.
const SNAPSHOT_QUEUE: usize = 16;

/// Runs the agent until a signal asks it to stop.
///
/// # Errors
/// When it cannot start (a port is taken), or when the safe share could not be confirmed.
pub async fn run(config: Config, port_file: Option<&Path>) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("no handler for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("no handler for SIGINT")?;
    let config = Arc::new(config);
    let board = Arc::new(Board::new(config.rack.clone(), Clock::start()));
    if let Some(listen) = &config.listen {
        let listener =
            tokio::net::TcpListener::bind(listen).await.with_context(|| format!("cannot listen on {listen}"))?;
        let address = listener.local_addr().context("no local address")?;
        tracing::info!(%address, "serving /metrics and /healthz");
        if let Some(file) = port_file {
            write_whole(file, &address.to_string()).with_context(|| format!("cannot write {}", file.display()))?;
        }
        tokio::spawn(serve::run(listener, config.rack.clone(), board.clone()));
    }
    tell(&config);
    source::modbus::start(&config.modbus, &board);
    source::dsx::start(&config.dsx, &format!("headroom-agent-dsx-{}-{}", config.site, config.rack), &board);
    let handoff = Arc::new(Handoff::default());
    let stop_sources = Arc::new(AtomicBool::new(false));
    if config.nvml.enabled {
        let (act_board, act_handoff) = (board.clone(), handoff.clone());
        let acts = config.control.enabled;
        source::nvml::start(&config.nvml, board.clone(), stop_sources.clone(), move |nvml| {
            if acts {
                start_actuator(NvmlLever::new(nvml), act_handoff, act_board);
            }
        })
        .context("no thread for NVML")?;
    }
    let pdus = config.modbus.iter().filter(|d| d.profile.class == Class::Pdu).map(|d| d.device.clone()).collect();
    let (running, inbox) =
        control::start(config.control, pdus, board.clone(), handoff).context("no thread for the control loop")?;
    let (snapshots, to_link) = mpsc::channel(SNAPSHOT_QUEUE);
    let (stop, stopping) = watch::channel(false);
    let link = tokio::spawn(link::run(config.clone(), board.clone(), inbox, to_link, stopping));
    let mut tick = tokio::time::interval(SNAPSHOT_PERIOD);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    loop {
        tokio::select! {
            _ = tick.tick() => {
                // The link drains this queue even while disconnected; full means it hangs.
                if snapshots.try_send(board.snapshot()).is_err() {
                    tracing::error!("the link does not take Snapshots");
                }
            }
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
        }
    }
    tracing::info!("stopping");
    let safe = tokio::task::spawn_blocking(move || running.stop()).await.unwrap_or(false);
    let _ = snapshots.try_send(board.snapshot());
    let _ = stop.send(true);
    let _ = link.await;
    stop_sources.store(true, Ordering::Relaxed);
    anyhow::ensure!(safe, "the safe share could not be confirmed in time");
    tracing::info!(safe_gpu = %config.control.safe_gpu, acted = config.control.enabled, "stopped");
    Ok(())
}

fn start_actuator(lever: NvmlLever, handoff: Arc<Handoff>, board: Arc<Board>) {
    let spawned = std::thread::Builder::new().name("actuator".into()).spawn(move || {
        actuator::run(&lever, &handoff, |device, generation, outcome| {
            board.receipt(Receipt { device: device.clone(), generation, outcome, at: board.clock().wall() });
        });
    });
    if let Err(error) = spawned {
        tracing::error!(%error, "no thread for the actuator: nothing will be set");
    }
}

fn tell(config: &Config) {
    tracing::info!(
        rack = %config.rack,
        broker = ?config.broker,
        modbus_devices = config.modbus.len(),
        dsx_devices = config.dsx.len(),
        "agent {} starts",
        env!("CARGO_PKG_VERSION")
    );
    if !config.control.enabled {
        tracing::info!("[control] is not enabled: watching only, nothing is ever set");
    } else if config.control.breaker.is_none() {
        tracing::warn!("[control] names no breaker_amperes: the rack's own guard is off");
    }
}

fn write_whole(file: &Path, text: &str) -> std::io::Result<()> {
    let unfinished = file.with_extension("tmp");
    std::fs::write(&unfinished, text)?;
    std::fs::rename(&unfinished, file)
}

//! `run`: puts the sources, the control loop and the link together, makes a Snapshot each second and at once
//! when something happens, and on SIGTERM or SIGINT ends with the safe share.

use crate::actuator::Crew;
use crate::actuator::nvml::{Library, NvmlLever};
use crate::board::Board;
use crate::clock::Clock;
use crate::config::Config;
use crate::newest::Newest;
use crate::reload::Parts;
use crate::serve::Server;
use crate::service::Watchdog;
use crate::store::Store;
use crate::{control, gateway, link, serve, service, source};
use anyhow::Context;
use headroom_agent_core::event::APART;
use headroom_rack::Receipt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};

/// From Snapshot to Snapshot.
const SNAPSHOT_PERIOD: Duration = Duration::from_secs(1);
/// Snapshots waiting for the link; it takes them even while disconnected.
const SNAPSHOT_QUEUE: usize = 16;

/// Runs the agent until a signal asks it to stop. `path` is the file that `config` was read from.
///
/// # Errors
/// When it cannot start (a port is taken), or when the safe share could not be confirmed.
pub async fn run(config: Config, path: PathBuf, port_file: Option<PathBuf>) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("no handler for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("no handler for SIGINT")?;
    let hangup = signal(SignalKind::hangup()).context("no handler for SIGHUP")?;
    let config = Arc::new(config);
    let board = Arc::new(Board::new(config.rack.clone(), Clock::start()));
    let mut server = Server::new(port_file);
    server.start(&config, &board).await?;
    tell(&config);
    let mut modbus = source::modbus::Buses::new(board.clone());
    modbus.follow(&config.modbus).await;
    let client_prefix = format!("headroom-agent-mqtt-{}-{}", config.site, config.rack);
    let mut mqtt = source::mqtt::Listeners::new(client_prefix, board.clone());
    mqtt.follow(&config.mqtt);
    let receipts = board.clone();
    let crew = Arc::new(Crew::new(move |device, generation, outcome| {
        receipts.receipt(Receipt { device: device.clone(), generation, outcome, at: receipts.clock().wall() });
    }));
    let stop_sources = Arc::new(AtomicBool::new(false));
    if config.nvml.enabled {
        let library = Library::default();
        crew.equip(Arc::new(NvmlLever::new(library.clone())));
        source::nvml::start(&config.nvml, board.clone(), stop_sources.clone(), library)
            .context("no thread for NVML")?;
    }
    let newest = config.spool.disk.as_ref().map(|disk| Newest::open(&disk.dir.join(config.rack.as_str())));
    let newest = newest.transpose().context("no thread to keep the newest generation")?;
    let (running, inbox) = control::start(config.control, config.pdus(), board.clone(), crew, newest)
        .context("no thread for the control loop")?;
    let (snapshots, to_link) = mpsc::channel(SNAPSHOT_QUEUE);
    let (stop, stopping) = watch::channel(false);
    let store = Store::open(&config).context("no thread for the spool")?;
    let (config, news) = watch::channel(config);
    let publishing = tokio::spawn(gateway::run(news.clone(), board.clone()));
    let broker = news.borrow().broker.clone();
    let uplink = broker.is_some();
    if uplink {
        board.own(|own| own.link_up = Some(false));
    } else {
        board.send_nothing();
    }
    let link = broker.map(|b| tokio::spawn(link::run(b, news, board.clone(), inbox, to_link, store, stopping)));
    let parts =
        Parts { config: config.clone(), board: board.clone(), modbus, mqtt, control: running.changes(), server };
    let reloading = tokio::spawn(parts.keep_following(path, hangup));
    let mut watchdog = Watchdog::start();
    service::ready("reading");
    let mut tick = tokio::time::interval(SNAPSHOT_PERIOD);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    loop {
        tokio::select! {
            _ = tick.tick(), if uplink => {
                // What was said just now need not be said again.
                if board.snapshot_age().is_some_and(|age| age < APART) {
                    continue;
                }
                // The link drains this queue even while disconnected; full means it hangs.
                if snapshots.try_send(board.snapshot()).is_err() {
                    tracing::error!("the link does not take Snapshots");
                }
            }
            () = board.news(), if uplink => {
                // What does not fit is said by the next one.
                let _ = snapshots.try_send(board.snapshot());
            }
            () = watchdog.due() => {
                // Hung parts let the service manager start another agent.
                if !serve::hangs(&board) {
                    service::alive();
                }
            }
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
        }
    }
    tracing::info!("stopping");
    service::stopping();
    reloading.abort();
    publishing.abort();
    let safe = tokio::task::spawn_blocking(move || running.stop()).await.context("stopping panicked")?;
    if let Some(link) = link {
        let _ = snapshots.try_send(board.snapshot());
        let _ = stop.send(true);
        let _ = link.await;
    }
    stop_sources.store(true, Ordering::Relaxed);
    if let Err(late) = safe {
        let names: Vec<_> = late.iter().map(ToString::to_string).collect();
        anyhow::bail!("the safe share could not be confirmed in time for {}", names.join(", "));
    }
    let control = config.borrow().control;
    tracing::info!(safe_gpu = %control.safe_gpu, acted = control.enabled, "stopped");
    Ok(())
}

fn tell(config: &Config) {
    tracing::info!(
        rack = %config.rack,
        broker = config.broker.as_ref().map(debug),
        modbus_devices = config.modbus.len(),
        mqtt_devices = config.mqtt.len(),
        "agent {} starts",
        env!("CARGO_PKG_VERSION")
    );
    if !config.control.enabled {
        tracing::info!("[control] is not enabled: watching only, nothing is ever set");
    } else if config.control.breaker.is_none() {
        tracing::warn!("[control] names no breaker_amperes: the rack's own guard is off");
    }
    if config.broker.is_none() {
        tracing::info!("uplink = false: what is read is for /metrics alone");
        return;
    }
    match &config.spool.disk {
        Some(disk) => tracing::info!(dir = %disk.dir.display(), "Snapshots not yet recorded are kept on disk"),
        None => tracing::info!("[spool] names no dir: a restart loses Snapshots not yet recorded"),
    }
}

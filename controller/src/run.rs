//! The process: starts every part, runs the control loop until a signal, stops every part in
//! the order that loses nothing. What the loop does each period is in `run/control.rs`.

mod control;
mod hear;
mod obey;
mod outside;
mod scoring;
mod send;

use crate::alert::{self, Alerts};
use crate::cli::write_whole;
use crate::clock::Clock;
use crate::config::{self, Config};
use crate::flex::Flex;
use crate::forecaster::{Answer, Forecaster};
use crate::hands;
use crate::influx::Influx;
use crate::learning::{self, Learning};
use crate::link::{self, Link, LinkEvent};
use crate::parent::Parent;
use crate::picture::Board;
use crate::record::{Record, Recovery};
use crate::serve::{self, Window};
use crate::stop::{self, Stop};
use crate::view;
use anyhow::Context;
use control::Control;
use headroom_rack::Mono;
use hear::Haste;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

/// A model's answer is waited for at most this long, and at most a quarter of the period.
const FORECAST_DEADLINE: Duration = Duration::from_millis(200);

/// What is there already is heard without a look at everything else for each, but for not much longer than a millisecond.
const AT_ONCE: u32 = 64;

/// Files that the command line asks for.
#[derive(Debug, Clone, Default)]
pub struct Files {
    /// Where to write the console's address.
    pub port_file: Option<PathBuf>,
    /// Where to write what was done.
    pub summary: Option<PathBuf>,
}

/// Runs the controller until SIGTERM or SIGINT.
///
/// # Errors
/// What kept a part from starting; once it runs, nothing ends it but the signal.
pub async fn run(config: Config, files: Files) -> anyhow::Result<()> {
    let clock = Clock::start();
    let config = Arc::new(config);
    let (stopper, stop) = stop::channel();
    let listener =
        TcpListener::bind(config.listen).await.with_context(|| format!("cannot listen on {}", config.listen))?;
    let address = listener.local_addr()?;
    let topology = config::core_topology(&config.tree)
        .map_err(|errors| anyhow::anyhow!("the electrical tree is not sound: {errors:?}"))?;
    let (record, recovery) = Record::open(config.record.clone().for_racks(config.racks.len()), clock)?;
    tell(&recovery, &config);
    let alerts = match &config.webhook {
        Some(webhook) => Some(Alerts::start(
            alert::Options {
                site: config.site.clone(),
                external_url: format!("http://{address}"),
                max_tries: webhook.max_tries,
                ..alert::Options::new(&webhook.url, config.record.dir.join("alerts/outbox.json"))
            },
            clock,
        )?),
        None => None,
    };
    let influx = config.influx.clone().map(Influx::start).transpose().context("cannot make the InfluxDB client")?;
    let forecaster = Forecaster::start(&config.model, FORECAST_DEADLINE.min(config.period / 4))
        .context("the forecaster's threads cannot be started")?;
    let learning = Learning::start(&config, clock, &forecaster).context("the learning thread cannot be started")?;
    let board = Arc::new(Board::default());
    let (hand, asked) = hands::Handle::channel();
    let window = Window {
        config: Arc::clone(&config),
        board: Arc::clone(&board),
        clock,
        learning: learning.handle(),
        hands: hand,
    };
    let server = tokio::spawn(serve::serve(listener, window, stop.clone()));
    tracing::info!(console = %format!("http://{address}/"), mode = ?config.mode, "the controller runs");
    if let Some(path) = &files.port_file {
        write_whole(path, &address.to_string())?;
    }
    let options = link::Options {
        host: config.broker.host.clone(),
        port: config.broker.port,
        login: config.broker.login.clone(),
        tls: config.broker.tls.clone(),
        site: config.site.clone(),
        name: config.host.clone(),
        racks: config.racks.iter().map(|r| r.id.clone()).collect(),
    };
    let reload = Arc::new(AtomicBool::new(false));
    let hangups = tokio::spawn(stop::hangups(Arc::clone(&reload)));
    let (link, events, session) = Link::start(options, clock, stop.clone());
    let flex = Flex::start(&config, &topology, clock, stop.clone());
    let outside = (flex, Parent::start(&config, clock, stop.clone()));
    let mut control =
        Control::new(Arc::clone(&config), clock, &topology, &recovery, Arc::clone(&board), reload, outside);
    let parts = Parts { link, record, forecaster, learning: learning.handle(), alerts, influx };

    let signals = tokio::spawn(async move {
        match stop::signal().await {
            Ok(signal) => tracing::info!(signal, "stopping"),
            Err(why) => tracing::error!(%why, "cannot wait for signals; stopping"),
        }
        stopper.stop();
    });
    circle(&mut control, &parts, events, asked, stop).await;
    control.keep_score(&parts);
    signals.await.context("waiting for signals failed")?;
    hangups.abort();
    finish(control, parts, learning, session, server, &files).await
}

/// What the loop uses and what must be closed after it.
struct Parts {
    link: Link,
    record: Record,
    forecaster: Forecaster,
    learning: learning::Handle,
    alerts: Option<Alerts>,
    influx: Option<Influx>,
}

fn tell(recovery: &Recovery, config: &Config) {
    for line in &recovery.damaged {
        tracing::warn!("the record is damaged: {line}");
    }
    tracing::info!(
        dir = %config.record.dir.display(),
        snapshots = recovery.snapshots,
        cut_bytes = recovery.torn_bytes,
        last = recovery.last_plan.as_ref().map_or_else(|| "none".to_owned(), |p| p.generation.to_string()),
        "the record is open"
    );
}

/// Hears and decides until the stop. The next deadline is the last one plus the period, whatever
/// the work took; events that cannot wait bring a decision of their own.
async fn circle(
    control: &mut Control,
    parts: &Parts,
    mut events: mpsc::Receiver<LinkEvent>,
    mut asked: mpsc::Receiver<hands::Asked>,
    mut stop: Stop,
) {
    let clock = control.clock();
    let mut tick = clock.now().after(control.period());
    let mut urgent: Option<Mono> = None;
    // The second half of a turn waits for the forecaster, which has a deadline.
    let mut asked_for: Option<Pin<Box<dyn Future<Output = Answer> + Send>>> = None;
    loop {
        let due = [urgent, control.next_change()].into_iter().flatten().fold(tick, Mono::min);
        tokio::select! {
            biased;
            () = stop.requested() => return,
            () = tokio::time::sleep_until(clock.instant(due)) => {
                urgent = None;
                if clock.now() < tick {
                    control.decide_now(parts);
                    continue;
                }
                control.note_lateness(clock.now().since(tick));
                if asked_for.is_none() {
                    asked_for = Some(Box::pin(control.begin(parts)));
                }
                tick = tick.after(control.period());
                // After a long pause (a suspended machine) one decision is enough.
                while tick < clock.now() {
                    tick = tick.after(control.period());
                    control.note_missed();
                }
            }
            answer = async {
                match &mut asked_for {
                    Some(answer) => answer.await,
                    None => std::future::pending().await,
                }
            } => {
                asked_for = None;
                control.finish(answer, parts);
            }
            heard = control.outside() => {
                if control.hear_outside(heard, parts) {
                    control.decide_now(parts);
                }
            }
            Some(asked) = asked.recv() => control.obey(asked, parts),
            Some(event) = events.recv() => {
                let mut next = Some(event);
                let mut more = AT_ONCE;
                while let Some(event) = next.take() {
                    let haste = control.hear(event, parts);
                    urgent = urgent.into_iter().chain(control.due(haste)).min();
                    more -= 1;
                    if haste == Haste::Calm && more > 0 {
                        next = events.try_recv().ok();
                    }
                }
            }
        }
    }
}

async fn finish(
    mut control: Control,
    parts: Parts,
    learning: Learning,
    session: tokio::task::JoinHandle<()>,
    server: tokio::task::JoinHandle<std::io::Result<()>>,
    files: &Files,
) -> anyhow::Result<()> {
    let mut clean = session.await.is_ok();
    control.stop().await;
    // A training on the record ends before the record does, and what it came to is still written.
    tokio::task::spawn_blocking(move || learning.stop()).await.context("ending the learning thread failed")?;
    control.keep_notes(&parts);
    let Parts { record, alerts, influx, .. } = parts;
    if let Some(influx) = influx {
        control.ended_influx(influx.stop().await);
    }
    if let Some(alerts) = alerts {
        control.ended_alerts(alerts.stop().await);
    }
    let stats = tokio::task::spawn_blocking(move || record.close()).await.context("closing the record failed")?;
    control.ended_record(stats);
    // A browser may keep its connection open: it does not hold up the stop.
    let abort = server.abort_handle();
    if tokio::time::timeout(Duration::from_secs(1), server).await.is_err() {
        abort.abort();
    }
    clean &= stats.dropped == 0;
    if let Some(path) = &files.summary {
        let summary = serde_json::to_string_pretty(&view::summary(control.last_picture(), clean))?;
        write_whole(path, &summary)?;
    }
    tracing::info!(entries = stats.entries, clean, "stopped");
    Ok(())
}

//! What the service manager is told (sd_notify(3)): ready, reloading, stopping, and alive while
//! Snapshots are made and the control loop goes round. Without a service manager nothing happens.

use sd_notify::NotifyState;
use tokio::time::{Interval, interval};

/// Tells the manager that every part has started.
pub fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// Tells it that the config is being read again; [`ready`] ends that.
pub fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(since) => tell(&[NotifyState::Reloading, since]),
        Err(error) => tracing::debug!(%error, "no monotonic clock for the service manager"),
    }
}

/// Tells it that the agent is setting the safe share and will end.
pub fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// When the manager wants to hear that the agent is alive.
pub struct Watchdog(Option<Interval>);

impl Watchdog {
    /// Twice in `WatchdogSec=`, as sd_watchdog_enabled(3) recommends; never if that is not set.
    pub fn start() -> Self {
        Self(sd_notify::watchdog_enabled().map(|within| interval(within / 2)))
    }

    /// Waits until it is due. Safe to drop while waiting.
    pub async fn due(&mut self) {
        match &mut self.0 {
            Some(interval) => drop(interval.tick().await),
            None => std::future::pending().await,
        }
    }
}

/// Tells it that the agent is alive.
pub fn alive() {
    tell(&[NotifyState::Watchdog]);
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "the service manager does not listen");
    }
}

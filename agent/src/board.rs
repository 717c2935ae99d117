//! What the threads and tasks of one agent share: the latest Readings, the boards' bounds and the
//! agent's own state for `/metrics`. Locks are short and never held across a wait.

use crate::clock::Clock;
use crate::store::Account;
use headroom_agent_core::assemble::Latest;
use headroom_agent_core::event::{Urgency, Watch};
use headroom_agent_core::failsafe::Bounds;
use headroom_rack::{
    Amperes, DeviceId, Mono, NoData, RackId, Reading, Readings, Receipt, Signal, SignalPath, Snapshot,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::Duration;
use tokio::sync::{Notify, watch};

/// How a device's last poll went.
#[derive(Debug, Clone, Copy, Default)]
pub struct DeviceState {
    /// It answered.
    pub up: bool,
    /// How long the poll took.
    pub poll_seconds: f64,
}

/// The agent's own state.
#[derive(Debug, Clone, Default)]
pub struct Own {
    /// Every device with its last poll; `None` before the first.
    pub devices: BTreeMap<DeviceId, Option<DeviceState>>,
    /// What is wrong with a device beside what its Readings say.
    pub trouble: BTreeMap<DeviceId, &'static str>,
    /// Integrations of the gateway, and whether their hearts beat.
    pub integrations: BTreeMap<String, bool>,
    /// When the control loop last went round.
    pub beat: Option<Mono>,
    /// Changes of the config taken over.
    pub reloads: u64,
    /// The config file on disk is refused; an older one runs.
    pub config_refused: bool,
    /// The guard holds the rack down.
    pub guard_active: bool,
    /// Time left on the lease.
    pub lease_left: Duration,
    /// Snapshots made in this run that the spool has taken.
    pub made: u64,
    /// The spool.
    pub spool: Account,
    /// Whether the MQTT session to the controller stands; `None`: there shall be none.
    pub link_up: Option<bool>,
}

#[derive(Debug)]
struct Inner {
    latest: Latest,
    watch: Watch,
    /// Somebody is sent Snapshots: what changes is news.
    sends: bool,
    gpus: BTreeMap<DeviceId, Bounds>,
    own: Own,
    /// When the last Snapshot was made.
    made: Option<Mono>,
    /// Devices that are asked and take longer to answer than they did of late.
    overdue: BTreeSet<DeviceId>,
}

/// Wakes the agent's own loop.
struct Bell(Box<dyn Fn() + Send + Sync>);

impl std::fmt::Debug for Bell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Bell")
    }
}

/// The shared state of one agent.
#[derive(Debug)]
pub struct Board {
    clock: Clock,
    guarded: AtomicBool,
    bell: OnceLock<Bell>,
    news: Notify,
    /// Counts events after which every device shall be looked at.
    around: watch::Sender<u64>,
    inner: Mutex<Inner>,
}

impl Board {
    /// An empty board; the clock's wall time now becomes the `boot` of all Snapshots.
    pub fn new(rack: RackId, clock: Clock) -> Self {
        let latest = Latest::new(rack, clock.wall().get());
        let inner = Inner {
            latest,
            watch: Watch::default(),
            sends: true,
            gpus: BTreeMap::new(),
            own: Own::default(),
            made: None,
            overdue: BTreeSet::new(),
        };
        let (bell, news, around) = (OnceLock::new(), Notify::new(), watch::Sender::default());
        Self { clock, guarded: AtomicBool::new(false), bell, news, around, inner: Mutex::new(inner) }
    }

    /// No Snapshots will be made: what is read is told on request alone.
    pub fn send_nothing(&self) {
        self.lock().sends = false;
    }

    /// What to call when a reading cannot wait for the guard's next period. Only the first call counts.
    pub fn on_alarm(&self, ring: impl Fn() + Send + Sync + 'static) {
        let _ = self.bell.set(Bell(Box::new(ring)));
    }

    /// Returns when a reading cannot wait for the next Snapshot. Safe to drop while waiting: what is owed is owed
    /// until a Snapshot is made.
    pub async fn news(&self) {
        loop {
            let due = self.lock().watch.due(self.clock.now());
            if let Some(wait) = due {
                tokio::time::sleep(wait).await;
                return;
            }
            self.news.notified().await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A thread that panicked while holding it has at worst left one Reading out.
        self.inner.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Whether somebody acts on what is read at once, so that reading faster is worth its cost.
    pub fn guarded(&self) -> bool {
        self.guarded.load(Ordering::Relaxed)
    }

    /// Tells the sources so, and the breaker behind each phase that the guard watches.
    pub fn set_guarded(&self, breaker: Option<Amperes>) {
        self.guarded.store(breaker.is_some(), Ordering::Relaxed);
        self.lock().watch.set_breaker(breaker.map(Amperes::get));
    }

    /// The agent's clock.
    pub fn clock(&self) -> Clock {
        self.clock
    }

    /// Announces signals of a device that were not read yet.
    pub fn declare(&self, device: &DeviceId, signals: impl IntoIterator<Item = Signal>, stale_after: Duration) {
        let (now, at) = (self.clock.now(), self.clock.wall());
        let mut inner = self.lock();
        for signal in signals {
            inner.latest.declare(SignalPath::new(device.clone(), signal), stale_after, now, at);
        }
        inner.own.devices.entry(device.clone()).or_default();
    }

    /// Forgets a device that the config no longer names.
    pub fn retire(&self, device: &DeviceId) {
        let mut inner = self.lock();
        inner.latest.retire(device);
        inner.watch.retire(device);
        inner.gpus.remove(device);
        inner.overdue.remove(device);
        inner.own.devices.remove(device);
        inner.own.trouble.remove(device);
    }

    /// Stores what one poll of a device brought.
    pub fn put(&self, device: &DeviceId, readings: impl IntoIterator<Item = (Signal, Reading)>) {
        let now = self.clock.now();
        let mut urgency = Urgency::default();
        let mut inner = self.lock();
        let mut spoke = false;
        let Inner { latest, watch, sends, .. } = &mut *inner;
        let seen = readings.into_iter().inspect(|(signal, reading)| {
            spoke |= reading.value.is_ok();
            if *sends {
                urgency = urgency.or(watch.see(device, *signal, reading));
            }
        });
        latest.put(device, seen, now);
        if spoke {
            inner.overdue.remove(device);
        }
        drop(inner);
        if urgency.controller {
            self.news.notify_one();
        }
        if urgency.around {
            self.around.send_modify(|events| *events += 1);
        }
        if urgency.guard {
            self.ring();
        }
    }

    fn ring(&self) {
        if let Some(Bell(ring)) = self.bell.get() {
            ring();
        }
    }

    /// Changes when something happened at one device that others may know more of.
    pub fn around(&self) -> watch::Receiver<u64> {
        self.around.subscribe()
    }

    /// A device is asked and takes longer to answer than it did of late.
    pub fn wait_for(&self, device: &DeviceId) {
        self.lock().overdue.insert(device.clone());
        self.ring();
    }

    /// Whether a device was asked in vain since it last spoke.
    pub fn is_overdue(&self, device: &DeviceId) -> bool {
        self.lock().overdue.contains(device)
    }

    /// The inlet of a meter that does not answer is dead: what it carried is no longer believed, and the controller is
    /// told at once.
    pub fn dead(&self, device: &DeviceId) {
        let reading = Reading::none(NoData::Timeout, self.clock.wall());
        let now = self.clock.now();
        let mut inner = self.lock();
        inner.latest.put(device, [(Signal::PduPower, reading)], now);
        inner.watch.owe();
        drop(inner);
        self.news.notify_one();
    }

    /// Notes how a poll of a declared device went.
    pub fn polled(&self, device: &DeviceId, state: DeviceState) {
        if let Some(known) = self.lock().own.devices.get_mut(device) {
            *known = Some(state);
        }
    }

    /// Notes what is wrong with a declared device, or that nothing is any more.
    pub fn trouble(&self, device: &DeviceId, what: Option<&'static str>) {
        let mut inner = self.lock();
        match what.filter(|_| inner.own.devices.contains_key(device)) {
            Some(what) => drop(inner.own.trouble.insert(device.clone(), what)),
            None => drop(inner.own.trouble.remove(device)),
        }
    }

    /// A value with its age, unless it is absent or stale.
    pub fn value(&self, device: &DeviceId, signal: Signal) -> Option<(f64, Duration)> {
        self.lock().latest.value(device, signal, self.clock.now())
    }

    /// Whether somebody reads a signal, with or without a value.
    pub fn reads(&self, device: &DeviceId, signal: Signal) -> bool {
        self.lock().latest.has(device, signal)
    }

    /// Announces a GPU that can be limited.
    pub fn set_bounds(&self, device: &DeviceId, bounds: Bounds) {
        self.lock().gpus.insert(device.clone(), bounds);
    }

    /// The GPUs that can be limited.
    pub fn bounds(&self) -> BTreeMap<DeviceId, Bounds> {
        self.lock().gpus.clone()
    }

    /// Adds a Receipt to the next Snapshot.
    pub fn receipt(&self, receipt: Receipt) {
        self.lock().latest.receipt(receipt);
    }

    /// Makes the next Snapshot.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        let (now, at) = (self.clock.now(), self.clock.wall());
        let mut inner = self.lock();
        let snapshot = Arc::new(inner.latest.snapshot(now, at));
        inner.watch.told(snapshot.readings.iter(), now);
        inner.made = Some(now);
        snapshot
    }

    /// How long ago the last Snapshot was made.
    pub fn snapshot_age(&self) -> Option<Duration> {
        let now = self.clock.now();
        self.lock().made.map(|made| now.since(made))
    }

    /// What is known now, for those who are told on request; Snapshots go to the controller.
    pub fn readings(&self) -> Readings {
        let now = self.clock.now();
        self.lock().latest.readings(now)
    }

    /// Changes the agent's own state.
    pub fn own(&self, change: impl FnOnce(&mut Own)) {
        change(&mut self.lock().own);
    }

    /// A copy of the agent's own state.
    pub fn own_now(&self) -> Own {
        self.lock().own.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn news_that_nobody_waited_for_to_the_end_are_still_news() {
        let board = Board::new(RackId::new("r").unwrap(), Clock::start());
        let pdu = DeviceId::new("pdu-a").unwrap();
        board.declare(&pdu, [Signal::PduPower], Duration::from_secs(5));
        let power = |watts| board.put(&pdu, [(Signal::PduPower, Reading::new(watts, board.clock().wall()))]);
        power(4000.0);
        board.snapshot();
        power(6000.0);
        for _ in 0..3 {
            let waiting = board.news();
            let mut waiting = std::pin::pin!(waiting);
            // Asked once, then dropped, as when something else comes first.
            assert!(once(waiting.as_mut()).is_none());
        }
        board.news().await;
        board.snapshot();
        let mut quiet = std::pin::pin!(board.news());
        assert!(once(quiet.as_mut()).is_none(), "it was told");
    }

    fn once<F: Future>(future: std::pin::Pin<&mut F>) -> Option<F::Output> {
        match future.poll(&mut std::task::Context::from_waker(std::task::Waker::noop())) {
            std::task::Poll::Ready(output) => Some(output),
            std::task::Poll::Pending => None,
        }
    }
}

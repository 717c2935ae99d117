//! The connection to the controller: Snapshots up as Sparkplug births and data, Orders down as
//! node commands, back-fill of what was missed. What the bytes look like is `headroom-wire`'s.

use crate::board::Board;
use crate::config::{Broker, Config};
use crate::control::{Call, Inbox};
use crate::mqtt::{BackOff, Happening, Session};
use crate::store::Store;
use headroom_rack::{SignalPath, Snapshot};
use headroom_wire::{Downlink, Kind, Uplink, WireError, topic};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};

const CLOSE_WITHIN: Duration = Duration::from_millis(800);
/// What is not on disk after this stays lost: the service manager waits only so long.
const DISK_CLOSE_WITHIN: Duration = Duration::from_secs(2);

/// Runs until `stop` turns true; then says goodbye as Sparkplug demands. Another broker in `config`
/// ends the session and begins one there; other devices are announced with a birth.
pub async fn run(
    broker: Broker,
    config: watch::Receiver<Arc<Config>>,
    board: Arc<Board>,
    inbox: Inbox,
    snapshots: mpsc::Receiver<Arc<Snapshot>>,
    store: Store,
    mut stop: watch::Receiver<bool>,
) {
    let mut news = config;
    let config = news.borrow_and_update().clone();
    let client_id = format!("headroom-agent-{}-{}", config.site, config.rack);
    // Counted up from session to session; starting with the clock keeps the will of a killed
    // run from being taken for this run's.
    let bd_seq = (board.clock().wall().get() / 1000) as u8;
    let mut link = Link {
        broker,
        config,
        news,
        board,
        inbox,
        snapshots,
        store,
        connected: false,
        birth_due: true,
        told: false,
        former: BTreeSet::new(),
        made: 0,
    };
    link.until_stopped(&client_id, bd_seq, &mut stop).await;
    if !link.store.close(DISK_CLOSE_WITHIN).await {
        tracing::warn!("the disk of the spool is slow; the last Snapshots may be lost");
    }
}

async fn stopped(stop: &mut watch::Receiver<bool>) {
    // An error means that the agent is gone altogether: that is a stop as well.
    let _ = stop.wait_for(|stop| *stop).await;
}

struct Link {
    broker: Broker,
    config: Arc<Config>,
    news: watch::Receiver<Arc<Config>>,
    board: Arc<Board>,
    inbox: Inbox,
    snapshots: mpsc::Receiver<Arc<Snapshot>>,
    store: Store,
    connected: bool,
    /// The next live Snapshot goes out as a birth: so each Snapshot is sent once, births too.
    birth_due: bool,
    told: bool,
    /// Signals of earlier runs that the spool still holds and the newest Snapshot lacks.
    former: BTreeSet<SignalPath>,
    made: u64,
}

impl Link {
    async fn until_stopped(&mut self, client_id: &str, mut bd_seq: u8, stop: &mut watch::Receiver<bool>) {
        let mut back_off = BackOff::new(client_id);
        loop {
            let mut uplink = Uplink::new(bd_seq);
            let will = (topic::node(&self.config.site, Kind::Death, &self.config.rack), uplink.death());
            let session = Session::open(&self.broker, client_id, Some(will));
            if self.session(session, &mut uplink, stop).await {
                return;
            }
            if std::mem::take(&mut self.connected) {
                back_off.reset();
            }
            self.store.link_lost(self.board.clock().now());
            self.note();
            bd_seq = bd_seq.wrapping_add(1);
            let mut news = self.news.clone();
            tokio::select! {
                () = back_off.wait() => {}
                Ok(()) = news.changed() => {
                    self.follow();
                    back_off.reset();
                }
                () = self.keep_unsent() => {}
                () = stopped(stop) => {
                    self.keep_rest();
                    return;
                }
            }
        }
    }

    /// One MQTT session. True: the agent stops.
    async fn session(&mut self, mut session: Session, uplink: &mut Uplink, stop: &mut watch::Receiver<bool>) -> bool {
        let mut backfill = tokio::time::interval(Duration::from_secs(1) / self.config.spool.replay_per_second);
        backfill.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                Ok(()) = self.news.changed() => {
                    if self.follow() {
                        self.goodbye(session, uplink).await;
                        return false;
                    }
                }
                happening = session.next() => match happening {
                    Happening::Connected => {
                        let commands = topic::node(&self.config.site, Kind::Command, &self.config.rack);
                        session.subscribe(&commands);
                        (self.connected, self.birth_due, self.told) = (true, true, false);
                        tracing::info!(broker = ?self.broker, "connected");
                    }
                    Happening::Message { payload, .. } => self.command(&payload),
                    Happening::Lost(why) => {
                        if !std::mem::replace(&mut self.told, true) {
                            tracing::warn!(broker = ?self.broker, why, "no connection to the broker; trying again");
                        }
                        return false;
                    }
                },
                snapshot = self.snapshots.recv() => match snapshot {
                    Some(snapshot) => self.live(&session, uplink, &snapshot),
                    None => return true,
                },
                // Without the last condition it would wake the machine twenty times a second for nothing.
                _ = backfill.tick(), if self.connected && !self.birth_due && self.store.may_backfill(self.board.clock().now()) => {
                    if let Some(old) = self.store.backfill(self.board.clock().now()) {
                        self.again(&session, uplink, &old);
                    }
                }
                fetched = self.store.settle() => {
                    if let Some(old) = fetched {
                        self.again(&session, uplink, &old);
                    }
                }
                () = stopped(stop) => {
                    while let Ok(snapshot) = self.snapshots.try_recv() {
                        self.live(&session, uplink, &snapshot);
                    }
                    self.goodbye(session, uplink).await;
                    return true;
                }
            }
            self.note();
        }
    }

    /// Takes the newest config. True: the broker is another one.
    fn follow(&mut self) -> bool {
        self.config = self.news.borrow_and_update().clone();
        self.birth_due = true;
        self.told = false;
        // An uplink is not taken away while the agent runs (see `reload`).
        let wanted = self.config.broker.clone().filter(|wanted| *wanted != self.broker);
        wanted.map(|other| self.broker = other).is_some()
    }

    async fn goodbye(&self, session: Session, uplink: &Uplink) {
        if self.connected {
            let death = topic::node(&self.config.site, Kind::Death, &self.config.rack);
            session.publish(&death, uplink.death());
        }
        session.close(CLOSE_WITHIN).await;
    }

    fn live(&mut self, session: &Session, uplink: &mut Uplink, snapshot: &Arc<Snapshot>) {
        let sent = self.connected && self.send(session, uplink, snapshot);
        self.keep(snapshot, sent);
    }

    fn keep(&mut self, snapshot: &Arc<Snapshot>, sent: bool) {
        let (now, wall) = (self.board.clock().now(), self.board.clock().wall());
        self.store.keep(snapshot.clone(), sent.then_some(now), wall);
        self.made = snapshot.seq;
    }

    /// Sends a historical Snapshot.
    fn again(&mut self, session: &Session, uplink: &mut Uplink, old: &Snapshot) {
        if !self.connected || self.birth_due || !self.send(session, uplink, old) {
            self.store.unsent(old);
        }
    }

    fn send(&mut self, session: &Session, uplink: &mut Uplink, snapshot: &Snapshot) -> bool {
        let (kind, bytes) = match uplink.data(snapshot) {
            _ if self.birth_due && !snapshot.historical => (Kind::Birth, uplink.birth_naming(snapshot, &self.former)),
            Ok(bytes) => (Kind::Data, bytes),
            // A signal has appeared since the last birth (GPUs found later).
            Err(WireError::NeedsRebirth(_)) if !snapshot.historical => {
                (Kind::Birth, uplink.birth_naming(snapshot, &self.former))
            }
            // An earlier run read what this one does not (yet): the next birth names that as well.
            Err(WireError::NeedsRebirth(_)) => {
                self.former.extend(snapshot.readings.keys().cloned());
                self.birth_due = true;
                return false;
            }
            Err(error) => {
                tracing::warn!(%error, "a Snapshot cannot be sent");
                return false;
            }
        };
        let sent = session.publish(&topic::node(&self.config.site, kind, &self.config.rack), bytes);
        self.birth_due &= !(sent && kind == Kind::Birth);
        sent
    }

    fn command(&mut self, payload: &[u8]) {
        let now = self.board.clock().now();
        let (downlink, answers) = match Downlink::decode_with_answers(payload) {
            Ok(read) => read,
            Err(error) => {
                tracing::warn!(%error, "a command that cannot be read is dropped");
                return;
            }
        };
        let orders: Vec<_> = downlink.orders().collect();
        let empty = orders.is_empty() && answers.is_empty();
        if !empty && self.inbox.try_send(Call::Plan { orders, answers, arrived: now }).is_err() {
            tracing::warn!("too many Orders at once; the next Plan repeats them");
        }
        self.store.acknowledged(&downlink, now, self.board.clock().wall());
        self.birth_due |= downlink.rebirth;
    }

    /// Between two sessions: Snapshots go on being made.
    async fn keep_unsent(&mut self) {
        loop {
            tokio::select! {
                snapshot = self.snapshots.recv() => match snapshot {
                    Some(snapshot) => self.keep(&snapshot, false),
                    None => return std::future::pending().await,
                },
                fetched = self.store.settle() => {
                    if let Some(old) = fetched {
                        self.store.unsent(&old);
                    }
                }
            }
            self.note();
        }
    }

    /// The last ones, when there is nobody to send them to.
    fn keep_rest(&mut self) {
        while let Ok(snapshot) = self.snapshots.try_recv() {
            self.keep(&snapshot, false);
        }
    }

    fn note(&self) {
        let account = self.store.account();
        self.board.own(|own| {
            own.made = self.made;
            own.spool = account;
            own.link_up = Some(self.connected);
        });
    }
}

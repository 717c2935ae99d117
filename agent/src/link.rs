//! The connection to the controller: Snapshots up as Sparkplug births and data, Orders down as
//! node commands, back-fill of what was missed. What the bytes look like is `headroom-wire`'s.

use crate::board::Board;
use crate::config::Config;
use crate::control::Inbox;
use crate::mqtt::{BackOff, Happening, Session};
use headroom_agent_core::spool::{BACKFILL_PER_SECOND, Spool};
use headroom_rack::Snapshot;
use headroom_wire::{Downlink, Kind, Uplink, WireError, topic};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};

const CLOSE_WITHIN: Duration = Duration::from_millis(800);

/// Runs until `stop` turns true; then says goodbye as Sparkplug demands.
pub async fn run(
    config: Arc<Config>,
    board: Arc<Board>,
    inbox: Inbox,
    snapshots: mpsc::Receiver<Arc<Snapshot>>,
    mut stop: watch::Receiver<bool>,
) {
    let client_id = format!("headroom-agent-{}-{}", config.site, config.rack);
    // Counted up from session to session; starting with the clock keeps the will of a killed
    // run from being taken for this run's.
    let mut bd_seq = (board.clock().wall().get() / 1000) as u8;
    let spool = Spool::new(config.spool_snapshots);
    let mut back_off = BackOff::new(&client_id);
    let mut link = Link { config, board, inbox, snapshots, spool, connected: false, birth_due: true, told: false };
    loop {
        let mut uplink = Uplink::new(bd_seq);
        let will = (topic::node(&link.config.site, Kind::Death, &link.config.rack), uplink.death());
        let session = Session::open(&link.config.broker, &client_id, Some(will));
        if link.session(session, &mut uplink, &mut stop).await {
            return;
        }
        if std::mem::take(&mut link.connected) {
            back_off.reset();
        }
        let now = link.board.clock().now();
        link.spool.link_lost(now);
        link.note();
        bd_seq = bd_seq.wrapping_add(1);
        tokio::select! {
            () = back_off.wait() => {}
            () = link.keep_unsent() => {}
            () = stopped(&mut stop) => return,
        }
    }
}

async fn stopped(stop: &mut watch::Receiver<bool>) {
    // An error means that the agent is gone altogether: that is a stop as well.
    let _ = stop.wait_for(|stop| *stop).await;
}

struct Link {
    config: Arc<Config>,
    board: Arc<Board>,
    inbox: Inbox,
    snapshots: mpsc::Receiver<Arc<Snapshot>>,
    spool: Spool,
    connected: bool,
    /// The next live Snapshot goes out as a birth: so each Snapshot is sent once, births too.
    birth_due: bool,
    told: bool,
}

impl Link {
    /// One MQTT session. True: the agent stops.
    async fn session(&mut self, mut session: Session, uplink: &mut Uplink, stop: &mut watch::Receiver<bool>) -> bool {
        let mut backfill = tokio::time::interval(Duration::from_secs(1) / BACKFILL_PER_SECOND);
        backfill.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                happening = session.next() => match happening {
                    Happening::Connected => {
                        let commands = topic::node(&self.config.site, Kind::Command, &self.config.rack);
                        session.subscribe(&commands);
                        (self.connected, self.birth_due, self.told) = (true, true, false);
                        tracing::info!(broker = ?self.config.broker, "connected");
                    }
                    Happening::Message { payload, .. } => self.command(&payload),
                    Happening::Lost(why) => {
                        if !std::mem::replace(&mut self.told, true) {
                            tracing::warn!(broker = ?self.config.broker, why, "no connection to the broker; trying again");
                        }
                        return false;
                    }
                },
                snapshot = self.snapshots.recv() => match snapshot {
                    Some(snapshot) => self.live(&session, uplink, &snapshot),
                    None => return true,
                },
                _ = backfill.tick(), if self.connected && !self.birth_due => {
                    if let Some(old) = self.spool.backfill(self.board.clock().now()) {
                        self.send(&session, uplink, &old);
                    }
                }
                () = stopped(stop) => {
                    while let Ok(snapshot) = self.snapshots.try_recv() {
                        self.live(&session, uplink, &snapshot);
                    }
                    if self.connected {
                        let death = topic::node(&self.config.site, Kind::Death, &self.config.rack);
                        session.publish(&death, uplink.death());
                    }
                    session.close(CLOSE_WITHIN).await;
                    return true;
                }
            }
            self.note();
        }
    }

    fn live(&mut self, session: &Session, uplink: &mut Uplink, snapshot: &Snapshot) {
        let sent = self.connected && self.send(session, uplink, snapshot);
        let now = self.board.clock().now();
        self.spool.keep(snapshot.clone(), sent.then_some(now));
    }

    fn send(&mut self, session: &Session, uplink: &mut Uplink, snapshot: &Snapshot) -> bool {
        let (kind, bytes) = match uplink.data(snapshot) {
            _ if self.birth_due && !snapshot.historical => (Kind::Birth, uplink.birth(snapshot)),
            Ok(bytes) => (Kind::Data, bytes),
            // A signal has appeared since the last birth (GPUs found later). Old Snapshots never
            // hold one the newest lacks, so only a live one may give birth.
            Err(WireError::NeedsRebirth(_)) if !snapshot.historical => (Kind::Birth, uplink.birth(snapshot)),
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
        let downlink = match Downlink::decode(payload) {
            Ok(downlink) => downlink,
            Err(error) => {
                tracing::warn!(%error, "a command that cannot be read is dropped");
                return;
            }
        };
        for order in downlink.orders() {
            if self.inbox.try_send((order, now)).is_err() {
                tracing::warn!("too many Orders at once; the rest waits for the next Plan");
                break;
            }
        }
        if let Some(stored) = downlink.stored {
            self.spool.stored(stored.boot, stored.seq, now);
        }
        self.birth_due |= downlink.rebirth;
    }

    /// Between two sessions: Snapshots go on being made.
    async fn keep_unsent(&mut self) {
        while let Some(snapshot) = self.snapshots.recv().await {
            self.spool.keep((*snapshot).clone(), None);
            self.note();
        }
        std::future::pending().await
    }

    fn note(&self) {
        self.board.own(|own| {
            own.spooled = self.spool.len();
            own.dropped = self.spool.dropped();
            own.link_up = self.connected;
        });
    }
}

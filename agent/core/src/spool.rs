//! Snapshots the record has not stored yet. Bounded: the oldest is dropped and counted. What was
//! not sent, or was sent and got lost, is sent again as historical, no faster than a rate that
//! leaves the live ones their place. Knows no network and no clock.

use headroom_rack::{Mono, Snapshot};
use std::collections::VecDeque;
use std::time::Duration;

/// Historical Snapshots per second beside the live ones.
pub const BACKFILL_PER_SECOND: u32 = 20;
/// How long the record may take to store a Snapshot before it counts as lost on the way: the
/// record groups its commits by the second and tells with each Order.
const LOST_AFTER: Duration = Duration::from_secs(10);
const MOST_DOUBLINGS: u32 = 4;

#[derive(Debug, Clone)]
struct Kept {
    snapshot: Snapshot,
    sent: Option<Mono>,
    /// How often it was sent again: each time the patience doubles, so that a hole the record
    /// cannot get filled does not keep the line busy.
    again: u32,
}

impl Kept {
    fn is_lost(&self, now: Mono) -> bool {
        self.sent.is_some_and(|sent| now.since(sent) > LOST_AFTER * (1 << self.again.min(MOST_DOUBLINGS)))
    }
}

/// The spool of one run of the agent.
#[derive(Debug, Clone)]
pub struct Spool {
    kept: VecDeque<Kept>,
    capacity: usize,
    dropped: u64,
    next_backfill: Mono,
}

impl Spool {
    /// Holds at most `capacity` Snapshots, at least one.
    pub fn new(capacity: usize) -> Self {
        Self { kept: VecDeque::new(), capacity: capacity.max(1), dropped: 0, next_backfill: Mono::from_ms(0) }
    }

    /// Keeps a Snapshot. `sent`: it is already on its way to the record.
    pub fn keep(&mut self, snapshot: Snapshot, sent: Option<Mono>) {
        if self.kept.len() == self.capacity {
            self.kept.pop_front();
            self.dropped += 1;
        }
        self.kept.push_back(Kept { snapshot, sent, again: 0 });
    }

    /// The record holds everything of run `boot` up to and including `seq`. What was sent long
    /// ago and is still not stored was lost and will be sent again.
    pub fn stored(&mut self, boot: u64, seq: u64, now: Mono) {
        self.kept.retain(|k| k.snapshot.boot != boot || k.snapshot.seq > seq);
        for kept in &mut self.kept {
            if kept.is_lost(now) {
                kept.sent = None;
                kept.again += 1;
            }
        }
    }

    /// The connection broke: what was sent within the last moments may not have arrived.
    pub fn link_lost(&mut self, now: Mono) {
        for kept in &mut self.kept {
            if kept.sent.is_some_and(|sent| now.since(sent) < LOST_AFTER) {
                kept.sent = None;
            }
        }
    }

    /// The next Snapshot to send as historical, when the rate allows one now.
    pub fn backfill(&mut self, now: Mono) -> Option<Snapshot> {
        if now < self.next_backfill {
            return None;
        }
        let kept = self.kept.iter_mut().find(|k| k.sent.is_none())?;
        kept.sent = Some(now);
        self.next_backfill = now.after(Duration::from_secs(1) / BACKFILL_PER_SECOND);
        Some(Snapshot { historical: true, ..kept.snapshot.clone() })
    }

    /// Snapshots not known to be stored.
    pub fn len(&self) -> usize {
        self.kept.len()
    }

    /// Whether everything is stored.
    pub fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    /// Snapshots dropped because the spool was full.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use headroom_rack::{RackId, UnixMs};
    use std::collections::BTreeMap;

    fn snapshot(seq: u64) -> Snapshot {
        Snapshot {
            rack: RackId::new("r").unwrap(),
            boot: 1,
            seq,
            at: UnixMs::new(seq),
            historical: false,
            readings: BTreeMap::new(),
            receipts: vec![],
        }
    }

    #[test]
    fn a_full_spool_drops_the_oldest_and_counts_it() {
        let mut spool = Spool::new(3);
        for seq in 1..=5 {
            spool.keep(snapshot(seq), None);
        }
        assert_eq!((spool.len(), spool.dropped()), (3, 2));
        assert_eq!(spool.backfill(Mono::from_ms(0)).map(|s| s.seq), Some(3));
    }

    #[test]
    fn only_what_the_record_stored_is_forgotten() {
        let mut spool = Spool::new(10);
        for seq in 1..=4 {
            spool.keep(snapshot(seq), Some(Mono::from_ms(0)));
        }
        spool.stored(1, 2, Mono::from_ms(100));
        assert_eq!(spool.len(), 2);
        spool.stored(99, 4, Mono::from_ms(100));
        assert_eq!(spool.len(), 2, "a mark of another run says nothing");
    }

    #[test]
    fn what_went_missing_is_sent_again_as_historical_no_faster_than_the_rate() {
        let mut spool = Spool::new(100);
        for seq in 1..=60 {
            spool.keep(snapshot(seq), None);
        }
        let mut seqs = Vec::new();
        for ms in 0..1000 {
            if let Some(s) = spool.backfill(Mono::from_ms(ms)) {
                assert!(s.historical);
                seqs.push(s.seq);
            }
        }
        assert_eq!(seqs, (1..=u64::from(BACKFILL_PER_SECOND)).collect::<Vec<_>>());
    }

    #[test]
    fn a_snapshot_sent_long_ago_and_not_stored_is_sent_again() {
        let mut spool = Spool::new(10);
        spool.keep(snapshot(1), Some(Mono::from_ms(0)));
        spool.stored(1, 0, Mono::from_ms(9_000));
        assert!(spool.backfill(Mono::from_ms(9_000)).is_none());
        spool.stored(1, 0, Mono::from_ms(10_001));
        assert_eq!(spool.backfill(Mono::from_ms(10_001)).map(|s| s.seq), Some(1));
        spool.stored(1, 0, Mono::from_ms(25_000));
        assert!(spool.backfill(Mono::from_ms(25_000)).is_none(), "the second time it waits twice as long");
        spool.stored(1, 0, Mono::from_ms(30_002));
        assert!(spool.backfill(Mono::from_ms(30_002)).is_some());
    }

    #[test]
    fn a_broken_link_casts_doubt_on_what_was_just_sent() {
        let mut spool = Spool::new(10);
        spool.keep(snapshot(1), Some(Mono::from_ms(500)));
        spool.link_lost(Mono::from_ms(1000));
        assert!(spool.backfill(Mono::from_ms(1000)).is_some());
    }
}

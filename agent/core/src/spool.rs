//! Snapshots that the record does not hold yet: which there are, which is sent next and which make
//! room. Where they lie, in memory or on disk, is the caller's; this is the index. What was not
//! sent, or was sent and got lost, is sent again as historical, no faster than a rate that leaves
//! the live ones their place. Knows no file, no network and no clock.
//!
//! ```text
//!  keep --> in memory --written--> on disk --held, stored--> gone
//!               \---------- thinned, dropped -----------------^
//! ```

use headroom_rack::{Mono, Snapshot, UnixMs};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// How long the record may take to store a Snapshot before it counts as lost on the way: the
/// record groups its commits by the second and tells with each Order. A controller silent for this
/// long gets nothing historical: it would be sent to nobody.
const LOST_AFTER: Duration = Duration::from_secs(10);
const MOST_DOUBLINGS: u32 = 4;
/// Historical Snapshots that may be under way. On a slow network the acknowledgements come late,
/// and this keeps the historical ones from filling the queue that the live ones need.
const UNDER_WAY: usize = 64;

/// What the spool may hold, and how fast it is emptied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Snapshots that lie in memory only.
    pub in_memory: usize,
    /// Bytes of those that lie on disk.
    pub bytes: u64,
    /// Age of the oldest by the wall clock.
    pub age: Duration,
    /// Historical Snapshots per second beside the live ones.
    pub per_second: u32,
}

/// Names a Snapshot of this rack once and for ever. Their order is that of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// The agent's run.
    pub boot: u64,
    /// Its number in that run.
    pub seq: u64,
}

impl Key {
    /// The name of `snapshot`.
    pub fn of(snapshot: &Snapshot) -> Self {
        Self { boot: snapshot.boot, seq: snapshot.seq }
    }
}

/// What to send next.
#[derive(Debug, Clone, PartialEq)]
pub enum Next {
    /// A Snapshot that lies in memory.
    Here(Arc<Snapshot>),
    /// One that has to be read from disk.
    OnDisk(Key),
}

#[derive(Debug, Clone)]
struct Kept {
    at: UnixMs,
    /// None: it lies on disk only.
    here: Option<Arc<Snapshot>>,
    /// Its length on disk, 0 before it is there.
    bytes: u64,
    /// How often it was sent again: each time the patience doubles, so that one the record cannot
    /// take does not keep the line busy.
    again: u32,
    /// Its neighbour made room.
    thinned: bool,
}

#[derive(Debug, Clone, Copy)]
struct UnderWay {
    since: Mono,
    historical: bool,
}

/// The index of all Snapshots kept, of this run of the agent and of earlier ones.
#[derive(Debug, Clone)]
pub struct Spool {
    limits: Limits,
    kept: BTreeMap<Key, Kept>,
    in_memory: BTreeSet<Key>,
    waiting: BTreeSet<Key>,
    under_way: BTreeMap<Key, UnderWay>,
    historical_under_way: usize,
    bytes: u64,
    gone: Vec<Key>,
    dropped: u64,
    thinned: u64,
    heard: Option<Mono>,
    next_backfill: Mono,
}

impl Spool {
    /// An empty one. In memory it holds at least one Snapshot.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            kept: BTreeMap::new(),
            in_memory: BTreeSet::new(),
            waiting: BTreeSet::new(),
            under_way: BTreeMap::new(),
            historical_under_way: 0,
            bytes: 0,
            gone: Vec::new(),
            dropped: 0,
            thinned: 0,
            heard: None,
            next_backfill: Mono::from_ms(0),
        }
    }

    /// Keeps a Snapshot. `sent`: it is already on its way to the record.
    pub fn keep(&mut self, snapshot: Arc<Snapshot>, sent: Option<Mono>) {
        let key = Key::of(&snapshot);
        let kept = Kept { at: snapshot.at, here: Some(snapshot), bytes: 0, again: 0, thinned: false };
        self.kept.insert(key, kept);
        self.in_memory.insert(key);
        match sent {
            Some(since) => {
                self.under_way.insert(key, UnderWay { since, historical: false });
            }
            None => {
                self.waiting.insert(key);
            }
        }
        while self.in_memory.len() > self.limits.in_memory.max(1) {
            let Some(oldest) = self.in_memory.first().copied() else { break };
            self.drop_one(oldest);
        }
    }

    /// An earlier run left this one on disk, `bytes` long.
    pub fn found(&mut self, key: Key, at: UnixMs, bytes: u64) {
        if self.kept.contains_key(&key) {
            return;
        }
        self.kept.insert(key, Kept { at, here: None, bytes, again: 0, thinned: false });
        self.waiting.insert(key);
        self.bytes += bytes;
    }

    /// It lies on disk now, `bytes` long, and needs no place in memory.
    pub fn written(&mut self, key: Key, bytes: u64) {
        let Some(kept) = self.kept.get_mut(&key) else { return };
        self.bytes = self.bytes - kept.bytes + bytes;
        (kept.here, kept.bytes) = (None, bytes);
        self.in_memory.remove(&key);
    }

    /// The record holds `first` to `last` of run `boot`.
    pub fn held(&mut self, boot: u64, first: u64, last: u64) {
        if first > last {
            return;
        }
        let range = Key { boot, seq: first }..=Key { boot, seq: last };
        let keys: Vec<Key> = self.kept.range(range).map(|(key, _)| *key).collect();
        keys.into_iter().for_each(|key| self.forget(key));
    }

    /// As [`Spool::held`], from a controller that only tells how far a run is stored: everything up
    /// to and including `seq`.
    pub fn stored(&mut self, boot: u64, seq: u64) {
        self.held(boot, 0, seq);
    }

    /// The controller is there. What was sent long ago and is still not acknowledged was lost and
    /// will be sent again.
    pub fn heard(&mut self, now: Mono) {
        self.heard = Some(now);
        let lost = |key: &Key, sent: &UnderWay| {
            let again = self.kept.get(key).map_or(0, |kept| kept.again);
            now.since(sent.since) > LOST_AFTER * (1 << again.min(MOST_DOUBLINGS))
        };
        let lost: Vec<Key> = self.under_way.iter().filter(|(key, sent)| lost(key, sent)).map(|(key, _)| *key).collect();
        for key in lost {
            self.unsent(key);
            if let Some(kept) = self.kept.get_mut(&key) {
                kept.again += 1;
            }
        }
    }

    /// The connection broke: what was sent within the last moments may not have arrived.
    pub fn link_lost(&mut self, now: Mono) {
        self.heard = None;
        let doubtful = self.under_way.iter().filter(|(_, sent)| sent.historical || now.since(sent.since) < LOST_AFTER);
        let doubtful: Vec<Key> = doubtful.map(|(key, _)| *key).collect();
        doubtful.into_iter().for_each(|key| self.unsent(key));
    }

    /// It was not sent after all.
    pub fn unsent(&mut self, key: Key) {
        self.landed(key);
        if self.kept.contains_key(&key) {
            self.waiting.insert(key);
        }
    }

    /// It cannot be read from the disk any more.
    pub fn lost(&mut self, key: Key) {
        self.drop_one(key);
    }

    /// Whether there is anything to fill in and somebody who listens.
    pub fn may_backfill(&self, now: Mono) -> bool {
        !self.waiting.is_empty() && self.heard.is_some_and(|at| now.since(at) < LOST_AFTER)
    }

    /// The next Snapshot to send as historical, the oldest first, when the controller listens and
    /// the rate allows one now.
    pub fn backfill(&mut self, now: Mono) -> Option<Next> {
        if now < self.next_backfill || !self.may_backfill(now) || self.historical_under_way >= UNDER_WAY {
            return None;
        }
        let key = self.waiting.pop_first()?;
        let kept = self.kept.get(&key)?;
        self.under_way.insert(key, UnderWay { since: now, historical: true });
        self.historical_under_way += 1;
        self.next_backfill = now.after(Duration::from_secs(1) / self.limits.per_second.max(1));
        Some(match &kept.here {
            Some(snapshot) => Next::Here(snapshot.clone()),
            None => Next::OnDisk(key),
        })
    }

    /// Makes room: what is too old goes; while there are too many bytes, every second Snapshot of
    /// the oldest half goes, and once all of those were thinned, the oldest eighth. `wall` judges
    /// age: no other clock outlives a run.
    pub fn shrink(&mut self, wall: UnixMs) {
        let age = u64::try_from(self.limits.age.as_millis()).unwrap_or(u64::MAX);
        while let Some((key, kept)) = self.kept.first_key_value()
            && wall.get().saturating_sub(kept.at.get()) > age
        {
            self.drop_one(*key);
        }
        while self.bytes > self.limits.bytes && !self.kept.is_empty() {
            let half: Vec<Key> = self.kept.keys().take(self.kept.len().div_ceil(2)).copied().collect();
            let fresh: Vec<Key> =
                half.iter().filter(|key| self.kept.get(key).is_some_and(|k| !k.thinned)).copied().collect();
            if fresh.len() < 2 {
                half.into_iter().take(self.kept.len().div_ceil(8)).for_each(|key| self.drop_one(key));
                continue;
            }
            for pair in fresh.chunks(2) {
                if let Some(kept) = self.kept.get_mut(&pair[0]) {
                    kept.thinned = true;
                }
                if let Some(key) = pair.get(1) {
                    self.forget(*key);
                    self.thinned += 1;
                }
            }
        }
    }

    /// What left the spool since the last call: its place on disk is free.
    pub fn take_gone(&mut self) -> Vec<Key> {
        std::mem::take(&mut self.gone)
    }

    /// Snapshots not known to be stored.
    pub fn len(&self) -> usize {
        self.kept.len()
    }

    /// Whether everything is stored.
    pub fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    /// Of these, those that lie in memory only.
    pub fn in_memory(&self) -> usize {
        self.in_memory.len()
    }

    /// Bytes of those on disk.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Snapshots dropped because there was no room, they were too old or could not be read back.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Snapshots that made room for later ones while their neighbours stayed.
    pub fn thinned(&self) -> u64 {
        self.thinned
    }

    fn drop_one(&mut self, key: Key) {
        if self.kept.contains_key(&key) {
            self.forget(key);
            self.dropped += 1;
        }
    }

    fn landed(&mut self, key: Key) {
        if self.under_way.remove(&key).is_some_and(|sent| sent.historical) {
            self.historical_under_way -= 1;
        }
    }

    fn forget(&mut self, key: Key) {
        let Some(kept) = self.kept.remove(&key) else { return };
        self.bytes -= kept.bytes;
        self.in_memory.remove(&key);
        self.waiting.remove(&key);
        self.landed(key);
        self.gone.push(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use headroom_rack::RackId;

    const LIMITS: Limits = Limits { in_memory: 600, bytes: 1_000_000, age: Duration::from_secs(3600), per_second: 20 };

    fn snapshot(boot: u64, seq: u64) -> Arc<Snapshot> {
        Arc::new(Snapshot {
            rack: RackId::new("r").unwrap(),
            boot,
            seq,
            at: UnixMs::new(1000 * seq),
            historical: false,
            readings: headroom_rack::Readings::new(),
            receipts: vec![],
        })
    }

    fn ms(ms: u64) -> Mono {
        Mono::from_ms(ms)
    }

    fn seq(next: Option<Next>) -> Option<u64> {
        Some(match next? {
            Next::Here(snapshot) => snapshot.seq,
            Next::OnDisk(key) => key.seq,
        })
    }

    /// A spool of which everything lies on disk, 100 bytes each.
    fn on_disk(limits: Limits, boot: u64, seqs: std::ops::RangeInclusive<u64>) -> Spool {
        let mut spool = Spool::new(limits);
        for seq in seqs {
            spool.keep(snapshot(boot, seq), None);
            spool.written(Key { boot, seq }, 100);
        }
        spool
    }

    #[test]
    fn memory_is_bounded_and_the_oldest_drop_is_counted() {
        let mut spool = Spool::new(Limits { in_memory: 3, ..LIMITS });
        for seq in 1..=5 {
            spool.keep(snapshot(1, seq), None);
        }
        assert_eq!((spool.len(), spool.dropped(), spool.in_memory()), (3, 2, 3));
        assert_eq!(spool.take_gone(), [Key { boot: 1, seq: 1 }, Key { boot: 1, seq: 2 }]);
        spool.heard(ms(0));
        assert_eq!(seq(spool.backfill(ms(0))), Some(3));
    }

    #[test]
    fn what_lies_on_disk_takes_no_place_in_memory() {
        let mut spool = on_disk(Limits { in_memory: 3, ..LIMITS }, 1, 1..=50);
        assert_eq!((spool.len(), spool.dropped(), spool.in_memory(), spool.bytes()), (50, 0, 0, 5000));
        spool.heard(ms(0));
        assert_eq!(spool.backfill(ms(0)), Some(Next::OnDisk(Key { boot: 1, seq: 1 })));
    }

    #[test]
    fn only_what_the_record_holds_is_forgotten_whatever_run_it_is_of() {
        let mut spool = on_disk(LIMITS, 1, 1..=4);
        spool.found(Key { boot: 0, seq: 7 }, UnixMs::new(7), 100);
        spool.stored(1, 2);
        assert_eq!(spool.len(), 3);
        spool.stored(99, 4);
        spool.held(1, 4, 4);
        spool.held(1, 9, 3);
        assert_eq!(spool.len(), 2, "marks of other runs and empty ranges say nothing");
        spool.held(0, 7, u64::MAX);
        assert_eq!((spool.len(), spool.bytes()), (1, 100));
        assert_eq!(spool.take_gone().len(), 4);
        assert!(spool.take_gone().is_empty());
    }

    #[test]
    fn what_went_missing_is_sent_again_oldest_run_first_no_faster_than_the_rate() {
        let mut spool = on_disk(LIMITS, 2, 1..=60);
        spool.found(Key { boot: 1, seq: 9 }, UnixMs::new(0), 100);
        spool.heard(ms(0));
        let sent: Vec<u64> = (0..1000).filter_map(|now| seq(spool.backfill(ms(now)))).collect();
        assert_eq!(sent, std::iter::once(9).chain(1..20).collect::<Vec<_>>());
    }

    #[test]
    fn nothing_historical_is_sent_while_no_controller_listens_or_too_much_is_under_way() {
        let mut spool = on_disk(Limits { per_second: 1000, ..LIMITS }, 1, 1..=200);
        assert_eq!(spool.backfill(ms(0)), None);
        spool.heard(ms(0));
        let sent = (0..5000).filter_map(|now| spool.backfill(ms(now))).count();
        assert_eq!(sent, UNDER_WAY);
        spool.held(1, 1, 10);
        assert!(spool.backfill(ms(9_999)).is_some());
        assert_eq!(spool.backfill(ms(10_000)), None, "it has not been heard for too long");
    }

    #[test]
    fn a_snapshot_sent_long_ago_and_not_stored_is_sent_again() {
        let mut spool = Spool::new(LIMITS);
        spool.keep(snapshot(1, 1), Some(ms(0)));
        spool.heard(ms(9_000));
        assert!(spool.backfill(ms(9_000)).is_none());
        spool.heard(ms(10_001));
        assert_eq!(seq(spool.backfill(ms(10_001))), Some(1));
        spool.heard(ms(25_000));
        assert!(spool.backfill(ms(25_000)).is_none(), "the second time it waits twice as long");
        spool.heard(ms(30_002));
        assert!(spool.backfill(ms(30_002)).is_some());
    }

    #[test]
    fn a_broken_link_casts_doubt_on_what_was_just_sent() {
        let mut spool = Spool::new(LIMITS);
        spool.keep(snapshot(1, 1), Some(ms(500)));
        spool.link_lost(ms(1000));
        spool.heard(ms(1000));
        assert!(spool.backfill(ms(1000)).is_some());
    }

    #[test]
    fn too_many_bytes_thin_the_oldest_half_first_and_drop_only_what_was_thinned() {
        let mut spool = on_disk(Limits { bytes: 10_000, ..LIMITS }, 1, 1..=101);
        spool.shrink(UnixMs::new(0));
        assert_eq!((spool.len(), spool.thinned(), spool.dropped()), (76, 25, 0));
        assert!(
            spool.kept.contains_key(&Key { boot: 1, seq: 1 }) && !spool.kept.contains_key(&Key { boot: 1, seq: 2 })
        );
        assert!((52..=101).all(|seq| spool.kept.contains_key(&Key { boot: 1, seq })), "the newer half is untouched");
        for seq in 102..=1000 {
            spool.keep(snapshot(1, seq), None);
            spool.written(Key { boot: 1, seq }, 100);
            spool.shrink(UnixMs::new(0));
            assert!(spool.bytes() <= 10_000);
        }
        assert_eq!(spool.len() as u64 + spool.thinned() + spool.dropped(), 1000);
        assert!(spool.dropped() > 0 && (960..=1000).all(|seq| spool.kept.contains_key(&Key { boot: 1, seq })));
        assert_eq!(spool.take_gone().len() as u64, spool.thinned() + spool.dropped());
    }

    #[test]
    fn what_is_too_old_is_dropped() {
        let mut spool = on_disk(Limits { age: Duration::from_secs(10), ..LIMITS }, 1, 1..=30);
        spool.shrink(UnixMs::new(30_000));
        assert_eq!((spool.len(), spool.dropped()), (11, 19));
    }
}

//! The spool against what disks do: damaged files, a directory that cannot be written, too little
//! room, restarts; and the program whose disk is full.

#[path = "played/controller.rs"]
mod controller;

use controller::{Agent, Host, PATIENCE, broker, downlink, free_port, live};
use headroom_agent::config::{Spool, SpoolDisk};
use headroom_agent::store::Store;
use headroom_rack::{DeviceId, Mono, RackId, Reading, Signal, SignalPath, Snapshot, UnixMs};
use headroom_wire::{Downlink, Held};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

const WALL: UnixMs = UnixMs::new(1_800_000_000_000);

fn snapshot(boot: u64, seq: u64) -> Snapshot {
    let at = UnixMs::new(WALL.get() - 3_600_000 + seq);
    let reading = |i: u32| (SignalPath::new(DeviceId::gpu(i), Signal::GpuPower), Reading::new(f64::from(i), at));
    let rack = RackId::new("rack-1").expect("valid");
    Snapshot { rack, boot, seq, at, historical: false, readings: (0..8).map(reading).collect(), receipts: vec![] }
}

fn wanted(dir: &Path, max_bytes: u64) -> Spool {
    let disk = SpoolDisk { dir: dir.to_owned(), max_bytes, max_age: Duration::from_secs(24 * 3600) };
    Spool { snapshots: 600, replay_per_second: 50, disk: Some(disk) }
}

fn open(dir: &Path, max_bytes: u64) -> Store {
    let rack = RackId::new("rack-1").expect("valid");
    Store::open_for(&rack, &wanted(dir, max_bytes)).expect("a thread")
}

/// Lets the disk tell until `is_so`.
async fn settle(store: &mut Store, is_so: impl Fn(&Store) -> bool) {
    let waiting = async {
        while !is_so(store) {
            assert_eq!(store.settle().await, None, "nothing was asked for");
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.expect("the disk tells in time");
}

/// Keeps these, durable.
async fn kept(store: &mut Store, boot: u64, seqs: std::ops::RangeInclusive<u64>) {
    for seq in seqs {
        store.keep(Arc::new(snapshot(boot, seq)), None, WALL);
    }
    settle(store, |store| store.account().in_memory == 0).await;
}

fn ack(held: Vec<Held>) -> Downlink {
    Downlink { held: Some(held), ..downlink(vec![]) }
}

/// Everything the spool gives back, acknowledged as it comes.
async fn replayed(store: &mut Store) -> BTreeMap<(u64, u64), Snapshot> {
    let mut all = BTreeMap::new();
    let mut now = 0;
    while store.account().snapshots > 0 {
        now += 20;
        store.acknowledged(&ack(vec![]), Mono::from_ms(now), WALL);
        let came = match store.backfill(Mono::from_ms(now)) {
            Some(here) => Some(here),
            None => tokio::time::timeout(PATIENCE, store.settle()).await.expect("the disk answers"),
        };
        if let Some(s) = came {
            assert!(s.historical);
            let held = Held { boot: s.boot, first: s.seq, last: s.seq };
            let key = (s.boot, s.seq);
            assert!(all.insert(key, Snapshot { historical: false, ..s }).is_none(), "{key:?} came twice");
            store.acknowledged(&ack(vec![held]), Mono::from_ms(now), WALL);
        }
    }
    all
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = std::fs::read_dir(dir.join("rack-1")).expect("made").flatten().map(|f| f.path()).collect();
    files.retain(|path| path.extension().is_some_and(|e| e == "hspool"));
    files.sort();
    files
}

fn bytes(dir: &Path) -> u64 {
    files(dir).iter().map(|f| f.metadata().map_or(0, |m| m.len())).sum()
}

#[tokio::test]
async fn what_is_not_acknowledged_is_there_after_each_restart_and_what_is_does_not_come_again() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut store = open(dir.path(), 1 << 20);
    kept(&mut store, 1, 1..=40).await;
    assert!(store.close(PATIENCE).await);

    let mut store = open(dir.path(), 1 << 20);
    settle(&mut store, |store| store.account().snapshots == 40).await;
    store.acknowledged(&ack(vec![Held { boot: 1, first: 2, last: 39 }]), Mono::from_ms(0), WALL);
    kept(&mut store, 2, 1..=5).await;
    assert!(store.close(PATIENCE).await);

    let mut store = open(dir.path(), 1 << 20);
    settle(&mut store, |store| store.account().snapshots == 7).await;
    let all = replayed(&mut store).await;
    let expected = [(1, 1), (1, 40), (2, 1), (2, 2), (2, 3), (2, 4), (2, 5)];
    assert_eq!(all.keys().copied().collect::<Vec<_>>(), expected);
    assert!(all.iter().all(|((boot, seq), s)| *s == snapshot(*boot, *seq)), "altered on the way");
    assert_eq!(store.account().dropped, 0);
}

#[tokio::test]
async fn a_torn_or_altered_tail_costs_the_damaged_snapshots_only() {
    type Damage = fn(&mut Vec<u8>, usize);
    let damages: [(Damage, u64); 4] = [
        (|bytes, frame| bytes.truncate(bytes.len() - frame / 2), 29),
        (|bytes, frame| *bytes.iter_mut().nth_back(frame / 2).expect("longer") ^= 0x10, 29),
        (|bytes, _| bytes.extend([0xff; 700]), 30),
        (|bytes, frame| bytes[frame * 3 + frame / 2] ^= 0x10, 29),
    ];
    for (at, (damage, left)) in damages.into_iter().enumerate() {
        let dir = tempfile::tempdir().expect("a folder");
        let mut store = open(dir.path(), 1 << 20);
        kept(&mut store, 1, 1..=30).await;
        assert!(store.close(PATIENCE).await);
        let file = files(dir.path()).pop().expect("a segment");
        let mut bytes = std::fs::read(&file).expect("readable");
        let frame = bytes.len() / 30;
        damage(&mut bytes, frame);
        std::fs::write(&file, bytes).expect("writable");

        let mut store = open(dir.path(), 1 << 20);
        settle(&mut store, |store| store.account().snapshots as u64 == left).await;
        kept(&mut store, 2, 1..=3).await;
        let all = replayed(&mut store).await;
        assert_eq!(all.len() as u64, left + 3, "damage {at}");
        assert!(all.iter().all(|((boot, seq), s)| *s == snapshot(*boot, *seq)));
    }
}

#[tokio::test]
async fn a_snapshot_that_can_no_longer_be_read_is_counted_and_holds_up_no_other() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut store = open(dir.path(), 1 << 20);
    kept(&mut store, 1, 1..=10).await;
    let file = files(dir.path()).pop().expect("a segment");
    let mut bytes = std::fs::read(&file).expect("readable");
    let in_the_fourth = bytes.len() * 7 / 20;
    bytes[in_the_fourth] ^= 1;
    std::fs::write(&file, bytes).expect("writable");
    assert_eq!(replayed(&mut store).await.len(), 9);
    assert_eq!(store.account().dropped, 1);
}

#[tokio::test]
async fn while_the_disk_refuses_memory_goes_on_and_later_all_of_it_is_written() {
    let dir = tempfile::tempdir().expect("a folder");
    let in_the_way = dir.path().join("spool");
    std::fs::write(&in_the_way, "not a directory").expect("a file");
    let mut store = open(&in_the_way, 1 << 20);
    let until = Instant::now() + PATIENCE;
    for seq in 1..=20 {
        store.keep(Arc::new(snapshot(1, seq)), None, WALL);
    }
    while store.account().failures < 2 {
        assert!(Instant::now() < until, "no failure is counted");
        tokio::task::yield_now().await;
    }
    assert_eq!((store.account().snapshots, store.account().in_memory), (20, 20));
    std::fs::remove_file(&in_the_way).expect("removed");
    settle(&mut store, |store| store.account().in_memory == 0).await;
    assert!(store.close(PATIENCE).await);
    let mut store = open(&in_the_way, 1 << 20);
    settle(&mut store, |store| store.account().snapshots == 20).await;
}

#[tokio::test]
async fn two_agents_never_write_one_spool() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut first = open(dir.path(), 1 << 20);
    kept(&mut first, 1, 1..=1).await;
    let second = open(dir.path(), 1 << 20);
    let until = Instant::now() + PATIENCE;
    while second.account().failures == 0 {
        assert!(Instant::now() < until, "the second one is not refused");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn little_room_thins_the_oldest_keeps_the_newest_and_stays_within_its_bytes() {
    const MAX: u64 = 1 << 16;
    let dir = tempfile::tempdir().expect("a folder");
    let mut store = open(dir.path(), MAX);
    for first in (1..=2000).step_by(20) {
        kept(&mut store, 1, first..=first + 19).await;
        assert!(bytes(dir.path()) <= MAX * 2, "{} bytes after {first}", bytes(dir.path()));
    }
    let account = store.account();
    assert_eq!(account.snapshots as u64 + account.thinned + account.dropped, 2000);
    assert!(account.thinned > 0 && account.dropped > 0 && account.bytes <= MAX, "{account:?}");
    assert!(store.close(PATIENCE).await);

    let mut store = open(dir.path(), MAX);
    settle(&mut store, |store| store.account().snapshots > 0).await;
    assert_eq!(store.account().snapshots, account.snapshots, "what made room does not come back");
    let all = replayed(&mut store).await;
    assert!((1981..=2000).all(|seq| all.contains_key(&(1, seq))), "the newest are all there");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_delays_no_live_snapshot_is_said_once_and_heals() {
    let address = free_port();
    broker(address).await;
    let mut host = Host::start(address).await;
    let pdu = free_port();
    let more = format!(
        "[nvml]\nenabled=false\n[spool]\ndir='spool'\n[[modbus]]\ndevice='pdu-a'\nprofile='eastron-sdm630'\naddress='{pdu}'\n"
    );
    // A file may not grow beyond some Snapshots: the write fails as on a full disk, the process lives.
    let agent = Agent::start_by("trap '' XFSZ; ulimit -S -f 8; exec \"$@\"", address, &more);
    let log = || std::fs::read_to_string(agent.dir.path().join("log")).expect("a log");
    let failures = || agent.metric("headroom_agent_spool_failures_total").unwrap_or(0.0);
    let mut last: Option<Snapshot> = None;
    let until = Instant::now() + PATIENCE * 2;
    while failures() < 3.0 {
        assert!(Instant::now() < until, "nothing fails: {}", log());
        let now = host.until(live).await;
        if let Some(last) = &last {
            assert_eq!(now.seq, last.seq + 1, "a live Snapshot is missing");
            assert!(now.at.get() - last.at.get() < 2000, "a live Snapshot came late");
        }
        last = Some(now);
    }
    let memory = || agent.metric("headroom_agent_spool_memory_snapshots");
    assert!(memory().is_some_and(|n| n >= 2.0), "they stay in memory");
    assert_eq!(log().matches("the spool cannot be written").count(), 1, "{}", log());
    let pid = agent.id().to_string();
    let lifted = Command::new("prlimit").args(["--pid", &pid, "--fsize=unlimited:"]).status();
    assert!(lifted.is_ok_and(|s| s.success()), "prlimit");
    while memory().is_none_or(|n| n > 1.0) {
        assert!(Instant::now() < until + PATIENCE, "it does not heal: {}", log());
        host.next().await;
    }
    assert!(log().contains("the spool is written again"));
    assert_eq!(agent.terminate(), Some(0));
}

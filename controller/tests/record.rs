//! The record against what disks and processes do: kill -9 while writing, torn tails, damaged
//! frames, the same Snapshot twice, more data than there is room for.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers too")]

use headroom_controller::clock::Clock;
use headroom_controller::record::{End, Options, Record, RecordError, list, walk};
use headroom_rack::record::Entry;
use headroom_rack::{DeviceId, Generation, Mode, Plan, RackId, Reading, Signal, SignalPath, Snapshot, UnixMs};
use headroom_wire::{Held, Stored};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const CHILD_DIR: &str = "HEADROOM_TEST_RECORD_DIR";

fn rack() -> RackId {
    RackId::new("rack-1").unwrap()
}

fn snapshot(boot: u64, seq: u64) -> Snapshot {
    let at = UnixMs::new(1_700_000_000_000 + 1000 * seq);
    let reading = |i| (SignalPath::new(DeviceId::gpu(i), Signal::GpuPower), Reading::new(300.0 + f64::from(i), at));
    Snapshot {
        rack: rack(),
        boot,
        seq,
        at,
        historical: false,
        readings: (0..8).map(reading).collect(),
        receipts: vec![],
    }
}

fn plan(epoch: u64, counter: u64) -> Plan {
    let generation = Generation { epoch, counter };
    Plan { generation, at: UnixMs::new(0), mode: Mode::Automatic, caps: vec![], nodes: vec![] }
}

fn options(dir: &Path) -> Options {
    Options { sync_every: Duration::from_millis(20), ..Options::new(dir) }
}

fn entries(dir: &Path) -> Vec<Entry> {
    let mut found = Vec::new();
    for segment in list(dir).unwrap() {
        walk(&segment.path, |entry| found.push(entry)).unwrap();
    }
    found
}

fn until(what: &str, condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < Duration::from_secs(30), "waited in vain for: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
#[ignore = "the child of what_was_reported_stored_survives_kill_9, which runs it"]
fn child_that_writes_until_it_is_killed() {
    let dir = std::env::var_os(CHILD_DIR).expect("started by its parent");
    let (record, _) = Record::open(options(Path::new(&dir)), Clock::start()).unwrap();
    let mut reported = 0;
    for seq in 1.. {
        record.append(Entry::Snapshot(snapshot(1, seq)));
        record.append(Entry::Plan(plan(7, seq)));
        if let Some(stored) = record.stored().get(&rack())
            && stored.seq > reported
        {
            reported = stored.seq;
            println!("stored {reported}");
            std::io::stdout().flush().unwrap();
        }
        std::thread::sleep(Duration::from_micros(200));
    }
}

#[test]
fn what_was_reported_stored_survives_kill_9() {
    let dir = tempfile::tempdir().unwrap();
    let mut before = 0;
    for round in 0..3 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "--ignored", "--nocapture", "child_that_writes_until_it_is_killed"])
            .env(CHILD_DIR, dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut reported = 0;
        let mut marks = 0;
        for line in BufReader::new(child.stdout.take().unwrap()).lines() {
            if let Some((_, mark)) = line.unwrap().rsplit_once("stored ") {
                reported = mark.trim().parse().unwrap();
                marks += u32::from(reported > before);
                if marks == 4 {
                    child.kill().unwrap();
                }
            }
        }
        child.wait().unwrap();
        assert!(reported > before, "round {round}: the child reported {reported}, the one before {before}");
        before = reported;

        let mut seqs = Vec::new();
        for entry in entries(dir.path()) {
            if let Entry::Snapshot(s) = entry {
                assert_eq!(s, snapshot(1, s.seq), "a stored Snapshot was altered");
                seqs.push(s.seq);
            }
        }
        assert!(seqs.len() as u64 >= reported, "{reported} were reported stored, {} are there", seqs.len());
        let expected: Vec<u64> = (1..=seqs.len() as u64).collect();
        assert_eq!(seqs, expected, "each exactly once and in order, whatever the child sent again");
    }
    let (record, recovery) = Record::open(options(dir.path()), Clock::start()).unwrap();
    let last = recovery.last_plan.unwrap().generation;
    assert!(last.epoch == 7 && last.counter >= before - 1, "{last}");
    assert!(record.stored()[&rack()].seq >= before);
}

#[test]
fn a_torn_tail_is_cut_and_writing_goes_on_after_it() {
    let dir = tempfile::tempdir().unwrap();
    let (record, _) = Record::open(options(dir.path()), Clock::start()).unwrap();
    for seq in 1..=10 {
        record.append(Entry::Snapshot(snapshot(1, seq)));
    }
    assert_eq!(record.close().snapshots, 10);
    let segment = list(dir.path()).unwrap().pop().unwrap();
    let file = std::fs::OpenOptions::new().write(true).open(&segment.path).unwrap();
    file.set_len(segment.bytes - 5).unwrap();

    let (record, recovery) = Record::open(options(dir.path()), Clock::start()).unwrap();
    assert!(recovery.torn_bytes > 0);
    assert_eq!(recovery.damaged.len(), 1, "{:?}", recovery.damaged);
    assert_eq!(record.stored()[&rack()], Stored { boot: 1, seq: 9 });
    record.append(Entry::Snapshot(snapshot(1, 10)));
    record.append(Entry::Snapshot(snapshot(1, 11)));
    record.close();
    let expected: Vec<Entry> = (1..=11).map(|seq| Entry::Snapshot(snapshot(1, seq))).collect();
    assert_eq!(entries(dir.path()), expected);
}

#[test]
fn a_damaged_frame_costs_the_rest_of_its_segment_and_is_never_written_after() {
    let dir = tempfile::tempdir().unwrap();
    let (record, _) = Record::open(options(dir.path()), Clock::start()).unwrap();
    for seq in 1..=10 {
        record.append(Entry::Snapshot(snapshot(1, seq)));
    }
    record.close();
    let segment = list(dir.path()).unwrap().pop().unwrap();
    let mut bytes = std::fs::read(&segment.path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x10;
    std::fs::write(&segment.path, &bytes).unwrap();

    let (record, recovery) = Record::open(options(dir.path()), Clock::start()).unwrap();
    assert_eq!(recovery.torn_bytes, 0);
    assert!(recovery.damaged[0].contains("00000001.hrec"), "{:?}", recovery.damaged);
    record.append(Entry::Snapshot(snapshot(1, 11)));
    record.close();
    let segments = list(dir.path()).unwrap();
    assert_eq!(segments.len(), 2);
    assert_eq!(segments[0].bytes as usize, bytes.len(), "the damaged segment is kept as it was");
    assert_eq!(walk(&segments[1].path, |_| {}).unwrap(), End::Clean);
    assert!(entries(dir.path()).contains(&Entry::Snapshot(snapshot(1, 11))));
}

#[test]
fn the_same_snapshot_is_stored_once_across_restarts_and_back_fill() {
    let dir = tempfile::tempdir().unwrap();
    for _ in 0..3 {
        let (record, _) = Record::open(options(dir.path()), Clock::start()).unwrap();
        for seq in [1, 2, 3, 2, 1] {
            record.append(Entry::Snapshot(snapshot(5, seq)));
            record.append(Entry::Snapshot(Snapshot { historical: true, ..snapshot(5, seq) }));
        }
        record.close();
    }
    assert_eq!(entries(dir.path()).len(), 3);
}

#[test]
fn the_oldest_segment_makes_room() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { segment_bytes: 4_000, max_bytes: 20_000, ..options(dir.path()) };
    let (record, _) = Record::open(options, Clock::start()).unwrap();
    for seq in 1..=400 {
        record.append(Entry::Snapshot(snapshot(1, seq)));
        if seq % 10 == 0 {
            until("the group to be durable", || record.stats().snapshots >= seq);
        }
    }
    let stats = record.close();
    assert_eq!((stats.snapshots, stats.points, stats.dropped), (400, 3200, 0));
    let segments = list(dir.path()).unwrap();
    assert!(segments[0].number > 1);
    let total: u64 = segments.iter().map(|s| s.bytes).sum();
    assert!(total <= 24_000 && total == stats.bytes, "{total} of {}", stats.bytes);
    assert_eq!(entries(dir.path()).pop(), Some(Entry::Snapshot(snapshot(1, 400))));
}

#[test]
fn two_controllers_cannot_write_one_record() {
    let dir = tempfile::tempdir().unwrap();
    let (_record, _) = Record::open(options(dir.path()), Clock::start()).unwrap();
    let second = Record::open(options(dir.path()), Clock::start());
    assert!(matches!(second, Err(RecordError::InUse { .. })));
}

#[test]
fn each_snapshot_is_acknowledged_once_durable_and_again_when_it_comes_again() {
    let dir = tempfile::tempdir().unwrap();
    let (record, _) = Record::open(options(dir.path()), Clock::start()).unwrap();
    for (boot, seq) in [(8, 1), (8, 2), (7, 40), (7, 41), (8, 3), (7, 44)] {
        record.append(Entry::Snapshot(snapshot(boot, seq)));
    }
    until("the group to be durable", || record.stats().snapshots == 6);
    let held = |boot, first, last| Held { boot, first, last };
    let taken = std::cell::RefCell::new(record.take_held(&rack()));
    let all = || taken.borrow_mut().extend(record.take_held(&rack()));
    until("every acknowledgement", || {
        all();
        taken.borrow().iter().map(|h| h.last - h.first + 1).sum::<u64>() == 6
    });
    assert!(taken.borrow().contains(&held(7, 44, 44)), "{taken:?}");
    assert_eq!(record.take_held(&rack()), []);
    record.append(Entry::Snapshot(snapshot(7, 41)));
    until("the one that came again", || record.stats().duplicates == 1);
    assert_eq!(record.take_held(&rack()), [held(7, 41, 41)]);
    record.close();

    let (record, _) = Record::open(options(dir.path()), Clock::start()).unwrap();
    record.append(Entry::Snapshot(snapshot(7, 40)));
    until("an old run after a restart", || record.take_held(&rack()) == [held(7, 40, 40)]);
    assert_eq!(record.close().snapshots, 0);
}

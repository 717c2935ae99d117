//! What the agents saw during an outage is in the controller's record afterwards: every Snapshot,
//! once, with its own time, also those of agents killed meanwhile.

use headroom_agent::config::{Spool, SpoolDisk};
use headroom_agent::store::Store;
use headroom_controller::clock::Clock;
use headroom_controller::record::{Options, Record, list, walk};
use headroom_rack::record::{self, Entry};
use headroom_rack::{DeviceId, Generation, Mono, NoData, RackId, Reading, Signal, SignalPath, Snapshot, UnixMs};
use headroom_tests::parts::{PATIENCE, until};
use headroom_tests::row::Row;
use headroom_wire::{Downlink, Uplink, UplinkDecoder, Uplinked};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

type Key = (RackId, u64, u64);

/// What is seen while nobody takes it.
const READINGS: usize = 100_000;
const MADE: &str = "headroom_agent_snapshots_total";
const IN_MEMORY: &str = "headroom_agent_spool_memory_snapshots";
const SPOOLED: &str = "headroom_agent_spool_snapshots";
const DROPPED: &str = "headroom_agent_spool_dropped_total";

/// Every Snapshot of the record, each as often as it is there.
fn recorded(dir: &Path) -> BTreeMap<Key, Vec<Snapshot>> {
    let mut all: BTreeMap<Key, Vec<Snapshot>> = BTreeMap::new();
    for segment in list(dir).expect("a record") {
        walk(&segment.path, |entry| {
            if let Entry::Snapshot(s) = entry {
                all.entry((s.rack.clone(), s.boot, s.seq)).or_default().push(s);
            }
        })
        .expect("a readable segment");
    }
    all
}

/// What a killed agent left in its files, frame by frame.
fn left_by_the_killed(spool: &Path) -> Vec<Snapshot> {
    let mut left = Vec::new();
    let files = std::fs::read_dir(spool).expect("a spool").flatten().map(|f| f.path());
    for file in files.filter(|path| path.extension().is_some_and(|e| e == "hspool")) {
        let bytes = std::fs::read(&file).expect("readable");
        let mut rest = &bytes[..];
        while let Ok((entry, length)) = record::decode(rest) {
            if let Entry::Snapshot(s) = entry {
                left.push(s);
            }
            rest = &rest[length..];
        }
    }
    left
}

fn same(one: &Snapshot, other: &Snapshot) -> bool {
    Snapshot { historical: false, ..one.clone() } == Snapshot { historical: false, ..other.clone() }
}

fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    u64::try_from(since.as_millis()).expect("before the end of time")
}

#[test]
fn an_outage_of_broker_and_controller_with_an_agent_killed_twice_loses_nothing() {
    let spool = |dir: &Path| format!("[spool]\ndir = \"{}\"\nreplay_per_second = 50\n", dir.join("spool").display());
    let mut row = Row::start_with(spool);
    let racks: Vec<String> = row.plant.racks.iter().map(|r| r.id.clone()).collect();
    until("the first Snapshots in the record", || {
        let firsts = recorded(&row.record).into_keys().filter(|(_, _, seq)| *seq == 3).count();
        (firsts == racks.len()).then_some(())
    });
    row.stop("broker");
    row.kill("controller");
    let outage_began = unix_ms();
    let (mut left, mut runs) = (Vec::new(), Vec::new());
    for kill in 0..2 {
        let made = until("five more Snapshots on disk", || {
            let [made, in_memory, spooled] = row.numbers("rack-1", [MADE, IN_MEMORY, SPOOLED])?;
            (made >= 5.0 && spooled >= 5.0 * f64::from(kill + 1) && in_memory == 0.0).then_some(made)
        });
        row.kill("rack-1");
        let files = left_by_the_killed(&row.plant.dir().join("spool/rack-1"));
        let boot = files.iter().map(|s| s.boot).max().expect("it left some");
        runs.push((boot, made));
        left.extend(files);
        row.begin("rack-1");
    }
    // Long enough for a hundred thousand Readings, every rack's share of them. A quarter more: the others read
    // no UPS, and the first Snapshots that are spooled are older than the outage.
    let share = (READINGS * 5 / 4 / racks.len()).div_ceil(left[0].readings.len()) as f64;
    for rack in &racks {
        let mut spooled = 0.0;
        while spooled < share {
            let more = (spooled + 10.0).min(share);
            spooled =
                until("more of the outage", || row.numbers(rack, [SPOOLED]).filter(|[n]| *n >= more).map(|[n]| n));
        }
    }
    let outage_ended = unix_ms();
    row.begin("broker");
    row.begin("controller");
    for rack in &racks {
        until(&format!("{rack} to hand over everything: {}", row.logs()), || {
            row.numbers(rack, [SPOOLED]).filter(|[n]| *n <= 4.0)
        });
        assert_eq!(row.numbers(rack, [DROPPED]), Some([0.0]), "{rack}");
    }
    until("what the killed agent left", || {
        let all = recorded(&row.record);
        left.iter().all(|s| all.contains_key(&(s.rack.clone(), s.boot, s.seq))).then_some(())
    });
    let logs = row.logs();
    let (clean, _, _) = row.end();
    assert!(clean, "{logs}");

    let all = recorded(&row.record);
    let mut by_run: BTreeMap<(RackId, u64), Vec<&Snapshot>> = BTreeMap::new();
    for ((rack, boot, seq), copies) in &all {
        assert_eq!(copies.len(), 1, "{rack} {boot} {seq} is there {} times", copies.len());
        by_run.entry((rack.clone(), *boot)).or_default().push(&copies[0]);
    }
    assert_eq!(by_run.len(), racks.len() + 2, "one run of each agent and two more of the killed one");
    for ((rack, boot), snapshots) in &by_run {
        let seqs: Vec<u64> = snapshots.iter().map(|s| s.seq).collect();
        assert_eq!(seqs, (1..=seqs.len() as u64).collect::<Vec<_>>(), "{rack} {boot} has a hole\n{logs}");
        assert!(snapshots.windows(2).all(|w| w[0].at < w[1].at && w[0].at.get() >= *boot), "{rack} {boot}: times");
    }
    let killed = RackId::new("rack-1").expect("valid");
    for (boot, made) in runs {
        assert!(by_run[&(killed.clone(), boot)].len() as f64 >= made, "{made} were made in run {boot}");
    }
    for s in &left {
        let stored = &all[&(s.rack.clone(), s.boot, s.seq)][0];
        assert!(same(s, stored), "altered: {s:?}\n{stored:?}");
    }
    let in_outage = |s: &Snapshot| (outage_began..outage_ended).contains(&s.at.get());
    let readings: usize = all.values().filter(|s| in_outage(&s[0])).map(|s| s[0].readings.len()).sum();
    assert!(readings >= READINGS, "the outage had only {readings} Readings");
    for rack in &racks {
        let of_outage = all.iter().filter(|((r, _, _), s)| r.as_str() == rack && in_outage(&s[0]) && s[0].historical);
        let with_values = of_outage.filter(|(_, s)| s[0].readings.values().any(|r| r.ok().is_some()));
        let count = with_values.count() as u64;
        assert!(count >= 8, "{rack}: {count} Snapshots of an outage of {} ms", outage_ended - outage_began);
    }
}

const PER_RUN: u64 = 1250;
const SIGNALS: u32 = 40;

fn made(boot: u64, seq: u64) -> Snapshot {
    let at = UnixMs::new(1_800_000_000_000 + boot * 10_000_000 + seq * 1000);
    let reading = |i: u32| {
        let path = SignalPath::new(DeviceId::gpu(i), Signal::GpuPower);
        let value = seq as f64 / 10.0 + f64::from(i);
        (path, if i == 39 { Reading::none(NoData::Timeout, at) } else { Reading::new(value, at) })
    };
    let rack = RackId::new("rack-1").expect("valid");
    Snapshot { rack, boot, seq, at, historical: false, readings: (0..SIGNALS).map(reading).collect(), receipts: vec![] }
}

fn open(dir: &Path) -> Store {
    let disk = SpoolDisk { dir: dir.to_owned(), max_bytes: 64 << 20, max_age: Duration::from_secs(24 * 3600) };
    let wanted = Spool { snapshots: 4000, replay_per_second: 50, disk: Some(disk) };
    Store::open_for(&RackId::new("rack-1").expect("valid"), &wanted).expect("a thread")
}

/// The agent's spool, the bytes on the wire and the controller's record, on a line that loses one
/// message in twenty up and one in five down. Its clock runs as fast as the machine.
#[tokio::test]
async fn a_hundred_thousand_readings_of_an_outage_arrive_exactly_once_over_a_lossy_line() {
    let dir = tempfile::tempdir().expect("a folder");
    let spool = dir.path().join("spool");
    let wall = made(3, 1).at;
    for boot in [1, 2] {
        let mut store = open(&spool);
        for seq in 1..=PER_RUN {
            store.keep(Arc::new(made(boot, seq)), None, wall);
        }
        let on_disk = async {
            while store.account().in_memory > 0 || store.account().snapshots < (boot * PER_RUN) as usize {
                store.settle().await;
            }
        };
        tokio::time::timeout(PATIENCE, on_disk).await.expect("the disk keeps up");
        // No goodbye: what it says is durable must be.
        drop(store);
    }
    let mut store = open(&spool);
    let options = Options { sync_every: Duration::from_millis(10), ..Options::new(dir.path().join("record")) };
    let (record, _) = Record::open(options, Clock::start()).expect("a record");
    let rack = RackId::new("rack-1").expect("valid");
    let (mut uplink, mut decoder) = (Uplink::new(0), UplinkDecoder::new(rack.clone()));
    decoder.birth(&uplink.birth(&made(3, 1))).expect("decodes");
    let mut chance: u64 = 7;
    let mut lost = |one_in: u64| {
        chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (chance >> 33).is_multiple_of(one_in)
    };
    let (mut now, mut found, mut up, mut idle) = (0, false, 0, 0);
    let began = std::time::Instant::now();
    while !found || store.account().snapshots > 0 {
        assert!(began.elapsed() < PATIENCE, "{:?} after {up} messages", store.account());
        found |= store.account().snapshots as u64 == 2 * PER_RUN;
        let held = Some(record.take_held(&rack)).filter(|_| !lost(5));
        let generation = Generation::default();
        let downlink = Downlink { generation, lease_ms: 0, stored: None, held, orders: vec![], rebirth: false };
        store.acknowledged(&downlink, Mono::from_ms(now), wall);
        let next = match store.backfill(Mono::from_ms(now)) {
            Some(here) => Some(here),
            None => tokio::time::timeout(Duration::from_millis(2), store.settle()).await.ok().flatten(),
        };
        let Some(snapshot) = next else {
            // Nothing to do but to wait for the record: the spool's patience runs meanwhile.
            (now, idle) = (now + 50, idle + 1);
            continue;
        };
        (now, up) = (now + 20, up + 1);
        let frame = uplink.data(&snapshot).expect("named by the birth");
        if !lost(20) {
            let Ok(Uplinked::Data { snapshot, .. }) = decoder.data(&frame) else { panic!("it does not decode") };
            record.append(Entry::Snapshot(snapshot));
        }
    }
    assert_eq!((store.account().dropped, store.account().thinned), (0, 0));
    assert!(up > 2 * PER_RUN, "nothing was sent twice in {up}: the line lost nothing");
    record.close();
    let all = recorded(&dir.path().join("record"));
    let expected: Vec<Key> =
        [1, 2].iter().flat_map(|boot| (1..=PER_RUN).map(|seq| (rack.clone(), *boot, seq))).collect();
    assert!(all.keys().eq(expected.iter()), "{} of {} are there", all.len(), expected.len());
    let readings: usize = all.values().map(|copies| copies[0].readings.len()).sum();
    assert_eq!(readings, 100_000);
    for ((_, boot, seq), copies) in &all {
        assert!(copies.len() == 1 && same(&copies[0], &made(*boot, *seq)), "{boot} {seq}");
    }
}

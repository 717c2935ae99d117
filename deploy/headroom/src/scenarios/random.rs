//! Random cases: rows of one to six racks, workloads as in training traces, breakers that carry the
//! floors on one feed but not the nameplate on two, and up to three things that go wrong at once.

use crate::harness::{Case, Event, EventKind, FLOOR_WATTS};
use headroom_sim::fault::{Fault, Kind};
use headroom_sim::plant::chance::Chance;
use headroom_sim::plant::spec::PlantSpec;
use headroom_sim::scenario::{Scenario, ScheduledFault};
use headroom_sim::trace::draw;
use std::path::Path;

const SECONDS: f64 = 90.0;
/// Faults of the plant and its meters, with the kind of target.
const FAULTS: &[(Kind, &str)] = &[
    (Kind::MeterFrozen, "pdu"),
    (Kind::MeterLying, "pdu"),
    (Kind::DeviceSilent, "pdu"),
    (Kind::DeviceSilent, "cooling"),
    (Kind::GpuLost, "gpu"),
    (Kind::GpuIgnoresLimit, "gpu"),
    (Kind::BmcLimit, "gpu"),
    (Kind::PumpStopped, "cooling"),
    (Kind::PumpWorn, "cooling"),
    (Kind::Leak, "cooling"),
    (Kind::FeedLost, "feed"),
    (Kind::BatteryWeak, "ups"),
];
const EVENTS: &[EventKind] = &[
    EventKind::AgentKilled,
    EventKind::AgentHung,
    EventKind::ControllerKilled,
    EventKind::ControllerPartitioned,
    EventKind::BrokerDown,
    EventKind::OldController,
    EventKind::MessagesLate,
    EventKind::ClockJump,
    EventKind::Target,
];

/// The case of a seed. `keep`: only these of the things that go wrong, counted from 0.
pub fn case(seed: u64, keep: Option<&[usize]>) -> Case {
    let mut chance = Chance::new(seed, "case");
    let plant = row(&mut chance);
    let (mut faults, mut events) = (Vec::new(), Vec::new());
    let count = (chance.unit() * 4.0) as usize;
    for i in 0..count {
        let at_s = chance.between(5.0, SECONDS - 25.0);
        let until_s = Some(at_s + chance.between(3.0, 40.0));
        let kept = keep.is_none_or(|keep| keep.contains(&i));
        if chance.happens(0.6) {
            let (kind, target) = FAULTS[(chance.unit() * FAULTS.len() as f64) as usize];
            let name = target_name(target, &plant, &mut chance);
            if let Ok(fault) = Fault::new(kind, &name, None, &plant.racks)
                && kept
            {
                faults.push(ScheduledFault { at_s, fault });
            }
        } else {
            let kind = EVENTS[(chance.unit() * EVENTS.len() as f64) as usize];
            let value = match kind {
                EventKind::AgentKilled | EventKind::AgentHung => (chance.unit() * plant.racks.len() as f64).floor(),
                EventKind::MessagesLate => chance.between(0.1, 1.0),
                EventKind::ClockJump => chance.between(-86_400.0, 86_400.0),
                EventKind::Target => chance.between(0.6, 0.95),
                _ => 0.0,
            };
            if kept {
                events.push(Event { at_s, until_s, kind, value });
            }
        }
    }
    faults.sort_by(|a, b| a.at_s.total_cmp(&b.at_s));
    Case { plant, faults, events, seconds: SECONDS }
}

fn row(chance: &mut Chance) -> PlantSpec {
    let base = Scenario::load(None).expect("invariant: the embedded scenario is valid").plant;
    let mut plant = base.clone();
    let like = base.racks[0].clone();
    let count = 1 + (chance.unit() * 6.0) as usize;
    plant.racks = (0..count)
        .map(|i| {
            let mut rack = like.clone();
            rack.id = format!("rack-{}", i + 1);
            rack.gpus = 2 + (chance.unit() * 7.0) as usize;
            rack.overhead_watts = rack.gpus as f64 * chance.between(120.0, 260.0);
            rack.cooling_watts = rack.gpus as f64 * 30.0;
            rack.cooling_feed = usize::from(chance.happens(0.5));
            rack
        })
        .collect();
    let mut plant = draw::spec(&plant, chance, SECONDS);
    let gpus: usize = plant.racks.iter().map(|r| r.gpus).sum();
    let fixed: f64 = plant.racks.iter().map(|r| r.overhead_watts + r.cooling_watts).sum();
    let floors = fixed + gpus as f64 * FLOOR_WATTS;
    let feed = floors * chance.between(1.15, 2.2);
    plant.breaker = base.breaker.clone();
    plant.breaker.rating_amperes = feed / (3.0 * plant.volts);
    plant.ups.rating_watts = feed * chance.between(1.1, 2.5);
    plant.ups.battery_minutes = chance.between(3.0, 10.0);
    plant
}

fn target_name(kind: &str, plant: &PlantSpec, chance: &mut Chance) -> String {
    let rack = &plant.racks[(chance.unit() * plant.racks.len() as f64) as usize];
    let feed = if chance.happens(0.5) { "a" } else { "b" };
    match kind {
        "pdu" => format!("{}/pdu-{feed}", rack.id),
        "cooling" => format!("{}/cooling", rack.id),
        "gpu" => format!("{}/gpu-{}", rack.id, (chance.unit() * rack.gpus as f64) as usize),
        "ups" => format!("ups-{feed}"),
        _ => format!("feed-{feed}"),
    }
}

/// The fewest of the things that go wrong with which the case of this seed still fails.
pub fn shrink(seed: u64, fails: impl Fn(&Case) -> bool) -> Vec<usize> {
    let mut keep = vec![0, 1, 2];
    for i in 0..3 {
        let fewer: Vec<usize> = keep.iter().copied().filter(|k| *k != i).collect();
        if fails(&case(seed, Some(&fewer))) {
            keep = fewer;
        }
    }
    keep
}

/// Writes a scenario file that plays the case again.
///
/// # Errors
/// What the disk says.
pub fn write(dir: &Path, seed: u64, keep: &[usize]) -> std::io::Result<()> {
    std::fs::create_dir_all(dir)?;
    let case = case(seed, Some(keep));
    let what = format!("Found by chance: {:?} and {:?} on {} racks.", case.faults, case.events, case.plant.racks.len());
    let text = format!("what = {what:?}\n\n[random]\nseed = {seed}\nkeep = {keep:?}\n");
    std::fs::write(dir.join(format!("seed-{seed}.toml")), text)
}

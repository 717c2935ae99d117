//! Random cases: a random row ([`layout`]), workloads as in training traces, and up to three things
//! that go wrong, half the time at once: in the row, with its meters, with the software. Some have supplies with a low power
//! factor, and some a feed whose voltage falls.

mod layout;

use crate::harness::{Case, Event, EventKind};
use headroom_sim::fault::{Fault, Kind};
use headroom_sim::plant::FEED_NAMES;
use headroom_sim::plant::chance::Chance;
use headroom_sim::plant::spec::PlantSpec;
use headroom_sim::scenario::ScheduledFault;
use std::path::Path;

const SECONDS: f64 = 90.0;
/// Share of the cases with a low power factor, and of those with a low voltage.
const WEAK: f64 = 0.1;
/// Faults of the plant and its meters, with the kind of target.
const FAULTS: &[(Kind, &str)] = &[
    (Kind::MeterFrozen, "pdu"),
    (Kind::MeterLying, "pdu"),
    (Kind::DeviceSilent, "pdu"),
    (Kind::DeviceSilent, "cooling"),
    (Kind::MeterFrozen, "ups"),
    (Kind::MeterLying, "ups"),
    (Kind::DeviceSilent, "ups"),
    (Kind::GpuLost, "gpu"),
    (Kind::GpuIgnoresLimit, "gpu"),
    (Kind::BmcLimit, "gpu"),
    (Kind::PumpStopped, "cooling"),
    (Kind::PumpWorn, "cooling"),
    (Kind::Leak, "cooling"),
    (Kind::SupplyWarms, "cooling"),
    (Kind::FeedLost, "feed"),
    (Kind::UpsLost, "ups"),
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
    EventKind::ModelRubbish,
    EventKind::RackAdded,
    EventKind::RackRemoved,
];

/// The case of a seed. `keep`: only these of the things that go wrong, counted from 0.
pub fn case(seed: u64, keep: Option<&[usize]>) -> Case {
    let mut chance = Chance::new(seed, "case");
    let mut plant = layout::row(&mut chance, SECONDS);
    let (mut faults, mut events) = (weaken(&mut plant, seed), Vec::new());
    let count = (chance.unit() * 4.0) as usize;
    let together = chance.happens(0.5).then(|| chance.between(5.0, SECONDS - 25.0));
    for i in 0..count {
        let alone_s = chance.between(5.0, SECONDS - 25.0);
        let at_s = together.map_or(alone_s, |at| at + chance.between(0.0, 2.0));
        let until_s = Some(at_s + chance.between(3.0, 40.0));
        let kept = keep.is_none_or(|keep| keep.contains(&i));
        if chance.happens(0.6) {
            let (kind, target) = FAULTS[(chance.unit() * FAULTS.len() as f64) as usize];
            let name = target_name(target, &plant, &mut chance);
            let value = value(kind, &mut chance);
            if let Ok(fault) = Fault::new(kind, &name, value, &plant.racks)
                && kept
            {
                faults.push(ScheduledFault { at_s, fault });
            }
        } else {
            let kind = EVENTS[(chance.unit() * EVENTS.len() as f64) as usize];
            let value = match kind {
                EventKind::AgentKilled | EventKind::AgentHung | EventKind::RackAdded | EventKind::RackRemoved => {
                    (chance.unit() * plant.racks.len() as f64).floor()
                }
                EventKind::MessagesLate => chance.between(0.1, 1.0),
                EventKind::ClockJump => chance.between(-86_400.0, 86_400.0),
                EventKind::Target => chance.between(0.6, 0.95),
                _ => 0.0,
            };
            // A row must not lose its only rack to an editor.
            let lonely = plant.racks.len() == 1 && matches!(kind, EventKind::RackAdded | EventKind::RackRemoved);
            if kept && !lonely {
                events.push(Event { at_s, until_s, kind, value });
            }
        }
    }
    faults.sort_by(|a, b| a.at_s.total_cmp(&b.at_s));
    Case { plant, faults, events, seconds: SECONDS }
}

/// A low power factor, and a feed whose voltage falls. From a stream of its own: whatever else goes wrong with a seed
/// stays what it was.
fn weaken(plant: &mut PlantSpec, seed: u64) -> Vec<ScheduledFault> {
    let mut chance = Chance::new(seed, "supply");
    if chance.happens(WEAK) {
        plant.power_factor = chance.between(0.9, 0.98);
    }
    if !chance.happens(WEAK) {
        return Vec::new();
    }
    let name = target_name("feed", plant, &mut chance);
    let low = Fault::new(Kind::VoltageLow, &name, Some(chance.between(0.9, 0.98)), &plant.racks);
    low.into_iter().map(|fault| ScheduledFault { at_s: chance.between(5.0, SECONDS - 25.0), fault }).collect()
}

/// How bad a fault is; `None`: as usual for its kind.
fn value(kind: Kind, chance: &mut Chance) -> Option<f64> {
    match kind {
        Kind::MeterLying => Some(chance.between(0.3, 1.6)),
        Kind::BmcLimit => Some(chance.between(200.0, 600.0)),
        Kind::PumpWorn => Some(chance.between(0.2, 0.9)),
        Kind::Leak => Some(chance.between(0.2, 3.0)),
        Kind::BatteryWeak => Some(chance.between(0.1, 0.9)),
        Kind::SupplyWarms => Some(chance.between(5.0, 60.0)),
        Kind::PumpStopped => Some(chance.unit()).filter(|u| *u < 0.7).map(|u| if u < 0.35 { 1.0 } else { 2.0 }),
        _ => None,
    }
}

fn target_name(kind: &str, plant: &PlantSpec, chance: &mut Chance) -> String {
    let pick = |count: usize, chance: &mut Chance| (chance.unit() * count as f64) as usize;
    let rack = &plant.racks[pick(plant.racks.len(), chance)];
    let cord = FEED_NAMES[rack.cords[pick(rack.cords.len(), chance)]];
    match kind {
        "pdu" => format!("{}/pdu-{cord}", rack.id),
        "cooling" => format!("{}/cooling", rack.id),
        "gpu" => format!("{}/gpu-{}", rack.id, pick(rack.gpus, chance)),
        "ups" => format!("ups-{cord}"),
        _ => format!("feed-{cord}"),
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

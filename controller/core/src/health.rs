//! Equipment that is about to fail, by drift against what the same device did before; meters that
//! contradict what hangs below them; agents that fell silent; batteries nobody knows; breakers, coolant and limits
//! at their end. Findings, never actions.

mod battery;
mod grave;

pub use grave::Facts;

use crate::decide::BatteryView;
use crate::fleet::{Fleet, SILENT};
use crate::topology::Topology;
use headroom_rack::{DeviceId, Finding, Mono, RackId, Severity, Signal, Snapshot, UnixMs};
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

/// Readings that make up a baseline.
const LEARN: u32 = 12;
/// A figure of merit below this share of its baseline is drift. A VRLA battery counts as worn at
/// 80 % of its capacity (IEEE 1188, clause 8); the warning comes before.
const DRIFT: f64 = 0.85;
/// Share of the newest value in the moving mean.
const BLEND: f64 = 0.2;
/// So long a contradiction must last in all Snapshots: meter and GPUs are read a second apart, and when a load steps
/// several Snapshots come within that second.
const PATIENCE: Duration = Duration::from_secs(4);
/// When the bus fails or comes back, agents fall silent and are heard again one after the other; one
/// that is silent alone is silent for this much longer.
const ALONE: Duration = Duration::from_secs(3);
/// An agent never heard since the start counts as silent from here on.
const GRACE: Duration = Duration::from_secs(30);

/// A learned figure of merit: first a mean, then compared with itself.
#[derive(Debug, Clone, Copy, Default)]
struct Merit {
    seen: u32,
    baseline: f64,
    recent: f64,
}

impl Merit {
    fn fold(&mut self, value: f64) {
        if self.seen < LEARN {
            self.seen += 1;
            self.baseline += (value - self.baseline) / f64::from(self.seen);
            self.recent = self.baseline;
        } else {
            self.recent += (value - self.recent) * BLEND;
        }
    }

    fn share(&self) -> Option<f64> {
        (self.seen >= LEARN && self.baseline > 0.0).then(|| self.recent / self.baseline)
    }
}

/// What is known of each device's condition.
#[derive(Debug, Clone)]
pub struct Health {
    /// When each rack was heard last.
    heard: HashMap<RackId, Mono>,
    topology: Topology,
    battery: BTreeMap<(RackId, DeviceId), Merit>,
    pump: BTreeMap<(RackId, DeviceId), Merit>,
    /// When all Snapshots began to show it, and the newest of them.
    contradicted: BTreeMap<RackId, (Mono, Mono)>,
    weak: BTreeMap<(RackId, DeviceId), bool>,
    started: Option<Mono>,
    /// When last nobody was heard.
    all_silent: Option<Mono>,
    unknown: battery::Unknown,
    grave: grave::Grave,
    open: BTreeMap<String, Finding>,
}

impl Health {
    /// Nothing learned yet.
    pub fn new(topology: &Topology) -> Self {
        Self {
            heard: HashMap::new(),
            topology: topology.clone(),
            battery: BTreeMap::new(),
            pump: BTreeMap::new(),
            contradicted: BTreeMap::new(),
            weak: BTreeMap::new(),
            started: None,
            all_silent: None,
            unknown: battery::Unknown::default(),
            grave: grave::Grave::default(),
            open: BTreeMap::new(),
        }
    }

    /// Takes in what the last decision saw of the batteries.
    pub fn batteries(&mut self, batteries: &[BatteryView], now: Mono) {
        self.unknown.see(batteries, now);
    }

    /// Takes in what the last decision saw and set.
    pub fn decided(&mut self, facts: Facts<'_>, now: Mono) {
        self.grave.see(facts, &self.topology, now);
    }

    /// Takes in one live Snapshot, which the fleet has taken in already.
    pub fn fold(&mut self, snapshot: &Snapshot, arrived: Mono, fleet: &Fleet) {
        if snapshot.historical {
            return;
        }
        self.heard.insert(snapshot.rack.clone(), arrived);
        for device in snapshot.devices().into_iter().filter(|d| d.gpu_index().is_none()) {
            let key = (snapshot.rack.clone(), device.clone());
            if let Some(energy) = battery_energy(snapshot, device) {
                self.battery.entry(key.clone()).or_default().fold(energy);
            }
            if let Some(yielded) = flow_per_turn(snapshot, device) {
                self.pump.entry(key.clone()).or_default().fold(yielded);
            }
            if let Some(weak) = snapshot.value(device, Signal::UpsBatteryWeak) {
                self.weak.insert(key, weak > 0.5);
            }
        }
        let contradicts = self
            .topology
            .rack(&snapshot.rack)
            .zip(fleet.rack(&snapshot.rack))
            .is_some_and(|(spec, belief)| belief.contradicts(spec));
        if contradicts {
            self.contradicted.entry(snapshot.rack.clone()).or_insert((arrived, arrived)).1 = arrived;
        } else {
            self.contradicted.remove(&snapshot.rack);
        }
    }

    /// What is open at `now`, in the order of keys; `at` is the same instant for people.
    pub fn findings(&mut self, now: Mono, at: UnixMs) -> Vec<Finding> {
        self.review(now, at);
        self.open.values().cloned().collect()
    }

    fn review(&mut self, time: Mono, at: UnixMs) {
        let mut now = Vec::new();
        for ((rack, device), merit) in &self.battery {
            if let Some(share) = merit.share().filter(|s| *s < DRIFT) {
                now.push(finding(
                    "ups_battery_drift",
                    &format!("{rack}/{device}"),
                    Severity::Warning,
                    format!("battery of {device} holds {:.0} % of what it held", share * 100.0),
                    format!(
                        "runtime times load fell from {:.0} kJ to {:.0} kJ at full charge; test the battery and plan its replacement",
                        merit.baseline / 1e3,
                        merit.recent / 1e3
                    ),
                ));
            }
        }
        for ((rack, device), _) in self.weak.iter().filter(|(_, weak)| **weak) {
            now.push(finding(
                "ups_battery_weak",
                &format!("{rack}/{device}"),
                Severity::Warning,
                format!("{device} calls its own battery weak"),
                "the UPS reports battery condition weak or replace; plan its replacement".to_owned(),
            ));
        }
        for ((rack, device), merit) in &self.pump {
            if let Some(share) = merit.share().filter(|s| *s < DRIFT) {
                now.push(finding(
                    "pump_drift",
                    &format!("{rack}/{device}"),
                    Severity::Warning,
                    format!("pump of {rack} moves {:.0} % of the coolant it moved per turn", share * 100.0),
                    format!(
                        "flow per pump turn fell from {:.2} ml to {:.2} ml; look for a worn impeller, a clogged filter or air",
                        merit.baseline * 1e3,
                        merit.recent * 1e3
                    ),
                ));
            }
        }
        for (rack, _) in self.contradicted.iter().filter(|(_, (first, newest))| newest.since(*first) >= PATIENCE) {
            now.push(finding(
                "meter_contradiction",
                rack.as_str(),
                Severity::Warning,
                format!("the PDUs of {rack} show less than its GPUs draw"),
                "the larger is believed; check the meters for a frozen register or a wrong transformer ratio"
                    .to_owned(),
            ));
        }
        now.extend(self.unknown.findings(time));
        now.extend(self.grave.findings());
        now.extend(self.silent(time));
        let mut open = BTreeMap::new();
        for mut found in now {
            found.since = self.open.get(&found.key).map_or(at, |f| f.since);
            open.insert(found.key.clone(), found);
        }
        self.open = open;
    }

    /// Agents that are not heard; one Finding if that is all of them.
    fn silent(&mut self, now: Mono) -> Vec<Finding> {
        let started = *self.started.get_or_insert(now);
        let is_silent = |rack: &RackId, more: Duration| match self.heard.get(rack) {
            Some(arrived) => now.since(*arrived) > SILENT + more,
            None => now.since(started) > GRACE + more,
        };
        let racks = self.topology.racks();
        if racks.len() > 1 && racks.iter().all(|r| is_silent(&r.id, Duration::ZERO)) {
            self.all_silent = Some(now);
            return vec![finding(
                "no_agent_heard",
                "bus",
                Severity::Critical,
                "no agent is heard".to_owned(),
                "every rack falls to its safe share; see whether the broker or the network is down".to_owned(),
            )];
        }
        if self.all_silent.is_some_and(|at| now.since(at) <= SILENT + ALONE) {
            return Vec::new();
        }
        let alone = racks.iter().filter(|r| is_silent(&r.id, ALONE)).map(|spec| {
            finding(
                "agent_silent",
                spec.id.as_str(),
                Severity::Critical,
                format!("the agent of {} is silent", spec.id),
                "its GPUs fall to the safe share; see whether the host, the agent or the network is down".to_owned(),
            )
        });
        alone.collect()
    }
}

fn finding(kind: &str, subject: &str, severity: Severity, title: String, detail: String) -> Finding {
    Finding {
        key: format!("{kind}:{subject}"),
        kind: kind.to_owned(),
        subject: subject.to_owned(),
        severity,
        title,
        detail,
        since: UnixMs::default(),
    }
}

/// Energy the UPS says its battery can deliver, J: runtime times load, at full charge only, since
/// on the way there the estimate moves by itself.
fn battery_energy(snapshot: &Snapshot, device: &DeviceId) -> Option<f64> {
    let runtime_s = snapshot.value(device, Signal::UpsBatteryRuntime)?;
    let charge = snapshot.value(device, Signal::UpsBatteryCharge)?;
    let load: f64 = [Signal::UpsOutputPowerL1, Signal::UpsOutputPowerL2, Signal::UpsOutputPowerL3]
        .iter()
        .map(|s| snapshot.value(device, *s))
        .sum::<Option<f64>>()?;
    let on_battery = snapshot.value(device, Signal::UpsOnBattery).unwrap_or(0.0) > 0.5;
    (charge >= 0.97 && load > 0.0 && !on_battery).then_some(runtime_s * load)
}

/// Litres moved per turn of the pump: falls with wear, clogging and air, not with speed.
fn flow_per_turn(snapshot: &Snapshot, device: &DeviceId) -> Option<f64> {
    let flow = snapshot.value(device, Signal::CoolingFlow)?;
    let rpm = snapshot.value(device, Signal::CoolingPump1Rpm)?;
    (rpm > 100.0).then(|| flow / rpm)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::tests::row;
    use headroom_rack::{Reading, SignalPath};

    fn fold(health: &mut Health, second: u64, device: &str, values: &[(Signal, f64)]) {
        let at = UnixMs::new(second * 1000);
        let device = DeviceId::new(device).unwrap();
        let readings =
            values.iter().map(|(s, v)| (SignalPath::new(device.clone(), *s), Reading::new(*v, at))).collect();
        let rack = RackId::new("rack-1").unwrap();
        let snapshot = Snapshot { rack, boot: 1, seq: second, at, historical: false, readings, receipts: Vec::new() };
        let mut fleet = Fleet::new(&row());
        fleet.fold(&snapshot, Mono::from_ms(second * 1000));
        health.fold(&snapshot, Mono::from_ms(second * 1000), &fleet);
    }

    fn found(health: &mut Health, second: u64) -> Vec<Finding> {
        health.findings(Mono::from_ms(second * 1000), UnixMs::new(second * 1000))
    }

    fn hear(health: &mut Health, second: u64, rack: &str) {
        let at = UnixMs::new(second * 1000);
        let rack = RackId::new(rack).unwrap();
        let (readings, receipts) = (headroom_rack::Readings::new(), Vec::new());
        let snapshot = Snapshot { rack, boot: 1, seq: second, at, historical: false, readings, receipts };
        let mut fleet = Fleet::new(&row());
        fleet.fold(&snapshot, Mono::from_ms(second * 1000));
        health.fold(&snapshot, Mono::from_ms(second * 1000), &fleet);
    }

    fn battery(health: &mut Health, second: u64, runtime_s: f64) {
        fold(
            health,
            second,
            "ups-a",
            &[
                (Signal::UpsBatteryRuntime, runtime_s),
                (Signal::UpsBatteryCharge, 1.0),
                (Signal::UpsOutputPowerL1, 3000.0),
                (Signal::UpsOutputPowerL2, 3000.0),
                (Signal::UpsOutputPowerL3, 3000.0),
            ],
        );
    }

    #[test]
    fn a_battery_that_holds_less_is_found_and_a_steady_one_is_not() {
        let mut health = Health::new(&row());
        (0..20).for_each(|s| battery(&mut health, s, 600.0));
        assert_eq!(found(&mut health, 20), []);
        (20..50).for_each(|s| battery(&mut health, s, 420.0));
        let found = found(&mut health, 50);
        assert_eq!(found[0].key, "ups_battery_drift:rack-1/ups-a");
        assert!(found[0].title.contains("70 %"), "{}", found[0].title);
        assert_eq!(found[0].since, UnixMs::new(50_000));
    }

    #[test]
    fn many_snapshots_in_a_moment_are_no_lasting_contradiction() {
        let mut health = Health::new(&row());
        let rack = RackId::new("rack-1").unwrap();
        let mut see = |ms: u64, gpus: f64| {
            let at = UnixMs::new(ms);
            let of = |device: &str, signal| SignalPath::new(DeviceId::new(device).unwrap(), signal);
            let pdus = ["pdu-a", "pdu-b"].map(|pdu| (of(pdu, Signal::PduPower), Reading::new(1500.0, at)));
            let boards = (0..8).map(|n| (of(&format!("gpu-{n}"), Signal::GpuPower), Reading::new(gpus / 8.0, at)));
            let readings = pdus.into_iter().chain(boards).collect();
            let (rack, receipts) = (rack.clone(), Vec::new());
            let snapshot = Snapshot { rack, boot: 1, seq: ms, at, historical: false, readings, receipts };
            let mut fleet = Fleet::new(&row());
            fleet.fold(&snapshot, Mono::from_ms(ms));
            health.fold(&snapshot, Mono::from_ms(ms), &fleet);
            health.findings(Mono::from_ms(ms), at).iter().any(|found| found.kind == "meter_contradiction")
        };
        // A load that has just fallen: the GPUs' power is from before.
        assert!((0..10).all(|n| !see(50 * n, 5600.0)));
        assert!(!see(1000, 400.0));
        assert!((2..6).all(|n| !see(1000 * n, 5600.0)));
        assert!(see(6000, 5600.0));
    }

    #[test]
    fn a_slower_pump_is_no_worn_pump() {
        let mut health = Health::new(&row());
        let turn = |h: &mut Health, s, rpm: f64, flow: f64| {
            fold(h, s, "cooling", &[(Signal::CoolingPump1Rpm, rpm), (Signal::CoolingFlow, flow)]);
        };
        (0..20).for_each(|s| turn(&mut health, s, 3000.0, 30.0));
        (20..60).for_each(|s| turn(&mut health, s, 1500.0, 15.0));
        assert_eq!(found(&mut health, 60), []);
        (60..90).for_each(|s| turn(&mut health, s, 3000.0, 21.0));
        assert_eq!(found(&mut health, 89)[0].kind, "pump_drift");
    }

    #[test]
    fn one_silent_agent_is_named_and_a_silent_bus_is_one_finding() {
        let mut health = Health::new(&row());
        let racks: Vec<String> = row().racks().iter().map(|r| r.id.to_string()).collect();
        let mut keys = |second: u64, heard: &[String]| -> Vec<String> {
            heard.iter().for_each(|rack| hear(&mut health, second, rack));
            found(&mut health, second).into_iter().map(|f| f.key).collect()
        };
        let (first, rest) = racks.split_first().unwrap();
        let none: Vec<String> = Vec::new();
        (0..5).for_each(|s| assert_eq!(keys(s, &racks), none));
        (5..=13).for_each(|s| assert_eq!(keys(s, rest), none, "{s}"));
        assert_eq!(keys(14, rest), [format!("agent_silent:{first}")]);
        assert_eq!(keys(15, &racks), none);
        (16..=21).for_each(|s| assert_eq!(keys(s, &[]), none, "{s}"));
        assert_eq!(keys(22, &[]), ["no_agent_heard:bus"]);
        assert_eq!(keys(23, std::slice::from_ref(first)), none, "the others have time to come back");
        (24..40).for_each(|s| assert_eq!(keys(s, &racks), none));
    }

    #[test]
    fn an_agent_never_heard_is_silent_after_a_while() {
        let mut health = Health::new(&row());
        let racks: Vec<String> = row().racks().iter().map(|r| r.id.to_string()).collect();
        for second in 0..=33 {
            hear(&mut health, second, &racks[0]);
            assert_eq!(found(&mut health, second), [], "{second}");
        }
        hear(&mut health, 34, &racks[0]);
        assert_eq!(found(&mut health, 34).len(), racks.len() - 1);
    }
}

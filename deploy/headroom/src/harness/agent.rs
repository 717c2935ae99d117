//! One agent: its cores with the plant's GPUs as its driver and the plant's meters as its devices.

use super::telemetry::Meters;
use super::wiring::{guarded, name, safe_share};
use super::{FLOOR_WATTS, Message, Outcome};
use headroom_agent_core::event::Watch;
use headroom_agent_core::failsafe::{Bounds, Failsafe};
use headroom_agent_core::guard::{GpuInput, Guard, PduInput};
use headroom_rack::{Amperes, DeviceId, Mono, Reading, Signal, Snapshot, UnixMs, Volts, Watts};
use headroom_sim::plant::gpu::Requests;
use headroom_sim::plant::spec::PlantSpec;
use headroom_sim::plant::{FEED_NAMES, Plant};
use std::collections::BTreeMap;
use std::time::Duration;

/// Meters are polled twice a second.
const METER_AGE: Duration = Duration::from_millis(250);
/// Limits nearer than this are one limit: boards round to whole watts.
const SAME_WATTS: f64 = 0.5;

pub(super) struct Agent {
    rack: usize,
    safe: Watts,
    failsafe: Failsafe,
    guard: Guard,
    known: BTreeMap<DeviceId, Bounds>,
    cords: Vec<DeviceId>,
    bmc: BTreeMap<usize, f64>,
    watch: Watch,
    seq: u64,
    set: Vec<f64>,
    /// How often a GPU got another limit.
    pub changes: u64,
    pub alive: bool,
    pub hung: bool,
    pub meters: Meters,
}

impl Agent {
    pub(super) fn new(plant: &PlantSpec, rack: usize) -> Self {
        let safe = safe_share(plant);
        let bounds = Bounds { min: Watts::new(plant.gpu.min_watts), max: Watts::new(plant.gpu.max_watts) };
        let spec = &plant.racks[rack];
        let gpus = u32::try_from(spec.gpus).unwrap_or(u32::MAX);
        Self {
            rack,
            safe,
            failsafe: Failsafe::new(safe, true),
            guard: Guard::new(guarded(plant, rack)),
            known: (0..gpus).map(|g| (DeviceId::gpu(g), bounds)).collect(),
            cords: spec.cords.iter().map(|f| name(format!("pdu-{}", FEED_NAMES[*f]), DeviceId::new)).collect(),
            bmc: BTreeMap::new(),
            watch: Watch::default(),
            seq: 0,
            set: vec![safe.get(); spec.gpus],
            changes: 0,
            alive: true,
            hung: false,
            meters: Meters::default(),
        }
    }

    /// The board's management controller holds a GPU down.
    pub(super) fn bmc(&mut self, gpu: usize, watts: f64) {
        self.bmc.insert(gpu, watts);
    }

    pub(super) fn take(&mut self, message: &Message, now_ms: u64) {
        if self.alive && !self.hung {
            let now = Mono::from_ms(now_ms);
            // A refusal would ride home as a Receipt; nobody waits for it here.
            message.orders.iter().for_each(|order| drop(self.failsafe.accept(order, &self.known, now)));
            message.answers.iter().for_each(|answer| drop(self.failsafe.prepare(answer, &self.known, now)));
        }
    }

    /// One guard period: what is to be in force goes to the driver.
    pub(super) fn step(&mut self, plant: &mut Plant, now_ms: u64, outcome: &mut Outcome) {
        if self.hung {
            return;
        }
        let now = Mono::from_ms(now_ms);
        self.meters.sample(plant, self.rack);
        self.failsafe.expire(now);
        let view = &plant.racks()[self.rack];
        let pdus: Vec<PduInput> = self
            .cords
            .iter()
            .enumerate()
            .map(|(c, device)| {
                let seen = self.meters.pdu(&view.pdus[c], self.rack, c);
                PduInput {
                    device: device.clone(),
                    phases: [true; 3],
                    currents: std::array::from_fn(|p| seen.map(|s| Amperes::new(s.amperes[p]))),
                    volts: seen.map(|s| Volts::new(s.volts)),
                    age: seen.map(|_| METER_AGE),
                }
            })
            .collect();
        let gpus: Vec<GpuInput> = self
            .known
            .iter()
            .zip(&view.gpus)
            .map(|((device, b), gpu)| GpuInput {
                device: device.clone(),
                power: (!gpu.readout.lost).then(|| Watts::new(gpu.readout.power_instant_watts)),
                min: b.min,
                max: b.max,
            })
            .collect();
        let at = UnixMs::new(now_ms);
        for (c, device) in self.cords.iter().enumerate() {
            if let Some(seen) = self.meters.pdu(&view.pdus[c], self.rack, c) {
                self.watch.see(device, Signal::PduPower, &Reading::new(seen.watts, at));
            }
        }
        let value = |device: &DeviceId, signal: Signal| {
            let pdu = pdus.iter().find(|pdu| pdu.device == *device)?;
            let value = match signal {
                Signal::PduVoltageL1 => pdu.volts?.get(),
                Signal::PduCurrentL1 => pdu.currents[0]?.get(),
                Signal::PduCurrentL2 => pdu.currents[1]?.get(),
                Signal::PduCurrentL3 => pdu.currents[2]?.get(),
                _ => return None,
            };
            Some((value, METER_AGE))
        };
        self.failsafe.look(value, |_| false, now);
        let verdict = self.guard.step(now, &pdus, &gpus);
        for (g, (device, bounds)) in self.known.iter().enumerate() {
            let ceiling = verdict.ceilings.get(device).copied();
            let wanted = match self.alive {
                true => self.failsafe.effective(device, *bounds, ceiling, now).limit,
                false => self.safe,
            };
            outcome.floor_violations += u64::from(wanted.get() < FLOOR_WATTS - 1e-6);
            let limit_watts = self.bmc.get(&g).map_or(wanted.get(), |b| wanted.get().min(*b));
            self.changes += u64::from((limit_watts - self.set[g]).abs() > SAME_WATTS);
            self.set[g] = limit_watts;
            plant.request(self.rack, g, Requests { limit_watts, locked_mhz: None });
        }
    }

    /// What is to be told: with each period, and between two what cannot wait.
    pub(super) fn snapshot(&mut self, plant: &Plant, now_ms: u64, period: bool) -> Option<Snapshot> {
        if !self.alive || self.hung || !period && self.watch.due(Mono::from_ms(now_ms)) != Some(Duration::ZERO) {
            return None;
        }
        self.seq += 1;
        let snapshot = self.meters.snapshot(plant, self.rack, self.seq, now_ms);
        self.watch.told(snapshot.readings.iter(), Mono::from_ms(now_ms));
        Some(snapshot)
    }
}

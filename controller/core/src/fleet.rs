//! What is believed of each rack, and how old it is. Staleness is judged by arrival on the
//! controller's own clock; the agent's stamp is history. A belief ages towards the worst case.

use crate::topology::{RackSpec, Topology};
use headroom_rack::{Class, DeviceId, Mono, NoData, RackId, Receipt, Signal, Snapshot, Watts};
use std::collections::BTreeMap;
use std::time::Duration;

/// Younger than this, a Snapshot counts as of now: one period and its jitter.
pub const FRESH: Duration = Duration::from_millis(2500);
/// From here on a rack counts as silent.
pub const SILENT: Duration = Duration::from_secs(6);
/// A meter may differ from the sum below it by this share before somebody is wrong.
pub const METER_TOLERANCE: f64 = 0.08;

/// One GPU as last seen.
#[derive(Debug, Clone, PartialEq)]
pub struct GpuBelief {
    /// Its device id.
    pub id: DeviceId,
    /// Its power, or why not.
    pub power: Result<Watts, NoData>,
    /// The limit in force.
    pub limit: Option<Watts>,
    /// Share of time busy.
    pub utilization: Option<f64>,
    /// Core temperature, degrees Celsius.
    pub temperature_celsius: Option<f64>,
    /// Kelvins until it slows itself (T.Limit).
    pub temperature_margin_kelvins: Option<f64>,
}

/// One rack as last seen.
#[derive(Debug, Clone, PartialEq)]
pub struct RackBelief {
    /// When the newest live Snapshot arrived.
    pub arrived: Mono,
    /// The agent's death was announced after that.
    pub dead: bool,
    /// Power through each PDU.
    pub cords: BTreeMap<DeviceId, Result<Watts, NoData>>,
    /// How each PDU that tells it divides its load among its phases; sums to 1.
    pub phases: BTreeMap<DeviceId, [f64; 3]>,
    /// The GPUs in order.
    pub gpus: Vec<GpuBelief>,
    /// Coolant flow, l/min.
    pub flow_lpm: Option<f64>,
    /// Coolant supply, degrees Celsius.
    pub supply_celsius: Option<f64>,
    /// What each UPS that the agent reads says of its battery.
    pub batteries: BTreeMap<DeviceId, Battery>,
}

impl RackBelief {
    /// Age by the controller's clock.
    pub fn age(&self, now: Mono) -> Duration {
        now.since(self.arrived)
    }

    /// Sum of what the GPUs draw; `None` if one of them is unknown.
    pub fn gpu_power(&self) -> Option<Watts> {
        if self.gpus.is_empty() {
            return None;
        }
        self.gpus.iter().map(|g| g.power.ok()).sum::<Option<Watts>>()
    }

    /// Sum of the PDUs; `None` if one of them is unknown.
    pub fn metered(&self) -> Option<Watts> {
        if self.cords.is_empty() {
            return None;
        }
        self.cords.values().map(|c| c.ok()).sum::<Option<Watts>>()
    }

    /// Power of the rack as its own meters and GPUs tell it: the PDUs, unless the GPUs alone say
    /// more, in which case the larger is believed.
    pub fn power(&self, spec: &RackSpec) -> Option<Watts> {
        let below = self.gpu_power().map(|g| g + spec.overhead);
        match (self.metered(), below) {
            (Some(metered), Some(below)) if self.contradicts(spec) => Some(metered.max(below)),
            (Some(metered), _) => Some(metered),
            (None, below) => below,
        }
    }

    /// Whether the PDUs show less than the GPUs behind them must draw.
    pub fn contradicts(&self, spec: &RackSpec) -> bool {
        match (self.metered(), self.gpu_power()) {
            // Half the overhead is always there: fans and CPUs never draw nothing.
            (Some(metered), Some(gpus)) => metered * (1.0 + METER_TOLERANCE) < gpus + spec.overhead * 0.5,
            _ => false,
        }
    }
}

/// What a UPS says of its battery.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Battery {
    /// It carries the load.
    pub on: bool,
    /// How long it would at the present load, s.
    pub runtime_s: Option<f64>,
}

/// What a meter showed last.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Metered {
    arrived: Mono,
    power: Watts,
    phases: Option<[f64; 3]>,
}

/// The belief about every configured rack.
#[derive(Debug, Clone)]
pub struct Fleet {
    specs: BTreeMap<RackId, RackSpec>,
    racks: BTreeMap<RackId, RackBelief>,
    nodes: BTreeMap<(RackId, DeviceId), Metered>,
    receipts: Vec<(RackId, Receipt)>,
}

impl Fleet {
    /// Nothing seen yet.
    pub fn new(topology: &Topology) -> Self {
        let specs = topology.racks().iter().map(|r| (r.id.clone(), r.clone())).collect();
        Self { specs, racks: BTreeMap::new(), nodes: BTreeMap::new(), receipts: Vec::new() }
    }

    /// Takes in one Snapshot. Back-filled ones are history, not belief.
    pub fn fold(&mut self, snapshot: &Snapshot, arrived: Mono) {
        let receipts = snapshot.receipts.iter().map(|r| (snapshot.rack.clone(), r.clone()));
        self.receipts.extend(receipts);
        let Some(spec) = self.specs.get(&snapshot.rack).filter(|_| !snapshot.historical) else { return };
        let watts = |device: &DeviceId, signal| snapshot.reading(device, signal).value.map(Watts::new);
        let cords = spec.feeds.iter().map(|c| (c.meter.clone(), watts(&c.meter, Signal::PduPower))).collect();
        let phases = spec.feeds.iter().filter_map(|c| Some((c.meter.clone(), device_phases(snapshot, &c.meter)?)));
        let phases = phases.collect();
        // The names of last time: making them anew is most of the work on a large site.
        let known = self.racks.get(&snapshot.rack).map_or(&[][..], |r| &r.gpus);
        let gpus = (0..spec.gpus)
            .map(|index| {
                let id = known.get(index as usize).map_or_else(|| DeviceId::gpu(index), |g| g.id.clone());
                GpuBelief {
                    power: watts(&id, Signal::GpuPower),
                    limit: watts(&id, Signal::GpuLimitEnforced).ok(),
                    utilization: snapshot.value(&id, Signal::GpuUtilization),
                    temperature_celsius: snapshot.value(&id, Signal::GpuTemperature),
                    temperature_margin_kelvins: snapshot.value(&id, Signal::GpuTemperatureMargin),
                    id,
                }
            })
            .collect();
        let on_battery = snapshot.readings.iter().filter(|(path, _)| path.signal == Signal::UpsOnBattery);
        let battery = |device: &DeviceId, on: f64| {
            let runtime_s = snapshot.value(device, Signal::UpsBatteryRuntime);
            (device.clone(), Battery { on: on > 0.5, runtime_s })
        };
        let batteries = on_battery.filter_map(|(path, r)| Some(battery(&path.device, r.ok()?))).collect();
        let coolant = |signal| spec.cooling.as_ref().and_then(|c| snapshot.value(c, signal));
        let belief = RackBelief {
            arrived,
            dead: false,
            cords,
            phases,
            gpus,
            flow_lpm: coolant(Signal::CoolingFlow),
            supply_celsius: coolant(Signal::CoolingSupplyTemperature),
            batteries,
        };
        self.racks.insert(snapshot.rack.clone(), belief);
        for device in snapshot.devices().into_iter().filter(|d| d.gpu_index().is_none()) {
            if let Some(power) = device_power(snapshot, device) {
                let phases = device_phases(snapshot, device);
                self.nodes.insert((snapshot.rack.clone(), device.clone()), Metered { arrived, power, phases });
            }
        }
    }

    /// The agent said good-bye, or the broker said it for it.
    pub fn death(&mut self, rack: &RackId) {
        if let Some(belief) = self.racks.get_mut(rack) {
            belief.dead = true;
        }
    }

    /// What is known of one rack.
    pub fn rack(&self, id: &RackId) -> Option<&RackBelief> {
        self.racks.get(id)
    }

    /// Whether a rack has lost a cord, as far as its own meters tell.
    pub fn lost_a_cord(&self, id: &RackId) -> bool {
        let known = self.specs.get(id).zip(self.racks.get(id));
        known.is_some_and(|(spec, belief)| belief.lost_cords(spec).contains(&true))
    }

    /// The power a node's own meter shows, if it is fresh.
    pub fn meter(&self, rack: &RackId, device: &DeviceId, now: Mono) -> Option<Watts> {
        Some(self.metered(rack, device, now)?.0)
    }

    /// The power a node's own meter shows and how it is divided among the phases (sums to 1), if it is
    /// fresh and if it tells.
    pub fn metered(&self, rack: &RackId, device: &DeviceId, now: Mono) -> Option<(Watts, Option<[f64; 3]>)> {
        let last = self.nodes.get(&(rack.clone(), device.clone()))?;
        (now.since(last.arrived) <= FRESH).then_some((last.power, last.phases))
    }

    /// The battery behind a node's own meter, as last told; `None` if that tells of none.
    pub fn battery(&self, rack: &RackId, device: &DeviceId) -> Option<Battery> {
        self.racks.get(rack)?.batteries.get(device).copied()
    }

    /// Receipts since the last call.
    pub fn take_receipts(&mut self) -> Vec<(RackId, Receipt)> {
        std::mem::take(&mut self.receipts)
    }
}

/// How a device divides its load among its phases, by currents (what trips a breaker) or else by power;
/// `None` when a phase is unknown or nothing flows.
fn device_phases(snapshot: &Snapshot, device: &DeviceId) -> Option<[f64; 3]> {
    let all = |signals: [Signal; 3]| -> Option<[f64; 3]> {
        let [a, b, c] = signals.map(|s| snapshot.value(device, s));
        Some([a?.max(0.0), b?.max(0.0), c?.max(0.0)])
    };
    let told = all([Signal::PduCurrentL1, Signal::PduCurrentL2, Signal::PduCurrentL3])
        .or_else(|| all([Signal::PduPowerL1, Signal::PduPowerL2, Signal::PduPowerL3]))
        .or_else(|| all([Signal::UpsOutputPowerL1, Signal::UpsOutputPowerL2, Signal::UpsOutputPowerL3]))?;
    let sum: f64 = told.iter().sum();
    (sum > 0.0).then(|| told.map(|p| p / sum))
}

fn device_power(snapshot: &Snapshot, device: &DeviceId) -> Option<Watts> {
    let sum = |signals: &[Signal]| -> Option<Watts> {
        signals.iter().map(|s| snapshot.value(device, *s).map(Watts::new)).sum()
    };
    let has = |class| snapshot.readings.keys().any(|p| p.device == *device && p.signal.class() == class);
    if has(Class::Ups) {
        return sum(&[Signal::UpsOutputPowerL1, Signal::UpsOutputPowerL2, Signal::UpsOutputPowerL3]);
    }
    sum(&[Signal::PduPower])
}

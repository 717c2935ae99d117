//! What is believed of each rack, and how old it is. Staleness is judged by arrival on the
//! controller's own clock; the agent's stamp is history. A belief ages towards the worst case.

mod drawn;
mod read;

pub use drawn::Drawn;

use crate::topology::{RackSpec, Topology};
use headroom_rack::{DeviceId, Mono, NoData, RackId, Receipt, Signal, Snapshot, Watts};
use read::{Layout, Of};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ops::Range;
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
    /// What the meter of each cord, in the order of the plan, told last of the current behind its power.
    pub drawn: Vec<Option<Drawn>>,
    /// The GPUs in order.
    pub gpus: Vec<GpuBelief>,
    /// Coolant flow, l/min.
    pub flow_lpm: Option<f64>,
    /// Coolant supply, degrees Celsius.
    pub supply_celsius: Option<f64>,
    /// What its cooler holds the supply at, degrees Celsius, if it tells.
    pub supply_setpoint_celsius: Option<f64>,
    /// Coolant return, degrees Celsius.
    pub return_celsius: Option<f64>,
    /// What each UPS that the agent reads says of its battery.
    pub batteries: BTreeMap<DeviceId, Battery>,
    /// What the PDUs and the GPUs showed lately, the newest last.
    pub(crate) recent: VecDeque<(Mono, Watts, Watts)>,
}

/// A GPU regulated to its limit stays under it; above this share of it, it does not keep it.
const KEEPS: f64 = 1.05;
const KEEPS_WATTS: f64 = 10.0;

/// Whether so much is beyond a limit by more than what boards overshoot: a power, or another limit.
pub(crate) fn is_beyond(watts: Watts, limit: Watts) -> bool {
    watts > limit * KEEPS + Watts::new(KEEPS_WATTS)
}

/// A meter shows what flows, NVML a mean of about a second: of a load that swings with its training steps they speak of
/// different moments. Over so long they must agree.
const TOGETHER: Duration = Duration::from_secs(5);
/// More Snapshots than this need not be looked at for that.
const ENOUGH: usize = 32;

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

    /// Whether the PDUs show less than the GPUs behind them must draw: the most that they showed lately is less than the
    /// GPUs drew on average.
    pub fn contradicts(&self, spec: &RackSpec) -> bool {
        if self.metered().is_none() || self.gpu_power().is_none() || self.recent.is_empty() {
            return false;
        }
        let most = self.recent.iter().map(|r| r.1).fold(Watts::ZERO, Watts::max);
        let mean = self.recent.iter().map(|r| r.2).sum::<Watts>() * (1.0 / self.recent.len() as f64);
        // Half the overhead is always there: fans and CPUs never draw nothing.
        most * (1.0 + METER_TOLERANCE) < mean + spec.overhead * 0.5
    }

    /// Takes over what the belief before it saw lately, and what it knew of currents that no meter tells now.
    fn go_on(&mut self, before: Option<Self>) {
        if let Some(before) = before {
            self.recent = before.recent;
            self.drawn.iter_mut().zip(before.drawn).for_each(|(now, before)| *now = now.or(before.map(Drawn::last)));
        }
        self.recent.extend(self.metered().zip(self.gpu_power()).map(|(pdus, gpus)| (self.arrived, pdus, gpus)));
        let now = self.arrived;
        while self.recent.front().is_some_and(|r| now.since(r.0) > TOGETHER) || self.recent.len() > ENOUGH {
            self.recent.pop_front();
        }
    }
}

/// What a UPS says of its battery.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Battery {
    /// It carries the load.
    pub on: bool,
    /// How long it would at the load of then, s.
    pub runtime_s: Option<f64>,
    /// Its state of charge, 0 to 1.
    pub charge: Option<f64>,
}

/// What a meter showed last.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Metered {
    arrived: Mono,
    shown: Shown,
}

/// What a node's own meter shows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Shown {
    /// What flows.
    pub power: Watts,
    /// How it is divided among the phases, if it tells; sums to 1.
    pub phases: Option<[f64; 3]>,
    /// What it tells of the current behind it.
    pub drawn: Option<Drawn>,
}

/// The belief about every configured rack.
#[derive(Debug, Clone)]
pub struct Fleet {
    specs: Vec<RackSpec>,
    places: HashMap<RackId, usize>,
    /// In the order of the topology, as all that follows.
    racks: Vec<Option<RackBelief>>,
    /// What is read through each rack's agent and is no GPU.
    nodes: Vec<BTreeMap<DeviceId, Metered>>,
    receipts: Vec<(RackId, Receipt)>,
    layouts: Vec<Option<Layout>>,
}

impl Fleet {
    /// Nothing seen yet.
    pub fn new(topology: &Topology) -> Self {
        let specs = topology.racks().to_vec();
        let places = specs.iter().enumerate().map(|(place, r)| (r.id.clone(), place)).collect();
        let count = specs.len();
        Self {
            specs,
            places,
            racks: vec![None; count],
            nodes: vec![BTreeMap::new(); count],
            receipts: Vec::new(),
            layouts: vec![None; count],
        }
    }

    /// Takes in one Snapshot. Back-filled ones are history, not belief.
    pub fn fold(&mut self, snapshot: &Snapshot, arrived: Mono) {
        let receipts = snapshot.receipts.iter().map(|r| (snapshot.rack.clone(), r.clone()));
        self.receipts.extend(receipts);
        let place = self.places.get(&snapshot.rack).filter(|_| !snapshot.historical);
        let Some((place, spec)) = place.map(|place| (*place, &self.specs[*place])) else { return };
        let readings = &snapshot.readings;
        let layout = match self.layouts[place].take().filter(|layout| layout.is_of(readings)) {
            Some(layout) => layout,
            None => Layout::new(spec, readings),
        };
        let of = |place: &Range<usize>| Of::new(readings, place);
        let meters = || spec.feeds.iter().map(|cord| &cord.meter).zip(&layout.cords);
        let cords = meters().map(|(meter, place)| (meter.clone(), of(place).watts(Signal::PduPower))).collect();
        let phases = meters().filter_map(|(meter, place)| Some((meter.clone(), of(place).phases()?))).collect();
        let drawn = |place| Drawn::read(of(place), of(place).watts(Signal::PduPower).ok()?);
        let drawn = layout.cords.iter().map(drawn).collect();
        let gpus = layout.gpus.iter().map(|(id, place)| {
            let gpu = of(place);
            GpuBelief {
                id: id.clone(),
                power: gpu.watts(Signal::GpuPower),
                limit: gpu.watts(Signal::GpuLimitEnforced).ok(),
                utilization: gpu.value(Signal::GpuUtilization),
                temperature_celsius: gpu.value(Signal::GpuTemperature),
                temperature_margin_kelvins: gpu.value(Signal::GpuTemperatureMargin),
            }
        });
        let gpus = gpus.collect();
        let battery = |(device, place): &(DeviceId, Range<usize>)| {
            let ups = of(place);
            let on = ups.value(Signal::UpsOnBattery)? > 0.5;
            let (runtime_s, charge) = (ups.value(Signal::UpsBatteryRuntime), ups.value(Signal::UpsBatteryCharge));
            Some((device.clone(), Battery { on, runtime_s, charge }))
        };
        let batteries = layout.others.iter().filter(|_| layout.ups).filter_map(battery).collect();
        let coolant = |signal| spec.cooling.as_ref().and_then(|c| snapshot.value(c, signal));
        let mut belief = RackBelief {
            arrived,
            dead: false,
            cords,
            phases,
            drawn,
            gpus,
            flow_lpm: coolant(Signal::CoolingFlow),
            supply_celsius: coolant(Signal::CoolingSupplyTemperature),
            supply_setpoint_celsius: coolant(Signal::CoolingSupplySetpoint),
            return_celsius: coolant(Signal::CoolingReturnTemperature),
            batteries,
            recent: VecDeque::new(),
        };
        belief.go_on(self.racks[place].take());
        self.racks[place] = Some(belief);
        for (device, place_of) in &layout.others {
            let read = of(place_of);
            if let Some(power) = read.power() {
                let shown = Shown { power, phases: read.phases(), drawn: Drawn::read(read, power) };
                self.nodes[place].insert(device.clone(), Metered { arrived, shown });
            }
        }
        self.layouts[place] = Some(layout);
    }

    fn place(&self, rack: &RackId) -> Option<usize> {
        self.places.get(rack).copied()
    }

    /// The agent said good-bye, or the broker said it for it.
    pub fn death(&mut self, rack: &RackId) {
        if let Some(belief) = self.place(rack).and_then(|place| self.racks[place].as_mut()) {
            belief.dead = true;
        }
    }

    /// What is known of one rack.
    pub fn rack(&self, id: &RackId) -> Option<&RackBelief> {
        self.racks[self.place(id)?].as_ref()
    }

    /// The same of the rack at this place of the topology, without looking for it if it is there.
    pub fn rack_at(&self, place: usize, id: &RackId) -> Option<&RackBelief> {
        match self.specs.get(place) {
            Some(spec) if spec.id == *id => self.racks[place].as_ref(),
            _ => self.rack(id),
        }
    }

    /// Whether a rack has lost a cord, as far as its own meters tell.
    pub fn lost_a_cord(&self, id: &RackId) -> bool {
        let known = self.place(id).and_then(|place| Some((&self.specs[place], self.racks[place].as_ref()?)));
        known.is_some_and(|(spec, belief)| belief.lost_cords(spec).contains(&true))
    }

    /// The power a node's own meter shows, if it is fresh.
    pub fn meter(&self, rack: &RackId, device: &DeviceId, now: Mono) -> Option<Watts> {
        Some(self.metered(rack, device, now)?.power)
    }

    /// What a node's own meter shows, if it is fresh.
    pub fn metered(&self, rack: &RackId, device: &DeviceId, now: Mono) -> Option<Shown> {
        let last = self.nodes[self.place(rack)?].get(device)?;
        (now.since(last.arrived) <= FRESH).then_some(last.shown)
    }

    /// The battery behind a node's own meter, as last told; `None` if that tells of none.
    pub fn battery(&self, rack: &RackId, device: &DeviceId) -> Option<Battery> {
        self.rack(rack)?.batteries.get(device).copied()
    }

    /// Receipts since the last call.
    pub fn take_receipts(&mut self) -> Vec<(RackId, Receipt)> {
        std::mem::take(&mut self.receipts)
    }
}

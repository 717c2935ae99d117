//! The controller's cores in the place of its shell: hears, forecasts, decides each second or at
//! once, orders.

use super::wiring::topology;
use super::{Hour, Message, Mind};
use headroom_controller_core::automation::{Stops, Tolerance};
use headroom_controller_core::urgency::Urgency;
use headroom_controller_core::{Automation, Decider, Fleet, Hands, Policy, Prepared};
use headroom_predict::{History, Mixtures, Predictor, Sample};
use headroom_rack::{
    Answer, Cap, DeviceId, Forecast, Generation, Mode, Mono, Order, Plan, RackId, Setting, Signal, Snapshot, Source,
    UnixMs, Watts,
};
use headroom_sim::plant::chance::Chance;
use headroom_sim::plant::spec::{Medium, PlantSpec};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;
use std::time::Duration;

const PERIOD_MS: u64 = 1000;
const LEASE_MS: u32 = 5000;
/// A UPS on battery is to last ten minutes: the time a generator and a second try may take.
const BATTERY_TARGET: Duration = Duration::from_secs(600);
/// Air at the inlets where air cools: the most that ASHRAE TC 9.9 allows class A2.
pub const INLET_LIMIT_CELSIUS: f64 = 35.0;
/// When the simulated day begins, ms of Unix time.
const EPOCH_MS: f64 = 1.7e12;

/// Who makes the Forecasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Foresight {
    /// Nobody: the reactive decision.
    None,
    /// The shipped model, or the fallback where it has no say.
    Model,
}

pub struct Controller {
    fleet: Fleet,
    decider: Decider,
    automation: Automation,
    generation: Generation,
    /// Which rack of the plant each rack of the topology is.
    racks: Vec<usize>,
    latest: BTreeMap<RackId, (Snapshot, u64)>,
    urgency: Urgency,
    last: Option<(Plan, u64)>,
    foresight: Foresight,
    histories: BTreeMap<RackId, History>,
    mixtures: Mixtures,
    rubbish: Chance,
    /// Limits as last sent.
    sent: BTreeMap<RackId, Vec<Watts>>,
    /// What lies ready for the loss of a feed, reckoned after a period's decision for the Orders after it.
    ready: Vec<Prepared>,
    next_ms: u64,
    urgent: bool,
}

/// The shipped model, loaded once.
fn model() -> Result<&'static Predictor, String> {
    static MODEL: OnceLock<Result<Predictor, String>> = OnceLock::new();
    MODEL.get_or_init(|| Predictor::embedded().map_err(|why| why.to_string())).as_ref().map_err(Clone::clone)
}

/// Name of the shipped model, or why there is none.
pub fn model_name() -> Result<String, String> {
    model().map(|m| m.name().to_owned())
}

impl Controller {
    /// Under the policy that a site begins with.
    pub fn new(plant: &PlantSpec, epoch: u64, present: &[bool], foresight: Foresight) -> Self {
        let air = plant.racks.iter().any(|r| r.medium == Medium::Air);
        let inlet_limit_celsius = air.then_some(INLET_LIMIT_CELSIUS);
        let policy = Policy { battery_target: BATTERY_TARGET, inlet_limit_celsius, ..Policy::default() };
        Self::under(policy, plant, epoch, present, foresight)
    }

    /// Under a policy.
    pub fn under(policy: Policy, plant: &PlantSpec, epoch: u64, present: &[bool], foresight: Foresight) -> Self {
        let topology = topology(plant, present);
        let nameplates = topology.racks().iter().map(|r| (r.id.clone(), r.nameplate()));
        Self {
            fleet: Fleet::new(&topology),
            automation: Automation::new(&topology, Tolerance::default(), Stops::default()),
            racks: (0..plant.racks.len()).filter(|r| present[*r]).collect(),
            histories: nameplates.map(|(id, most)| (id, History::new(most))).collect(),
            urgency: Urgency::new(&topology),
            decider: Decider::new(topology, policy),
            generation: Generation { epoch, counter: 0 },
            latest: BTreeMap::new(),
            last: None,
            foresight,
            mixtures: Mixtures::default(),
            rubbish: Chance::new(plant.seed, "rubbish"),
            sent: BTreeMap::new(),
            ready: Vec::new(),
            next_ms: 0,
            urgent: false,
        }
    }

    pub(super) fn epoch(&self) -> u64 {
        self.generation.epoch
    }

    pub(super) fn set_target(&mut self, target: Option<Watts>) {
        self.decider.set_target(target);
    }

    /// The racks that are there changed: a new tree, with the trip images and what was heard so far.
    pub(super) fn rewire(&mut self, plant: &PlantSpec, present: &[bool], now_ms: u64) {
        let policy = self.decider.policy().clone();
        let mut next = Self::under(policy, plant, self.generation.epoch, present, self.foresight);
        if let Some((plan, at_ms)) = self.last.take() {
            next.decider.restore(&plan, Duration::from_millis(now_ms - at_ms));
        }
        next.generation = self.generation;
        next.next_ms = self.next_ms;
        for (snapshot, at_ms) in self.latest.values() {
            next.hear(snapshot, *at_ms);
        }
        next.urgent = true;
        *self = next;
    }

    fn forecasts(&mut self, at: UnixMs, rubbish: bool) -> BTreeMap<RackId, Forecast> {
        if rubbish {
            return self.histories.keys().map(|rack| (rack.clone(), nonsense(rack, at, &mut self.rubbish))).collect();
        }
        if self.foresight == Foresight::None {
            return BTreeMap::new();
        }
        let racks: Vec<(&RackId, &History)> = self.histories.iter().collect();
        let model = model();
        let spoken = self.mixtures.forecast(model.as_ref().copied().map_err(String::as_str), &racks, at);
        spoken.into_iter().map(|spoken| (spoken.forecast.rack.clone(), spoken.forecast)).collect()
    }

    /// What a controller of the epoch before would send: everything at its maximum.
    pub(super) fn mad_orders(&self, plant: &PlantSpec) -> Vec<Message> {
        let generation = Generation { epoch: self.generation.epoch.saturating_sub(1), counter: u64::MAX };
        let most = Watts::new(plant.gpu.max_watts);
        plant.racks.iter().map(|r| orders(r.gpus, most, generation)).collect()
    }
}

impl Mind for Controller {
    fn hear(&mut self, snapshot: &Snapshot, now_ms: u64) {
        let overtaken = self.latest.get(&snapshot.rack).is_some_and(|(last, _)| last.seq >= snapshot.seq);
        if overtaken {
            return;
        }
        let whole = !self.fleet.lost_a_cord(&snapshot.rack);
        self.fleet.fold(snapshot, Mono::from_ms(now_ms));
        self.urgent |= whole && self.fleet.lost_a_cord(&snapshot.rack);
        self.automation.receipts(&self.fleet.take_receipts(), self.generation.epoch);
        self.latest.insert(snapshot.rack.clone(), (snapshot.clone(), now_ms));
        if let Some(history) = self.histories.get_mut(&snapshot.rack)
            && self.foresight == Foresight::Model
        {
            history.push(UnixMs::new(EPOCH_MS as u64 + now_ms), sample(snapshot));
        }
        self.urgent |= self.urgency.see(snapshot).is_some();
    }

    fn step(&mut self, hour: Hour<'_>) -> Option<Vec<Message>> {
        if !self.urgent && hour.now_ms < self.next_ms {
            return None;
        }
        let between = hour.now_ms < self.next_ms;
        if !between {
            self.next_ms = hour.now_ms + PERIOD_MS;
        }
        self.urgent = false;
        self.generation.counter += 1;
        let wall = UnixMs::new((EPOCH_MS + hour.now_ms as f64 + hour.clock_jump_s * 1000.0) as u64);
        let now = Mono::from_ms(hour.now_ms);
        let forecasts = self.forecasts(UnixMs::new(EPOCH_MS as u64 + hour.now_ms), hour.rubbish);
        let stops = self.automation.stops();
        let mode = if stops.whole.is_some() { Mode::Safe } else { Mode::Automatic };
        let plan = self.decider.decide(&self.fleet, &forecasts, now, wall, self.generation, mode);
        if self.automation.decided(&plan, &BTreeSet::new(), &self.fleet, now) {
            let safe = self.automation.stops().racks.keys().cloned().collect();
            self.decider.set_hands(&Hands { safe, ..Hands::default() });
        }
        let mut all = vec![Message::default(); hour.plant.racks().len()];
        for (place, (cap, rack)) in plan.caps.iter().zip(&self.racks).enumerate() {
            let generation = self.generation;
            let order = |(device, watts): &(DeviceId, Watts)| order(device.clone(), *watts, generation);
            // As in the shell: between periods who must come down hears, and who rose.
            let sent = self.sent.entry(cap.rack.clone()).or_default();
            if !between || self.urgency.cannot_wait(place, cap, sent) {
                all[*rack].orders = cap.gpus.iter().map(order).collect();
                let unheard = self.decider.unheard(place);
                let ready = self.ready.iter().filter(|ready| ready.rack == cap.rack).chain(&unheard);
                all[*rack].answers = ready.flat_map(|ready| answers(ready, cap, generation)).collect();
                *sent = cap.gpus.iter().map(|(_, watts)| *watts).collect();
            }
        }
        self.urgency.decided(&plan);
        if !between {
            self.ready = self.decider.answers(&self.fleet);
        }
        self.last = Some((plan, hour.now_ms));
        Some(all)
    }

    /// As a whole or for a rack.
    fn has_stopped(&self) -> bool {
        *self.automation.stops() != Stops::default()
    }
}

/// One limit for every GPU of a rack.
pub fn orders(gpus: usize, watts: Watts, generation: Generation) -> Message {
    let gpu = |g: usize| DeviceId::gpu(u32::try_from(g).unwrap_or(u32::MAX));
    Message { orders: (0..gpus).map(|g| order(gpu(g), watts, generation)).collect(), answers: Vec::new() }
}

fn order(device: DeviceId, watts: Watts, generation: Generation) -> Order {
    Order { device, setting: Setting::PowerLimit(watts), generation, lease_ms: LEASE_MS }
}

/// What lies ready for each GPU of a rack.
fn answers(ready: &Prepared, cap: &Cap, generation: Generation) -> Vec<Answer> {
    let answer =
        |device: &DeviceId| Answer { when: ready.when.clone(), order: order(device.clone(), ready.gpu, generation) };
    cap.gpus.iter().map(|(device, _)| answer(device)).collect()
}

/// What the shell's histories keep of a Snapshot: the sum of the PDUs, of the limits, the mean use.
fn sample(snapshot: &Snapshot) -> Sample {
    let sum = |signal: Signal| -> Option<(f64, usize)> {
        let of = || snapshot.readings.iter().filter(|(p, _)| p.signal == signal);
        let count = Some(of().count()).filter(|n| *n > 0)?;
        // A sum with a missing part is unknown, not smaller.
        Some((of().map(|(_, r)| r.ok()).sum::<Option<f64>>()?, count))
    };
    Sample {
        power: sum(Signal::PduPower).map(|s| Watts::new(s.0)),
        limit: sum(Signal::GpuLimitEnforced).map(|s| Watts::new(s.0)),
        utilization: sum(Signal::GpuUtilization).map(|(sum, count)| sum / count as f64),
    }
}

/// A Forecast of a model that lost its mind.
fn nonsense(rack: &RackId, at: UnixMs, chance: &mut Chance) -> Forecast {
    const VALUES: [f64; 6] = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -1e9, 0.0, 1e9];
    let mut value = || Watts::new(VALUES[(chance.unit() * VALUES.len() as f64) as usize]);
    let values = headroom_predict::HORIZONS_S.iter().map(|_| headroom_predict::QUANTILES.map(|_| value()).to_vec());
    Forecast {
        rack: rack.clone(),
        at,
        horizons_s: headroom_predict::HORIZONS_S.to_vec(),
        quantiles: headroom_predict::QUANTILES.to_vec(),
        values: values.collect(),
        source: Source::Model("rubbish".to_owned()),
    }
}

//! The controller's cores in the place of its shell: hears, decides each second or at once, orders.

use super::agent::safe_share;
use headroom_controller_core::topology::NodeKind;
use headroom_controller_core::{Decider, FeedShare, Fleet, MeterRef, NodeSpec, Policy, RackSpec, Topology};
use headroom_rack::{
    DeviceId, Generation, IdError, Mode, Mono, NodeId, Order, RackId, Setting, Snapshot, UnixMs, Watts,
};
use headroom_sim::plant::FEEDS;
use headroom_sim::plant::spec::PlantSpec;
use std::collections::BTreeMap;
use std::time::Duration;

const PERIOD_MS: u64 = 1000;
/// A rise by this share of a rack's nameplate does not wait for the period, as in the shell.
const STEP_SHARE: f64 = 0.10;
const LEASE_MS: u32 = 5000;
/// A UPS on battery is to last ten minutes: the time a generator and a second try may take.
const BATTERY_TARGET: Duration = Duration::from_secs(600);

pub(super) struct Controller {
    fleet: Fleet,
    decider: Decider,
    generation: Generation,
    nameplates: BTreeMap<RackId, f64>,
    decided_at: BTreeMap<RackId, f64>,
    heard: BTreeMap<RackId, (f64, u64)>,
    battery: BTreeMap<DeviceId, bool>,
    next_ms: u64,
    urgent: bool,
}

impl Controller {
    pub(super) fn new(plant: &PlantSpec, epoch: u64) -> Self {
        let topology = topology(plant);
        Self {
            fleet: Fleet::new(&topology),
            nameplates: topology.racks().iter().map(|r| (r.id.clone(), r.nameplate().get())).collect(),
            decider: Decider::new(topology, Policy { battery_target: BATTERY_TARGET, ..Policy::default() }),
            generation: Generation { epoch, counter: 0 },
            decided_at: BTreeMap::new(),
            heard: BTreeMap::new(),
            battery: BTreeMap::new(),
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

    pub(super) fn hear(&mut self, snapshot: &Snapshot, now_ms: u64) {
        let overtaken = self.heard.get(&snapshot.rack).is_some_and(|(_, seq)| *seq >= snapshot.seq);
        if overtaken {
            return;
        }
        self.fleet.fold(snapshot, Mono::from_ms(now_ms));
        let Some(power) = self.fleet.rack(&snapshot.rack).and_then(|b| b.metered()) else { return };
        self.heard.insert(snapshot.rack.clone(), (power.get(), snapshot.seq));
        let rise = self.decided_at.get(&snapshot.rack).map(|then| power.get() - then);
        self.urgent |= rise.zip(self.nameplates.get(&snapshot.rack)).is_some_and(|(r, n)| r > STEP_SHARE * n);
        for feed in FEEDS {
            let Ok(ups) = DeviceId::new(format!("ups-{feed}")) else { continue };
            if let Some(battery) = self.fleet.battery(&snapshot.rack, &ups) {
                self.urgent |= self.battery.insert(ups, battery.on) == Some(!battery.on);
            }
        }
    }

    /// The Orders per rack, if it is time or something cannot wait.
    pub(super) fn step(&mut self, now_ms: u64, clock_jump_s: f64) -> Option<Vec<Vec<Order>>> {
        if !self.urgent && now_ms < self.next_ms {
            return None;
        }
        if !self.urgent {
            self.next_ms = now_ms + PERIOD_MS;
        }
        self.urgent = false;
        self.generation.counter += 1;
        let wall = UnixMs::new((1.7e12 + now_ms as f64 + clock_jump_s * 1000.0) as u64);
        let now = Mono::from_ms(now_ms);
        let plan = self.decider.decide(&self.fleet, &BTreeMap::new(), now, wall, self.generation, Mode::Automatic);
        self.decided_at = self.heard.iter().map(|(rack, (power, _))| (rack.clone(), *power)).collect();
        let order = |device: &DeviceId, watts: Watts| Order {
            device: device.clone(),
            setting: Setting::PowerLimit(watts),
            generation: self.generation,
            lease_ms: LEASE_MS,
        };
        Some(plan.caps.iter().map(|cap| cap.gpus.iter().map(|(d, w)| order(d, *w)).collect()).collect())
    }

    /// What a controller of the epoch before would send: everything at its maximum.
    pub(super) fn mad_orders(&self, plant: &PlantSpec) -> Vec<Vec<Order>> {
        let generation = Generation { epoch: self.generation.epoch.saturating_sub(1), counter: u64::MAX };
        let order = |g: usize| Order {
            device: DeviceId::gpu(u32::try_from(g).unwrap_or(u32::MAX)),
            setting: Setting::PowerLimit(Watts::new(plant.gpu.max_watts)),
            generation,
            lease_ms: LEASE_MS,
        };
        plant.racks.iter().map(|r| (0..r.gpus).map(order).collect()).collect()
    }
}

fn name<T>(text: String, make: impl Fn(String) -> Result<T, IdError>) -> T {
    make(text).expect("invariant: the scenario's names were checked")
}

/// The row as an operator writes it into the controller's config.
fn topology(plant: &PlantSpec) -> Topology {
    let mut nodes = Vec::new();
    for (f, feed) in FEEDS.iter().enumerate() {
        let reader = &plant.racks[f.min(plant.racks.len() - 1)];
        let ups = name(format!("ups-{feed}"), NodeId::new);
        let meter =
            MeterRef { rack: name(reader.id.clone(), RackId::new), device: name(format!("ups-{feed}"), DeviceId::new) };
        let id = name(format!("breaker-{feed}"), NodeId::new);
        let rating = Watts::new(plant.breaker.rating_amperes * plant.volts * 3.0);
        let breaker = NodeSpec { parent: Some(ups.clone()), ..NodeSpec::new(id, NodeKind::Breaker, feed, rating) };
        let ups = NodeSpec::new(ups, NodeKind::Ups, feed, Watts::new(plant.ups.rating_watts));
        nodes.extend([NodeSpec { meter: Some(meter), ..ups }, breaker]);
    }
    let cord = |feed: &str| {
        let node = name(format!("breaker-{feed}"), NodeId::new);
        FeedShare::new(node, 0.5, name(format!("pdu-{feed}"), DeviceId::new))
    };
    let racks = plant
        .racks
        .iter()
        .map(|r| RackSpec {
            id: name(r.id.clone(), RackId::new),
            priority: r.workload.word().to_owned(),
            weight: 1.0,
            gpus: u32::try_from(r.gpus).unwrap_or(u32::MAX),
            overhead: Watts::new(r.overhead_watts.max(1.0)),
            gpu_max: Watts::new(plant.gpu.max_watts),
            safe_gpu: safe_share(plant),
            feeds: FEEDS.map(cord).to_vec(),
            cooling: Some(name("cooling".to_owned(), DeviceId::new)),
        })
        .collect();
    Topology::new(nodes, racks).expect("invariant: two feeds with ratings")
}

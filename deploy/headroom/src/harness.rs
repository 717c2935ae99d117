//! A row in one process and accelerated time: the agents' and the controller's cores against the
//! plant, with a bus between them that may lose, delay, repeat and reorder. The same case gives the
//! same run. Cores and plant know nothing of each other; they meet here as they do over the wire.

mod agent;
mod controller;
mod telemetry;

use agent::Agent;
use controller::Controller;
use headroom_rack::{Order, Snapshot, Watts};
use headroom_sim::fault::{Kind, Target};
use headroom_sim::plant::Plant;
use headroom_sim::plant::chance::Chance;
use headroom_sim::plant::gpu::Requests;
use headroom_sim::plant::spec::PlantSpec;
use headroom_sim::scenario::ScheduledFault;
use std::collections::{BTreeMap, BTreeSet};

/// Step of the physics, s; stable up to 0.1.
const STEP_S: f64 = 0.05;
/// The lowest limit anybody may set, W per GPU: the board's, and the policy's default.
pub const FLOOR_WATTS: f64 = 200.0;
/// What the bus takes when nothing is wrong with it, s.
const BUS_S: f64 = 0.02;

/// What happens to the software, or is asked of it from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// The agent of rack number `value` dies; `ExecStopPost=` sets the safe share.
    AgentKilled,
    /// The agent of rack number `value` stands still and leaves every limit as it is.
    AgentHung,
    /// The controller dies; after `until_s` another starts in a new epoch.
    ControllerKilled,
    /// The controller neither hears nor is heard, and goes on deciding.
    ControllerPartitioned,
    /// Nothing passes the bus.
    BrokerDown,
    /// A controller of an older epoch sends Orders as well: every GPU to its maximum.
    OldController,
    /// Messages take up to `value` s, some come twice, none in order.
    MessagesLate,
    /// The wall clock jumps by `value` s.
    ClockJump,
    /// Everything together may draw only the share `value` of what it draws now.
    Target,
}

/// One of them with its time.
#[derive(Debug, Clone, PartialEq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Event {
    /// Seconds since the start.
    pub at_s: f64,
    /// When it is over; never, if absent.
    pub until_s: Option<f64>,
    /// What.
    pub kind: EventKind,
    /// How much, or which rack counted from 0; each kind says.
    #[serde(default)]
    pub value: f64,
}

impl Event {
    fn lasts(&self, t: f64) -> bool {
        t >= self.at_s && self.until_s.is_none_or(|until| t < until)
    }
}

/// All that a run depends on.
#[derive(Debug, Clone)]
pub struct Case {
    /// The row.
    pub plant: PlantSpec,
    /// What goes wrong in it and with its meters.
    pub faults: Vec<ScheduledFault>,
    /// What goes wrong with the software.
    pub events: Vec<Event>,
    /// How long.
    pub seconds: f64,
}

impl Case {
    /// When the first thing goes wrong; 0 if nothing does.
    pub fn first_s(&self) -> f64 {
        let times = self.faults.iter().map(|f| f.at_s).chain(self.events.iter().map(|e| e.at_s));
        times.reduce(f64::min).unwrap_or(0.0)
    }
}

/// How a run ended.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Outcome {
    /// Breakers that opened and UPSs that dropped their load.
    pub trips: BTreeSet<String>,
    /// GPUs that shut themselves down.
    pub shutdowns: BTreeSet<(usize, usize)>,
    /// Limits set below the floor.
    pub floor_violations: u64,
    /// The least time any breaker was away from opening; `None`: none was ever on the way to it.
    pub margin_s: Option<f64>,
    /// Seconds that targets from outside were missed by more than 2 % from 10 s after they came.
    pub target_missed_s: f64,
}

/// Plays a case. `floor_from_s`: from then on every GPU that somebody can reach is at its floor,
/// whatever agents and controller want.
pub fn play(case: &Case, floor_from_s: Option<f64>) -> Outcome {
    let mut plant = Plant::new(&case.plant);
    let mut outcome = Outcome::default();
    let mut agents: Vec<Agent> = (0..case.plant.racks.len()).map(|r| Agent::new(&case.plant, r)).collect();
    let mut controller = Controller::new(&case.plant, 1);
    let mut bus = Bus { chance: Chance::new(case.plant.seed, "bus"), up: Vec::new(), down: Vec::new() };
    let mut faults = case.faults.iter().peekable();
    let mut targets: BTreeMap<usize, f64> = BTreeMap::new();
    let steps = (case.seconds / STEP_S) as u64;
    for step in 0..steps {
        let t = step as f64 * STEP_S;
        let now_ms = step * 50;
        while let Some(fault) = faults.next_if(|f| f.at_s <= t) {
            fault.fault.act(&mut plant);
            note_meter_fault(&mut agents, &fault.fault);
        }
        let on = |kind| case.events.iter().any(|e| e.kind == kind && e.lasts(t));
        let (dead, cut) = (on(EventKind::ControllerKilled), on(EventKind::BrokerDown));
        let deaf = cut || on(EventKind::ControllerPartitioned);
        let late = case.events.iter().find(|e| e.kind == EventKind::MessagesLate && e.lasts(t)).map(|e| e.value);
        let hangs = |r: usize, kind| case.events.iter().any(|e| e.kind == kind && e.lasts(t) && e.value as usize == r);
        plant.step(STEP_S);
        for (r, agent) in agents.iter_mut().enumerate() {
            agent.alive = !hangs(r, EventKind::AgentKilled);
            agent.hung = hangs(r, EventKind::AgentHung);
            if step % 2 == 0 {
                agent.step(&mut plant, now_ms, &mut outcome);
            }
            if step % 20 == (r as u64 * 7) % 20
                && let Some(snapshot) = agent.snapshot(&plant, now_ms)
                && !deaf
            {
                bus.send_up(t, late, snapshot);
            }
            if floor_from_s.is_some_and(|from| t >= from) && agent.alive && !agent.hung {
                for g in 0..plant.racks()[r].gpus.len() {
                    plant.request(r, g, Requests { limit_watts: FLOOR_WATTS, locked_mhz: None });
                }
            }
        }
        if dead {
            controller = Controller::new(&case.plant, controller.epoch() + 1);
        } else {
            let drawn: f64 = plant.feeds().iter().flat_map(|f| f.watts()).sum();
            for (i, event) in case.events.iter().enumerate().filter(|(_, e)| e.kind == EventKind::Target) {
                if event.lasts(t) {
                    let most = *targets.entry(i).or_insert(drawn * event.value);
                    controller.set_target(Some(Watts::new(most)));
                    if t > event.at_s + 10.0 && drawn > most * 1.02 {
                        outcome.target_missed_s += STEP_S;
                    }
                } else if targets.remove(&i).is_some() {
                    controller.set_target(None);
                }
            }
            let jump: f64 =
                case.events.iter().filter(|e| e.kind == EventKind::ClockJump && e.lasts(t)).map(|e| e.value).sum();
            for snapshot in bus.arrived_up(t) {
                controller.hear(&snapshot, now_ms);
            }
            if let Some(orders) = controller.step(now_ms, jump)
                && !deaf
            {
                bus.send_down(t, late, &orders);
            }
            if on(EventKind::OldController) && step % 20 == 10 && !cut {
                bus.send_down(t, late, &controller.mad_orders(&case.plant));
            }
        }
        for (rack, orders) in bus.arrived_down(t, cut) {
            agents[rack].take(&orders, now_ms);
        }
        judge(&plant, &mut outcome);
    }
    outcome
}

fn note_meter_fault(agents: &mut [Agent], fault: &headroom_sim::fault::Fault) {
    match (fault.kind, fault.target) {
        (Kind::BmcLimit, Target::Gpu(r, g)) => agents[r].bmc(g, fault.value.unwrap_or(300.0)),
        (Kind::Clear, Target::Pdu(r, _) | Target::Cooling(r)) => agents[r].meters.clear(),
        (kind, target @ (Target::Pdu(r, _) | Target::Cooling(r))) => agents[r].meters.note(kind, target, fault.value),
        _ => {}
    }
}

fn judge(plant: &Plant, outcome: &mut Outcome) {
    for (f, feed) in plant.feeds().iter().enumerate() {
        let name = headroom_sim::plant::FEEDS[f];
        if feed.breaker.tripped().is_some() {
            outcome.trips.insert(format!("breaker-{name}"));
        } else if let Some(left) = feed.breaker.seconds_left(feed.amperes().map(headroom_rack::Amperes::new)) {
            outcome.margin_s = Some(outcome.margin_s.map_or(left, |m| m.min(left)));
        }
        if !feed.ups.readout.output_on {
            outcome.trips.insert(format!("ups-{name}"));
        }
    }
    for (r, rack) in plant.racks().iter().enumerate() {
        outcome.shutdowns.extend(rack.gpus.iter().enumerate().filter(|(_, g)| g.overheated()).map(|(g, _)| (r, g)));
    }
}

/// Messages under way, with the time they arrive.
struct Bus {
    chance: Chance,
    up: Vec<(f64, Snapshot)>,
    down: Vec<(f64, usize, Vec<Order>)>,
}

impl Bus {
    /// When the copies of one message arrive.
    fn arrivals(&mut self, t: f64, late: Option<f64>) -> Vec<f64> {
        match late {
            None => vec![t + BUS_S],
            Some(most) => {
                let copies = if self.chance.happens(0.2) { 2 } else { 1 };
                (0..copies).map(|_| t + self.chance.between(BUS_S, most.max(2.0 * BUS_S))).collect()
            }
        }
    }

    fn send_up(&mut self, t: f64, late: Option<f64>, snapshot: Snapshot) {
        let arrivals = self.arrivals(t, late);
        self.up.extend(arrivals.into_iter().map(|at| (at, snapshot.clone())));
    }

    fn send_down(&mut self, t: f64, late: Option<f64>, orders: &[Vec<Order>]) {
        for (rack, orders) in orders.iter().enumerate() {
            let arrivals = self.arrivals(t, late);
            self.down.extend(arrivals.into_iter().map(|at| (at, rack, orders.clone())));
        }
    }

    fn arrived_up(&mut self, t: f64) -> Vec<Snapshot> {
        self.up.extract_if(.., |m| m.0 <= t).map(|m| m.1).collect()
    }

    fn arrived_down(&mut self, t: f64, cut: bool) -> Vec<(usize, Vec<Order>)> {
        let arrived = self.down.extract_if(.., |m| m.0 <= t).map(|m| (m.1, m.2));
        arrived.filter(|_| !cut).collect()
    }
}

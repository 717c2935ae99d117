//! A row in one process and accelerated time: the agents' and the controller's cores against the
//! plant, with a bus between them that may lose, delay, repeat and reorder. The same case gives the
//! same run. Cores and plant know nothing of each other; they meet here as they do over the wire.

mod agent;
mod bus;
mod controller;
#[cfg(test)]
mod coolant;
mod outcome;
mod stage;
mod telemetry;
mod wiring;

pub use controller::{Controller, Foresight, INLET_LIMIT_CELSIUS, model_name, orders};
pub use outcome::Outcome;
pub use stage::{STEP_S, Stage};

use headroom_rack::{Answer, Order, Snapshot, Watts};
use headroom_sim::plant::Plant;
use headroom_sim::plant::spec::PlantSpec;
use headroom_sim::scenario::ScheduledFault;
use std::collections::{BTreeMap, VecDeque};

/// The lowest limit anybody may set, W per GPU: the board's, and the policy's default.
pub const FLOOR_WATTS: f64 = 200.0;

/// A load that swings is compared with the most it drew in so long, s: a few training steps.
const LATELY_S: f64 = 10.0;

/// What goes to one rack at a time.
#[derive(Debug, Clone, Default)]
pub struct Message {
    /// What is to be set.
    pub orders: Vec<Order>,
    /// What lies ready.
    pub answers: Vec<Answer>,
}

/// Whoever decides: hears Snapshots, and gives Orders when it wants to.
pub trait Mind {
    /// A Snapshot arrives.
    fn hear(&mut self, snapshot: &Snapshot, now_ms: u64);
    /// The Orders per rack of the plant, if it is time or something cannot wait.
    fn step(&mut self, hour: Hour<'_>) -> Option<Vec<Message>>;
    /// It has stopped itself and called a person.
    fn has_stopped(&self) -> bool {
        false
    }
}

/// What a decision may see besides what it heard.
#[derive(Debug, Clone, Copy)]
pub struct Hour<'p> {
    /// The controller's own clock.
    pub now_ms: u64,
    /// By how much the wall clock has jumped, s.
    pub clock_jump_s: f64,
    /// The model predicts rubbish.
    pub rubbish: bool,
    /// The plant itself. Only an oracle looks.
    pub plant: &'p Plant,
}

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
    /// The model predicts rubbish: no numbers, infinities, negative and absurd powers.
    ModelRubbish,
    /// Rack number `value` is not there before; then it is plugged in and written into the topology.
    RackAdded,
    /// Rack number `value` is unplugged and, at the same time, taken out of the topology.
    RackRemoved,
    /// The UPS of feed number `value` tells no runtime.
    RuntimeUntold,
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

    /// Whether `value` is the number of a rack.
    pub fn is_about_rack(&self) -> bool {
        use EventKind::{AgentHung, AgentKilled, RackAdded, RackRemoved};
        matches!(self.kind, AgentHung | AgentKilled | RackAdded | RackRemoved)
    }

    /// Whether `value` is the number of a feed.
    pub fn is_about_feed(&self) -> bool {
        self.kind == EventKind::RuntimeUntold
    }

    fn is_about(&self, rack: usize) -> bool {
        self.value as usize == rack
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

    /// Which racks are plugged in.
    fn present(&self, t: f64) -> Vec<bool> {
        let there = |rack: usize| {
            let mut about = self.events.iter().filter(|e| e.is_about(rack));
            !about.any(|e| match e.kind {
                EventKind::RackAdded => t < e.at_s,
                EventKind::RackRemoved => t >= e.at_s,
                _ => false,
            })
        };
        let mut present: Vec<bool> = (0..self.plant.racks.len()).map(there).collect();
        // A row has a rack: no controller can be told of none.
        if let Some(first) = present.first_mut().filter(|_| !(0..self.plant.racks.len()).any(there)) {
            *first = true;
        }
        present
    }
}

/// Plays a case. `floor_from_s`: from then on every GPU that somebody can reach is at its floor,
/// whatever agents and controller want.
pub fn play(case: &Case, floor_from_s: Option<f64>) -> Outcome {
    let mut stage = Stage::new(&case.plant);
    let mut outcome = Outcome::default();
    let mut present = case.present(0.0);
    stage.plug(&present);
    let mut controller = Controller::new(&case.plant, 1, &present, Foresight::None);
    let mut faults = case.faults.iter().peekable();
    let mut targets: BTreeMap<usize, (f64, f64)> = BTreeMap::new();
    let mut lately: VecDeque<f64> = VecDeque::new();
    for _ in 0..(case.seconds / STEP_S) as u64 {
        let (t, now_ms) = (stage.time_s(), stage.now_ms());
        while let Some(fault) = faults.next_if(|f| f.at_s <= t) {
            stage.fail(&fault.fault);
        }
        let on = |kind| case.events.iter().any(|e| e.kind == kind && e.lasts(t));
        let (dead, cut) = (on(EventKind::ControllerKilled), on(EventKind::BrokerDown));
        stage.cut = cut;
        stage.deaf = cut || on(EventKind::ControllerPartitioned);
        stage.late = case.events.iter().find(|e| e.kind == EventKind::MessagesLate && e.lasts(t)).map(|e| e.value);
        let hits = |r: usize, kind| case.events.iter().any(|e| e.kind == kind && e.lasts(t) && e.is_about(r));
        for (r, there) in present.iter().enumerate() {
            stage.harm(r, hits(r, EventKind::AgentKilled) || !there, hits(r, EventKind::AgentHung));
        }
        for feed in 0..case.plant.feed_count() {
            stage.untold(feed, hits(feed, EventKind::RuntimeUntold));
        }
        let now_present = case.present(t);
        if now_present != present {
            present = now_present;
            stage.plug(&present);
            controller.rewire(&case.plant, &present, now_ms);
        }
        stage.physics(floor_from_s.is_some_and(|from| t >= from), &mut outcome);
        if dead {
            controller = Controller::new(&case.plant, controller.epoch() + 1, &present, Foresight::None);
        } else {
            let drawn = stage.drawn_watts();
            lately.push_back(drawn);
            lately.drain(..lately.len().saturating_sub((LATELY_S / STEP_S) as usize));
            for (i, event) in case.events.iter().enumerate().filter(|(_, e)| e.kind == EventKind::Target) {
                if event.lasts(t) {
                    let peak = || lately.iter().copied().fold(drawn, f64::max);
                    let (most, _) = *targets.entry(i).or_insert_with(|| (drawn * event.value, peak()));
                    controller.set_target(Some(Watts::new(most)));
                    outcome.hold(t - event.at_s, drawn, most);
                } else if let Some((_, before)) = targets.get(&i) {
                    controller.set_target(None);
                    outcome.release(t - event.until_s.unwrap_or(t), drawn, *before);
                }
            }
            let jump: f64 =
                case.events.iter().filter(|e| e.kind == EventKind::ClockJump && e.lasts(t)).map(|e| e.value).sum();
            let rubbish = on(EventKind::ModelRubbish);
            stage.decide(&mut controller, jump, rubbish);
            if on(EventKind::OldController) && now_ms % 1000 == 500 && !cut {
                stage.send(&controller.mad_orders(&case.plant));
            }
        }
        stage.deliver();
        outcome.judge(stage.plant());
        outcome.stopped |= controller.has_stopped();
    }
    outcome
}

//! The row with its agents and its bus, step by step. What decides, and what goes wrong, comes from
//! outside.

use super::agent::Agent;
use super::bus::Bus;
use super::wiring::reader;
use super::{FLOOR_WATTS, Hour, Message, Mind, Outcome};
use headroom_sim::fault::{Fault, Kind, Target};
use headroom_sim::plant::Plant;
use headroom_sim::plant::gpu::Requests;
use headroom_sim::plant::spec::PlantSpec;

/// Step of the physics, s; stable up to 0.1.
pub const STEP_S: f64 = 0.05;
const STEP_MS: u64 = 50;
/// The guard's period and that of the Snapshots, in steps.
const GUARD_STEPS: u64 = 2;
const SNAPSHOT_STEPS: u64 = 20;

/// Row, agents and bus.
pub struct Stage {
    plant: Plant,
    agents: Vec<Agent>,
    bus: Bus,
    step: u64,
    /// Nothing passes the bus.
    pub cut: bool,
    /// The controller neither hears nor is heard.
    pub deaf: bool,
    /// Messages take up to so many seconds.
    pub late: Option<f64>,
}

impl Stage {
    /// A cold row with agents that have just started.
    pub fn new(spec: &PlantSpec) -> Self {
        Self {
            plant: Plant::new(spec),
            agents: (0..spec.racks.len()).map(|r| Agent::new(spec, r)).collect(),
            bus: Bus::new(spec.seed),
            step: 0,
            cut: false,
            deaf: false,
            late: None,
        }
    }

    /// Seconds since the start.
    pub fn time_s(&self) -> f64 {
        self.step as f64 * STEP_S
    }

    /// The same in milliseconds.
    pub fn now_ms(&self) -> u64 {
        self.step * STEP_MS
    }

    /// The row.
    pub fn plant(&self) -> &Plant {
        &self.plant
    }

    /// What all feeds carry.
    pub fn drawn_watts(&self) -> f64 {
        self.plant.feeds().iter().flat_map(|f| f.watts()).sum()
    }

    /// How often GPUs got another limit, all together.
    pub fn changes(&self) -> u64 {
        self.agents.iter().map(|a| a.changes).sum()
    }

    /// Something goes wrong in the row or with its meters.
    pub fn fail(&mut self, fault: &Fault) {
        fault.act(&mut self.plant);
        match (fault.kind, fault.target) {
            (Kind::BmcLimit, Target::Gpu(r, g)) => self.agents[r].bmc(g, fault.value.unwrap_or(300.0)),
            (Kind::Clear, Target::Pdu(r, _) | Target::Cooling(r)) => self.agents[r].meters.clear(),
            (Kind::PumpStopped | Kind::PumpWorn | Kind::Leak | Kind::SupplyWarms, _) => {}
            (kind, target @ (Target::Pdu(r, _) | Target::Cooling(r))) => {
                self.agents[r].meters.note(kind, target, fault.value);
            }
            (kind @ (Kind::MeterFrozen | Kind::MeterLying | Kind::DeviceSilent), target @ Target::Ups(f)) => {
                self.agents[reader(self.plant.spec(), f)].meters.note(kind, target, fault.value);
            }
            _ => {}
        }
    }

    /// The agent of a rack is dead, or hangs.
    pub fn harm(&mut self, rack: usize, dead: bool, hung: bool) {
        (self.agents[rack].alive, self.agents[rack].hung) = (!dead, hung);
    }

    /// The UPS of a feed tells a runtime, or does not.
    pub fn untold(&mut self, feed: usize, untold: bool) {
        self.agents[reader(self.plant.spec(), feed)].meters.untell_runtime(feed, untold);
    }

    /// Which racks are plugged in.
    pub fn plug(&mut self, present: &[bool]) {
        for (rack, there) in self.plant.racks_mut().iter_mut().zip(present) {
            rack.set_plugged(*there);
        }
    }

    /// One step of the physics and of the agents. `floored`: every GPU that an agent can reach is at
    /// its floor.
    pub fn physics(&mut self, floored: bool, outcome: &mut Outcome) {
        let (t, now_ms) = (self.time_s(), self.now_ms());
        self.plant.step(STEP_S);
        for (r, agent) in self.agents.iter_mut().enumerate() {
            if self.step.is_multiple_of(GUARD_STEPS) {
                agent.step(&mut self.plant, now_ms, outcome);
            }
            // Agents do not speak in step.
            let period = self.step % SNAPSHOT_STEPS == (r as u64 * 7) % SNAPSHOT_STEPS;
            if let Some(snapshot) = agent.snapshot(&self.plant, now_ms, period)
                && !self.deaf
            {
                self.bus.send_up(t, self.late, snapshot);
            }
            if floored && agent.alive && !agent.hung {
                for g in 0..self.plant.racks()[r].gpus.len() {
                    self.plant.request(r, g, Requests { limit_watts: FLOOR_WATTS, locked_mhz: None });
                }
            }
        }
    }

    /// Whoever decides hears what arrived and orders.
    pub fn decide(&mut self, mind: &mut dyn Mind, clock_jump_s: f64, rubbish: bool) {
        let (t, now_ms) = (self.time_s(), self.now_ms());
        for snapshot in self.bus.arrived_up(t) {
            mind.hear(&snapshot, now_ms);
        }
        if let Some(messages) = mind.step(Hour { now_ms, clock_jump_s, rubbish, plant: &self.plant })
            && !self.deaf
        {
            self.send(&messages);
        }
    }

    /// Orders per rack go on their way.
    pub fn send(&mut self, messages: &[Message]) {
        self.bus.send_down(self.time_s(), self.late, messages);
    }

    /// Orders arrive; the step is over.
    pub fn deliver(&mut self) {
        let (t, now_ms) = (self.time_s(), self.now_ms());
        for (rack, message) in self.bus.arrived_down(t, self.cut) {
            self.agents[rack].take(&message, now_ms);
        }
        self.step += 1;
    }
}

//! The physics in real time: a thread of its own, steps of 20 ms on absolute deadlines.

use super::bench::Bench;
use super::nvml::Panel;
use crate::fault::{Fault, Kind};
use crate::plant::Plant;
use crate::plant::event::Event;
use crate::scenario::ScheduledFault;
use crate::trace::STEP_S;
use std::collections::VecDeque;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Falling further behind than this is not made up for: a suspended machine must not replay hours.
const BACKLOG: Duration = Duration::from_millis(500);

/// Starts the thread. It ends after [`Bench::stop`].
pub fn start(plant: Plant, panels: Vec<Panel>, schedule: Vec<ScheduledFault>, bench: Arc<Bench>) -> JoinHandle<()> {
    thread::spawn(move || {
        let _farewell = Farewell(Arc::clone(&bench));
        Pace { plant, panels, schedule: schedule.into(), bench }.run();
    })
}

/// Says that the thread is gone, however it goes.
struct Farewell(Arc<Bench>);

impl Drop for Farewell {
    fn drop(&mut self) {
        self.0.set_physics_gone();
    }
}

struct Pace {
    plant: Plant,
    panels: Vec<Panel>,
    schedule: VecDeque<ScheduledFault>,
    bench: Arc<Bench>,
}

impl Pace {
    fn run(&mut self) {
        let period = Duration::from_secs_f64(STEP_S);
        let mut deadline = Instant::now() + period;
        while !self.bench.is_stopped() {
            let now = Instant::now();
            match deadline.checked_duration_since(now) {
                Some(wait) => thread::sleep(wait),
                None if now - deadline > BACKLOG => {
                    tracing::warn!("the physics is {} ms late; that time is left out", (now - deadline).as_millis());
                    deadline = now;
                }
                None => {}
            }
            deadline += period;
            self.turn();
        }
    }

    fn turn(&mut self) {
        for fault in self.bench.take_faults() {
            self.fault(&fault);
        }
        let held = self.bench.is_held();
        if !held {
            self.bench.set_stands(false);
            while self.schedule.front().is_some_and(|f| f.at_s <= self.plant.time_s()) {
                if let Some(due) = self.schedule.pop_front() {
                    self.fault(&due.fault);
                }
            }
            self.panels.iter().for_each(|panel| panel.take_requests(&mut self.plant));
            self.plant.step(STEP_S);
            self.panels.iter_mut().for_each(|panel| panel.publish(&self.plant));
            for event in self.plant.take_events() {
                self.bench.note(&event);
            }
        } else {
            self.panels.iter().for_each(Panel::beat);
        }
        self.bench.show(self.plant.view());
        self.bench.show_drivers(self.panels.iter().map(Panel::drivers).collect());
        self.bench.set_stands(held);
    }

    fn fault(&mut self, fault: &Fault) {
        // On the wire first: a frozen meter shows the last picture before the fault.
        self.bench.act_on_wire(fault);
        fault.act(&mut self.plant);
        self.panels.iter_mut().for_each(|panel| panel.act(fault));
        let word = fault.kind.word();
        let text = match (fault.kind, fault.value) {
            (Kind::Clear, _) => format!("faults of {} are cleared", fault.name),
            (_, Some(value)) => format!("fault: {word} on {}, value {value}", fault.name),
            (_, None) => format!("fault: {word} on {}", fault.name),
        };
        self.bench.note(&Event { at_s: self.plant.time_s(), kind: "fault", text });
    }
}

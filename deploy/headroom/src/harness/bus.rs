//! The bus between agents and controller: messages take time, and may be lost, repeated and reordered.

use super::Message;
use headroom_rack::Snapshot;
use headroom_sim::plant::chance::Chance;

/// What the bus takes when nothing is wrong with it, s.
const BUS_S: f64 = 0.02;

/// Messages under way, with the time they arrive.
pub(super) struct Bus {
    chance: Chance,
    up: Vec<(f64, Snapshot)>,
    down: Vec<(f64, usize, Message)>,
}

impl Bus {
    pub(super) fn new(seed: u64) -> Self {
        Self { chance: Chance::new(seed, "bus"), up: Vec::new(), down: Vec::new() }
    }

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

    pub(super) fn send_up(&mut self, t: f64, late: Option<f64>, snapshot: Snapshot) {
        let arrivals = self.arrivals(t, late);
        self.up.extend(arrivals.into_iter().map(|at| (at, snapshot.clone())));
    }

    /// One message to each rack, by number.
    pub(super) fn send_down(&mut self, t: f64, late: Option<f64>, messages: &[Message]) {
        for (rack, message) in messages.iter().enumerate().filter(|(_, message)| !message.orders.is_empty()) {
            let arrivals = self.arrivals(t, late);
            self.down.extend(arrivals.into_iter().map(|at| (at, rack, message.clone())));
        }
    }

    pub(super) fn arrived_up(&mut self, t: f64) -> Vec<Snapshot> {
        self.up.extract_if(.., |m| m.0 <= t).map(|m| m.1).collect()
    }

    /// What arrives now; with the bus `cut` it is lost.
    pub(super) fn arrived_down(&mut self, t: f64, cut: bool) -> Vec<(usize, Message)> {
        let arrived = self.down.extract_if(.., |m| m.0 <= t).map(|m| (m.1, m.2));
        arrived.filter(|_| !cut).collect()
    }
}

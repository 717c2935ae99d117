//! Which Snapshot cannot wait for the next period: something that the last decision did not know and
//! that a breaker, a battery or a loop does not forgive. Compares; never decides.

use crate::topology::Topology;
use headroom_rack::{Cap, DeviceId, Plan, RackId, Signal, Snapshot, Watts};
use std::collections::{BTreeMap, HashMap};

/// A rack that rose by more than this share of its nameplate since the last decision.
const STEP_SHARE: f64 = 0.10;
/// Below this a phase carries nothing, V.
const DEAD_BELOW_VOLTS: f64 = 50.0;
/// Flow below this share of what it was at the last decision is lost.
const FLOW_LOST: f64 = 0.5;

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// A UPS went on battery or came back.
    Battery,
    /// An inlet lost its voltage or got it back.
    Inlet,
    /// A cooling loop leaks, or does so no more.
    Leak,
    /// A cooling loop lost its flow.
    Flow,
    /// A rack rose at once.
    Step,
    /// A node carries more than its limit.
    Overload,
}

#[derive(Debug, Clone, Copy, Default)]
struct Node {
    power: f64,
    limit: f64,
    over: bool,
}

#[derive(Debug, Clone, Default)]
struct Rack {
    /// Power at the last decision, and by the newest Snapshot.
    decided: Option<Watts>,
    power: Option<Watts>,
    /// It rose at once since the last decision.
    rose: bool,
    states: BTreeMap<(DeviceId, Signal), bool>,
    flow: BTreeMap<DeviceId, f64>,
}

/// The memory of what the last decision knew.
#[derive(Debug, Clone)]
pub struct Urgency {
    topology: Topology,
    index: HashMap<RackId, usize>,
    racks: Vec<Rack>,
    nodes: Vec<Node>,
}

impl Urgency {
    /// Nothing is known, nothing decided.
    pub fn new(topology: &Topology) -> Self {
        let racks = topology.racks();
        Self {
            index: racks.iter().enumerate().map(|(i, r)| (r.id.clone(), i)).collect(),
            racks: vec![Rack::default(); racks.len()],
            nodes: vec![Node { limit: f64::INFINITY, ..Node::default() }; topology.nodes().len()],
            topology: topology.clone(),
        }
    }

    /// A decision was made with all that has been seen so far.
    pub fn decided(&mut self, plan: &Plan) {
        self.racks.iter_mut().for_each(|rack| (rack.decided, rack.rose) = (rack.power, false));
        for (node, seen) in self.nodes.iter_mut().zip(&plan.nodes) {
            let (power, limit) = (seen.power.get(), seen.limit.get());
            *node = Node { power, limit, over: power > limit };
        }
    }

    /// Whether a rack, by its number, cannot wait for the next period with what a Plan has for it, after it was `sent`
    /// these limits: it must come down, or it rose at once since the last decision and may wait at its limit for the
    /// higher one.
    pub fn cannot_wait(&self, rack: usize, cap: &Cap, sent: &[Watts]) -> bool {
        let moves = |by: fn(&Watts, &Watts) -> bool| cap.gpus.iter().zip(sent).any(|((_, new), old)| by(new, old));
        let falls = sent.len() != cap.gpus.len() || moves(Watts::lt);
        falls || self.racks[rack].rose && moves(Watts::gt)
    }

    /// What a live Snapshot says that cannot wait; the first reason.
    pub fn see(&mut self, snapshot: &Snapshot) -> Option<Event> {
        let i = *self.index.get(&snapshot.rack)?;
        let spec = &self.topology.racks()[i];
        let rack = &mut self.racks[i];
        let mut event = None;
        for (path, reading) in &snapshot.readings {
            let Some(value) = reading.ok() else { continue };
            let (state, what) = match path.signal {
                Signal::UpsOnBattery => (value > 0.5, Event::Battery),
                Signal::CoolingLeak => (value > 0.5, Event::Leak),
                Signal::PduVoltageL1 | Signal::PduVoltageL2 | Signal::PduVoltageL3 => {
                    (value < DEAD_BELOW_VOLTS, Event::Inlet)
                }
                Signal::CoolingFlow => {
                    let before = rack.flow.insert(path.device.clone(), value);
                    event = event.or(before.filter(|b| value < b * FLOW_LOST).map(|_| Event::Flow));
                    continue;
                }
                _ => continue,
            };
            let before = rack.states.insert((path.device.clone(), path.signal), state);
            event = event.or((before.unwrap_or(false) != state).then_some(what));
        }
        let power = spec.feeds.iter().map(|c| snapshot.value(&c.meter, Signal::PduPower)).sum::<Option<f64>>();
        let Some(power) = power.map(Watts::new) else { return event };
        let rise = rack.decided.map_or(0.0, |decided| (power - decided).get());
        rack.rose = rise > STEP_SHARE * spec.nameplate().get();
        event = event.or(rack.rose.then_some(Event::Step));
        let change = rack.power.map_or(0.0, |before| (power - before).get());
        rack.power = Some(power);
        for (n, share) in self.topology.shares(i) {
            let node = &mut self.nodes[*n];
            node.power += change * share;
            // Once per crossing: the decision that follows knows it.
            let over = node.power > node.limit;
            event = event.or((over && !node.over).then_some(Event::Overload));
            node.over |= over;
        }
        event
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::tests::row;
    use headroom_rack::{Generation, LimitKind, Mode, NodeView, Quality, Reading, SignalPath, UnixMs};

    fn snapshot(rack: u32, watts: f64, more: &[(&str, Signal, f64)]) -> Snapshot {
        let at = UnixMs::new(1);
        let pdus = ["pdu-a", "pdu-b"].map(|pdu| (pdu, Signal::PduPower, watts / 2.0));
        let reading = |(device, signal, value): &(&str, Signal, f64)| {
            (SignalPath::new(DeviceId::new(*device).unwrap(), *signal), Reading::new(*value, at))
        };
        let readings = pdus.iter().chain(more).map(reading).collect();
        let rack = RackId::new(format!("rack-{rack}")).unwrap();
        Snapshot { rack, boot: 1, seq: 1, at, historical: false, readings, receipts: vec![] }
    }

    fn plan(power: f64, limit: f64) -> Plan {
        let node = |n: &crate::NodeSpec| NodeView {
            node: n.id.clone(),
            power: Watts::new(power),
            quality: Quality::Measured,
            expected: Watts::new(power),
            limit: Watts::new(limit),
            limit_kind: LimitKind::Continuous,
            rating: n.rating,
            time_to_trip_s: None,
            trip_used: 0.0,
            battery: None,
        };
        let nodes = row().nodes().iter().map(node).collect();
        Plan { generation: Generation::default(), at: UnixMs::new(0), mode: Mode::Automatic, caps: vec![], nodes }
    }

    fn cap(limits: &[f64]) -> Cap {
        Cap {
            rack: RackId::new("rack-2").unwrap(),
            budget: Watts::new(5700.0),
            gpus: (0..).map(DeviceId::gpu).zip(limits.iter().map(|watts| Watts::new(*watts))).collect(),
            bound_by: row().nodes()[0].id.clone(),
            kind: LimitKind::Continuous,
            margin: Watts::ZERO,
            margin_s: None,
            expected: Watts::new(5700.0),
            binding: true,
        }
    }

    #[test]
    fn whoever_must_come_down_cannot_wait_and_whoever_crept_up_can() {
        let u = Urgency::new(&row());
        let sent = [400.0, 400.0].map(Watts::new);
        let waits = |limits: &[f64]| !u.cannot_wait(1, &cap(limits), &sent);
        assert!(waits(&[400.0, 400.0]) && waits(&[400.0, 500.0]));
        assert!(!waits(&[399.0, 500.0]), "one GPU comes down");
        assert!(!waits(&[500.0]) && !u.cannot_wait(1, &cap(&[]), &[]), "other GPUs than before");
    }

    #[test]
    fn a_load_that_creeps_is_urgent_when_a_node_passes_its_limit_and_only_then() {
        let mut u = Urgency::new(&row());
        (1..=4).for_each(|rack| assert_eq!(u.see(&snapshot(rack, 5000.0, &[])), None));
        u.decided(&plan(10_000.0, 10_500.0));
        // Each rack by 300 W, 150 W of it at each feed: the fourth passes the limit.
        let seen: Vec<_> = (1..=4).map(|rack| u.see(&snapshot(rack, 5300.0, &[]))).collect();
        assert_eq!(seen, [None, None, None, Some(Event::Overload)]);
        assert_eq!(u.see(&snapshot(1, 5310.0, &[])), None, "told once");
        u.decided(&plan(10_600.0, 10_500.0));
        assert_eq!(u.see(&snapshot(2, 5320.0, &[])), None, "the decision knew");
        let rose = |u: &Urgency| [0, 1, 2, 3].map(|rack| u.cannot_wait(rack, &cap(&[500.0]), &[Watts::new(400.0)]));
        assert_eq!(rose(&u), [false; 4], "it crept");
        assert_eq!(u.see(&snapshot(2, 6200.0, &[])), Some(Event::Step));
        assert_eq!(rose(&u), [false, true, false, false]);
        u.decided(&plan(10_600.0, 10_500.0));
        assert_eq!(rose(&u), [false; 4], "the decision knew");
    }

    #[test]
    fn each_thing_that_cannot_wait_is_named_and_its_return_too() {
        let mut u = Urgency::new(&row());
        for (device, signal, calm, trouble, event) in [
            ("ups-a", Signal::UpsOnBattery, 0.0, 1.0, Event::Battery),
            ("cooling", Signal::CoolingLeak, 0.0, 1.0, Event::Leak),
            ("pdu-a", Signal::PduVoltageL1, 230.0, 0.0, Event::Inlet),
        ] {
            let mut see = |value: f64| u.see(&snapshot(1, 5000.0, &[(device, signal, value)]));
            assert_eq!([calm, trouble, trouble, calm].map(&mut see), [None, Some(event), None, Some(event)]);
        }
        let mut flow = |value: f64| u.see(&snapshot(1, 5000.0, &[("cooling", Signal::CoolingFlow, value)]));
        assert_eq!([40.0, 30.0, 10.0].map(&mut flow), [None, None, Some(Event::Flow)]);
        assert_eq!(u.see(&Snapshot { rack: RackId::new("other").unwrap(), ..snapshot(1, 1.0, &[]) }), None);
    }
}

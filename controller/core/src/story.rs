//! Lines for people: what changed since the last Plan, once, with numbers and reasons. Compares;
//! never decides.

use crate::decide::{BatteryView, CoolantView, CurrentView};
use crate::fleet::{Fleet, SILENT};
use crate::topology::Topology;
use crate::trip::Protection;
use headroom_rack::{Cap, Finding, Mono, NodeId, NodeView, Plan, RackId, Watts};
use std::cell::LazyCell;
use std::collections::{BTreeMap, BTreeSet};

/// A limit must move by this much before it is told again, W per GPU.
const TELL_WATTS: f64 = 50.0;
/// Coolant is told of when it has less than this left, s, and again once it has four times as much.
const WARM_S: f64 = 120.0;
/// A node whose current is so much more than its power says is told of, and told of again below the second.
const STRONG: f64 = 1.04;
const NO_MORE: f64 = 1.03;
/// A ramp is told when a rack's power rose by this share of its nameplate within [`RAMP_MS`].
const RAMP_SHARE: f64 = 0.25;
const RAMP_MS: u64 = 8_000;

/// One line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// `ramp`, `trip_risk`, `cap`, `release`, `battery`, `current`, `heat`, `agent`, `finding`, `resolved`.
    pub kind: &'static str,
    /// Words for people.
    pub text: String,
}

#[derive(Debug, Clone, Copy, Default)]
struct RackTold {
    binding: bool,
    gpu: f64,
    heard: bool,
    known: bool,
    low: f64,
    low_at: Mono,
}

/// The memory of what was told.
#[derive(Debug, Clone)]
pub struct Story {
    topology: Topology,
    /// In the order of the topology, which is that of a Plan.
    racks: Vec<RackTold>,
    at_risk: BTreeSet<NodeId>,
    /// UPSs that carry their load from the battery.
    on_battery: BTreeSet<NodeId>,
    warm: BTreeSet<RackId>,
    /// Nodes with more current than their power says.
    strong: BTreeSet<NodeId>,
    findings: BTreeMap<String, String>,
}

impl Story {
    /// Nothing told yet.
    pub fn new(topology: &Topology) -> Self {
        let racks = vec![RackTold::default(); topology.racks().len()];
        Self {
            topology: topology.clone(),
            racks,
            at_risk: BTreeSet::new(),
            on_battery: BTreeSet::new(),
            warm: BTreeSet::new(),
            strong: BTreeSet::new(),
            findings: BTreeMap::new(),
        }
    }

    /// The lines of this Plan.
    pub fn tell(&mut self, plan: &Plan, fleet: &Fleet, findings: &[Finding], now: Mono) -> Vec<Event> {
        let mut events = Vec::new();
        self.agents(fleet, now, &mut events);
        self.ramps(fleet, now, &mut events);
        self.risks(plan, &mut events);
        // Most Plans have nothing to tell of a node, and a large site has many.
        let nodes: LazyCell<BTreeMap<&NodeId, &NodeView>, _> =
            LazyCell::new(|| plan.nodes.iter().map(|n| (&n.node, n)).collect());
        for (told, cap) in self.racks.iter_mut().zip(&plan.caps) {
            tell_cap(told, cap, |id| nodes.get(id).copied(), &mut events);
        }
        self.findings(findings, &mut events);
        events
    }

    /// UPSs that go on battery, with how long it lasts and who knows that, and those that come back.
    pub fn tell_batteries(&mut self, batteries: &[BatteryView]) -> Vec<Event> {
        let mut events = Vec::new();
        for battery in batteries {
            let id = &battery.node;
            let text = match (battery.on, self.on_battery.contains(id)) {
                (true, false) => format!("{id} is on battery with {}: {}", kilowatts(battery.load), lasts(battery)),
                (false, true) => format!("{id} is off its battery again"),
                _ => continue,
            };
            if battery.on {
                self.on_battery.insert(id.clone());
            } else {
                self.on_battery.remove(id);
            }
            events.push(Event { kind: "battery", text });
        }
        events
    }

    /// Racks whose coolant is on its way to its limit, and those where it is no more.
    pub fn tell_coolants(&mut self, coolants: &[CoolantView]) -> Vec<Event> {
        let mut events = Vec::new();
        let mut say = |text: String| events.push(Event { kind: "heat", text });
        for warm in coolants.iter().filter(|c| c.left_s < WARM_S) {
            if self.warm.insert(warm.rack.clone()) {
                let (rack, left, celsius) = (&warm.rack, warm.left_s, warm.celsius);
                say(format!("{rack}: its coolant, {celsius:.1} degrees, would be at its limit in {left:.0} s"));
            }
        }
        let near: BTreeSet<&RackId> = coolants.iter().filter(|c| c.left_s < 4.0 * WARM_S).map(|c| &c.rack).collect();
        self.warm.retain(|rack| {
            let stays = near.contains(rack);
            if !stays {
                say(format!("{rack}: its coolant is far from its limit again"));
            }
            stays
        });
        events
    }

    /// Nodes that a low voltage or power factor loads with more current than their power says, and those it does no more.
    pub fn tell_currents(&mut self, currents: &[CurrentView]) -> Vec<Event> {
        let mut events = Vec::new();
        let mut say = |text: String| events.push(Event { kind: "current", text });
        for strong in currents.iter().filter(|c| c.over >= STRONG) {
            if self.strong.insert(strong.node.clone()) {
                let (node, percent) = (&strong.node, (strong.over - 1.0) * 100.0);
                say(format!(
                    "{node} carries {percent:.0} % more current than its power is at the nominal voltage (low voltage or power factor): it carries less power"
                ));
            }
        }
        let still: BTreeSet<&NodeId> = currents.iter().filter(|c| c.over >= NO_MORE).map(|c| &c.node).collect();
        self.strong.retain(|node| {
            let stays = still.contains(node);
            if !stays {
                say(format!("{node} carries the current that its power says again"));
            }
            stays
        });
        events
    }

    fn agents(&mut self, fleet: &Fleet, now: Mono, events: &mut Vec<Event>) {
        for (i, (spec, told)) in self.topology.racks().iter().zip(&mut self.racks).enumerate() {
            let heard = fleet.rack_at(i, &spec.id).is_some_and(|b| !b.dead && b.age(now) <= SILENT);
            if heard == told.heard && (told.known || !heard) {
                continue;
            }
            let text = match (told.known, heard) {
                (false, true) => format!("{}: agent is there, {} GPUs", spec.id, spec.gpus),
                (true, true) => format!("{}: agent is back", spec.id),
                (_, false) => format!(
                    "{}: agent is silent; its GPUs count with their worst until the lease is over, then {:.0} W each",
                    spec.id,
                    spec.safe_gpu.get()
                ),
            };
            told.known |= heard;
            told.heard = heard;
            events.push(Event { kind: "agent", text });
        }
    }

    fn ramps(&mut self, fleet: &Fleet, now: Mono, events: &mut Vec<Event>) {
        for (i, (spec, told)) in self.topology.racks().iter().zip(&mut self.racks).enumerate() {
            let Some(power) = fleet.rack_at(i, &spec.id).and_then(|b| b.power(spec)) else { continue };
            let power = power.get();
            if told.low <= 0.0 || power <= told.low || now.since(told.low_at).as_millis() as u64 > RAMP_MS {
                (told.low, told.low_at) = (power, now);
            } else if power - told.low > RAMP_SHARE * spec.nameplate().get() {
                let seconds = now.since(told.low_at).as_secs_f64().max(1.0);
                let text = format!(
                    "{} ({}) ramps from {:.1} to {:.1} kW in {seconds:.0} s",
                    spec.id,
                    spec.priority,
                    told.low / 1e3,
                    power / 1e3
                );
                events.push(Event { kind: "ramp", text });
                (told.low, told.low_at) = (power, now);
            }
        }
    }

    /// What would happen if nothing were capped: every rack at what it wants, on each node above it.
    fn risks(&mut self, plan: &Plan, events: &mut Vec<Event>) {
        let mut wants = vec![Watts::ZERO; self.topology.nodes().len()];
        for (rack, cap) in plan.caps.iter().enumerate() {
            for (node, share) in self.topology.shares(rack) {
                wants[*node] += cap.expected * *share;
            }
        }
        for ((spec, node), wanted) in self.topology.nodes().iter().zip(&plan.nodes).zip(wants) {
            let load = wanted.max(node.power);
            let seconds =
                Protection::with_used(spec.curve.clone(), node.trip_used).by_power().time_to_trip_s(load / node.rating);
            let (id, percent) = (&spec.id, load / node.rating * 100.0);
            match seconds {
                Some(seconds) if !self.at_risk.contains(id) => {
                    self.at_risk.insert(id.clone());
                    let kilowatts = kilowatts(load);
                    let text = format!(
                        "{id} would trip in {seconds:.0} s if nothing were capped: the racks want {kilowatts}, {percent:.0} % of its rating"
                    );
                    events.push(Event { kind: "trip_risk", text });
                }
                None if load < node.rating * 0.95 && self.at_risk.remove(id) => {
                    let kilowatts = kilowatts(load);
                    let text = format!("{id} is safe without caps again: the racks want {kilowatts}, {percent:.0} %");
                    events.push(Event { kind: "safe", text });
                }
                _ => {}
            }
        }
    }

    fn findings(&mut self, findings: &[Finding], events: &mut Vec<Event>) {
        for finding in findings {
            if self.findings.insert(finding.key.clone(), finding.title.clone()).is_none() {
                let text = format!("{}: {}", finding.severity.word(), finding.title);
                events.push(Event { kind: "finding", text });
            }
        }
        let open: BTreeSet<&String> = findings.iter().map(|f| &f.key).collect();
        let gone: Vec<String> = self.findings.keys().filter(|k| !open.contains(k)).cloned().collect();
        for key in gone {
            let title = self.findings.remove(&key).unwrap_or_default();
            events.push(Event { kind: "resolved", text: format!("no longer: {title}") });
        }
    }
}

fn lasts(battery: &BatteryView) -> String {
    let wanted = battery.target.map_or_else(String::new, |t| format!("; it is to last {} s", t.as_secs()));
    let known = match (battery.told_s, battery.counted_s) {
        (Some(told), Some(counted)) => format!("it lasts {told:.0} s as it says and {counted:.0} s by its data"),
        (Some(told), None) => format!("it lasts {told:.0} s as it says"),
        (None, Some(counted)) => format!("it lasts {counted:.0} s by its data, and says nothing itself"),
        (None, None) => "nobody knows how long it lasts".to_owned(),
    };
    known + &wanted
}

fn tell_cap<'n>(
    told: &mut RackTold,
    cap: &Cap,
    node: impl Fn(&NodeId) -> Option<&'n NodeView>,
    events: &mut Vec<Event>,
) {
    let gpu = crate::decide::mean_limit(cap).map_or(0.0, Watts::get);
    let moved = (gpu - told.gpu).abs() >= TELL_WATTS;
    if cap.binding && (!told.binding || moved && gpu < told.gpu) {
        let node = node(&cap.bound_by);
        let would = node.filter(|n| n.expected > n.limit).map_or_else(String::new, |n| {
            format!(", {:.1} kW expected where {:.1} kW may flow", n.expected.get() / 1e3, n.limit.get() / 1e3)
        });
        let text = format!(
            "{} capped to {gpu:.0} W a GPU ({:.1} of {:.1} kW wanted): {}, {}{would}",
            cap.rack,
            cap.budget.get() / 1e3,
            cap.expected.get() / 1e3,
            cap.bound_by,
            cap.kind.words()
        );
        events.push(Event { kind: "cap", text });
        (told.binding, told.gpu) = (true, gpu);
    } else if told.binding && !cap.binding {
        let text =
            format!("{} released: {gpu:.0} W a GPU, {} left at {}", cap.rack, kilowatts(cap.margin), cap.bound_by);
        events.push(Event { kind: "release", text });
        (told.binding, told.gpu) = (false, gpu);
    } else if cap.binding && moved {
        let text = format!("{} raised to {gpu:.0} W a GPU: room at {}", cap.rack, cap.bound_by);
        events.push(Event { kind: "release", text });
        told.gpu = gpu;
    }
}

fn kilowatts(power: Watts) -> String {
    format!("{:.1} kW", power.get() / 1e3)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::tests::row;
    use std::time::Duration;

    #[test]
    fn a_battery_is_told_once_when_it_is_needed_with_who_knows_how_long_it_lasts_and_once_when_not() {
        let mut story = Story::new(&row());
        let view = |on, told_s, counted_s| BatteryView {
            node: NodeId::new("ups-a").unwrap(),
            on,
            read: true,
            load: Watts::new(8200.0),
            told_s,
            counted_s,
            runtime_s: told_s,
            charge: None,
            target: Some(Duration::from_secs(600)),
        };
        let mut lines = |view: BatteryView| -> Vec<String> {
            story.tell_batteries(&[view]).into_iter().map(|event| event.text).collect()
        };
        assert!(lines(view(false, Some(500.0), None)).is_empty());
        assert_eq!(
            lines(view(true, Some(500.0), Some(310.4))),
            ["ups-a is on battery with 8.2 kW: it lasts 500 s as it says and 310 s by its data; it is to last 600 s"]
        );
        assert!(lines(view(true, None, None)).is_empty(), "once");
        assert_eq!(lines(view(false, None, None)), ["ups-a is off its battery again"]);
        assert!(lines(view(true, None, None))[0].contains("nobody knows how long it lasts"));
    }

    #[test]
    fn a_current_beyond_its_power_is_told_when_it_comes_and_when_it_goes() {
        let mut story = Story::new(&row());
        let node = NodeId::new("breaker-a").unwrap();
        let mut lines = |over: f64| -> Vec<String> {
            let currents = [CurrentView { node: node.clone(), over }];
            story.tell_currents(&currents).into_iter().map(|event| event.text).collect()
        };
        assert!(lines(1.035).is_empty());
        assert_eq!(
            lines(1.072),
            [
                "breaker-a carries 7 % more current than its power is at the nominal voltage (low voltage or power factor): it carries less power"
            ]
        );
        assert!(lines(1.035).is_empty());
        assert_eq!(lines(1.021), ["breaker-a carries the current that its power says again"]);
    }

    #[test]
    fn coolant_is_told_when_its_limit_comes_near_and_when_it_is_far_again() {
        let mut story = Story::new(&row());
        let rack = RackId::new("rack-1").unwrap();
        let mut lines = |left_s: Option<f64>| -> Vec<String> {
            let coolants = left_s.map(|left_s| CoolantView { rack: rack.clone(), celsius: 46.0, left_s });
            story.tell_coolants(coolants.as_slice()).into_iter().map(|event| event.text).collect()
        };
        assert!(lines(Some(500.0)).is_empty());
        assert_eq!(lines(Some(14.0)), ["rack-1: its coolant, 46.0 degrees, would be at its limit in 14 s"]);
        assert!(lines(Some(130.0)).is_empty());
        assert_eq!(lines(None), ["rack-1: its coolant is far from its limit again"]);
    }
}

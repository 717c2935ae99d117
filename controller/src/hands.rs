//! People's hands: what they may set over the automation by way of the console's API, what is set, and what
//! of it outlives a restart. What it does to a decision is the core's.

mod door;

pub use door::{Asked, Handle, Refused};

use crate::config::Config;
use headroom_controller_core::automation::Stops;
use headroom_controller_core::{Hand, Hands, Topology};
use headroom_rack::{RackId, UnixMs, Watts};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Words of a note that are kept.
const NOTE_CHARS: usize = 200;

/// What a person may ask for.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(tag = "do", rename_all = "snake_case", deny_unknown_fields)]
pub enum Command {
    /// A limit that stands, until it is released.
    Pin {
        /// The node or rack.
        at: String,
        /// Most that may flow through the node, or the budget of the rack at its inlets, W.
        watts: f64,
        /// Who asks, as they say.
        #[serde(default)]
        by: String,
        /// Why.
        #[serde(default)]
        note: String,
    },
    /// Decided and shown, not sent.
    Advise {
        /// The node or rack.
        at: String,
        /// Who asks.
        #[serde(default)]
        by: String,
        /// Why.
        #[serde(default)]
        note: String,
    },
    /// Back to the automation.
    Release {
        /// The node or rack.
        at: String,
        /// Who asks.
        #[serde(default)]
        by: String,
        /// Why.
        #[serde(default)]
        note: String,
    },
    /// Lets an automation that stopped itself go on.
    Resume {
        /// Who asks.
        #[serde(default)]
        by: String,
        /// Why.
        #[serde(default)]
        note: String,
    },
}

impl Command {
    /// Who asks, as they say.
    fn by(&self) -> &str {
        match self {
            Self::Pin { by, .. } | Self::Advise { by, .. } | Self::Release { by, .. } | Self::Resume { by, .. } => by,
        }
    }

    fn note(&self) -> &str {
        match self {
            Self::Pin { note, .. }
            | Self::Advise { note, .. }
            | Self::Release { note, .. }
            | Self::Resume { note, .. } => note,
        }
    }
}

/// What a person has set at one place.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Setting {
    /// A limit that stands.
    pub pin_watts: Option<Watts>,
    /// Decided, not sent.
    pub advisory: bool,
    /// Who.
    pub by: String,
    /// Why.
    pub note: String,
    /// Since when.
    pub since: UnixMs,
}

/// What outlives a restart, and what is shown.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct State {
    /// By node or rack.
    pub set: BTreeMap<String, Setting>,
    /// What the automation's own breaker holds.
    pub stops: Stops,
}

/// What people have set, checked against the plant.
#[derive(Debug)]
pub struct Desk {
    topology: Topology,
    /// Least budget of each rack, W.
    floors: BTreeMap<RackId, Watts>,
    set: BTreeMap<String, Setting>,
}

impl Desk {
    /// With what an earlier run left; of that, what names no place of the plant any more is told and dropped.
    pub fn new(config: &Config, topology: &Topology, set: BTreeMap<String, Setting>) -> Self {
        let floor = config.policy.floor_gpu;
        let floors = config.racks.iter().map(|r| (r.id.clone(), r.overhead + floor * f64::from(r.gpus)));
        let mut desk = Self { topology: topology.clone(), floors: floors.collect(), set };
        let known: BTreeSet<String> = desk.places().collect();
        desk.set.retain(|place, setting| {
            if !known.contains(place) {
                tracing::warn!(place, ?setting, "what was set by hand names no node or rack any more");
            }
            known.contains(place)
        });
        desk
    }

    /// What is set.
    pub fn set(&self) -> &BTreeMap<String, Setting> {
        &self.set
    }

    /// Takes a command about a place; the line for the record.
    ///
    /// # Errors
    /// Why not, for whoever asked.
    pub fn take(&mut self, command: &Command, at: UnixMs) -> Result<String, String> {
        let (by, note) = (words(command.by()), words(command.note()));
        let who = if by.is_empty() { "somebody" } else { &by };
        let why = if note.is_empty() { String::new() } else { format!(": {note}") };
        match command {
            Command::Pin { at: place, watts, .. } => {
                self.check(place, *watts)?;
                let pin_watts = Some(Watts::new(*watts));
                let advisory = self.set.get(place).is_some_and(|s| s.advisory);
                let text = format!("{who} pins {place} to {watts:.0} W{why}");
                self.set.insert(place.clone(), Setting { pin_watts, advisory, by, note, since: at });
                Ok(text)
            }
            Command::Advise { at: place, .. } => {
                self.find(place)?;
                let pin_watts = self.set.get(place).and_then(|s| s.pin_watts);
                let text = format!("{who} puts {place} in advisory mode{why}");
                self.set.insert(place.clone(), Setting { pin_watts, advisory: true, by, note, since: at });
                Ok(text)
            }
            Command::Release { at: place, .. } => {
                self.find(place)?;
                self.set.remove(place).ok_or_else(|| format!("nothing is set by hand at {place}"))?;
                Ok(format!("{who} releases {place}{why}"))
            }
            Command::Resume { .. } => Ok(format!("{who} lets the automation go on{why}")),
        }
    }

    /// What stands over the automation, with the racks that its own breaker holds.
    pub fn over(&self, stops: &Stops) -> Hands {
        let mut hands = Hands::default();
        for (place, Setting { pin_watts, advisory, .. }) in &self.set {
            let hand = Hand { pin: *pin_watts, advisory: *advisory };
            if let Some(spec) = self.topology.nodes().iter().find(|n| n.id.as_str() == place) {
                hands.nodes.insert(spec.id.clone(), hand);
            } else if let Ok(rack) = RackId::new(place.clone()) {
                hands.racks.insert(rack, hand);
            }
        }
        let held = |id: &RackId| stops.whole.is_some() || stops.racks.contains_key(id);
        hands.safe = self.topology.racks().iter().map(|r| &r.id).filter(|id| held(id)).cloned().collect();
        hands
    }

    fn places(&self) -> impl Iterator<Item = String> {
        let nodes = self.topology.nodes().iter().map(|n: &headroom_controller_core::NodeSpec| n.id.to_string());
        nodes.chain(self.topology.racks().iter().map(|r| r.id.to_string()))
    }

    fn find(&self, place: &str) -> Result<(), String> {
        if self.places().any(|known| known == place) {
            return Ok(());
        }
        let some: Vec<String> = self.places().take(12).collect();
        Err(format!("no node or rack is called {place:?}; there are {}", some.join(", ")))
    }

    /// Whether a pin makes sense there.
    fn check(&self, place: &str, watts: f64) -> Result<(), String> {
        self.find(place)?;
        let nodes = self.topology.nodes();
        let node = nodes.iter().position(|n| n.id.as_str() == place);
        let rack = self.topology.racks().iter().find(|r| r.id.as_str() == place);
        let floor = |id: &RackId| self.floors.get(id).map_or(0.0, |watts| watts.get());
        let below = |node: usize| {
            let racks = self.topology.racks().iter().enumerate();
            let shares = racks.flat_map(|(i, r)| self.topology.shares(i).iter().map(move |share| (&r.id, share)));
            shares.filter(|(_, (n, _))| *n == node).map(|(id, (_, share))| floor(id) * share).sum::<f64>()
        };
        let (low, high) = match (node, rack) {
            (Some(node), _) => (below(node).max(1.0), nodes[node].rating.get()),
            (None, Some(rack)) => (floor(&rack.id), rack.nameplate().get()),
            (None, None) => (1.0, f64::INFINITY),
        };
        if (low..=high).contains(&watts) {
            return Ok(());
        }
        let low_is =
            if rack.is_some() { "the floor of its GPUs and everything else in it" } else { "the floors below it" };
        let high_is = if rack.is_some() { "all it can draw" } else { "its rating" };
        Err(format!("{place} cannot be pinned to {watts} W: write {low:.0} ({low_is}) to {high:.0} ({high_is})"))
    }
}

/// Text of a stranger, for one line of a record.
fn words(text: &str) -> String {
    let clean = text.trim().chars().map(|c| if c.is_control() { ' ' } else { c });
    clean.take(NOTE_CHARS).collect()
}

#[cfg(test)]
mod tests;

//! The config in the words of `headroom-controller-core`.

use super::{Config, Cooling, Node, PolicySpec, Rack, Tree};
use headroom_controller_core::{CoolingSpec, FeedShare, MeterRef, NodeSpec, Policy, RackSpec, Topology, TopologyError};
use std::sync::Arc;

/// The electrical tree.
///
/// # Errors
/// What the core finds wrong with it as a whole.
pub fn topology(tree: &Tree) -> Result<Topology, Vec<TopologyError>> {
    let cooling: Vec<CoolingSpec> = tree.cooling.iter().map(cooling).collect();
    Topology::with_cooling(tree.nodes.iter().map(node).collect(), tree.racks.iter().map(rack).collect(), &cooling)
}

fn cooling(set: &Cooling) -> CoolingSpec {
    CoolingSpec {
        id: set.id.clone(),
        racks: set.racks.clone(),
        units: set.units.iter().map(|unit| unit.capacity).collect(),
    }
}

fn node(node: &Node) -> NodeSpec {
    NodeSpec {
        parent: node.parent.clone(),
        standby: node.standby.clone(),
        phases: node.phases,
        volts: node.current.map(|current| current.volts),
        meter: node.meter.clone().map(|(rack, device)| MeterRef { rack, device }),
        curve: Arc::clone(&node.curve),
        battery: node.battery.clone(),
        ..NodeSpec::new(node.id.clone(), node.kind, &node.feed, node.rating)
    }
}

fn rack(rack: &Rack) -> RackSpec {
    let cord =
        |f: &super::Feed| FeedShare { phases: f.phases, ..FeedShare::new(f.node.clone(), f.share, f.meter.clone()) };
    RackSpec {
        id: rack.id.clone(),
        priority: rack.priority.clone(),
        weight: rack.weight,
        gpus: rack.gpus,
        overhead: rack.overhead,
        gpu_max: rack.gpu_max,
        safe_gpu: rack.safe_gpu,
        feeds: rack.feeds.iter().map(cord).collect(),
        cooling: rack.cooling.clone(),
        coolant_liters: rack.coolant_liters,
    }
}

/// The policy when no rule is in force.
pub fn policy(config: &Config) -> Policy {
    config.rules.base.clone()
}

/// The policy of these numbers alone, with the usual lease.
pub(super) fn base(spec: &PolicySpec) -> Policy {
    Policy {
        bands: spec.bands.clone(),
        floor_gpu: spec.floor_gpu,
        response: spec.response,
        derate: spec.derate,
        release_watts_per_s: spec.release_watts_per_s,
        coolant_limit_celsius: spec.coolant_limit.get(),
        inlet_limit_celsius: spec.inlet_limit.map(headroom_rack::Celsius::get),
        battery_target: spec.battery_target,
        ..Policy::default()
    }
}

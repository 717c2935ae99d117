//! The config in the words of `headroom-controller-core`.

use super::{Config, Curve, Node, NodeKind, Rack};
use headroom_controller_core::topology;
use headroom_controller_core::{FeedShare, MeterRef, NodeSpec, Policy, RackSpec, Topology, TopologyError};
use std::time::Duration;

/// The electrical tree.
///
/// # Errors
/// What the core finds wrong with it as a whole.
pub fn topology(nodes: &[Node], racks: &[Rack]) -> Result<Topology, Vec<TopologyError>> {
    Topology::new(nodes.iter().map(node).collect(), racks.iter().map(rack).collect())
}

fn node(node: &Node) -> NodeSpec {
    let kind = match node.kind {
        NodeKind::Ups { .. } => topology::NodeKind::Ups,
        NodeKind::Breaker { curve: Curve::Iec60898C, .. } => topology::NodeKind::Breaker,
    };
    NodeSpec {
        id: node.id.clone(),
        kind,
        feed: node.feed.clone(),
        parent: node.parent.clone(),
        rating: node.kind.rating(),
        meter: node.meter.clone().map(|(rack, device)| MeterRef { rack, device }),
    }
}

fn rack(rack: &Rack) -> RackSpec {
    let cord = |f: &super::Feed| FeedShare { node: f.node.clone(), share: f.share, meter: f.meter.clone() };
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
    }
}

/// The policy.
pub fn policy(config: &Config) -> Policy {
    let spec = &config.policy;
    Policy {
        bands: spec.bands.clone(),
        floor_gpu: spec.floor_gpu,
        response: spec.response,
        derate: spec.derate,
        release_watts_per_s: spec.release_watts_per_s,
        lease: Duration::from_millis(config.lease_ms.into()),
        coolant_limit_celsius: spec.coolant_limit.get(),
        battery_target: spec.battery_target,
    }
}

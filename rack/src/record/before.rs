//! Plans as versions 1 and 2 wrote them, which know nothing of batteries. For reading alone.

use crate::id::NodeId;
use crate::order::Generation;
use crate::plan::{Cap, LimitKind, Mode, NodeView, Plan, Quality};
use crate::time::UnixMs;
use crate::units::Watts;
use serde::Deserialize;

#[derive(Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
pub(super) struct PlanBefore {
    pub generation: Generation,
    pub at: UnixMs,
    pub mode: Mode,
    pub caps: Vec<Cap>,
    pub nodes: Vec<NodeBefore>,
}

#[derive(Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
pub(super) struct NodeBefore {
    pub node: NodeId,
    pub power: Watts,
    pub quality: Quality,
    pub expected: Watts,
    pub limit: Watts,
    pub limit_kind: LimitKind,
    pub rating: Watts,
    pub time_to_trip_s: Option<f64>,
    pub trip_used: f64,
}

impl From<PlanBefore> for Plan {
    fn from(before: PlanBefore) -> Self {
        let PlanBefore { generation, at, mode, caps, nodes } = before;
        Self { generation, at, mode, caps, nodes: nodes.into_iter().map(NodeView::from).collect() }
    }
}

impl From<NodeBefore> for NodeView {
    fn from(before: NodeBefore) -> Self {
        Self {
            node: before.node,
            power: before.power,
            quality: before.quality,
            expected: before.expected,
            limit: before.limit,
            limit_kind: before.limit_kind,
            rating: before.rating,
            time_to_trip_s: before.time_to_trip_s,
            trip_used: before.trip_used,
            battery: None,
        }
    }
}

//! What operators see of load targets.

use headroom_controller_core::target::Target;
use headroom_rack::{UnixMs, Watts};
use serde::Serialize;

/// A feed with its targets.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Shown {
    /// Its tag.
    pub feed: String,
    /// What flows, by the last decision; none: there was none yet.
    pub load_watts: Option<Watts>,
    /// In force or to come, those that begin first.
    pub targets: Vec<ShownTarget>,
    /// How many there are in all.
    pub count: usize,
    /// What flows fits the target in force, if one is; none: not known.
    pub compliant: Option<bool>,
    /// It is on its way from one limit to another.
    pub ramping: bool,
}

/// One target.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ShownTarget {
    /// Who set it.
    pub partner: String,
    /// What may be drawn.
    pub watts: Watts,
    /// From when on.
    pub from_ms: UnixMs,
    /// Until when; none: until another begins.
    pub until_ms: Option<UnixMs>,
    /// It is in force.
    pub active: bool,
    /// Without disturbing what is not flexible.
    pub best_effort: bool,
    /// The correlation id of the message that set it.
    pub correlation_id: String,
}

pub(super) fn shown(target: &Target, active: Option<&Target>) -> ShownTarget {
    ShownTarget {
        partner: target.by.clone(),
        watts: target.limit,
        from_ms: target.start,
        until_ms: target.end,
        active: active.is_some_and(|active| std::ptr::eq(active, target)),
        best_effort: target.best_effort,
        correlation_id: target.correlation.clone(),
    }
}

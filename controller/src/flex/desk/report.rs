//! The payloads of what is told, in the words of the contract: `PowerStateStatusData`,
//! `PowerBreachAlertData`, `PowerBreachEnforcementData`.

use super::{Channel, Desk, RackSeen, Telling};
use crate::clock::rfc3339;
use crate::flex::event::Trace;
use headroom_controller_core::target::breach::{Stage, Told};
use headroom_rack::{Cap, Plan, RackId, UnixMs, Watts};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Targets of a feed that a state names, those that begin first: a day in quarter hours, and no larger than brokers
/// carry with several feeds.
pub(super) const TOLD: usize = 128;
/// A limit read back is the one asked for within this: boards round to the watt.
const TOLERANCE: Watts = Watts::new(1.5);

fn power(watts: Watts) -> Value {
    json!({ "value": (watts.get().max(0.0) * 10.0).round() / 10.0, "unit": "watt" })
}

impl Desk {
    pub(super) fn status(
        &self,
        events: &[&str],
        plan: &Plan,
        seen: &BTreeMap<RackId, RackSeen>,
        at: UnixMs,
    ) -> Telling {
        let feeds: BTreeMap<&str, Value> = (0..self.feeds.len())
            .map(|i| (self.feeds[i].spec.tag.as_str(), self.feed_state(i, events[i], plan, seen, at)))
            .collect();
        let tags = self.feeds.iter().map(|f| f.spec.tag.as_str());
        let active: BTreeSet<&str> =
            tags.filter_map(|tag| Some(self.state.schedule.active(tag, at)?.correlation.as_str())).collect();
        // The envelope has room for one only.
        let one = if active.len() == 1 { active.first().map(|c| (*c).to_owned()) } else { None };
        Telling {
            channel: Channel::PowerState,
            data: json!({ "snapshot_time": rfc3339(at), "feeds": feeds }),
            trace: one.as_deref().map(|id| self.trace(id)).unwrap_or_default(),
            correlation: one,
        }
    }

    fn feed_state(&self, i: usize, event: &str, plan: &Plan, seen: &BTreeMap<RackId, RackSeen>, at: UnixMs) -> Value {
        let (desk, schedule) = (&self.feeds[i], &self.state.schedule);
        let active = schedule.active(&desk.spec.tag, at);
        let mut scheduled: Vec<_> = schedule.of(&desk.spec.tag).collect();
        scheduled.sort_by_key(|target| target.start);
        let targets: Vec<Value> = scheduled
            .into_iter()
            .take(TOLD)
            .map(|target| {
                let mut interval = json!({ "start_time": rfc3339(target.start) });
                if let Some(end) = target.end {
                    interval["end_time"] = json!(rfc3339(end));
                }
                json!({
                    "active": active == Some(target),
                    "load_constraint": power(target.limit),
                    "interval": interval,
                    "strategy": { "best_effort": target.best_effort },
                    "correlation_id": target.correlation,
                })
            })
            .collect();
        let load = self.calculated(i, plan, seen);
        let fits = |limit: Watts| load <= limit * (1.0 + self.options.rule.threshold);
        let mut state = json!({
            "metadata": {
                "power_minimum": power(desk.spec.minimum),
                "power_maximum": power(desk.spec.maximum),
                "default_constraint": power(desk.spec.default),
            },
            "targets": targets,
            "calculated_load": power(load),
            "in_flight": desk.ramp.in_flight(),
            "event": event,
            "compliant": active.is_none_or(|t| fits(t.limit)),
        });
        // Left out where there is none: the contract's type has no null.
        if let Some(since) = desk.ramp.event_since() {
            state["power_event_start_time"] = json!(rfc3339(since));
        }
        state
    }

    /// The load that the Plan leads to: while caps move, what the racks may draw by it and what else
    /// flows; otherwise what flows.
    fn calculated(&self, i: usize, plan: &Plan, seen: &BTreeMap<RackId, RackSeen>) -> Watts {
        let (desk, flows) = (&self.feeds[i], self.load(i, plan));
        if !desk.ramp.in_flight() {
            return flows;
        }
        let drawn = |cap: &Cap| seen.get(&cap.rack).and_then(|s| s.power);
        let sum = |of: &dyn Fn(&Cap) -> Option<Watts>| {
            desk.racks.iter().map(|(rack, share)| Some(of(&plan.caps[*rack])? * *share)).sum::<Option<Watts>>()
        };
        let planned = sum(&|cap| Some(cap.budget.min(cap.expected)));
        match (planned, sum(&drawn)) {
            (Some(planned), Some(drawn)) => planned + (flows - drawn).max(Watts::ZERO),
            _ => flows,
        }
    }

    /// The racks of a feed in the order in which they give way, each with what the Plan allows it.
    fn hints(&self, i: usize, plan: &Plan) -> Vec<(RackId, Watts)> {
        let mut racks: Vec<&Cap> = self.feeds[i].racks.iter().map(|(rack, _)| &plan.caps[*rack]).collect();
        let shortfall = |cap: &Cap| (cap.expected - cap.budget).get();
        racks.sort_by(|a, b| shortfall(b).total_cmp(&shortfall(a)));
        racks.iter().map(|cap| (cap.rack.clone(), cap.budget)).collect()
    }

    pub(super) fn breach(&self, i: usize, news: &Told, load: Watts, plan: &Plan, gentle: bool, at: UnixMs) -> Telling {
        let status = match news.stage {
            Stage::Active => "active",
            Stage::Escalated => "escalated",
            Stage::Resolved => "resolved",
        };
        // What is best effort asks nobody for more.
        let urgent = news.stage == Stage::Escalated && !gentle;
        let mut data = json!({
            "feed_tag": self.feeds[i].spec.tag,
            "status": status,
            "severity": if news.critical { "critical" } else { "warning" },
            "breach": { "breach_id": news.id, "detected_at": rfc3339(news.found) },
            "target": { "correlation_id": news.correlation, "load_constraint": power(news.limit) },
            "measured_load": power(load),
            "infrastructure_actions": if urgent { &self.options.actions[..] } else { &[] },
        });
        if news.stage == Stage::Resolved {
            data["breach"]["resolved_at"] = json!(rfc3339(at));
        } else {
            let hints: Vec<Value> = self
                .hints(i, plan)
                .into_iter()
                .enumerate()
                .map(|(priority, (rack, budget))| {
                    json!({
                        "resource_id": rack, "resource_type": "chassis", "action": "power_cap",
                        "priority": priority + 1, "target_power": power(budget),
                    })
                })
                .collect();
            data["shed_hints"] = json!(hints);
        }
        self.joined(Channel::Breach, data, news)
    }

    /// What became of the caps: the limits as they were read back from the GPUs.
    pub(super) fn enforcement(
        &self,
        i: usize,
        news: &Told,
        plan: &Plan,
        seen: &BTreeMap<RackId, RackSeen>,
        at: UnixMs,
    ) -> Telling {
        let reverted = news.stage == Stage::Resolved;
        let mut failed = 0;
        let results: Vec<Value> = self.feeds[i]
            .racks
            .iter()
            .map(|(rack, _)| {
                let (cap, spec) = (&plan.caps[*rack], &self.topology.racks()[*rack]);
                let gpu = cap.gpus.iter().map(|g| g.1).reduce(Watts::max).unwrap_or(spec.gpu_max);
                let limit = seen.get(&cap.rack).and_then(|s| s.limit);
                let (code, message) = match limit {
                    None => ("failed", "the rack's agent does not answer; its lease ends in the safe share".to_owned()),
                    Some(limit) if limit > gpu + TOLERANCE && !reverted => {
                        ("failed", format!("a GPU holds {:.0} W where {:.0} W were set", limit.get(), gpu.get()))
                    }
                    Some(limit) => ("applied", format!("{:.0} W a GPU, read back", limit.get())),
                };
                failed += usize::from(code == "failed");
                let mut result = json!({
                    "resource_id": cap.rack, "resource_type": "chassis", "requested_action": "power_cap",
                    "code": code, "message": message,
                });
                if let Some(limit) = limit {
                    result["applied_power"] = power(cap.budget + (limit - gpu) * f64::from(spec.gpus));
                }
                result
            })
            .collect();
        let code = match failed {
            0 => "success",
            all if all == results.len() => "error",
            _ => "partial",
        };
        let data = json!({
            "breach_id": news.id,
            "feed_tag": self.feeds[i].spec.tag,
            "action": if reverted { "reverted" } else { "applied" },
            "code": code,
            "results": results,
            "timestamp": rfc3339(at),
        });
        self.joined(Channel::Enforcement, data, news)
    }

    fn joined(&self, channel: Channel, data: Value, news: &Told) -> Telling {
        let trace = self.trace(&news.correlation);
        Telling { channel, data, correlation: Some(news.correlation.clone()), trace }
    }

    fn trace(&self, correlation: &str) -> Trace {
        self.state.traces.get(correlation).cloned().unwrap_or_default()
    }
}

//! `/api/state` and the summary: the picture as JSON for the console and for scripts. What is
//! unknown is null, never 0.

use crate::config::Config;
use crate::observed::observe;
use crate::picture::Picture;
use headroom_controller_core::decide::mean_limit;
use headroom_controller_core::{CoolingAdvice, NodeKind};
use headroom_predict::{QUANTILES, Standing};
use headroom_rack::{Cap, DeviceId, LimitKind, Mono, NodeView, Reading, Signal, Tally, UnixMs, Watts};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

/// A rack is late when nothing came for this many Snapshot periods of one second.
const LATE: Duration = Duration::from_millis(2500);

/// `/api/state`.
pub fn state(config: &Config, picture: &Picture, now: Mono, at: UnixMs, uptime: Duration) -> Value {
    let plan = picture.plan.as_deref();
    let views: BTreeMap<_, _> = plan.into_iter().flat_map(|p| &p.nodes).map(|n| (&n.node, n)).collect();
    let caps: BTreeMap<_, _> = plan.into_iter().flat_map(|p| &p.caps).map(|c| (&c.rack, c)).collect();
    let coolants: BTreeMap<_, _> = picture.coolants.iter().map(|c| (&c.rack, c.left_s)).collect();
    let of_rack = |id| (caps.get(id).copied(), coolants.get(id).copied());
    let nodes: Vec<Value> = config
        .nodes
        .iter()
        .map(|spec| {
            let seen = views.get(&spec.id).copied();
            let about = |value: fn(&NodeView) -> Value| seen.map_or(Value::Null, value);
            json!({
                "id": spec.id, "kind": spec.kind.word(), "curve": spec.family, "feed": spec.feed, "parent": spec.parent,
                "power_watts": about(|n| json!(n.power)),
                "quality": about(|n| json!(n.quality)),
                "expected_watts": about(|n| json!(n.expected)),
                "limit_watts": about(|n| json!(n.limit)),
                "limit_kind": about(|n| json!(n.limit_kind)),
                "rating_watts": about(|n| json!(n.rating)),
                "time_to_trip_s": about(|n| json!(n.time_to_trip_s)),
                "trip_used": about(|n| json!(n.trip_used)),
            })
        })
        .collect();
    json!({
        "site": config.site,
        "now_ms": at,
        "mode": plan.map_or(config.mode, |p| p.mode),
        "version": env!("CARGO_PKG_VERSION"),
        "uptime_s": uptime.as_secs_f64(),
        "connected": picture.connected,
        "generation": plan.map(|p| p.generation.to_string()),
        "model": model(picture),
        "policy": picture.policy,
        "hands": picture.hands,
        "parent": picture.parent,
        "flex": *picture.flex,
        "learning": picture.learning,
        "loop": {
            "missed_periods": picture.counts.missed_periods,
            "worst_lateness_s": picture.counts.worst_lateness_s,
        },
        "redundancy_cost_watts": plan.map(|_| picture.redundancy_cost),
        "nodes": nodes,
        "racks": config.racks.iter().map(|rack| rack_state(config, picture, rack, of_rack(&rack.id), now)).collect::<Vec<_>>(),
        "ups": ups(config, picture),
        "cooling": picture.advice.iter().map(cooling).collect::<Vec<_>>(),
        "findings": picture.findings,
        "alerts": alerts(picture),
        "record": {
            "snapshots": picture.record.snapshots,
            "readings": picture.record.readings,
            "no_data": picture.record.no_data,
            "points": picture.record.points,
            "bytes": picture.record.bytes,
        },
        "counts": { "orders": picture.counts.orders, "receipts": picture.counts.receipts },
    })
}

/// What the process did, for `/api/summary` and the file of `--summary`.
pub fn summary(picture: &Picture, clean_stop: bool) -> Value {
    let counts = &picture.counts;
    json!({
        "snapshots": counts.snapshots,
        "readings": counts.readings,
        "no_data": counts.no_data_total(),
        "orders": counts.orders,
        "receipts": counts.receipts,
        "model": model(picture),
        "missed_periods": counts.missed_periods,
        "findings": picture.findings.len(),
        "alerts": alerts(picture),
        "points_recorded": picture.record.points,
        "clean_stop": clean_stop,
    })
}

fn model(picture: &Picture) -> Value {
    json!({
        "used": picture.model.used,
        "name": picture.model.name,
        "forecasts": picture.counts.forecasts,
        "fallbacks": picture.counts.fallbacks,
        "late": picture.counts.late,
        "reason": picture.model.reason,
        "outside": picture.model.outside,
        "recent": recent(picture),
    })
}

/// Each method's recent error and coverage, mean over the horizons.
fn recent(picture: &Picture) -> Value {
    let methods = picture.score.as_deref().map_or(&[][..], |s| &s.methods);
    methods.iter().map(|m| (m.method.clone(), json!(Standing::of(&m.recent)))).collect()
}

/// `/api/forecasts`: how good Forecasts turned out, by method and horizon, and what margins follow.
pub fn forecasts(picture: &Picture) -> Value {
    let Some(score) = picture.score.as_deref() else {
        return json!({ "at_ms": null, "methods": [], "margins_watts": {}, "outside": [] });
    };
    let tallies = |tallies: &[Tally]| -> Vec<Value> {
        let rows = score.horizons_s.iter().zip(tallies);
        rows.map(|(horizon, t)| {
            json!({
                "horizon_s": horizon, "outcomes": t.outcomes, "mae_watts": t.mae_watts(),
                "pinball_watts": t.mean_pinball_watts(), "coverage": t.coverage(),
            })
        })
        .collect()
    };
    let methods: Vec<Value> = score
        .methods
        .iter()
        .map(|m| {
            json!({
                "method": m.method, "model": m.model,
                "recent": { "all": Standing::of(&m.recent), "horizons": tallies(&m.recent) },
                "total": { "all": Standing::of(&m.total), "horizons": tallies(&m.total) },
            })
        })
        .collect();
    json!({
        "at_ms": score.at, "quantiles": QUANTILES, "methods": methods,
        "margins_watts": *picture.margins, "outside": picture.model.outside,
    })
}

fn alerts(picture: &Picture) -> Value {
    let a = picture.alerts;
    json!({ "sent": a.sent, "delivered": a.delivered, "pending": a.pending, "dead": a.dead })
}

fn rack_state(
    config: &Config,
    picture: &Picture,
    rack: &crate::config::Rack,
    (cap, coolant_s): (Option<&Cap>, Option<f64>),
    now: Mono,
) -> Value {
    let latest = picture.latest.get(&rack.id);
    let age = latest.map(|l| now.since(l.arrived));
    let lease = Duration::from_millis(config.lease_ms.into());
    let (state, fresh) = match (latest, age) {
        (Some(l), Some(age)) if !l.gone && age <= LATE => ("live", Some(l)),
        (Some(l), Some(age)) if !l.gone && age <= lease => ("late", Some(l)),
        _ => ("silent", None),
    };
    let observed = fresh.map(|l| observe(rack, &l.snapshot)).unwrap_or_default();
    let gpus: Vec<Value> = (0..rack.gpus)
        .map(|i| {
            let id = DeviceId::gpu(i);
            let value = |signal| fresh.and_then(|l| l.snapshot.value(&id, signal));
            let power: Option<Reading> = fresh.map(|l| l.snapshot.reading(&id, Signal::GpuPower));
            json!({
                "id": id,
                "power_watts": power.and_then(|r| r.ok()),
                "limit_watts": value(Signal::GpuLimitEnforced),
                "temperature_celsius": value(Signal::GpuTemperature),
                "utilization_ratio": value(Signal::GpuUtilization),
                "no_data": match power {
                    None => Some("agent_silent".to_owned()),
                    Some(r) => r.value.err().map(|e| e.code()),
                },
            })
        })
        .collect();
    let about = |value: fn(&Cap) -> Value| cap.map_or(Value::Null, value);
    json!({
        "id": rack.id,
        "priority": rack.priority,
        "feeds": rack.feeds.iter().map(|f| json!({ "node": f.node, "share": f.share })).collect::<Vec<_>>(),
        "gpu_max_watts": rack.gpu_max,
        "state": state,
        "age_ms": age.map(|a| a.as_millis() as u64),
        "power_watts": observed.power,
        "budget_watts": about(|c| json!(c.budget)),
        "gpu_limit_watts": about(|c| json!(mean_limit(c))),
        "expected_watts": about(|c| json!(c.expected)),
        "bound_by": about(|c| json!(c.bound_by)),
        "limit_kind": about(|c| json!(c.kind)),
        "binding": about(|c| json!(c.binding)),
        "reason": about(|c| json!(reason(c))),
        "supply_celsius": observed.supply,
        "flow_lpm": observed.flow_lpm,
        "coolant_limit_s": coolant_s,
        "gpus": gpus,
    })
}

/// The cap's reason in words.
pub fn reason(cap: &Cap) -> String {
    let margin = match cap.margin.get() {
        over if over < -0.5 => format!("{:.0} W over", -over),
        left => format!("{left:.0} W left"),
    };
    let trips = match (cap.kind, cap.margin_s) {
        (LimitKind::Cooling, Some(s)) => format!("too warm in {s:.0} s at that"),
        (LimitKind::Cooling, None) => "not too warm within an hour".to_owned(),
        (_, Some(s)) => format!("trips in {s:.0} s at that"),
        (_, None) => "never trips at that".to_owned(),
    };
    let why = format!("{}, {} ({margin}, {trips})", cap.bound_by, cap.kind.words());
    if !cap.binding {
        return format!("not held; nearest limit: {why}");
    }
    let each = mean_limit(cap).map_or(0.0, Watts::get);
    format!("held to {each:.0} W a GPU: {why}")
}

/// What a cooler could be set to.
fn cooling(advice: &CoolingAdvice) -> Value {
    json!({
        "id": advice.cooler,
        "racks": advice.racks,
        "change": advice.change.word(),
        "supply_celsius": advice.supply_celsius,
        "setpoint_celsius": advice.setpoint_celsius,
        "supply_at_most_celsius": advice.at_most_celsius,
        "flow_at_least_lpm": advice.flow_at_least_lpm,
        "wanted_watts": advice.wanted,
        "held_watts": advice.held,
        "advice": advice.words(),
    })
}

fn ups(config: &Config, picture: &Picture) -> Vec<Value> {
    let upses = config.nodes.iter().filter(|n| n.kind == NodeKind::Ups);
    upses
        .map(|node| {
            let value = |signal| {
                let (rack, device) = node.meter.as_ref()?;
                let latest = picture.latest.get(rack).filter(|l| !l.gone)?;
                latest.snapshot.value(device, signal)
            };
            let believed = picture.batteries.iter().find(|b| b.node == node.id);
            json!({
                "id": node.id,
                "load_ratio": value(Signal::UpsLoad),
                "battery_charge_ratio": value(Signal::UpsBatteryCharge),
                "runtime_s": believed.and_then(|b| b.runtime_s).or_else(|| value(Signal::UpsBatteryRuntime)),
                "runtime_told_s": believed.and_then(|b| b.told_s),
                "runtime_counted_s": believed.and_then(|b| b.counted_s),
                "on_battery": value(Signal::UpsOnBattery).map(|flag| flag != 0.0),
            })
        })
        .collect()
}

//! The controller's own metrics: the families of `headroom_rack::metric` with their samples of now,
//! for InfluxDB and for `/metrics`; that page (OpenMetrics text, version 1.0.0) adds every signal
//! of every live rack.

use crate::config::Config;
use crate::flex::desk::Shown;
use crate::learning::Phase;
use crate::observed::inlets;
use crate::picture::Picture;
use headroom_controller_core::CoolingAdvice;
use headroom_predict::QUANTILES;
use headroom_rack::metric::METRICS;
use headroom_rack::{MethodScore, Mono, NodeView, RackId, Severity, Signal, Tally};
use std::collections::BTreeMap;
use std::time::Duration;

/// Content type of the answer.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// A rack's signals are left out when its last Snapshot is older than this: absence is how
/// Prometheus learns of staleness.
const STALE: Duration = Duration::from_secs(10);

/// A label's name and value.
pub type Label = (&'static str, String);

/// One family of `headroom_rack::metric` with its samples of now.
#[derive(Debug, Clone, PartialEq)]
pub struct Family {
    /// Full name; a counter's ends in `_total`.
    pub name: &'static str,
    /// Labels and value of each sample.
    pub samples: Vec<(Vec<Label>, f64)>,
}

/// The controller's own families, those without samples left out.
pub fn families(config: &Config, picture: &Picture, now: Mono) -> Vec<Family> {
    let mut families = of_nodes_and_racks(config, picture, now);
    families.extend(of_targets(picture));
    families.extend(of_counts(picture));
    families.extend(of_forecasts(picture));
    families.retain_mut(|f| {
        f.samples.retain(|(_, value)| value.is_finite());
        !f.samples.is_empty()
    });
    families
}

fn family(name: &'static str, samples: impl IntoIterator<Item = (Vec<Label>, f64)>) -> Family {
    Family { name, samples: samples.into_iter().collect() }
}

fn of_nodes_and_racks(config: &Config, picture: &Picture, now: Mono) -> Vec<Family> {
    let plan = picture.plan.as_deref();
    let nodes = plan.map_or(&[][..], |p| &p.nodes);
    let caps = plan.map_or(&[][..], |p| &p.caps);
    let node = |n: &NodeView| vec![("node", n.node.to_string())];
    let of_nodes = |name, value: fn(&NodeView) -> Option<f64>| {
        family(name, nodes.iter().filter_map(|n| Some((node(n), value(n)?))))
    };
    let rack = |id: &RackId| vec![("rack", id.to_string())];
    let limits =
        nodes.iter().map(|n| (vec![("node", n.node.to_string()), ("kind", word(n.limit_kind))], n.limit.get()));
    let powers = config.racks.iter().filter_map(|r| {
        let latest = picture.latest.get(&r.id).filter(|l| !l.gone && now.since(l.arrived) <= STALE)?;
        Some((rack(&r.id), inlets(r, &latest.snapshot)?.get()))
    });
    let budgets =
        caps.iter().map(|c| (vec![("rack", c.rack.to_string()), ("bound_by", c.bound_by.to_string())], c.budget.get()));
    let ages = config
        .racks
        .iter()
        .filter_map(|r| Some((rack(&r.id), now.since(picture.latest.get(&r.id)?.arrived).as_secs_f64())));
    let batteries = picture.batteries.iter().filter_map(|b| Some((vec![("node", b.node.to_string())], b.runtime_s?)));
    let coolants = picture.coolants.iter().map(|c| (rack(&c.rack), c.left_s));
    let cooler = |c: &CoolingAdvice| vec![("cooler", c.cooler.to_string())];
    let advised = picture.advice.iter().filter_map(|c| Some((cooler(c), c.at_most_celsius?)));
    let held = picture.advice.iter().map(|c| (cooler(c), c.held.get()));
    vec![
        of_nodes("headroom_node_power_watts", |n| Some(n.power.get())),
        family("headroom_node_limit_watts", limits),
        of_nodes("headroom_node_rating_watts", |n| Some(n.rating.get())),
        of_nodes("headroom_node_expected_watts", |n| Some(n.expected.get())),
        of_nodes("headroom_node_time_to_trip_seconds", |n| n.time_to_trip_s),
        of_nodes("headroom_node_trip_used_ratio", |n| Some(n.trip_used)),
        family("headroom_node_battery_runtime_seconds", batteries),
        family("headroom_rack_power_watts", powers),
        family("headroom_rack_budget_watts", budgets),
        family("headroom_rack_capped", caps.iter().map(|c| (rack(&c.rack), f64::from(u8::from(c.binding))))),
        family("headroom_rack_coolant_limit_seconds", coolants),
        family("headroom_cooling_supply_advised_celsius", advised),
        family("headroom_cooling_held_watts", held),
        family("headroom_rack_age_seconds", ages),
        family("headroom_decide_seconds", [(Vec::new(), picture.decide_s)]),
    ]
}

/// Load targets in force, and what flows through their feeds.
fn of_targets(picture: &Picture) -> Vec<Family> {
    let feed = |f: &Shown| ("feed", f.feed.clone());
    let in_force = picture.flex.iter().filter_map(|f| Some((f, f.targets.iter().find(|t| t.active)?)));
    let targets = in_force.map(|(f, t)| (vec![feed(f), ("partner", t.partner.clone())], t.watts.get()));
    let loads = picture.flex.iter().filter_map(|f| Some((vec![feed(f)], f.load_watts?.get())));
    vec![family("headroom_load_target_watts", targets), family("headroom_load_target_feed_watts", loads)]
}

fn of_counts(picture: &Picture) -> Vec<Family> {
    let counts = &picture.counts;
    let whole = |name, n: u64| family(name, [(Vec::new(), n as f64)]);
    let by = |name, label, values: &[(&str, u64)]| {
        family(name, values.iter().map(|(v, n)| (vec![(label, (*v).to_owned())], *n as f64)))
    };
    let r = counts.receipts;
    let receipts = [("applied", r.applied), ("clamped", r.clamped), ("refused", r.refused), ("expired", r.expired)];
    let reasons: Vec<(&str, u64)> = counts.no_data.iter().map(|(k, n)| (k.as_str(), *n)).collect();
    let sources = [("model", counts.forecasts), ("baseline", counts.fallbacks)];
    let open = |s: Severity| (s.word(), picture.findings.iter().filter(|f| f.severity == s).count() as u64);
    let findings = [Severity::Info, Severity::Warning, Severity::Critical].map(open);
    let a = picture.alerts;
    let alerts = [("delivered", a.delivered), ("retried", a.retried), ("dead", a.dead)];
    let influx = picture.influx.map(|i| [("written", i.written), ("dropped", i.dropped)]);
    vec![
        whole("headroom_orders_total", counts.orders),
        by("headroom_receipts_total", "outcome", &receipts),
        whole("headroom_snapshots_total", counts.snapshots),
        whole("headroom_readings_total", counts.readings),
        by("headroom_readings_no_data_total", "reason", &reasons),
        by("headroom_frames_dropped_total", "reason", &picture.drops),
        by("headroom_forecasts_total", "source", &sources),
        family("headroom_loop_lateness_seconds", [(Vec::new(), counts.worst_lateness_s)]),
        whole("headroom_loop_missed_periods_total", counts.missed_periods),
        by("headroom_findings", "severity", &findings),
        by("headroom_alerts_total", "result", &alerts),
        whole("headroom_record_entries_total", picture.record.entries),
        by("headroom_influx_points_total", "result", influx.as_ref().map_or(&[], |i| &i[..])),
    ]
}

/// How good Forecasts turned out, by method, horizon and quantile.
fn of_forecasts(picture: &Picture) -> Vec<Family> {
    let score = picture.score.as_deref();
    let methods = score.map_or(&[][..], |s| &s.methods);
    let horizons = score.map_or(&[][..], |s| &s.horizons_s);
    let one = |name, of: fn(&MethodScore) -> &Vec<Tally>, value: fn(&Tally) -> Option<f64>| {
        let samples = methods.iter().flat_map(|m| {
            let labels = |h: &u32| vec![("method", m.method.clone()), ("horizon_s", h.to_string())];
            horizons.iter().zip(of(m)).filter_map(move |(h, tally)| Some((labels(h), value(tally)?)))
        });
        family(name, samples.collect::<Vec<_>>())
    };
    let each = |name, of: fn(&MethodScore) -> &Vec<Tally>, value: fn(&Tally) -> Option<Vec<f64>>| {
        let mut samples = Vec::new();
        for m in methods {
            for (h, tally) in horizons.iter().zip(of(m)) {
                for (q, value) in QUANTILES.iter().zip(value(tally).unwrap_or_default()) {
                    let labels =
                        [("method", m.method.clone()), ("horizon_s", h.to_string()), ("quantile", q.to_string())];
                    samples.push((labels.to_vec(), value));
                }
            }
        }
        family(name, samples)
    };
    let margins = picture.margins.iter().flat_map(|(rack, margins)| {
        let upper = QUANTILES.iter().zip(margins).filter(|(q, _)| **q > 0.5);
        upper.map(|(q, w)| (vec![("rack", rack.to_string()), ("quantile", q.to_string())], w.get()))
    });
    let outside = picture.model.outside.iter().map(|rack| (vec![("rack", rack.to_string())], 1.0));
    let learning = &picture.learning;
    let phases = Phase::ALL.map(|p| (vec![("phase", p.word().to_owned())], f64::from(u8::from(p == learning.phase))));
    let trainings = learning.trainings.iter().map(|(how, n)| (vec![("result", (*how).to_owned())], *n as f64));
    vec![
        family("headroom_learning_phase", phases),
        family("headroom_learning_trainings_total", trainings),
        family("headroom_model_demotions_total", [(Vec::new(), learning.demotions as f64)]),
        one("headroom_forecast_outcomes_total", |m| &m.total, |t| Some(t.outcomes)),
        one("headroom_forecast_absolute_error_watts_total", |m| &m.total, |t| Some(t.absolute_watts)),
        one("headroom_forecast_pinball_loss_watts_total", |m| &m.total, |t| Some(t.pinball_watts)),
        each("headroom_forecast_covered_total", |m| &m.total, |t| Some(t.covered.clone())),
        one("headroom_forecast_mae_watts", |m| &m.recent, Tally::mae_watts),
        one("headroom_forecast_pinball_watts", |m| &m.recent, Tally::mean_pinball_watts),
        each("headroom_forecast_coverage_ratio", |m| &m.recent, Tally::coverage),
        family("headroom_forecast_outside_range", outside),
        family("headroom_rack_margin_watts", margins),
    ]
}

/// The page for Prometheus.
pub fn page(config: &Config, picture: &Picture, now: Mono) -> String {
    let mut text = String::new();
    for family in families(config, picture, now) {
        let (kind, help) = METRICS
            .iter()
            .find(|(name, ..)| *name == family.name)
            .map(|(_, kind, _, help)| (*kind, *help))
            .expect("invariant: only families of the catalogue are exported");
        write_family(&mut text, family.name, kind, help, &family.samples);
    }
    for (signal, samples) in signals(config, picture, now) {
        let name = format!("headroom_{}", signal.name());
        write_family(&mut text, &name, "gauge", &format!("{} of a device.", signal.name()), &samples);
    }
    text.push_str("# EOF\n");
    text
}

fn signals(config: &Config, picture: &Picture, now: Mono) -> BTreeMap<Signal, Vec<(Vec<Label>, f64)>> {
    let mut families: BTreeMap<Signal, Vec<_>> = BTreeMap::new();
    let latest = config.racks.iter().filter_map(|rack| Some((&rack.id, picture.latest.get(&rack.id)?)));
    for (rack, latest) in latest.filter(|(_, l)| !l.gone && now.since(l.arrived) <= STALE) {
        for (path, reading) in &latest.snapshot.readings {
            if let Some(value) = reading.ok() {
                let labels = vec![("rack", rack.to_string()), ("device", path.device.to_string())];
                families.entry(path.signal).or_default().push((labels, value));
            }
        }
    }
    families
}

fn write_family(text: &mut String, name: &str, kind: &str, help: &str, samples: &[(Vec<Label>, f64)]) {
    // A counter's family name comes without the ending of its sample.
    let family = if kind == "counter" { name.strip_suffix("_total").unwrap_or(name) } else { name };
    text.push_str(&format!("# TYPE {family} {kind}\n# HELP {family} {}\n", escape(help)));
    for (labels, value) in samples {
        let inner: Vec<String> = labels.iter().map(|(k, v)| format!("{k}=\"{}\"", escape(v))).collect();
        let labels = if inner.is_empty() { String::new() } else { format!("{{{}}}", inner.join(",")) };
        text.push_str(&format!("{name}{labels} {value}\n"));
    }
}

fn escape(text: &str) -> String {
    text.replace('\\', "\\\\").replace('\n', "\\n").replace('"', "\\\"")
}

fn word(value: impl serde::Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word,
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    #[test]
    fn a_battery_and_a_loop_are_exported_in_seconds_and_absent_while_nobody_knows() {
        let config = config::parse("d", config::DEFAULT).unwrap();
        let ups = |id: &str, runtime_s| headroom_controller_core::BatteryView {
            node: headroom_rack::NodeId::new(id).unwrap(),
            on: false,
            read: true,
            load: headroom_rack::Watts::new(8000.0),
            told_s: runtime_s,
            counted_s: None,
            runtime_s,
            charge: None,
            target: None,
        };
        let rack = RackId::new("rack-1").unwrap();
        let warm = headroom_controller_core::CoolantView { rack, celsius: 51.0, left_s: 42.5 };
        let picture = Picture {
            batteries: vec![ups("ups-a", Some(301.0)), ups("ups-b", None)].into(),
            coolants: vec![warm].into(),
            ..Picture::default()
        };
        let text = page(&config, &picture, Mono::from_ms(0));
        let samples: Vec<&str> = text.lines().filter(|l| l.contains("_seconds{")).collect();
        let expected = [
            "headroom_node_battery_runtime_seconds{node=\"ups-a\"} 301",
            "headroom_rack_coolant_limit_seconds{rack=\"rack-1\"} 42.5",
        ];
        assert_eq!(samples, expected);
    }

    #[test]
    fn every_family_is_whole_and_the_page_ends_as_the_format_demands() {
        let config = config::parse("d", config::DEFAULT).unwrap();
        let mut picture = Picture { drops: vec![("protobuf", 3)], ..Picture::default() };
        picture.counts.orders = 12;
        let text = page(&config, &picture, Mono::from_ms(0));
        assert!(text.contains(
            "# TYPE headroom_orders counter\n# HELP headroom_orders Orders sent.\nheadroom_orders_total 12\n"
        ));
        assert!(text.contains("headroom_frames_dropped_total{reason=\"protobuf\"} 3\n"));
        assert!(text.ends_with("# EOF\n"));
        let types: Vec<&str> = text.lines().filter(|l| l.starts_with("# TYPE")).collect();
        let unique: std::collections::BTreeSet<_> = types.iter().collect();
        assert_eq!(types.len(), unique.len(), "a family is written twice");
    }
}

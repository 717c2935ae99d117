//! `/metrics` in the OpenMetrics text format (version 1.0.0): the families of
//! `headroom_rack::metric` that are the controller's, and every signal of every live rack.

use crate::config::Config;
use crate::picture::Picture;
use headroom_rack::metric::METRICS;
use headroom_rack::{Mono, Severity, Signal};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

/// Content type of the answer.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// A rack's signals are left out when its last Snapshot is older than this: absence is how
/// Prometheus learns of staleness.
const STALE: Duration = Duration::from_secs(10);

struct Page {
    text: String,
}

impl Page {
    /// One family with all its samples; none without samples.
    fn family(&mut self, name: &str, samples: impl IntoIterator<Item = (String, f64)>) {
        let (kind, help) = METRICS
            .iter()
            .find(|(n, ..)| *n == name)
            .map(|(_, kind, _, help)| (*kind, *help))
            .expect("invariant: only families of the catalogue are exported");
        self.described(name, kind, help, samples);
    }

    fn described(&mut self, name: &str, kind: &str, help: &str, samples: impl IntoIterator<Item = (String, f64)>) {
        let mut samples = samples.into_iter().filter(|(_, v)| v.is_finite()).peekable();
        if samples.peek().is_none() {
            return;
        }
        // A counter's family name comes without the ending of its sample.
        let family = if kind == "counter" { name.strip_suffix("_total").unwrap_or(name) } else { name };
        self.line(format_args!("# TYPE {family} {kind}"));
        self.line(format_args!("# HELP {family} {}", escape(help)));
        for (labels, value) in samples {
            self.line(format_args!("{name}{labels} {value}"));
        }
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        self.text.write_fmt(line).expect("writing to a String cannot fail");
        self.text.push('\n');
    }
}

fn escape(text: &str) -> String {
    text.replace('\\', "\\\\").replace('\n', "\\n").replace('"', "\\\"")
}

fn labels(pairs: &[(&str, &str)]) -> String {
    let inner: Vec<String> = pairs.iter().map(|(k, v)| format!("{k}=\"{}\"", escape(v))).collect();
    format!("{{{}}}", inner.join(","))
}

/// The page.
pub fn page(config: &Config, picture: &Picture, now: Mono) -> String {
    let mut page = Page { text: String::new() };
    nodes_and_racks(&mut page, config, picture, now);
    counts(&mut page, picture);
    signals(&mut page, picture, now);
    page.line(format_args!("# EOF"));
    page.text
}

fn nodes_and_racks(page: &mut Page, config: &Config, picture: &Picture, now: Mono) {
    let plan = picture.plan.as_deref();
    let nodes = plan.map_or(&[][..], |p| &p.nodes);
    let node = |id: &headroom_rack::NodeId| labels(&[("node", id.as_str())]);
    page.family("headroom_node_power_watts", nodes.iter().map(|n| (node(&n.node), n.power.get())));
    page.family(
        "headroom_node_limit_watts",
        nodes.iter().map(|n| (labels(&[("node", n.node.as_str()), ("kind", &word(n.limit_kind))]), n.limit.get())),
    );
    page.family("headroom_node_rating_watts", nodes.iter().map(|n| (node(&n.node), n.rating.get())));
    page.family("headroom_node_expected_watts", nodes.iter().map(|n| (node(&n.node), n.expected.get())));
    page.family(
        "headroom_node_time_to_trip_seconds",
        nodes.iter().filter_map(|n| Some((node(&n.node), n.time_to_trip_s?))),
    );
    page.family("headroom_node_trip_used_ratio", nodes.iter().map(|n| (node(&n.node), n.trip_used)));
    let rack = |id: &headroom_rack::RackId| labels(&[("rack", id.as_str())]);
    page.family(
        "headroom_rack_power_watts",
        config.racks.iter().filter_map(|r| {
            let latest = picture.latest.get(&r.id).filter(|l| now.since(l.arrived) <= STALE)?;
            Some((rack(&r.id), crate::observed::observe(r, &latest.snapshot).power?.get()))
        }),
    );
    let caps = plan.map_or(&[][..], |p| &p.caps);
    page.family(
        "headroom_rack_budget_watts",
        caps.iter().map(|c| (labels(&[("rack", c.rack.as_str()), ("bound_by", c.bound_by.as_str())]), c.budget.get())),
    );
    page.family("headroom_rack_capped", caps.iter().map(|c| (rack(&c.rack), f64::from(u8::from(c.binding)))));
    page.family(
        "headroom_rack_age_seconds",
        picture.latest.iter().map(|(id, l)| (rack(id), now.since(l.arrived).as_secs_f64())),
    );
    page.family("headroom_decide_seconds", [(String::new(), picture.decide_s)]);
}

fn counts(page: &mut Page, picture: &Picture) {
    let counts = &picture.counts;
    let whole = |n: u64| [(String::new(), n as f64)];
    let by = |label: &str, values: &[(&str, u64)]| -> Vec<(String, f64)> {
        values.iter().map(|(v, n)| (labels(&[(label, v)]), *n as f64)).collect()
    };
    page.family("headroom_orders_total", whole(counts.orders));
    let r = counts.receipts;
    let receipts = [("applied", r.applied), ("clamped", r.clamped), ("refused", r.refused), ("expired", r.expired)];
    page.family("headroom_receipts_total", by("outcome", &receipts));
    page.family("headroom_snapshots_total", whole(counts.snapshots));
    page.family("headroom_readings_total", whole(counts.readings));
    let reasons: Vec<(&str, u64)> = counts.no_data.iter().map(|(k, n)| (k.as_str(), *n)).collect();
    page.family("headroom_readings_no_data_total", by("reason", &reasons));
    page.family("headroom_frames_dropped_total", by("reason", &picture.drops));
    let sources = [("model", counts.forecasts), ("baseline", counts.fallbacks)];
    page.family("headroom_forecasts_total", by("source", &sources));
    let severities = [Severity::Info, Severity::Warning, Severity::Critical];
    let open = |s| picture.findings.iter().filter(|f| f.severity == s).count() as u64;
    page.family("headroom_findings", by("severity", &severities.map(|s| (s.word(), open(s)))));
    let a = picture.alerts;
    let alerts = [("delivered", a.delivered), ("retried", a.retried), ("dead", a.dead)];
    page.family("headroom_alerts_total", by("result", &alerts));
    page.family("headroom_record_entries_total", whole(picture.record.entries));
    if let Some(influx) = picture.influx {
        let points = [("written", influx.written), ("dropped", influx.dropped)];
        page.family("headroom_influx_points_total", by("result", &points));
    }
}

fn signals(page: &mut Page, picture: &Picture, now: Mono) {
    let mut families: BTreeMap<Signal, Vec<(String, f64)>> = BTreeMap::new();
    for (rack, latest) in picture.latest.iter().filter(|(_, l)| !l.gone && now.since(l.arrived) <= STALE) {
        for (path, reading) in &latest.snapshot.readings {
            if let Some(value) = reading.ok() {
                let labels = labels(&[("rack", rack.as_str()), ("device", path.device.as_str())]);
                families.entry(path.signal).or_default().push((labels, value));
            }
        }
    }
    for (signal, samples) in families {
        page.described(
            &format!("headroom_{}", signal.name()),
            "gauge",
            &format!("{} of a device.", signal.name()),
            samples,
        );
    }
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

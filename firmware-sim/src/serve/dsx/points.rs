//! Which points are published, with what metadata, and when. Pure: time and view are arguments.
//! Names and shapes are those of the DSX Exchange BMS AsyncAPI document 1.0.0.

use crate::plant::spec::PlantSpec;
use crate::plant::view::{PlantView, RackView};
use serde_json::{Value, json};

/// Values that do not change, and metadata, are published again after this long.
const REPEAT_MS: u64 = 100_000;
const HEARTBEAT_MS: u64 = 10_000;

/// One message to publish.
#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    /// MQTT topic.
    pub topic: String,
    /// JSON text.
    pub payload: String,
    /// Kept by the broker.
    pub retain: bool,
}

struct Series {
    rack: usize,
    path: String,
    metadata: Value,
    value: fn(&RackView) -> f64,
    /// Changes smaller than this are noise.
    step: f64,
    sent: Option<(u64, f64)>,
}

/// The points of all cooling units.
pub struct Points {
    series: Vec<Series>,
    site: String,
    metadata_sent_ms: Option<u64>,
    heartbeat_sent_ms: Option<u64>,
}

impl Points {
    /// The points of a row.
    pub fn new(spec: &PlantSpec) -> Self {
        let site = &spec.site;
        let mut series = Vec::new();
        for (rack, of) in spec.racks.iter().enumerate() {
            let id = &of.id;
            let tag = format!("{site}/row-1/{id}/cooling");
            let mut add =
                |kind: &str, last: &str, unit: &str, area: &[&str], step: f64, value: fn(&RackView) -> f64| {
                    let metadata = json!({
                        "objectType": "CDU",
                        "pointType": kind,
                        "objectName": format!("Cooling unit of {id}"),
                        "objectId": format!("{id}/cooling"),
                        "servesId": [id],
                        "processArea": area,
                        "engUnit": unit,
                    });
                    series.push(Series {
                        rack,
                        path: format!("CDU/{kind}/{tag}{last}"),
                        metadata,
                        value,
                        step,
                        sent: None,
                    });
                };
            add("LiquidTemperature", "/Supply", "C", &["Secondary", "Supply"], 0.05, |r| r.cooling.supply_celsius);
            add("LiquidTemperature", "/Return", "C", &["Secondary", "Return"], 0.05, |r| r.cooling.return_celsius);
            add("LiquidFlow", "", "LPM", &["Secondary"], 0.02, |r| r.cooling.flow_lpm);
            add("PumpSpeed", "", "RPM", &["Secondary"], 5.0, |r| r.cooling.pump_rpm[0]);
        }
        Self { series, site: site.clone(), metadata_sent_ms: None, heartbeat_sent_ms: None }
    }

    /// What has to be published now. A unit without power gives `null` with quality 0.
    pub fn due(&mut self, view: &PlantView, now_ms: u64) -> Vec<Point> {
        let due = |sent: Option<u64>, after: u64| sent.is_none_or(|at| now_ms.saturating_sub(at) >= after);
        let mut points = Vec::new();
        let beat = format!("System/HeartbeatTimestampBms/{}", self.site);
        if due(self.metadata_sent_ms, REPEAT_MS) {
            self.metadata_sent_ms = Some(now_ms);
            let metadata = json!({
                "objectType": "System",
                "pointType": "HeartbeatTimestampBms",
                "objectName": "Headroom simulator",
                "objectId": "BMS",
            });
            let all = self.series.iter().map(|s| (&s.path, &s.metadata)).chain([(&beat, &metadata)]);
            points.extend(all.map(|(path, metadata)| Point {
                topic: format!("BMS/v1/PUB/Metadata/{path}"),
                payload: metadata.to_string(),
                retain: true,
            }));
        }
        if due(self.heartbeat_sent_ms, HEARTBEAT_MS) {
            self.heartbeat_sent_ms = Some(now_ms);
            points.push(value_point(&beat, json!(now_ms), 1, now_ms));
        }
        for series in &mut self.series {
            let Some(rack) = view.racks.get(series.rack) else { continue };
            let powered = rack.cooling.powered;
            let value = if powered { (series.value)(rack) } else { f64::NAN };
            let changed =
                series.sent.is_none_or(|(_, old)| old.is_nan() != value.is_nan() || (value - old).abs() >= series.step);
            if changed || due(series.sent.map(|s| s.0), REPEAT_MS) {
                series.sent = Some((now_ms, value));
                let shown = if powered { json!((value * 1000.0).round() / 1000.0) } else { Value::Null };
                points.push(value_point(&series.path, shown, u8::from(powered), now_ms));
            }
        }
        points
    }
}

fn value_point(path: &str, value: Value, quality: u8, now_ms: u64) -> Point {
    let payload = json!({"value": value, "timestamp": now_ms, "quality": quality}).to_string();
    Point { topic: format!("BMS/v1/PUB/Value/{path}"), payload, retain: false }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plant::Plant;
    use crate::scenario::Scenario;

    fn plant() -> Plant {
        Plant::new(&Scenario::load(None).expect("valid").plant)
    }

    #[test]
    fn metadata_comes_before_values_and_is_retained() {
        let mut plant = plant();
        plant.step(0.02);
        let points = Points::new(plant.spec()).due(&plant.view(), 1_000);
        let first_value = points.iter().position(|p| p.topic.contains("/Value/")).expect("values");
        let last_metadata = points.iter().rposition(|p| p.topic.contains("/Metadata/")).expect("metadata");
        assert!(last_metadata < first_value);
        assert!(points.iter().all(|p| p.retain == p.topic.contains("/Metadata/")));
        let supply = "BMS/v1/PUB/Value/CDU/LiquidTemperature/demo/row-1/rack-1/cooling/Supply";
        let point = points.iter().find(|p| p.topic == supply).expect("supply temperature");
        let json: Value = serde_json::from_str(&point.payload).expect("JSON");
        assert_eq!((json["quality"].as_u64(), json["timestamp"].as_u64()), (Some(1), Some(1_000)));
    }

    #[test]
    fn values_come_on_change_and_every_hundred_seconds() {
        let mut plant = plant();
        plant.step(0.02);
        let view = plant.view();
        let mut points = Points::new(plant.spec());
        points.due(&view, 0);
        assert!(points.due(&view, 5_000).is_empty());
        assert_eq!(points.due(&view, 11_000).len(), 1, "the heartbeat");
        let mut warmer = view.clone();
        warmer.racks[0].cooling.supply_celsius += 1.0;
        assert_eq!(points.due(&warmer, 12_000).len(), 1);
        assert!(points.due(&warmer, 112_000).len() > 16);
    }

    #[test]
    fn a_unit_without_power_is_not_trusted() {
        let mut plant = plant();
        plant.step(0.02);
        let mut view = plant.view();
        view.racks[0].cooling.powered = false;
        let points = Points::new(plant.spec()).due(&view, 0);
        let dead = points.iter().filter(|p| p.payload.contains("\"quality\":0") && p.payload.contains("null")).count();
        assert_eq!(dead, 4);
    }
}

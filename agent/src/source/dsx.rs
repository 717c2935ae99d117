//! Cooling through DSX Exchange topics (BMS Event Bus 1.0, AsyncAPI): metadata says what a point
//! is, values follow. A value before its metadata is not interpreted; quality other than 1 is
//! `not_available`. What is said to the bus is our heartbeat, where it asks for it.

mod ear;
mod heartbeat;
mod integration;

pub use ear::{Ear, Heard};

use headroom_rack::{NoData, Reading, Signal, UnixMs};
use serde::Deserialize;
use std::collections::BTreeMap;

/// Every signal a coolant unit's DSX points can give.
pub const SIGNALS: &[Signal] = &[
    Signal::CoolingSupplyTemperature,
    Signal::CoolingReturnTemperature,
    Signal::CoolingFlow,
    Signal::CoolingSupplySetpoint,
    Signal::CoolingSupplyPressure,
    Signal::CoolingReturnPressure,
    Signal::CoolingPumpSpeed,
    Signal::CoolingPump1Rpm,
    Signal::CoolingLeak,
];

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    #[serde(default)]
    eng_unit: Option<String>,
    /// One text or several, such as "Secondary" and "Supply".
    #[serde(default)]
    process_area: serde_json::Value,
    #[serde(default)]
    is_setpoint: bool,
}

#[derive(Debug, Deserialize)]
struct Value {
    value: Option<f64>,
    timestamp: u64,
    quality: i64,
}

/// What a point means: its signal, and `raw * factor + offset` in the signal's unit.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Meaning {
    signal: Signal,
    factor: f64,
    offset: f64,
}

fn meaning(point_type: &str, tag_path: &str, metadata: &Metadata) -> Option<Meaning> {
    let area = format!("{} {tag_path}", metadata.process_area).to_lowercase();
    let supplies = match (area.contains("supply"), area.contains("return")) {
        (true, false) => Some(true),
        (false, true) => Some(false),
        _ => None,
    };
    let unit = metadata.eng_unit.as_deref().unwrap_or("");
    let linear = |signal, factor| Some(Meaning { signal, factor, offset: 0.0 });
    if metadata.is_setpoint {
        // Of set-points only this one is of use.
        let is_supply = (point_type, unit, supplies) == ("LiquidTemperature", "C", Some(true));
        return is_supply.then(|| linear(Signal::CoolingSupplySetpoint, 1.0)).flatten();
    }
    match (point_type, unit) {
        ("LiquidTemperature", "C") => {
            linear(if supplies? { Signal::CoolingSupplyTemperature } else { Signal::CoolingReturnTemperature }, 1.0)
        }
        ("LiquidFlow", "LPM" | "L/min" | "l/min") => linear(Signal::CoolingFlow, 1.0),
        // US gallon: 3.785411784 l (NIST Handbook 44, appendix C).
        ("LiquidFlow", "GPM") => linear(Signal::CoolingFlow, 3.785_411_784),
        ("LiquidFlow", "m3/h") => linear(Signal::CoolingFlow, 1000.0 / 60.0),
        ("LiquidPressure", "kPa") => {
            linear(if supplies? { Signal::CoolingSupplyPressure } else { Signal::CoolingReturnPressure }, 1.0)
        }
        ("PumpSpeed", "%") => linear(Signal::CoolingPumpSpeed, 0.01),
        ("PumpSpeed", "RPM" | "rpm") => linear(Signal::CoolingPump1Rpm, 1.0),
        ("LeakDetect", "") => linear(Signal::CoolingLeak, 1.0),
        _ => None,
    }
}

/// `BMS/v1/PUB/{Metadata|Value}/CDU/{pointType}/{tagPath}` taken apart.
fn point_of(topic: &str) -> Option<(bool, &str, &str)> {
    let rest = topic.strip_prefix("BMS/v1/PUB/")?;
    let (kind, rest) = rest.split_once('/')?;
    let (point_type, tag_path) = rest.strip_prefix("CDU/")?.split_once('/')?;
    match kind {
        "Metadata" => Some((true, point_type, tag_path)),
        "Value" => Some((false, point_type, tag_path)),
        _ => None,
    }
}

/// What is known of one device's points.
#[derive(Debug, Default)]
pub struct Points {
    meanings: BTreeMap<(String, String), Meaning>,
}

impl Points {
    /// Takes one message in. A Reading comes out of each value whose metadata is known.
    pub fn hear(&mut self, topic: &str, payload: &[u8], at: UnixMs) -> Option<(Signal, Reading)> {
        let (is_metadata, point_type, tag_path) = point_of(topic)?;
        let key = (point_type.to_owned(), tag_path.to_owned());
        if is_metadata {
            let metadata = serde_json::from_slice(payload).ok()?;
            match meaning(point_type, tag_path, &metadata) {
                Some(meaning) => self.meanings.insert(key, meaning),
                None => self.meanings.remove(&key),
            };
            return None;
        }
        let meaning = self.meanings.get(&key)?;
        let signal = meaning.signal;
        let Ok(Value { value, timestamp, quality }) = serde_json::from_slice(payload) else {
            return Some((signal, Reading::none(NoData::Malformed, at)));
        };
        let at = UnixMs::new(timestamp);
        let reading = match value.filter(|_| quality == 1).map(|v| v * meaning.factor + meaning.offset) {
            None => Reading::none(NoData::NotAvailable, at),
            Some(v) if !signal.is_plausible(v) => Reading::none(NoData::OutOfRange, at),
            Some(v) => Reading::new(v, at),
        };
        Some((signal, reading))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const META: &str = "BMS/v1/PUB/Metadata/CDU/LiquidTemperature/demo/row-1/rack-1/cooling/Supply";
    const VALUE: &str = "BMS/v1/PUB/Value/CDU/LiquidTemperature/demo/row-1/rack-1/cooling/Supply";

    fn heard(points: &mut Points, value: &str) -> Option<(Signal, Result<f64, NoData>)> {
        points.hear(VALUE, value.as_bytes(), UnixMs::new(9)).map(|(s, r)| (s, r.value))
    }

    #[test]
    fn a_value_before_its_metadata_is_not_interpreted() {
        let mut points = Points::default();
        assert_eq!(heard(&mut points, r#"{"value":30.5,"timestamp":1,"quality":1}"#), None);
        let metadata = br#"{"pointType":"LiquidTemperature","engUnit":"C","processArea":["Secondary","Supply"]}"#;
        points.hear(META, metadata, UnixMs::new(0));
        let supply = Signal::CoolingSupplyTemperature;
        assert_eq!(heard(&mut points, r#"{"value":30.5,"timestamp":1,"quality":1}"#), Some((supply, Ok(30.5))));
    }

    #[test]
    fn bad_quality_null_and_nonsense_are_reasons() {
        let mut points = Points::default();
        points.hear(META, br#"{"engUnit":"C"}"#, UnixMs::new(0));
        let mut value = |text: &str| heard(&mut points, text).map(|(_, v)| v);
        assert_eq!(value(r#"{"value":30.5,"timestamp":1,"quality":0}"#), Some(Err(NoData::NotAvailable)));
        assert_eq!(value(r#"{"value":null,"timestamp":1,"quality":1}"#), Some(Err(NoData::NotAvailable)));
        assert_eq!(value(r#"{"value":999,"timestamp":1,"quality":1}"#), Some(Err(NoData::OutOfRange)));
        assert_eq!(value("garbage"), Some(Err(NoData::Malformed)));
    }

    #[test]
    fn a_setpoint_is_no_temperature_and_an_unknown_unit_no_reading() {
        let meta = |json: &str| serde_json::from_str::<Metadata>(json).unwrap();
        let set = r#"{"engUnit":"C","isSetpoint":true}"#;
        let supply = meaning("LiquidTemperature", "x/Supply", &meta(set)).unwrap();
        assert_eq!(supply.signal, Signal::CoolingSupplySetpoint);
        assert_eq!(meaning("LiquidTemperature", "x/Return", &meta(set)), None);
        assert_eq!(meaning("LiquidFlow", "x", &meta(r#"{"engUnit":"LPM","isSetpoint":true}"#)), None);
        assert_eq!(meaning("LiquidTemperature", "x/Supply", &meta(r#"{"engUnit":"F"}"#)), None);
        let flow = meaning("LiquidFlow", "x", &meta(r#"{"engUnit":"m3/h"}"#)).unwrap();
        assert!((flow.factor * 6.0 - 100.0).abs() < 1e-9);
    }
}

//! Devices that publish JSON (or a bare number) over MQTT in a form of their own: the config says
//! which place of which topic is which signal. What is no number becomes a reason.

use crate::config::JsonPoint;
use headroom_rack::{NoData, Reading, Signal, UnixMs};
use serde_json::Value;

/// What one message says: a Reading for each point on its topic. A message without a point's place
/// says nothing of that point: many devices send only what changed.
pub fn hear(points: &[JsonPoint], topic: &str, payload: &[u8], now: UnixMs) -> Vec<(Signal, Reading)> {
    let mine: Vec<&JsonPoint> = points.iter().filter(|p| p.topic == topic).collect();
    let Ok(message) = serde_json::from_slice::<Value>(payload) else {
        return mine.iter().map(|p| (p.signal, Reading::none(NoData::Malformed, now))).collect();
    };
    mine.iter().filter_map(|p| Some((p.signal, reading(p, &message, now)?))).collect()
}

fn reading(point: &JsonPoint, message: &Value, now: UnixMs) -> Option<Reading> {
    let found = message.pointer(&point.pointer)?;
    let at = match &point.time {
        None => now,
        Some(time) => match message.pointer(&time.pointer).and_then(number) {
            Some(value) if value.is_finite() && value >= 0.0 => UnixMs::new((value * time.unit_ms).round() as u64),
            _ => return Some(Reading::none(NoData::Malformed, now)),
        },
    };
    let doubted = point.quality.as_ref().is_some_and(|quality| {
        let said = message.pointer(&quality.pointer).and_then(number);
        said.is_none_or(|said| !quality.good.contains(&said))
    });
    if doubted || found.is_null() {
        return Some(Reading::none(NoData::NotAvailable, at));
    }
    let value = number(found).map(|raw| raw * point.factor + point.offset);
    Some(match value {
        None => Reading::none(NoData::Malformed, at),
        Some(v) if !point.signal.is_plausible(v) => Reading::none(NoData::OutOfRange, at),
        Some(v) => Reading::new(v, at),
    })
}

/// A number, a number in quotes, or true and false.
fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Number(n) => n.as_f64(),
        Value::String(text) => text.trim().parse().ok(),
        Value::Bool(flag) => Some(f64::from(u8::from(*flag))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{JsonQuality, JsonTime};

    fn point() -> JsonPoint {
        JsonPoint {
            signal: Signal::CoolingSupplyTemperature,
            topic: "plant/crah-1".into(),
            pointer: "/air/supply".into(),
            factor: 1.0,
            offset: 0.0,
            time: None,
            quality: None,
        }
    }

    fn heard(point: &JsonPoint, payload: &str) -> Vec<Result<f64, NoData>> {
        let all = hear(std::slice::from_ref(point), "plant/crah-1", payload.as_bytes(), UnixMs::new(9));
        all.into_iter().map(|(_, r)| r.value).collect()
    }

    #[test]
    fn a_place_in_a_message_is_a_value_in_the_signals_unit() {
        // 68 degrees Fahrenheit are 20 degrees Celsius.
        let fahrenheit = JsonPoint { factor: 5.0 / 9.0, offset: -160.0 / 9.0, ..point() };
        let found = heard(&fahrenheit, r#"{"air": {"supply": "68.0"}}"#)[0].unwrap();
        assert!((found - 20.0).abs() < 1e-9, "{found}");
        let bare = JsonPoint { pointer: String::new(), ..point() };
        assert_eq!(heard(&bare, "21.5"), [Ok(21.5)]);
        assert_eq!(hear(&[point()], "plant/crah-2", b"21.5", UnixMs::new(0)), []);
    }

    #[test]
    fn what_is_no_number_is_a_reason_and_what_is_not_said_is_nothing() {
        let p = point();
        assert_eq!(heard(&p, r#"{"air": {"supply": null}}"#), [Err(NoData::NotAvailable)]);
        assert_eq!(heard(&p, r#"{"air": {"supply": {}}}"#), [Err(NoData::Malformed)]);
        assert_eq!(heard(&p, r#"{"air": {"supply": "warm"}}"#), [Err(NoData::Malformed)]);
        assert_eq!(heard(&p, r#"{"air": {"supply": "NaN"}}"#), [Err(NoData::OutOfRange)]);
        assert_eq!(heard(&p, r#"{"air": {"supply": 999}}"#), [Err(NoData::OutOfRange)]);
        assert_eq!(heard(&p, "not JSON"), [Err(NoData::Malformed)]);
        assert_eq!(heard(&p, r#"{"air": {"return": 30}}"#), []);
    }

    #[test]
    fn its_own_time_and_quality_are_kept() {
        let quality = Some(JsonQuality { pointer: "/q".into(), good: vec![192.0] });
        let time = Some(JsonTime { pointer: "/t".into(), unit_ms: 1000.0 });
        let p = JsonPoint { quality, time, ..point() };
        let good = hear(
            std::slice::from_ref(&p),
            "plant/crah-1",
            br#"{"air":{"supply":20},"q":192,"t":12.5}"#,
            UnixMs::new(9),
        );
        assert_eq!(good, [(p.signal, Reading::new(20.0, UnixMs::new(12_500)))]);
        assert_eq!(heard(&p, r#"{"air":{"supply":20},"q":0,"t":12.5}"#), [Err(NoData::NotAvailable)]);
        assert_eq!(heard(&p, r#"{"air":{"supply":20},"t":12.5}"#), [Err(NoData::NotAvailable)], "no quality, no trust");
        assert_eq!(heard(&p, r#"{"air":{"supply":20},"q":192}"#), [Err(NoData::Malformed)], "no time stamp");
    }
}

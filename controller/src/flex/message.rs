//! What a partner's signed payload says: `SetLoadTargetData` and `PowerBreachEnforcementData` of DSX Flex, every
//! fault at once.

use crate::clock::parse_rfc3339;
use headroom_rack::{UnixMs, Watts};
use serde_json::Value;

/// One wish of a load target message.
#[derive(Debug, Clone, PartialEq)]
pub struct Wish {
    /// Feeds it is for; empty: all.
    pub feeds: Vec<String>,
    /// What may flow; `None` ends what is in force.
    pub limit: Option<Watts>,
    /// From when on; `None`: now.
    pub start: Option<UnixMs>,
    /// Until when; `None`: until replaced.
    pub end: Option<UnixMs>,
    /// Without disturbing what is not flexible.
    pub best_effort: bool,
}

/// What the payload says of its own validity, in the words of JWT (RFC 7519): not in the contract, believed
/// where a sender adds it, because the signature does not cover the envelope.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Claims {
    /// Signed when.
    pub issued: Option<UnixMs>,
    /// Void from then on.
    pub expires: Option<UnixMs>,
    /// Void until then.
    pub not_before: Option<UnixMs>,
    /// For whom; empty: everybody.
    pub audience: Vec<String>,
}

/// A payload, if it is an object.
///
/// # Errors
/// Why it is none.
pub fn object(payload: &[u8]) -> Result<Value, Vec<String>> {
    match serde_json::from_slice::<Value>(payload) {
        Ok(json) if json.is_object() => Ok(json),
        Ok(_) => Err(vec!["the signed payload is no JSON object".to_owned()]),
        Err(why) => Err(vec![format!("the signed payload is no JSON: {why}")]),
    }
}

/// The claims of a payload.
///
/// # Errors
/// Every fault at once.
pub fn claims(json: &Value) -> Result<Claims, Vec<String>> {
    let mut faults = Vec::new();
    let mut seconds = |name: &str| match &json[name] {
        Value::Null => None,
        value => {
            let ms = value.as_f64().filter(|s| (0.0..1e13).contains(s)).map(|s| UnixMs::new((s * 1000.0) as u64));
            if ms.is_none() {
                faults.push(format!("{name} is {value}, must be seconds since 1970"));
            }
            ms
        }
    };
    let (issued, expires, not_before) = (seconds("iat"), seconds("exp"), seconds("nbf"));
    let audience = match &json["aud"] {
        Value::Null => Vec::new(),
        Value::String(one) => vec![one.clone()],
        Value::Array(many) if many.iter().all(Value::is_string) => {
            many.iter().filter_map(Value::as_str).map(str::to_owned).collect()
        }
        other => {
            faults.push(format!("aud is {other}, must be a text or a list of texts"));
            Vec::new()
        }
    };
    if faults.is_empty() { Ok(Claims { issued, expires, not_before, audience }) } else { Err(faults) }
}

/// The wishes of a `SetLoadTargetData`.
///
/// # Errors
/// Every fault at once.
pub fn wishes(json: &Value) -> Result<Vec<Wish>, Vec<String>> {
    let mut faults = Vec::new();
    let targets = json["targets"].as_array().filter(|t| !t.is_empty());
    let Some(targets) = targets else { return Err(vec!["targets must be a list of at least one".to_owned()]) };
    let read: Vec<_> = targets
        .iter()
        .enumerate()
        .map(|(i, target)| {
            let mut place = Place { name: format!("targets[{i}]"), faults: &mut faults };
            place.wish(target)
        })
        .collect();
    if faults.is_empty() { Ok(read) } else { Err(faults) }
}

struct Place<'f> {
    name: String,
    faults: &'f mut Vec<String>,
}

impl Place<'_> {
    fn fault(&mut self, what: impl std::fmt::Display) {
        self.faults.push(format!("{}{what}", self.name));
    }

    fn wish(&mut self, target: &Value) -> Wish {
        let interval = &target["interval"];
        if !interval.is_object() {
            self.fault(".interval must be there, an object that may be empty");
        }
        let (start, end) = (self.time(interval, "start_time"), self.time(interval, "end_time"));
        if let (Some(start), Some(end)) = (start, end)
            && end <= start
        {
            self.fault(".interval ends before it begins");
        }
        let limit = match target.get("load_constraint") {
            None => {
                self.fault(".load_constraint must be there; null ends a target");
                None
            }
            Some(Value::Null) => None,
            Some(constraint) => self.power(constraint, ".load_constraint").filter(|w| {
                let positive = *w > Watts::ZERO;
                if !positive {
                    self.fault(".load_constraint.value must be above 0; null ends a target");
                }
                positive
            }),
        };
        let feeds = match &target["feed_tags"] {
            Value::Null => Vec::new(),
            Value::Array(tags) if tags.iter().all(Value::is_string) => {
                tags.iter().filter_map(Value::as_str).map(str::to_owned).collect()
            }
            other => {
                self.fault(format_args!(".feed_tags is {other}, must be a list of texts"));
                Vec::new()
            }
        };
        let best_effort = match &target["strategy"] {
            Value::Null => false,
            Value::Object(strategy) => match strategy.get("best_effort") {
                None => false,
                Some(Value::Bool(best_effort)) => *best_effort,
                Some(other) => {
                    self.fault(format_args!(".strategy.best_effort is {other}, must be true or false"));
                    false
                }
            },
            other => {
                self.fault(format_args!(".strategy is {other}, must be an object"));
                false
            }
        };
        Wish { feeds, limit, start, end, best_effort }
    }

    fn time(&mut self, interval: &Value, key: &str) -> Option<UnixMs> {
        match &interval[key] {
            Value::Null => None,
            Value::String(text) if parse_rfc3339(text).is_some() => parse_rfc3339(text),
            other => {
                self.fault(format_args!(".interval.{key} is {other}, must be a time of RFC 3339"));
                None
            }
        }
    }

    fn power(&mut self, power: &Value, key: &str) -> Option<Watts> {
        let factor = match power["unit"].as_str() {
            Some("watt") => 1.0,
            Some("kilowatt") => 1e3,
            Some("megawatt") => 1e6,
            _ => {
                self.fault(format_args!("{key}.unit is {}, must be watt, kilowatt or megawatt", power["unit"]));
                return None;
            }
        };
        let watts = power["value"].as_f64().map(|v| v * factor).filter(|w| (0.0..1e12).contains(w));
        if watts.is_none() {
            self.fault(format_args!("{key}.value is {}, must be a number from 0", power["value"]));
        }
        watts.map(Watts::new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_unit_and_every_default_is_understood() {
        let read = wishes(&json!({ "targets": [
            { "interval": {}, "load_constraint": { "value": 1.5, "unit": "megawatt" }, "future": 1 },
            { "interval": { "start_time": "1970-01-01T00:00:10Z", "end_time": "1970-01-01T00:01:00+00:00" },
              "feed_tags": ["main-a"], "load_constraint": { "value": 900, "unit": "kilowatt" },
              "strategy": { "best_effort": true } },
            { "interval": {}, "feed_tags": [], "load_constraint": null, "strategy": {} },
        ] }));
        let plain = Wish { feeds: vec![], limit: None, start: None, end: None, best_effort: false };
        let expected = [
            Wish { limit: Some(Watts::new(1.5e6)), ..plain.clone() },
            Wish {
                feeds: vec!["main-a".into()],
                limit: Some(Watts::new(9e5)),
                start: Some(UnixMs::new(10_000)),
                end: Some(UnixMs::new(60_000)),
                best_effort: true,
            },
            plain,
        ];
        assert_eq!(read.unwrap(), expected);
    }

    #[test]
    fn every_fault_has_its_place() {
        let faults = wishes(&json!({ "targets": [
            { "load_constraint": { "value": -1, "unit": "horsepower" } },
            { "interval": { "start_time": 5, "end_time": "x" }, "strategy": { "best_effort": "yes" }, "feed_tags": "a" },
            { "interval": { "start_time": "1970-01-01T00:01:00Z", "end_time": "1970-01-01T00:00:00Z" },
              "load_constraint": { "value": 0, "unit": "watt" } },
        ] }))
        .unwrap_err();
        for words in [
            "targets[0].interval must",
            "targets[0].load_constraint.unit is \"horsepower\"",
            "targets[1].load_constraint must be there",
            "targets[1].interval.start_time is 5",
            "targets[1].interval.end_time is \"x\"",
            "targets[1].strategy.best_effort",
            "targets[1].feed_tags",
            "targets[2].interval ends before",
            "targets[2].load_constraint.value must be above 0",
        ] {
            assert!(faults.iter().any(|f| f.starts_with(words)), "{words} is not in {faults:#?}");
        }
        assert_eq!(faults.len(), 9);
        assert!(wishes(&json!({ "targets": [] })).is_err() && wishes(&json!({})).is_err());
        assert!(object(b"[]").is_err() && object(b"{").is_err());
    }

    #[test]
    fn claims_are_read_where_there_are_any() {
        assert_eq!(claims(&json!({})).unwrap(), Claims::default());
        let read = claims(&json!({ "iat": 10, "exp": 20.5, "aud": ["a", "b"] })).unwrap();
        assert_eq!((read.issued, read.expires), (Some(UnixMs::new(10_000)), Some(UnixMs::new(20_500))));
        assert_eq!(read.audience, ["a", "b"]);
        assert_eq!(claims(&json!({ "exp": "soon", "aud": 5 })).unwrap_err().len(), 2);
    }
}

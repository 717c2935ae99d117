//! The envelope: CloudEvents 1.0 in structured JSON, as DSX Flex lays it down (`BaseCloudEvent`), with W3C
//! Trace Context. The signature covers `data` only; what the envelope says is as good as the broker's
//! access rules.

use crate::clock::{parse_rfc3339, rfc3339};
use headroom_rack::UnixMs;
use ring::rand::{SecureRandom, SystemRandom};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// The version that the contract demands of messages.
const SPEC: &str = "1.0.2";

/// What every message says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// Names the message.
    pub id: String,
    /// Publisher, `//grid/v1/<role>/<identifier>`.
    pub source: String,
    /// The kind of event.
    pub kind: String,
    /// When it was made.
    pub time: UnixMs,
    /// Joins a target and what is told of it.
    pub correlation: Option<String>,
    /// The trace it belongs to.
    pub trace: Trace,
    /// The signed text.
    pub data: String,
}

/// W3C Trace Context: where a message belongs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trace {
    /// 32 hexadecimal digits; empty: none yet.
    id: String,
    flags: String,
    /// Passed on as it came.
    state: Option<String>,
}

/// Reads an envelope.
///
/// # Errors
/// Every fault at once.
pub fn read(bytes: &[u8]) -> Result<Envelope, Vec<String>> {
    let json: Value = serde_json::from_slice(bytes).map_err(|why| vec![format!("it is no JSON: {why}")])?;
    if !json.is_object() {
        return Err(vec!["it is no JSON object".to_owned()]);
    }
    let mut faults = Vec::new();
    let mut text = |name: &str, needed: bool| match &json[name] {
        Value::String(text) => Some(text.clone()),
        Value::Null if !needed => None,
        Value::Null => {
            faults.push(format!("{name} is missing"));
            None
        }
        other => {
            faults.push(format!("{name} is {other}, not a text"));
            None
        }
    };
    let (spec, id, source) = (text("specversion", true), text("id", true), text("source", true));
    let (kind, time, content) = (text("type", true), text("time", true), text("datacontenttype", true));
    let (subject, trace, state) = (text("subject", true), text("traceparent", true), text("tracestate", false));
    let (correlation, data) = (text("correlationid", false), text("data", true));
    let mut must = |given: &Option<String>, name: &str, right: &dyn Fn(&str) -> bool, what: &str| {
        if let Some(given) = given.as_deref().filter(|given| !right(given)) {
            faults.push(format!("{name} is {given:?}, must be {what}"));
        }
    };
    // The contract wants 1.0.2; the specification itself writes 1.0.
    must(&spec, "specversion", &|v| matches!(v, SPEC | "1.0"), "1.0.2");
    must(&id, "id", &is_uuid, "a UUID");
    must(&correlation, "correlationid", &is_uuid, "a UUID");
    must(&content, "datacontenttype", &|v| v == "application/json", "application/json");
    must(&time, "time", &|v| parse_rfc3339(v).is_some(), "a time of RFC 3339");
    must(&trace, "traceparent", &|v| Trace::parse(v, None).is_some(), "00-<32 hex>-<16 hex>-<2 hex>");
    let is_source = |v: &str| source_parts(v).is_some();
    must(&source, "source", &is_source, "//grid/v1/<isv|dsx-flex-agent|infra>/<identifier>");
    let whole = || {
        Some(Envelope {
            id: id?,
            source: source?,
            kind: kind?,
            time: parse_rfc3339(&time?)?,
            correlation,
            trace: Trace::parse(&trace?, state)?,
            data: data?,
        })
    };
    let _ = subject;
    match faults.is_empty() {
        true => whole().ok_or_else(|| vec!["a part is missing".to_owned()]),
        false => Err(faults),
    }
}

/// Role and identifier of a source.
pub fn source_parts(source: &str) -> Option<(&str, &str)> {
    let (role, identifier) = source.strip_prefix("//grid/v1/")?.split_once('/')?;
    let known = matches!(role, "isv" | "dsx-flex-agent" | "infra");
    (known && !identifier.is_empty() && !identifier.contains('/')).then_some((role, identifier))
}

fn is_uuid(text: &str) -> bool {
    let groups: Vec<&str> = text.split('-').collect();
    let lengths: Vec<usize> = groups.iter().map(|g| g.len()).collect();
    lengths == [8, 4, 4, 4, 12] && groups.iter().all(|g| g.bytes().all(|b| b.is_ascii_hexdigit()))
}

/// The envelope of one of our messages.
pub fn write(envelope: &Envelope, chance: &Chance) -> String {
    let subject = envelope.kind.split('.').nth(1).unwrap_or_default();
    let mut json = json!({
        "specversion": SPEC,
        "id": envelope.id,
        "source": envelope.source,
        "type": envelope.kind,
        "time": rfc3339(envelope.time),
        "datacontenttype": "application/json",
        "subject": subject,
        "traceparent": envelope.trace.next(chance),
        "data": envelope.data,
    });
    if let Some(correlation) = &envelope.correlation {
        json["correlationid"] = json!(correlation);
    }
    if let Some(state) = &envelope.trace.state {
        json["tracestate"] = json!(state);
    }
    json.to_string()
}

impl Trace {
    fn parse(parent: &str, state: Option<String>) -> Option<Self> {
        let parts: Vec<&str> = parent.split('-').collect();
        let hex = |t: &str| t.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        let [version, id, span, flags] = parts[..] else { return None };
        let fits = [(version, 2), (id, 32), (span, 16), (flags, 2)].iter().all(|(t, n)| t.len() == *n && hex(t));
        // Trace Context, 3.3.1.5: 512 characters are passed on. It is kept with the target: no more.
        let state = state.filter(|state| state.len() <= 512);
        fits.then(|| Self { id: id.to_owned(), flags: flags.to_owned(), state })
    }

    /// The same trace with a span of our own; a new trace where there was none.
    fn next(&self, chance: &Chance) -> String {
        let span = chance.hex(8);
        match self.id.is_empty() {
            true => format!("00-{}-{span}-01", chance.hex(16)),
            false => format!("00-{}-{span}-{}", self.id, self.flags),
        }
    }
}

/// Where names that nobody else has come from.
#[derive(Debug, Clone)]
pub struct Chance(SystemRandom);

impl Chance {
    /// The system's.
    pub fn new() -> Self {
        Self(SystemRandom::new())
    }

    fn bytes<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        // getrandom(2) does not fail on a running Linux; a name of zeros would be told apart by its time.
        if self.0.fill(&mut bytes).is_err() {
            tracing::error!("the system gives no random numbers");
        }
        bytes
    }

    fn hex(&self, count: usize) -> String {
        self.bytes::<16>().iter().take(count).map(|b| format!("{b:02x}")).collect()
    }

    /// A UUID of version 4 (RFC 9562, 5.4).
    pub fn uuid(&self) -> String {
        let mut b = self.bytes::<16>();
        b[6] = b[6] & 0x0f | 0x40;
        b[8] = b[8] & 0x3f | 0x80;
        let hex: String = b.iter().map(|b| format!("{b:02x}")).collect();
        format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
    }
}

impl Default for Chance {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn envelope() -> Envelope {
        let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        Envelope {
            id: Chance::new().uuid(),
            source: "//grid/v1/isv/acme".into(),
            kind: "grid.loadtarget.set.v1".into(),
            time: UnixMs::new(1_795_463_740_123),
            correlation: Some(Chance::new().uuid()),
            trace: Trace::parse(parent, Some("a=b".into())).unwrap(),
            data: "a.b.c".into(),
        }
    }

    #[test]
    fn what_is_written_is_read_back_and_the_trace_goes_on() {
        let (ours, chance) = (envelope(), Chance::new());
        let text = write(&ours, &chance);
        assert_eq!(read(text.as_bytes()).unwrap(), ours);
        let json: Value = serde_json::from_str(&text).unwrap();
        let parent = json["traceparent"].as_str().unwrap();
        assert!(parent.starts_with("00-0af7651916cd43dd8448eb211c80319c-") && !parent.contains("b7ad6b7169203331"));
        assert_eq!((&json["subject"], &json["tracestate"]), (&json!("loadtarget"), &json!("a=b")));
    }

    #[test]
    fn every_fault_of_an_envelope_is_told_at_once() {
        let mut json: Value = serde_json::from_str(&write(&envelope(), &Chance::new())).unwrap();
        json["specversion"] = json!("2.0");
        json["id"] = json!("7");
        json["source"] = json!("//grid/v1/isv/a/b");
        json["time"] = json!("yesterday");
        json["data"] = json!({ "targets": [] });
        json.as_object_mut().unwrap().remove("traceparent");
        let faults = read(json.to_string().as_bytes()).unwrap_err();
        for word in ["specversion", "id is", "source is", "time is", "data is", "traceparent is missing"] {
            assert!(faults.iter().any(|f| f.contains(word)), "{word}: {faults:?}");
        }
        assert!(read(b"[]").is_err() && read(b"{").is_err());
    }

    #[test]
    fn names_differ_and_have_the_form_of_version_4() {
        let chance = Chance::new();
        let (a, b) = (chance.uuid(), chance.uuid());
        assert!(a != b && is_uuid(&a) && a.as_bytes()[14] == b'4' && b"89ab".contains(&a.as_bytes()[19]));
    }
}

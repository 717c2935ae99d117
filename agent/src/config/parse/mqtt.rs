//! Brokers, and the devices that publish by themselves.

use super::{Files, device, host_and_port, tls};
use crate::config::{Broker, Dsx, Gateway, JsonPoint, JsonQuality, JsonTime, MqttDevice, Speech};
use headroom_agent_core::document::{Mistakes, Table};
use headroom_rack::{Class, DeviceId, Signal};
use std::time::Duration;

/// Host, port, and whether TLS is spoken there.
fn url(t: &mut Table<'_>, m: &mut Mistakes) -> Option<(String, u16, bool)> {
    let url = t.text(m, "url")?;
    let (secure, rest) = match (url.strip_prefix("mqtt://"), url.strip_prefix("mqtts://")) {
        (Some(rest), _) => (false, Some(rest)),
        (_, rest) => (true, rest),
    };
    let found = rest.map(|rest| rest.trim_end_matches('/')).and_then(|rest| {
        let usual = if secure { 8883 } else { 1883 };
        let with_port = if rest.contains(':') { rest.to_owned() } else { format!("{rest}:{usual}") };
        host_and_port(&with_port).filter(|(_, port)| *port > 0).map(|(host, port)| (host.to_owned(), port, secure))
    });
    if found.is_none() {
        let remedy = "write mqtt://host:port, such as mqtt://127.0.0.1:1883, or mqtts://host:8883 with ca_file";
        m.add(t.place("url"), format!("`url` is {url:?}"), remedy);
    }
    found
}

pub(super) fn broker(t: &mut Table<'_>, m: &mut Mistakes, files: &mut Files<'_>) -> Option<Broker> {
    if !t.has("url") {
        t.missing(m, "url", "url = \"mqtt://127.0.0.1:1883\"");
    }
    let address = url(t, m);
    let username = t.text(m, "username").map(str::to_owned);
    let password_file = t.text(m, "password_file").map(|text| files.at(text));
    let credentials = match (username, password_file) {
        (Some(username), Some(file)) => match std::fs::read_to_string(&file) {
            Ok(password) => Some((username, password.trim_end().to_owned())),
            Err(error) => {
                let problem = format!("{} cannot be read: {error}", file.display());
                m.add(t.place("password_file"), problem, "let it be a readable file that holds the password alone");
                None
            }
        },
        (None, None) => None,
        _ => {
            let remedy = "give both `username` and `password_file`, or neither";
            m.add(t.at(), "only half of the credentials are there", remedy);
            None
        }
    };
    // Sparkplug asks for 0 (3.0, 6.4): what counts is what the record acknowledges.
    let acknowledged = t.whole(m, "qos", 0, 1) == Some(1);
    // A wrong URL leaves open whether the files are wanted; then only they themselves are checked.
    let secure = address.as_ref().map_or(t.has("ca_file"), |(_, _, secure)| *secure);
    let tls = tls::mqtt(t, m, files, secure);
    let (host, port, _) = address?;
    Some(Broker { host, port, credentials, tls, acknowledged })
}

/// Its own broker, or the uplink's.
fn broker_of(t: &mut Table<'_>, m: &mut Mistakes, files: &mut Files<'_>, uplink: Option<&Broker>) -> Option<Broker> {
    if t.has("url") { broker(t, m, files) } else { uplink.cloned() }
}

pub(super) fn dsx(
    t: &mut Table<'_>,
    m: &mut Mistakes,
    uplink: Option<&Broker>,
    files: &mut Files<'_>,
    taken: &mut Vec<DeviceId>,
) -> Option<MqttDevice> {
    let device = device(t, m, taken);
    let topic_prefix = tag_path(t, m, "topic_prefix", "topic_prefix = \"site/row/rack/unit\"");
    // DSX repeats an unchanged value every 100 s.
    let stale_ms = t.whole(m, "stale_ms", 1000, 3_600_000).unwrap_or(250_000);
    let heartbeat_ms = t.whole(m, "heartbeat_ms", 0, 600_000).unwrap_or(10_000);
    let integration = t.text(m, "integration").map(str::to_owned);
    if let Some(text) = integration.as_deref().filter(|i| !is_level(i)) {
        let remedy = "write the identifier that the building's metadata have in `integration`, one level of a topic";
        m.add(t.place("integration"), format!("`integration` is {text:?}"), remedy);
    }
    let heartbeat = Duration::from_millis(heartbeat_ms);
    Some(MqttDevice {
        broker: broker_of(t, m, files, uplink)?,
        device: device?,
        speech: Speech::Dsx(Dsx { topic_prefix: topic_prefix?, heartbeat, integration, own_heartbeat: None }),
        stale_after: Duration::from_millis(stale_ms),
    })
}

pub(super) fn gateway(
    t: &mut Table<'_>,
    m: &mut Mistakes,
    uplink: Option<&Broker>,
    files: &mut Files<'_>,
) -> Option<Gateway> {
    let tag_path = tag_path(t, m, "tag_path", "tag_path = \"site/row/rack\"");
    let integrations = t.texts(m, "integrations").unwrap_or_default();
    for text in integrations.iter().filter(|i| !is_level(i) || *i == "PUB") {
        let remedy = "write their identifiers, each one level of a topic, such as [\"MEPAI1\"]";
        m.add(t.place("integrations"), format!("`integrations` has {text:?}"), remedy);
    }
    Some(Gateway { broker: broker_of(t, m, files, uplink)?, tag_path: tag_path?, integrations })
}

/// Whether it can be one level of a topic.
fn is_level(text: &str) -> bool {
    is_topic(text) && !text.contains('/')
}

fn tag_path(t: &mut Table<'_>, m: &mut Mistakes, key: &'static str, example: &str) -> Option<String> {
    let text = t.need_text(m, key, example)?;
    if !is_topic(text) || text.starts_with('/') || text.ends_with('/') {
        let remedy = "write the beginning of the tag path without wildcards, such as site/row-1/rack-1/cooling";
        m.add(t.place(key), format!("`{key}` is {text:?}"), remedy);
    }
    Some(text.to_owned())
}

fn is_topic(text: &str) -> bool {
    !text.is_empty() && !text.contains(['+', '#', '\0'])
}

pub(super) fn json(
    t: &mut Table<'_>,
    m: &mut Mistakes,
    uplink: Option<&Broker>,
    files: &mut Files<'_>,
    taken: &mut Vec<DeviceId>,
) -> Option<MqttDevice> {
    let device = device(t, m, taken);
    let stale_ms = t.whole(m, "stale_ms", 1000, 3_600_000);
    if !t.has("stale_ms") {
        t.missing(m, "stale_ms", "stale_ms = three times the period in which the device publishes");
    }
    let mut seen: Vec<Signal> = Vec::new();
    let points = t.tables(m, "point", |t, m| {
        let point = json_point(t, m, seen.first().map(|s| s.class()))?;
        if seen.contains(&point.signal) {
            m.add(t.place("signal"), format!("{} is there twice", point.signal.name()), "name each signal once");
        }
        seen.push(point.signal);
        Some(point)
    });
    if !t.has("point") {
        t.missing(m, "point", "[[mqtt.point]] with signal, topic and pointer for each value");
    }
    Some(MqttDevice {
        broker: broker_of(t, m, files, uplink)?,
        device: device?,
        speech: Speech::Json(points),
        stale_after: Duration::from_millis(stale_ms?),
    })
}

fn json_point(t: &mut Table<'_>, m: &mut Mistakes, class: Option<Class>) -> Option<JsonPoint> {
    let name = t.need_text(m, "signal", "signal = \"cooling_supply_temperature_celsius\"");
    let fits = |s: &Signal| s.class() != Class::Gpu && class.is_none_or(|c| c == s.class());
    let signal = name.and_then(Signal::from_name).filter(fits);
    if let (Some(name), None) = (name, signal) {
        let names: Vec<_> = Signal::ALL.iter().filter(|s| fits(s)).map(|s| s.name()).collect();
        m.add(
            t.place("signal"),
            format!("{name:?} is no signal of this device"),
            format!("the signals are: {}", names.join(", ")),
        );
    }
    let topic = t.need_text(m, "topic", "topic = \"plant/crah-1/telemetry\"").map(str::to_owned);
    if let Some(text) = topic.as_deref().filter(|p| !is_topic(p)) {
        m.add(t.place("topic"), format!("`topic` is {text:?}"), "write the whole topic, without + and #");
    }
    let found = pointer(t, m, "pointer").unwrap_or_default();
    let factor = t.number(m, "factor", -1e12, 1e12).unwrap_or(1.0);
    let offset = t.number(m, "offset", -1e12, 1e12).unwrap_or(0.0);
    let time = pointer(t, m, "time_pointer");
    let unit = t.text(m, "time_unit").map(str::to_owned);
    let unit_ms = match unit.as_deref() {
        None | Some("ms") => 1.0,
        Some("s") => 1000.0,
        Some(other) => {
            m.add(t.place("time_unit"), format!("`time_unit` is {other:?}"), "write ms or s, counted from 1970 (UTC)");
            1.0
        }
    };
    let quality = pointer(t, m, "quality_pointer");
    let good = t.numbers(m, "good", -1e12, 1e12);
    let quality = match (quality, good) {
        (Some(pointer), Some(good)) => Some(JsonQuality { pointer, good }),
        (None, None) => None,
        _ => {
            m.add(t.at(), "`quality_pointer` and `good` belong together", "give both, such as good = [1], or neither");
            None
        }
    };
    let time = time.map(|pointer| JsonTime { pointer, unit_ms });
    Some(JsonPoint { signal: signal?, topic: topic?, pointer: found, factor, offset, time, quality })
}

/// A JSON pointer (RFC 6901).
fn pointer(t: &mut Table<'_>, m: &mut Mistakes, key: &'static str) -> Option<String> {
    let text = t.text(m, key)?;
    if !text.is_empty() && !text.starts_with('/') {
        let remedy =
            "write a JSON pointer (RFC 6901), such as /air/supply or /values/0; leave it out for a bare number";
        m.add(t.place(key), format!("`{key}` is {text:?}"), remedy);
    }
    Some(text.to_owned())
}

#[cfg(test)]
mod tests {
    use crate::config::{Config, Speech};
    use std::path::Path;

    const GOOD: &str = "site='s'\nrack='r'\n[broker]\nurl='mqtt://h'\n[[mqtt]]\ndevice='crah-1'\nstale_ms=30000\n\
        [[mqtt.point]]\nsignal='cooling_supply_temperature_celsius'\ntopic='plant/crah-1'\npointer='/air/supply'\n";

    fn mistakes(text: &str) -> Vec<String> {
        let found = Config::parse("agent.toml", text, Path::new("")).err().unwrap_or_default();
        found.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_json_device_loads_and_every_slip_in_it_is_named() {
        let config = Config::parse("agent.toml", GOOD, Path::new("")).unwrap();
        let Speech::Json(points) = &config.mqtt[0].speech else { panic!("{config:?}") };
        assert_eq!(points[0].pointer, "/air/supply");
        let bad = GOOD
            .replace("cooling_supply_temperature_celsius", "gpu_power_watts")
            .replace("plant/crah-1", "plant/+")
            .replace("'/air/supply'", "'air.supply'\ntime_pointer='/t'\ntime_unit='h'\ngood=[1]")
            .replace("stale_ms=30000\n", "");
        let found = mistakes(&bad);
        assert_eq!(found.len(), 6, "{found:#?}");
    }

    #[test]
    fn tls_needs_an_authority_and_files_that_can_be_used() {
        let found = mistakes(&GOOD.replace("mqtt://h", "mqtts://h"));
        assert!(found[0].contains("`broker.ca_file` is missing"), "{found:#?}");
        let found = mistakes(&GOOD.replace("url='mqtt://h'", "url='mqtt://h'\nca_file='ca.pem'"));
        assert!(found[0].contains("`ca_file` without TLS"), "{found:#?}");
        let found = mistakes(&GOOD.replace("url='mqtt://h'", "url='mqtts://h'\nca_file='/nowhere/ca.pem'"));
        assert!(found[0].starts_with("agent.toml:5") && found[0].contains("cannot be read"), "{found:#?}");
        let found = mistakes(&GOOD.replace("url='mqtt://h'", "url='mqtts://h'\nca_file='/dev/null'\nkey_file='k'"));
        assert!(found[0].contains("half of one"), "{found:#?}");
        let found = mistakes(&GOOD.replace("url='mqtt://h'", "url='mqtts://h'\nca_file='/dev/null'"));
        assert!(found[0].contains("no certificate in PEM form"), "{found:#?}");
    }
}

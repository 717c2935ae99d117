//! What agents and controller say to each other, as pysparkplug and paho-mqtt understand it.

use super::{number, on_host, read_device};
use headroom_tests::http;
use headroom_tests::parts::until;
use headroom_tests::peer::{Peer, ask};
use headroom_tests::plant::Rack;
use headroom_tests::row::Row;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// A host application of pysparkplug that listens to the row, and what it understood so far.
struct Host {
    peer: Peer,
    broker: String,
}

impl Host {
    fn start(broker: &str) -> Self {
        let (host, port) = broker.split_once(':').expect("host and port");
        let peer = Peer::start("sparkplug_host.py", &[host, port, "demo"], &[]);
        let mut host = Self { peer, broker: broker.to_owned() };
        host.listens(1);
        host
    }

    /// Waits until it has subscribed for the `times`th time.
    fn listens(&mut self, times: usize) {
        until("the host to listen", || {
            (self.peer.values().iter().filter(|v| v["listening"] == true).count() >= times).then_some(())
        });
    }

    fn frames(&mut self, kind: &str, rack: &str) -> Vec<Value> {
        self.peer.values().into_iter().filter(|v| v["kind"] == kind && v["node"] == rack).collect()
    }

    /// Waits until there are more than `before` frames of a kind; the last one.
    fn after(&mut self, before: usize, kind: &str, rack: &str) -> Value {
        until(&format!("{kind} of {rack}"), || self.frames(kind, rack).drain(..).skip(before).next_back())
    }

    /// Publishes as an outsider.
    fn send(&self, topic: &str, what: &str) {
        let (host, port) = self.broker.split_once(':').expect("host and port");
        assert_eq!(ask("mqtt_send.py", &[host, port, topic, what], &[]), json!({"sent": true}), "{topic}");
    }

    /// Asks a rack for its birth as any Sparkplug host may, and waits for it.
    fn rebirth(&mut self, rack: &str) -> Value {
        let before = self.frames("NBIRTH", rack).len();
        self.send(&format!("spBv1.0/demo/NCMD/{rack}"), "rebirth");
        self.after(before, "NBIRTH", rack)
    }
}

fn metrics(frame: &Value) -> &[Value] {
    frame["metrics"].as_array().map_or(&[], Vec::as_slice)
}

fn metric<'a>(frame: &'a Value, name: &str) -> &'a Value {
    metrics(frame).iter().find(|m| m["name"] == name).unwrap_or_else(|| panic!("{name} is not in {frame}"))
}

/// The unit that the end of a signal's name says.
fn unit_of(signal: &str) -> &'static str {
    const UNITS: [(&str, &str); 19] = [
        ("_watts", "W"),
        ("_va", "VA"),
        ("_joules", "J"),
        ("_amperes", "A"),
        ("_volts", "V"),
        ("_mhz", "MHz"),
        ("_hz", "Hz"),
        ("_celsius", "°C"),
        ("_kelvins", "K"),
        ("_ratio", "1"),
        ("_bytes", "B"),
        ("_seconds", "s"),
        ("_liters_per_minute", "l/min"),
        ("_kilopascals", "kPa"),
        ("_rpm", "rpm"),
        ("_count", "count"),
        ("_bits", "bits"),
        ("_flag", "flag"),
        ("_code", "count"),
    ];
    UNITS.iter().find(|(end, _)| signal.ends_with(end)).unwrap_or_else(|| panic!("{signal} ends in no unit")).1
}

/// A birth by the Sparkplug specification 3.0, chapters 5 and 6.
fn check_birth(birth: &Value) {
    assert_eq!((&birth["seq"], &birth["qos"], &birth["retain"]), (&json!(0), &json!(0), &json!(false)));
    let bd_seq = metric(birth, "bdSeq");
    assert!(bd_seq["type"] == "UINT64" && bd_seq["value"].as_u64().is_some_and(|n| n < 256), "{bd_seq}");
    let rebirth = metric(birth, "Node Control/Rebirth");
    assert!(rebirth["type"] == "BOOLEAN" && rebirth["value"] == false, "{rebirth}");
    let names: BTreeSet<&str> = metrics(birth).iter().filter_map(|m| m["name"].as_str()).collect();
    let aliases: Vec<u64> = metrics(birth).iter().filter_map(|m| m["alias"].as_u64()).collect();
    assert_eq!(names.len(), metrics(birth).len(), "each has a name of its own");
    assert_eq!(aliases.iter().collect::<BTreeSet<_>>().len(), aliases.len(), "each alias is given once");
    let of_devices = |m: &&Value| {
        let device = m["name"].as_str().unwrap_or_default().split('/').next().unwrap_or_default();
        ["gpu-", "pdu-", "ups-", "cooling"].iter().any(|start| device.starts_with(start))
    };
    let readings: Vec<&Value> = metrics(birth).iter().filter(of_devices).collect();
    for device in ["gpu-0", "gpu-7", "pdu-a", "pdu-b", "ups-a", "cooling"] {
        assert!(
            readings.iter().any(|m| m["name"].as_str().is_some_and(|n| n.starts_with(device))),
            "{device}: {names:?}"
        );
    }
    for reading in readings {
        let properties = &reading["properties"];
        // Types 12 and 10 are String and Double.
        assert_eq!(properties["engUnit"], json!([12, unit_of(reading["name"].as_str().expect("a name"))]), "{reading}");
        let bound = |name: &str| properties[name][1].as_f64().filter(|_| properties[name][0] == 10);
        let (low, high) = (bound("engLow").expect("a bound"), bound("engHigh").expect("a bound"));
        assert!(reading["type"] == "DOUBLE" && reading["alias"].is_u64() && reading["at"].is_u64(), "{reading}");
        check_value(reading);
        if let Some(value) = reading["value"].as_f64() {
            assert!((low..=high).contains(&value), "{reading}");
        }
    }
}

/// There is a value, or none with a reason; type 3 is Int32.
fn check_value(reading: &Value) {
    let properties = &reading["properties"];
    let absent =
        properties["Quality"][0] == 3 && properties["Quality"][1] != 192 && properties["reason"][1].is_string();
    assert_eq!((reading["null"] == true, reading["value"].is_null()), (absent, absent), "{reading}");
}

/// Counting 0 to 255 from each birth on, as long as the host was listening all the time.
fn check_sequence(values: &[Value], rack: &str) -> usize {
    let mut last = None;
    let mut counted = 0;
    for value in values {
        assert!(value["undecodable"].is_null(), "{value}");
        let seq = value["seq"].as_u64();
        if value["listening"] == true {
            last = None;
        } else if value["node"] == rack && seq.is_some() {
            match value["kind"].as_str() {
                Some("NDATA") if last.is_some() => {
                    assert_eq!(seq, last.map(|n: u64| (n + 1) % 256), "{rack}");
                    counted += 1;
                }
                _ => {}
            }
            last = seq;
        }
    }
    counted
}

/// What clients of other projects read from the devices of a rack: name, value, resolution.
fn read_rack(rack: &Rack) -> Vec<(String, f64, f64)> {
    let mut all = Vec::new();
    for device in &rack.devices {
        for reading in read_device(device)["readings"].as_array().expect("readings") {
            let signal = reading[0].as_str().expect("a name");
            if !signal.starts_with('_') {
                all.push((format!("{}/{signal}", device.id), number(&reading[1]), number(&reading[2])));
            }
        }
    }
    let gpus = on_host(rack, |environment| ask("gpu_clients.py", &["pynvml", "read"], environment));
    for (index, gpu) in gpus.as_array().expect("GPUs").iter().enumerate() {
        for (name, signal, scale) in [
            ("power_mw", "gpu_power_watts", 1e-3),
            ("energy_mj", "gpu_energy_joules", 1e-3),
            ("celsius", "gpu_temperature_celsius", 1.0),
            ("sm_mhz", "gpu_sm_clock_mhz", 1.0),
            ("busy_percent", "gpu_utilization_ratio", 0.01),
            ("memory_bytes", "gpu_memory_used_bytes", 1.0),
        ] {
            all.push((format!("gpu-{index}/{signal}"), number(&gpu[name]) * scale, 0.0));
        }
    }
    all
}

#[test]
fn pysparkplug_understands_every_frame_of_the_agents() {
    let mut row = Row::start();
    let mut host = Host::start(&row.plant.broker);
    let birth = host.rebirth("rack-1");
    check_birth(&birth);

    row.plant.hold();
    let expected = read_rack(&row.plant.racks[0]);
    until("data that say what other clients read", || {
        let frame = host.frames("NDATA", "rack-1").pop()?;
        let same = |(name, value, within): &(String, f64, f64)| {
            let told = metrics(&frame).iter().find(|m| m["name"] == name.as_str()).and_then(|m| m["value"].as_f64());
            told.is_some_and(|told| (told - value).abs() <= within + 1e-9 * value.abs())
        };
        expected.iter().all(same).then_some(())
    });
    row.plant.resume();
    let data = host.frames("NDATA", "rack-1").pop().expect("there was one");
    assert_eq!((&data["qos"], &data["retain"]), (&json!(0), &json!(false)));
    for told in metrics(&data) {
        let born = metric(&birth, told["name"].as_str().expect("resolved by its alias"));
        assert!(told["named"] == false && told["alias"] == born["alias"] && told["type"] == born["type"], "{told}");
        check_value(told);
    }

    // A killed agent cannot say goodbye: its will does, for the session that was born last.
    let killed = host.rebirth("rack-2");
    row.kill("rack-2");
    let will = host.after(0, "NDEATH", "rack-2");
    check_death(&will, &killed);
    assert_eq!(will["qos"], 1, "the specification demands it of a will");
    let births = host.frames("NBIRTH", "rack-2").len();
    row.begin("rack-2");
    let again = host.after(births, "NBIRTH", "rack-2");
    check_birth_of_session(&again, &killed);
    // One that is stopped says it itself.
    let stopped = host.rebirth("rack-3");
    assert!(row.stop("rack-3"));
    check_death(&host.after(0, "NDEATH", "rack-3"), &stopped);
    // A new session has a new number, and its will has the same.
    row.kill("broker");
    row.begin("broker");
    host.listens(2);
    let next = host.rebirth("rack-1");
    check_birth_of_session(&next, &birth);
    let deaths = host.frames("NDEATH", "rack-1").len();
    row.kill("rack-1");
    check_death(&host.after(deaths, "NDEATH", "rack-1"), &next);

    let values = host.peer.values();
    for rack in ["rack-1", "rack-2", "rack-3", "rack-4"] {
        let counted = check_sequence(&values, rack);
        assert!(rack == "rack-4" || counted > 0, "{rack}: no two frames in a row");
    }
}

fn check_birth_of_session(birth: &Value, before: &Value) {
    assert_eq!(birth["seq"], 0);
    assert_ne!(metric(birth, "bdSeq")["value"], metric(before, "bdSeq")["value"], "bdSeq tells sessions apart");
}

fn check_death(death: &Value, birth: &Value) {
    assert_eq!((&death["name"], &death["bd_seq"]), (&json!("bdSeq"), &metric(birth, "bdSeq")["value"]), "{death}");
    assert_eq!((&death["has_seq"], &death["retain"]), (&json!(false), &json!(false)), "{death}");
}

/// Frames the controller has dropped, by reason.
fn dropped(row: &Row) -> BTreeMap<String, u64> {
    let page = http::get(&row.console(), "/metrics").expect("the controller answers");
    let counts = page.lines().filter_map(|line| {
        let (reason, count) = line.strip_prefix("headroom_frames_dropped_total{reason=\"")?.split_once("\"} ")?;
        Some((reason.to_owned(), count.parse().expect("a count")))
    });
    counts.collect()
}

#[test]
fn frames_that_make_no_sense_are_counted_and_dropped_while_the_fleet_goes_on() {
    let row = Row::start();
    let mut host = Host::start(&row.plant.broker);
    let all_live = || {
        let racks = row.state()["racks"].as_array().cloned()?;
        (racks.len() == 4 && racks.iter().all(|r| r["age_ms"].as_f64().is_some_and(|ms| ms < 3000.0))).then_some(())
    };
    until("all racks to be live", all_live);
    // It may have come after their births, and data means nothing without one.
    for rack in ["rack-1", "rack-2", "rack-3", "rack-4"] {
        host.rebirth(rack);
    }
    let mut expected = dropped(&row);
    for (topic, hex, reason) in [
        ("spBv1.0/demo/NDATA/rack-1", "ffffff", "protobuf"),
        ("spBv1.0/demo/NBIRTH/rack-1", "ffffff", "protobuf"),
        ("spBv1.0/demo/NDEATH/rack-1", "ffffff", "protobuf"),
        // Well-formed, and yet nothing in it.
        ("spBv1.0/demo/NDATA/rack-1", "", "metric"),
        ("spBv1.0/demo/NBIRTH/rack-1", "", "metric"),
        ("spBv1.0/demo/NDEATH/rack-1", "", "metric"),
        ("spBv1.0/demo/NDATA/rack-9", "", "unknown_rack"),
        ("spBv1.0/demo/DDATA/rack-1/gpu-0", "", "topic"),
    ] {
        host.send(topic, hex);
        *expected.entry(reason.to_owned()).or_default() += 1;
    }
    until("every frame to be counted", || {
        (expected.iter().all(|(reason, n)| dropped(&row).get(reason) >= Some(n))).then_some(())
    });
    let told = host.peer.values().len();
    until("the fleet to go on", || {
        let new = host.peer.values().split_off(told);
        let frames =
            |rack: &str| new.iter().filter(|v| v["kind"] == "NDATA" && v["node"] == rack && v["seq"] != 0).count();
        ["rack-1", "rack-2", "rack-3", "rack-4"].iter().all(|rack| frames(rack) >= 3).then_some(())
    });
    until("all racks to be live", all_live);
    // Not one more: what the birth of rack-1 had said still holds.
    assert_eq!(dropped(&row), expected);
}

//! The DSX gateway at a real broker: what it publishes follows the rules of the BMS Event Bus 1.0, and
//! another agent reads from it what this one read from the device.

#[path = "played/controller.rs"]
mod controller;
#[path = "played/meter.rs"]
mod meter;

use controller::{Agent, PATIENCE, broker, free_port};
use rumqttc::{AsyncClient, Event, MqttOptions, Packet, PublishOptions, QoS};
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// Point types and what their metadata must have beside what all have (dsx-bms.yaml, components.schemas).
const RULES: &[(&str, &str, &[&str])] = &[
    ("PowerMeter", "Voltage", &["engUnit", "servesId"]),
    ("PowerMeter", "PhaseCurrent", &["engUnit", "phase", "servesId"]),
    ("PowerMeter", "ActivePower", &["engUnit", "servesId"]),
    ("PowerMeter", "ApparentPower", &["engUnit", "servesId"]),
    ("PowerMeter", "PowerFactor", &["servesId"]),
    ("PowerMeter", "Frequency", &["engUnit", "servesId"]),
    ("PowerMeter", "GenericPoint", &["processArea", "servesId"]),
    ("CDU", "LiquidTemperature", &["engUnit"]),
    ("CDU", "LiquidFlow", &["engUnit"]),
    ("CDU", "LiquidPressure", &["engUnit"]),
    ("CDU", "PumpSpeed", &["engUnit"]),
    ("CDU", "LeakDetect", &["stateText"]),
    ("CDU", "GenericPoint", &["processArea"]),
    ("System", "HeartbeatTimestampBms", &["scope"]),
    ("System", "HeartbeatTimestampIntegration", &["integration"]),
    ("System", "HeartbeatEchoIntegration", &["integration"]),
    ("System", "HeartbeatEchoBms", &[]),
];

struct Heard {
    topic: String,
    retained: bool,
    payload: Value,
}

/// An integration that says its time stamp.
async fn guest(address: std::net::SocketAddr, stamp: u64) {
    let options = MqttOptions::new("guest", (address.ip().to_string(), address.port()));
    let (client, mut events) = AsyncClient::builder(options).capacity(16).build();
    let topic = "BMS/v1/MEPAI1/Value/System/HeartbeatTimestampIntegration/hall-2/row-1/rack-1/headroom-agent/MEPAI1";
    let payload = format!(r#"{{"value":{stamp},"timestamp":{stamp},"quality":1}}"#);
    client.publish(topic, payload, PublishOptions::new(QoS::AtLeastOnce)).await.expect("queued");
    while !matches!(events.poll().await.expect("the broker lives"), Event::Incoming(Packet::PubAck(_))) {}
}

async fn listen(address: std::net::SocketAddr, name: &str) -> mpsc::UnboundedReceiver<Heard> {
    let options = MqttOptions::new(name, (address.ip().to_string(), address.port()));
    let (client, mut events) = AsyncClient::builder(options).capacity(16).build();
    client.subscribe("BMS/v1/PUB/#", QoS::AtLeastOnce).await.expect("queued");
    let (tell, heard) = mpsc::unbounded_channel();
    // Before that what is said live may overtake what the broker has kept.
    while !matches!(events.poll().await.expect("the broker lives"), Event::Incoming(Packet::SubAck(_))) {}
    tokio::spawn(async move {
        let _client = client;
        while let Ok(event) = events.poll().await {
            let Event::Incoming(Packet::Publish(p)) = event else { continue };
            let payload = serde_json::from_slice(&p.payload).expect("JSON");
            let topic = String::from_utf8(p.topic.to_vec()).expect("a text");
            let _ = tell.send(Heard { topic, retained: p.retain, payload });
        }
    });
    heard
}

/// A cooling unit that publishes bare numbers that change all the time.
fn plant(address: std::net::SocketAddr) -> tokio::task::JoinHandle<()> {
    let options = MqttOptions::new("plant", (address.ip().to_string(), address.port()));
    let (client, mut events) = AsyncClient::builder(options).capacity(16).build();
    tokio::spawn(async move { while events.poll().await.is_ok() {} });
    tokio::spawn(async move {
        for turn in 0_u32.. {
            for (topic, base) in [("plant/flow", 60.0), ("plant/supply", 30.0)] {
                let value = base + f64::from(turn % 10) / 10.0;
                let options = PublishOptions::new(QoS::AtMostOnce);
                client.publish(topic, value.to_string(), options).await.expect("queued");
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    })
}

fn obeys(topic: &str, metadata: &Value) {
    let words: Vec<&str> = topic.splitn(7, '/').collect();
    let [_, _, _, _, object, point, tag] = words[..] else { panic!("{topic}") };
    assert!(
        !tag.is_empty() && metadata["objectType"] == object && metadata["pointType"] == point,
        "{topic} {metadata}"
    );
    let rule = RULES.iter().find(|(o, p, _)| (*o, *p) == (object, point));
    let (_, _, needed) = rule.unwrap_or_else(|| panic!("{object} has no {point}"));
    for key in needed.iter().chain(&["objectName", "objectId"]) {
        assert!(!metadata[*key].is_null(), "{topic} lacks {key}: {metadata}");
    }
    assert!(metadata["engUnit"].is_null() || metadata["stateText"].is_null(), "only one of them: {metadata}");
    assert_eq!(metadata["integration"].is_null(), !point.ends_with("Integration"), "whose value it is: {metadata}");
    assert!(metadata["associateId"].is_null(), "{metadata}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_gateway_says_follows_the_rules_of_the_bus_and_another_agent_reads_it() {
    let address = free_port();
    broker(address).await;
    let (meter, _) = meter::meter(None).await;
    let mut heard = listen(address, "bms").await;
    let plant = plant(address);
    let config = format!(
        "[nvml]\nenabled=false\n[[modbus]]\ndevice='pdu-a'\nprofile='eastron-sdm630'\naddress='{meter}'\n[[mqtt]]\ndevice='cooling'\n\
         stale_ms=60000\n[[mqtt.point]]\nsignal='cooling_flow_liters_per_minute'\ntopic='plant/flow'\n[[mqtt.point]]\n\
         signal='cooling_supply_temperature_celsius'\ntopic='plant/supply'\n[dsx_gateway]\ntag_path='hall-2/row-1/rack-1'\n\
         integrations=['MEPAI1']\n"
    );
    let agent = Agent::start(address, &config, &[]);
    let (mut metadata, mut values) = (BTreeMap::new(), BTreeMap::new());
    let until = Instant::now() + PATIENCE;
    let good = |values: &BTreeMap<String, Value>, point: &str| {
        values.iter().any(|(t, v)| t.starts_with(point) && v["quality"] == 1)
    };
    while !["PowerMeter/PhaseCurrent/", "CDU/LiquidFlow/", "System/"].iter().all(|point| good(&values, point)) {
        let left = until.saturating_duration_since(Instant::now());
        let said = tokio::time::timeout(left, heard.recv()).await.expect("the values come").expect("the broker lives");
        let (kind, topic) = said.topic["BMS/v1/PUB/".len()..].split_once('/').expect("a kind");
        match kind {
            "Metadata" => {
                obeys(&said.topic, &said.payload);
                metadata.insert(topic.to_owned(), said.payload);
            }
            "Value" => {
                assert!(metadata.contains_key(topic), "{topic} was said before its metadata");
                let v = &said.payload;
                assert!(v["timestamp"].is_u64() && (v["quality"] == 1) == v["value"].is_number(), "{topic} {v}");
                assert!(!said.retained, "values are not retained");
                values.insert(topic.to_owned(), said.payload);
            }
            other => panic!("{other}"),
        }
    }
    // Its heartbeat comes back to the integration.
    let echo = "BMS/v1/PUB/Value/System/HeartbeatEchoBms/hall-2/row-1/rack-1/headroom-agent/MEPAI1";
    let until = Instant::now() + PATIENCE;
    for stamp in 1.. {
        guest(address, stamp).await;
        assert!(Instant::now() < until, "no echo");
        let mut said = Vec::new();
        while let Ok(Some(one)) = tokio::time::timeout(Duration::from_millis(200), heard.recv()).await {
            said.push(one);
        }
        if said.iter().any(|one| one.topic == echo && one.payload["value"] == stamp && one.payload["quality"] == 1) {
            break;
        }
    }
    while agent.metric("headroom_agent_integration_up") != Some(1.0) {
        assert!(Instant::now() < until, "its heart is not told of");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // The meter of these tests gives 162 for its power factor.
    let factor = values.iter().find(|(t, _)| t.starts_with("PowerMeter/PowerFactor/")).expect("it was said").1;
    assert!(factor["value"].is_null() && factor["quality"] == 0, "{factor}");
    assert!(metadata.len() > 6, "{metadata:#?}");

    // Who comes later gets the metadata from the broker.
    let mut late = listen(address, "late").await;
    loop {
        let said = tokio::time::timeout(PATIENCE, late.recv()).await.expect("in time").expect("the broker lives");
        if said.retained {
            assert!(said.topic.contains("/Metadata/"), "{}", said.topic);
            break;
        }
    }

    // The other agent has an uplink of its own and comes after the values were said first.
    let dsx = format!(
        "[nvml]\nenabled=false\n[[dsx]]\ndevice='cdu'\nurl='mqtt://{address}'\ntopic_prefix='hall-2/row-1/rack-1/cooling'\n"
    );
    let reader = Agent::start(free_port(), &dsx, &[]);
    let until = Instant::now() + PATIENCE;
    while reader.metric("headroom_cooling_flow_liters_per_minute").is_none_or(|flow| !(60.0..62.0).contains(&flow)) {
        assert!(Instant::now() < until, "the other agent reads nothing");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    plant.abort();
    assert_eq!(reader.terminate(), Some(0));
    assert_eq!(agent.terminate(), Some(0));
}

//! A coolant unit that speaks DSX Exchange over a real broker.

#[path = "played/controller.rs"]
mod controller;

use controller::{Agent, PATIENCE, broker, free_port};
use headroom_agent::board::Board;
use headroom_agent::clock::Clock;
use headroom_agent::config::{Broker, Dsx, MqttDevice, Speech};
use headroom_agent::source::mqtt::Listeners;
use headroom_rack::{DeviceId, NoData, RackId, Signal};
use rumqttc::{AsyncClient, Event, MqttOptions, Packet, PublishOptions, QoS};
use serde_json::Value;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const TAG: &str = "demo/row-1/rack-1/cooling";

#[tokio::test(flavor = "multi_thread")]
async fn a_point_is_read_once_its_metadata_is_known_and_bad_quality_is_a_reason() {
    let address = free_port();
    broker(address).await;
    let unit = DeviceId::new("cooling-dsx").expect("valid");
    let board = Arc::new(Board::new(RackId::new("rack-1").expect("valid"), Clock::start()));
    let (host, port) = (address.ip().to_string(), address.port());
    let bus = Broker { host, port, credentials: None, tls: None, acknowledged: false };
    let stale_after = Duration::from_secs(60);
    let dsx =
        Dsx { topic_prefix: TAG.into(), heartbeat: Duration::from_secs(10), integration: None, own_heartbeat: None };
    let device = MqttDevice { device: unit.clone(), broker: bus, speech: Speech::Dsx(dsx), stale_after };
    Listeners::new("test".to_owned(), board.clone()).follow(&[device]);

    let options = MqttOptions::new("bms", (address.ip().to_string(), address.port()));
    let (bms, mut eventloop) = AsyncClient::builder(options).capacity(16).build();
    tokio::spawn(async move { while eventloop.poll().await.is_ok() {} });
    let say = async |kind: &str, path: &str, payload: &str| {
        let options = PublishOptions::new(QoS::AtLeastOnce).retain(kind == "Metadata");
        bms.publish(format!("BMS/v1/PUB/{kind}/CDU/{path}"), payload.to_owned(), options).await.expect("queued");
    };
    let supply = format!("LiquidTemperature/{TAG}/Supply");
    let flow = format!("LiquidFlow/{TAG}");
    say("Metadata", &supply, r#"{"engUnit":"C","processArea":["Secondary","Supply"]}"#).await;
    say("Metadata", &flow, r#"{"engUnit":"LPM","processArea":["Secondary"]}"#).await;

    let until = Instant::now() + PATIENCE;
    let is = |signal, wanted| board.snapshot().reading(&unit, signal).value == wanted;
    while !is(Signal::CoolingSupplyTemperature, Ok(31.5)) || !is(Signal::CoolingFlow, Ok(60.0)) {
        assert!(Instant::now() < until, "not heard");
        say("Value", &supply, r#"{"value":31.5,"timestamp":1743620423000,"quality":1}"#).await;
        say("Value", &flow, r#"{"value":60,"timestamp":1743620423000,"quality":1}"#).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    say("Value", &flow, r#"{"value":60,"timestamp":1743620424000,"quality":0}"#).await;
    while !is(Signal::CoolingFlow, Err(NoData::NotAvailable)) {
        assert!(Instant::now() < until, "bad quality was believed");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(is(Signal::CoolingSupplyTemperature, Ok(31.5)));
    assert!(is(Signal::CoolingReturnTemperature, Err(NoData::NotYetRead)));
}

/// Waits until `ready` holds.
async fn until(what: &str, mut ready: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !ready() {
        assert!(Instant::now() < end, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn when_the_buildings_heart_stops_its_values_have_a_reason_and_health_says_so_until_it_beats_again() {
    let address = free_port();
    broker(address).await;
    let options = MqttOptions::new("bms", (address.ip().to_string(), address.port()));
    let (bms, mut eventloop) = AsyncClient::builder(options).capacity(64).build();
    bms.subscribe("BMS/v1/headroom-1/#", QoS::AtLeastOnce).await.expect("queued");
    let heard: Arc<Mutex<Vec<(String, Value)>>> = Arc::default();
    let ear = heard.clone();
    tokio::spawn(async move {
        while let Ok(event) = eventloop.poll().await {
            let Event::Incoming(Packet::Publish(p)) = event else { continue };
            let payload = serde_json::from_slice(&p.payload).expect("JSON");
            ear.lock().expect("nobody panics").push((String::from_utf8_lossy(&p.topic).into_owned(), payload));
        }
    });
    let say = |topic: &str, retained: bool, payload: String| {
        let options = PublishOptions::new(QoS::AtLeastOnce).retain(retained);
        bms.try_publish(format!("BMS/v1/PUB/{topic}"), payload, options).expect("room");
    };
    let beat_at = "System/HeartbeatTimestampBms/demo/bms";
    for (topic, metadata) in [
        (beat_at, r#"{"objectName":"building","objectId":"BMS","scope":"BMS/v1/PUB/#"}"#),
        ("System/HeartbeatTimestampIntegration/demo/h1", r#"{"objectId":"headroom-1","integration":"headroom-1"}"#),
        ("System/HeartbeatEchoIntegration/demo/h1", r#"{"objectId":"BMS","integration":"headroom-1"}"#),
        ("System/HeartbeatTimestampIntegration/demo/other", r#"{"objectId":"other","integration":"other"}"#),
        (&format!("CDU/LiquidFlow/{TAG}"), r#"{"engUnit":"LPM"}"#),
        (&format!("CDU/LiquidTemperature/{TAG}/Return"), r#"{"engUnit":"C"}"#),
    ] {
        say(&format!("Metadata/{topic}"), true, metadata.to_owned());
    }
    let value = |value: u64| format!(r#"{{"value":{value},"timestamp":1743620423000,"quality":1}}"#);
    let flow = |litres: u64| say(&format!("Value/CDU/LiquidFlow/{TAG}"), false, value(litres));
    let config = format!(
        "[nvml]\nenabled=false\n[[dsx]]\ndevice='cdu'\ntopic_prefix='{TAG}'\nheartbeat_ms=500\nintegration='headroom-1'\n"
    );
    let agent = Agent::start(address, &config, &[]);
    let metric = || agent.metric("headroom_cooling_flow_liters_per_minute");
    let health = || agent.get("/healthz").unwrap_or_default();
    let mut count = 0;
    let mut beat = || {
        count += 1;
        say(&format!("Value/{beat_at}"), false, value(count));
    };
    until("the first value", || {
        beat();
        flow(60);
        metric() == Some(60.0)
    })
    .await;
    // The beats stop; values go on, from a system that is half dead.
    until("the reason", || {
        flow(61);
        metric().is_none() && health().contains("the heartbeat of the building's system is missing")
    })
    .await;
    let told: Value = serde_json::from_str(health().split("\r\n\r\n").nth(1).expect("a body")).expect("JSON");
    assert_eq!(told["devices"]["cdu"]["state"], "down", "{told}");
    assert!(told["devices"]["cdu"]["no_data"]["disconnected"].to_string().contains("flow"), "{told}");
    until("the value of a system that lives again", || {
        beat();
        metric() == Some(61.0)
    })
    .await;
    assert!(!health().contains("heartbeat"));
    let said = heard.lock().expect("nobody panics").clone();
    let of =
        |topic: &str| said.iter().filter(|(t, _)| t == topic).map(|(_, v)| v["value"].as_f64()).collect::<Vec<_>>();
    let stamps = of("BMS/v1/headroom-1/Value/System/HeartbeatTimestampIntegration/demo/h1");
    assert!(!stamps.is_empty() && stamps.iter().all(|v| v.is_some_and(|ms| ms > 1.7e12)), "{said:?}");
    let echoes = of("BMS/v1/headroom-1/Value/System/HeartbeatEchoIntegration/demo/h1");
    assert!(!echoes.is_empty() && echoes.is_sorted() && echoes.iter().all(Option::is_some), "{echoes:?}");
    assert!(said.iter().all(|(topic, _)| !topic.ends_with("other")), "{said:?}");
    assert_eq!(agent.terminate(), Some(0));
}

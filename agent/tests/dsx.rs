//! A coolant unit that speaks DSX Exchange over a real broker.

#[path = "played/controller.rs"]
mod controller;

use controller::{PATIENCE, broker, free_port};
use headroom_agent::board::Board;
use headroom_agent::clock::Clock;
use headroom_agent::config::{Broker, MqttDevice, Speech};
use headroom_agent::source::mqtt::Listeners;
use headroom_rack::{DeviceId, NoData, RackId, Signal};
use rumqttc::{AsyncClient, MqttOptions, PublishOptions, QoS};
use std::sync::Arc;
use std::time::{Duration, Instant};

const TAG: &str = "demo/row-1/rack-1/cooling";

#[tokio::test(flavor = "multi_thread")]
async fn a_point_is_read_once_its_metadata_is_known_and_bad_quality_is_a_reason() {
    let address = free_port();
    broker(address).await;
    let unit = DeviceId::new("cooling-dsx").expect("valid");
    let board = Arc::new(Board::new(RackId::new("rack-1").expect("valid"), Clock::start()));
    let bus = Broker { host: address.ip().to_string(), port: address.port(), credentials: None, tls: None };
    let stale_after = Duration::from_secs(60);
    let device =
        MqttDevice { device: unit.clone(), broker: bus, speech: Speech::Dsx { topic_prefix: TAG.into() }, stale_after };
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

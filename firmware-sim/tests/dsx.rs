//! The DSX topics as a stranger on the bus hears them, with a broker that comes late.

use headroom_sim::plant::Plant;
use headroom_sim::scenario::Scenario;
use headroom_sim::serve::bench::Bench;
use headroom_sim::serve::dsx;
use mqtt5::broker::MqttBroker;
use mqtt5::broker::config::{BrokerConfig, StorageBackend, StorageConfig};
use rumqttc::{AsyncClient, Event, EventLoop, MqttOptions, Packet, QoS};
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::watch;

const PATIENCE: Duration = Duration::from_secs(20);

async fn broker(address: SocketAddr) {
    let storage = StorageConfig::new().with_backend(StorageBackend::Memory).with_persistence(false);
    let config = BrokerConfig::new().with_bind_address(address).with_max_packet_size(1 << 20).with_storage(storage);
    let mut broker = MqttBroker::with_config(config).await.expect("the broker starts");
    let mut ready = broker.ready_receiver();
    tokio::spawn(async move { broker.run().await });
    ready.wait_for(|ready| *ready).await.expect("the broker is ready");
}

async fn listener(address: SocketAddr, id: &str) -> (AsyncClient, EventLoop) {
    let options = MqttOptions::new(id, (address.ip().to_string(), address.port()));
    let (client, events) = AsyncClient::builder(options).capacity(10).build();
    client.subscribe("BMS/v1/PUB/#", QoS::AtMostOnce).await.expect("queued");
    (client, events)
}

/// Hears until every topic in `wanted` was heard.
async fn hear(events: &mut EventLoop, wanted: &[String]) -> BTreeMap<String, (bool, Value)> {
    let mut heard = BTreeMap::new();
    let all = async {
        while !wanted.iter().all(|topic| heard.contains_key(topic)) {
            if let Ok(Event::Incoming(Packet::Publish(publish))) = events.poll().await {
                let topic = String::from_utf8_lossy(&publish.topic).into_owned();
                let json = serde_json::from_slice(&publish.payload).expect("JSON");
                heard.insert(topic, (publish.retain, json));
            }
        }
    };
    let in_time = tokio::time::timeout(PATIENCE, all).await.is_ok();
    assert!(in_time, "waited in vain for {wanted:?}, heard {:?}", heard.keys());
    heard
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_hears_metadata_then_values_even_when_the_broker_comes_late() {
    let deaf = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = deaf.local_addr().expect("bound");
    let mut plant = Plant::new(&Scenario::load(None).expect("valid").plant);
    (0..100).for_each(|_| plant.step(0.02));
    let bench = Arc::new(Bench::new(&plant));
    let (stop, stopped) = watch::channel(false);
    let publisher = tokio::spawn(dsx::run((address.ip().to_string(), address.port()), Arc::clone(&bench), stopped));
    // The first attempt meets somebody who hangs up.
    drop(tokio::time::timeout(PATIENCE, deaf.accept()).await.expect("it tries").expect("accepts"));
    drop(deaf);
    broker(address).await;

    let tag = "demo/row-1/rack-1/cooling";
    let supply = format!("CDU/LiquidTemperature/{tag}/Supply");
    let flow = format!("CDU/LiquidFlow/{tag}");
    let topics = |kind: &str, paths: &[&String]| -> Vec<String> {
        paths.iter().map(|path| format!("BMS/v1/PUB/{kind}/{path}")).collect()
    };
    let (_client, mut events) = listener(address, "early").await;
    // Whoever subscribes late misses values that do not change; they are made to change.
    let warming = tokio::spawn({
        let bench = Arc::clone(&bench);
        async move {
            loop {
                tokio::time::sleep(Duration::from_millis(300)).await;
                let mut view = (*bench.view()).clone();
                view.racks[0].cooling.supply_celsius += 0.2;
                view.racks[0].cooling.flow_lpm += 0.1;
                bench.show(view);
            }
        }
    });
    let mut wanted = topics("Metadata", &[&supply, &flow]);
    wanted.extend(topics("Value", &[&supply, &flow]));
    let heard = hear(&mut events, &wanted).await;
    let metadata = &heard[&wanted[0]].1;
    assert_eq!(
        (metadata["objectType"].as_str(), metadata["pointType"].as_str()),
        (Some("CDU"), Some("LiquidTemperature"))
    );
    assert_eq!((metadata["engUnit"].as_str(), metadata["processArea"][1].as_str()), (Some("C"), Some("Supply")));
    assert_eq!(heard[&wanted[1]].1["engUnit"], "LPM");
    let (retained, value) = &heard[&wanted[2]];
    assert!(!retained && value["quality"] == 1 && value["timestamp"].as_u64().expect("ms") > 1_600_000_000_000);
    assert!((30.0..60.0).contains(&value["value"].as_f64().expect("a number")), "{value}");

    // Metadata is kept by the broker for whoever comes later.
    let (_client, mut late) = listener(address, "late").await;
    let heard = hear(&mut late, &wanted[..2]).await;
    assert!(wanted[..2].iter().all(|topic| heard[topic].0), "retained");

    warming.abort();
    stop.send(true).expect("the publisher listens");
    tokio::time::timeout(PATIENCE, publisher).await.expect("it stops").expect("without a panic");
}

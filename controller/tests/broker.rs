//! The embedded broker against a client of another house (rumqttc): retained messages, wills,
//! a restart, and the controller's own link on top of it.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers too")]

use headroom_controller::broker::Broker;
use headroom_controller::clock::Clock;
use headroom_controller::link::{Link, LinkEvent, Options};
use headroom_controller::stop;
use headroom_rack::{DeviceId, Generation, RackId, Reading, Setting, Signal, SignalPath, Snapshot, UnixMs, Watts};
use headroom_wire::{Downlink, Kind, Uplink, topic};
use rumqttc::{AsyncClient, Event, EventLoop, LastWill, MqttOptions, Packet, PublishOptions, QoS};
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

const PATIENCE: Duration = Duration::from_secs(30);

struct Running {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

async fn broker(dir: &Path, listen: SocketAddr) -> Running {
    let broker = Broker::start(listen, dir).await.unwrap();
    let address = broker.address();
    let (stop, stopped) = oneshot::channel();
    let task = tokio::spawn(async move {
        broker
            .run_until(async {
                let _ = stopped.await;
            })
            .await
            .unwrap();
    });
    Running { address, stop, task }
}

impl Running {
    async fn stop(self) {
        self.stop.send(()).unwrap();
        tokio::time::timeout(PATIENCE, self.task).await.unwrap().unwrap();
    }
}

fn any() -> SocketAddr {
    ([127, 0, 0, 1], 0).into()
}

fn client(name: &str, at: SocketAddr, will: Option<LastWill>) -> (AsyncClient, EventLoop) {
    let mut options = MqttOptions::new(name, (at.ip().to_string(), at.port()));
    options.set_keep_alive(5).set_max_packet_size(1 << 20, 1 << 20);
    if let Some(will) = will {
        options.set_last_will(will);
    }
    AsyncClient::builder(options).capacity(2000).build()
}

async fn event<T>(eventloop: &mut EventLoop, mut pick: impl FnMut(Packet) -> Option<T>) -> T {
    let wait = async {
        loop {
            match eventloop.poll().await {
                Ok(Event::Incoming(packet)) => {
                    if let Some(found) = pick(packet) {
                        return found;
                    }
                }
                Ok(Event::Outgoing(_)) => {}
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.expect("the broker sent what was waited for")
}

async fn message(eventloop: &mut EventLoop) -> (String, Vec<u8>, bool) {
    event(eventloop, |packet| match packet {
        Packet::Publish(p) => Some((String::from_utf8(p.topic.to_vec()).unwrap(), p.payload.to_vec(), p.retain)),
        _ => None,
    })
    .await
}

/// The next command to the rack that `wanted` takes; what else comes on the way is passed over.
async fn command(eventloop: &mut EventLoop, wanted: fn(&Downlink) -> bool) -> Downlink {
    loop {
        let (on, payload, _) = message(eventloop).await;
        if on == topic::node("demo", Kind::Command, &rack()) {
            let command = Downlink::decode(&payload).expect("a Downlink");
            if wanted(&command) {
                return command;
            }
        }
    }
}

async fn subscribed(eventloop: &mut EventLoop) {
    event(eventloop, |p| matches!(p, Packet::SubAck(_)).then_some(())).await;
}

#[tokio::test]
async fn five_hundred_retained_messages_reach_a_late_subscriber_even_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let running = broker(dir.path(), any()).await;
    let address = running.address;
    let (publisher, mut polled) = client("publisher", address, None);
    for i in 0..500 {
        publisher.try_publish(format!("r/{i}"), format!("{i}"), PublishOptions::at_least_once().retained()).unwrap();
    }
    let mut acknowledged = 0;
    event(&mut polled, |p| {
        acknowledged += u32::from(matches!(p, Packet::PubAck(_)));
        (acknowledged == 500).then_some(())
    })
    .await;
    drop((publisher, polled));
    running.stop().await;

    let running = broker(dir.path(), address).await;
    let (subscriber, mut polled) = client("subscriber", running.address, None);
    subscriber.try_subscribe("r/#", QoS::AtLeastOnce).unwrap();
    let mut topics = std::collections::BTreeSet::new();
    while topics.len() < 500 {
        let (topic, payload, retained) = message(&mut polled).await;
        assert!(retained);
        assert_eq!(topic, format!("r/{}", String::from_utf8(payload).unwrap()));
        topics.insert(topic);
    }
    drop((subscriber, polled));
    running.stop().await;
}

#[tokio::test]
async fn a_client_that_dies_leaves_its_will() {
    let dir = tempfile::tempdir().unwrap();
    let running = broker(dir.path(), any()).await;
    let (watcher, mut watched) = client("watcher", running.address, None);
    watcher.try_subscribe("will/#", QoS::AtLeastOnce).unwrap();
    subscribed(&mut watched).await;
    let will = LastWill::new("will/me", "gone", QoS::AtLeastOnce, true);
    let (mortal, mut polled) = client("mortal", running.address, Some(will));
    event(&mut polled, |p| matches!(p, Packet::ConnAck(_)).then_some(())).await;
    drop((mortal, polled));
    let (topic, payload, _) = message(&mut watched).await;
    assert_eq!((topic.as_str(), payload.as_slice()), ("will/me", &b"gone"[..]));
    running.stop().await;
}

fn rack() -> RackId {
    RackId::new("rack-1").unwrap()
}

fn snapshot(seq: u64) -> Snapshot {
    let at = UnixMs::new(1000 * seq);
    let path = SignalPath::new(DeviceId::gpu(0), Signal::GpuPower);
    let readings = [(path, Reading::new(300.0, at))].into();
    Snapshot { rack: rack(), boot: 1, seq, at, historical: false, readings, receipts: vec![] }
}

fn link_options(at: SocketAddr) -> Options {
    Options {
        host: at.ip().to_string(),
        port: at.port(),
        login: None,
        tls: None,
        site: "demo".into(),
        name: "controller-1".into(),
        racks: vec![rack()],
    }
}

async fn next(events: &mut tokio::sync::mpsc::Receiver<LinkEvent>) -> LinkEvent {
    tokio::time::timeout(PATIENCE, events.recv()).await.expect("an event came").expect("the link runs")
}

#[tokio::test]
async fn the_link_asks_for_a_birth_takes_snapshots_and_sends_orders() {
    let dir = tempfile::tempdir().unwrap();
    let running = broker(dir.path(), any()).await;
    let (stopper, stop) = stop::channel();
    let (link, mut events, task) = Link::start(link_options(running.address), Clock::start(), stop);
    assert_eq!(next(&mut events).await, LinkEvent::Connected);

    let mut up = Uplink::new(0);
    let birth = up.birth(&snapshot(1));
    let data = up.data(&snapshot(2)).unwrap();
    let will = LastWill::new(topic::node("demo", Kind::Death, &rack()), up.death(), QoS::AtLeastOnce, false);
    let (agent, mut polled) = client("agent", running.address, Some(will));
    agent.try_subscribe(topic::node("demo", Kind::Command, &rack()), QoS::AtMostOnce).unwrap();
    agent.try_subscribe(topic::state("controller-1"), QoS::AtLeastOnce).unwrap();
    let (_, mut state, mut retained) = message(&mut polled).await;
    if !retained {
        // It was said after we had subscribed; who asks again gets what the broker has kept.
        agent.try_subscribe(topic::state("controller-1"), QoS::AtLeastOnce).unwrap();
        (_, state, retained) = message(&mut polled).await;
    }
    assert!(retained && state.starts_with(br#"{"online":true"#), "{}", String::from_utf8_lossy(&state));

    // The link's own subscription may still be on its way: data is repeated, as agents do.
    let asked = loop {
        agent
            .try_publish(topic::node("demo", Kind::Data, &rack()), data.clone(), PublishOptions::at_most_once())
            .unwrap();
        if let Ok(command) = tokio::time::timeout(Duration::from_millis(300), command(&mut polled, |_| true)).await {
            break command;
        }
    };
    assert!(asked.rebirth && asked.orders.is_empty());
    agent.try_publish(topic::node("demo", Kind::Birth, &rack()), birth, PublishOptions::at_most_once()).unwrap();
    agent.try_publish(topic::node("demo", Kind::Data, &rack()), "rubbish", PublishOptions::at_most_once()).unwrap();
    agent.try_publish(topic::node("demo", Kind::Data, &rack()), data, PublishOptions::at_most_once()).unwrap();
    let polling = tokio::spawn(async move {
        let orders = command(&mut polled, |c| !c.rebirth).await;
        (orders, polled)
    });
    for seq in [1, 2] {
        let LinkEvent::Snapshot { snapshot: got, birth, .. } = next(&mut events).await else { panic!("a Snapshot") };
        assert_eq!((Snapshot::clone(&got), birth), (snapshot(seq), seq == 1));
    }
    let dropped: u64 = link.drops().iter().filter(|(reason, _)| *reason == "protobuf").map(|(_, n)| n).sum();
    assert_eq!(dropped, 1);

    let orders = Downlink {
        generation: Generation { epoch: 3, counter: 1 },
        lease_ms: 5000,
        stored: None,
        held: None,
        orders: vec![(DeviceId::gpu(0), Setting::PowerLimit(Watts::new(400.0)))],
        rebirth: false,
    };
    assert!(link.send(&rack(), &orders));
    let (got, polled) = polling.await.unwrap();
    assert_eq!(got, orders);

    drop((agent, polled));
    assert!(matches!(next(&mut events).await, LinkEvent::Death { .. }));

    stopper.stop();
    task.await.unwrap();
    let (watcher, mut watched) = client("watcher", running.address, None);
    watcher.try_subscribe(topic::state("controller-1"), QoS::AtLeastOnce).unwrap();
    let (_, state, _) = message(&mut watched).await;
    assert!(state.starts_with(br#"{"online":false"#));
    running.stop().await;
}

#[tokio::test]
async fn the_link_comes_back_when_the_broker_does_and_sends_nothing_old() {
    let dir = tempfile::tempdir().unwrap();
    let running = broker(dir.path(), any()).await;
    let address = running.address;
    let (stopper, stop) = stop::channel();
    let (link, mut events, task) = Link::start(link_options(address), Clock::start(), stop);
    assert_eq!(next(&mut events).await, LinkEvent::Connected);
    running.stop().await;
    assert_eq!(next(&mut events).await, LinkEvent::Disconnected);
    let old = Downlink {
        generation: Generation::default(),
        lease_ms: 1,
        stored: None,
        held: None,
        orders: vec![],
        rebirth: false,
    };
    assert!(!link.send(&rack(), &old));
    assert_eq!(link.unsent(), 1);
    let running = broker(dir.path(), address).await;
    assert_eq!(next(&mut events).await, LinkEvent::Connected);
    stopper.stop();
    task.await.unwrap();
    running.stop().await;
}

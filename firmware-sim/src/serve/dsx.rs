//! The cooling units as a building management system publishes them: DSX Exchange BMS topics by
//! MQTT 3.1.1. Metadata retained, values on change and every 100 s, a heartbeat every 10 s.
//! Without a broker it keeps trying and disturbs nobody.

pub mod points;

use super::bench::{Bench, unix_ms};
use points::{Point, Points};
use rumqttc::{AsyncClient, Event, EventLoop, MqttOptions, Packet, PublishOptions, QoS};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// How often values are looked at; the contract asks for "whenever they change".
const LOOK: Duration = Duration::from_secs(1);
/// Back-off between attempts to connect.
const FIRST_WAIT: Duration = Duration::from_millis(200);
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// Requests that wait for the connection.
const WAITING: usize = 256;

/// Publishes until `stop` turns true.
pub async fn run((host, port): (String, u16), bench: Arc<Bench>, mut stop: watch::Receiver<bool>) {
    let client_id = format!("headroom-sim-{}-{}", bench.spec().site, std::process::id());
    let mut options = MqttOptions::new(client_id, (host.clone(), port));
    options.set_keep_alive(10);
    let mut wait = FIRST_WAIT;
    let mut told = false;
    loop {
        let (client, events) = AsyncClient::builder(options.clone()).capacity(WAITING).build();
        tokio::select! {
            connected = session(client, events, &bench) => {
                if connected {
                    (wait, told) = (FIRST_WAIT, false);
                }
            }
            _ = stop.wait_for(|stop| *stop) => return,
        }
        if !told {
            tracing::info!("no MQTT broker at {host}:{port}; DSX topics wait for it");
            told = true;
        }
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
        wait = (wait * 2).min(LONGEST_WAIT);
    }
}

/// One session, to its end. True when it was ever connected.
async fn session(client: AsyncClient, mut events: EventLoop, bench: &Bench) -> bool {
    let mut points = Points::new(bench.spec());
    let mut connected = false;
    let mut look = tokio::time::interval(LOOK);
    look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            event = events.poll() => match event {
                Ok(Event::Incoming(Packet::ConnAck(_))) => {
                    connected = true;
                    look.reset_immediately();
                }
                Ok(_) => {}
                Err(error) => {
                    tracing::debug!(%error, "MQTT session ended");
                    return connected;
                }
            },
            _ = look.tick(), if connected => {
                for Point { topic, payload, retain } in points.due(&bench.view(), unix_ms()) {
                    let options = PublishOptions::new(QoS::AtMostOnce).retain(retain);
                    if client.try_publish(topic, payload, options).is_err() {
                        tracing::debug!("the MQTT queue is full; a value is left out");
                    }
                }
            }
        }
    }
}

//! One MQTT connection kept up until the stop: it waits longer after each failure and says goodbye at the
//! end. What is said goes through the client; what is heard is the listener's.

use crate::http;
use crate::stop::Stop;
use rumqttc::{AsyncClient, ConnectionError, Event, EventLoop, Packet, Publish};
use std::time::Duration;

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
const LEAVE_WITHIN: Duration = Duration::from_secs(2);

/// Who listens.
pub(crate) trait Listener {
    /// The broker has accepted the connection.
    fn connected(&mut self);
    /// A message came on a topic.
    fn heard(&mut self, topic: &str, message: &Publish);
    /// The connection is gone or could not be made; `failures` in a row.
    fn lost(&mut self, why: &ConnectionError, failures: u32);
    /// The stop was asked for: last words. Whether there is a connection to take leave of.
    fn goodbye(&mut self) -> bool;
}

/// Runs until the stop.
pub(crate) async fn keep(client: AsyncClient, mut eventloop: EventLoop, mut listener: impl Listener, mut stop: Stop) {
    let mut failures = 0;
    loop {
        let polled = tokio::select! {
            polled = eventloop.poll() => polled,
            () = stop.requested() => break,
        };
        match polled {
            Ok(Event::Incoming(Packet::ConnAck(_))) => {
                failures = 0;
                listener.connected();
            }
            Ok(Event::Incoming(Packet::Publish(message))) => {
                let topic = String::from_utf8_lossy(&message.topic);
                listener.heard(&topic, &message);
            }
            Ok(_) => {}
            Err(why) => {
                failures += 1;
                listener.lost(&why, failures);
                tokio::select! {
                    () = tokio::time::sleep(http::pause(failures, FIRST_PAUSE, LONGEST_PAUSE)) => {}
                    () = stop.requested() => break,
                }
            }
        }
    }
    if listener.goodbye() && client.try_disconnect().is_ok() {
        let leave = async { while eventloop.poll().await.is_ok() {} };
        let _ = tokio::time::timeout(LEAVE_WITHIN, leave).await;
    }
}

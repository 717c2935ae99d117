//! One MQTT connection kept up until the stop: it waits longer after each failure and says goodbye at the
//! end. What is said goes through the client; what is heard is the listener's.

use crate::http;
use crate::stop::Stop;
use rumqttc::{AsyncClient, ConnectionError, Event, EventLoop, Packet, Publish, StateError, mqttbytes};
use std::time::Duration;
use tokio::time::Instant;

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
const LEAVE_WITHIN: Duration = Duration::from_secs(2);
/// A connection that broke sooner did not stand: the next one waits longer.
const STEADY: Duration = Duration::from_secs(10);

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
    let mut since = None;
    let mut forgetting = false;
    loop {
        let polled = tokio::select! {
            polled = eventloop.poll() => polled,
            () = stop.requested() => break,
        };
        match polled {
            Ok(Event::Incoming(Packet::ConnAck(_))) => {
                if std::mem::take(&mut forgetting) {
                    // The broker has dropped what waited; a session that outlives its connection begins with the next.
                    eventloop.clean();
                    eventloop.mqtt_options.set_clean_session(false);
                    continue;
                }
                since = Some(Instant::now());
                listener.connected();
            }
            Ok(Event::Incoming(Packet::Publish(message))) => {
                let topic = String::from_utf8_lossy(&message.topic);
                listener.heard(&topic, &message);
            }
            Ok(_) => {}
            Err(why) => {
                if since.take().is_some_and(|since: Instant| since.elapsed() >= STEADY) {
                    failures = 0;
                }
                failures += 1;
                listener.lost(&why, failures);
                if too_large(&why).is_some() && !eventloop.mqtt_options.clean_session() {
                    forgetting = true;
                    eventloop.mqtt_options.set_clean_session(true);
                }
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

/// The size of the packet over which the connection broke, if that was why.
pub(crate) fn too_large(why: &ConnectionError) -> Option<usize> {
    match why {
        ConnectionError::MqttState(StateError::Deserialization(mqttbytes::Error::PayloadSizeLimitExceeded(size))) => {
            Some(*size)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests;

//! Where an MQTT session goes and how it is encrypted.

use crate::Tls;
use rumqttc::{MqttOptions, TlsConfiguration, Transport};
use tokio::net::TcpStream;

/// The largest packet that a session is to receive at all, bytes. Much more than anybody sends in earnest, so that a
/// message that is too large is taken, acknowledged and refused by its receiver: one over which the connection breaks
/// is sent again with the next connection, for ever. Bounded, because a packet is in memory as a whole (MQTT allows
/// 256 MiB).
pub const LARGEST_PACKET: usize = 16 << 20;

/// How a broker that speaks TLS is met.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokerTls {
    /// Whom to trust and who we are.
    pub tls: Tls,
    /// The name its certificate must carry; none: the host it is reached at.
    pub server_name: Option<String>,
}

/// Options of a session with the broker at `host:port`; without `tls` it is plain.
pub fn session(client_id: &str, (host, port): (&str, u16), tls: Option<&BrokerTls>) -> MqttOptions {
    let Some(BrokerTls { tls, server_name }) = tls else {
        return MqttOptions::new(client_id, (host.to_owned(), port));
    };
    // The library checks the certificate against the host it believes to connect to.
    let name = server_name.as_deref().unwrap_or(host);
    let mut options = MqttOptions::new(client_id, (name.to_owned(), port));
    options.set_transport(Transport::Tls(TlsConfiguration::Rustls(tls.client())));
    if server_name.is_some() {
        let address = (host.to_owned(), port);
        options.set_socket_connector(move |_, _| TcpStream::connect(address.clone()));
    }
    options
}

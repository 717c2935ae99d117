//! The embedded MQTT broker (`mqtt5`, speaks 3.1.1 and 5) for sites without one of their own. Keeps
//! sessions and retained messages in files; nobody relies on it for more than transport.

use mqtt5::broker::config::{BrokerConfig, StorageBackend, StorageConfig};
use mqtt5::broker::{BrokerShutdownHandle, MqttBroker};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::task::JoinHandle;

/// Largest packet. The library's default makes paho-mqtt 1.x refuse the connection; a birth of a
/// rack takes some 40 kB.
const MAX_PACKET_BYTES: usize = 1 << 20;

/// Why the broker cannot run.
#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    /// Its directory cannot be made.
    #[error("cannot make the broker's directory {}", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// It cannot listen or cannot read its files.
    #[error("the broker cannot start on {listen} with its files in {}", path.display())]
    Start {
        /// Where it should listen.
        listen: SocketAddr,
        /// Its directory.
        path: PathBuf,
        /// What the library said.
        source: mqtt5::error::MqttError,
    },
    /// It ended by itself.
    #[error("the broker stopped by itself: {0}")]
    Ended(String),
}

/// A running broker.
pub struct Broker {
    address: SocketAddr,
    handle: BrokerShutdownHandle,
    task: JoinHandle<mqtt5::error::Result<()>>,
}

impl Broker {
    /// Listens on `listen` (port 0: the system chooses) and keeps its files in `dir`. Needs a
    /// tokio runtime; returns when connections are taken.
    ///
    /// # Errors
    /// [`BrokerError`] if the directory, the files or the address cannot be used.
    pub async fn start(listen: SocketAddr, dir: &Path) -> Result<Self, BrokerError> {
        std::fs::create_dir_all(dir).map_err(|source| BrokerError::Directory { path: dir.to_owned(), source })?;
        if !listen.ip().is_loopback() {
            tracing::warn!(%listen, "the broker takes anonymous clients from the network: anybody there can send Orders; \
                use a broker with TLS and access control instead");
        }
        let failed = |source| BrokerError::Start { listen, path: dir.to_owned(), source };
        let storage = StorageConfig::new()
            .with_backend(StorageBackend::File)
            .with_base_dir(dir.to_owned())
            .with_persistence(true);
        let config = BrokerConfig::new()
            .with_bind_address(listen)
            .with_max_packet_size(MAX_PACKET_BYTES)
            .with_session_expiry(Duration::from_secs(24 * 3600))
            .with_storage(storage);
        let mut broker = MqttBroker::with_config(config).await.map_err(failed)?;
        let address = broker.local_addr().unwrap_or(listen);
        let handle = broker.shutdown_handle();
        let mut ready = broker.ready_receiver();
        let mut task = tokio::spawn(async move { broker.run().await });
        tokio::select! {
            _ = ready.wait_for(|ready| *ready) => Ok(Self { address, handle, task }),
            ended = &mut task => Err(match ended {
                Ok(Err(source)) => failed(source),
                other => BrokerError::Ended(format!("{other:?}")),
            }),
        }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Runs until `stop` resolves, then closes connections and files.
    ///
    /// # Errors
    /// [`BrokerError::Ended`] if it stopped before that.
    pub async fn run_until(mut self, stop: impl Future<Output = ()>) -> Result<(), BrokerError> {
        tokio::select! {
            () = stop => {}
            ended = &mut self.task => return Err(BrokerError::Ended(format!("{ended:?}"))),
        }
        self.handle.shutdown();
        // The library waits for its clients; one that hangs must not hold up the stop.
        match tokio::time::timeout(Duration::from_secs(5), &mut self.task).await {
            Ok(Ok(Ok(()))) => Ok(()),
            Ok(ended) => Err(BrokerError::Ended(format!("{ended:?}"))),
            Err(_) => {
                tracing::warn!("the broker did not finish within 5 s; its connections are cut");
                self.task.abort();
                Ok(())
            }
        }
    }
}

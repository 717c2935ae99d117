//! Bytes between agent and controller: Sparkplug B 3.0 payloads over MQTT 3.1.1 and their topics.
//! Snapshots go up ([`Uplink`], [`UplinkDecoder`]), Orders go down ([`Downlink`]). Pure: nothing
//! here knows a socket. Bytes are frozen by `tests/frozen.rs`; a change needs a new namespace.

pub mod downlink;
mod plain;
pub mod sparkplug;
pub mod topic;
pub mod uplink;

pub use downlink::{Downlink, Held, Stored};
pub use topic::{Kind, Topic};
pub use uplink::{Uplink, UplinkDecoder, Uplinked};

/// Why bytes or a topic could not be used. Callers count and drop; nothing here panics.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// The payload is no Sparkplug B protobuf.
    #[error("the payload is not a Sparkplug B message: {0}")]
    Protobuf(String),
    /// A metric that must be there is missing or has another type.
    #[error("metric {0:?} is missing or has the wrong type")]
    Metric(String),
    /// Data arrived before its birth, or uses an alias the birth did not name.
    #[error("{0}; ask for a rebirth")]
    NeedsRebirth(String),
    /// The topic is not one of ours.
    #[error("topic {0:?} is not spBv1.0/<site>/<NBIRTH|NDATA|NDEATH|NCMD>/<rack> or spBv1.0/STATE/<host>")]
    Topic(String),
}

//! What to make of one message from the bus: a Snapshot, a death, a wish for a rebirth, or one
//! more dropped frame. One decoder per rack; no socket here.

use headroom_rack::{Mono, RackId, Snapshot};
use headroom_wire::{Kind, Topic, UplinkDecoder, Uplinked, WireError, topic};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A rack is asked for its birth at most once in this time.
const REBIRTH_EVERY: Duration = Duration::from_secs(2);

/// What the run loop is told.
#[derive(Debug, Clone, PartialEq)]
pub enum LinkEvent {
    /// The broker answers.
    Connected,
    /// The broker is gone.
    Disconnected,
    /// A Snapshot, live or back-filled, and when it arrived.
    Snapshot {
        /// The Snapshot.
        snapshot: Arc<Snapshot>,
        /// Arrival by the controller's monotonic clock.
        arrived: Mono,
        /// The agent (re)introduced itself with it.
        birth: bool,
    },
    /// The agent's session ended.
    Death {
        /// Its rack.
        rack: RackId,
        /// Arrival by the controller's monotonic clock.
        arrived: Mono,
    },
}

/// Why frames were dropped, and how many.
#[derive(Debug, Default)]
pub struct Drops {
    counts: [AtomicU64; REASONS.len()],
}

const REASONS: [&str; 8] =
    ["protobuf", "metric", "no_birth", "topic", "site", "unknown_rack", "queue_full", "too_large"];

impl Drops {
    pub(super) fn count(&self, reason: &'static str) {
        if let Some(at) = REASONS.iter().position(|r| *r == reason) {
            self.counts[at].fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Every reason with its count.
    pub fn counts(&self) -> Vec<(&'static str, u64)> {
        REASONS.iter().zip(&self.counts).map(|(r, c)| (*r, c.load(Ordering::Relaxed))).collect()
    }
}

struct Rack {
    decoder: UplinkDecoder,
    asked: Option<Mono>,
}

pub(super) struct Inbox {
    site: String,
    host: String,
    racks: HashMap<RackId, Rack>,
}

impl Inbox {
    pub(super) fn new(site: &str, host: &str, racks: &[RackId]) -> Self {
        let rack = |id: &RackId| (id.clone(), Rack { decoder: UplinkDecoder::new(id.clone()), asked: None });
        Self { site: site.to_owned(), host: host.to_owned(), racks: racks.iter().map(rack).collect() }
    }

    /// What the message says, and the rack that must send its birth again.
    pub(super) fn take(
        &mut self,
        name: &str,
        payload: &[u8],
        now: Mono,
        drops: &Drops,
    ) -> (Option<LinkEvent>, Option<RackId>) {
        let known = topic::of_node(name).filter(|(_, _, rack)| self.racks.contains_key(*rack));
        let Some((site, kind, id)) = known else { return self.pass_over(name, drops) };
        if site != self.site {
            drops.count("site");
            return (None, None);
        }
        if kind == Kind::Command {
            // Our own Orders, or another host's: the filter covers them too.
            return (None, None);
        }
        let Some(rack) = self.racks.get_mut(id) else { return (None, None) };
        let decoded = match kind {
            Kind::Birth => rack.decoder.birth(payload),
            Kind::Data => rack.decoder.data(payload),
            Kind::Death => rack.decoder.death(payload),
            Kind::Command => unreachable!("commands were sorted out above"),
        };
        match decoded {
            Ok(Uplinked::Birth(snapshot)) => {
                (Some(LinkEvent::Snapshot { snapshot: Arc::new(snapshot), arrived: now, birth: true }), None)
            }
            Ok(Uplinked::Data { snapshot, .. }) => {
                (Some(LinkEvent::Snapshot { snapshot: Arc::new(snapshot), arrived: now, birth: false }), None)
            }
            Ok(Uplinked::Death { current: true }) => {
                (Some(LinkEvent::Death { rack: rack.decoder.rack().clone(), arrived: now }), None)
            }
            Ok(Uplinked::Death { current: false }) => (None, None),
            Err(WireError::NeedsRebirth(why)) => {
                drops.count("no_birth");
                let waited = rack.asked.is_none_or(|at| now.since(at) >= REBIRTH_EVERY);
                if waited {
                    tracing::debug!(rack = %id, why, "asking for a birth");
                    rack.asked = Some(now);
                }
                (None, waited.then(|| rack.decoder.rack().clone()))
            }
            Err(why) => {
                tracing::debug!(rack = %id, %why, "dropped a frame");
                drops.count(if matches!(why, WireError::Protobuf(_)) { "protobuf" } else { "metric" });
                (None, None)
            }
        }
    }

    /// What is not from one of this site's racks.
    fn pass_over(&self, name: &str, drops: &Drops) -> (Option<LinkEvent>, Option<RackId>) {
        match topic::parse(name) {
            Ok(Topic::Node { site, .. }) if site != self.site => drops.count("site"),
            // Our own Orders, or another host's: the filter covers them too.
            Ok(Topic::Node { kind: Kind::Command, .. }) => {}
            Ok(Topic::Node { rack, .. }) => {
                tracing::debug!(%rack, "dropped a frame of a rack that is not in the config");
                drops.count("unknown_rack");
            }
            Ok(Topic::State { host }) => tracing::debug!(host, own = self.host, "state of a host application"),
            Err(why) => {
                tracing::debug!(%why, "dropped a frame");
                drops.count("topic");
            }
        }
        (None, None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use headroom_rack::{DeviceId, Reading, Signal, SignalPath, UnixMs};
    use headroom_wire::Uplink;

    fn rack() -> RackId {
        RackId::new("rack-1").unwrap()
    }

    fn snapshot(seq: u64) -> Snapshot {
        let at = UnixMs::new(1000 * seq);
        let path = SignalPath::new(DeviceId::gpu(0), Signal::GpuPower);
        Snapshot {
            rack: rack(),
            boot: 1,
            seq,
            at,
            historical: false,
            readings: [(path, Reading::new(300.0, at))].into(),
            receipts: vec![],
        }
    }

    #[test]
    fn data_before_its_birth_asks_for_one_and_not_every_time() {
        let mut up = Uplink::new(0);
        let birth = up.birth(&snapshot(1));
        let data = up.data(&snapshot(2)).unwrap();
        let mut inbox = Inbox::new("s", "c", &[rack()]);
        let drops = Drops::default();
        let name = topic::node("s", Kind::Data, &rack());
        assert_eq!(inbox.take(&name, &data, Mono::from_ms(0), &drops), (None, Some(rack())));
        assert_eq!(inbox.take(&name, &data, Mono::from_ms(1999), &drops), (None, None));
        assert_eq!(inbox.take(&name, &data, Mono::from_ms(2000), &drops), (None, Some(rack())));
        let name = topic::node("s", Kind::Birth, &rack());
        let (event, _) = inbox.take(&name, &birth, Mono::from_ms(2100), &drops);
        let expected =
            LinkEvent::Snapshot { snapshot: Arc::new(snapshot(1)), arrived: Mono::from_ms(2100), birth: true };
        assert_eq!(event, Some(expected));
    }

    #[test]
    fn every_malformed_frame_is_counted_with_its_reason() {
        let mut inbox = Inbox::new("s", "c", &[rack()]);
        let drops = Drops::default();
        let other = RackId::new("rack-9").unwrap();
        for (name, bytes) in [
            (topic::node("s", Kind::Birth, &rack()), &b"\xff\xff\xff"[..]),
            (topic::node("s", Kind::Birth, &rack()), b""),
            (topic::node("s", Kind::Data, &other), b""),
            (topic::node("t", Kind::Data, &rack()), b""),
            ("spBv1.0/s/DDATA/rack-1/x".to_owned(), b""),
            (topic::node("s", Kind::Command, &rack()), b"our own"),
        ] {
            assert_eq!(inbox.take(&name, bytes, Mono::from_ms(0), &drops), (None, None), "{name}");
        }
        let counts: Vec<_> = drops.counts().into_iter().filter(|(_, n)| *n > 0).collect();
        assert_eq!(counts, [("protobuf", 1), ("metric", 1), ("topic", 1), ("site", 1), ("unknown_rack", 1)]);
    }
}

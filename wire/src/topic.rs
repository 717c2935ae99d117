//! Topics: `spBv1.0/{site}/{kind}/{rack}` and `spBv1.0/STATE/{host}` (Sparkplug 3.0, chapter 4).

use crate::WireError;
use headroom_rack::RackId;

const NAMESPACE: &str = "spBv1.0";

/// The node-level message types Headroom speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Catalogue with names, units and ranges, and the values of now.
    Birth,
    /// Values by alias.
    Data,
    /// The will.
    Death,
    /// Orders and rebirth requests.
    Command,
}

impl Kind {
    const ALL: [Self; 4] = [Self::Data, Self::Birth, Self::Death, Self::Command];

    fn word(self) -> &'static str {
        match self {
            Self::Birth => "NBIRTH",
            Self::Data => "NDATA",
            Self::Death => "NDEATH",
            Self::Command => "NCMD",
        }
    }
}

/// A topic taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Topic {
    /// A message of or to one rack.
    Node {
        /// Sparkplug group: the site.
        site: String,
        /// Message type.
        kind: Kind,
        /// Edge node: the rack.
        rack: RackId,
    },
    /// The controller says whether it is there.
    State {
        /// Host application id.
        host: String,
    },
}

/// The topic of one message type of one rack.
pub fn node(site: &str, kind: Kind, rack: &RackId) -> String {
    format!("{NAMESPACE}/{site}/{}/{rack}", kind.word())
}

/// The topic of the controller's retained state.
pub fn state(host: &str) -> String {
    format!("{NAMESPACE}/STATE/{host}")
}

/// The filter that matches everything the racks of a site send.
pub fn site_filter(site: &str) -> String {
    format!("{NAMESPACE}/{site}/#")
}

/// Site, message type and rack of a topic of one rack, without a copy of them; `None` for any other. Whether the rack's
/// name could be one is not looked at.
pub fn of_node(topic: &str) -> Option<(&str, Kind, &str)> {
    let (site, rest) = topic.strip_prefix(NAMESPACE)?.strip_prefix('/')?.split_once('/')?;
    let (word, rack) = rest.split_once('/')?;
    let kind = Kind::ALL.into_iter().find(|kind| kind.word() == word)?;
    (!site.is_empty() && !rack.contains('/')).then_some((site, kind, rack))
}

/// Takes a topic apart.
///
/// # Errors
/// [`WireError::Topic`] when it is none of ours.
pub fn parse(topic: &str) -> Result<Topic, WireError> {
    let foreign = || WireError::Topic(topic.to_owned());
    let parts: Vec<&str> = topic.split('/').collect();
    match parts[..] {
        [NAMESPACE, "STATE", host] if !host.is_empty() => Ok(Topic::State { host: host.to_owned() }),
        [NAMESPACE, site, kind, rack] if !site.is_empty() => {
            let kind = Kind::ALL.into_iter().find(|k| k.word() == kind).ok_or_else(foreign)?;
            let rack = RackId::new(rack).map_err(|_| foreign())?;
            Ok(Topic::Node { site: site.to_owned(), kind, rack })
        }
        _ => Err(foreign()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_survives_its_text() {
        let rack = RackId::new("rack-1").expect("valid");
        for kind in [Kind::Birth, Kind::Data, Kind::Death, Kind::Command] {
            let text = node("dc1", kind, &rack);
            let expected = Topic::Node { site: "dc1".into(), kind, rack: rack.clone() };
            assert_eq!(parse(&text), Ok(expected));
            assert_eq!(of_node(&text), Some(("dc1", kind, "rack-1")));
        }
        assert_eq!(parse(&state("c1")), Ok(Topic::State { host: "c1".into() }));
    }

    #[test]
    fn a_foreign_topic_is_refused() {
        for bad in [
            "",
            "spBv1.0",
            "spBv1.0/dc1/DDATA/rack-1",
            "spBv1.0/dc1/NDATA/Rack 1",
            "spAv1.0/dc1/NDATA/r",
            "spBv1.0//NDATA/r",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
            assert!(of_node(bad).is_none_or(|(_, _, rack)| RackId::new(rack).is_err()), "{bad}");
        }
    }
}

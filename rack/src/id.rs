//! Names of racks, devices and nodes of the electrical tree. They travel in MQTT topics, metric
//! labels and file names, so their alphabet is narrow. Every Snapshot names its devices thousands of
//! times: a copy is one more holder of the same text.

use serde::de::{Deserialize, Deserializer, Error, Visitor};
use serde::{Serialize, Serializer};
use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// Why a text is not an id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a valid id: use 1 to 64 of a-z, 0-9, '-', '_' and '.', starting with a letter or digit")]
pub struct IdError {
    /// The text as given.
    pub text: String,
}

fn valid(text: &str) -> bool {
    let ok = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, b'-' | b'_' | b'.');
    (1..=64).contains(&text.len()) && text.bytes().all(ok) && text.as_bytes()[0].is_ascii_alphanumeric()
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Text;
                impl Visitor<'_> for Text {
                    type Value = $name;
                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str("an id")
                    }
                    fn visit_str<E: Error>(self, text: &str) -> Result<$name, E> {
                        $name::of(text).map_err(E::custom)
                    }
                }
                deserializer.deserialize_str(Text)
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl $name {
            /// Checks the alphabet.
            ///
            /// # Errors
            /// [`IdError`] when the text is empty, longer than 64 bytes or has another character.
            pub fn new(text: impl Into<String>) -> Result<Self, IdError> {
                Self::of(&text.into())
            }

            fn of(text: &str) -> Result<Self, IdError> {
                if valid(text) { Ok(Self(text.into())) } else { Err(IdError { text: text.to_owned() }) }
            }

            /// The id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                Self::of(text)
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;
            fn try_from(text: String) -> Result<Self, IdError> {
                Self::new(text)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.as_str().to_owned()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }
    };
}

id!(
    /// One rack, and the agent that serves it: the Sparkplug edge node id.
    RackId
);
id!(
    /// One device an agent reads: `gpu-0`, `pdu-a`, `ups-a`, `cooling`. Unique within the agent.
    DeviceId
);
id!(
    /// One node of the electrical tree: a UPS, a breaker, a rack.
    NodeId
);

impl DeviceId {
    /// The id of GPU number `index` of a rack: `gpu-<index>`.
    pub fn gpu(index: u32) -> Self {
        Self(format!("gpu-{index}").into())
    }

    /// The index when this names a GPU.
    pub fn gpu_index(&self) -> Option<u32> {
        self.0.strip_prefix("gpu-")?.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_cannot_break_a_topic() {
        for bad in ["", "a/b", "a+b", "#", "Rack 1", "-x", &"x".repeat(65)] {
            assert!(RackId::new(bad).is_err(), "{bad:?} was accepted");
        }
        assert!(RackId::new("rack-1").is_ok());
    }

    #[test]
    fn a_gpu_device_knows_its_index() {
        assert_eq!(DeviceId::gpu(7).gpu_index(), Some(7));
        assert_eq!(DeviceId::new("pdu-a").expect("valid").gpu_index(), None);
    }
}

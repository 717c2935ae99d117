//! The Sparkplug B protobuf messages (Eclipse Sparkplug 3.0, `sparkplug_b.proto`), as far as
//! Headroom speaks them: no data sets and no templates.

use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint};
use prost::{Message, Oneof};

/// Sparkplug data type numbers (specification 3.0, table 6.4.16).
pub mod datatype {
    /// Unsigned 32 bit.
    pub const UINT32: u32 = 7;
    /// Unsigned 64 bit.
    pub const UINT64: u32 = 8;
    /// 64-bit float.
    pub const DOUBLE: u32 = 10;
    /// True or false.
    pub const BOOLEAN: u32 = 11;
    /// Text.
    pub const STRING: u32 = 12;
    /// Signed 32 bit, used by the `Quality` property.
    pub const INT32: u32 = 3;
}

/// Values of the `Quality` property (specification 3.0, section 6.4.14).
pub mod quality {
    /// The metric has no usable value.
    pub const BAD: u32 = 0;
    /// The value is too old.
    pub const STALE: u32 = 500;
}

/// One message.
#[derive(Clone, PartialEq, Message)]
pub struct Payload {
    /// Milliseconds since 1970 UTC.
    #[prost(uint64, optional, tag = "1")]
    pub timestamp: Option<u64>,
    /// The metrics.
    #[prost(message, repeated, tag = "2")]
    pub metrics: Vec<Metric>,
    /// 0 to 255, absent in NDEATH and NCMD.
    #[prost(uint64, optional, tag = "3")]
    pub seq: Option<u64>,
}

/// One metric.
#[derive(Clone, PartialEq, Message)]
pub struct Metric {
    /// Full name; left out in data messages, where the alias stands for it.
    #[prost(string, optional, tag = "1")]
    pub name: Option<String>,
    /// Number given to the name by the birth.
    #[prost(uint64, optional, tag = "2")]
    pub alias: Option<u64>,
    /// When the value was acquired, milliseconds since 1970 UTC.
    #[prost(uint64, optional, tag = "3")]
    pub timestamp: Option<u64>,
    /// See [`datatype`].
    #[prost(uint32, optional, tag = "4")]
    pub datatype: Option<u32>,
    /// Back-filled after an outage.
    #[prost(bool, optional, tag = "5")]
    pub is_historical: Option<bool>,
    /// There is no value.
    #[prost(bool, optional, tag = "7")]
    pub is_null: Option<bool>,
    /// Unit, range, quality.
    #[prost(message, optional, tag = "9")]
    pub properties: Option<PropertySet>,
    /// The value.
    #[prost(oneof = "Value", tags = "10, 11, 12, 13, 14, 15, 16")]
    pub value: Option<Value>,
}

/// A metric's value.
#[derive(Clone, PartialEq, Oneof)]
pub enum Value {
    /// Up to 32 bits.
    #[prost(uint32, tag = "10")]
    Int(u32),
    /// Up to 64 bits.
    #[prost(uint64, tag = "11")]
    Long(u64),
    /// 32-bit float.
    #[prost(float, tag = "12")]
    Float(f32),
    /// 64-bit float.
    #[prost(double, tag = "13")]
    Double(f64),
    /// True or false.
    #[prost(bool, tag = "14")]
    Boolean(bool),
    /// Text.
    #[prost(string, tag = "15")]
    Text(String),
    /// Raw bytes.
    #[prost(bytes, tag = "16")]
    Bytes(Vec<u8>),
}

/// Properties of a metric: two lists of the same length.
#[derive(Clone, PartialEq, Message)]
pub struct PropertySet {
    /// Names.
    #[prost(string, repeated, tag = "1")]
    pub keys: Vec<String>,
    /// Values, in the order of the names.
    #[prost(message, repeated, tag = "2")]
    pub values: Vec<PropertyValue>,
}

/// One property.
#[derive(Clone, PartialEq, Message)]
pub struct PropertyValue {
    /// See [`datatype`].
    #[prost(uint32, optional, tag = "1")]
    pub r#type: Option<u32>,
    /// The value.
    #[prost(oneof = "Property", tags = "3, 6, 8")]
    pub value: Option<Property>,
}

/// A property's value.
#[derive(Clone, PartialEq, Oneof)]
pub enum Property {
    /// Up to 32 bits.
    #[prost(uint32, tag = "3")]
    Int(u32),
    /// 64-bit float.
    #[prost(double, tag = "6")]
    Double(f64),
    /// Text.
    #[prost(string, tag = "8")]
    Text(String),
}

impl Value {
    fn datatype(&self) -> u32 {
        match self {
            Self::Int(_) => datatype::UINT32,
            Self::Long(_) => datatype::UINT64,
            Self::Float(_) | Self::Double(_) => datatype::DOUBLE,
            Self::Boolean(_) => datatype::BOOLEAN,
            Self::Text(_) | Self::Bytes(_) => datatype::STRING,
        }
    }
}

/// The bytes of a [`Payload`] of named metrics only, written without making them first: a large site's Orders are
/// hundreds of thousands of metrics a second.
#[derive(Debug, Default)]
pub struct Named {
    bytes: Vec<u8>,
}

impl Named {
    /// Nothing yet, with room for so many bytes.
    pub fn with_capacity(bytes: usize) -> Self {
        Self { bytes: Vec::with_capacity(bytes) }
    }

    /// As [`Metric::named`], with the name in parts.
    pub fn add(&mut self, name: &[&str], value: &Value) {
        let datatype = u64::from(value.datatype());
        let name_length: usize = name.iter().map(|part| part.len()).sum();
        // Each of the three keys here is below 16 and takes one byte.
        let length = 1 + encoded_len_varint(name_length as u64) + name_length + 1 + encoded_len_varint(datatype);
        let out = &mut self.bytes;
        encode_key(2, WireType::LengthDelimited, out);
        encode_varint((length + value.encoded_len()) as u64, out);
        encode_key(1, WireType::LengthDelimited, out);
        encode_varint(name_length as u64, out);
        name.iter().for_each(|part| out.extend_from_slice(part.as_bytes()));
        encode_key(4, WireType::Varint, out);
        encode_varint(datatype, out);
        value.encode(out);
    }

    /// The bytes.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

impl PropertySet {
    /// Adds one property.
    pub fn with(mut self, key: &str, value: Property) -> Self {
        let r#type = match value {
            Property::Int(_) => datatype::INT32,
            Property::Double(_) => datatype::DOUBLE,
            Property::Text(_) => datatype::STRING,
        };
        self.keys.push(key.to_owned());
        self.values.push(PropertyValue { r#type: Some(r#type), value: Some(value) });
        self
    }

    /// The property of this name.
    pub fn get(&self, key: &str) -> Option<&Property> {
        let at = self.keys.iter().position(|k| k == key)?;
        self.values.get(at)?.value.as_ref()
    }
}

impl Metric {
    /// A named metric with a value and its data type.
    pub fn named(name: impl Into<String>, value: Value) -> Self {
        Self { name: Some(name.into()), ..Self::value(value) }
    }

    /// A metric known by its alias.
    pub fn aliased(alias: u64, value: Value) -> Self {
        Self { alias: Some(alias), ..Self::value(value) }
    }

    fn value(value: Value) -> Self {
        Self { datatype: Some(value.datatype()), value: Some(value), ..Self::default() }
    }

    /// The value as an unsigned number.
    pub fn unsigned(&self) -> Option<u64> {
        match self.value {
            Some(Value::Int(v)) => Some(v.into()),
            Some(Value::Long(v)) => Some(v),
            _ => None,
        }
    }

    /// The value as a float, whatever number it is.
    pub fn float(&self) -> Option<f64> {
        match self.value {
            Some(Value::Double(v)) => Some(v),
            Some(Value::Float(v)) => Some(v.into()),
            Some(Value::Int(v)) => Some(v.into()),
            _ => None,
        }
    }

    /// The value as text.
    pub fn text(&self) -> Option<&str> {
        match &self.value {
            Some(Value::Text(t)) => Some(t),
            _ => None,
        }
    }
}

//! Reads an NDATA as agents send it straight from its bytes, without making a [`Payload`](crate::sparkplug::Payload) of
//! it first: a large site's are tens of thousands a second. Whatever is not as plain as that (names, groups, what is
//! there twice, what is wrong) is for the general way, which also says what is wrong and comes here by [`Plain::of`].

use crate::sparkplug::{Metric, Payload, PropertySet, Value};
use prost::Message;
use std::str;

/// One message.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Plain<'b> {
    pub timestamp: Option<u64>,
    pub seq: Option<u64>,
    pub metrics: Vec<PlainMetric<'b>>,
}

/// One metric without a name.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct PlainMetric<'b> {
    pub alias: Option<u64>,
    pub timestamp: Option<u64>,
    pub is_historical: Option<bool>,
    pub is_null: Option<bool>,
    pub properties: Option<PropertySet>,
    pub value: Option<PlainValue<'b>>,
}

/// Its value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum PlainValue<'b> {
    Int(u32),
    Long(u64),
    Float(f32),
    Double(f64),
    /// One that no metric of an agent has.
    Other,
    Text(&'b str),
}

impl<'b> Plain<'b> {
    /// A message that was read the general way.
    pub fn of(payload: &'b Payload) -> Self {
        let metrics = payload.metrics.iter().map(PlainMetric::of).collect();
        Self { timestamp: payload.timestamp, seq: payload.seq, metrics }
    }
}

impl<'b> PlainMetric<'b> {
    pub fn of(metric: &'b Metric) -> Self {
        let value = metric.value.as_ref().map(|value| match value {
            Value::Int(v) => PlainValue::Int(*v),
            Value::Long(v) => PlainValue::Long(*v),
            Value::Float(v) => PlainValue::Float(*v),
            Value::Double(v) => PlainValue::Double(*v),
            Value::Text(v) => PlainValue::Text(v),
            _ => PlainValue::Other,
        });
        Self {
            alias: metric.alias,
            timestamp: metric.timestamp,
            is_historical: metric.is_historical,
            is_null: metric.is_null,
            properties: metric.properties.clone(),
            value,
        }
    }

    fn read(mut bytes: &'b [u8]) -> Option<Self> {
        let mut metric = Self::default();
        while !bytes.is_empty() {
            match varint(&mut bytes)? {
                key if key == key_of(2, VARINT) => metric.alias = Some(varint(&mut bytes)?),
                key if key == key_of(3, VARINT) => metric.timestamp = Some(varint(&mut bytes)?),
                // The data type, which the value tells.
                key if key == key_of(4, VARINT) => drop(varint(&mut bytes)?),
                key if key == key_of(5, VARINT) => metric.is_historical = Some(varint(&mut bytes)? != 0),
                key if key == key_of(7, VARINT) => metric.is_null = Some(varint(&mut bytes)? != 0),
                key if key == key_of(9, LENGTH) && metric.properties.is_none() => {
                    metric.properties = Some(PropertySet::decode(counted(&mut bytes)?).ok()?);
                }
                key if key == key_of(10, VARINT) => {
                    metric.value = Some(PlainValue::Int(varint(&mut bytes)? as u32));
                }
                key if key == key_of(11, VARINT) => metric.value = Some(PlainValue::Long(varint(&mut bytes)?)),
                key if key == key_of(12, FOUR) => {
                    let value = f32::from_le_bytes(taken(&mut bytes, 4)?.try_into().ok()?);
                    metric.value = Some(PlainValue::Float(value));
                }
                key if key == key_of(13, EIGHT) => {
                    let value = f64::from_le_bytes(taken(&mut bytes, 8)?.try_into().ok()?);
                    metric.value = Some(PlainValue::Double(value));
                }
                key if key == key_of(14, VARINT) => {
                    varint(&mut bytes)?;
                    metric.value = Some(PlainValue::Other);
                }
                key if key == key_of(15, LENGTH) => {
                    metric.value = Some(PlainValue::Text(str::from_utf8(counted(&mut bytes)?).ok()?));
                }
                _ => return None,
            }
        }
        Some(metric)
    }

    /// The value as an unsigned number.
    pub fn unsigned(&self) -> Option<u64> {
        match self.value? {
            PlainValue::Int(v) => Some(v.into()),
            PlainValue::Long(v) => Some(v),
            _ => None,
        }
    }

    /// The value as a float, whatever number it is.
    pub fn float(&self) -> Option<f64> {
        match self.value? {
            PlainValue::Double(v) => Some(v),
            PlainValue::Float(v) => Some(v.into()),
            PlainValue::Int(v) => Some(v.into()),
            _ => None,
        }
    }

    /// The value as text.
    pub fn text(&self) -> Option<&'b str> {
        match self.value? {
            PlainValue::Text(text) => Some(text),
            _ => None,
        }
    }
}

/// What the bytes say; `None`: not plain.
pub(crate) fn read(mut bytes: &[u8]) -> Option<Plain<'_>> {
    // A Reading takes some 25 bytes.
    let mut plain = Plain { metrics: Vec::with_capacity(bytes.len() / 24), ..Plain::default() };
    while !bytes.is_empty() {
        match varint(&mut bytes)? {
            key if key == key_of(1, VARINT) => plain.timestamp = Some(varint(&mut bytes)?),
            key if key == key_of(2, LENGTH) => plain.metrics.push(PlainMetric::read(counted(&mut bytes)?)?),
            key if key == key_of(3, VARINT) => plain.seq = Some(varint(&mut bytes)?),
            _ => return None,
        }
    }
    Some(plain)
}

const VARINT: u64 = 0;
const EIGHT: u64 = 1;
const LENGTH: u64 = 2;
const FOUR: u64 = 5;

const fn key_of(field: u64, wire_type: u64) -> u64 {
    field << 3 | wire_type
}

fn taken<'b>(bytes: &mut &'b [u8], count: usize) -> Option<&'b [u8]> {
    let (these, rest) = bytes.split_at_checked(count)?;
    *bytes = rest;
    Some(these)
}

fn counted<'b>(bytes: &mut &'b [u8]) -> Option<&'b [u8]> {
    let count = usize::try_from(varint(bytes)?).ok()?;
    taken(bytes, count)
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    // The tenth byte would reach beyond 64 bits: nobody sends such numbers.
    for shift in (0..9).map(|byte| 7 * byte) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

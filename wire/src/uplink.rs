//! Snapshots as NBIRTH and NDATA, absence as `is_null` with a `Quality` and a `reason` property,
//! back-filled ones as `is_historical`. The birth carries unit and range of every signal; data
//! refers to it by alias.

use crate::WireError;
use crate::downlink::{ORDER_METRICS, order_metric_names};
use crate::plain::{self, Plain, PlainMetric};
use crate::sparkplug::{Metric, Payload, Property, PropertySet, Value, datatype, quality};
use headroom_rack::{DeviceId, NoData, Paths, RackId, Reading, Readings, Receipt, SignalPath, Snapshot, UnixMs};
use prost::Message;
use std::collections::{BTreeMap, BTreeSet};

const BD_SEQ: &str = "bdSeq";
/// The node command that asks for a new birth (specification 3.0, section 6.4.1).
pub const REBIRTH: &str = "Node Control/Rebirth";
const BOOT: &str = "Headroom/boot";
const SNAPSHOT: &str = "Headroom/snapshot";
const RECEIPTS: &str = "Headroom/receipts";
const BOOT_ALIAS: u64 = 1;
const SNAPSHOT_ALIAS: u64 = 2;
const RECEIPTS_ALIAS: u64 = 3;
const FIRST_SIGNAL_ALIAS: u64 = 16;

/// The agent's side: one per MQTT session.
#[derive(Debug, Clone)]
pub struct Uplink {
    bd_seq: u64,
    seq: u8,
    aliases: BTreeMap<SignalPath, u64>,
}

impl Uplink {
    /// A session whose birth and death carry `bd_seq`; the specification wants it counted up
    /// from one MQTT session to the next, 0 to 255.
    pub fn new(bd_seq: u8) -> Self {
        Self { bd_seq: bd_seq.into(), seq: 0, aliases: BTreeMap::new() }
    }

    /// The will, to be handed to the broker with CONNECT.
    pub fn death(&self) -> Vec<u8> {
        let bd_seq = Metric::named(BD_SEQ, Value::Long(self.bd_seq));
        Payload { timestamp: None, metrics: vec![bd_seq], seq: None }.encode_to_vec()
    }

    /// The catalogue with the values of `now`; starts the sequence anew.
    pub fn birth(&mut self, now: &Snapshot) -> Vec<u8> {
        self.birth_naming(now, &BTreeSet::new())
    }

    /// As [`Uplink::birth`], and names the `former` signals too: back-filled Snapshots of an earlier
    /// run may hold signals that `now` lacks. They are marked as historical and have no value.
    pub fn birth_naming(&mut self, now: &Snapshot, former: &BTreeSet<SignalPath>) -> Vec<u8> {
        let former: Vec<_> = former.iter().filter(|path| !now.readings.contains_key(path)).collect();
        let all = now.readings.keys().chain(former.iter().copied());
        self.aliases = all.cloned().zip(FIRST_SIGNAL_ALIAS..).collect();
        let named = |name: &str, alias, value| Metric { alias: Some(alias), ..Metric::named(name, value) };
        let mut metrics = vec![
            Metric::named(BD_SEQ, Value::Long(self.bd_seq)),
            Metric::named(REBIRTH, Value::Boolean(false)),
            named(BOOT, BOOT_ALIAS, Value::Long(now.boot)),
            named(SNAPSHOT, SNAPSHOT_ALIAS, Value::Long(now.seq)),
            named(RECEIPTS, RECEIPTS_ALIAS, Value::Text(receipts_text(&now.receipts))),
        ];
        metrics.extend(ORDER_METRICS.iter().map(|(name, datatype)| null(name, *datatype)));
        for device in now.devices().into_iter().filter(|d| d.gpu_index().is_some()) {
            metrics.extend(order_metric_names(device).iter().map(|(name, datatype)| null(name, *datatype)));
        }
        metrics.extend(now.readings.iter().map(|(path, reading)| {
            let (low, high) = path.signal.range();
            let properties = PropertySet::default()
                .with("engUnit", Property::Text(path.signal.unit().symbol().to_owned()))
                .with("engLow", Property::Double(low))
                .with("engHigh", Property::Double(high));
            let mut metric = reading_metric(self.aliases[path], reading, properties);
            metric.name = Some(path.to_string());
            metric
        }));
        metrics.extend(former.into_iter().map(|path| Metric {
            alias: Some(self.aliases[path]),
            is_historical: Some(true),
            ..null(&path.to_string(), datatype::DOUBLE)
        }));
        self.seq = 0;
        Payload { timestamp: Some(now.at.get()), metrics, seq: Some(0) }.encode_to_vec()
    }

    /// One Snapshot by alias.
    ///
    /// # Errors
    /// [`WireError::NeedsRebirth`] when it holds a signal the last birth did not name: send
    /// [`Uplink::birth`] with it instead.
    pub fn data(&mut self, snapshot: &Snapshot) -> Result<Vec<u8>, WireError> {
        let mut metrics = vec![
            Metric::aliased(BOOT_ALIAS, Value::Long(snapshot.boot)),
            Metric::aliased(SNAPSHOT_ALIAS, Value::Long(snapshot.seq)),
        ];
        if !snapshot.receipts.is_empty() {
            metrics.push(Metric::aliased(RECEIPTS_ALIAS, Value::Text(receipts_text(&snapshot.receipts))));
        }
        for (path, reading) in &snapshot.readings {
            let alias = self
                .aliases
                .get(path)
                .ok_or_else(|| WireError::NeedsRebirth(format!("the birth did not name {path}")))?;
            metrics.push(reading_metric(*alias, reading, PropertySet::default()));
        }
        if snapshot.historical {
            for metric in &mut metrics {
                metric.is_historical = Some(true);
            }
        }
        self.seq = self.seq.wrapping_add(1);
        let payload = Payload { timestamp: Some(snapshot.at.get()), metrics, seq: Some(self.seq.into()) };
        Ok(payload.encode_to_vec())
    }
}

fn null(name: &str, datatype: u32) -> Metric {
    Metric { name: Some(name.to_owned()), datatype: Some(datatype), is_null: Some(true), ..Metric::default() }
}

fn reading_metric(alias: u64, reading: &Reading, mut properties: PropertySet) -> Metric {
    let mut metric = Metric {
        alias: Some(alias),
        timestamp: Some(reading.at.get()),
        datatype: Some(datatype::DOUBLE),
        ..Metric::default()
    };
    match reading.value {
        Ok(value) => metric.value = Some(Value::Double(value)),
        Err(reason) => {
            let flag = if reason == NoData::Stale { quality::STALE } else { quality::BAD };
            metric.is_null = Some(true);
            properties = properties.with("Quality", Property::Int(flag)).with("reason", Property::Text(reason.code()));
        }
    }
    if !properties.keys.is_empty() {
        metric.properties = Some(properties);
    }
    metric
}

fn receipts_text(receipts: &[Receipt]) -> String {
    serde_json::to_string(receipts).expect("receipts hold no map with other keys than strings")
}

/// What came up.
#[derive(Debug, Clone, PartialEq)]
pub enum Uplinked {
    /// The agent (re)introduced itself.
    Birth(Snapshot),
    /// One Snapshot.
    Data {
        /// The Snapshot.
        snapshot: Snapshot,
        /// Messages between the last one and this one are missing; the spool will bring them.
        gap: bool,
    },
    /// The session ended.
    Death {
        /// Whether it is the death of the session whose birth came last, not of an older one.
        current: bool,
    },
}

/// The controller's side: one per rack.
#[derive(Debug, Clone)]
pub struct UplinkDecoder {
    rack: RackId,
    bd_seq: Option<u64>,
    last_seq: u8,
    names: BTreeMap<u64, SignalPath>,
    /// Aliases of the Readings of the last plain message, in its order, and what they stand for.
    shape: Option<(Vec<u64>, Paths)>,
}

impl UplinkDecoder {
    /// A decoder that has seen nothing yet.
    pub fn new(rack: RackId) -> Self {
        Self { rack, bd_seq: None, last_seq: 0, names: BTreeMap::new(), shape: None }
    }

    /// Whose messages it decodes.
    pub fn rack(&self) -> &RackId {
        &self.rack
    }

    /// Decodes an NBIRTH.
    ///
    /// # Errors
    /// [`WireError::Protobuf`] or [`WireError::Metric`]; what was known before stays.
    pub fn birth(&mut self, bytes: &[u8]) -> Result<Uplinked, WireError> {
        let payload = parse(bytes)?;
        let by_name = |name: &str| payload.metrics.iter().find(|m| m.name.as_deref() == Some(name));
        let number =
            |name: &str| by_name(name).and_then(Metric::unsigned).ok_or_else(|| WireError::Metric(name.to_owned()));
        let (bd_seq, boot, seq) = (number(BD_SEQ)?, number(BOOT)?, number(SNAPSHOT)?);
        let receipts = by_name(RECEIPTS).map(|metric| receipts_in(metric.text())).transpose()?.unwrap_or_default();
        let mut snapshot = self.empty(payload.timestamp, boot, seq);
        snapshot.receipts = receipts;
        let mut names = BTreeMap::new();
        for metric in &payload.metrics {
            // A newer agent may name signals this controller does not know: skipped, not refused.
            let path = metric.name.as_deref().and_then(SignalPath::parse);
            if let (Some(path), Some(alias)) = (path, metric.alias) {
                // A signal of an earlier run is named for its back-fill and says nothing about now.
                if metric.is_historical != Some(true) {
                    let reading = reading_of(&PlainMetric::of(metric), &path, snapshot.at);
                    snapshot.readings.insert(path.clone(), reading);
                }
                names.insert(alias, path);
            }
        }
        self.bd_seq = Some(bd_seq);
        self.last_seq = payload.seq.and_then(|s| u8::try_from(s).ok()).unwrap_or(0);
        self.names = names;
        self.shape = None;
        Ok(Uplinked::Birth(snapshot))
    }

    /// Decodes an NDATA.
    ///
    /// # Errors
    /// [`WireError::NeedsRebirth`] before the first birth; [`WireError::Protobuf`] or
    /// [`WireError::Metric`] on nonsense. Aliases of signals unknown here are skipped.
    pub fn data(&mut self, bytes: &[u8]) -> Result<Uplinked, WireError> {
        if self.bd_seq.is_none() {
            return Err(WireError::NeedsRebirth(format!("data of {} came before its birth", self.rack)));
        }
        match plain::read(bytes) {
            Some(plain) => self.metrics(&plain),
            None => self.metrics(&Plain::of(&parse(bytes)?)),
        }
    }

    fn metrics(&mut self, plain: &Plain<'_>) -> Result<Uplinked, WireError> {
        let by_alias = |alias: u64| plain.metrics.iter().find(|m| m.alias == Some(alias));
        let number = |alias, name: &str| {
            by_alias(alias).and_then(PlainMetric::unsigned).ok_or_else(|| WireError::Metric(name.to_owned()))
        };
        let (boot, number) = (number(BOOT_ALIAS, BOOT)?, number(SNAPSHOT_ALIAS, SNAPSHOT)?);
        let mut snapshot = self.empty(plain.timestamp, boot, number);
        let receipts = by_alias(RECEIPTS_ALIAS).map(|metric| receipts_in(metric.text()));
        snapshot.receipts = receipts.transpose()?.unwrap_or_default();
        snapshot.historical = plain.metrics.iter().any(|m| m.is_historical == Some(true));
        snapshot.readings = match &self.shape {
            Some((aliases, paths)) if of_readings(plain).map(|(alias, _)| alias).eq(aliases.iter().copied()) => {
                let found = of_readings(plain).zip(paths.iter());
                let values = found.map(|((_, metric), path)| reading_of(metric, path, snapshot.at)).collect();
                Readings::alike(paths, values).expect("a shape has a path for each alias")
            }
            _ => {
                let named = of_readings(plain).filter_map(|(alias, m)| Some((alias, m, self.names.get(&alias)?)));
                let mut aliases = Vec::with_capacity(plain.metrics.len());
                let each = named.map(|(alias, metric, path)| {
                    aliases.push(alias);
                    (path.clone(), reading_of(metric, path, snapshot.at))
                });
                let readings: Readings = each.collect();
                // In the order of their paths, each once, and all of them known: the next message may be the same.
                let all = aliases.len() == readings.len() && aliases.len() == of_readings(plain).count();
                let in_order = aliases.iter().map(|alias| &self.names[alias]).eq(readings.keys());
                self.shape = (all && in_order).then(|| (aliases, readings.paths()));
                readings
            }
        };
        let seq = plain.seq.and_then(|s| u8::try_from(s).ok()).ok_or_else(|| WireError::Metric("seq".into()))?;
        let gap = seq != self.last_seq.wrapping_add(1);
        self.last_seq = seq;
        Ok(Uplinked::Data { snapshot, gap })
    }

    /// Decodes an NDEATH.
    ///
    /// # Errors
    /// [`WireError::Protobuf`] or [`WireError::Metric`] on nonsense.
    pub fn death(&mut self, bytes: &[u8]) -> Result<Uplinked, WireError> {
        let payload = parse(bytes)?;
        let bd_seq = payload
            .metrics
            .iter()
            .find(|m| m.name.as_deref() == Some(BD_SEQ))
            .and_then(Metric::unsigned)
            .ok_or_else(|| WireError::Metric(BD_SEQ.to_owned()))?;
        Ok(Uplinked::Death { current: self.bd_seq == Some(bd_seq) })
    }

    fn empty(&self, timestamp: Option<u64>, boot: u64, seq: u64) -> Snapshot {
        Snapshot {
            rack: self.rack.clone(),
            boot,
            seq,
            at: UnixMs::new(timestamp.unwrap_or(0)),
            historical: false,
            readings: Readings::new(),
            receipts: Vec::new(),
        }
    }
}

fn parse(bytes: &[u8]) -> Result<Payload, WireError> {
    Payload::decode(bytes).map_err(|e| WireError::Protobuf(e.to_string()))
}

/// The metrics that may be Readings, with their aliases.
fn of_readings<'p, 'b>(plain: &'p Plain<'b>) -> impl Iterator<Item = (u64, &'p PlainMetric<'b>)> {
    plain.metrics.iter().filter_map(|m| Some((m.alias.filter(|alias| *alias > RECEIPTS_ALIAS)?, m)))
}

fn receipts_in(text: Option<&str>) -> Result<Vec<Receipt>, WireError> {
    let receipts = text.and_then(|text| serde_json::from_str(text).ok());
    receipts.ok_or_else(|| WireError::Metric(RECEIPTS.to_owned()))
}

fn reason_in(properties: Option<&PropertySet>) -> NoData {
    match properties.and_then(|p| p.get("reason")) {
        Some(Property::Text(code)) => NoData::from_code(code).unwrap_or(NoData::NotAvailable),
        _ => NoData::NotAvailable,
    }
}

fn reading_of(metric: &PlainMetric<'_>, path: &SignalPath, fallback: UnixMs) -> Reading {
    let at = metric.timestamp.map_or(fallback, UnixMs::new);
    if metric.is_null == Some(true) {
        return Reading::none(reason_in(metric.properties.as_ref()), at);
    }
    match metric.float() {
        Some(value) if path.signal.is_plausible(value) => Reading::new(value, at),
        Some(_) => Reading::none(NoData::OutOfRange, at),
        None => Reading::none(NoData::Malformed, at),
    }
}

/// The device of an Order metric `Order/<device>/<what>`.
pub(crate) fn order_device(name: &str) -> Option<(DeviceId, &str)> {
    let (device, what) = name.strip_prefix("Order/")?.split_once('/')?;
    Some((DeviceId::new(device).ok()?, what))
}

#[cfg(test)]
mod tests;

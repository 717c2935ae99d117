//! Orders as node commands (NCMD): every Order of one message shares generation and lease. The
//! same message says how far the record has stored this agent's Snapshots.

use crate::WireError;
use crate::sparkplug::{Metric, Named, Payload, Value, datatype};
use crate::uplink::{REBIRTH, order_device};
use headroom_rack::{Answer, Condition, DeviceId, Generation, Order, Setting, Watts};
use prost::Message;

const ORDER: &str = "Order/";
const EPOCH: &str = "Order/epoch";
const COUNTER: &str = "Order/counter";
const LEASE: &str = "Order/lease_ms";
const STORED_BOOT: &str = "Stored/boot";
const STORED_SEQ: &str = "Stored/seq";
/// Not announced in births: the bytes of a birth are frozen, and an agent that does not know it
/// passes over it.
const STORED_HELD: &str = "Stored/held";
/// `Answer/<condition>/<device or time it is about>/<device to set>/<setting>`. Not announced in births either: an
/// agent that knows no answers passes over them and falls back on its lease.
const ANSWER: &str = "Answer/";
const INLET_DEAD: &str = "inlet_dead";
const ON_BATTERY: &str = "on_battery";
/// What it is about is a time in milliseconds.
const NO_ORDERS: &str = "no_orders";
const POWER_LIMIT: &str = "power_limit_watts";
const CLOCK_CEILING: &str = "clock_ceiling_mhz";

/// Commands an agent's birth announces, with their data types.
pub(crate) const ORDER_METRICS: &[(&str, u32)] = &[
    (EPOCH, datatype::UINT64),
    (COUNTER, datatype::UINT64),
    (LEASE, datatype::UINT32),
    (STORED_BOOT, datatype::UINT64),
    (STORED_SEQ, datatype::UINT64),
];

/// Commands a birth announces for each GPU.
pub(crate) fn order_metric_names(device: &DeviceId) -> [(String, u32); 2] {
    [
        (format!("Order/{device}/{POWER_LIMIT}"), datatype::DOUBLE),
        (format!("Order/{device}/{CLOCK_CEILING}"), datatype::UINT32),
    ]
}

/// How far the record has stored one agent run's Snapshots: all up to and including `seq`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stored {
    /// The agent's run.
    pub boot: u64,
    /// The last Snapshot stored without a hole before it.
    pub seq: u64,
}

/// Snapshots of one agent run that the record holds durably: `first` to `last`, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Held {
    /// The agent's run, also one that ended long ago.
    pub boot: u64,
    /// The first Snapshot.
    pub first: u64,
    /// The last Snapshot.
    pub last: u64,
}

impl Held {
    fn parse(text: &str) -> Option<Self> {
        let (boot, range) = text.split_once(':')?;
        let (first, last) = range.split_once('-')?;
        let held = Self { boot: boot.parse().ok()?, first: first.parse().ok()?, last: last.parse().ok()? };
        (held.first <= held.last).then_some(held)
    }
}

/// One message to one agent.
#[derive(Debug, Clone, PartialEq)]
pub struct Downlink {
    /// Generation shared by all Orders.
    pub generation: Generation,
    /// Lease shared by all Orders, in milliseconds after arrival.
    pub lease_ms: u32,
    /// How far the record has got, when it has stored anything.
    pub stored: Option<Stored>,
    /// Which Snapshots became durable, or came again, since the last message; it may be lost: what is
    /// not acknowledged is sent again and then acknowledged again. Unlike `stored` it names exactly
    /// what is held, of any run. `None`: a controller that knows only `stored`.
    pub held: Option<Vec<Held>>,
    /// What to set; empty in advisory mode.
    pub orders: Vec<(DeviceId, Setting)>,
    /// Ask the agent to send its birth again.
    pub rebirth: bool,
}

impl Downlink {
    /// The Orders with their shared generation and lease.
    pub fn orders(&self) -> impl Iterator<Item = Order> + '_ {
        self.orders.iter().map(|(device, setting)| Order {
            device: device.clone(),
            setting: *setting,
            generation: self.generation,
            lease_ms: self.lease_ms,
        })
    }

    /// The NCMD payload with Orders that lie ready; they share generation and lease with the others.
    pub fn encode_preparing<'a>(&self, answers: impl Iterator<Item = (&'a Condition, &'a DeviceId, Watts)>) -> Vec<u8> {
        let mut named = self.named();
        for (when, device, watts) in answers {
            let time;
            let (word, about) = match when {
                Condition::InletDead(about) => (INLET_DEAD, about.as_str()),
                Condition::OnBattery(about) => (ON_BATTERY, about.as_str()),
                Condition::NoOrders(ms) => {
                    time = ms.to_string();
                    (NO_ORDERS, time.as_str())
                }
            };
            let name = [ANSWER, word, "/", about, "/", device.as_str(), "/", POWER_LIMIT];
            named.add(&name, &Value::Double(watts.get()));
        }
        named.into_bytes()
    }

    /// The NCMD payload.
    pub fn encode(&self) -> Vec<u8> {
        self.named().into_bytes()
    }

    fn named(&self) -> Named {
        let mut named = Named::with_capacity(256 + 128 * self.orders.len());
        if self.rebirth {
            named.add(&[REBIRTH], &Value::Boolean(true));
        }
        named.add(&[EPOCH], &Value::Long(self.generation.epoch));
        named.add(&[COUNTER], &Value::Long(self.generation.counter));
        named.add(&[LEASE], &Value::Int(self.lease_ms));
        if let Some(stored) = self.stored {
            named.add(&[STORED_BOOT], &Value::Long(stored.boot));
            named.add(&[STORED_SEQ], &Value::Long(stored.seq));
        }
        if let Some(held) = &self.held {
            let ranges: Vec<_> = held.iter().map(|h| format!("{}:{}-{}", h.boot, h.first, h.last)).collect();
            named.add(&[STORED_HELD], &Value::Text(ranges.join(" ")));
        }
        for (device, setting) in &self.orders {
            let (what, value) = match setting {
                Setting::PowerLimit(watts) => (POWER_LIMIT, Value::Double(watts.get())),
                Setting::ClockCeilingMhz(mhz) => (CLOCK_CEILING, Value::Int(*mhz)),
            };
            named.add(&[ORDER, device.as_str(), "/", what], &value);
        }
        named
    }

    /// Reads an NCMD payload. A bare rebirth request of another host (without generation) is
    /// fine; Orders without generation and lease are not.
    ///
    /// # Errors
    /// [`WireError::Protobuf`] or [`WireError::Metric`]. An unknown or ill-typed Order metric
    /// refuses the whole message: half a Plan is no Plan.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        Self::of(&payload(bytes)?)
    }

    /// Reads an NCMD payload with the Orders that lie ready in it.
    ///
    /// # Errors
    /// As [`Downlink::decode`], and for an answer that is none.
    pub fn decode_with_answers(bytes: &[u8]) -> Result<(Self, Vec<Answer>), WireError> {
        let payload = payload(bytes)?;
        let downlink = Self::of(&payload)?;
        let answers = downlink.answers(&payload)?;
        Ok((downlink, answers))
    }

    /// The Orders that lie ready in the payload of which this was read. A condition that is not known
    /// here is passed over: it is a newer controller's.
    fn answers(&self, payload: &Payload) -> Result<Vec<Answer>, WireError> {
        let mut answers = Vec::new();
        for metric in &payload.metrics {
            let Some(name) = metric.name.as_deref().filter(|n| n.starts_with(ANSWER)) else { continue };
            let wrong = || WireError::Metric(name.to_owned());
            let parts: Vec<&str> = name.split('/').collect();
            let [_, word, about, device, what] = parts[..] else { return Err(wrong()) };
            let (about, device) = (DeviceId::new(about), DeviceId::new(device));
            let (Ok(about), Ok(device), POWER_LIMIT) = (about, device, what) else { return Err(wrong()) };
            let watts = metric.float().filter(|w| w.is_finite() && *w >= 0.0).ok_or_else(wrong)?;
            let when = match word {
                INLET_DEAD => Condition::InletDead(about),
                ON_BATTERY => Condition::OnBattery(about),
                NO_ORDERS => Condition::NoOrders(about.as_str().parse().map_err(|_| wrong())?),
                _ => continue,
            };
            let setting = Setting::PowerLimit(Watts::new(watts));
            let order = Order { device, setting, generation: self.generation, lease_ms: self.lease_ms };
            answers.push(Answer { when, order });
        }
        if !answers.is_empty() && (self.lease_ms == 0 || self.generation == Generation::default()) {
            return Err(WireError::Metric(LEASE.to_owned()));
        }
        Ok(answers)
    }

    fn of(payload: &Payload) -> Result<Self, WireError> {
        let find = |name: &str| payload.metrics.iter().find(|m| m.name.as_deref() == Some(name));
        let number =
            |name: &str| find(name).map(|m| m.unsigned().ok_or_else(|| WireError::Metric(name.to_owned()))).transpose();
        let mut orders = Vec::new();
        for metric in &payload.metrics {
            let Some(name) = metric.name.as_deref() else { continue };
            let Some((device, what)) = order_device(name) else { continue };
            let wrong = || WireError::Metric(name.to_owned());
            let setting = match what {
                POWER_LIMIT => {
                    let watts = metric.float().filter(|w| w.is_finite() && *w >= 0.0).ok_or_else(wrong)?;
                    Setting::PowerLimit(Watts::new(watts))
                }
                CLOCK_CEILING => {
                    let mhz = metric.unsigned().and_then(|v| u32::try_from(v).ok()).ok_or_else(wrong)?;
                    Setting::ClockCeilingMhz(mhz)
                }
                _ => return Err(wrong()),
            };
            orders.push((device, setting));
        }
        let (epoch, counter, lease) = (number(EPOCH)?, number(COUNTER)?, number(LEASE)?);
        if !orders.is_empty() {
            for (name, value) in [(EPOCH, epoch), (COUNTER, counter), (LEASE, lease)] {
                value.ok_or_else(|| WireError::Metric(name.to_owned()))?;
            }
        }
        let stored = match (number(STORED_BOOT)?, number(STORED_SEQ)?) {
            (Some(boot), Some(seq)) => Some(Stored { boot, seq }),
            _ => None,
        };
        let ranges = |metric: &Metric| metric.text()?.split_whitespace().map(Held::parse).collect::<Option<Vec<_>>>();
        let held = find(STORED_HELD)
            .map(|metric| ranges(metric).ok_or_else(|| WireError::Metric(STORED_HELD.to_owned())))
            .transpose()?;
        let lease_ms = u32::try_from(lease.unwrap_or(0)).map_err(|_| WireError::Metric(LEASE.to_owned()))?;
        Ok(Self {
            generation: Generation { epoch: epoch.unwrap_or(0), counter: counter.unwrap_or(0) },
            lease_ms,
            stored,
            held,
            orders,
            rebirth: find(REBIRTH).is_some_and(|m| m.value == Some(Value::Boolean(true))),
        })
    }
}

fn payload(bytes: &[u8]) -> Result<Payload, WireError> {
    Payload::decode(bytes).map_err(|e| WireError::Protobuf(e.to_string()))
}

//! The shared language of Headroom: units, time, ids, the signal catalogue and the seven nouns
//! (Reading, Snapshot, Forecast, Plan, Order, Receipt, Finding). Pure: no clock, disk, network or
//! thread. What the bytes between agent and controller look like is `headroom-wire`'s business.

pub mod finding;
pub mod forecast;
pub mod id;
pub mod metric;
pub mod order;
pub mod plan;
pub mod reading;
pub mod record;
pub mod score;
pub mod signal;
pub mod snapshot;
pub mod time;
pub mod units;

pub use finding::{Finding, Severity};
pub use forecast::{Forecast, Source};
pub use id::{DeviceId, IdError, NodeId, RackId};
pub use order::{Answer, Clamp, Condition, Generation, Order, Outcome, Receipt, Refusal, Setting};
pub use plan::{BatteryLeft, Cap, LimitKind, Mode, NodeView, Plan, Quality};
pub use reading::{NoData, Reading};
pub use score::{MethodScore, Score, Tally};
pub use signal::{Class, Signal, SignalPath, Unit};
pub use snapshot::Snapshot;
pub use time::{Mono, UnixMs};
pub use units::{Amperes, Celsius, Kelvins, Volts, Watts};

//! Pure parts of the controller: the electrical tree, trip curves, what is believed of the fleet,
//! the decision, health and the story told to people. No clock, disk, network, thread or chance:
//! `now` is an argument, and nothing here can fail.

pub mod allocate;
pub mod automation;
pub mod battery;
pub mod budget;
pub mod decide;
pub mod demand;
pub mod fleet;
pub mod hand;
pub mod health;
pub mod policy;
pub mod story;
pub mod target;
pub mod topology;
pub mod trip;
pub mod urgency;

pub use automation::Automation;
pub use battery::BatterySpec;
pub use decide::{BatteryView, Change, CoolantView, CoolingAdvice, CurrentView, Decider, Prepared};
pub use fleet::Fleet;
pub use hand::{Hand, Hands};
pub use health::{Facts, Health};
pub use policy::{Bounds, Policy, Rule, Rules, When};
pub use story::{Event, Story};
pub use topology::{
    Constraint, CoolingSpec, FeedShare, MeterRef, NodeKind, NodeSpec, RackSpec, Topology, TopologyError,
};
pub use urgency::Urgency;

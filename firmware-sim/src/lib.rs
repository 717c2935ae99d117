//! The other side of the cable: plant physics, device firmware, servers, scenarios, faults.

pub mod plant;

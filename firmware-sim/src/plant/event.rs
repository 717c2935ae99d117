//! Something that happened in the plant, in words for people.

/// One event.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// Seconds since the start of the plant.
    pub at_s: f64,
    /// `ramp`, `overload_begins`, `overload_ends`, `trip`, `fault`, `battery`, ...
    pub kind: &'static str,
    /// One line.
    pub text: String,
}

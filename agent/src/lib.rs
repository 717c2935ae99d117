//! The per-rack agent: reads devices truthfully, acts on Orders, fails safe.

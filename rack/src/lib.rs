//! The shared language: units, ids, signals, Reading, Snapshot, Forecast, Plan, Order, Receipt, Finding. Pure.

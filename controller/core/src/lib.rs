//! Pure parts of the controller: fleet, electrical tree, trip curves, decide, allocation, health.

//! Pure parts of the agent: profile, decode, schedule, assemble, guard, fail-safe.

//! The only place that writes to a device, and only typed settings: a power limit and a clock
//! ceiling of a GPU, inside the board's own bounds, read back after settling. A thread of its own
//! takes the newest wishes; older ones that were not acted upon yet are forgotten, never queued.

pub mod nvml;

use headroom_rack::{Clamp, DeviceId, Generation, Outcome, Refusal, Watts};
use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A limit counts as in force when it is read back within this: some boards round to the watt.
pub const TOLERANCE: Watts = Watts::new(1.0);
/// Time a driver may take until the enforced limit shows the new one.
const SETTLING: Duration = Duration::from_millis(300);
/// How often a limit that does not take is written again.
const RETRY: Duration = Duration::from_secs(5);
const TICK: Duration = Duration::from_millis(20);

/// Sets and reads back. What stands behind it is a driver.
pub trait Lever {
    /// Sets the power limit.
    ///
    /// # Errors
    /// Why it could not be set.
    fn set_limit(&self, device: &DeviceId, limit: Watts) -> Result<(), Refusal>;

    /// The power limit in force.
    ///
    /// # Errors
    /// Why it could not be read.
    fn enforced(&self, device: &DeviceId) -> Result<Watts, Refusal>;

    /// Sets the highest SM clock in MHz; 0 releases it.
    ///
    /// # Errors
    /// Why it could not be set.
    fn set_clock_ceiling(&self, device: &DeviceId, mhz: u32) -> Result<(), Refusal>;
}

/// What is to be in force for one GPU.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Wish {
    /// Power limit.
    pub limit: Watts,
    /// Highest SM clock in MHz; 0 is no ceiling.
    pub clock_ceiling_mhz: u32,
    /// The Order behind it; `None` at the safe share: no Receipt then.
    pub generation: Option<Generation>,
    /// Why the limit is another one than asked.
    pub clamp: Option<Clamp>,
}

/// Wishes for all GPUs.
pub type Wishes = BTreeMap<DeviceId, Wish>;

#[derive(Debug)]
struct Slot {
    wishes: Option<Wishes>,
    /// Nothing wished for is still to be done.
    idle: bool,
    closed: bool,
}

impl Default for Slot {
    fn default() -> Self {
        Self { wishes: None, idle: true, closed: false }
    }
}

/// Hands wishes to the actuator's thread: the newest replace those not yet taken.
#[derive(Debug, Default)]
pub struct Handoff {
    slot: Mutex<Slot>,
    changed: Condvar,
}

impl Handoff {
    /// Replaces what was wished for.
    pub fn wish(&self, wishes: Wishes) {
        let mut slot = self.slot.lock().unwrap_or_else(PoisonError::into_inner);
        slot.wishes = Some(wishes);
        slot.idle = false;
        self.changed.notify_all();
    }

    /// Lets the thread end after what is wished for is in force.
    pub fn close(&self) {
        self.slot.lock().unwrap_or_else(PoisonError::into_inner).closed = true;
        self.changed.notify_all();
    }

    /// Waits until everything wished for is in force or has failed. False: it took too long.
    pub fn wait_idle(&self, timeout: Duration) -> bool {
        let slot = self.slot.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.changed.wait_timeout_while(slot, timeout, |s| !s.idle);
        waited.map_or_else(|e| e.into_inner().0.idle, |(slot, _)| slot.idle)
    }

    fn take(&self, busy: bool) -> (Option<Wishes>, bool) {
        let mut slot = self.slot.lock().unwrap_or_else(PoisonError::into_inner);
        slot.idle = !busy && slot.wishes.is_none();
        if slot.idle {
            self.changed.notify_all();
        }
        if slot.wishes.is_none() && !slot.closed {
            let wait = if busy { TICK } else { Duration::from_secs(1) };
            slot = match self.changed.wait_timeout_while(slot, wait, |s| s.wishes.is_none() && !s.closed) {
                Ok((slot, _)) => slot,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
        let wishes = slot.wishes.take();
        if wishes.is_some() {
            slot.idle = false;
        }
        (wishes, slot.closed)
    }
}

/// What was last written to a GPU.
#[derive(Debug, Clone, Copy)]
struct Written {
    limit: Watts,
    clock_ceiling_mhz: u32,
    at: Instant,
}

/// Runs until the hand-off is closed. `report` hears what became of each Order, once.
pub fn run(lever: &impl Lever, handoff: &Arc<Handoff>, mut report: impl FnMut(&DeviceId, Generation, Outcome)) {
    let mut written: BTreeMap<DeviceId, Written> = BTreeMap::new();
    let mut pending: BTreeMap<DeviceId, (Wish, Instant)> = BTreeMap::new();
    loop {
        let (wishes, closed) = handoff.take(!pending.is_empty());
        for (device, wish) in wishes.into_iter().flatten() {
            let mut tell = |outcome| {
                if let Some(generation) = wish.generation {
                    report(&device, generation, outcome);
                }
            };
            match act(lever, &device, wish, &mut written) {
                Ok(()) => {
                    // An Order overtaken before it settled was still carried out as the newer one.
                    pending.insert(device, (wish, Instant::now() + SETTLING));
                }
                Err(refusal) => {
                    pending.remove(&device);
                    tell(Outcome::Refused(refusal));
                }
            }
        }
        pending.retain(|device, (wish, deadline)| {
            let enforced = lever.enforced(device);
            let holds = enforced.as_ref().is_ok_and(|e| (e.get() - wish.limit.get()).abs() <= TOLERANCE.get());
            if !holds && Instant::now() < *deadline {
                return true;
            }
            if let Some(generation) = wish.generation {
                report(device, generation, outcome(*wish, enforced, holds));
            } else if !holds {
                tracing::warn!(%device, wished = %wish.limit, in_force = ?enforced, "the safe share is not in force");
            }
            false
        });
        if closed && pending.is_empty() {
            handoff.take(false);
            return;
        }
    }
}

fn outcome(wish: Wish, enforced: Result<Watts, Refusal>, holds: bool) -> Outcome {
    match (enforced, wish.clamp) {
        (Err(refusal), _) => Outcome::Refused(refusal),
        (Ok(_), None) if holds => Outcome::Applied,
        (Ok(to), Some(why)) if holds => Outcome::Clamped { to, why },
        (Ok(to), _) => Outcome::Clamped { to, why: Clamp::ReadBack },
    }
}

fn act(
    lever: &impl Lever,
    device: &DeviceId,
    wish: Wish,
    written: &mut BTreeMap<DeviceId, Written>,
) -> Result<(), Refusal> {
    let before = written.get(device).copied();
    let same_limit = before.is_some_and(|w| w.limit == wish.limit);
    // Another hand may have changed it since (driver reload, a person): then write again, but
    // not for ever against a limiter that is stronger.
    let in_force = || lever.enforced(device).is_ok_and(|e| (e.get() - wish.limit.get()).abs() <= TOLERANCE.get());
    let recent = before.is_some_and(|w| w.at.elapsed() < RETRY);
    if !(same_limit && (recent || in_force())) {
        lever.set_limit(device, wish.limit)?;
        let clock_ceiling_mhz = before.map_or(0, |w| w.clock_ceiling_mhz);
        written.insert(device.clone(), Written { limit: wish.limit, clock_ceiling_mhz, at: Instant::now() });
    }
    if before.is_none_or(|w| w.clock_ceiling_mhz != wish.clock_ceiling_mhz) {
        match lever.set_clock_ceiling(device, wish.clock_ceiling_mhz) {
            // Releasing what could never be locked is no failure.
            Err(Refusal::NotSupported | Refusal::PermissionDenied) if wish.clock_ceiling_mhz == 0 => {}
            other => other?,
        }
        if let Some(w) = written.get_mut(device) {
            w.clock_ceiling_mhz = wish.clock_ceiling_mhz;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;

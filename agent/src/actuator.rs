//! The only place that writes to a device, and only typed settings: a power limit and a clock
//! ceiling of a GPU, inside the board's own bounds, read back after settling. Each GPU has a thread
//! of its own (`actuator/crew.rs`), so that one that hangs its driver call does not keep the others
//! uncapped. A thread takes the newest wish; an older one not yet acted upon is forgotten.

mod crew;
pub mod nvml;

pub use crew::Crew;

use headroom_rack::{Clamp, DeviceId, Generation, Outcome, Refusal, Watts};
use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A limit counts as in force when it is read back within this: some boards round to the watt.
pub const TOLERANCE: Watts = Watts::new(1.0);
/// An SM clock counts as kept within this: boards offer clocks in steps of 15 MHz
/// (`nvidia-smi -q -d SUPPORTED_CLOCKS`).
const CLOCK_TOLERANCE_MHZ: u32 = 15;
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

    /// The SM clock now in MHz: no driver tells which ceiling is set, only what comes of it.
    ///
    /// # Errors
    /// Why it could not be read.
    fn sm_clock(&self, device: &DeviceId) -> Result<u32, Refusal>;
}

/// Releases the SM clock.
///
/// # Errors
/// Why it could not be released; what could never be locked is no failure.
pub fn release_clock(lever: &(impl Lever + ?Sized), device: &DeviceId) -> Result<(), Refusal> {
    match lever.set_clock_ceiling(device, 0) {
        Err(Refusal::NotSupported | Refusal::PermissionDenied) => Ok(()),
        other => other,
    }
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
    wish: Option<Wish>,
    /// Nothing wished for is still to be done.
    idle: bool,
    closed: bool,
}

impl Default for Slot {
    fn default() -> Self {
        Self { wish: None, idle: true, closed: false }
    }
}

/// Hands wishes to one GPU's thread: the newest replaces one not yet taken.
#[derive(Debug, Default)]
pub struct Handoff {
    slot: Mutex<Slot>,
    changed: Condvar,
}

impl Handoff {
    /// Replaces what was wished for.
    pub fn wish(&self, wish: Wish) {
        let mut slot = self.slot.lock().unwrap_or_else(PoisonError::into_inner);
        slot.wish = Some(wish);
        slot.idle = false;
        self.changed.notify_all();
    }

    /// Lets the thread end after what is wished for is in force.
    pub fn close(&self) {
        self.slot.lock().unwrap_or_else(PoisonError::into_inner).closed = true;
        self.changed.notify_all();
    }

    /// Waits until what is wished for is in force or has failed. False: it took too long.
    pub fn wait_idle(&self, timeout: Duration) -> bool {
        let slot = self.slot.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.changed.wait_timeout_while(slot, timeout, |s| !s.idle);
        waited.map_or_else(|e| e.into_inner().0.idle, |(slot, _)| slot.idle)
    }

    fn take(&self, busy: bool) -> (Option<Wish>, bool) {
        let mut slot = self.slot.lock().unwrap_or_else(PoisonError::into_inner);
        slot.idle = !busy && slot.wish.is_none();
        if slot.idle {
            self.changed.notify_all();
        }
        if slot.wish.is_none() && !slot.closed {
            let wait = if busy { TICK } else { Duration::from_secs(1) };
            slot = match self.changed.wait_timeout_while(slot, wait, |s| s.wish.is_none() && !s.closed) {
                Ok((slot, _)) => slot,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
        let wish = slot.wish.take();
        slot.idle &= wish.is_none();
        (wish, slot.closed)
    }
}

/// What was last written to the GPU.
#[derive(Debug, Clone, Copy)]
struct Written {
    limit: Watts,
    clock_ceiling_mhz: u32,
    at: Instant,
    clock_at: Instant,
}

/// Serves one GPU until the hand-off is closed. `report` hears what became of each Order, once,
/// however often the same wish is repeated.
pub fn run(
    lever: &(impl Lever + ?Sized),
    device: &DeviceId,
    handoff: &Handoff,
    mut report: impl FnMut(Generation, Outcome),
) {
    let mut written: Option<Written> = None;
    let mut settling: Option<(Wish, Instant)> = None;
    let mut told: Option<Generation> = None;
    let mut complained = false;
    let mut tell = |wish: &Wish, outcome: Outcome| {
        let untold = wish.generation.filter(|g| told != Some(*g));
        if let Some(generation) = untold {
            told = untold;
            report(generation, outcome);
        }
    };
    loop {
        let (wish, closed) = handoff.take(settling.is_some());
        if let Some(wish) = wish {
            settling = match act(lever, device, wish, &mut written) {
                Ok(()) => Some((wish, Instant::now() + SETTLING)),
                Err(refusal) => {
                    if wish.generation.is_none() && !std::mem::replace(&mut complained, true) {
                        tracing::warn!(%device, why = ?refusal, "the safe share cannot be set");
                    }
                    tell(&wish, Outcome::Refused(refusal));
                    None
                }
            };
        }
        if let Some((wish, deadline)) = settling {
            let enforced = lever.enforced(device);
            let limited = enforced.as_ref().is_ok_and(|e| is_near(*e, wish.limit));
            let clock = keeps_ceiling(lever, device, wish.clock_ceiling_mhz);
            let holds = limited && clock == Ok(true);
            if holds || Instant::now() >= deadline {
                if holds {
                    complained = false;
                } else if wish.generation.is_none() && !std::mem::replace(&mut complained, true) {
                    tracing::warn!(%device, wished = %wish.limit, in_force = ?enforced, "the safe share is not in force");
                }
                tell(&wish, outcome(wish, enforced, clock));
                settling = None;
            }
        }
        if closed && settling.is_none() {
            handoff.take(false);
            return;
        }
    }
}

fn is_near(enforced: Watts, wished: Watts) -> bool {
    (enforced.get() - wished.get()).abs() <= TOLERANCE.get()
}

/// A GPU that is idle or too hot runs slower than its ceiling; it keeps it nevertheless.
fn keeps_ceiling(lever: &(impl Lever + ?Sized), device: &DeviceId, mhz: u32) -> Result<bool, Refusal> {
    if mhz == 0 {
        return Ok(true);
    }
    lever.sm_clock(device).map(|now| now <= mhz.saturating_add(CLOCK_TOLERANCE_MHZ))
}

fn outcome(wish: Wish, enforced: Result<Watts, Refusal>, clock: Result<bool, Refusal>) -> Outcome {
    let limited = |to: Watts| is_near(to, wish.limit);
    match (enforced, clock, wish.clamp) {
        (Err(refusal), ..) | (_, Err(refusal), _) => Outcome::Refused(refusal),
        (_, Ok(false), _) => Outcome::Refused(Refusal::DeviceFailed),
        (Ok(to), _, None) if limited(to) => Outcome::Applied,
        (Ok(to), _, Some(why)) if limited(to) => Outcome::Clamped { to, why },
        (Ok(to), ..) => Outcome::Clamped { to, why: Clamp::ReadBack },
    }
}

fn act(
    lever: &(impl Lever + ?Sized),
    device: &DeviceId,
    wish: Wish,
    written: &mut Option<Written>,
) -> Result<(), Refusal> {
    let before = *written;
    // Another hand may have changed it since (driver reload, a person): then write again, but
    // not for ever against a limiter that is stronger.
    let in_force = || lever.enforced(device).is_ok_and(|e| is_near(e, wish.limit));
    let stands = before.is_some_and(|w| w.limit == wish.limit && (w.at.elapsed() < RETRY || in_force()));
    if !stands {
        lever.set_limit(device, wish.limit)?;
        // Never a clock this process locked: the first wish releases what another left behind, and
        // a driver that has forgotten the limit has forgotten the clock.
        let clock_ceiling_mhz = before.filter(|w| w.limit != wish.limit).map_or(u32::MAX, |w| w.clock_ceiling_mhz);
        let at = Instant::now();
        let clock_at = before.map_or(at, |w| w.clock_at);
        *written = Some(Written { limit: wish.limit, clock_ceiling_mhz, at, clock_at });
    }
    // A GPU that was reset has forgotten its ceiling, also where the limit is the one it wakes up with.
    let forgotten = |w: &Written| {
        w.clock_at.elapsed() >= RETRY && keeps_ceiling(lever, device, wish.clock_ceiling_mhz) == Ok(false)
    };
    if let Some(w) = written.as_mut().filter(|w| w.clock_ceiling_mhz != wish.clock_ceiling_mhz || forgotten(w)) {
        match wish.clock_ceiling_mhz {
            0 => release_clock(lever, device)?,
            mhz => lever.set_clock_ceiling(device, mhz)?,
        }
        (w.clock_ceiling_mhz, w.clock_at) = (wish.clock_ceiling_mhz, Instant::now());
    }
    Ok(())
}

#[cfg(test)]
mod tests;

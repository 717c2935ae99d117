//! Event sets: who listens to which GPUs, and how far each has read in the shared ring.

use crate::arg::Handle;
use crate::code::{Code, GPU_IS_LOST, TIMEOUT};
use crate::layout::{EVENT_SLOTS, Event};
use crate::state::{Mapped, session};
use crate::sys;
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

const SETS: usize = 0x6e65_0000;
/// Handles are not reused, so that one that was freed stays wrong.
const SETS_MAX: usize = 1 << 24;
/// How long to sleep before looking whether the simulator still lives.
const NAP: Duration = Duration::from_millis(500);
/// `INFINITE` of nvml.h, in ms.
const FOR_EVER_MS: u32 = u32::MAX;

struct Listener {
    gpu: usize,
    kinds: u64,
    from: u32,
}

struct Reading {
    listeners: Vec<Listener>,
    next: u32,
}

/// What `nvmlEventSet_t` stands for.
pub struct EventSet {
    mapped: Arc<Mapped>,
    reading: Mutex<Reading>,
}

struct Sets {
    next: usize,
    open: BTreeMap<usize, Arc<EventSet>>,
}

static SETS_OPEN: Mutex<Sets> = Mutex::new(Sets { next: 1, open: BTreeMap::new() });

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A new, empty set.
pub fn create() -> Result<Handle, Code> {
    let mapped = session()?;
    let next = mapped.events.count.load(Ordering::Acquire);
    let set = EventSet { mapped, reading: Mutex::new(Reading { listeners: Vec::new(), next }) };
    let mut sets = locked(&SETS_OPEN);
    let number = sets.next;
    sets.next += 1;
    sets.open.insert(number, Arc::new(set));
    Ok(Handle::new(SETS, number))
}

/// The set behind a handle.
pub fn find(handle: Handle) -> Result<Arc<EventSet>, Code> {
    session()?;
    let number = handle.number(SETS, SETS_MAX)?;
    locked(&SETS_OPEN).open.get(&number).cloned().ok_or(crate::code::INVALID_ARGUMENT)
}

/// Forgets a set. Who waits on it goes on until its timeout.
pub fn free(handle: Handle) -> Result<(), Code> {
    find(handle)?;
    let number = handle.number(SETS, SETS_MAX)?;
    locked(&SETS_OPEN).open.remove(&number);
    Ok(())
}

impl EventSet {
    /// Listens from now on; what happened before is not told.
    pub fn register(&self, gpu: usize, kinds: u64) {
        let from = self.mapped.events.count.load(Ordering::Acquire);
        locked(&self.reading).listeners.push(Listener { gpu, kinds, from });
    }

    /// The next event, waiting up to `timeout_ms` for one. A lost GPU is told only when the time is
    /// over, so that a client that asks again at once does not spin.
    pub fn wait(&self, timeout_ms: u32) -> Result<Event, Code> {
        let start = Instant::now();
        let timeout = Duration::from_millis(u64::from(timeout_ms));
        loop {
            let seen = self.mapped.events.count.load(Ordering::Acquire);
            if let Some(event) = self.next(seen) {
                return Ok(event);
            }
            let alive = self.mapped.alive(sys::monotonic_ns());
            let left = if timeout_ms == FOR_EVER_MS { NAP } else { timeout.saturating_sub(start.elapsed()) };
            if left.is_zero() || (timeout_ms == FOR_EVER_MS && !alive) {
                return Err(if self.any_lost(alive) { GPU_IS_LOST } else { TIMEOUT });
            }
            sys::sleep_on(&self.mapped.events.count, seen, left.min(NAP));
        }
    }

    fn next(&self, seen: u32) -> Option<Event> {
        let mut reading = locked(&self.reading);
        if seen.wrapping_sub(reading.next) as usize > EVENT_SLOTS {
            reading.next = seen.wrapping_sub(EVENT_SLOTS as u32);
        }
        while reading.next != seen {
            let number = reading.next;
            reading.next = number.wrapping_add(1);
            let Some(event) = self.mapped.events.get(number) else { continue };
            let heard = |listener: &Listener| {
                let after = number.wrapping_sub(listener.from).cast_signed() >= 0;
                after && listener.gpu == event.gpu && listener.kinds & event.kind != 0
            };
            if reading.listeners.iter().any(heard) {
                return Some(event);
            }
        }
        None
    }

    fn any_lost(&self, alive: bool) -> bool {
        let lost = |gpu: usize| self.mapped.gpus[gpu].lost.load(Ordering::Acquire) != 0;
        !alive || locked(&self.reading).listeners.iter().any(|listener| lost(listener.gpu))
    }
}

//! What the physics thread and the servers share: the newest picture of the plant, faults on the
//! wire, the journal of events, and commands.

use super::nvml::Driver;
use crate::fault::{Fault, Kind, Target};
use crate::firmware::{self, Device, image::Image};
use crate::plant::Plant;
use crate::plant::event::Event;
use crate::plant::spec::PlantSpec;
use crate::plant::view::PlantView;
use serde::Serialize;
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::sync::Notify;

/// How many events are kept for `/events`.
const JOURNAL: usize = 2000;
/// How many faults may wait for the next step.
const WAITING_FAULTS: usize = 256;

/// What is wrong with one device on the wire.
#[derive(Debug, Clone, Default)]
pub struct WireFault {
    /// It repeats what it said of this.
    pub frozen: Option<Arc<PlantView>>,
    /// It reports power, current and flow times this.
    pub lying: Option<f64>,
    /// It does not answer.
    pub silent: bool,
    /// It answers with random bytes.
    pub garbage: bool,
    /// It answers with this exception.
    pub exception: Option<u8>,
    /// It answers this late.
    pub late_ms: Option<u64>,
}

/// One line of the journal.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Entry {
    /// Counts up from 1.
    pub seq: u64,
    /// Wall clock.
    pub at_ms: u64,
    /// Kind of event.
    pub kind: &'static str,
    /// One line.
    pub text: String,
}

#[derive(Debug, Default)]
struct Journal {
    last: u64,
    entries: VecDeque<Entry>,
}

/// What everyone shares.
#[derive(Debug)]
pub struct Bench {
    spec: PlantSpec,
    view: RwLock<Arc<PlantView>>,
    drivers: RwLock<Vec<Vec<Driver>>>,
    wire: RwLock<BTreeMap<Target, WireFault>>,
    journal: Mutex<Journal>,
    faults: Mutex<VecDeque<Fault>>,
    held: AtomicBool,
    stands: AtomicBool,
    stopped: AtomicBool,
    gone: AtomicBool,
    gone_bell: Notify,
}

/// A lock is only ever poisoned by a panic elsewhere; the data behind it is still whole, as every
/// change is a single assignment or push.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Bench {
    /// Around a plant that has not moved yet.
    pub fn new(plant: &Plant) -> Self {
        Self {
            spec: plant.spec().clone(),
            view: RwLock::new(Arc::new(plant.view())),
            drivers: RwLock::default(),
            wire: RwLock::default(),
            journal: Mutex::default(),
            faults: Mutex::default(),
            held: AtomicBool::new(false),
            stands: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
            gone: AtomicBool::new(false),
            gone_bell: Notify::new(),
        }
    }

    /// What the plant was built from.
    pub fn spec(&self) -> &PlantSpec {
        &self.spec
    }

    /// The newest picture.
    pub fn view(&self) -> Arc<PlantView> {
        Arc::clone(&self.view.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts up a new picture.
    pub fn show(&self, view: PlantView) {
        *self.view.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(view);
    }

    /// What the driver of a GPU knows; `None` before anything was shown.
    pub fn driver(&self, rack: usize, gpu: usize) -> Option<Driver> {
        self.drivers.read().unwrap_or_else(PoisonError::into_inner).get(rack)?.get(gpu).copied()
    }

    /// Puts up what the drivers know, by rack and GPU.
    pub fn show_drivers(&self, drivers: Vec<Vec<Driver>>) {
        *self.drivers.write().unwrap_or_else(PoisonError::into_inner) = drivers;
    }

    /// What is wrong with a device on the wire; nothing by default.
    pub fn wire_fault(&self, target: Target) -> WireFault {
        self.wire.read().unwrap_or_else(PoisonError::into_inner).get(&target).cloned().unwrap_or_default()
    }

    /// Whether a device answers with random bytes. Asked for every write, hence without a copy.
    pub fn is_garbled(&self, target: Target) -> bool {
        self.wire.read().unwrap_or_else(PoisonError::into_inner).get(&target).is_some_and(|f| f.garbage)
    }

    /// The registers a device shows now: `None` when it is dead.
    pub fn image(&self, device: Device, target: Target, fault: &WireFault) -> Option<Image> {
        match &fault.frozen {
            Some(view) => firmware::image(device, target, view, 1.0),
            None => firmware::image(device, target, &self.view(), fault.lying.unwrap_or(1.0)),
        }
    }

    /// Lets a fault act on the wire.
    pub fn act_on_wire(&self, fault: &Fault) {
        let view = self.view();
        let mut wire = self.wire.write().unwrap_or_else(PoisonError::into_inner);
        let entry = wire.entry(fault.target).or_default();
        match fault.kind {
            Kind::MeterFrozen => entry.frozen = Some(view),
            Kind::MeterLying => entry.lying = Some(fault.value.unwrap_or(0.5)),
            Kind::DeviceSilent => entry.silent = true,
            Kind::DeviceGarbage => entry.garbage = true,
            Kind::DeviceException => entry.exception = Some(fault.value.unwrap_or(4.0) as u8),
            Kind::DeviceLate => entry.late_ms = Some(fault.value.unwrap_or(1500.0) as u64),
            Kind::Clear => *entry = WireFault::default(),
            _ => {}
        }
    }

    /// Hands a fault to the physics for its next step. False when too many wait.
    pub fn submit(&self, fault: Fault) -> bool {
        let mut waiting = locked(&self.faults);
        let room = waiting.len() < WAITING_FAULTS;
        if room {
            waiting.push_back(fault);
        }
        room
    }

    /// The faults that wait.
    pub fn take_faults(&self) -> Vec<Fault> {
        locked(&self.faults).drain(..).collect()
    }

    /// Writes an event into the journal and the log.
    pub fn note(&self, event: &Event) {
        tracing::info!("{}", event.text);
        let at_ms = unix_ms();
        let mut journal = locked(&self.journal);
        journal.last += 1;
        let seq = journal.last;
        if journal.entries.len() == JOURNAL {
            journal.entries.pop_front();
        }
        journal.entries.push_back(Entry { seq, at_ms, kind: event.kind, text: event.text.clone() });
    }

    /// Events with a number above `after`, oldest first.
    pub fn events_after(&self, after: u64) -> Vec<Entry> {
        locked(&self.journal).entries.iter().filter(|e| e.seq > after).cloned().collect()
    }

    /// Holds or resumes the physics.
    pub fn hold(&self, on: bool) {
        self.held.store(on, Ordering::Release);
    }

    /// Whether the physics is held.
    pub fn is_held(&self) -> bool {
        self.held.load(Ordering::Acquire)
    }

    /// Said by the physics thread each turn: whether it has heard of the hold, so that the picture
    /// shown is the one that stays.
    pub fn set_stands(&self, on: bool) {
        self.stands.store(on, Ordering::Release);
    }

    /// Whether the physics stands still.
    pub fn stands(&self) -> bool {
        self.stands.load(Ordering::Acquire)
    }

    /// Asks the physics to end.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
    }

    /// Whether the physics was asked to end.
    pub fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }

    /// Said by the physics thread when it ends, even by a panic.
    pub fn set_physics_gone(&self) {
        self.gone.store(true, Ordering::Release);
        self.gone_bell.notify_one();
    }

    /// Whether the physics thread has ended.
    pub fn is_physics_gone(&self) -> bool {
        self.gone.load(Ordering::Acquire)
    }

    /// Waits for the end of the physics thread.
    pub async fn physics_gone(&self) {
        self.gone_bell.notified().await;
    }
}

/// Wall clock in milliseconds since 1970.
pub fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

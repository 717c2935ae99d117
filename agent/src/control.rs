//! The agent's own loop on a thread of its own: each guard period, and at once when Orders or an alarm
//! come, Orders in, guard asked, wishes to the actuator. All judgement is in the core (`failsafe`, `guard`); here are only the hands.

use crate::actuator::{Crew, Wish, Wishes};
use crate::board::Board;
use crate::config::Control;
use crate::newest::Newest;
use headroom_agent_core::failsafe::{Bounds, Effective, Failsafe};
use headroom_agent_core::guard::{GpuInput, Guard, PduInput, Verdict};
use headroom_rack::{
    Amperes, Answer, Condition, DeviceId, Generation, Mono, Order, Outcome, Receipt, Refusal, Signal, Volts, Watts,
};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// Messages that may wait; a full queue drops, the next Plan comes in a second.
const QUEUE: usize = 64;
/// Wishes are repeated this often.
const REPEAT: Duration = Duration::from_secs(1);
/// What stopping may take: settling of all boards and one slow driver call.
const STOP_WITHIN: Duration = Duration::from_secs(3);

/// What the loop does not wait for its period with.
#[derive(Debug)]
pub enum Call {
    /// One message of a controller.
    Plan {
        /// What is to be in force.
        orders: Vec<Order>,
        /// What is to be in force once something happens.
        answers: Vec<Answer>,
        /// When it arrived: leases run from there.
        arrived: Mono,
    },
    /// A reading that the guard or an answer must see.
    Alarm,
}

/// Where calls go.
pub type Inbox = SyncSender<Call>;

/// The running loop.
pub struct Running {
    changes: Changes,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
    crew: Arc<Crew>,
}

/// What the config newly says: how to act, and the meters whose breakers the guard watches.
pub type Changes = Sender<(Control, Vec<DeviceId>)>;

impl Running {
    /// Where changes of the config go while it runs. Leases in force and what the breakers have
    /// carried so far stay.
    pub fn changes(&self) -> Changes {
        self.changes.clone()
    }

    /// Sets the safe share and ends the loop.
    ///
    /// # Errors
    /// The GPUs whose driver did not answer in time.
    pub fn stop(self) -> Result<(), Vec<DeviceId>> {
        self.stop.store(true, Ordering::Relaxed);
        // The loop ends by itself; if it panicked, the safe share is systemd's to set.
        let _ = self.thread.join();
        let late = self.crew.wait_idle(STOP_WITHIN);
        if late.is_empty() { Ok(()) } else { Err(late) }
    }
}

/// Starts the loop. `pdus`: the meters whose breakers the guard watches; `newest`: where it is kept which generation
/// was obeyed last, and which one that is.
pub fn start(
    control: Control,
    pdus: Vec<DeviceId>,
    board: Arc<Board>,
    crew: Arc<Crew>,
    newest: Option<(Newest, Generation)>,
) -> std::io::Result<(Running, Inbox)> {
    let (inbox, calls) = sync_channel(QUEUE);
    let ring = inbox.clone();
    // A full queue means that the loop is about to look anyway.
    board.on_alarm(move || drop(ring.try_send(Call::Alarm)));
    let stop = Arc::new(AtomicBool::new(false));
    let (changes, changed) = channel();
    let mut keeper = Keeper {
        failsafe: Failsafe::new(control.safe_gpu, control.enabled),
        guard: control.breaker.map(Guard::new).filter(|_| control.enabled && !pdus.is_empty()),
        control,
        changed,
        pdus,
        board: board.clone(),
        crew: crew.clone(),
        wished: Wishes::new(),
        wished_at: None,
        held_by_guard: false,
        answering: Vec::new(),
        newest: None,
        told_old: false,
    };
    if let Some((newest, obeyed)) = newest {
        keeper.failsafe.remember(obeyed);
        keeper.newest = Some(newest);
    }
    keeper.tell_guarded();
    let stopping = stop.clone();
    let thread = std::thread::Builder::new().name("control".into()).spawn(move || {
        let clock = board.clock();
        let mut deadline = clock.now();
        while !stopping.load(Ordering::Relaxed) {
            keeper.tick(None, &calls);
            // Who only watches has nothing to do at once.
            let period = if keeper.control.enabled { keeper.control.guard_period } else { REPEAT };
            deadline = deadline.after(period).max(clock.now());
            loop {
                match calls.recv_timeout(deadline.since(clock.now())) {
                    Ok(call) => keeper.tick(Some(call), &calls),
                    Err(RecvTimeoutError::Timeout) => break,
                    Err(RecvTimeoutError::Disconnected) => {
                        std::thread::sleep(deadline.since(clock.now()));
                        break;
                    }
                }
                if clock.now() >= deadline {
                    break;
                }
            }
        }
        keeper.failsafe.stop();
        keeper.tick(None, &calls);
    })?;
    Ok((Running { changes, stop, thread, crew }, inbox))
}

struct Keeper {
    failsafe: Failsafe,
    guard: Option<Guard>,
    control: Control,
    changed: Receiver<(Control, Vec<DeviceId>)>,
    pdus: Vec<DeviceId>,
    board: Arc<Board>,
    crew: Arc<Crew>,
    wished: Wishes,
    wished_at: Option<Mono>,
    held_by_guard: bool,
    answering: Vec<Condition>,
    newest: Option<Newest>,
    /// People were told that something old came.
    told_old: bool,
}

impl Keeper {
    fn tick(&mut self, first: Option<Call>, calls: &Receiver<Call>) {
        let now = self.board.clock().now();
        let bounds = self.board.bounds();
        if let Some((control, pdus)) = self.changed.try_iter().last() {
            self.follow(control, pdus, now, &bounds);
        }
        let obeyed = self.failsafe.newest();
        for call in first.into_iter().chain(calls.try_iter()) {
            let Call::Plan { orders, answers, arrived } = call else { continue };
            for order in &orders {
                if let Err(refused) = self.failsafe.accept(order, &bounds, arrived) {
                    if refused.why == Refusal::OldGeneration {
                        self.tell_old(refused.generation);
                    }
                    self.tell(refused.device, refused.generation, Outcome::Refused(refused.why));
                }
            }
            // The Orders of the same message have said why, if they were refused.
            answers.iter().for_each(|answer| drop(self.failsafe.prepare(answer, &bounds, arrived)));
        }
        let newest = self.failsafe.newest();
        if let Some(keeper) = self.newest.as_ref().filter(|_| newest != obeyed) {
            keeper.keep(newest);
        }
        let board = &self.board;
        self.failsafe.look(|device, signal| board.value(device, signal), |device| board.is_overdue(device), now);
        self.tell_answering(now);
        let expired = self.failsafe.expire(now);
        if !expired.is_empty() {
            tracing::warn!(gpus = expired.len(), "the lease ran out; back to the safe share");
        }
        for (device, generation) in expired {
            self.tell(device, generation, Outcome::Expired);
        }
        let verdict = self.guard(now, &bounds);
        let lease_left = self.failsafe.lease_left(now);
        self.board.own(|own| {
            own.guard_active = !verdict.ceilings.is_empty();
            own.lease_left = lease_left;
            own.beat = Some(now);
        });
        if self.control.enabled {
            self.wish(now, &bounds, &verdict);
        }
    }

    fn follow(&mut self, control: Control, pdus: Vec<DeviceId>, now: Mono, bounds: &BTreeMap<DeviceId, Bounds>) {
        self.failsafe.reconfigure(control.safe_gpu, control.enabled);
        if self.control.enabled && !control.enabled {
            // As when it stops: what it leaves behind is the safe share.
            self.wish(now, bounds, &Verdict::default());
        }
        match (&mut self.guard, control.breaker.filter(|_| control.enabled && !pdus.is_empty())) {
            (Some(guard), Some(breaker)) => guard.rerate(breaker),
            (guard, breaker) => *guard = breaker.map(Guard::new),
        }
        (self.control, self.pdus) = (control, pdus);
        self.tell_guarded();
    }

    fn tell_guarded(&self) {
        self.board.set_guarded(self.control.breaker.filter(|_| self.guard.is_some()));
    }

    fn tell_answering(&mut self, now: Mono) {
        let answering = self.failsafe.answering(now);
        if !self.answering.iter().eq(answering.iter().copied()) {
            if answering.is_empty() {
                tracing::info!("no prepared answer is in force any more");
            } else {
                tracing::warn!(conditions = ?answering, "the controller's prepared answer is in force");
            }
            for condition in answering.iter().filter(|condition| !self.answering.contains(condition)) {
                // A meter that says so itself has told already.
                if let Condition::InletDead(pdu) = condition
                    && self.board.is_overdue(pdu)
                {
                    self.board.dead(pdu);
                }
            }
            self.answering = answering.into_iter().cloned().collect();
        }
    }

    /// Once: a controller that goes on sends one each second, and every Receipt says so.
    fn tell_old(&mut self, generation: Generation) {
        if !std::mem::replace(&mut self.told_old, true) {
            let file = self.newest.as_ref().map(|newest| newest.path().display().to_string());
            tracing::warn!(
                %generation, obeyed = %self.failsafe.newest(), file,
                "an Order older than what was obeyed is refused; if its controller is the right one, stop this agent, remove the file and start it"
            );
        }
    }

    fn tell(&self, device: DeviceId, generation: Generation, outcome: Outcome) {
        self.board.receipt(Receipt { device, generation, outcome, at: self.board.clock().wall() });
    }

    fn wish(&mut self, now: Mono, bounds: &BTreeMap<DeviceId, Bounds>, verdict: &Verdict) {
        let wishes: Wishes = bounds
            .iter()
            .map(|(device, b)| {
                let e = self.failsafe.effective(device, *b, verdict.ceilings.get(device).copied(), now);
                let Effective { limit, clock_ceiling_mhz, generation, clamp } = e;
                (device.clone(), Wish { limit, clock_ceiling_mhz, generation, clamp })
            })
            .collect();
        // Repeated, because a driver that was reloaded has forgotten the limit.
        if wishes != self.wished || self.wished_at.is_none_or(|at| now.since(at) >= REPEAT) {
            self.crew.wish(&wishes);
            self.wished = wishes;
            self.wished_at = Some(now);
        }
    }

    fn guard(&mut self, now: Mono, bounds: &BTreeMap<DeviceId, Bounds>) -> Verdict {
        let Some(guard) = &mut self.guard else { return Verdict::default() };
        let board = &self.board;
        let pdus: Vec<_> = self.pdus.iter().map(|device| pdu_input(board, device)).collect();
        let gpus: Vec<_> = bounds.iter().map(|(device, b)| gpu_input(board, device, *b)).collect();
        let verdict = guard.step(now, &pdus, &gpus);
        let holds = !verdict.ceilings.is_empty();
        if holds != self.held_by_guard {
            let pdu = verdict.worst.as_ref().map_or("", DeviceId::as_str);
            let left = verdict.seconds_left.map_or(-1.0, |s| (s * 10.0).round() / 10.0);
            if holds {
                let ceiling = verdict.ceilings.values().copied().fold(Watts::ZERO, Watts::max);
                tracing::warn!(pdu, seconds_left = left, %ceiling, "the guard holds the rack under its breaker");
            } else {
                tracing::info!("the guard lets go");
            }
            self.held_by_guard = holds;
        }
        verdict
    }
}

fn pdu_input(board: &Board, device: &DeviceId) -> PduInput {
    let read = |signal| board.value(device, signal);
    let currents = [Signal::PduCurrentL1, Signal::PduCurrentL2, Signal::PduCurrentL3];
    let phases = currents.map(read);
    let volts = [Signal::PduVoltageL1, Signal::PduVoltageL2, Signal::PduVoltageL3].map(read);
    let known: Vec<f64> = volts.iter().flatten().map(|(v, _)| *v).collect();
    let mean = known.iter().sum::<f64>() / known.len().max(1) as f64;
    PduInput {
        device: device.clone(),
        phases: currents.map(|signal| board.reads(device, signal)),
        currents: phases.map(|p| p.map(|(amperes, _)| Amperes::new(amperes))),
        volts: (!known.is_empty()).then(|| Volts::new(mean)),
        age: phases.iter().flatten().map(|(_, age)| *age).max(),
    }
}

fn gpu_input(board: &Board, device: &DeviceId, bounds: Bounds) -> GpuInput {
    let power = [Signal::GpuPowerInstant, Signal::GpuPower].into_iter().find_map(|s| board.value(device, s));
    GpuInput { device: device.clone(), power: power.map(|(w, _)| Watts::new(w)), min: bounds.min, max: bounds.max }
}

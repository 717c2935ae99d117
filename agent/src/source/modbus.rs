//! Devices on Modbus TCP or RTU: one task per bus. Which registers and when is the core's schedule;
//! what they mean is the core's `decode`. How a bus is spoken to is in `modbus/bus.rs` and `tcp.rs`.

pub mod bus;
pub mod tcp;

use crate::board::{Board, DeviceState};
use crate::config::{BusAddress, ModbusDevice};
use bus::{ModbusBus, RegisterBus, Request};
use headroom_agent_core::decode::{Registers, decode};
use headroom_agent_core::patience::Patience;
use headroom_agent_core::schedule::{Schedule, Span, Work};
use headroom_rack::{NoData, Reading, Signal};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Modbus exceptions that speak about one register rather than about the device (application
/// protocol v1.1b3, chapter 7).
const ILLEGAL_ADDRESS: u8 = 2;
const ILLEGAL_VALUE: u8 = 3;
/// What the guard watches a breaker by, what the conditions of prepared answers are seen by, and the power whose
/// rise the controller shall know at once.
const URGENT: &[Signal] = &[
    Signal::PduCurrentL1,
    Signal::PduCurrentL2,
    Signal::PduCurrentL3,
    Signal::PduVoltageL1,
    Signal::PduVoltageL2,
    Signal::PduVoltageL3,
    Signal::PduPower,
    Signal::UpsOnBattery,
];

/// The buses that are served, one task each, until this is dropped.
pub struct Buses {
    board: Arc<Board>,
    served: BTreeMap<BusAddress, Served>,
}

struct Served {
    devices: Vec<ModbusDevice>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Buses {
    /// None yet.
    pub fn new(board: Arc<Board>) -> Self {
        Self { board, served: BTreeMap::new() }
    }

    /// Serves these devices from now on. A bus whose devices are the same is left alone; another one
    /// finishes the request it is in, because two masters on one line would talk over each other.
    pub async fn follow(&mut self, devices: &[ModbusDevice]) {
        let mut wanted: BTreeMap<BusAddress, Vec<ModbusDevice>> = BTreeMap::new();
        for device in devices {
            wanted.entry(device.address.clone()).or_default().push(device.clone());
        }
        let changed: Vec<BusAddress> =
            self.served.iter().filter(|(a, s)| wanted.get(*a) != Some(&s.devices)).map(|(a, _)| a.clone()).collect();
        let ending: Vec<Served> = changed.iter().filter_map(|address| self.served.remove(address)).collect();
        ending.iter().for_each(|served| _ = served.stop.send(true));
        for Served { devices: former, task, .. } in ending {
            // A bus that panicked is over as well.
            let _ = task.await;
            former.iter().for_each(|device| self.board.retire(&device.device));
        }
        for (address, devices) in wanted {
            if self.served.contains_key(&address) {
                continue;
            }
            for device in &devices {
                let signals = device.profile.points.iter().map(|p| p.signal);
                self.board.declare(&device.device, signals, device.stale_after());
            }
            let (stop, stopped) = watch::channel(false);
            let bus = ModbusBus::new(address.clone());
            let task = bus::spawn(&address, serve(bus, devices.clone(), self.board.clone(), stopped));
            self.served.insert(address, Served { devices, stop, task });
        }
    }
}

async fn serve(
    mut bus: impl RegisterBus,
    devices: Vec<ModbusDevice>,
    board: Arc<Board>,
    mut stopped: watch::Receiver<bool>,
) {
    let clock = board.clock();
    let mut around = board.around();
    let mut scheduled: Vec<Asked> = devices
        .into_iter()
        .map(|d| {
            let s = Schedule::new(&d.profile, d.poll, clock.now());
            let s = d.guarded.map_or(s.clone(), |period| s.glancing(&d.profile, URGENT, period));
            Asked { device: d, schedule: s, polls: Patience::default(), glances: Patience::default() }
        })
        .collect();
    loop {
        let Some(next) = scheduled.iter_mut().min_by_key(|asked| asked.schedule.due()) else { return };
        // Most often several devices of a bus are due at once, and a timer costs more than a look at the clock.
        if next.schedule.due() <= clock.now() {
            if *stopped.borrow() || stopped.has_changed().is_err() {
                return;
            }
        } else {
            tokio::select! {
                () = tokio::time::sleep_until(clock.instant(next.schedule.due()).into()) => {}
                Ok(()) = around.changed() => {
                    scheduled.iter_mut().for_each(|asked| asked.schedule.hurry(clock.now()));
                    continue;
                }
                _ = stopped.wait_for(|stop| *stop) => return,
            }
        }
        let Asked { device, schedule, polls, glances } = next;
        let was_dormant = schedule.is_dormant();
        let began = Instant::now();
        let outcome = match schedule.begin(clock.now()) {
            Work::Poll(spans) => {
                let work = poll(&mut bus, device, Some(&mut *schedule), spans, &board);
                let outcome = patiently(work, polls, device, &board).await;
                if outcome.answered && outcome.clean {
                    polls.answered(began.elapsed());
                }
                outcome
            }
            Work::Probe(span) => probe(&mut bus, device, span, &board).await,
            Work::Glance(spans) => {
                let answered = patiently(glance(&mut bus, device, spans, &board), glances, device, &board).await;
                if answered {
                    glances.answered(began.elapsed());
                }
                schedule.glanced(answered);
                continue;
            }
        };
        schedule.end(outcome.answered, outcome.clean, clock.now());
        let state = DeviceState { up: outcome.answered, poll_seconds: began.elapsed().as_secs_f64() };
        board.polled(&device.device, state);
        match (was_dormant, schedule.is_dormant()) {
            (false, true) => {
                let reason = outcome.reason.unwrap_or(NoData::Timeout);
                tracing::warn!(device = %device.device, address = %device.address, %reason, "does not answer; asking less often");
            }
            (true, false) => tracing::info!(device = %device.device, "answers"),
            (true, true) if outcome.reason == Some(NoData::Malformed) && !device.profile.probe.expect.is_empty() => {
                let expect = &device.profile.probe.expect;
                tracing::debug!(device = %device.device, profile = device.profile.name, ?expect, "is not what the profile expects");
            }
            _ => {}
        }
    }
}

struct Asked {
    device: ModbusDevice,
    schedule: Schedule,
    polls: Patience,
    glances: Patience,
}

/// Does the work, and says meanwhile when the device takes longer than it did of late, where a guard wants to know.
async fn patiently<T>(work: impl Future<Output = T>, patience: &Patience, device: &ModbusDevice, board: &Board) -> T {
    let mut work = std::pin::pin!(work);
    if let Some(most) = patience.most().filter(|_| device.guarded.is_some()) {
        match tokio::time::timeout(most, &mut work).await {
            Ok(done) => return done,
            Err(_) => board.wait_for(&device.device),
        }
    }
    work.await
}

#[derive(Debug, Default)]
struct Outcome {
    answered: bool,
    clean: bool,
    reason: Option<NoData>,
}

/// Reads a device once, outside any schedule: for the `probe` command.
pub async fn read_once(bus: &mut impl RegisterBus, device: &ModbusDevice, board: &Board) -> bool {
    let mut schedule = Schedule::new(&device.profile, device.poll, board.clock().now());
    let mut work = schedule.begin(board.clock().now());
    if let Work::Probe(span) = work {
        let outcome = probe(bus, device, span, board).await;
        schedule.end(outcome.answered, outcome.clean, board.clock().now());
        work = schedule.begin(board.clock().now());
    }
    let Work::Poll(spans) = work else { return false };
    poll(bus, device, Some(&mut schedule), spans, board).await.answered
}

async fn poll(
    bus: &mut impl RegisterBus,
    device: &ModbusDevice,
    mut schedule: Option<&mut Schedule>,
    spans: Vec<Span>,
    board: &Board,
) -> Outcome {
    let mut registers = Registers::new();
    let mut outcome = Outcome { clean: true, ..Outcome::default() };
    let mut queue = VecDeque::from(spans);
    let mut silent = None;
    let mut words = Vec::new();
    while let Some(span) = queue.pop_front() {
        let failed = match silent {
            Some(reason) => reason,
            None => match bus.read_into(request(device, span), &mut words).await {
                Ok(()) => {
                    outcome.answered = true;
                    registers.answer(span.register, span.address, span.count, &words);
                    words.clear();
                    pause(device).await;
                    continue;
                }
                Err(NoData::Exception(code @ (ILLEGAL_ADDRESS | ILLEGAL_VALUE))) => {
                    outcome.answered = true;
                    pause(device).await;
                    if let Some(halves) = schedule.as_mut().and_then(|s| s.split(span)) {
                        halves.into_iter().rev().for_each(|half| queue.push_front(half));
                        continue;
                    }
                    NoData::Exception(code)
                }
                Err(reason) => reason,
            },
        };
        match failed {
            // Nobody there: the other requests of this poll would only wait as long again.
            NoData::Timeout | NoData::Disconnected => silent = Some(failed),
            NoData::Exception(_) => outcome.answered = true,
            _ => {}
        }
        outcome.clean = false;
        outcome.reason = Some(failed);
        registers.fail(span.register, span.address, span.count, failed);
    }
    let at = board.clock().wall();
    board.put(&device.device, device.profile.points.iter().map(|p| (p.signal, decode(p, &registers, at))));
    outcome
}

/// Reads what cannot wait. What fails here is left to the next poll: a value only grows older.
async fn glance(bus: &mut impl RegisterBus, device: &ModbusDevice, spans: Vec<Span>, board: &Board) -> bool {
    let mut registers = Registers::new();
    for span in spans {
        match bus.read(request(device, span)).await {
            Ok(words) => registers.answer(span.register, span.address, span.count, &words),
            Err(NoData::Exception(code)) => {
                registers.fail(span.register, span.address, span.count, NoData::Exception(code));
            }
            Err(_) => return false,
        }
        pause(device).await;
    }
    let at = board.clock().wall();
    let guarded = device.profile.points.iter().filter(|p| URGENT.contains(&p.signal));
    let read = guarded.map(|p| (p.signal, decode(p, &registers, at))).filter(|(_, reading)| reading.value.is_ok());
    board.put(&device.device, read);
    true
}

async fn probe(bus: &mut impl RegisterBus, device: &ModbusDevice, span: Span, board: &Board) -> Outcome {
    let expect = &device.profile.probe.expect;
    let reason = match bus.read(request(device, span)).await {
        Ok(words) if expect.is_empty() || words == *expect => None,
        Err(NoData::Exception(_)) if expect.is_empty() => None,
        // Something else has its place: its registers would be numbers without meaning.
        Ok(_) => Some(NoData::Malformed),
        Err(reason) => Some(reason),
    };
    pause(device).await;
    if let Some(reason) = reason {
        let none = Reading::none(reason, board.clock().wall());
        let signals: Vec<Signal> = device.profile.points.iter().map(|p| p.signal).collect();
        board.put(&device.device, signals.into_iter().map(|s| (s, none)));
    }
    Outcome { answered: reason.is_none(), clean: reason.is_none(), reason }
}

fn request(device: &ModbusDevice, span: Span) -> Request {
    let startup = std::time::Duration::from_millis(device.profile.link.startup_ms);
    Request { unit: device.unit, span, timeout: device.timeout, startup }
}

async fn pause(device: &ModbusDevice) {
    let gap = std::time::Duration::from_millis(device.profile.link.gap_ms);
    if !gap.is_zero() {
        tokio::time::sleep(gap).await;
    }
}

#[cfg(test)]
mod tests;

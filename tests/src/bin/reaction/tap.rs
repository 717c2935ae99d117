//! A wire between an agent and a meter (Modbus TCP, the profile `eastron-sdm630`) that notes when an answer with an
//! overload first passed on to the agent.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Instant;

/// Input register of the current of phase 1 (float, two registers; phases 2 and 3 follow).
const CURRENTS: u16 = 6;
const PHASES: u16 = 3;
const READ_INPUT_REGISTERS: u8 = 4;
/// Transaction, protocol, length; then unit and function.
const HEAD: usize = 6;

/// The wire.
pub struct Tap {
    /// Where the agent finds the meter.
    pub address: String,
    first: Arc<Mutex<Option<Instant>>>,
}

impl Tap {
    /// A wire to the meter at this address; an overload is a phase above `amperes`.
    pub fn to(meter: &str, amperes: f32) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let (meter, first) = (meter.to_owned(), Arc::new(Mutex::new(None)));
        let noted = Arc::clone(&first);
        std::thread::spawn(move || {
            for agent in listener.incoming().flatten() {
                let (meter, noted) = (meter.clone(), Arc::clone(&noted));
                std::thread::spawn(move || carry(agent, &meter, amperes, &noted));
            }
        });
        Self { address, first }
    }

    /// When the agent was first told of an overload.
    pub fn first(&self) -> Option<Instant> {
        *self.first.lock().expect("nobody panics with it")
    }
}

/// One request and its answer after the other, until an end hangs up.
fn carry(mut agent: TcpStream, meter: &str, amperes: f32, first: &Mutex<Option<Instant>>) -> Option<()> {
    let mut meter = TcpStream::connect(meter).ok()?;
    agent.set_nodelay(true).ok()?;
    meter.set_nodelay(true).ok()?;
    loop {
        let request = frame(&mut agent)?;
        meter.write_all(&request).ok()?;
        let answer = frame(&mut meter)?;
        if most(&request, &answer).is_some_and(|most| most > amperes) {
            first.lock().expect("nobody panics with it").get_or_insert_with(Instant::now);
        }
        agent.write_all(&answer).ok()?;
    }
}

fn frame(from: &mut TcpStream) -> Option<Vec<u8>> {
    let mut frame = vec![0; HEAD];
    from.read_exact(&mut frame).ok()?;
    let length = usize::from(u16::from_be_bytes([frame[4], frame[5]]));
    frame.resize(HEAD + length, 0);
    from.read_exact(&mut frame[HEAD..]).ok()?;
    Some(frame)
}

/// The fullest phase, if the answer tells of phases.
fn most(request: &[u8], answer: &[u8]) -> Option<f32> {
    let word = |at: usize| Some(u16::from_be_bytes([*request.get(at)?, *request.get(at + 1)?]));
    let (address, count) = (word(HEAD + 2)?, word(HEAD + 4)?);
    let asked = *request.get(HEAD + 1)? == READ_INPUT_REGISTERS && *answer.get(HEAD + 1)? == READ_INPUT_REGISTERS;
    let last = CURRENTS + 2 * PHASES;
    if !asked || address > CURRENTS || address + count < last {
        return None;
    }
    let phase = |n: u16| {
        let at = HEAD + 3 + 2 * usize::from(CURRENTS + 2 * n - address);
        Some(f32::from_be_bytes(answer.get(at..at + 4)?.try_into().ok()?))
    };
    (0..PHASES).filter_map(phase).reduce(f32::max)
}

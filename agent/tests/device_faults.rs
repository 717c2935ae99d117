//! Devices that answer exceptions, garbage, late or not at all, over real sockets. Each must end
//! as a reason of its own and leave every other device alone.

#[path = "played/meter.rs"]
mod meter;

use headroom_agent::board::Board;
use headroom_agent::clock::Clock;
use headroom_agent::config::ModbusDevice;
use headroom_agent::profiles;
use headroom_agent::source::modbus;
use headroom_rack::{DeviceId, NoData, RackId, Signal};
use meter::{meter, registers};
use std::future::{Future, ready};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

const PATIENCE: Duration = Duration::from_secs(10);

/// A device of raw bytes: each request goes to `answer`, which may write whatever it likes.
async fn raw<F>(answer: impl Fn(Vec<u8>) -> F + Clone + Send + 'static) -> SocketAddr
where
    F: Future<Output = Vec<u8>> + Send,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let answer = answer.clone();
            tokio::spawn(async move {
                let mut buffer = [0; 256];
                while let Ok(n @ 1..) = stream.read(&mut buffer).await {
                    let bytes = answer(buffer[..n].to_vec()).await;
                    if stream.write_all(&bytes).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    address
}

/// The right answer to a request, as bytes on the wire.
fn right_answer(request: &[u8]) -> Vec<u8> {
    let word = |at: usize| u16::from_be_bytes([request[at], request[at + 1]]);
    let words = registers(word(8), word(10));
    let bytes = u8::try_from(words.len() * 2).expect("a request is short");
    let mut answer = request[..4].to_vec();
    answer.extend((u16::from(bytes) + 3).to_be_bytes());
    answer.extend([request[6], request[7], bytes]);
    answer.extend(words.iter().flat_map(|w| w.to_be_bytes()));
    answer
}

fn device(name: &str, address: SocketAddr) -> ModbusDevice {
    ModbusDevice {
        device: DeviceId::new(name).expect("valid"),
        profile: profiles::load(None).expect("shipped profiles are right")["eastron-sdm630"].clone(),
        address: headroom_agent::config::BusAddress::Tcp(address.to_string()),
        unit: 1,
        poll: Duration::from_millis(60),
        timeout: Duration::from_millis(150),
        guarded: None,
    }
}

async fn start(devices: &[ModbusDevice]) -> Arc<Board> {
    let board = Arc::new(Board::new(RackId::new("rack-1").expect("valid"), Clock::start()));
    let mut buses = modbus::Buses::new(board.clone());
    buses.follow(devices).await;
    // Served until the test ends.
    tokio::spawn(async move {
        std::future::pending::<()>().await;
        drop(buses)
    });
    board
}

fn value(board: &Board, device: &ModbusDevice, signal: Signal) -> Result<f64, NoData> {
    board.snapshot().reading(&device.device, signal).value
}

async fn until(what: &str, condition: impl Fn() -> bool) {
    let waited = tokio::time::timeout(PATIENCE, async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    waited.await.unwrap_or_else(|_| panic!("waited in vain until {what}"));
}

const BOTH: [Signal; 2] = [Signal::PduPower, Signal::PduVoltageL1];

#[tokio::test(flavor = "multi_thread")]
async fn a_healthy_meter_is_read_right() {
    let device = device("pdu-a", meter(None).await.0);
    let board = start(std::slice::from_ref(&device)).await;
    until("it is read", || value(&board, &device, Signal::PduPower) == Ok(152.0)).await;
    assert_eq!(value(&board, &device, Signal::PduVoltageL1), Ok(100.0));
    assert_eq!(value(&board, &device, Signal::PduFrequency), Ok(50.0));
    assert_eq!(value(&board, &device, Signal::PduPowerFactor), Err(NoData::OutOfRange));
    assert_eq!(value(&board, &device, Signal::PduEnergy), Ok(172.0 * 3.6e6));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_register_the_device_lacks_costs_its_neighbours_nothing() {
    let device = device("pdu-a", meter(Some(4)).await.0);
    let board = start(std::slice::from_ref(&device)).await;
    until("its voltage is an exception", || value(&board, &device, Signal::PduVoltageL3) == Err(NoData::Exception(2)))
        .await;
    for (signal, right) in [(Signal::PduVoltageL2, 102.0), (Signal::PduCurrentL1, 106.0), (Signal::PduPower, 152.0)] {
        assert_eq!(value(&board, &device, signal), Ok(right), "{signal}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_is_a_reason_and_never_a_number() {
    let address = raw(|_| ready(b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec())).await;
    let device = device("pdu-a", address);
    let board = start(std::slice::from_ref(&device)).await;
    until("garbage shows", || value(&board, &device, BOTH[0]) != Err(NoData::NotYetRead)).await;
    for signal in BOTH {
        let reason = value(&board, &device, signal).expect_err("garbage is no value");
        assert!(matches!(reason, NoData::Malformed | NoData::Timeout | NoData::Disconnected), "{reason}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_of_another_length_is_malformed() {
    let short = |request: Vec<u8>| {
        let mut answer = right_answer(&request);
        let bytes = answer[8] - 2;
        answer.truncate(answer.len() - 2);
        answer[8] = bytes;
        answer[4..6].copy_from_slice(&(u16::from(bytes) + 3).to_be_bytes());
        ready(answer)
    };
    let device = device("pdu-a", raw(short).await);
    let board = start(std::slice::from_ref(&device)).await;
    until("it is malformed", || value(&board, &device, Signal::PduPower) == Err(NoData::Malformed)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_answer_is_never_taken_for_the_next_one() {
    let count = Arc::new(AtomicU64::new(0));
    let sometimes_late = move |request: Vec<u8>| {
        let late = count.fetch_add(1, Ordering::Relaxed).is_multiple_of(4);
        async move {
            if late {
                tokio::time::sleep(Duration::from_millis(220)).await;
            }
            right_answer(&request)
        }
    };
    let device = device("pdu-a", raw(sometimes_late).await);
    let board = start(std::slice::from_ref(&device)).await;
    let (mut good, mut late) = (0, 0);
    let until = tokio::time::Instant::now() + PATIENCE;
    while (good < 20 || late < 5) && tokio::time::Instant::now() < until {
        for (signal, right) in [(Signal::PduPower, 152.0), (Signal::PduVoltageL1, 100.0), (Signal::PduFrequency, 50.0)]
        {
            match value(&board, &device, signal) {
                Ok(value) => {
                    assert_eq!(value, right, "{signal} took an answer that was not its own");
                    good += 1;
                }
                Err(NoData::Timeout) => late += 1,
                Err(_) => {}
            }
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(good >= 20 && late >= 5, "good {good}, late {late}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_dead_device_does_not_delay_another() {
    let silent = raw(|_| std::future::pending::<Vec<u8>>()).await;
    let closed = {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        listener.local_addr().expect("bound")
    };
    let (healthy, reads) = meter(None).await;
    let devices = [device("silent", silent), device("closed", closed), device("healthy", healthy)];
    let board = start(&devices).await;
    until("the dead ones have their reasons", || {
        value(&board, &devices[0], Signal::PduPower) == Err(NoData::Timeout)
            && value(&board, &devices[1], Signal::PduPower) == Err(NoData::Disconnected)
            && value(&board, &devices[2], Signal::PduPower) == Ok(152.0)
    })
    .await;
    // Ten polls of five requests each, while the others time out: at 60 ms a poll they fit into
    // the time that the silent one needs for a few time-outs.
    let (before, began) = (reads.load(Ordering::Relaxed), std::time::Instant::now());
    until("the healthy one was polled ten times more", || reads.load(Ordering::Relaxed) >= before + 50).await;
    assert!(began.elapsed() < Duration::from_secs(4), "it took {:?}", began.elapsed());
    assert_eq!(value(&board, &devices[2], Signal::PduPower), Ok(152.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_comes_back_is_read_again() {
    let quiet = Arc::new(AtomicU64::new(1));
    let switch = quiet.clone();
    let answer = move |request: Vec<u8>| {
        let quiet = switch.load(Ordering::Relaxed) == 1;
        async move { if quiet { Vec::new() } else { right_answer(&request) } }
    };
    let device = device("pdu-a", raw(answer).await);
    let board = start(std::slice::from_ref(&device)).await;
    until("it is silent", || value(&board, &device, Signal::PduPower) == Err(NoData::Timeout)).await;
    quiet.store(0, Ordering::Relaxed);
    until("it is back", || value(&board, &device, Signal::PduPower) == Ok(152.0)).await;
}

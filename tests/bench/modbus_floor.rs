//! The floor of tests/bench/agent-vs-collectd: 200 registers a second, one request each on one Modbus TCP connection, one `write` and one
//! `read` per request and nothing else. No program that may not ask twice before the first answer can need fewer system calls.
//! Built by that command with `rustc`, outside the workspace: it belongs to no crate.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

fn main() -> std::io::Result<()> {
    let address = std::env::args().nth(1).expect("usage: modbus_floor HOST:PORT");
    let mut device = TcpStream::connect(address)?;
    device.set_nodelay(true)?;
    let mut deadline = Instant::now();
    loop {
        for request in 0..200_u8 {
            let (unit, register) = (1 + request / 10, request % 10);
            // Transaction, protocol 0, length 6, unit, function 3, register, one of them.
            device.write_all(&[0, request, 0, 0, 0, 6, unit, 3, 0, register, 0, 1])?;
            let mut reply = [0; 11];
            device.read_exact(&mut reply)?;
            assert_eq!((reply[1], reply[6], reply[7]), (request, unit, 3), "not the answer to this request");
        }
        deadline += Duration::from_secs(1);
        std::thread::sleep(deadline.saturating_duration_since(Instant::now()));
    }
}

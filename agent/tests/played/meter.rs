//! A meter on Modbus TCP, served by tokio-modbus.
#![allow(dead_code, reason = "each test program uses its part")]

use std::future::{Ready, ready};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::net::TcpListener;
use tokio_modbus::server::Service;
use tokio_modbus::server::tcp::{Server, accept_tcp_connection};
use tokio_modbus::{ExceptionCode, Request, Response};

/// A three phase meter: register pair `2n` holds `100 + 2n` as f32. Refuses to read `missing`.
#[derive(Clone)]
struct Meter {
    missing: Option<u16>,
    reads: Arc<AtomicU64>,
}

/// What an SDM630 of these tests holds.
pub fn registers(address: u16, count: u16) -> Vec<u16> {
    (address..address + count)
        .map(|a| {
            let bits = f32::from(if a - a % 2 == 70 { 50 } else { 100 + a - a % 2 }).to_bits();
            if a % 2 == 0 { (bits >> 16) as u16 } else { bits as u16 }
        })
        .collect()
}

impl Service for Meter {
    type Request = Request<'static>;
    type Response = Response;
    type Exception = ExceptionCode;
    type Future = Ready<Result<Response, ExceptionCode>>;

    fn call(&self, request: Self::Request) -> Self::Future {
        self.reads.fetch_add(1, Ordering::Relaxed);
        ready(match request {
            Request::ReadInputRegisters(a, n) if self.missing.is_some_and(|m| (a..a + n).contains(&m)) => {
                Err(ExceptionCode::IllegalDataAddress)
            }
            Request::ReadInputRegisters(a, n) => Ok(Response::ReadInputRegisters(registers(a, n))),
            _ => Err(ExceptionCode::IllegalFunction),
        })
    }
}

/// Starts one. The count is of requests.
pub async fn meter(missing: Option<u16>) -> (SocketAddr, Arc<AtomicU64>) {
    let (address, reads, _) = counting(missing).await;
    (address, reads)
}

/// Starts one; counts requests and connections.
pub async fn counting(missing: Option<u16>) -> (SocketAddr, Arc<AtomicU64>, Arc<AtomicU64>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    let reads = Arc::new(AtomicU64::new(0));
    let connections = Arc::new(AtomicU64::new(0));
    let (meter, seen) = (Meter { missing, reads: reads.clone() }, connections.clone());
    tokio::spawn(async move {
        let new_service = |_| Ok(Some(meter.clone()));
        let on_connected = |stream, peer| {
            seen.fetch_add(1, Ordering::Relaxed);
            let accepted = accept_tcp_connection(stream, peer, new_service);
            async move { accepted }
        };
        Server::new(listener).serve(&on_connected, |_| {}).await
    });
    (address, reads, connections)
}

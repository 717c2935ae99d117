//! A Modbus TCP server in front of one device, with its faults on the wire.

use super::bench::Bench;
use super::noisy::Noisy;
use crate::fault::Target;
use crate::firmware::Device;
use crate::firmware::image::Refusal;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio_modbus::server::Service;
use tokio_modbus::server::tcp::Server;
use tokio_modbus::{ExceptionCode, Request, Response, SlaveRequest};

/// Serves one device until the task is dropped.
pub async fn serve(listener: TcpListener, bench: Arc<Bench>, device: Device, target: Target) {
    let answerer = Arc::new(Answerer { bench: Arc::clone(&bench), device, target });
    // `Err` from this hook would end the whole server (seen in tokio-modbus 0.17): it never fails.
    let on_connected = |stream: TcpStream, _| {
        let (answerer, bench) = (Arc::clone(&answerer), Arc::clone(&bench));
        async move {
            let _ = stream.set_nodelay(true);
            Ok(Some((answerer, Noisy::new(stream, bench, target))))
        }
    };
    let on_error = move |error| tracing::debug!(?target, %error, "a Modbus connection ended");
    let server = Server::new(listener);
    loop {
        // `accept` fails when file descriptors run out; the server goes on when some are free.
        if let Err(error) = server.serve(&on_connected, on_error).await {
            tracing::warn!(?target, %error, "a Modbus server paused");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}

struct Answerer {
    bench: Arc<Bench>,
    device: Device,
    target: Target,
}

impl Service for Answerer {
    type Request = SlaveRequest<'static>;
    type Response = Option<Response>;
    type Exception = ExceptionCode;
    type Future = Pin<Box<dyn Future<Output = Result<Option<Response>, ExceptionCode>> + Send>>;

    fn call(&self, request: SlaveRequest<'static>) -> Self::Future {
        let (bench, device, target) = (Arc::clone(&self.bench), self.device, self.target);
        Box::pin(async move { answer(&bench, device, target, request).await })
    }
}

async fn answer(
    bench: &Bench,
    device: Device,
    target: Target,
    SlaveRequest { slave, request }: SlaveRequest<'static>,
) -> Result<Option<Response>, ExceptionCode> {
    let fault = bench.wire_fault(target);
    if fault.silent {
        return Ok(None);
    }
    if let Some(late_ms) = fault.late_ms {
        tokio::time::sleep(Duration::from_millis(late_ms)).await;
    }
    if let Some(code) = fault.exception {
        return Err(ExceptionCode::new(code));
    }
    if slave != device.unit() {
        return Err(ExceptionCode::GatewayTargetDevice);
    }
    let Some(image) = bench.image(target, &fault) else { return Ok(None) };
    let read = |function, address, count| {
        device.read(&image, function, address, count).map_err(|refusal| match refusal {
            Refusal::Function => ExceptionCode::IllegalFunction,
            Refusal::Address => ExceptionCode::IllegalDataAddress,
            Refusal::Value => ExceptionCode::IllegalDataValue,
        })
    };
    match request {
        Request::ReadInputRegisters(address, count) => {
            read(4, address, count).map(|words| Some(Response::ReadInputRegisters(words)))
        }
        Request::ReadHoldingRegisters(address, count) => {
            read(3, address, count).map(|words| Some(Response::ReadHoldingRegisters(words)))
        }
        _ => Err(ExceptionCode::IllegalFunction),
    }
}

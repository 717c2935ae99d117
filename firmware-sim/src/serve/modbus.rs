//! A Modbus TCP server in front of one device, with its faults on the wire; `serial` has the same answers
//! for a serial line.

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
use tokio_modbus::prelude::{ConformityLevel, DeviceIdObject, ReadCode, ReadDeviceIdentificationResponse};
use tokio_modbus::server::Service;
use tokio_modbus::server::tcp::Server;
use tokio_modbus::{ExceptionCode, Request, Response, SlaveRequest};

/// Serves one device until the task is dropped.
pub async fn serve(listener: TcpListener, bench: Arc<Bench>, device: Device, target: Target) {
    let answerer = Arc::new(Answerer { bench: Arc::clone(&bench), device, target, shared: false });
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

/// Answers requests as one device does.
pub struct Answerer {
    /// What it shows.
    pub bench: Arc<Bench>,
    /// Its make.
    pub device: Device,
    /// Where it stands.
    pub target: Target,
    /// On a line shared with others a request to another unit is theirs to answer. On TCP it came to the
    /// wrong gateway.
    pub shared: bool,
}

impl Service for Answerer {
    type Request = SlaveRequest<'static>;
    type Response = Option<Response>;
    type Exception = ExceptionCode;
    type Future = Pin<Box<dyn Future<Output = Result<Option<Response>, ExceptionCode>> + Send>>;

    fn call(&self, request: SlaveRequest<'static>) -> Self::Future {
        let (bench, device, target, shared) = (Arc::clone(&self.bench), self.device, self.target, self.shared);
        Box::pin(async move {
            if request.slave != device.unit() {
                return if shared { Ok(None) } else { Err(ExceptionCode::GatewayTargetDevice) };
            }
            answer(&bench, device, target, request.request).await
        })
    }
}

async fn answer(
    bench: &Bench,
    device: Device,
    target: Target,
    request: Request<'static>,
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
    let Some(image) = bench.image(device, target, &fault) else { return Ok(None) };
    let read = |function, address, count| device.read(&image, function, address, count).map_err(exception);
    let response = match request {
        Request::ReadInputRegisters(address, count) => Response::ReadInputRegisters(read(4, address, count)?),
        Request::ReadHoldingRegisters(address, count) => Response::ReadHoldingRegisters(read(3, address, count)?),
        Request::ReadDeviceIdentification(read_code, object) => identification(device, read_code, object)?,
        _ => return Err(ExceptionCode::IllegalFunction),
    };
    Ok(Some(response))
}

fn exception(refusal: Refusal) -> ExceptionCode {
    match refusal {
        Refusal::Function => ExceptionCode::IllegalFunction,
        Refusal::Address => ExceptionCode::IllegalDataAddress,
        Refusal::Value => ExceptionCode::IllegalDataValue,
    }
}

fn identification(device: Device, read_code: ReadCode, object: u8) -> Result<Response, ExceptionCode> {
    let objects = device.identify(object).map_err(exception)?;
    let device_id_objects = objects.into_iter().map(|(id, value)| DeviceIdObject { id, value: value.into() }).collect();
    Ok(Response::ReadDeviceIdentification(ReadDeviceIdentificationResponse {
        read_code,
        conformity_level: ConformityLevel::ExtendedIdentificationStreamOnly,
        more_follows: false,
        next_object_id: 0,
        device_id_objects,
    }))
}

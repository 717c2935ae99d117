//! A Modbus RTU server in front of one device on a serial line, beside its TCP server. Only the garbage
//! fault differs: the library frames what is sent, so noise arrives with a right checksum.

use super::bench::Bench;
use super::modbus::Answerer;
use crate::fault::Target;
use crate::firmware::Device;
use crate::plant::chance::Chance;
use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio_modbus::server::Service;
use tokio_modbus::server::rtu::Server;
use tokio_modbus::{ExceptionCode, Response, SlaveRequest};
use tokio_serial::{Parity, SerialPortBuilderExt, SerialStream, StopBits};

/// Opens a line with the settings the device leaves the factory with.
///
/// # Errors
/// When it is not there, not a serial line, or taken.
pub fn open(path: &Path, device: Device) -> io::Result<SerialStream> {
    let settings = device.line();
    let parity = if settings.even { Parity::Even } else { Parity::None };
    let line = tokio_serial::new(path.to_string_lossy(), settings.baud).parity(parity).stop_bits(StopBits::One);
    Ok(line.open_native_async()?)
}

/// Serves one device until the task is dropped; opens the line again when it breaks.
pub async fn serve(mut line: SerialStream, path: PathBuf, bench: Arc<Bench>, device: Device, target: Target) {
    loop {
        let answerer = Answerer { bench: Arc::clone(&bench), device, target, shared: true };
        let noise = Mutex::new(Chance::new(bench.spec().seed, &format!("line noise/{target:?}")));
        let ended = Server::new(line).serve_forever(Arc::new(Line { answerer, noise })).await;
        // Twenty bytes in a row that begin no frame end the server too.
        tracing::debug!(?target, path = %path.display(), ?ended, "a serial line begins anew");
        line = loop {
            match open(&path, device) {
                Ok(line) => break line,
                Err(error) => {
                    tracing::warn!(?target, path = %path.display(), %error, "a serial line is gone");
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            }
        };
    }
}

struct Line {
    answerer: Answerer,
    noise: Mutex<Chance>,
}

impl Service for Line {
    type Request = SlaveRequest<'static>;
    type Response = Option<Response>;
    type Exception = ExceptionCode;
    type Future = Pin<Box<dyn Future<Output = Result<Option<Response>, ExceptionCode>> + Send>>;

    fn call(&self, request: SlaveRequest<'static>) -> Self::Future {
        let Answerer { bench, device, target, .. } = &self.answerer;
        if request.slave == device.unit() && bench.is_garbled(*target) {
            let mut noise = self.noise.lock().unwrap_or_else(PoisonError::into_inner);
            let mut byte = || (noise.bits() & 0xff) as u8;
            let (function, bytes) = (byte(), (0..8).map(|_| byte()).collect::<Vec<u8>>());
            return Box::pin(async move { Ok(Some(Response::Custom(function, bytes.into()))) });
        }
        self.answerer.call(request)
    }
}

//! One Modbus connection behind a trait of our own, so that the library can be replaced. A
//! connection that timed out or answered nonsense is closed: a late answer must never be taken
//! for the next one.

use headroom_agent_core::profile::RegisterKind;
use headroom_agent_core::schedule::Span;
use headroom_rack::NoData;
use std::future::Future;
use std::time::Duration;
use tokio_modbus::client::{Client, Context, tcp};
use tokio_modbus::slave::{Slave, SlaveContext};
use tokio_modbus::{Error, Request as Pdu, Response};

/// One read of registers.
#[derive(Debug, Clone, Copy)]
pub struct Request {
    /// Modbus unit id.
    pub unit: u8,
    /// Which registers.
    pub span: Span,
    /// For connecting and for the answer, each.
    pub timeout: Duration,
}

/// Something that can read registers. Writing is not in it, on purpose.
pub trait RegisterBus: Send {
    /// Reads registers. Never takes longer than twice the request's time-out.
    ///
    /// # Errors
    /// The reason why there are none.
    fn read(&mut self, request: Request) -> impl Future<Output = Result<Vec<u16>, NoData>> + Send;
}

/// Modbus TCP.
pub struct TcpBus {
    address: String,
    context: Option<Context>,
}

impl TcpBus {
    /// A bus at `host:port`; connects with the first request.
    pub fn new(address: String) -> Self {
        Self { address, context: None }
    }

    async fn connect(&mut self, timeout: Duration) -> Result<Context, NoData> {
        let connecting = tokio::net::TcpStream::connect(&self.address);
        let stream = tokio::time::timeout(timeout, connecting).await;
        let stream = stream.map_err(|_| NoData::Disconnected)?.map_err(|_| NoData::Disconnected)?;
        // Requests are small and each waits for its answer.
        let _ = stream.set_nodelay(true);
        Ok(tcp::attach(stream))
    }

    async fn try_read(&mut self, request: Request) -> Result<Vec<u16>, NoData> {
        let mut context = match self.context.take() {
            Some(context) => context,
            None => self.connect(request.timeout).await?,
        };
        context.set_slave(Slave(request.unit));
        let Span { register, address, count } = request.span;
        let pdu = match register {
            RegisterKind::Input => Pdu::ReadInputRegisters(address, count),
            RegisterKind::Holding => Pdu::ReadHoldingRegisters(address, count),
        };
        // The context is put back only after an answer that fits: in all other cases it is
        // dropped here, and with it the connection.
        match tokio::time::timeout(request.timeout, context.call(pdu)).await {
            Err(_) => Err(NoData::Timeout),
            Ok(Err(error)) => Err(reason(&error)),
            Ok(Ok(Err(exception))) => {
                self.context = Some(context);
                Err(NoData::Exception(exception.into()))
            }
            Ok(Ok(Ok(Response::ReadInputRegisters(words) | Response::ReadHoldingRegisters(words)))) => {
                if words.len() != usize::from(count) {
                    return Err(NoData::Malformed);
                }
                self.context = Some(context);
                Ok(words)
            }
            Ok(Ok(Ok(_))) => Err(NoData::Malformed),
        }
    }
}

impl RegisterBus for TcpBus {
    async fn read(&mut self, request: Request) -> Result<Vec<u16>, NoData> {
        let reused = self.context.is_some();
        match self.try_read(request).await {
            // The device closed an idle connection: that says nothing about the device.
            Err(NoData::Disconnected) if reused => self.try_read(request).await,
            other => other,
        }
    }
}

fn reason(error: &Error) -> NoData {
    match error {
        Error::Protocol(_) => NoData::Malformed,
        Error::Transport(e) => match e.kind() {
            std::io::ErrorKind::InvalidData | std::io::ErrorKind::InvalidInput => NoData::Malformed,
            _ => NoData::Disconnected,
        },
    }
}

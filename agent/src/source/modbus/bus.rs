//! One Modbus connection behind a trait of our own, so that the library can be replaced. A
//! connection that timed out or answered nonsense is closed: a late answer must never be taken
//! for the next one. RTU frames carry no number that would tell them apart, so after a time-out
//! the line must first have been silent for as long.

use super::tcp::{Connection, Stream};
use crate::config::{BusAddress, Parity, SerialLine};
use headroom_agent_core::profile::RegisterKind;
use headroom_agent_core::schedule::Span;
use headroom_rack::NoData;
use std::future::Future;
use std::io::ErrorKind;
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Handle};
use tokio::task::JoinHandle;
use tokio_modbus::client::{Client, Context, rtu};
use tokio_modbus::slave::{Slave, SlaveContext};
use tokio_modbus::{Error, Request as Pdu, Response};
use tokio_serial::{SerialPort, SerialPortBuilderExt, SerialStream};

/// One read of registers.
#[derive(Debug, Clone, Copy)]
pub struct Request {
    /// Modbus unit id.
    pub unit: u8,
    /// Which registers.
    pub span: Span,
    /// For connecting and for the answer, each.
    pub timeout: Duration,
    /// Silence after connecting.
    pub startup: Duration,
}

/// Something that can read registers. Writing is not in it, on purpose.
pub trait RegisterBus: Send {
    /// Reads registers; over Modbus TCP and TLS by blocking its thread ([`spawn`]). Never takes longer than three times the request's time-out, to connect or
    /// to wait for silence and for the answer, its start-up silence, and 2 s to agree on TLS.
    ///
    /// What was read is added to `words`, which stay as they are when there is none.
    ///
    /// # Errors
    /// The reason why there are none.
    fn read_into(&mut self, request: Request, words: &mut Vec<u16>) -> impl Future<Output = Result<(), NoData>> + Send;

    /// As [`Self::read_into`], for a single read.
    ///
    /// # Errors
    /// As there.
    fn read(&mut self, request: Request) -> impl Future<Output = Result<Vec<u16>, NoData>> + Send {
        async move {
            let mut words = Vec::new();
            self.read_into(request, &mut words).await.map(|()| words)
        }
    }
}

/// Does `work` on the bus at an address, away from the thread of the runtime when it would be blocked.
pub fn spawn<T: Send + 'static>(address: &BusAddress, work: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
    match address {
        BusAddress::Tcp(_) | BusAddress::Tls(_) => {
            let main = Handle::current();
            // With a clock of its own it does not wake the main thread for each wait.
            tokio::task::spawn_blocking(move || match Builder::new_current_thread().enable_all().build() {
                Ok(own) => own.block_on(work),
                Err(_) => main.block_on(work),
            })
        }
        BusAddress::RtuOverTcp(_) | BusAddress::Serial(_) => tokio::spawn(work),
    }
}

/// A connection that stands.
enum Link {
    Tcp(Connection),
    Rtu(Context),
}

/// A bus as the configuration names it.
pub struct ModbusBus {
    address: BusAddress,
    link: Option<Link>,
    /// Whoever asked last did not wait for the answer.
    owed: bool,
    /// An answer may still be on its way: the time-out after which nobody waited for it any more.
    late: Option<Duration>,
    /// When the last frame ended.
    quiet_since: Option<Instant>,
    /// That TLS failed has been told.
    told: bool,
}

impl ModbusBus {
    /// A bus at an address; connects with the first request.
    pub fn new(address: BusAddress) -> Self {
        Self { address, link: None, owed: false, late: None, quiet_since: None, told: false }
    }

    /// Modbus TCP over a stream that stands already. Once it is lost there is no other.
    pub fn over_tcp(stream: impl Stream + 'static) -> Self {
        let address = BusAddress::Tcp(String::new());
        Self { link: Some(Link::Tcp(Connection::over(stream))), ..Self::new(address) }
    }

    /// RTU frames over a stream that stands already. Once it is lost there is no other.
    pub fn over_rtu(stream: impl AsyncRead + AsyncWrite + std::fmt::Debug + Unpin + Send + 'static) -> Self {
        let address = BusAddress::RtuOverTcp(String::new());
        Self { link: Some(Link::Rtu(rtu::attach(stream))), ..Self::new(address) }
    }

    async fn connect(&mut self, timeout: Duration) -> Result<Link, NoData> {
        let late = self.late;
        let link = match &self.address {
            BusAddress::Tcp(address) => {
                let stream = blocking(connected(address, timeout).await?);
                let connection = stream.and_then(|stream| Connection::plain(stream, timeout));
                Link::Tcp(connection.map_err(|_| NoData::Disconnected)?)
            }
            BusAddress::Tls(tls) => {
                let stream = blocking(connected(&tls.address, timeout).await?);
                match stream.and_then(|stream| Connection::secured(stream, tls, timeout)) {
                    Ok(connection) => Link::Tcp(connection),
                    Err(error) => {
                        self.tell(&error, "no TLS with this device");
                        return Err(NoData::Disconnected);
                    }
                }
            }
            BusAddress::RtuOverTcp(address) => {
                let mut stream = connected(address, timeout).await?;
                drain(&mut stream, late, timeout).await?;
                Link::Rtu(rtu::attach(stream))
            }
            BusAddress::Serial(line) => {
                let mut stream = opened(line)?;
                drain(&mut stream, late, timeout).await?;
                Link::Rtu(rtu::attach(stream))
            }
        };
        self.late = None;
        Ok(link)
    }

    /// Why there is no TLS, once until there is.
    fn tell(&mut self, error: &std::io::Error, what: &str) {
        if !std::mem::replace(&mut self.told, true) {
            tracing::warn!(address = %self.address, %error, "{what}");
        }
    }

    async fn try_read(&mut self, request: &Request, words: &mut Vec<u16>) -> Result<(), NoData> {
        if std::mem::replace(&mut self.owed, true) {
            self.link = None;
        }
        let link = match &mut self.link {
            Some(link) => link,
            None => {
                let link = self.connect(request.timeout).await?;
                if !request.startup.is_zero() {
                    tokio::time::sleep(request.startup).await;
                }
                self.link.insert(link)
            }
        };
        let answer = match link {
            Link::Tcp(connection) => match connection.call(request, words).await {
                Ok(answer) => answer,
                Err(error) => Err(self.without_answer(&error)),
            },
            Link::Rtu(context) => {
                if let (BusAddress::Serial(line), Some(since)) = (&self.address, self.quiet_since) {
                    tokio::time::sleep(line.gap().saturating_sub(since.elapsed())).await;
                }
                let answer = over_line(context, request, words).await;
                self.quiet_since = Some(Instant::now());
                if answer == Err(NoData::Timeout) {
                    self.late = Some(request.timeout);
                }
                answer
            }
        };
        // Only after an answer that fits is the connection used again.
        match answer {
            Ok(()) => (self.owed, self.told) = (false, false),
            Err(NoData::Exception(_)) => self.owed = false,
            Err(_) => self.link = None,
        }
        answer
    }

    fn without_answer(&mut self, error: &std::io::Error) -> NoData {
        if error.kind() == ErrorKind::TimedOut {
            return NoData::Timeout;
        }
        // With TLS 1.3 a device refuses our certificate in place of its first answer.
        if matches!(self.address, BusAddress::Tls(_)) {
            self.tell(error, "the device ended the TLS session; it may not accept the agent's certificate");
        }
        NoData::Disconnected
    }
}

impl RegisterBus for ModbusBus {
    async fn read_into(&mut self, request: Request, words: &mut Vec<u16>) -> Result<(), NoData> {
        loop {
            let reused = self.link.is_some() && !self.owed;
            match self.try_read(&request, words).await {
                // The device closed an idle connection: that says nothing about the device.
                Err(NoData::Disconnected) if reused => {}
                other => return other,
            }
        }
    }
}

async fn over_line(context: &mut Context, request: &Request, words: &mut Vec<u16>) -> Result<(), NoData> {
    context.set_slave(Slave(request.unit));
    let Span { register, address, count } = request.span;
    let pdu = match register {
        RegisterKind::Input => Pdu::ReadInputRegisters(address, count),
        RegisterKind::Holding => Pdu::ReadHoldingRegisters(address, count),
        RegisterKind::Coil => Pdu::ReadCoils(address, count),
        RegisterKind::Discrete => Pdu::ReadDiscreteInputs(address, count),
    };
    match tokio::time::timeout(request.timeout, context.call(pdu)).await {
        Err(_) => Err(NoData::Timeout),
        Ok(Err(error)) => Err(reason(&error)),
        Ok(Ok(Err(exception))) => Err(NoData::Exception(exception.into())),
        Ok(Ok(Ok(Response::ReadInputRegisters(read) | Response::ReadHoldingRegisters(read))))
            if read.len() == usize::from(count) =>
        {
            words.extend(read);
            Ok(())
        }
        // The last byte of bits is filled up.
        Ok(Ok(Ok(Response::ReadCoils(bits) | Response::ReadDiscreteInputs(bits))))
            if (usize::from(count)..usize::from(count) + 8).contains(&bits.len()) =>
        {
            words.extend(bits.into_iter().take(count.into()).map(u16::from));
            Ok(())
        }
        Ok(Ok(Ok(_))) => Err(NoData::Malformed),
    }
}

async fn connected(address: &str, timeout: Duration) -> Result<TcpStream, NoData> {
    let stream = tokio::time::timeout(timeout, TcpStream::connect(address)).await;
    let stream = stream.map_err(|_| NoData::Disconnected)?.map_err(|_| NoData::Disconnected)?;
    // Requests are small and each waits for its answer.
    let _ = stream.set_nodelay(true);
    Ok(stream)
}

fn blocking(stream: TcpStream) -> std::io::Result<std::net::TcpStream> {
    let stream = stream.into_std()?;
    stream.set_nonblocking(false)?;
    Ok(stream)
}

fn opened(line: &SerialLine) -> Result<SerialStream, NoData> {
    let parity = match line.parity {
        Parity::None => tokio_serial::Parity::None,
        Parity::Odd => tokio_serial::Parity::Odd,
        Parity::Even => tokio_serial::Parity::Even,
    };
    let stop_bits = if line.stop_bits == 2 { tokio_serial::StopBits::Two } else { tokio_serial::StopBits::One };
    let builder = tokio_serial::new(line.path.to_string_lossy(), line.baud).parity(parity).stop_bits(stop_bits);
    let stream = builder.open_native_async().map_err(|_| NoData::Disconnected)?;
    let _ = stream.clear(tokio_serial::ClearBuffer::Input);
    Ok(stream)
}

/// Reads and drops what comes until nothing has come for `silence`, for at most twice `timeout`.
async fn drain(
    stream: &mut (impl AsyncRead + Unpin),
    silence: Option<Duration>,
    timeout: Duration,
) -> Result<(), NoData> {
    let Some(silence) = silence else { return Ok(()) };
    let quiet = async {
        let mut bytes = [0; 256];
        while let Ok(read) = tokio::time::timeout(silence, stream.read(&mut bytes)).await {
            if read.unwrap_or(0) == 0 {
                return Err(NoData::Disconnected);
            }
        }
        Ok(())
    };
    // A line that never falls silent has somebody else on it who talks.
    tokio::time::timeout(timeout * 2, quiet).await.unwrap_or(Err(NoData::Malformed))
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

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    /// A frame with its CRC-16 (Modbus over Serial Line v1.02, 6.2.2).
    fn frame(bytes: &[u8]) -> Vec<u8> {
        let mut crc = 0xFFFF_u16;
        for byte in bytes {
            crc ^= u16::from(*byte);
            for _ in 0..8 {
                crc = if crc & 1 == 1 { crc >> 1 ^ 0xA001 } else { crc >> 1 };
            }
        }
        [bytes, &crc.to_le_bytes()].concat()
    }

    #[tokio::test]
    async fn an_answer_that_comes_too_late_is_never_taken_for_the_next_one() {
        assert_eq!(frame(&[1, 3, 0, 0, 0, 1])[6..], [0x84, 0x0A], "as every table of examples has it");
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let line = tokio::spawn(async move {
            let mut request = [0; 8];
            let (mut first, _) = listener.accept().await.unwrap();
            first.read_exact(&mut request).await.unwrap();
            // The line behind a transparent serial server does not know that the connection is new.
            let (mut second, _) = listener.accept().await.unwrap();
            second.write_all(&frame(&[1, 3, 2, 0, 111])).await.unwrap();
            second.read_exact(&mut request).await.unwrap();
            second.write_all(&frame(&[1, 3, 2, 0, 222])).await.unwrap();
            (first, second)
        });
        let mut bus = ModbusBus::new(BusAddress::RtuOverTcp(address));
        let span = Span { register: RegisterKind::Holding, address: 0, count: 1 };
        let request = Request { unit: 1, span, timeout: Duration::from_millis(300), startup: Duration::ZERO };
        assert_eq!(bus.read(request).await, Err(NoData::Timeout));
        assert_eq!(bus.read(request).await, Ok(vec![222]));
        line.await.unwrap();
    }

    #[tokio::test]
    async fn a_serial_line_that_is_not_there_is_disconnected() {
        let line = SerialLine { path: "/dev/no-such-line".into(), baud: 9600, parity: Parity::Even, stop_bits: 1 };
        let mut bus = ModbusBus::new(BusAddress::Serial(line));
        let span = Span { register: RegisterKind::Input, address: 0, count: 1 };
        let request = Request { unit: 1, span, timeout: Duration::from_millis(100), startup: Duration::ZERO };
        assert_eq!(bus.read(request).await, Err(NoData::Disconnected));
    }
}

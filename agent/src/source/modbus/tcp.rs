//! Modbus TCP, plain or over TLS: one request, then its answer, by blocking calls on a thread of the bus's own. That
//! is one write and one read, all that a device which takes one request at a time can be asked with; to wait for
//! readiness and set a timer for each request cost the agent as much again. Whoever waits beside it gets a turn
//! every few milliseconds.

use super::bus::Request;
use crate::config::TlsAddress;
use headroom_agent_core::profile::RegisterKind;
use headroom_rack::NoData;
use rustls::pki_types::ServerName;
use rustls::{ClientConnection, StreamOwned};
use std::io::{Error, ErrorKind, Read, Result, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// Transaction, protocol and length (Messaging on TCP/IP Implementation Guide v1.0b, 3.1.3).
const PREFIX: usize = 6;
/// The unit and the longest PDU (Application Protocol v1.1b3, chapter 4.1).
const MOST: usize = 254;
/// A function code with this bit answers with an exception (as before, chapter 7).
const EXCEPTION: u8 = 0x80;
/// Signing takes the processor of a small device longer than a register does.
const HANDSHAKE: Duration = Duration::from_secs(2);

/// The thread is blocked for so long at a time.
const SLICE: Duration = Duration::from_millis(5);

/// What a request is written to and its answer read from; `WouldBlock` and `TimedOut` mean that nothing has come yet.
pub trait Stream: Read + Write + Send {}

impl<S: Read + Write + Send> Stream for S {}

/// What a device said to a request.
type Answer = std::result::Result<(), NoData>;

/// When there has been time enough. Known from the first wait on: most answers need none, and no clock.
struct Deadline {
    timeout: Duration,
    until: Option<Instant>,
}

impl Deadline {
    /// Something is still to come and `waited` has passed since this was last asked.
    fn check(&mut self, waited: Duration) -> Result<()> {
        let now = Instant::now();
        let until = *self.until.get_or_insert(now + self.timeout.saturating_sub(waited));
        if now < until { Ok(()) } else { Err(ErrorKind::TimedOut.into()) }
    }
}

/// A connection to a device.
pub struct Connection {
    stream: Box<dyn Stream>,
    transaction: u16,
    frame: Box<[u8; PREFIX + MOST]>,
}

impl Connection {
    /// Over a connected socket.
    ///
    /// # Errors
    /// The socket is lost.
    pub fn plain(stream: TcpStream, timeout: Duration) -> Result<Self> {
        wait_in_slices(&stream, timeout)?;
        Ok(Self::over(stream))
    }

    /// Agrees on TLS over a connected socket (Modbus/TCP Security v21).
    ///
    /// # Errors
    /// Why the two do not agree, or not in time.
    pub fn secured(mut stream: TcpStream, to: &TlsAddress, timeout: Duration) -> Result<Self> {
        let name = ServerName::try_from(to.server_name.clone()).map_err(Error::other)?;
        let mut tls = ClientConnection::new(to.tls.client(), name).map_err(Error::other)?;
        wait_in_slices(&stream, timeout)?;
        let mut deadline = Deadline { timeout: timeout.max(HANDSHAKE), until: None };
        while tls.is_handshaking() {
            match tls.complete_io(&mut stream) {
                Ok(_) => deadline.check(Duration::ZERO)?,
                Err(error) if has_not_come(&error) => deadline.check(SLICE)?,
                Err(error) => return Err(error),
            }
        }
        Ok(Self::over(StreamOwned::new(tls, stream)))
    }

    /// Over a stream that stands.
    pub fn over(stream: impl Stream + 'static) -> Self {
        Self { stream: Box::new(stream), transaction: 0, frame: Box::new([0; PREFIX + MOST]) }
    }

    /// Adds registers, or bits as 0 and 1, to `words`. After any error but [`NoData::Exception`] the connection is of no use:
    /// an answer may still be on its way.
    ///
    /// # Errors
    /// Outside, that of the stream (`TimedOut`: no answer in time); inside, what the device said or that it makes no sense.
    pub async fn call(&mut self, request: &Request, words: &mut Vec<u16>) -> Result<Answer> {
        self.transaction = self.transaction.wrapping_add(1);
        let [high, low] = self.transaction.to_be_bytes();
        let (code, span) = (code(request.span.register), request.span);
        let ([a1, a0], [c1, c0]) = (span.address.to_be_bytes(), span.count.to_be_bytes());
        self.stream.write_all(&[high, low, 0, 0, 0, 6, request.unit, code, a1, a0, c1, c0])?;
        let mut deadline = Deadline { timeout: request.timeout, until: None };
        let mut filled = 0;
        loop {
            match self.stream.read(&mut self.frame[filled..]) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(more) => {
                    filled += more;
                    match body(&self.frame[..filled], [high, low]) {
                        Ok(None) => deadline.check(Duration::ZERO)?,
                        Ok(Some(body)) => return Ok(read(body, request, words)),
                        Err(nonsense) => return Ok(Err(nonsense)),
                    }
                }
                Err(error) if has_not_come(&error) => {
                    deadline.check(SLICE)?;
                    tokio::task::yield_now().await;
                }
                Err(error) => return Err(error),
            }
        }
    }
}

fn wait_in_slices(stream: &TcpStream, timeout: Duration) -> Result<()> {
    // A device that takes no twelve bytes any more has long been lost.
    stream.set_write_timeout(Some(timeout))?;
    stream.set_read_timeout(Some(SLICE))
}

fn has_not_come(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}

fn code(register: RegisterKind) -> u8 {
    match register {
        RegisterKind::Coil => 1,
        RegisterKind::Discrete => 2,
        RegisterKind::Holding => 3,
        RegisterKind::Input => 4,
    }
}

/// Unit and PDU, once all of the frame is there and if it is nothing but the answer to this transaction.
fn body(frame: &[u8], transaction: [u8; 2]) -> std::result::Result<Option<&[u8]>, NoData> {
    let Some((prefix, body)) = frame.split_first_chunk::<PREFIX>() else { return Ok(None) };
    let length = usize::from(u16::from_be_bytes([prefix[4], prefix[5]]));
    if prefix[..4] != [transaction[0], transaction[1], 0, 0] || length > MOST || body.len() > length {
        return Err(NoData::Malformed);
    }
    Ok((body.len() == length).then_some(body))
}

fn read(body: &[u8], request: &Request, words: &mut Vec<u16>) -> Answer {
    let (code, count) = (code(request.span.register), usize::from(request.span.count));
    match body {
        [unit, refused, exception] if *unit == request.unit && *refused == code | EXCEPTION => {
            return Err(NoData::Exception(*exception));
        }
        [unit, function, size, data @ ..]
            if *unit == request.unit && *function == code && usize::from(*size) == data.len() =>
        {
            match request.span.register {
                RegisterKind::Holding | RegisterKind::Input if data.len() == 2 * count => {
                    words.extend(data.chunks_exact(2).map(|word| u16::from_be_bytes([word[0], word[1]])));
                }
                // The last byte of bits is filled up.
                RegisterKind::Coil | RegisterKind::Discrete if data.len() == count.div_ceil(8) => {
                    words.extend((0..count).map(|bit| u16::from(data[bit / 8] >> (bit % 8) & 1)));
                }
                _ => return Err(NoData::Malformed),
            }
        }
        _ => return Err(NoData::Malformed),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use headroom_agent_core::schedule::Span;
    use std::io::Cursor;

    struct Said(Cursor<Vec<u8>>, bool);

    impl Read for Said {
        fn read(&mut self, bytes: &mut [u8]) -> Result<usize> {
            // One byte at a time, with a pause now and then: no answer need come in one piece.
            if self.0.position() % 4 == 3 && !std::mem::replace(&mut self.1, true) {
                return Err(ErrorKind::WouldBlock.into());
            }
            self.1 = false;
            self.0.read(&mut bytes[..1])
        }
    }

    impl Write for Said {
        fn write(&mut self, bytes: &[u8]) -> Result<usize> {
            Ok(bytes.len())
        }

        fn flush(&mut self) -> Result<()> {
            Ok(())
        }
    }

    fn asked(register: RegisterKind, count: u16, answer: &[u8]) -> Result<std::result::Result<Vec<u16>, NoData>> {
        let span = Span { register, address: 0x13, count };
        let request = Request { unit: 1, span, timeout: Duration::from_secs(1), startup: Duration::ZERO };
        let mut connection = Connection::over(Said(Cursor::new(answer.to_vec()), false));
        let mut words = Vec::new();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let answer = runtime.block_on(connection.call(&request, &mut words))?;
        Ok(answer.map(|()| words))
    }

    /// The examples of Application Protocol v1.1b3, 6.1 and 6.3, behind a prefix.
    #[test]
    fn words_and_bits_are_read_as_the_standard_shows_them() {
        let words = [0, 1, 0, 0, 0, 9, 1, 3, 6, 0x02, 0x2B, 0, 0, 0, 0x64];
        assert_eq!(asked(RegisterKind::Holding, 3, &words).unwrap(), Ok(vec![0x022B, 0, 0x64]));
        let coils = [0, 1, 0, 0, 0, 6, 1, 1, 3, 0xCD, 0x6B, 0x05];
        let bits = asked(RegisterKind::Coil, 19, &coils).unwrap().unwrap();
        assert_eq!(bits, [1, 0, 1, 1, 0, 0, 1, 1, 1, 1, 0, 1, 0, 1, 1, 0, 1, 0, 1]);
        let refused = [0, 1, 0, 0, 0, 3, 1, 0x83, 2];
        assert_eq!(asked(RegisterKind::Holding, 3, &refused).unwrap(), Err(NoData::Exception(2)));
    }

    #[test]
    fn what_is_not_the_answer_to_this_request_is_no_number() {
        let right = [0, 1, 0, 0, 0, 5, 1, 4, 2, 0, 7];
        assert_eq!(asked(RegisterKind::Input, 1, &right).unwrap(), Ok(vec![7]));
        // Another transaction, protocol, length (short, too long), unit, function, and size.
        for (place, wrong) in [(1, 2), (3, 1), (5, 4), (4, 1), (6, 2), (7, 3), (8, 4)] {
            let mut answer = right;
            answer[place] = wrong;
            assert_eq!(asked(RegisterKind::Input, 1, &answer).unwrap(), Err(NoData::Malformed), "byte {place}");
        }
        assert_eq!(asked(RegisterKind::Input, 2, &right).unwrap(), Err(NoData::Malformed), "a word is missing");
        let torn = asked(RegisterKind::Input, 1, &right[..10]).unwrap_err();
        assert_eq!(torn.kind(), ErrorKind::UnexpectedEof);
    }

    #[tokio::test]
    async fn a_device_that_is_silent_leaves_a_turn_to_whoever_waits_beside_it_and_is_given_up_in_time() {
        let device = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(device.local_addr().unwrap()).unwrap();
        let span = Span { register: RegisterKind::Input, address: 0, count: 1 };
        let request = |timeout| Request { unit: 1, span, timeout, startup: Duration::ZERO };
        let mut connection = Connection::plain(stream, Duration::from_secs(1)).unwrap();
        let long = request(Duration::from_secs(3600));
        assert!(
            tokio::time::timeout(Duration::from_millis(30), connection.call(&long, &mut Vec::new())).await.is_err()
        );
        let given_up = connection.call(&request(Duration::from_millis(50)), &mut Vec::new()).await.unwrap_err();
        assert_eq!(given_up.kind(), ErrorKind::TimedOut);
    }
}

//! A connection that turns everything written into random bytes while the fault is on.

use super::bench::Bench;
use crate::fault::Target;
use crate::plant::chance::Chance;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// A TCP stream to one device.
pub struct Noisy {
    stream: TcpStream,
    bench: Arc<Bench>,
    target: Target,
    chance: Chance,
}

impl Noisy {
    /// Wraps a stream.
    pub fn new(stream: TcpStream, bench: Arc<Bench>, target: Target) -> Self {
        let chance = Chance::new(bench.spec().seed, &format!("noise/{target:?}"));
        Self { stream, bench, target, chance }
    }
}

impl AsyncRead for Noisy {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Noisy {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if !self.bench.is_garbled(self.target) {
            return Pin::new(&mut self.stream).poll_write(cx, buf);
        }
        let noise: Vec<u8> = buf.iter().map(|_| (self.chance.bits() & 0xff) as u8).collect();
        Pin::new(&mut self.stream).poll_write(cx, &noise)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

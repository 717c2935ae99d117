#![no_main]
//! What a device answers to a Modbus request, over TCP and as RTU: the asked number of words, or a reason.

use headroom_agent::source::modbus::bus::{ModbusBus, RegisterBus, Request};
use headroom_agent_core::profile::RegisterKind;
use headroom_agent_core::schedule::Span;
use libfuzzer_sys::fuzz_target;
use std::cell::RefCell;
use std::io::{Cursor, Read, Result, Write};
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::runtime::{Builder, Runtime};

thread_local! {
    static RUNTIME: RefCell<Runtime> =
        RefCell::new(Builder::new_current_thread().enable_time().build().expect("a runtime"));
}

/// A device that has said all it will ever say.
struct Said(Cursor<Vec<u8>>);

impl Read for Said {
    fn read(&mut self, bytes: &mut [u8]) -> Result<usize> {
        self.0.read(bytes)
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

fuzz_target!(|input: &[u8]| {
    let [how, answer @ ..] = input else { return };
    let kinds = [RegisterKind::Input, RegisterKind::Holding, RegisterKind::Coil, RegisterKind::Discrete];
    let register = kinds[usize::from(how >> 1 & 3)];
    let span = Span { register, address: 10, count: u16::from(how >> 3) + 1 };
    let request = Request { unit: 1, span, timeout: Duration::from_secs(2), startup: Duration::ZERO };
    let read = RUNTIME.with_borrow(|runtime| {
        runtime.block_on(async {
            if how & 1 == 0 {
                return ModbusBus::over_tcp(Said(Cursor::new(answer.to_vec()))).read(request).await;
            }
            let (mut device, ours) = tokio::io::duplex(1 << 16);
            let _ = device.write_all(answer).await;
            let _ = device.shutdown().await;
            ModbusBus::over_rtu(ours).read(request).await
        })
    });
    if let Ok(words) = read {
        assert_eq!(words.len(), usize::from(span.count));
        assert!(answer.len() >= if how & 1 == 1 { 6 } else { 10 }, "more than what was said");
    }
});

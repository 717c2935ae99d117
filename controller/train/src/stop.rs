//! A flag that SIGTERM and SIGINT raise: training ends after the step it is in, and its last
//! checkpoint stays.

use crate::engine::{Step, Watch};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::signal::unix::{SignalKind, signal};

/// The flag.
#[derive(Debug, Clone, Default)]
pub struct Stop(Arc<AtomicBool>);

/// Training was stopped from outside.
#[derive(Debug, thiserror::Error)]
#[error("stopped; fit goes on from its last finished epoch when the same command has --resume")]
pub struct Stopped;

/// See [`Stop::attend`].
#[derive(Debug)]
pub struct Attend<'a>(&'a Stop);

impl Watch for Attend<'_> {
    fn step(&mut self, _: &Step) -> anyhow::Result<()> {
        Ok(self.0.check()?)
    }
}

impl Stop {
    /// A flag that the signals raise, watched by a thread of its own.
    ///
    /// # Errors
    /// The thread or its signal handlers cannot be set up.
    pub fn on_signals() -> std::io::Result<Self> {
        let stop = Self::default();
        let raised = stop.clone();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (mut terminate, mut interrupt) = {
            let _inside = runtime.enter();
            (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?)
        };
        std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                }
            });
            raised.raise();
        })?;
        Ok(stop)
    }

    /// Raises the flag.
    pub fn raise(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Somebody who watches a training and ends it when the flag is raised.
    pub fn attend(&self) -> Attend<'_> {
        Attend(self)
    }

    /// Whether it is raised.
    ///
    /// # Errors
    /// [`Stopped`] if so.
    pub fn check(&self) -> Result<(), Stopped> {
        if self.0.load(Ordering::Relaxed) { Err(Stopped) } else { Ok(()) }
    }
}

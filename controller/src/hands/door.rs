//! The way of a command from an HTTP request to the run loop and its answer back.

use super::Command;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// Commands that may wait for the run loop.
const QUEUE: usize = 16;
/// The run loop answers within a turn.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why a command was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It makes no sense here.
    #[error("{0}")]
    Wrong(String),
    /// The run loop did not take it.
    #[error("the controller is busy; try again")]
    Busy,
}

/// A command that waits for its answer.
#[derive(Debug)]
pub struct Asked {
    /// What is asked.
    pub command: Command,
    /// From which address.
    pub from: std::net::SocketAddr,
    answer: oneshot::Sender<Result<(), String>>,
}

impl Asked {
    /// Says what became of it.
    pub fn answer(self, said: Result<(), String>) {
        // Whoever asked may have left.
        let _ = self.answer.send(said);
    }
}

/// Where commands are put; cheap to clone.
#[derive(Debug, Clone)]
pub struct Handle(mpsc::Sender<Asked>);

impl Handle {
    /// The two ends.
    pub fn channel() -> (Self, mpsc::Receiver<Asked>) {
        let (sender, receiver) = mpsc::channel(QUEUE);
        (Self(sender), receiver)
    }

    /// Hands a command to the run loop and waits for what it says.
    ///
    /// # Errors
    /// [`Refused`].
    pub async fn ask(&self, command: Command, from: std::net::SocketAddr) -> Result<(), Refused> {
        let (answer, said) = oneshot::channel();
        self.0.try_send(Asked { command, from, answer }).map_err(|_| Refused::Busy)?;
        match tokio::time::timeout(PATIENCE, said).await {
            Ok(Ok(said)) => said.map_err(Refused::Wrong),
            Ok(Err(_)) | Err(_) => Err(Refused::Busy),
        }
    }
}

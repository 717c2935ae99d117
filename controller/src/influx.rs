//! Writes to InfluxDB 2 (`POST /api/v2/write`, gzip, line protocol). Waits and tries again while
//! the server is busy, splits what is too large, finds and drops the one line that is wrong.
//! What cannot be written in time is dropped oldest first, and counted. Off unless configured.

pub mod line;
mod writer;

use crate::http;
use crate::stop::{self, Stopper};
use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

/// Lines kept while the server cannot take them: some minutes of a large site.
const QUEUE: usize = 500_000;

/// An access token. Never printed.
#[derive(Clone)]
pub struct Token(String);

impl Token {
    /// Wraps the text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The header value that carries it.
    pub fn bearer(&self) -> String {
        format!("Bearer {}", self.0)
    }

    /// Whether this is the token; takes as long for a near miss as for any other of its length.
    pub fn is(&self, sent: &str) -> bool {
        let differences = self.0.bytes().zip(sent.bytes()).fold(0, |all, (a, b)| all | (a ^ b));
        self.0.len() == sent.len() && differences == 0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

/// Where and how to write.
#[derive(Debug, Clone)]
pub struct Options {
    /// The server, without `/api/v2/write`.
    pub url: String,
    /// Organisation.
    pub org: String,
    /// Bucket.
    pub bucket: String,
    /// Access token.
    pub token: Token,
    /// Lines per request at most.
    pub batch_lines: usize,
    /// How long lines wait for company.
    pub flush_every: Duration,
    /// Pause after the first failure.
    pub first_pause: Duration,
    /// Longest pause.
    pub longest_pause: Duration,
}

impl Options {
    /// The defaults: 5000 lines a batch (InfluxData's advice), each second, pauses of 1 s to 1 min.
    pub fn new(url: impl Into<String>, org: impl Into<String>, bucket: impl Into<String>, token: Token) -> Self {
        Self {
            url: url.into(),
            org: org.into(),
            bucket: bucket.into(),
            token,
            batch_lines: 5000,
            flush_every: Duration::from_secs(1),
            first_pause: Duration::from_secs(1),
            longest_pause: Duration::from_secs(60),
        }
    }
}

/// What became of the lines.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Taken by the server.
    pub written: u64,
    /// Refused as wrong, or pushed out of a full queue.
    pub dropped: u64,
    /// Requests that failed and were repeated.
    pub retried: u64,
}

#[derive(Debug, Default)]
struct Shared {
    queue: Mutex<VecDeque<String>>,
    filled: Notify,
    written: AtomicU64,
    dropped: AtomicU64,
    retried: AtomicU64,
}

/// The running writer.
#[derive(Debug)]
pub struct Influx {
    shared: Arc<Shared>,
    stop: Stopper,
    task: JoinHandle<()>,
}

impl Influx {
    /// Starts the writer. Needs a tokio runtime.
    ///
    /// # Errors
    /// What the HTTP client's set-up said.
    pub fn start(options: Options) -> Result<Self, reqwest::Error> {
        let client = http::client(Duration::from_secs(20))?;
        let shared = Arc::new(Shared::default());
        let (stop, stopped) = stop::channel();
        let task = tokio::spawn(writer::run(options, client, Arc::clone(&shared), stopped));
        Ok(Self { shared, stop, task })
    }

    /// Hands over lines without waiting.
    pub fn write(&self, lines: impl IntoIterator<Item = String>) {
        let mut queue = self.shared.queue.lock().unwrap_or_else(PoisonError::into_inner);
        queue.extend(lines);
        let surplus = queue.len().saturating_sub(QUEUE);
        queue.drain(..surplus);
        drop(queue);
        self.shared.dropped.fetch_add(surplus as u64, Ordering::Relaxed);
        self.shared.filled.notify_one();
    }

    /// What became of the lines.
    pub fn counts(&self) -> Counts {
        Counts {
            written: self.shared.written.load(Ordering::Relaxed),
            dropped: self.shared.dropped.load(Ordering::Relaxed),
            retried: self.shared.retried.load(Ordering::Relaxed),
        }
    }

    /// Writes what is left if the server takes it within 3 s, and ends.
    pub async fn stop(self) -> Counts {
        self.stop.stop();
        let abort = self.task.abort_handle();
        if tokio::time::timeout(Duration::from_secs(3), self.task).await.is_err() {
            abort.abort();
        }
        Counts {
            written: self.shared.written.load(Ordering::Relaxed),
            dropped: self.shared.dropped.load(Ordering::Relaxed),
            retried: self.shared.retried.load(Ordering::Relaxed),
        }
    }
}

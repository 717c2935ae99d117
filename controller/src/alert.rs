//! Alerts to a webhook: each Finding that opens or closes becomes one message, kept in a durable
//! outbox until the receiver took it or refused it too often. At least once, never silently lost.

mod outbox;
mod payload;

pub use outbox::{Letter, Outbox};
pub use payload::Alert;

use crate::clock::Clock;
use crate::http;
use crate::stop::{self, Stop, Stopper};
use headroom_rack::{Finding, UnixMs};
use serde::Serialize;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

/// On the stop, what is due is tried for so long, in all: the rest is kept for the next start.
const LAST_TRY: Duration = Duration::from_secs(3);

/// Where and how to deliver.
#[derive(Debug, Clone)]
pub struct Options {
    /// The webhook.
    pub url: String,
    /// The outbox file; its directory is made if missing.
    pub outbox: PathBuf,
    /// Site name, a label of each alert.
    pub site: String,
    /// Address of this controller's console, a link in each alert.
    pub external_url: String,
    /// A letter is dead after so many tries.
    pub max_tries: u32,
    /// Pause after the first failure.
    pub first_pause: Duration,
    /// Longest pause.
    pub longest_pause: Duration,
}

impl Options {
    /// The defaults: 12 tries, 1 s to 5 min apart, which is about half an hour.
    pub fn new(url: impl Into<String>, outbox: impl Into<PathBuf>) -> Self {
        Self {
            url: url.into(),
            outbox: outbox.into(),
            site: String::new(),
            external_url: String::new(),
            max_tries: 12,
            first_pause: Duration::from_secs(1),
            longest_pause: Duration::from_secs(300),
        }
    }
}

/// Why alerting cannot start.
#[derive(Debug, thiserror::Error)]
pub enum AlertError {
    /// The outbox file cannot be used.
    #[error("cannot use the alert outbox {}; move it away to start with an empty one", path.display())]
    Outbox {
        /// The file.
        path: PathBuf,
        /// What the file system or decoder said.
        source: std::io::Error,
    },
    /// The HTTP client cannot be made.
    #[error("cannot make an HTTP client for the alert webhook")]
    Client(#[source] reqwest::Error),
}

/// What became of alerts since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Queued for delivery.
    pub sent: u64,
    /// Taken by the receiver.
    pub delivered: u64,
    /// Waiting now.
    pub pending: u64,
    /// Given up.
    pub dead: u64,
    /// Tries that failed and will be repeated.
    pub retried: u64,
}

struct State {
    outbox: Outbox,
    counts: Counts,
}

struct Inner {
    options: Options,
    clock: Clock,
    client: reqwest::Client,
    state: Mutex<State>,
    to_send: Notify,
    to_save: Notify,
}

/// The running sender.
pub struct Alerts {
    inner: Arc<Inner>,
    stop: Stopper,
    tasks: Vec<JoinHandle<()>>,
}

impl Alerts {
    /// Loads the outbox and starts delivering. Needs a tokio runtime.
    ///
    /// # Errors
    /// [`AlertError`] if the outbox cannot be used or the client cannot be made.
    pub fn start(options: Options, clock: Clock) -> Result<Self, AlertError> {
        let at_outbox = |source| AlertError::Outbox { path: options.outbox.clone(), source };
        if let Some(dir) = options.outbox.parent() {
            std::fs::create_dir_all(dir).map_err(at_outbox)?;
        }
        let outbox = Outbox::load(&options.outbox, clock.unix()).map_err(at_outbox)?;
        let counts = Counts { pending: outbox.pending(), dead: outbox.dead().len() as u64, ..Counts::default() };
        let client = http::client(Duration::from_secs(10)).map_err(AlertError::Client)?;
        let inner = Arc::new(Inner {
            options,
            clock,
            client,
            state: Mutex::new(State { outbox, counts }),
            to_send: Notify::new(),
            to_save: Notify::new(),
        });
        let (stop, stopped) = stop::channel();
        let tasks = vec![
            tokio::spawn(Arc::clone(&inner).save_always(stopped.clone())),
            tokio::spawn(Arc::clone(&inner).send_until(stopped)),
        ];
        Ok(Self { inner, stop, tasks })
    }

    /// Tells which Findings are open now. Cheap when nothing changed; never waits.
    pub fn update(&self, findings: &[Finding]) {
        let now = self.inner.clock.unix();
        let added = {
            let mut state = self.inner.state();
            let added = state.outbox.update(&self.inner.options.site, findings, now);
            state.counts.sent += added;
            added
        };
        if added > 0 {
            self.inner.to_save.notify_one();
            self.inner.to_send.notify_one();
        }
    }

    /// What became of alerts.
    pub fn counts(&self) -> Counts {
        let state = self.inner.state();
        Counts { pending: state.outbox.pending(), ..state.counts }
    }

    /// Tries what is due once more, for a moment; saves the rest for the next start, and ends.
    pub async fn stop(self) -> Counts {
        self.stop.stop();
        for task in self.tasks {
            let _ = task.await;
        }
        self.inner.save().await;
        let state = self.inner.state();
        let pending = state.outbox.pending();
        if pending > 0 {
            tracing::warn!(pending, "alerts are not delivered yet; they are kept and sent after the next start");
        }
        Counts { pending: state.outbox.pending(), ..state.counts }
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn save(&self) {
        let bytes = self.state().outbox.to_bytes();
        let path = self.options.outbox.clone();
        match tokio::task::spawn_blocking(move || outbox::store(&path, &bytes)).await {
            Ok(Ok(())) => {}
            Ok(Err(why)) => {
                tracing::error!(path = %self.options.outbox.display(), %why, "the alert outbox cannot be saved");
            }
            Err(why) => tracing::error!(%why, "saving the alert outbox was ended"),
        }
    }

    async fn save_always(self: Arc<Self>, mut stopped: Stop) {
        loop {
            tokio::select! {
                () = self.to_save.notified() => self.save().await,
                () = stopped.requested() => return,
            }
        }
    }

    async fn send_until(self: Arc<Self>, stopped: Stop) {
        let mut stop = stopped.clone();
        let late = async {
            stop.requested().await;
            tokio::time::sleep(LAST_TRY).await;
        };
        // What is on its way when time is up stays in the outbox: it may come twice, never not at all.
        tokio::select! {
            () = self.send_always(stopped) => {}
            () = late => {}
        }
    }

    async fn send_always(&self, mut stopped: Stop) {
        loop {
            let next = self.state().outbox.next().cloned();
            let now = self.clock.unix();
            let Some(letter) = next else {
                tokio::select! {
                    () = self.to_send.notified() => continue,
                    () = stopped.requested() => return,
                }
            };
            if letter.due > now {
                // Short sleeps: the due time is on the wall clock, which may be set.
                let wait = Duration::from_millis(letter.due.get() - now.get()).min(Duration::from_secs(1));
                tokio::select! {
                    () = self.to_send.notified() => {}
                    () = tokio::time::sleep(wait) => {}
                    () = stopped.requested() => return,
                }
                continue;
            }
            self.deliver(&letter).await;
        }
    }

    async fn deliver(&self, letter: &Letter) {
        let message = letter.alert.message(&self.options.external_url);
        let (error, asked) = match self.client.post(&self.options.url).json(&message).send().await {
            Ok(answer) if answer.status().is_success() => (None, None),
            Ok(answer) => {
                let asked = http::retry_after(answer.headers());
                (Some(format!("the receiver answered {}", answer.status())), asked)
            }
            // The URL may carry a secret (chat webhooks do): it is left out.
            Err(why) => (Some(chain(&why.without_url())), None),
        };
        let mut state = self.state();
        if let Some(why) = error {
            let pause = http::pause(letter.tries + 1, self.options.first_pause, self.options.longest_pause);
            let pause = u64::try_from(asked.unwrap_or(pause).as_millis()).unwrap_or(u64::MAX);
            let due = UnixMs::new(self.clock.unix().get().saturating_add(pause));
            let alert = &letter.alert.labels["alertname"];
            if state.outbox.failed(letter.number, why.clone(), self.options.max_tries, due) {
                state.counts.dead += 1;
                tracing::error!(
                    alert,
                    why,
                    tries = letter.tries + 1,
                    "an alert could not be delivered and is given up"
                );
            } else {
                state.counts.retried += 1;
                tracing::warn!(alert, why, tries = letter.tries + 1, "an alert was not taken; it will be sent again");
            }
        } else {
            state.outbox.delivered(letter.number);
            state.counts.delivered += 1;
        }
        drop(state);
        self.to_save.notify_one();
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        source = inner.source();
    }
    text
}

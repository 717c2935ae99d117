//! The writer's task: takes batches off the queue and does not let go of one until each of its
//! lines is written or known to be wrong.

use super::{Options, Shared, Token};
use crate::http;
use crate::stop::Stop;
use flate2::Compression;
use flate2::write::GzEncoder;
use reqwest::StatusCode;
use std::io::Write;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

enum Answer {
    Written,
    /// The server is busy, away, or does not let us in: the same again, later.
    Later {
        why: String,
        asked: Option<Duration>,
    },
    /// Smaller batches, please.
    TooLarge,
    /// At least one line is wrong.
    Wrong {
        why: String,
    },
}

struct Writer {
    options: Options,
    client: reqwest::Client,
    endpoint: String,
    shared: Arc<Shared>,
    stopped: Stop,
    failures: u32,
}

pub(super) async fn run(options: Options, client: reqwest::Client, shared: Arc<Shared>, mut stopped: Stop) {
    let endpoint = format!("{}/api/v2/write", options.url.trim_end_matches('/'));
    let mut writer =
        Writer { options, client, endpoint, shared: Arc::clone(&shared), stopped: stopped.clone(), failures: 0 };
    loop {
        let batch = writer.take();
        if !batch.is_empty() {
            if !writer.write_all(batch).await {
                return;
            }
            continue;
        }
        if stopped.is_requested() {
            return;
        }
        tokio::select! {
            () = shared.filled.notified() => {}
            () = stopped.requested() => continue,
        }
        tokio::select! {
            () = tokio::time::sleep(writer.options.flush_every) => {}
            () = stopped.requested() => {}
        }
    }
}

impl Writer {
    fn take(&self) -> Vec<String> {
        let mut queue = self.shared.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let n = queue.len().min(self.options.batch_lines);
        queue.drain(..n).collect()
    }

    /// Works off one batch, part by part. False if the stop came while the server was failing.
    async fn write_all(&mut self, batch: Vec<String>) -> bool {
        let mut parts = vec![batch];
        while let Some(mut part) = parts.pop() {
            match self.post(&part).await {
                Answer::Written => {
                    self.failures = 0;
                    self.shared.written.fetch_add(part.len() as u64, Ordering::Relaxed);
                }
                Answer::Later { why, asked } => {
                    self.failures = self.failures.saturating_add(1);
                    self.shared.retried.fetch_add(1, Ordering::Relaxed);
                    if self.failures == 1 {
                        tracing::warn!(why, "InfluxDB does not take data; trying again until it does");
                    }
                    if self.stopped.is_requested() {
                        tracing::warn!(
                            lines = part.len(),
                            "lines for InfluxDB are lost: stopped while it took no data"
                        );
                        return false;
                    }
                    let (first, longest) = (self.options.first_pause, self.options.longest_pause);
                    let pause = asked.unwrap_or_else(|| http::pause(self.failures, first, longest));
                    parts.push(part);
                    tokio::select! {
                        () = tokio::time::sleep(pause) => {}
                        () = self.stopped.requested() => {}
                    }
                }
                // Split in either case: to fit, or to find the line that is wrong.
                Answer::TooLarge | Answer::Wrong { .. } if part.len() > 1 => {
                    let second = part.split_off(part.len() / 2);
                    parts.push(second);
                    parts.push(part);
                }
                Answer::TooLarge => self.refuse(&part, "the server finds a single line too large"),
                Answer::Wrong { why } => self.refuse(&part, &why),
            }
        }
        true
    }

    fn refuse(&self, part: &[String], why: &str) {
        let line: String = part.iter().flat_map(|l| l.chars()).take(200).collect();
        tracing::error!(why, line, "InfluxDB refuses this line; it is dropped, the others are not");
        self.shared.dropped.fetch_add(part.len() as u64, Ordering::Relaxed);
    }

    async fn post(&self, lines: &[String]) -> Answer {
        let Token(token) = &self.options.token;
        let mut body = GzEncoder::new(Vec::new(), Compression::fast());
        for line in lines {
            body.write_all(line.as_bytes()).and_then(|()| body.write_all(b"\n")).expect("a Vec takes every byte");
        }
        let body = body.finish().expect("a Vec takes every byte");
        let Options { org, bucket, .. } = &self.options;
        let url = match reqwest::Url::parse_with_params(
            &self.endpoint,
            [("org", org.as_str()), ("bucket", bucket), ("precision", "ms")],
        ) {
            Ok(url) => url,
            Err(why) => return Answer::Later { why: format!("[influx] url: {why}"), asked: None },
        };
        let sent = self
            .client
            .post(url)
            .header("Authorization", format!("Token {token}"))
            .header("Content-Type", "text/plain; charset=utf-8")
            .header("Content-Encoding", "gzip")
            .body(body)
            .send()
            .await;
        match sent {
            Ok(answer) => {
                let status = answer.status();
                let asked = http::retry_after(answer.headers());
                let said = answer.text().await.unwrap_or_default();
                let why = format!("{status} {}", said.chars().take(300).collect::<String>());
                match status {
                    s if s.is_success() => Answer::Written,
                    StatusCode::PAYLOAD_TOO_LARGE => Answer::TooLarge,
                    StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY => Answer::Wrong { why },
                    _ => Answer::Later { why, asked },
                }
            }
            Err(why) => Answer::Later { why: why.without_url().to_string(), asked: None },
        }
    }
}

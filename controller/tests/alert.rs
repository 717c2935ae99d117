//! Alerts against a real HTTP receiver that fails first, stays away, or refuses for good.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers too")]

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use axum::{Json, Router};
use headroom_controller::alert::{Alerts, Counts, Options};
use headroom_controller::clock::Clock;
use headroom_rack::{Finding, Severity, UnixMs};
use serde_json::Value;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Answers with the given codes in turn, then with 200; keeps what it was sent.
#[derive(Clone, Default)]
struct Receiver {
    answers: Arc<Mutex<Vec<u16>>>,
    got: Arc<Mutex<Vec<(u16, Value)>>>,
}

impl Receiver {
    async fn start(answers: &[u16], at: SocketAddr) -> (Self, SocketAddr, tokio::task::JoinHandle<()>) {
        let receiver = Self::default();
        receiver.answers.lock().unwrap().extend(answers.iter().rev());
        let app = Router::new().route("/hook", post(take)).with_state(receiver.clone());
        let listener = tokio::net::TcpListener::bind(at).await.unwrap();
        let address = listener.local_addr().unwrap();
        let task = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        (receiver, address, task)
    }

    fn taken(&self) -> Vec<Value> {
        self.got.lock().unwrap().iter().filter(|(code, _)| *code == 200).map(|(_, body)| body.clone()).collect()
    }
}

async fn take(State(receiver): State<Receiver>, Json(body): Json<Value>) -> StatusCode {
    let code = receiver.answers.lock().unwrap().pop().unwrap_or(200);
    receiver.got.lock().unwrap().push((code, body));
    StatusCode::from_u16(code).unwrap()
}

fn finding(key: &str) -> Finding {
    Finding {
        key: format!("ups_battery_drift:{key}"),
        kind: "ups_battery_drift".into(),
        subject: key.into(),
        severity: Severity::Critical,
        title: "Battery of ups-a is weak".into(),
        detail: "Runtime fell from 600 s to 210 s at the same load. Replace the battery.".into(),
        since: UnixMs::new(1_795_463_740_000),
    }
}

fn options(address: SocketAddr, dir: &Path) -> Options {
    Options {
        site: "demo".into(),
        external_url: "http://127.0.0.1:7878".into(),
        first_pause: Duration::from_millis(10),
        longest_pause: Duration::from_millis(50),
        ..Options::new(format!("http://{address}/hook"), dir.join("alerts/outbox.json"))
    }
}

async fn until(alerts: &Alerts, what: &str, condition: impl Fn(Counts) -> bool) -> Counts {
    let start = Instant::now();
    loop {
        let counts = alerts.counts();
        if condition(counts) {
            return counts;
        }
        assert!(start.elapsed() < Duration::from_secs(30), "waited in vain for: {what}; {counts:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

const ANY: ([u8; 4], u16) = ([127, 0, 0, 1], 0);

#[tokio::test]
async fn an_alert_is_repeated_until_the_receiver_takes_it() {
    let dir = tempfile::tempdir().unwrap();
    let (receiver, address, _task) = Receiver::start(&[500, 503, 429], ANY.into()).await;
    let alerts = Alerts::start(options(address, dir.path()), Clock::start()).unwrap();
    alerts.update(&[finding("ups-a")]);
    alerts.update(&[finding("ups-a")]);
    let counts = until(&alerts, "one delivery", |c| c.delivered == 1).await;
    assert_eq!(counts, Counts { sent: 1, delivered: 1, pending: 0, dead: 0, retried: 3 });
    alerts.update(&[]);
    until(&alerts, "the resolution", |c| c.delivered == 2).await;
    alerts.stop().await;

    let taken = receiver.taken();
    let (first, last) = (&taken[0], &taken[1]);
    assert_eq!(first["version"], "4");
    assert_eq!((first["status"].as_str(), last["status"].as_str()), (Some("firing"), Some("resolved")));
    assert_eq!(first["groupKey"], last["groupKey"]);
    let alert = &first["alerts"][0];
    assert_eq!(alert["labels"]["alertname"], "ups_battery_drift");
    assert_eq!(alert["labels"]["severity"], "critical");
    assert_eq!(alert["startsAt"], "2026-11-23T19:55:40.000Z");
    assert_eq!(alert["endsAt"], "0001-01-01T00:00:00Z");
    assert_eq!(alert["fingerprint"], last["alerts"][0]["fingerprint"]);
    assert_ne!(last["alerts"][0]["endsAt"], "0001-01-01T00:00:00Z");
}

#[tokio::test]
async fn an_alert_outlives_the_process_that_raised_it() {
    let dir = tempfile::tempdir().unwrap();
    let (_, address, task) = Receiver::start(&[], ANY.into()).await;
    task.abort();
    let _ = task.await;
    let slow = Options { first_pause: Duration::from_millis(10), ..options(address, dir.path()) };
    let alerts = Alerts::start(slow, Clock::start()).unwrap();
    alerts.update(&[finding("ups-a")]);
    until(&alerts, "a failed try", |c| c.retried > 0).await;
    assert_eq!(alerts.stop().await.pending, 1);

    let (receiver, _, _task) = Receiver::start(&[], address).await;
    let alerts = Alerts::start(options(address, dir.path()), Clock::start()).unwrap();
    until(&alerts, "the delivery", |c| c.delivered == 1 && c.pending == 0).await;
    assert_eq!(receiver.taken().len(), 1);
}

#[tokio::test]
async fn a_letter_nobody_takes_is_counted_dead_and_holds_up_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let (receiver, address, _task) = Receiver::start(&[400, 400, 400], ANY.into()).await;
    let alerts = Alerts::start(Options { max_tries: 3, ..options(address, dir.path()) }, Clock::start()).unwrap();
    alerts.update(&[finding("ups-a")]);
    until(&alerts, "the dead letter", |c| c.dead == 1).await;
    alerts.update(&[finding("ups-a"), finding("ups-b")]);
    until(&alerts, "the other", |c| c.delivered == 1).await;
    assert_eq!(receiver.taken()[0]["alerts"][0]["labels"]["subject"], "ups-b");
    alerts.stop().await;
    let kept = std::fs::read_to_string(dir.path().join("alerts/outbox.json")).unwrap();
    assert!(kept.contains("the receiver answered 400"), "{kept}");
}

#[tokio::test]
async fn a_receiver_that_does_not_answer_does_not_hold_up_the_stop() {
    let dir = tempfile::tempdir().unwrap();
    let silent = tokio::net::TcpListener::bind(SocketAddr::from(ANY)).await.unwrap();
    let alerts = Alerts::start(options(silent.local_addr().unwrap(), dir.path()), Clock::start()).unwrap();
    alerts.update(&["a", "b", "c"].map(finding));
    silent.accept().await.unwrap();
    let begun = Instant::now();
    assert_eq!(alerts.stop().await.pending, 3, "they are kept");
    assert!(begun.elapsed() < Duration::from_secs(5), "it took {:?}", begun.elapsed());
    let kept: Value = serde_json::from_slice(&std::fs::read(dir.path().join("alerts/outbox.json")).unwrap()).unwrap();
    assert_eq!(kept["pending"].as_array().unwrap().len(), 3);
}

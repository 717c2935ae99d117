//! The InfluxDB writer against a server that is as strict as the API document: token, gzip,
//! parameters, every line's form; and that is busy, away, too small or refuses a line.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers too")]

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use headroom_controller::influx::{Counts, Influx, Options, Token, line::line};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::Read;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

#[derive(Default)]
struct Db {
    /// Codes to answer with before looking at the request.
    busy: VecDeque<u16>,
    lines_max: usize,
    points: BTreeSet<String>,
    answers: Vec<u16>,
}

type Shared = Arc<Mutex<Db>>;

fn judge(db: &Db, headers: &HeaderMap, query: &BTreeMap<String, String>, body: &[u8]) -> Result<Vec<String>, u16> {
    if headers.get("authorization").and_then(|h| h.to_str().ok()) != Some("Token secret") {
        return Err(401);
    }
    let expected = [("bucket", "telemetry & more"), ("org", "acme"), ("precision", "ms")];
    if !query.iter().map(|(k, v)| (k.as_str(), v.as_str())).eq(expected) {
        return Err(404);
    }
    assert_eq!(headers["content-encoding"], "gzip");
    let mut text = String::new();
    flate2::read::GzDecoder::new(body).read_to_string(&mut text).unwrap();
    let lines: Vec<String> = text.lines().map(str::to_owned).collect();
    if lines.len() > db.lines_max {
        return Err(413);
    }
    // Enough of the grammar: a measurement and tags without raw blanks, one float, a time.
    let good = |l: &String| {
        let parts: Vec<&str> = l.split(' ').collect();
        matches!(parts[..], [series, value, time] if !series.is_empty()
            && value.strip_prefix("value=").is_some_and(|v| v.parse::<f64>().is_ok())
            && time.parse::<u64>().is_ok())
    };
    if lines.iter().all(good) { Ok(lines) } else { Err(400) }
}

async fn write(
    State(db): State<Shared>,
    Query(query): Query<BTreeMap<String, String>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let mut db = db.lock().unwrap();
    let code = match db.busy.pop_front() {
        Some(code) => code,
        None => match judge(&db, &headers, &query, &body) {
            Ok(lines) => {
                db.points.extend(lines);
                204
            }
            Err(code) => code,
        },
    };
    db.answers.push(code);
    let status = StatusCode::from_u16(code).unwrap();
    match code {
        204 => status.into_response(),
        429 | 503 => (status, [("retry-after", "0")]).into_response(),
        _ => (status, r#"{"code":"invalid","message":"no"}"#).into_response(),
    }
}

async fn server(busy: &[u16], lines_max: usize) -> (Shared, Options) {
    let db = Arc::new(Mutex::new(Db { busy: busy.iter().copied().collect(), lines_max, ..Db::default() }));
    let app = Router::new()
        .route("/api/v2/write", post(write))
        .layer(DefaultBodyLimit::disable())
        .with_state(Arc::clone(&db));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    let options = Options {
        flush_every: Duration::from_millis(10),
        first_pause: Duration::from_millis(5),
        longest_pause: Duration::from_millis(20),
        ..Options::new(url, "acme", "telemetry & more", Token::new("secret"))
    };
    (db, options)
}

fn lines(n: u64) -> Vec<String> {
    (0..n).filter_map(|i| line("headroom_gpu_power_watts", &[("rack", "rack-1")], 300.5, 1000 + i)).collect()
}

async fn until(influx: &Influx, condition: impl Fn(Counts) -> bool) -> Counts {
    let start = Instant::now();
    loop {
        let counts = influx.counts();
        if condition(counts) {
            return counts;
        }
        assert!(start.elapsed() < Duration::from_secs(30), "waited in vain; {counts:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn every_point_arrives_although_the_server_is_busy_at_first() {
    let (db, options) = server(&[429, 503, 500], 10_000).await;
    let influx = Influx::start(options).unwrap();
    influx.write(lines(6000));
    let counts = until(&influx, |c| c.written == 6000).await;
    assert_eq!(counts, Counts { written: 6000, dropped: 0, retried: 3 });
    assert_eq!(db.lock().unwrap().points.len(), 6000);
}

#[tokio::test]
async fn a_batch_that_is_too_large_is_split_until_it_fits() {
    let (db, options) = server(&[], 300).await;
    let influx = Influx::start(options).unwrap();
    influx.write(lines(2000));
    until(&influx, |c| c.written == 2000).await;
    let db = db.lock().unwrap();
    assert_eq!(db.points.len(), 2000);
    assert!(db.answers.contains(&413));
}

#[tokio::test]
async fn one_wrong_line_costs_itself_and_no_other() {
    let (db, options) = server(&[], 10_000).await;
    let influx = Influx::start(options).unwrap();
    let mut all = lines(1000);
    all[377] = "this is no line protocol at all".into();
    influx.write(all);
    let counts = until(&influx, |c| c.written + c.dropped == 1000).await;
    assert_eq!(counts, Counts { written: 999, dropped: 1, retried: 0 });
    let db = db.lock().unwrap();
    assert_eq!(db.points.len(), 999);
    assert!(db.answers.len() < 40, "bisection, not one by one: {} requests", db.answers.len());
}

#[tokio::test]
async fn a_refused_token_loses_nothing_and_is_not_printed() {
    let (db, options) = server(&[401, 401, 404], 10_000).await;
    assert!(!format!("{options:?}").contains("secret"));
    let influx = Influx::start(options).unwrap();
    influx.write(lines(10));
    let counts = until(&influx, |c| c.written == 10).await;
    assert_eq!(counts.retried, 3);
    assert_eq!(db.lock().unwrap().points.len(), 10);
}

#[tokio::test]
async fn what_is_queued_at_the_stop_is_still_written() {
    let (db, options) = server(&[], 10_000).await;
    let influx = Influx::start(Options { flush_every: Duration::from_secs(3600), ..options }).unwrap();
    influx.write(lines(50));
    assert_eq!(influx.stop().await.written, 50);
    assert_eq!(db.lock().unwrap().points.len(), 50);
}

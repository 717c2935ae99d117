//! The HTTP interfaces: console, state, events, history, metrics. Reads the picture, changes
//! nothing.

use crate::clock::Clock;
use crate::config::Config;
use crate::picture::Board;
use crate::stop::Stop;
use crate::{metrics, view};
use axum::extract::{Query, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::Deserialize;
use std::sync::Arc;
use tokio::net::TcpListener;

/// The console: one page with everything inline, so nothing is fetched from elsewhere.
const CONSOLE: &str = include_str!("../console/index.html");
const CONSOLE_POLICY: &str =
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:; connect-src 'self'";

/// What the interfaces show.
#[derive(Clone)]
pub struct Window {
    /// The config.
    pub config: Arc<Config>,
    /// The picture and the lines.
    pub board: Arc<Board>,
    /// The clock, for ages.
    pub clock: Clock,
}

/// Serves until `stop`.
///
/// # Errors
/// What the listener said.
pub async fn serve(listener: TcpListener, window: Window, mut stop: Stop) -> std::io::Result<()> {
    axum::serve(listener, router(window)).with_graceful_shutdown(async move { stop.requested().await }).await
}

fn router(window: Window) -> Router {
    Router::new()
        .route("/", get(console))
        .route("/healthz", get(healthz))
        .route("/metrics", get(page))
        .route("/api/state", get(state))
        .route("/api/events", get(events))
        .route("/api/history", get(history))
        .route("/api/summary", get(summary))
        .with_state(window)
}

async fn console() -> Response {
    let headers =
        [(CONTENT_SECURITY_POLICY, CONSOLE_POLICY), (X_CONTENT_TYPE_OPTIONS, "nosniff"), (CACHE_CONTROL, "no-cache")];
    (headers, Html(CONSOLE)).into_response()
}

/// Alive means: decisions are made. The broker may be away; agents are safe without us.
async fn healthz(State(window): State<Window>) -> Response {
    let picture = window.board.picture();
    let age_ms = picture.plan.as_ref().map(|p| window.clock.unix().get().saturating_sub(p.at.get()));
    let alive = age_ms.is_some_and(|age| u128::from(age) <= 5 * window.config.period.as_millis());
    let code = if alive { axum::http::StatusCode::OK } else { axum::http::StatusCode::SERVICE_UNAVAILABLE };
    let body = serde_json::json!({ "ok": alive, "plan_age_ms": age_ms, "broker_connected": picture.connected });
    (code, Json(body)).into_response()
}

async fn page(State(window): State<Window>) -> Response {
    let text = metrics::page(&window.config, &window.board.picture(), window.clock.now());
    ([(CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response()
}

async fn state(State(window): State<Window>) -> Response {
    let clock = window.clock;
    let picture = window.board.picture();
    fresh(Json(view::state(&window.config, &picture, clock.now(), clock.unix(), clock.uptime())))
}

async fn summary(State(window): State<Window>) -> Response {
    fresh(Json(view::summary(&window.board.picture(), false)))
}

#[derive(Deserialize)]
struct After {
    #[serde(default)]
    after: u64,
}

async fn events(State(window): State<Window>, Query(query): Query<After>) -> Response {
    fresh(Json(window.board.events().after(query.after)))
}

#[derive(Deserialize)]
struct Seconds {
    #[serde(default = "three_minutes")]
    seconds: usize,
}

fn three_minutes() -> usize {
    180
}

async fn history(State(window): State<Window>, Query(query): Query<Seconds>) -> Response {
    fresh(Json(window.board.history().lines(query.seconds)))
}

fn fresh(body: impl IntoResponse) -> Response {
    ([(CACHE_CONTROL, "no-store")], body).into_response()
}

//! The HTTP interfaces: console, state, events, history, forecasts, metrics. Reads the picture and
//! changes nothing, but for `POST /api/learning`, which asks for a training or a step back, and `POST /api/hands`,
//! by which people pin, advise, release and resume.

use crate::access::{self, Denied};
use crate::clock::Clock;
use crate::config::Config;
use crate::hands;
use crate::influx::Token;
use crate::learning::{self, Command, NotNow};
use crate::picture::Board;
use crate::stop::Stop;
use crate::{metrics, view};
use axum::extract::{ConnectInfo, Query, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::Deserialize;
use std::net::SocketAddr;
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
    /// On-site learning.
    pub learning: learning::Handle,
    /// Where people's commands go.
    pub hands: hands::Handle,
}

/// Serves until `stop`.
///
/// # Errors
/// What the listener said.
pub async fn serve(listener: TcpListener, window: Window, mut stop: Stop) -> std::io::Result<()> {
    let service = router(window).into_make_service_with_connect_info::<SocketAddr>();
    axum::serve(listener, service).with_graceful_shutdown(async move { stop.requested().await }).await
}

fn router(window: Window) -> Router {
    Router::new()
        .route("/", get(console))
        .route("/healthz", get(healthz))
        .route("/metrics", get(page))
        .route("/api/state", get(state))
        .route("/api/events", get(events))
        .route("/api/history", get(history))
        .route("/api/forecasts", get(forecasts))
        .route("/api/learning", get(learning).post(learn))
        .route("/api/hands", get(hands).post(hand))
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

async fn forecasts(State(window): State<Window>) -> Response {
    fresh(Json(view::forecasts(&window.board.picture())))
}

async fn learning(State(window): State<Window>) -> Response {
    fresh(Json(window.learning.shown()))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wish {
    #[serde(rename = "do")]
    what: Word,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Word {
    Now,
    Back,
}

/// `{"do": "now"}` trains, `{"do": "back"}` goes back to the model before.
async fn learn(
    State(window): State<Window>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    body: String,
) -> Response {
    let refuse = |code: StatusCode, why: String| refuse(peer, "learning", code, &why);
    let own = window.config.learning.as_ref().and_then(|l| l.token.as_ref());
    let token = own.or(window.config.token.as_ref());
    let command = match asked(peer, &headers, &body, token, r#"{"do": "now"} or {"do": "back"}"#) {
        Ok(Wish { what: Word::Now }) => Command::Now,
        Ok(Wish { what: Word::Back }) => Command::Back,
        Err((code, why)) => return refuse(code, why),
    };
    match window.learning.command(command) {
        Ok(()) => {
            tracing::info!(%peer, "a command to the learning was taken");
            fresh(Json(window.learning.shown()))
        }
        Err(why @ NotNow::Off) => refuse(StatusCode::NOT_FOUND, why.to_string()),
        Err(why @ NotNow::Busy(_)) => refuse(StatusCode::CONFLICT, why.to_string()),
        Err(why @ NotNow::Deaf) => refuse(StatusCode::SERVICE_UNAVAILABLE, why.to_string()),
    }
}

async fn hands(State(window): State<Window>) -> Response {
    fresh(Json(&window.board.picture().hands))
}

/// `{"do": "pin", "at": "rack-1", "watts": 4000}`, and `advise`, `release`, `resume`.
async fn hand(
    State(window): State<Window>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    body: String,
) -> Response {
    let refuse = |code: StatusCode, why: String| refuse(peer, "hands", code, &why);
    let learning = window.config.learning.as_ref().and_then(|l| l.token.as_ref());
    let token = window.config.token.as_ref().or(learning);
    let like = r#"something like {"do": "pin", "at": "rack-1", "watts": 4000}"#;
    let command = match asked(peer, &headers, &body, token, like) {
        Ok(command) => command,
        Err((code, why)) => return refuse(code, why),
    };
    match window.hands.ask(command, peer).await {
        Ok(()) => fresh(Json(&window.board.picture().hands)),
        Err(why @ hands::Refused::Wrong(_)) => refuse(StatusCode::UNPROCESSABLE_ENTITY, why.to_string()),
        Err(why @ hands::Refused::Busy) => refuse(StatusCode::SERVICE_UNAVAILABLE, why.to_string()),
    }
}

/// The command in a request, if whoever sent it may give one. `like`: what would be right.
fn asked<C: serde::de::DeserializeOwned>(
    peer: SocketAddr,
    headers: &HeaderMap,
    body: &str,
    token: Option<&Token>,
    like: &str,
) -> Result<C, (StatusCode, String)> {
    let text = |name: &str| headers.get(name).and_then(|v| v.to_str().ok());
    let seen = access::Headers {
        host: text("host"),
        content_type: text("content-type"),
        authorization: text("authorization"),
        forwarded: ["forwarded", "x-forwarded-for", "via"].iter().any(|name| headers.contains_key(*name)),
    };
    access::may_command(peer, seen, token).map_err(|why| {
        let code = match why {
            Denied::Form => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Denied::Token => StatusCode::UNAUTHORIZED,
            Denied::Elsewhere => StatusCode::FORBIDDEN,
        };
        (code, why.to_string())
    })?;
    serde_json::from_str(body).map_err(|why| (StatusCode::BAD_REQUEST, format!("send {like}: {why}")))
}

fn refuse(peer: SocketAddr, what: &str, code: StatusCode, why: &str) -> Response {
    tracing::warn!(%peer, what, why, "a command was refused");
    (code, Json(serde_json::json!({ "error": why }))).into_response()
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

#[cfg(test)]
mod tests {
    use super::CONSOLE;
    use headroom_rack::LimitKind;

    #[test]
    fn the_console_calls_limits_what_reasons_and_the_story_call_them() {
        for kind in [
            LimitKind::Continuous,
            LimitKind::TimeToTrip,
            LimitKind::UpsOverload,
            LimitKind::Redundancy,
            LimitKind::Cooling,
            LimitKind::External,
            LimitKind::Device,
        ] {
            let key = serde_json::to_value(kind).unwrap();
            let entry = format!("{}: \"{}\"", key.as_str().unwrap(), kind.words());
            assert!(CONSOLE.contains(&entry), "the console has no {entry}");
        }
    }
}

//! HTTP for tests and people: truth, events, summary, hold and faults. Not part of any device.

use super::bench::{Bench, Entry};
use super::{summary, truth};
use crate::fault::{Fault, Kind};
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::Arc;
use tokio::net::TcpListener;

#[derive(Clone)]
struct App {
    bench: Arc<Bench>,
    summary_file: Arc<PathBuf>,
}

/// Serves until the task is dropped.
pub async fn serve(listener: TcpListener, bench: Arc<Bench>, summary_file: PathBuf) {
    let app = App { bench, summary_file: Arc::new(summary_file) };
    let router = Router::new()
        .route("/truth", get(async |State(app): State<App>| Json(truth::json(&app.bench))))
        .route("/events", get(events))
        .route("/summary", get(summarize))
        .route("/hold", post(async |State(app): State<App>| set_held(&app, true)))
        .route("/resume", post(async |State(app): State<App>| set_held(&app, false)))
        .route("/fault", post(fault))
        .with_state(app);
    if let Err(error) = axum::serve(listener, router).await {
        tracing::error!(%error, "the HTTP server ended");
    }
}

#[derive(Deserialize)]
struct After {
    #[serde(default)]
    after: u64,
}

async fn events(State(app): State<App>, Query(query): Query<After>) -> Json<Vec<Entry>> {
    Json(app.bench.events_after(query.after))
}

async fn summarize(State(app): State<App>) -> Response {
    match summary::write(&app.bench, &app.summary_file) {
        Ok(()) => Json(summary::json(&app.bench)).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, Json(json!({"error": error.to_string()}))).into_response(),
    }
}

fn set_held(app: &App, on: bool) -> Json<Value> {
    app.bench.hold(on);
    Json(json!({"held": on}))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FaultRequest {
    kind: String,
    target: String,
    value: Option<f64>,
}

async fn fault(State(app): State<App>, Json(request): Json<FaultRequest>) -> Response {
    let racks = &app.bench.spec().racks;
    let made = Kind::parse(&request.kind).and_then(|kind| Fault::new(kind, &request.target, request.value, racks));
    match made {
        Err(error) => (StatusCode::BAD_REQUEST, Json(json!({"error": error.to_string()}))).into_response(),
        Ok(fault) if app.bench.submit(fault.clone()) => Json(json!({"accepted": true})).into_response(),
        Ok(_) => {
            let busy = json!({"error": "too many faults wait for the next step; try again"});
            (StatusCode::SERVICE_UNAVAILABLE, Json(busy)).into_response()
        }
    }
}

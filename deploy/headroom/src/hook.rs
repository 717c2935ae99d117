//! A webhook receiver, so that the demonstration's alerts arrive somewhere.

use axum::{Json, Router, routing::post};
use serde_json::Value;
use std::net::SocketAddr;
use tokio::sync::mpsc;

/// Listens on a free loopback port; each delivered alert becomes a line.
pub async fn start(lines: mpsc::Sender<String>) -> anyhow::Result<SocketAddr> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let receive = move |Json(body): Json<Value>| {
        let lines = lines.clone();
        async move {
            for alert in body["alerts"].as_array().into_iter().flatten() {
                let name = alert["labels"]["alertname"].as_str().unwrap_or("alert");
                let text = alert["annotations"]["summary"].as_str().unwrap_or_default();
                let status = alert["status"].as_str().unwrap_or_default();
                let _ = lines.try_send(format!("webhook received {name} ({status}): {text}"));
            }
        }
    };
    let router = Router::new().route("/hook", post(receive));
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok(address)
}

//! `headroom-controller learn`, `pin`, `advise`, `release`, `resume`, `hands`: asks the running controller, over the address its console is on.

use crate::config::Door;
use crate::hands;
use crate::http;
use crate::influx::Token;
use anyhow::{Context, Result, bail};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

/// What to ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Wish {
    /// Train now on the record.
    Now,
    /// Go back to the model before the one in use.
    Back,
    /// Tell where things stand.
    Status,
}

/// Asks, and prints the controller's answer, one line of JSON.
///
/// # Errors
/// Nobody answers, or the answer is no.
pub async fn learn(door: &Door, console: Option<SocketAddr>, wish: Wish) -> Result<()> {
    let body = match wish {
        Wish::Status => None,
        Wish::Now => Some(serde_json::json!({ "do": "now" })),
        Wish::Back => Some(serde_json::json!({ "do": "back" })),
    };
    ask(door, console, "/api/learning", body, door.learning_token.as_ref().or(door.token.as_ref())).await
}

/// Hands a command to the controller, or asks what is set; prints the answer, one line of JSON.
///
/// # Errors
/// Nobody answers, or the answer is no.
pub async fn hands(door: &Door, console: Option<SocketAddr>, command: Option<&hands::Command>) -> Result<()> {
    let body = command.map(serde_json::to_value).transpose()?;
    ask(door, console, "/api/hands", body, door.token.as_ref().or(door.learning_token.as_ref())).await
}

async fn ask(
    door: &Door,
    console: Option<SocketAddr>,
    path: &str,
    body: Option<serde_json::Value>,
    token: Option<&Token>,
) -> Result<()> {
    let client = http::client(Duration::from_secs(10))?;
    let url = format!("http://{}{path}", console.unwrap_or_else(|| reachable(door.listen)));
    let request = match &body {
        None => client.get(&url),
        Some(body) => client.post(&url).json(body),
    };
    let request = match token {
        Some(token) => request.header("authorization", token.bearer()),
        None => request,
    };
    let answer = request.send().await.with_context(|| format!("no controller answers at {url}"))?;
    let (code, text) = (answer.status(), answer.text().await.unwrap_or_default());
    if !code.is_success() {
        let said: Option<serde_json::Value> = serde_json::from_str(&text).ok();
        let why = said.and_then(|v| v["error"].as_str().map(str::to_owned)).unwrap_or(text);
        bail!("the controller at {url} refuses ({code}): {why}");
    }
    println!("{text}");
    Ok(())
}

/// Where to reach what listens everywhere.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_console_on_every_address_is_asked_on_this_machine() {
        let at = |text: &str| reachable(text.parse().unwrap()).to_string();
        assert_eq!((at("0.0.0.0:7878"), at("[::]:7878")), ("127.0.0.1:7878".into(), "[::1]:7878".into()));
        assert_eq!(at("192.0.2.7:80"), "192.0.2.7:80");
    }
}

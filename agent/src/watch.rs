//! `watch`: all values live in the terminal. It asks the running agent, because a serial line has
//! room for one who asks; only when none answers are the devices read here. It never sets anything.

mod picture;

use crate::actuator::nvml::Library;
use crate::board::Board;
use crate::cli::Watch;
use crate::clock::Clock;
use crate::config::Config;
use crate::source::modbus::Buses;
use crate::{show, source};
use anyhow::Context;
use crossterm::{cursor, execute, terminal};
use headroom_rack::RackId;
use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use picture::Picture;
use serde_json::{Value, json};
use std::io::{IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;
use tokio::net::TcpStream;

/// Columns and rows.
const USUAL_SIZE: (u16, u16) = (80, 24);
/// An agent on this machine answers within milliseconds.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// Shows pictures until there were enough or a signal comes.
///
/// # Errors
/// When the agent stops answering, nothing can be read here, or the terminal is gone.
pub async fn run(config: Config, args: &Watch) -> anyhow::Result<()> {
    let named = args.url.as_deref().map(|url| url.trim_start_matches("http://").trim_end_matches('/').to_owned());
    let place = named.clone().or_else(|| config.listen.clone()).filter(|place| !place.ends_with(":0"));
    let from = match place {
        Some(place) if ask(&place).await.is_ok() => From::Agent(place),
        Some(place) if named.is_some() => anyhow::bail!("no agent answers at {place}"),
        _ => read_here(&config).await?,
    };
    let mut picture = Picture::new(from.name(), args.device.clone());
    let mut screen = Screen::open()?;
    let mut tick = tokio::time::interval(Duration::from_secs(args.interval_s));
    let mut shown = 0;
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            signal = tokio::signal::ctrl_c() => return signal.context("no handler for SIGINT"),
        }
        picture.take(&from.readings().await?);
        screen.show(&picture)?;
        shown += 1;
        if shown == args.count {
            return Ok(());
        }
    }
}

enum From {
    Agent(String),
    /// Reading ends with the buses.
    Devices(RackId, Arc<Board>, #[allow(dead_code, reason = "kept for as long as it reads")] Buses),
}

impl From {
    fn name(&self) -> String {
        match self {
            Self::Agent(place) => format!("the agent at {place}"),
            Self::Devices(..) => "read here, no agent answers".to_owned(),
        }
    }

    async fn readings(&self) -> anyhow::Result<Value> {
        match self {
            Self::Agent(place) => ask(place).await,
            Self::Devices(rack, board, _) => {
                let own = board.own_now();
                let state = |device: &_| crate::serve::state(own.devices.get(device).copied().flatten());
                Ok(show::json(rack, board.clock().wall(), &board.readings(), |device| json!({"state": state(device)})))
            }
        }
    }
}

async fn read_here(config: &Config) -> anyhow::Result<From> {
    let board = Arc::new(Board::new(config.rack.clone(), Clock::start()));
    let mut buses = Buses::new(board.clone());
    buses.follow(&config.modbus).await;
    let name = format!("headroom-watch-{}-{}", config.site, config.rack);
    source::mqtt::Listeners::new(name, board.clone()).follow(&config.mqtt);
    if config.nvml.enabled {
        let never = Arc::new(AtomicBool::new(false));
        source::nvml::start(&config.nvml, board.clone(), never, Library::default()).context("no thread for NVML")?;
    }
    Ok(From::Devices(config.rack.clone(), board, buses))
}

/// `GET /readings`.
async fn ask(place: &str) -> anyhow::Result<Value> {
    let answer = async {
        let stream = TcpStream::connect(place).await.with_context(|| format!("no connection to {place}"))?;
        let (mut client, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        let pump = tokio::spawn(connection);
        let request = hyper::Request::get("/readings").header("host", place).body(Empty::<Bytes>::new())?;
        let answer = client.send_request(request).await?;
        let status = answer.status();
        let body = answer.into_body().collect().await?.to_bytes();
        pump.abort();
        anyhow::ensure!(status.is_success(), "{place} answers {status}");
        serde_json::from_slice(&body).with_context(|| format!("{place} answers no JSON: is it an agent?"))
    };
    tokio::time::timeout(ANSWER_WITHIN, answer).await.with_context(|| format!("{place} does not answer in time"))?
}

/// The terminal, given back as it was; plain text where there is none.
struct Screen {
    is_terminal: bool,
}

impl Screen {
    fn open() -> anyhow::Result<Self> {
        let is_terminal = std::io::stdout().is_terminal();
        if is_terminal {
            execute!(std::io::stdout(), terminal::EnterAlternateScreen, cursor::Hide)?;
        }
        Ok(Self { is_terminal })
    }

    fn show(&mut self, picture: &Picture) -> anyhow::Result<()> {
        let mut out = std::io::stdout().lock();
        if self.is_terminal {
            // A terminal that does not know its size says 0.
            let (columns, rows) = terminal::size().ok().filter(|(c, r)| c * r > 0).unwrap_or(USUAL_SIZE);
            let text = picture.text(usize::from(columns), usize::from(rows)).replace('\n', "\x1b[K\r\n");
            execute!(out, cursor::MoveTo(0, 0))?;
            write!(out, "{text}")?;
            execute!(out, terminal::Clear(terminal::ClearType::FromCursorDown))?;
        } else {
            writeln!(out, "{}", picture.text(usize::MAX, usize::MAX))?;
        }
        Ok(out.flush()?)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        if self.is_terminal {
            let _ = execute!(std::io::stdout(), cursor::Show, terminal::LeaveAlternateScreen);
        }
    }
}

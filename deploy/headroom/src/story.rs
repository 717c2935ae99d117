//! Collects the events of controller and simulator over HTTP and prints each once.

use serde::Deserialize;
use std::time::Instant;

#[derive(Debug, Deserialize)]
struct Event {
    seq: u64,
    kind: String,
    text: String,
}

/// One source of events.
pub struct Source {
    url: String,
    who: &'static str,
    after: u64,
}

impl Source {
    /// Events of a server at `address`.
    pub fn new(who: &'static str, address: std::net::SocketAddr) -> Self {
        Self { url: format!("http://{address}/api/events"), who, after: 0 }
    }

    /// The same with another path.
    pub fn at(mut self, address: std::net::SocketAddr, path: &str) -> Self {
        self.url = format!("http://{address}{path}");
        self
    }
}

/// Prints lines with the time since the start.
pub struct Teller {
    client: reqwest::Client,
    start: Instant,
    colour: bool,
}

impl Teller {
    /// Starts the clock of the story.
    pub fn new(client: reqwest::Client) -> Self {
        Self { client, start: Instant::now(), colour: headroom_log::colours(&std::io::stdout()) }
    }

    /// Prints one line.
    pub fn say(&self, who: &str, kind: &str, text: &str) {
        let code = match kind {
            "trip_risk" | "ramp" | "overload" => "33",
            "trip" | "finding" | "fault" => "31",
            "cap" => "36",
            "release" | "safe" | "resolved" => "32",
            _ => "0",
        };
        let t = self.start.elapsed().as_secs_f64();
        if self.colour {
            println!("{t:6.1} s  \x1b[2m{who:<10}\x1b[0m \x1b[{code}m{text}\x1b[0m");
        } else {
            println!("{t:6.1} s  {who:<10} {text}");
        }
    }

    /// Prints what is new at a source; a source that does not answer is asked again next time.
    pub async fn tell(&self, source: &mut Source) {
        let url = format!("{}?after={}", source.url, source.after);
        let Ok(answer) = self.client.get(url).send().await else { return };
        let Ok(text) = answer.text().await else { return };
        for event in serde_json::from_str::<Vec<Event>>(&text).unwrap_or_default() {
            source.after = source.after.max(event.seq);
            self.say(source.who, &event.kind, &event.text);
        }
    }
}

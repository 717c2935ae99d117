//! HTTP over one connection per request: as much as the tests need, without a library of our own
//! programs between them and what is served.

use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(10);

fn request(address: &str, head: &str, body: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let length = body.len();
    write!(
        stream,
        "{head} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let first = head.lines().next().unwrap_or_default();
    if first.contains(" 200") { Ok(body.to_owned()) } else { Err(std::io::Error::other(format!("{first}: {body}"))) }
}

/// The body of a page, if it is there.
///
/// # Errors
/// Nobody answers, or not with 200.
pub fn get(address: &str, path: &str) -> std::io::Result<String> {
    request(address, &format!("GET {path}"), "")
}

/// A page as JSON; null while nobody answers.
pub fn json(address: &str, path: &str) -> Value {
    get(address, path).ok().and_then(|text| serde_json::from_str(&text).ok()).unwrap_or(Value::Null)
}

/// Posts JSON.
///
/// # Errors
/// Nobody answers, or not with 200.
pub fn post(address: &str, path: &str, body: &Value) -> std::io::Result<String> {
    request(address, &format!("POST {path}"), &body.to_string())
}

/// Receives what is posted to it and keeps it.
#[derive(Debug)]
pub struct Hook {
    /// Where it listens.
    pub address: String,
    texts: Arc<Mutex<Vec<String>>>,
}

impl Hook {
    /// Starts to listen.
    ///
    /// # Panics
    /// When no port is free.
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address").to_string();
        let texts = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&texts);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if let Some(text) = receive(stream) {
                    kept.lock().expect("nobody panics with it").push(text);
                }
            }
        });
        Self { address, texts }
    }

    /// What came so far, post by post.
    ///
    /// # Panics
    /// When the receiver panicked.
    pub fn texts(&self) -> Vec<String> {
        self.texts.lock().expect("nobody panics with it").clone()
    }

    /// What came so far and is JSON.
    pub fn bodies(&self) -> Vec<Value> {
        self.texts().iter().filter_map(|text| serde_json::from_str(text).ok()).collect()
    }
}

fn receive(mut stream: TcpStream) -> Option<String> {
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let (mut length, mut zipped) = (0, false);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let line = line.trim().to_ascii_lowercase();
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
        zipped |= line == "content-encoding: gzip";
        if line.is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").ok()?;
    if !zipped {
        return String::from_utf8(body).ok();
    }
    let mut text = String::new();
    flate2::read::GzDecoder::new(&body[..]).read_to_string(&mut text).ok()?;
    Some(text)
}

//! Peers nobody here wrote: the Python programs of `tests/interop`, each around one client, server
//! or decoder of another project. They say what they find as JSON, one value a line.

use crate::parts::{Part, until};
use serde_json::Value;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

/// The Python that has the packages of `tests/requirements.txt`.
///
/// # Panics
/// Without it: a test that skips itself would pass for ever.
pub fn python() -> PathBuf {
    let found = std::env::var_os("HEADROOM_TEST_PYTHON").map(PathBuf::from).filter(|path| path.is_file());
    found.expect("HEADROOM_TEST_PYTHON names no Python: run ./tests/run, which sets up the Python peers and exports it")
}

/// A program of `tests/interop`, to be run.
///
/// # Panics
/// As [`python`].
pub fn script(name: &str) -> Command {
    let mut command = Command::new(python());
    command.arg("-u").arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("interop").join(name));
    command
}

#[derive(Debug, Default)]
struct Heard {
    values: Vec<Value>,
    text: String,
}

/// One running peer, killed when dropped.
#[derive(Debug)]
pub struct Peer {
    name: String,
    part: Part,
    heard: Arc<Mutex<Heard>>,
    readers: Vec<JoinHandle<()>>,
}

impl Peer {
    /// Starts a program of `tests/interop`.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start(name: &str, args: &[&str], environment: &[(&str, &Path)]) -> Self {
        let mut command = script(name);
        command.args(args).envs(environment.iter().copied());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|e| panic!("{name}: {e}"));
        let heard = Arc::new(Mutex::new(Heard::default()));
        let readers = vec![
            listen(child.stdout.take().expect("piped"), &heard),
            listen(child.stderr.take().expect("piped"), &heard),
        ];
        Self { name: name.to_owned(), part: Part::new(child), heard, readers }
    }

    /// What it has said so far.
    ///
    /// # Panics
    /// When it has ended with an error.
    pub fn values(&mut self) -> Vec<Value> {
        if self.part.ended().is_some_and(|status| !status.success()) {
            let text = self.rest();
            panic!("{} failed:\n{text}", self.name);
        }
        self.heard.lock().expect("readers do not panic").values.clone()
    }

    /// The first value it says.
    ///
    /// # Panics
    /// When none comes.
    pub fn answer(&mut self) -> Value {
        let words = format!("an answer of {}", self.name);
        until(&words, || self.values().into_iter().next())
    }

    /// Waits for its end: whether it ended with success, and all it said.
    ///
    /// # Panics
    /// When it does not end.
    pub fn end(mut self) -> (bool, String) {
        let words = format!("the end of {}", self.name);
        let status = until(&words, || self.part.ended());
        (status.success(), self.rest())
    }

    fn rest(&mut self) -> String {
        for reader in self.readers.drain(..) {
            let _ = reader.join();
        }
        self.heard.lock().expect("readers do not panic").text.clone()
    }
}

fn listen(from: impl Read + Send + 'static, heard: &Arc<Mutex<Heard>>) -> JoinHandle<()> {
    let heard = Arc::clone(heard);
    std::thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            let mut heard = heard.lock().expect("nobody panics with it");
            heard.text += &line;
            heard.text.push('\n');
            heard.values.extend(serde_json::from_str(&line));
        }
    })
}

/// Runs a program of `tests/interop` and returns the one value it says.
///
/// # Panics
/// When it fails or says nothing.
pub fn ask(name: &str, args: &[&str], environment: &[(&str, &Path)]) -> Value {
    Peer::start(name, args, environment).answer()
}

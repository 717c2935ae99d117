//! Built programs as processes of a test, which end with it.

use crate::program;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// How long a test waits for what must come: the machine may be busy with other tests.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// Waits until `ready` gives something.
///
/// # Panics
/// When it does not in time; `what` says what was missed.
pub fn until<T>(what: &str, mut ready: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = ready() {
            return value;
        }
        assert!(Instant::now() < end, "waited {PATIENCE:?} in vain for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// What a file holds, once it holds something.
///
/// # Panics
/// When it does not in time.
pub fn content(path: &Path) -> String {
    let read = || std::fs::read_to_string(path).ok().filter(|text| !text.trim().is_empty());
    until(&path.display().to_string(), read).trim().to_owned()
}

/// How a part is started, again and again.
#[derive(Debug, Clone)]
pub struct Start {
    /// The built program.
    pub program: &'static str,
    /// Its arguments.
    pub args: Vec<String>,
    /// Added to the environment.
    pub environment: Vec<(String, String)>,
    /// Gets stdout and stderr, one run after the other.
    pub log: PathBuf,
}

impl Start {
    /// A program with its log in `log`.
    pub fn new(program: &'static str, args: &[&str], environment: &[(&str, &str)], log: PathBuf) -> Self {
        let owned = |text: &&str| (*text).to_owned();
        Self {
            program,
            args: args.iter().map(owned).collect(),
            environment: environment.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
            log,
        }
    }

    /// Starts it.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start(&self) -> Part {
        let log = std::fs::File::options().append(true).create(true).open(&self.log).expect("a log file");
        let child = Command::new(program(self.program))
            .args(&self.args)
            .envs(self.environment.iter().cloned())
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a log file"))
            .stderr(log)
            .spawn();
        Part::new(child.unwrap_or_else(|error| panic!("{} starts: {error}", self.program)))
    }
}

/// A running program, killed when dropped.
#[derive(Debug)]
pub struct Part(Child);

impl Part {
    /// Takes charge of a process.
    pub fn new(child: Child) -> Self {
        Self(child)
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.0.id()
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.0.try_wait().ok().flatten()
    }

    /// SIGTERM; whether it ended by itself with success.
    ///
    /// # Panics
    /// When it does not end.
    pub fn stop(mut self) -> bool {
        let sent = Command::new("kill").args(["-TERM", &self.0.id().to_string()]).status();
        assert!(sent.is_ok_and(|s| s.success()), "kill -TERM");
        until("a part to stop", || self.ended()).success()
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

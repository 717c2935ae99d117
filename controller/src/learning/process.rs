//! `headroom-train` as a child that gives way to everything else. It sets its own low priority
//! (`--background`) and ends with this process, however that ends.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

/// How much of what it said is told when it failed.
const LAST_WORDS: usize = 400;

/// A running child.
#[derive(Debug)]
pub struct Process {
    child: Child,
    said: PathBuf,
    log: PathBuf,
}

/// Where it stands.
#[derive(Debug)]
pub enum Status {
    /// Still at it.
    Running,
    /// Done; its last line on stdout.
    Done(String),
    /// Failed, with its last words.
    Failed(String),
}

impl Process {
    /// Starts it; what it says goes into `NAME.out` and `NAME.log` in `dir`.
    ///
    /// # Errors
    /// What the system said.
    pub fn start(program: &Path, arguments: &[String], threads: u32, dir: &Path, name: &str) -> io::Result<Self> {
        std::fs::create_dir_all(dir)?;
        let (said, log) = (dir.join(format!("{name}.out")), dir.join(format!("{name}.log")));
        let child = Command::new(program)
            .arg("--background")
            .args(arguments)
            .env("RAYON_NUM_THREADS", threads.to_string())
            .env("RUST_LOG", "info")
            .stdin(Stdio::null())
            .stdout(File::create(&said)?)
            .stderr(File::create(&log)?)
            .spawn()?;
        Ok(Self { child, said, log })
    }

    /// Looks without waiting.
    pub fn status(&mut self) -> Status {
        match self.child.try_wait() {
            Ok(None) => Status::Running,
            Ok(Some(status)) if status.success() => Status::Done(last_line(&self.said)),
            Ok(Some(status)) => Status::Failed(format!("{}: {}", ended(status), last_words(&self.log))),
            Err(why) => Status::Failed(format!("it cannot be waited for: {why}")),
        }
    }

    /// Ends it at once: a training's files are written whole or not at all.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

fn ended(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("ended by signal {signal}"),
        (None, None) => "ended".to_owned(),
    }
}

fn last_line(path: &Path) -> String {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines().rev().find(|l| !l.trim().is_empty()).unwrap_or_default().to_owned()
}

fn last_words(path: &Path) -> String {
    let text = std::fs::read(path).map(|b| String::from_utf8_lossy(&b).into_owned()).unwrap_or_default();
    let tail: Vec<char> = text.trim().chars().rev().take(LAST_WORDS).collect();
    tail.into_iter().rev().collect::<String>().replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    fn end(process: &mut Process) -> Status {
        let patience = Instant::now() + Duration::from_secs(60);
        loop {
            match process.status() {
                Status::Running => assert!(Instant::now() < patience, "it does not end"),
                other => return other,
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// `sh` in the place of the trainer: the first argument it gets is `--background`.
    fn script(dir: &Path, text: &str) -> PathBuf {
        let path = dir.join("trainer");
        std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    #[test]
    fn the_last_line_of_a_success_and_the_last_words_of_a_failure_are_told() {
        let dir = tempfile::tempdir().unwrap();
        let arguments = ["fit".to_owned()];
        let good = script(dir.path(), "echo table; echo \"$1 $2 $RAYON_NUM_THREADS\"; echo");
        let mut process = Process::start(&good, &arguments, 1, &dir.path().join("a"), "fit").unwrap();
        assert!(matches!(end(&mut process), Status::Done(line) if line == "--background fit 1"));
        let bad = script(dir.path(), "echo 'no data: 90 s are needed' >&2; exit 2");
        let mut process = Process::start(&bad, &arguments, 1, &dir.path().join("b"), "fit").unwrap();
        assert!(matches!(end(&mut process), Status::Failed(why) if why == "exit code 2: no data: 90 s are needed"));
    }

    #[test]
    fn one_that_hangs_is_ended() {
        let dir = tempfile::tempdir().unwrap();
        let hung = script(dir.path(), "trap '' TERM; while :; do sleep 1; done");
        let mut process = Process::start(&hung, &[], 1, dir.path(), "fit").unwrap();
        assert!(matches!(process.status(), Status::Running));
        process.kill();
        assert!(matches!(process.status(), Status::Failed(why) if why.starts_with("ended by signal 9")));
    }
}

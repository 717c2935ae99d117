//! A process of ourselves with another job, its log in a file, ended by SIGTERM.

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::process::{Child as Process, Command};

/// One running part.
pub struct Child {
    name: String,
    process: Process,
    log: PathBuf,
}

impl Child {
    /// Starts `headroom <args>`. In a process group of its own, so that Ctrl-C reaches only the
    /// front door, which stops the parts in the right order.
    pub fn start(name: &str, dir: &Path, args: &[&str], env: &[(&str, &str)]) -> anyhow::Result<Self> {
        let log = dir.join(format!("{name}.log"));
        let file = std::fs::File::create(&log).with_context(|| format!("{}", log.display()))?;
        let process = Command::new(std::env::current_exe()?)
            .args(args)
            .envs(env.iter().copied())
            .stdin(std::process::Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        Ok(Self { name: name.to_owned(), process, log })
    }

    /// The part's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Fails with the end of the log if the part has ended.
    pub fn check(&mut self) -> anyhow::Result<()> {
        match self.process.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("{} ended early ({status}):\n{}", self.name, self.log_tail()),
        }
    }

    /// Waits until `path` holds something, while the part lives.
    pub async fn file(&mut self, path: &Path, within: Duration) -> anyhow::Result<String> {
        let deadline = tokio::time::Instant::now() + within;
        loop {
            self.check()?;
            match std::fs::read_to_string(path) {
                Ok(text) if !text.trim().is_empty() => return Ok(text.trim().to_owned()),
                _ if tokio::time::Instant::now() > deadline => {
                    bail!("{} was not ready within {within:?}:\n{}", self.name, self.log_tail())
                }
                _ => tokio::time::sleep(Duration::from_millis(30)).await,
            }
        }
    }

    /// Asks the part to end and waits; true if it ended by itself with success.
    pub async fn stop(&mut self) -> bool {
        if let Ok(Some(status)) = self.process.try_wait() {
            return status.success();
        }
        if let Some(pid) = self.process.id().and_then(|id| Pid::from_raw(id.cast_signed())) {
            let _ = kill_process(pid, Signal::TERM);
        }
        match tokio::time::timeout(Duration::from_secs(10), self.process.wait()).await {
            Ok(Ok(status)) => status.success(),
            _ => {
                let _ = self.process.kill().await;
                false
            }
        }
    }

    fn log_tail(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(12)..].join("\n")
    }
}

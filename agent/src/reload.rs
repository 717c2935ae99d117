//! Another config while the agent runs: on SIGHUP, and by itself once a changed file has kept still.
//! Only what changed is restarted; a bad file leaves everything as it was and says why.

use crate::board::Board;
use crate::config::Config;
use crate::control::Changes;
use crate::serve::Server;
use crate::source::{modbus, mqtt};
use crate::{lines, service};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::signal::unix::Signal;
use tokio::sync::watch;

/// Between two looks at the files. A file that is being written differs from look to look.
const LOOK: Duration = Duration::from_secs(2);

/// What can follow the config, and the config it follows.
pub struct Parts {
    /// The config in force.
    pub config: watch::Sender<Arc<Config>>,
    /// The shared state.
    pub board: Arc<Board>,
    /// The Modbus buses.
    pub modbus: modbus::Buses,
    /// The DSX devices.
    pub mqtt: mqtt::Listeners,
    /// The control loop.
    pub control: Changes,
    /// `/metrics`.
    pub server: Server,
}

impl Parts {
    /// Restarts what differs from the config in force.
    pub async fn follow(&mut self, wanted: Config) {
        let former = self.config.borrow().clone();
        for section in fixed(&former, &wanted) {
            tracing::warn!(section, "changed, but this takes effect only at the next start of the agent");
        }
        let config = Arc::new(Config {
            site: former.site.clone(),
            rack: former.rack.clone(),
            nvml: former.nvml.clone(),
            spool: former.spool.clone(),
            broker: if former.broker.is_some() == wanted.broker.is_some() {
                wanted.broker
            } else {
                former.broker.clone()
            },
            ..wanted
        });
        if config.listen != former.listen {
            self.server.follow(&config, &self.board).await;
        }
        self.modbus.follow(&config.modbus).await;
        self.mqtt.follow(&config.mqtt);
        // The loop has ended only if the agent has.
        let _ = self.control.send((config.control, config.pdus()));
        self.config.send_replace(config);
    }

    /// Follows the file until the runtime ends.
    pub async fn keep_following(mut self, path: PathBuf, mut hangup: Signal) {
        let mut applied = Print::of(&path, &self.config.borrow().files);
        let mut seen = applied.clone();
        loop {
            let asked = tokio::select! {
                Some(()) = hangup.recv() => true,
                () = tokio::time::sleep(LOOK) => false,
            };
            let now = Print::of(&path, &self.config.borrow().files);
            let kept_still = now == std::mem::replace(&mut seen, now.clone());
            if !asked && (now == applied || !kept_still) {
                continue;
            }
            service::reloading();
            let taken = self.reload(&path).await;
            // The new config may name other files.
            applied = Print::of(&path, &self.config.borrow().files);
            seen = applied.clone();
            service::ready(if taken { "config reloaded" } else { "a changed config is refused, see the log" });
        }
    }

    async fn reload(&mut self, path: &Path) -> bool {
        let read = match Config::load(path) {
            Ok(config) => {
                tracing::info!(file = %path.display(), "the config is read again");
                lines::summary(&config).for_each(|line| tracing::info!("{line}"));
                self.follow(config).await;
                true
            }
            Err(mistakes) => {
                mistakes.iter().for_each(|mistake| tracing::error!("{mistake}"));
                tracing::error!(mistakes = mistakes.len(), "the new config is refused; the old one stays in force");
                false
            }
        };
        self.board.own(|own| {
            own.reloads += u64::from(read);
            own.config_refused = !read;
        });
        read
    }
}

/// The changed sections that nothing can follow while the agent runs.
fn fixed(former: &Config, wanted: &Config) -> impl Iterator<Item = &'static str> {
    let changed = [
        ("site", former.site != wanted.site),
        ("rack", former.rack != wanted.rack),
        ("[nvml]", former.nvml != wanted.nvml),
        ("[spool]", former.spool != wanted.spool),
        ("uplink", former.broker.is_some() != wanted.broker.is_some()),
    ];
    changed.into_iter().filter(|(_, differs)| *differs).map(|(section, _)| section)
}

/// What tells one state of the files from another, without reading them.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Print(Vec<(PathBuf, Option<(SystemTime, u64)>)>);

impl Print {
    fn of(config: &Path, others: &[PathBuf]) -> Self {
        let mut all = vec![config.to_owned()];
        for path in others {
            all.push(path.clone());
            let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
            all.extend(entries.map(|entry| entry.path()).filter(|p| p.extension().is_some_and(|e| e == "toml")));
        }
        all.sort();
        let of_file = |path: PathBuf| {
            let print = std::fs::metadata(&path).and_then(|m| Ok((m.modified()?, m.len()))).ok();
            (path, print)
        };
        Self(all.into_iter().map(of_file).collect())
    }
}

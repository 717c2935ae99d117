//! What others than the service ask a config: where its controller is spoken to, where its policy and its record are.

use super::document::{self, Mistakes, Table};
use super::{ConfigError, text};
use crate::influx::Token;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// Where a config says that its policy file, if it has one, and its record are. Nothing else is looked at.
///
/// # Errors
/// [`ConfigError`] when that cannot be read.
pub fn places(path: &Path) -> Result<(Option<PathBuf>, PathBuf), ConfigError> {
    let text = text(path)?;
    let beside = |name: String| path.parent().unwrap_or(Path::new("")).join(name);
    document::read(&path.display().to_string(), &text, |root, m| {
        root.ignore_rest();
        let own = root.table("policy").get::<String>("file").map(|s| beside(s.value));
        let dir = root.table("record").need::<String>("dir", "\"record\"")?;
        m.is_empty().then(|| (own, PathBuf::from(dir.value)))
    })
    .map_err(ConfigError::Mistakes)
}

/// Where a running controller is spoken to.
#[derive(Debug)]
pub struct Door {
    /// Where its console listens.
    pub listen: SocketAddr,
    /// What it asks of who commands from another machine.
    pub token: Option<Token>,
    /// And of who asks for a training.
    pub learning_token: Option<Token>,
}

/// Where a config says that its controller is spoken to. Nothing else is looked at: who holds a rack by hand needs
/// neither the service's other secrets nor a policy file without mistakes.
///
/// # Errors
/// [`ConfigError`] when that cannot be read.
pub fn door(path: &Path) -> Result<Door, ConfigError> {
    let text = text(path)?;
    document::read(&path.display().to_string(), &text, |root, m| {
        root.ignore_rest();
        let serve = root.table("serve");
        // On this machine, and at a controller that asks for none, no token is needed: a name of one that is not set
        // here is no mistake.
        let token = |table: &Table<'_>| {
            let name = table.get::<String>("token_env")?.value;
            std::env::var(name).ok().filter(|value| !value.is_empty()).map(Token::new)
        };
        let (token, learning_token) = (token(&serve), token(&root.table("learning")));
        serve.ignore_rest();
        Some(Door { listen: listen(&serve, m)?, token, learning_token })
    })
    .map_err(ConfigError::Mistakes)
}

pub(super) fn listen(table: &Table<'_>, m: &Mistakes) -> Option<SocketAddr> {
    let spot = table.get::<String>("listen");
    table.refuse_unknown();
    let Some(spot) = spot else { return Some(([127, 0, 0, 1], 7878).into()) };
    let address = spot.value.parse().ok();
    if address.is_none() {
        let problem = format!("listen in [serve] is not an address with a port: {:?}", spot.value);
        m.add(spot.at, problem, "write listen = \"127.0.0.1:7878\"");
    }
    address
}

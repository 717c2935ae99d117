//! A config whose policy file has mistakes: the last version that was in force and is still sound holds in its place, so
//! that a slip of the pen does not leave the plant without a controller.

use super::Versions;
use crate::config::{self, Config, ConfigError, Mistake, Refused};
use std::path::Path;

/// Reads and checks a config file. If it is the policy file that has mistakes, a version that was kept stands in for it,
/// and the config says so.
///
/// # Errors
/// Every mistake, where no version that was kept makes the config sound.
pub fn load(path: &Path) -> Result<Config, ConfigError> {
    match config::load(path) {
        Err(ConfigError::Mistakes(mistakes)) => under_a_version(path, mistakes),
        other => other,
    }
}

fn under_a_version(path: &Path, mistakes: Vec<Mistake>) -> Result<Config, ConfigError> {
    let (Some(file), dir) = config::places(path)? else { return Err(ConfigError::Mistakes(mistakes)) };
    let file = file.display().to_string();
    if !mistakes.iter().any(|m| m.file == file) {
        return Err(ConfigError::Mistakes(mistakes));
    }
    let versions = Versions::new(&dir);
    for version in versions.list().unwrap_or_default().into_iter().rev().map(|v| v.version) {
        if let Ok(config) = config::load_under(path, &versions.path(version)) {
            return Ok(Config { refused: Some(Refused { version, mistakes }), ..config });
        }
    }
    tracing::error!(%file, dir = %dir.display(), "the policy file has mistakes, and no version of it that would do is kept");
    Err(ConfigError::Mistakes(mistakes))
}

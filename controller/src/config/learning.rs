//! The `[learning]` section: trainings on this controller's own record.

use super::Model;
use super::document::{Mistakes, Table};
use super::value::{ranged, secret};
use crate::influx::Token;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The trainer, beside this program unless the config says otherwise.
const PROGRAM: &str = "headroom-train";

/// A sound `[learning]`.
#[derive(Debug, Clone)]
pub struct Learning {
    /// Time between trainings; none: only when asked.
    pub every: Option<Duration>,
    /// `headroom-train`.
    pub program: PathBuf,
    /// Run folders and promoted models.
    pub dir: PathBuf,
    /// A training or comparison that takes longer is ended.
    pub time_limit: Duration,
    /// How long a better model runs beside the one in use.
    pub shadow: Duration,
    /// Run folders kept.
    pub keep_runs: usize,
    /// Cores a training may use.
    pub threads: u32,
    /// More options of `headroom-train fit`.
    pub fit: Vec<String>,
    /// Who has it may ask for a training from another machine.
    pub token: Option<Token>,
}

/// What `fit` is told by the controller itself.
const OURS: [&str; 5] = ["--out", "--record", "--csv", "--nameplate-watts", "--resume"];

pub(super) fn read(
    table: &Table<'_>,
    record: Option<&crate::record::Options>,
    model: &Model,
    m: &Mistakes,
) -> Option<Learning> {
    if !table.is_there() {
        return None;
    }
    let number =
        |key, default, low, high| ranged(table.get(key), default, low, high, &format!("{key} in [learning]"), m);
    let every_hours = number("every_hours", 24.0, 0.0, 8760.0);
    let time_limit = number("time_limit_minutes", 240.0, 0.01, 10_080.0);
    let shadow = number("shadow_minutes", 1440.0, 0.01, 43_200.0);
    let keep_runs = number("keep_runs", 3.0, 1.0, 1000.0);
    let threads = number("threads", 1.0, 1.0, 1024.0);
    let program = table.get::<String>("program");
    let dir = table.get::<String>("dir");
    let fit = table.get::<Vec<String>>("fit");
    let token = secret(table, "token_env", false, m);
    table.refuse_unknown();
    if !model.enabled {
        m.add(table.at(), "[learning] with [model] enabled = false trains what is never used", "remove one of the two");
    }
    if let Some(fit) = &fit
        && let Some(ours) = fit.value.iter().find(|word| OURS.iter().any(|o| word.split('=').next() == Some(*o)))
    {
        m.add(fit.at, format!("fit in [learning] holds {ours:?}, which the controller sets itself"), "leave it out");
    }
    let beside = || std::env::current_exe().ok().and_then(|own| Some(own.parent()?.join(PROGRAM)));
    let (at, found) = match program {
        Some(spot) => (spot.at, Some(PathBuf::from(spot.value))),
        None => (table.at(), beside()),
    };
    let found = found.unwrap_or_else(|| PROGRAM.into());
    if !is_program(&found) {
        m.add(
            at,
            format!("[learning] needs the trainer, and {} is no program", found.display()),
            format!("install {PROGRAM} there or write program = \"/PATH/TO/{PROGRAM}\""),
        );
    }
    Some(Learning {
        every: (every_hours > 0.0).then(|| Duration::from_secs_f64(every_hours * 3600.0)),
        program: found,
        dir: dir.map_or_else(|| record.map(|r| r.dir.join("learning")).unwrap_or_default(), |d| d.value.into()),
        time_limit: Duration::from_secs_f64(time_limit * 60.0),
        shadow: Duration::from_secs_f64(shadow * 60.0),
        keep_runs: keep_runs as usize,
        threads: threads as u32,
        fit: fit.map(|f| f.value).unwrap_or_default(),
        token: token.map(Token::new),
    })
}

fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path).is_ok_and(|f| f.is_file() && f.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use crate::config::{ConfigError, DEFAULT, parse};

    #[test]
    fn learning_is_off_unless_it_is_configured_and_its_defaults_are_sound() {
        assert!(parse("c", DEFAULT).unwrap().learning.is_none());
        let learning =
            parse("c", &format!("{DEFAULT}\n[learning]\nprogram = \"/bin/sh\"\n")).unwrap().learning.unwrap();
        assert_eq!(learning.dir, std::path::Path::new("record/learning"));
        assert_eq!((learning.every.unwrap().as_secs(), learning.keep_runs, learning.threads), (86_400, 3, 1));
        let never = parse("c", &format!("{DEFAULT}\n[learning]\nprogram = \"/bin/sh\"\nevery_hours = 0\n")).unwrap();
        assert_eq!(never.learning.unwrap().every, None);
    }

    #[test]
    fn each_mistake_is_named() {
        let text = DEFAULT.replace("enabled = true", "enabled = false")
            + "\n[learning]\nprogram = \"/nowhere\"\nshadow_minutes = 0\nfit = [\"--out=x\"]\nhours = 3\n";
        let Err(ConfigError::Mistakes(found)) = parse("c", &text) else { panic!("it was accepted") };
        let text: String = found.iter().map(|m| format!("{m}\n")).collect();
        for word in ["/nowhere is no program", "shadow_minutes", "--out=x", "hours", "never used"] {
            assert!(text.contains(word), "{word} is not in:\n{text}");
        }
        assert_eq!(found.len(), 5, "{text}");
    }
}

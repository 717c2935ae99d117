//! What every program does with its log: lines go to stderr, `RUST_LOG` sets the level, and colours
//! are for a person at a terminal. What is logged is each program's own business.

use std::ffi::OsStr;
use std::io::IsTerminal;
use std::sync::Once;
use tracing_subscriber::EnvFilter;

/// Starts the log of this process; `level` holds where `RUST_LOG` is not set or makes no sense. A
/// second call changes nothing: the front door runs other programs' entry points.
pub fn start(level: &str) {
    end_quietly_when_nobody_reads();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let _ = log.with_ansi(colours(&std::io::stderr())).try_init();
}

/// `headroom-agent profiles | head` closes our output early, where `println!` panics: the program still ends by unwinding, so that what it
/// started is ended too, but there is nothing to tell.
fn end_quietly_when_nobody_reads() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let tell = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            let said = panic.payload_as_str().unwrap_or_default();
            if !(said.starts_with("failed printing to stdout") && said.contains("Broken pipe")) {
                tell(panic);
            }
        }));
    });
}

/// Whether what is written to `stream` may have colours.
pub fn colours(stream: &impl IsTerminal) -> bool {
    may_have_colours(stream.is_terminal(), std::env::var_os("NO_COLOR").as_deref())
}

/// <https://no-color.org>: the variable counts when it is there and not empty, whatever it says.
fn may_have_colours(is_terminal: bool, no_color: Option<&OsStr>) -> bool {
    is_terminal && no_color.is_none_or(OsStr::is_empty)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_for_a_terminal_whose_user_does_not_decline_them() {
        let said = |text: &'static str| Some(OsStr::new(text));
        assert!(may_have_colours(true, None) && may_have_colours(true, said("")));
        assert!(!may_have_colours(true, said("1")) && !may_have_colours(true, said("0")));
        assert!(!may_have_colours(false, None) && !may_have_colours(false, said("")));
    }
}

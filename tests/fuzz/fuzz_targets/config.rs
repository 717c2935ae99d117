#![no_main]
//! An agent's config: refused with a place and a remedy, or taken.

use headroom_agent::config::Config;
use libfuzzer_sys::fuzz_target;
use std::path::Path;

fuzz_target!(|text: &str| {
    // Paths in it would lead to files of this machine, and devices of it may never answer.
    if text.contains("_dir") || text.contains("_file") {
        return;
    }
    if let Err(mistakes) = Config::parse("fuzz.toml", text, Path::new("/nonexistent")) {
        assert!(!mistakes.is_empty());
        assert!(mistakes.iter().all(|m| m.line > 0 && !m.remedy.is_empty() && !m.to_string().is_empty()));
    }
});

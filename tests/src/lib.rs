//! What the system tests share: where the built programs are, a run of the front door, the simulated
//! row (`plant`), one that is left to its guards (`guarded`), one whose parts can be killed (`row`), in `comparison` what was read beside
//! what is, `cost` in time and memory, peers of other projects (`peer`), and a `browser`.

pub mod browser;
pub mod comparison;
pub mod cost;
pub mod guarded;
pub mod http;
pub mod mosquitto;
pub mod parts;
pub mod peer;
pub mod plant;
pub mod row;

use serde_json::Value;
use std::path::PathBuf;
use std::process::Command;

/// The built program of this name; `tests/run` builds the workspace before it tests. A measurement names in
/// `HEADROOM_TEST_PROGRAMS` a folder whose programs come first: those of another profile.
///
/// # Panics
/// When it is not there.
pub fn program(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("a test runs from a file");
    let first = std::env::var_os("HEADROOM_TEST_PROGRAMS").map(PathBuf::from);
    let dirs = first.iter().map(PathBuf::as_path).chain(test.ancestors());
    let found = dirs.map(|dir| dir.join(name)).find(|path| path.is_file());
    found.unwrap_or_else(|| panic!("{name} is not built: run `cargo build --release --workspace` or ./tests/run"))
}

/// Runs the demonstration headless; its exit code, summary and story.
///
/// # Panics
/// When it cannot be started or leaves no summary.
pub fn demonstration(args: &[&str]) -> (Option<i32>, Value, String) {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let summary = dir.path().join("summary.json");
    let run = Command::new(program("headroom"))
        .args(["--listen", "127.0.0.1:0", "--summary"])
        .arg(&summary)
        .arg("--dir")
        .arg(dir.path().join("run"))
        .args(args)
        .output()
        .expect("the front door starts");
    let story = String::from_utf8_lossy(&run.stdout).into_owned() + &String::from_utf8_lossy(&run.stderr);
    let text = std::fs::read_to_string(&summary).unwrap_or_else(|e| panic!("no summary ({e}):\n{story}"));
    (run.status.code(), serde_json::from_str(&text).expect("the summary is JSON"), story)
}

/// A file or folder of the repository.
pub fn repository(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).parent().expect("tests has a parent").join(path)
}

/// Runs a program to its end with success and gives what it said, stdout before stderr.
///
/// # Panics
/// When it is not there, with the Debian package that has it, or when it fails.
pub fn succeed(command: &mut Command, package: &str) -> String {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().unwrap_or_else(|why| panic!("{name}: {why}; install {package} or run ./tests/run"));
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name} failed ({}):\n{said}", output.status);
    said
}

//! Logs in files and pipes are plain text: every program, by something it does log. A reader that has gone is nothing to log.

use headroom_tests::program;
use std::path::Path;
use std::process::{Command, Output, Stdio};

const ESCAPE: u8 = 0x1b;

/// What a program said in an environment that asks for nothing about colours.
fn output(name: &str, args: &[&str]) -> Output {
    let mut command = Command::new(program(name));
    command.args(args).env_remove("NO_COLOR").env_remove("RUST_LOG").env("TERM", "xterm-256color");
    command.output().unwrap_or_else(|error| panic!("{name} starts: {error}"))
}

fn is_plain(name: &str, args: &[&str], said: &str) {
    let output = output(name, args);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(text.contains(said), "{name} did not log {said:?}, so nothing was shown:\n{text}");
    let coloured = |bytes: &[u8]| bytes.contains(&ESCAPE);
    assert!(!coloured(&output.stderr) && !coloured(&output.stdout), "{name} writes colours into a pipe:\n{text}");
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a temporary path in text")
}

#[test]
fn no_program_writes_colours_into_a_pipe() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let trace = dir.path().join("trace.csv");
    is_plain("headroom-sim", &["trace", "--hours", "0.3", "--out", text(&trace)], "INFO");

    let run = dir.path().join("run");
    let fit = ["fit", "--csv", text(&trace), "--out", text(&run), "--epochs", "1", "--stride", "20", "--width", "8"];
    is_plain("headroom-train", &fit, "INFO");

    let config = dir.path().join("agent.toml");
    let nobody =
        "site='s'\nrack='r'\n[broker]\nurl='mqtt://127.0.0.1:1'\n[nvml]\nlibrary='/nonexistent/libnvidia-ml.so'\n";
    std::fs::write(&config, nobody).expect("a file in it");
    is_plain("headroom-agent", &["probe", "--config", text(&config)], "ERROR");

    let in_the_way = text(&config);
    is_plain("headroom-controller", &["broker", "--listen", "127.0.0.1:0", "--dir", in_the_way], "ERROR");
}

#[test]
fn a_program_whose_reader_has_gone_says_nothing_about_it() {
    for (name, args) in [
        ("headroom-agent", &["profiles", "--reference"][..]),
        ("headroom-controller", &["default-config"]),
        ("headroom-controller", &["curves"]),
        ("headroom-train", &["fit", "--help"]),
    ] {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let mut command = Command::new(program(name));
        let child = command.args(args).stdout(writer).stderr(Stdio::piped()).spawn().expect("it starts");
        let output = child.wait_with_output().expect("it ends");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.is_empty(), "{name} {args:?} wrote to a reader that has gone and said:\n{said}");
    }
}

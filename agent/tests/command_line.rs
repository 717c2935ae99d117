//! The program as a person or a service manager sees it: exit codes, mistakes with line and
//! remedy, a clean stop.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Output};

fn agent(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_headroom-agent")).args(arguments).output().expect("the program starts")
}

fn file(name: &str, text: &str) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join(name);
    std::fs::File::create(&path).and_then(|mut f| f.write_all(text.as_bytes())).expect("a file in it");
    (dir, path)
}

fn check(text: &str) -> (Option<i32>, String) {
    let (_dir, path) = file("agent.toml", text);
    let output = agent(&["check", "--config", path.to_str().expect("a path in text")]);
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn five_mistakes_are_reported_at_once_with_line_and_remedy() {
    let (code, said) = check(
        r#"site = "Demo Hall"
rack = "rack-1"
[broker]
url = "http://127.0.0.1:1883"
[[modbus]]
device = "pdu-a"
profile = "eastron-630"
address = "127.0.0.1:502"
poll_ms = 5
[control]
enabled = true
safe_gpu_wats = 400
safe_gpu_watts = 400
"#,
    );
    assert_eq!(code, Some(2), "{said}");
    for (line, remedy) in [
        (1, "use 1 to 64 of a-z"),
        (4, "write mqtt://host:port"),
        (7, "the profiles are: abb-acs550, abb-b23, "),
        (9, "it must be a whole number from 50 to 60000"),
        (12, "the keys here are:"),
    ] {
        let at = said.find(&format!("agent.toml:{line}: ")).unwrap_or_else(|| panic!("line {line} is missing: {said}"));
        assert!(said[at..].lines().nth(1).is_some_and(|l| l.contains(remedy)), "line {line}: {said}");
    }
    assert!(said.contains("5 mistakes"), "{said}");
}

#[test]
fn a_profile_with_a_wrong_type_is_refused_with_its_file_and_line() {
    let (dir, profile) = file(
        "mine.toml",
        "name='mine'\nclass='pdu'\ndescribes='d'\nsource='s'\nvalidated='v'\n[probe]\nregister='input'\naddress=0\n\
         [[point]]\nsignal='pdu_power_watts'\nregister='input'\naddress=0\ntype='f33'\n",
    );
    let config = dir.path().join("agent.toml.config");
    let text = format!("site='s'\nrack='r'\nprofiles_dir='{}'\n[broker]\nurl='mqtt://h:1'\n", dir.path().display());
    std::fs::write(&config, text).expect("a file");
    let output = agent(&["check", "--config", config.to_str().expect("a path in text")]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains(&format!("{}:13: ", profile.display())) && said.contains("\"f32\""), "{said}");
}

#[test]
fn a_config_that_is_not_there_and_a_wrong_command_exit_with_two() {
    assert_eq!(agent(&["check", "--config", "/nonexistent.toml"]).status.code(), Some(2));
    assert_eq!(agent(&["fly"]).status.code(), Some(2));
}

#[test]
fn the_profiles_are_listed_with_their_sources() {
    let output = agent(&["profiles"]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success());
    for name in ["eastron-sdm630", "delta-dph", "openrack-rpu", "source:", "validated"] {
        assert!(said.contains(name), "{said}");
    }
}

#[test]
fn a_right_config_passes() {
    let (code, said) = check("site = \"demo\"\nrack = \"rack-1\"\n[broker]\nurl = \"mqtt://127.0.0.1:1883\"\n");
    assert_eq!(code, Some(0), "{said}");
}

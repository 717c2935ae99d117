//! Bad input as an operator meets it: whichever program reads a file, it names every mistake with
//! file, line and what would be right, ends with 2 and has started nothing.

use headroom_tests::program;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A line of a file, what must be said of it, and what would be right.
type Mistake = (usize, &'static str, &'static str);

const AGENT: (&str, &[Mistake]) = (
    "site = \"Demo Hall\"\nrack = \"rack-1\"\n[broker]\nurl = \"http://127.0.0.1:1883\"\n[[modbus]]\ndevice = \"pdu-a\"\n\
     profile = \"eastron-630\"\naddress = \"127.0.0.1:502\"\npoll_ms = 5\n[control]\nenabled = true\nsafe_gpu_watts = 400\n\
     safe_gpu_wats = 400\n",
    &[
        (1, "\"Demo Hall\"", "use 1 to 64 of a-z"),
        (4, "\"http://127.0.0.1:1883\"", "write mqtt://host:port"),
        (7, "\"eastron-630\"", "the profiles are: abb-acs550, abb-b23, "),
        (9, "`modbus[1].poll_ms` is 5", "from 50 to 60000"),
        (13, "`control.safe_gpu_wats`", "the keys here are:"),
    ],
);
const SCENARIO: (&str, &[Mistake]) = (
    "site = \"Demo Hall\"\nseeed = 2\n[electrical]\nvolts = 2400\n[[rack]]\nid = \"rack-1\"\ngpus = 8.5\n\
     workload = \"mining\"\nlevel = [[0, 0.1], [10, 1.0]]\n[[fault]]\nat_s = 3\nkind = \"xid\"\ntarget = \"rack-9/gpu-0\"\n",
    &[
        (1, "\"Demo Hall\"", "use a-z"),
        (2, "seeed", "known are site, seed"),
        (4, "volts = 2400", "from 100 to 300"),
        (7, "gpus = 8.5", "a whole number"),
        (8, "\"mining\"", "training, inference, batch, idle"),
        (13, "\"rack-9/gpu-0\"", "rack-1/gpu-0 to gpu-7"),
    ],
);
/// Slips in the controller's own default: what is there, what is put there, and what must be said.
const CONTROLLER: &[(&str, &str, &str, &str)] = &[
    ("mode = \"automatic\"", "mode = \"auto\"", "is not known", "\"automatic\", \"advisory\""),
    ("lease_ms = 5000", "lease_ms = 500", "shorter than two periods", "write lease_ms = 5000"),
    ("listen = \"127.0.0.1:7878\"", "listen = \"localhost\"", "not an address with a port", "127.0.0.1:7878"),
    ("rating_amperes = 16.0", "rating_ampere = 16.0", "`rating_ampere`", "did you mean `rating_amperes`?"),
    ("share = 0.5", "share = 0.7", "add up to 1.2", "let them add up to 1"),
];

fn said(name: &str, args: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(program(name)).args(args).output().unwrap_or_else(|e| panic!("{name} starts: {e}"));
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.code(), text)
}

/// Runs a program on a bad file and holds what it says against the mistakes in the file.
fn is_refused(name: &str, args: &[&str], file: &Path, mistakes: &[Mistake]) {
    let (code, said) = said(name, args);
    assert_eq!(code, Some(2), "{name} {args:?}:\n{said}");
    for (line, problem, remedy) in mistakes {
        let place = format!("{}:{line}: ", file.display());
        let at = said.find(&place).unwrap_or_else(|| panic!("{name} {args:?} does not name {place}:\n{said}"));
        // The remedy stands on the same line or on the next one.
        let lines: Vec<&str> = said[at..].lines().take(2).collect();
        assert!(lines[0].contains(problem), "{name} {args:?}: no {problem} in {lines:?}");
        assert!(lines.concat().contains(remedy), "{name} {args:?}: no {remedy:?} in {lines:?}");
    }
}

fn file(dir: &Path, name: &str, text: &str) -> (PathBuf, String) {
    let path = dir.join(name);
    std::fs::write(&path, text).expect("a file");
    let text = path.display().to_string();
    (path, text)
}

#[test]
fn an_agent_does_not_run_on_a_config_with_mistakes() {
    let dir = tempfile::tempdir().expect("a folder");
    let (path, config) = file(dir.path(), "agent.toml", AGENT.0);
    for command in ["run", "check", "probe", "safe-share"] {
        is_refused("headroom-agent", &[command, "--config", &config], &path, AGENT.1);
    }
    is_refused("headroom", &["agent", "run", "--config", &config], &path, AGENT.1);
}

#[test]
fn a_controller_does_not_run_on_a_config_with_mistakes() {
    let dir = tempfile::tempdir().expect("a folder");
    let (_, mut text) = said("headroom-controller", &["default-config"]);
    for (right, wrong, ..) in CONTROLLER {
        assert!(text.contains(right), "the default config has no {right}");
        text = text.replacen(right, wrong, 1);
    }
    let (path, config) = file(dir.path(), "controller.toml", &text);
    let line = |wrong: &str| 1 + text.lines().position(|l| l.contains(wrong)).expect("put there above");
    let mistakes: Vec<Mistake> =
        CONTROLLER.iter().map(|(_, wrong, problem, remedy)| (line(wrong), *problem, *remedy)).collect();
    for command in ["run", "check"] {
        is_refused("headroom-controller", &[command, "--config", &config], &path, &mistakes);
    }
    is_refused("headroom", &["controller", "run", "--config", &config], &path, &mistakes);
}

#[test]
fn neither_the_simulator_nor_the_front_door_runs_on_a_scenario_with_mistakes() {
    let dir = tempfile::tempdir().expect("a folder");
    let (path, scenario) = file(dir.path(), "scenario.toml", SCENARIO.0);
    let run = dir.path().join("run");
    let of_run = run.display().to_string();
    is_refused("headroom-sim", &["check", "--scenario", &scenario], &path, SCENARIO.1);
    is_refused("headroom-sim", &["run", "--scenario", &scenario, "--dir", &of_run], &path, SCENARIO.1);
    is_refused("headroom", &["sim", "run", "--scenario", &scenario, "--dir", &of_run], &path, SCENARIO.1);
    let demonstration = ["--listen", "127.0.0.1:0", "--for", "1s", "--scenario", &scenario, "--dir", &of_run];
    is_refused("headroom", &demonstration, &path, SCENARIO.1);
    assert!(!run.exists(), "something was started");
    let (code, said) = said("headroom", &["--scenario", "/no/such/scenario.toml"]);
    assert!(code == Some(2) && said.contains("/no/such/scenario.toml"), "{code:?}: {said}");
}

#[test]
fn an_agent_does_not_run_on_a_profile_with_a_wrong_type_or_an_unknown_key() {
    let dir = tempfile::tempdir().expect("a folder");
    let (path, _) = file(
        dir.path(),
        "mine.toml",
        "name = \"mine\"\nclass = \"pdu\"\ndescribes = \"d\"\nsource = \"s\"\nvalidated = \"v\"\n[probe]\nregister = \"input\"\n\
         address = 0\n[[point]]\nsignal = \"pdu_power_watts\"\nregister = \"input\"\naddress = 0\ntype = \"f33\"\nscael = 2.0\n",
    );
    let elsewhere = tempfile::tempdir().expect("a folder");
    let text = format!(
        "site = \"s\"\nrack = \"r\"\nprofiles_dir = {:?}\n[broker]\nurl = \"mqtt://127.0.0.1:1883\"\n",
        dir.path().display().to_string()
    );
    let (_, config) = file(elsewhere.path(), "agent.toml", &text);
    let mistakes: &[Mistake] = &[(13, "\"f33\"", "\"f32\""), (14, "`point[1].scael`", "scale")];
    is_refused("headroom-agent", &["run", "--config", &config], &path, mistakes);
}

//! The program from outside: what it says about bad configs, and its exit codes.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers too")]

use std::process::{Command, Output};

fn program(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_headroom-controller")).args(args).output().unwrap()
}

fn default_config() -> String {
    String::from_utf8(program(&["default-config"]).stdout).unwrap()
}

fn check(text: &str) -> (Option<i32>, String) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("controller.toml");
    std::fs::write(&path, text).unwrap();
    let output = program(&["check", "--config", path.to_str().unwrap()]);
    let said = String::from_utf8(output.stderr).unwrap();
    (output.status.code(), said.replace(path.to_str().unwrap(), "controller.toml"))
}

fn line_of(text: &str, part: &str) -> usize {
    text.lines().position(|l| l.contains(part)).unwrap() + 1
}

#[test]
fn the_default_config_passes_its_own_check() {
    assert_eq!(check(&default_config()).0, Some(0));
}

#[test]
fn five_mistakes_are_reported_at_once_with_file_line_and_remedy() {
    let text = default_config()
        .replacen("mode = \"automatic\"", "mode = \"auto\"", 1)
        .replacen("lease_ms = 5000", "lease_ms = 500", 1)
        .replacen("listen = \"127.0.0.1:7878\"", "listen = \"localhost\"", 1)
        .replacen("rating_amperes = 16.0", "rating_ampere = 16.0", 1)
        .replacen("share = 0.5", "share = 0.7", 1);
    let (code, said) = check(&text);
    assert_eq!(code, Some(2), "{said}");
    for (part, problem, remedy) in [
        ("mode = \"auto\"", "mode = \"auto\" is not known", "\"automatic\", \"advisory\""),
        ("lease_ms = 500 ", "shorter than two periods", "write lease_ms = 5000"),
        ("listen = \"localhost\"", "not an address with a port", "127.0.0.1:7878"),
        ("rating_ampere = ", "`rating_ampere` in [[node]] number 3 is not known", "did you mean `rating_amperes`?"),
        ("share = 0.7", "add up to 1.2", "let them add up to 1"),
    ] {
        let line = format!("controller.toml:{}: ", line_of(&text, part));
        let found = said.lines().any(|l| l.starts_with(&line) && l.contains(problem));
        assert!(found, "no {line}... {problem} in\n{said}");
        assert!(said.contains(remedy), "no {remedy} in\n{said}");
    }
    assert!(said.contains("6 mistakes"), "the misspelt key is also missing by its right name:\n{said}");
}

#[test]
fn a_file_that_is_no_toml_names_every_broken_line() {
    let (code, said) = check("site = \nhost = \"c\n");
    assert_eq!(code, Some(2));
    assert!(said.contains("controller.toml:1: not valid TOML"), "{said}");
    assert!(said.contains("controller.toml:2: not valid TOML"), "{said}");
}

#[test]
fn a_missing_token_variable_is_named_and_no_secret_is_printed() {
    let text = default_config()
        + "\n[influx]\nurl = \"http://127.0.0.1:8086\"\norg = \"o\"\nbucket = \"b\"\ntoken_env = \"HEADROOM_NO_SUCH_VARIABLE\"\n";
    let (code, said) = check(&text);
    assert_eq!(code, Some(2));
    assert!(said.contains("\"HEADROOM_NO_SUCH_VARIABLE\", which is not set"), "{said}");
}

#[test]
fn wrong_usage_and_a_missing_file_end_with_2() {
    assert_eq!(program(&["run"]).status.code(), Some(2));
    assert_eq!(program(&["run", "--config", "no/such/file.toml"]).status.code(), Some(2));
    assert_eq!(program(&["--version"]).status.code(), Some(0));
}

#[test]
fn a_record_that_cannot_be_made_ends_with_1() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "in the way").unwrap();
    let text = default_config().replacen("dir = \"record\"", &format!("dir = {:?}", file.join("record")), 1).replacen(
        "127.0.0.1:7878",
        "127.0.0.1:0",
        1,
    );
    let path = dir.path().join("controller.toml");
    std::fs::write(&path, text).unwrap();
    let output = program(&["run", "--config", path.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8(output.stderr).unwrap().contains("cannot make"));
}

#[test]
fn the_curves_it_knows_are_told_with_their_source_and_a_wrong_name_with_the_right_ones() {
    let all = String::from_utf8(program(&["curves"]).stdout).unwrap();
    for name in ["iec60898-b", "iec60947-k", "ul489-tm", "electronic-lsi", "iec60269-gg", "huawei-ups2000-g-3k-hot"] {
        assert!(all.contains(name), "{name} is not in\n{all}");
    }
    let json = program(&["curves", "iec60898-c", "--ambient", "40", "--amperes", "16", "--json"]).stdout;
    let told: serde_json::Value = serde_json::from_slice(&json).unwrap();
    assert_eq!((&told["confidence"], &told["curve"]["rating_left_ratio"]), (&"standard".into(), &0.94.into()));
    let at = |ratio: f64| {
        told["curve"]["earliest"].as_array().unwrap().iter().find(|r| r["ratio"] == ratio).unwrap().clone()
    };
    assert_eq!((&at(1.45)["latest_s"], &at(1.13)["latest_s"]), (&3600.0.into(), &serde_json::Value::Null));
    let text = String::from_utf8(program(&["curves", "ul489-tm", "--amperes", "20"]).stdout).unwrap();
    assert!(text.contains("120.00 s"), "{text}");
    let ups = String::from_utf8(program(&["curves", "ups-market"]).stdout).unwrap();
    assert!(ups.contains("not stated") && ups.contains("no latest trip: the table states"), "{ups}");
    let wrong = program(&["curves", "iec60898-e"]);
    assert_eq!(wrong.status.code(), Some(2));
    assert!(String::from_utf8(wrong.stderr).unwrap().contains("iec60898-d"));
    let missing = String::from_utf8(program(&["curves", "electronic-lsi"]).stderr).unwrap();
    for part in ["needs tr_s; give it as --tr", "needs ii; give it as --ii"] {
        assert!(missing.contains(part), "{part} is not in {missing}");
    }
    let unused = program(&["curves", "iec60898-c", "--tr", "8", "--isd", "2"]);
    let text = String::from_utf8(unused.stderr).unwrap();
    for part in ["`tr_s` has no effect on iec60898-c", "leave out --tr", "leave out --isd"] {
        assert!(unused.status.code() == Some(2) && text.contains(part), "{part} is not in {text}");
    }
}

#[test]
fn whoever_holds_a_rack_by_hand_needs_no_other_secret_and_no_sound_policy() {
    let text = default_config().replacen("listen = \"127.0.0.1:7878\"", "listen = \"127.0.0.1:1\"", 1).replacen(
        "derate = 0.95",
        "derate = 95",
        1,
    ) + "\n[flex]\nkey_file = \"/does/not/exist\"\n[flex.broker]\npassword_env = \"HEADROOM_NOT_SET\"\n";
    assert_eq!(check(&text).0, Some(2));
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("controller.toml");
    std::fs::write(&path, text).unwrap();
    for ask in [&["hands"][..], &["pin", "rack-1", "3000"], &["release", "rack-1"], &["resume"], &["learn", "status"]] {
        let output = program(&[ask, &["--config", path.to_str().unwrap()]].concat());
        let said = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(1), "{ask:?}: {said}");
        assert!(said.contains("no controller answers at http://127.0.0.1:1/"), "{ask:?}: {said}");
    }
}

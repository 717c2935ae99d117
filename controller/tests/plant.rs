//! Topologies as an operator meets them: the worked examples, every mistake at once, the drawings, the
//! import from NetBox.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers too")]

#[path = "plant/netbox.rs"]
mod netbox;
#[path = "plant/warnings.rs"]
mod warnings;
#[path = "plant/wiring.rs"]
mod wiring;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn topology(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_headroom-controller")).arg("topology").args(args).output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../deploy/topologies/{name}.toml"))
}

fn check(text: &str) -> (Option<i32>, String) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("plant.toml");
    std::fs::write(&path, text).unwrap();
    let output = topology(&["check", path.to_str().unwrap()]);
    (output.status.code(), said(&output).replace(path.to_str().unwrap(), "plant.toml"))
}

fn line_of(text: &str, part: &str) -> usize {
    text.lines().position(|l| l.contains(part)).unwrap() + 1
}

#[test]
fn each_worked_example_of_a_redundancy_scheme_is_sound() {
    for name in ["2n", "distributed-redundant", "block-redundant"] {
        let output = topology(&["check", example(name).to_str().unwrap()]);
        assert_eq!(output.status.code(), Some(0), "{name}:\n{}", said(&output));
    }
    let single = topology(&["check", example("single-feed").to_str().unwrap()]);
    assert_eq!(single.status.code(), Some(1), "{}", said(&single));
    for part in ["\"rack-1\" hangs on feed \"a\" alone", "\"panel\" carries 50 % of its racks' nameplates on L3"] {
        assert!(said(&single).contains(part), "{part} is not in\n{}", said(&single));
    }
    let forgiven = topology(&["check", "--allow-warnings", example("single-feed").to_str().unwrap()]);
    assert_eq!(forgiven.status.code(), Some(0));
}

#[test]
fn every_mistake_is_told_at_once_with_its_line_and_a_remedy() {
    let good = std::fs::read_to_string(example("2n")).unwrap();
    let bad = good
        .replacen("rating_watts = 60000\n", "", 1)
        .replacen("parent = \"transformer-b\"", "parent = \"branch-b-1\"", 1)
        .replacen("id = \"branch-a-2\"", "id = \"branch-a-1\"", 1)
        .replacen("node = \"branch-b-3\"", "node = \"branch-c-3\"", 1)
        .replacen("share = 0.5", "share = 0.6", 1)
        .replacen("curve = \"iec60898-c\"", "curve = \"iec60898-x\"", 1)
        .replacen("tr_s = 8 ", "tr_s = 800 ", 1)
        .replacen("\"rack-4\"]", "\"rack-9\"]", 1);
    let (code, text) = check(&bad);
    assert_eq!(code, Some(2), "{text}");
    for (line, part) in [
        (line_of(&bad, "id = \"ups-a\"") - 1, "`rating_watts` in [[node]] number 3 is missing"),
        (line_of(&bad, "branch-c-3"), "no node is named \"branch-c-3\""),
        (line_of(&bad, "share = 0.6"), "add up to 1.1"),
        (line_of(&bad, "iec60898-x"), "write one of \"iec60898-b\", \"iec60898-c\""),
        (line_of(&bad, "tr_s = 800"), "tr_s = 800 is not 0.5 to 60 s"),
        (line_of(&bad, "rack-9"), "no rack is named \"rack-9\""),
    ] {
        let place = format!("plant.toml:{line}: ");
        assert!(text.lines().any(|l| l.starts_with(&place)) && text.contains(part), "{place}{part} is not in\n{text}");
    }
    for part in ["\"branch-a-1\" is used twice", "on \"ups-b\" on \"branch-b-1\" hang in a circle"] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
}

#[test]
fn what_can_be_used_and_should_be_looked_at_is_a_warning() {
    let good = std::fs::read_to_string(example("2n")).unwrap();
    let odd = good
        .replacen("rating_amperes = 63", "rating_amperes = 100", 1)
        .replacen("meter = \"rack-1/ups-a\"", "", 1)
        .replacen("overhead_watts = 1700", "overhead_watts = 1701", 1)
        .replacen("overhead_watts = 1700", "overhead_watts = 29000", 1)
        .replacen("overhead_watts = 1700", "overhead_watts = 9000", 1)
        .replacen(
            "{ node = \"branch-b-1\", share = 0.5, meter = \"pdu-b\" }",
            "{ node = \"branch-a-2\", share = 0.5, meter = \"pdu-b\" }",
            1,
        );
    let (code, text) = check(&odd);
    assert_eq!(code, Some(1), "{text}");
    for part in [
        "\"busway-a\" is rated 72.0 kW and hangs on \"switchboard-a\", rated 57.6 kW",
        "\"ups-a\" has no meter",
        "\"rack-1\" hangs on feed \"a\" alone",
        "\"branch-b-1\" carries nothing",
        "once another feed is lost",
        "\"branch-b-2\" carries 16.1 kW with every GPU at its safe share, rated",
    ] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
    assert!(text.contains(&format!("plant.toml:{}: \"busway-a\"", line_of(&odd, "id = \"busway-a\""))), "{text}");
}

#[test]
fn a_tree_is_drawn_as_text_and_as_a_one_line_diagram() {
    let dir = tempfile::tempdir().unwrap();
    let svg = dir.path().join("plant.svg");
    let output = topology(&["show", example("block-redundant").to_str().unwrap(), "--svg", svg.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let text = said(&output);
    for part in ["├─ ", "   └─ strip-2-right", "switches to ups-r", "50 % of 7.3 kW, training, 8 GPUs"] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
    let svg = std::fs::read_to_string(svg).unwrap();
    assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"));
    for id in ["ups-1", "ups-r", "block-2", "strip-4-left", "rack-4", "stroke-dasharray"] {
        assert!(svg.contains(id), "{id} is not in the diagram");
    }
}

#[test]
fn a_config_may_have_its_topology_in_a_file_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let default = Command::new(env!("CARGO_BIN_EXE_headroom-controller")).arg("default-config").output().unwrap();
    let default = String::from_utf8(default.stdout).unwrap();
    let (head, _) = default.split_once("[[node]]").unwrap();
    let config = dir.path().join("controller.toml");
    std::fs::write(&config, format!("{head}\n[topology]\nfile = \"plant.toml\"\n")).unwrap();
    let plant = dir.path().join("plant.toml");
    let run = || {
        Command::new(env!("CARGO_BIN_EXE_headroom-controller"))
            .args(["check", "--config"])
            .arg(&config)
            .output()
            .unwrap()
    };
    assert!(said(&run()).contains("cannot read the topology file"), "{}", said(&run()));
    std::fs::copy(example("2n"), &plant).unwrap();
    assert!(said(&run()).contains("17 nodes, 4 racks"), "{}", said(&run()));
    let text = std::fs::read_to_string(&plant).unwrap().replacen("priority = \"batch\"", "priority = \"lunch\"", 1);
    std::fs::write(&plant, &text).unwrap();
    let wrong = said(&run());
    assert!(wrong.contains(&format!("plant.toml:{}: priority = \"lunch\"", line_of(&text, "lunch"))), "{wrong}");
}

#[test]
fn netbox_becomes_a_topology_and_what_it_does_not_know_is_asked_for() {
    let json = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/netbox.json");
    let bare = topology(&["import", "--netbox", json.to_str().unwrap()]);
    assert_eq!(bare.status.code(), Some(0), "{}", said(&bare));
    let asked = String::from_utf8_lossy(&bare.stderr).into_owned();
    for part in [
        "panel panel-b: write rating_watts",
        "rack r02: write gpus",
        "\"Store\" has no PDU",
        "\"A3\" is planned",
        "rack r02: write phases of its feed b2",
    ] {
        assert!(asked.contains(part), "{part} is not in\n{asked}");
    }
    let (code, text) = check(&String::from_utf8(bare.stdout).unwrap());
    assert!(code == Some(2) && text.contains("`rating_watts` in [[node]]"), "{text}");
    let args = ["--gpus", "4", "--overhead-watts", "1700", "--gpu-max-watts", "700", "--safe-gpu-watts", "200"];
    let full = topology(&[&["import", "--netbox", json.to_str().unwrap()][..], &args].concat());
    let toml = String::from_utf8(full.stdout).unwrap();
    let toml = toml.replace("# rating_watts =    NetBox knows no rating of a panel", "rating_watts = 60000");
    // 415 V between lines are 239.6 V to neutral; three kilowatts on leg A, one on leg B.
    for part in [
        "volts = 239.6",
        "parent = \"panel-a\"",
        "phases = [0.7500, 0.2500, 0.0000]",
        "priority = \"inference\"",
        "kind = \"rack-pdu\"",
        "feed = \"b\"",
        "meter = \"pdu-a2\", phases = \"L1\"",
    ] {
        assert!(toml.contains(part), "{part} is not in\n{toml}");
    }
    let (code, text) = check(&toml);
    assert!(code == Some(2) && text.contains("\"b2\" has one phase"), "{text}\n{toml}");
    let (code, text) = check(&toml.replace("meter = \"pdu-b2\"", "meter = \"pdu-b2\", phases = \"L2\""));
    assert_ne!(code, Some(2), "{text}\n{toml}");
}

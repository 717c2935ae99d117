//! Policies checked and compared: every mistake and everything to look at, with its line.

use super::{ORDER, example, program, row, said, site};
use std::path::Path;

const EXAMPLES: [&str; 5] =
    ["oversubscribed-row", "2n-failover", "demand-response", "night-tariff", "cooling-emergency"];

#[test]
fn each_worked_example_is_sound_for_the_2n_plant() {
    let dir = tempfile::tempdir().unwrap();
    let config = site(dir.path());
    for name in EXAMPLES {
        let file = example(name);
        let output = program(&["policy", "check", file.to_str().unwrap(), "--config", config.to_str().unwrap()]);
        assert_eq!(output.status.code(), Some(0), "{name}: {}", said(&output));
    }
}

#[test]
fn every_mistake_of_a_policy_is_told_at_once_with_its_line() {
    let dir = tempfile::tempdir().unwrap();
    let config = site(dir.path());
    let file = dir.path().join("bad.toml");
    let text = "[priorities]\norder = [\"training\", \"inference\"]\n[limits]\nderate = 95\nfloor_gpu_wats = 3\n[time]\nutc_offset = \"CET\"\n\
                [[class]]\nname = \"lunch\"\nfloor_gpu_watts = 300\nceiling_gpu_watts = 200\n[[rack]]\nid = \"rack-9\"\n\
                [[rule]]\nname = \"night\"\nwhen = { from = \"25:00\", days = [\"someday\"], dates = [\"2026-02-30\"] }\norder = [\"training\"]\n\
                nodes = [{ id = \"ups-z\", watts = 1 }]\n";
    std::fs::write(&file, text).unwrap();
    let output = program(&["policy", "check", file.to_str().unwrap(), "--config", config.to_str().unwrap()]);
    let told = said(&output);
    assert_eq!(output.status.code(), Some(2), "{told}");
    for (line, part) in [
        (2, "order has no \"batch\", the priority of rack \"rack-4\""),
        (4, "derate in [limits] = 95 is out of range"),
        (5, "did you mean `floor_gpu_watts`?"),
        (7, "utc_offset = \"CET\" is not known"),
        (9, "no class is named \"lunch\""),
        (11, "ceiling_gpu_watts = 200 is below floor_gpu_watts = 300"),
        (13, "no rack is named \"rack-9\""),
        (16, "from = \"25:00\" is no time of day"),
        (16, "days = \"someday\" is not known"),
        (16, "\"2026-02-30\" is no date"),
        (17, "does not have the classes of [priorities]"),
        (18, "no node is named \"ups-z\""),
    ] {
        assert!(
            told.contains(part) && told.contains(&format!("bad.toml:{line}: ")),
            "{line}: {part} is not in\n{told}"
        );
    }
}

#[test]
fn the_difference_of_two_policies_is_told_statement_by_statement() {
    let output = program(&[
        "policy",
        "diff",
        example("demand-response").to_str().unwrap(),
        example("night-tariff").to_str().unwrap(),
    ]);
    let told = said(&output);
    for part in [
        "order: training, inference, batch -> inference, training, batch",
        "rule \"demand response\", site_watts: 21000 -> not said",
        "rule \"night tariff\", when: not said -> 22:00 to 06:00",
        "release_watts_per_s: 200 -> 1000",
    ] {
        assert!(told.contains(part), "{part} is not in\n{told}");
    }
    let same = example("night-tariff");
    assert_eq!(said(&program(&["policy", "diff", same.to_str().unwrap(), same.to_str().unwrap()])), "the same\n");
}

/// What `policy check` says of this text and its exit code; with `config`, held against its plant.
fn check(dir: &Path, text: &str, config: Option<&Path>) -> (Option<i32>, String) {
    let file = dir.join("tried.toml");
    std::fs::write(&file, format!("{ORDER}{text}")).unwrap();
    let mut args = vec!["policy", "check", file.to_str().unwrap()];
    args.extend(config.iter().flat_map(|c| ["--config", c.to_str().unwrap()]));
    let output = program(&args);
    (output.status.code(), said(&output).replace(file.to_str().unwrap(), "tried.toml"))
}

#[test]
fn floors_that_alone_are_more_than_a_breaker_carries_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let config = row(dir.path());
    let floors = |watts: u32| check(dir.path(), &format!("[limits]\nfloor_gpu_watts = {watts}\n"), Some(&config));
    let (code, told) = floors(700);
    assert_eq!(code, Some(2), "{told}");
    for node in ["breaker-a", "breaker-b"] {
        let line = format!("tried.toml:4: node {node:?} carries 14.6 kW with every GPU at its floor");
        assert!(told.contains(&line) && told.contains("rated 11.5 kW"), "no {node} in\n{told}");
    }
    let (code, told) = floors(1000);
    assert_eq!(code, Some(2), "{told}");
    let above = "tried.toml:4: floor_gpu_watts = 1000 is above what a GPU can draw at most: 700 W in rack-1, rack-2";
    assert!(told.contains(above), "{told}");
    // It would be carried, but not for ever.
    let (code, told) = floors(480);
    assert!(
        code == Some(1) && told.contains("warning: ") && told.contains("derate = 0.95 leaves it 10.9 kW"),
        "{told}"
    );
    assert_eq!(floors(400).0, Some(0));
    // A rule counts as if it were switched on.
    let rule = "[[rule]]\nname = \"loud\"\nactive = false\nclasses = [{ name = \"training\", floor_gpu_watts = 700 }, \
                { name = \"inference\", floor_gpu_watts = 700 }]\n";
    let (code, told) = check(dir.path(), rule, Some(&config));
    assert!(code == Some(2) && told.contains("while \"loud\" is in force"), "{told}");
}

#[test]
fn a_policy_in_the_config_is_held_against_the_plant_as_a_policy_file_is() {
    let dir = tempfile::tempdir().unwrap();
    let config = row(dir.path());
    let sound = std::fs::read_to_string(&config).unwrap();
    let check = |changes: &[(&str, &str)]| {
        let text = changes.iter().fold(sound.clone(), |text, (from, to)| {
            assert!(text.contains(from), "{from} is not in the default config");
            text.replace(from, to)
        });
        let line = 1 + text.lines().position(|l| l.starts_with("floor_gpu_watts")).unwrap();
        std::fs::write(&config, text).unwrap();
        let output = program(&["check", "--config", config.to_str().unwrap()]);
        let told = said(&output).replace(config.to_str().unwrap(), "c.toml");
        (output.status.code(), told.replace(&format!("c.toml:{line}: "), "c.toml:FLOOR: "))
    };
    let floor = |watts: &'static str| ("floor_gpu_watts = 200 ", watts);
    // With all other mistakes, also one that is nobody's but the config's.
    let bands = ("bands = [\"training\", ", "bands = [\"training\", \"training\", ");
    let (code, told) = check(&[floor("floor_gpu_watts = 700 "), ("lease_ms = 5000", "lease_ms = 50"), bands]);
    assert_eq!(code, Some(2), "{told}");
    for part in [
        "lease_ms = 50 is out of range",
        "bands in [policy] names \"training\" twice",
        "c.toml:FLOOR: node \"breaker-a\" carries 14.6 kW with every GPU at its floor (700 W of [policy])",
        "c.toml:FLOOR: node \"breaker-b\" carries 14.6 kW",
    ] {
        assert!(told.contains(part), "{part} is not in\n{told}");
    }
    let (code, told) = check(&[floor("floor_gpu_watts = 1000 ")]);
    let above = "c.toml:FLOOR: floor_gpu_watts = 1000 is above what a GPU can draw at most: 700 W in rack-1, rack-2";
    assert!(code == Some(2) && told.contains(above), "{told}");
    // What would be carried, but not for ever, is told and can be used.
    let (code, told) = check(&[floor("floor_gpu_watts = 480 ")]);
    let warned = told.contains("warning: c.toml:FLOOR: ") && told.contains("derate = 0.95 leaves it 10.9 kW");
    assert!(code == Some(0) && warned, "{told}");
    let (code, told) = check(&[]);
    assert!(code == Some(0) && !told.contains("warning"), "{told}");
}

#[test]
fn mistakes_of_the_config_hide_none_of_its_policy_file() {
    let dir = tempfile::tempdir().unwrap();
    let config = site(dir.path());
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, text.replace("lease_ms = 1000", "lease_ms = 1")).unwrap();
    let policy = dir.path().join("policy.toml");
    let text = std::fs::read_to_string(&policy).unwrap();
    std::fs::write(&policy, text + "[[rack]]\nid = \"rack-9\"\n").unwrap();
    let output = program(&["check", "--config", config.to_str().unwrap()]);
    let told = said(&output);
    assert_eq!(output.status.code(), Some(2), "{told}");
    for part in ["lease_ms = 1 is out of range", "no rack is named \"rack-9\""] {
        assert_eq!(told.matches(part).count(), 1, "{part} is not once in\n{told}");
    }
}

#[test]
fn watts_that_change_nothing_or_cannot_be_kept_are_warned_of() {
    let dir = tempfile::tempdir().unwrap();
    let config = row(dir.path());
    let text = "[target]\nsite_watts = 9000\n[[node]]\nid = \"breaker-a\"\nwatts = 99999\n[[node]]\nid = \"ups-b\"\nwatts = 5000\n";
    let (code, told) = check(dir.path(), text, Some(&config));
    assert_eq!(code, Some(1), "{told}");
    for part in [
        "warning: tried.toml:7: watts = 99999 of node \"breaker-a\" is above its rating of 11520 W",
        "warning: tried.toml:10: watts = 5000 of node \"ups-b\" is less than the 6.6 kW",
        "warning: tried.toml:4: site_watts = 9000 is less than the 13.2 kW",
        "3 warnings; the policy can be used",
    ] {
        assert!(told.contains(part), "{part} is not in\n{told}");
    }
    let file = dir.path().join("tried.toml");
    let args = ["policy", "check", file.to_str().unwrap(), "--allow-warnings", "--config", config.to_str().unwrap()];
    assert_eq!(program(&args).status.code(), Some(0));
}

#[test]
fn what_contradicts_itself_is_refused_wherever_it_stands() {
    let dir = tempfile::tempdir().unwrap();
    let config = row(dir.path());
    let text = "[limits]\nfloor_gpu_watts = 200\n[[class]]\nname = \"inference\"\nfloor_gpu_watts = 300\n\
                [[rack]]\nid = \"rack-1\"\nceiling_gpu_watts = 150\n\
                [[rule]]\nname = \"emergency\"\nclasses = [{ name = \"inference\", ceiling_gpu_watts = 250 }, \
                { name = \"batch\", ceiling_gpu_watts = 120 }]\n\
                [[node]]\nid = \"breaker-a\"\nwatts = 9000\n[[node]]\nid = \"breaker-a\"\nwatts = 5000\n";
    let (code, told) = check(dir.path(), text, Some(&config));
    assert_eq!(code, Some(2), "{told}");
    for (line, part) in [
        (10, "ceiling_gpu_watts = 150 is below floor_gpu_watts = 200 of [limits]"),
        (13, "ceiling_gpu_watts = 250 is below floor_gpu_watts = 300 of class \"inference\""),
        (13, "ceiling_gpu_watts = 120 is below floor_gpu_watts = 200 of [limits]"),
        (18, "node \"breaker-a\" stands here twice"),
    ] {
        assert!(told.contains(&format!("tried.toml:{line}: {part}")), "{line}: {part} is not in\n{told}");
    }
    // Two rules that meet on Monday mornings only, and two that never do.
    let rules = |days: &str| {
        format!(
            "[[rule]]\nname = \"low\"\nwhen = {{ from = \"22:00\", to = \"06:00\", days = [\"sun\"] }}\n\
             classes = [{{ name = \"batch\", ceiling_gpu_watts = 250 }}]\n\
             [[rule]]\nname = \"high\"\nwhen = {{ from = \"05:00\", to = \"09:00\", days = [{days}] }}\n\
             racks = [{{ id = \"rack-4\", floor_gpu_watts = 300 }}]\n"
        )
    };
    let (code, told) = check(dir.path(), &rules("\"mon\""), Some(&config));
    let part = "ceiling_gpu_watts = 250 is below floor_gpu_watts = 300 of rack \"rack-4\" in rule \"high\"";
    assert!(code == Some(2) && told.contains(part), "{told}");
    assert_eq!(check(dir.path(), &rules("\"tue\""), Some(&config)).0, Some(0));
}

#[test]
fn lists_of_no_days_and_rules_of_one_name_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let rule =
        |name: &str, when: &str| format!("[[rule]]\nname = \"{name}\"\nwhen = {{ {when} }}\nsite_watts = 20000\n");
    let text = rule("peak", "dates = []") + &rule("peak", "days = []");
    let (code, told) = check(dir.path(), &text, None);
    assert_eq!(code, Some(2), "{told}");
    for part in [
        "tried.toml:5: dates is empty: ",
        "like dates = [\"2026-12-24\"], or leave dates out for every day",
        "tried.toml:8: two rules are named \"peak\"",
        "tried.toml:9: days is empty: ",
        "like days = [\"sat\", \"sun\"], or leave days out for every day",
    ] {
        assert!(told.contains(part), "{part} is not in\n{told}");
    }
}

#[test]
fn a_rule_that_is_never_in_force_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    // 2026-12-01 is a Tuesday.
    let rule = |day: &str| {
        let text = format!("[[rule]]\nname = \"a\"\nwhen = {{ days = [\"{day}\"], dates = [\"2026-12-01\"] }}\n");
        check(dir.path(), &text, None)
    };
    let (code, told) = rule("mon");
    assert!(code == Some(2) && told.contains("tried.toml:3: rule \"a\" is never in force"), "{told}");
    assert_eq!(rule("tue").0, Some(0));
}

#[test]
fn another_date_of_a_rule_is_a_difference() {
    let dir = tempfile::tempdir().unwrap();
    let old = example("demand-response");
    let new = dir.path().join("new.toml");
    std::fs::write(&new, std::fs::read_to_string(&old).unwrap().replace("2026-12-03", "2026-12-04")).unwrap();
    let told = said(&program(&["policy", "diff", old.to_str().unwrap(), new.to_str().unwrap()]));
    let part = "on 2026-12-01, 2026-12-03, 2026-12-10 -> 17:00 to 20:00, on 2026-12-01, 2026-12-04, 2026-12-10";
    assert!(told.contains(part), "{told}");
}

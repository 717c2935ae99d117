//! Policies as an operator works with them: checked, compared, tried on the record, taken over while the
//! controller runs, refused when they are bad, and brought back.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers too")]

use headroom_controller::clock::Clock;
use headroom_controller::record::{Options, Record};
use headroom_controller_core::{Decider, Fleet, Policy};
use headroom_rack::record::Entry;
use headroom_rack::{DeviceId, Generation, Mode, Mono, RackId, Reading, Signal, SignalPath, Snapshot, UnixMs};
use serde_json::Value;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output};
use std::time::{Duration, Instant};

fn program(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_headroom-controller")).args(args).output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../deploy/policies/{name}.toml"))
}

const EXAMPLES: [&str; 5] =
    ["oversubscribed-row", "2n-failover", "demand-response", "night-tariff", "cooling-emergency"];

/// A config of the 2N example with a policy file beside it, and no broker to be found.
fn site(dir: &Path) -> PathBuf {
    let topology = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/topologies/2n.toml");
    std::fs::copy(topology, dir.join("plant.toml")).unwrap();
    std::fs::copy(example("oversubscribed-row"), dir.join("policy.toml")).unwrap();
    let record = dir.join("record");
    let config = dir.join("controller.toml");
    let text = format!(
        "site = \"demo\"\nperiod_ms = 200\nlease_ms = 1000\n[broker]\nurl = \"mqtt://127.0.0.1:1\"\n\
         [record]\ndir = {:?}\n[serve]\nlisten = \"127.0.0.1:0\"\n[model]\nenabled = false\n\
         [topology]\nfile = \"plant.toml\"\n[policy]\nfile = \"policy.toml\"\n",
        record.to_str().unwrap()
    );
    std::fs::write(&config, text).unwrap();
    config
}

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

const ORDER: &str = "[priorities]\norder = [\"training\", \"inference\", \"batch\"]\n";

/// What `policy check` says of this text and its exit code; with `config`, held against its plant.
fn check(dir: &Path, text: &str, config: Option<&Path>) -> (Option<i32>, String) {
    let file = dir.join("tried.toml");
    std::fs::write(&file, format!("{ORDER}{text}")).unwrap();
    let mut args = vec!["policy", "check", file.to_str().unwrap()];
    args.extend(config.iter().flat_map(|c| ["--config", c.to_str().unwrap()]));
    let output = program(&args);
    (output.status.code(), said(&output).replace(file.to_str().unwrap(), "tried.toml"))
}

/// The config of the default row: four racks on two breakers of 11.5 kW, with its record in `dir`.
fn row(dir: &Path) -> PathBuf {
    let text = String::from_utf8(program(&["default-config"]).stdout).unwrap();
    let record = dir.join("record");
    let config = dir.join("controller.toml");
    std::fs::write(&config, text.replace("dir = \"record\"", &format!("dir = {:?}", record.to_str().unwrap())))
        .unwrap();
    config
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

/// Records how the default row ramps up and is held at its breakers.
fn record_a_ramp(config: &Path, dir: &Path) {
    let topology =
        headroom_controller::config::core_topology(&headroom_controller::config::load_tree(config).unwrap()).unwrap();
    let (record, _) = Record::open(Options::new(dir), Clock::start()).unwrap();
    let mut decider = Decider::new(topology.clone(), Policy::default());
    let mut fleet = Fleet::new(&topology);
    let mut limits = std::collections::VecDeque::from([[400.0; 4]; 2]);
    for second in 0..90 {
        let (now, at) = (Mono::from_ms(1000 + 1000 * second), UnixMs::new(1_795_000_000_000 + 1000 * second));
        let wants: f64 = if second < 20 { 200.0 } else { 700.0 };
        let limit = limits.pop_front().unwrap();
        for (i, limit) in limit.iter().enumerate() {
            let power = wants.min(*limit);
            let reading = |device, signal, value| (SignalPath::new(device, signal), Reading::new(value, at));
            let gpus = (0..8).flat_map(|g| {
                [
                    reading(DeviceId::gpu(g), Signal::GpuPower, power),
                    reading(DeviceId::gpu(g), Signal::GpuLimitEnforced, *limit),
                ]
            });
            let cords = ["pdu-a", "pdu-b"]
                .map(|pdu| reading(DeviceId::new(pdu).unwrap(), Signal::PduPower, (8.0 * power + 1700.0) / 2.0));
            let rack = RackId::new(format!("rack-{}", i + 1)).unwrap();
            let readings = gpus.chain(cords).collect();
            let snapshot =
                Snapshot { rack, boot: 1, seq: second + 1, at, historical: false, readings, receipts: Vec::new() };
            fleet.fold(&snapshot, now);
            record.append(Entry::Snapshot(snapshot));
        }
        let generation = Generation { epoch: 1, counter: second + 1 };
        let plan = decider.decide(&fleet, &Default::default(), now, at, generation, Mode::Automatic);
        limits.push_back(std::array::from_fn(|rack| plan.caps[rack].gpus[0].1.get()));
        record.append(Entry::Plan(plan));
    }
    record.close();
}

#[test]
fn a_policy_under_which_breakers_would_have_tripped_is_not_told_as_the_better_one() {
    let dir = tempfile::tempdir().unwrap();
    let config = row(dir.path());
    record_a_ramp(&config, &dir.path().join("record"));
    let file = dir.path().join("tried.toml");
    let simulate = |floor: u32, more: &[&str]| {
        std::fs::write(&file, format!("{ORDER}[limits]\nfloor_gpu_watts = {floor}\n")).unwrap();
        let args = ["policy", "simulate", file.to_str().unwrap(), "--config", config.to_str().unwrap()];
        program(&[&args, more].concat())
    };
    let output = simulate(700, &["--json"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    let breakers: Vec<&Value> = told["nodes"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|n| n["node"].as_str().unwrap().starts_with("breaker"))
        .collect();
    assert_eq!(breakers.len(), 2, "{told}");
    for node in breakers {
        assert!(node["now"]["tripped_ms"].is_null() && node["now"]["trip_used"].as_f64() < Some(1.0), "{node}");
        assert!(node["then"]["tripped_ms"].is_u64() && node["then"]["over_rating_s"].as_f64() > Some(20.0), "{node}");
    }
    assert_eq!(told["dangers"].as_array().unwrap().len(), 2, "{told}");
    let output = simulate(700, &[]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let table = String::from_utf8(output.stdout).unwrap();
    let verdict = "NOT SAFE: under the policy tried breaker-a, breaker-b would have tripped";
    assert!(table.contains(verdict) && table.lines().last().unwrap().starts_with("NOT SAFE"), "{table}");
    // A policy that holds them as the one in force does is told without a word of that.
    let output = simulate(250, &[]);
    let table = said(&output);
    assert!(!table.contains("NOT SAFE") && !table.contains("WORSE"), "{table}");
    assert_eq!(output.status.code(), Some(0), "{table}");
    // What cannot be tried is no verdict.
    assert_eq!(simulate(250, &["--minutes", "0"]).status.code(), Some(2));
    assert_eq!(simulate(9000, &[]).status.code(), Some(2));
}

/// A running controller; killed if the test fails.
struct Running {
    child: Child,
    address: String,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Running {
    fn start(dir: &Path, config: &Path) -> Self {
        let port = dir.join("port");
        let _ = std::fs::remove_file(&port);
        let mut command = Command::new(env!("CARGO_BIN_EXE_headroom-controller"));
        command.args(["run", "--config"]).arg(config).arg("--port-file").arg(&port);
        let child = command.stderr(std::process::Stdio::null()).spawn().unwrap();
        let mut running = Self { child, address: String::new() };
        wait("the port file", || {
            std::fs::read_to_string(&port).ok().filter(|a| !a.is_empty()).map(|a| running.address = a)
        });
        running
    }

    fn get(&self, path: &str) -> Option<Value> {
        let mut stream = TcpStream::connect(&self.address).ok()?;
        write!(stream, "GET {path} HTTP/1.0\r\nHost: x\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        serde_json::from_str(answer.split_once("\r\n\r\n")?.1).ok()
    }

    fn policy(&self) -> Value {
        self.get("/api/state").map_or(Value::Null, |mut state| state["policy"].take())
    }

    fn events(&self) -> String {
        self.get("/api/events").map(|e| e.to_string()).unwrap_or_default()
    }

    fn hang_up(&self) {
        // SAFETY: kill(2) takes plain numbers; the child is ours and not yet waited for.
        #[expect(unsafe_code, reason = "std has no way to send SIGHUP")]
        let sent = unsafe { libc::kill(self.child.id().try_into().unwrap(), libc::SIGHUP) };
        assert_eq!(sent, 0);
    }
}

fn wait<T>(what: &str, mut done: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(value) = done() {
            return value;
        }
        assert!(begun.elapsed() < Duration::from_secs(120), "{what} never came");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_running_controller_takes_over_a_good_file_refuses_a_bad_one_and_goes_back_on_request() {
    let dir = tempfile::tempdir().unwrap();
    let config = site(dir.path());
    let config_path = config.to_str().unwrap();
    let policy = dir.path().join("policy.toml");
    let running = Running::start(dir.path(), &config);
    wait("the first version", || (running.policy()["version"] == 1).then_some(()));

    // A change is taken over by itself, with a rule that is in force at once.
    let first = std::fs::read_to_string(&policy).unwrap();
    let second = first.replace("floor_gpu_watts = 300", "floor_gpu_watts = 260")
        + "[[rule]]\nname = \"always\"\nsite_watts = 15000\n";
    std::fs::write(&policy, &second).unwrap();
    wait("the second version", || (running.policy()["version"] == 2).then_some(()));
    wait("its rule", || (running.policy()["rules"] == serde_json::json!(["always"])).then_some(()));
    assert!(running.events().contains("class inference, floor_gpu_watts: 300 -> 260"), "{}", running.events());

    // A bad one is told, on SIGHUP at once, and changes nothing.
    std::fs::write(&policy, second.replace("derate = 0.95", "derate = 95")).unwrap();
    running.hang_up();
    let bad = wait("the refusal", || Some(running.policy()).filter(|p| p["mistakes"] != serde_json::json!([])));
    assert!(bad["version"] == 2 && bad["mistakes"][0].as_str().unwrap().contains("derate in [limits] = 95"), "{bad}");
    wait("the Finding", || {
        let state = running.get("/api/state")?;
        state["findings"].as_array()?.iter().any(|f| f["kind"] == "policy_refused").then_some(())
    });

    // The first version comes back under a new number.
    let reverted = program(&["policy", "revert", "1", "--config", config_path]);
    assert_eq!(reverted.status.code(), Some(0), "{}", said(&reverted));
    wait("the third version", || (running.policy()["version"] == 3).then_some(()));
    assert_eq!(running.policy()["mistakes"], serde_json::json!([]));
    let history = said(&program(&["policy", "history", "--config", config_path]));
    assert!(history.lines().count() == 3 && history.contains("version 1 again"), "{history}");
    let none = program(&["policy", "revert", "9", "--config", config_path]);
    assert!(none.status.code() == Some(2) && said(&none).contains("there is no version 9; there is 1, 2, 3"));

    // What another policy would have done is told from the record, also while it is written.
    let tried = example("2n-failover");
    let simulate = || {
        let output = program(&["policy", "simulate", tried.to_str().unwrap(), "--config", config_path, "--json"]);
        serde_json::from_slice::<Value>(&output.stdout).ok()
    };
    let told = wait("decisions in the record", || simulate().filter(|t| t["decisions"].as_u64() > Some(3)));
    assert_eq!(told["racks"].as_array().unwrap().len(), 4, "{told}");
    assert!(told["racks"][3]["then"]["least_gpu_watts"].as_f64().unwrap() >= 150.0, "{told}");
    let table = said(&program(&["policy", "simulate", tried.to_str().unwrap(), "--config", config_path]));
    assert!(table.contains("policy tried") && table.contains("rack-4"), "{table}");
}

#[test]
fn a_bad_policy_file_locks_nobody_out_and_a_restart_goes_on_under_the_last_good_version() {
    let dir = tempfile::tempdir().unwrap();
    let config = site(dir.path());
    let config_path = config.to_str().unwrap();
    let policy = dir.path().join("policy.toml");
    let good = std::fs::read_to_string(&policy).unwrap();
    let bad = good.replace("derate = 0.95", "derate = 95");

    // Nothing was ever in force: there is nothing to go on with.
    std::fs::write(&policy, &bad).unwrap();
    let refused = program(&["run", "--config", config_path]);
    assert!(refused.status.code() == Some(2) && said(&refused).contains("derate in [limits] = 95"), "{refused:?}");
    let tried = program(&["policy", "simulate", example("2n-failover").to_str().unwrap(), "--config", config_path]);
    assert!(said(&tried).contains("the defaults count as the policy in force"), "{tried:?}");

    std::fs::write(&policy, &good).unwrap();
    let running = Running::start(dir.path(), &config);
    wait("the first version", || (running.policy()["version"] == 1).then_some(()));
    std::fs::write(&policy, &bad).unwrap();
    let tried = example("2n-failover");
    let tried = tried.to_str().unwrap();
    let of_policy = |args: &[&str]| program(&[&["policy"], args, &["--config", config_path]].concat());
    wait("decisions in the record", || of_policy(&["simulate", tried]).status.success().then_some(()));
    for args in [&["history"][..], &["check", tried]] {
        let output = of_policy(args);
        assert_eq!(output.status.code(), Some(0), "{args:?}: {}", said(&output));
    }
    for args in [&["pin", "rack-1", "4000"][..], &["advise", "rack-2"], &["release", "rack-1"], &["resume"], &["hands"]]
    {
        let output = program(&[args, &["--config", config_path, "--console", &running.address]].concat());
        assert_ne!(output.status.code(), Some(2), "{args:?}: {}", said(&output));
    }
    drop(running);

    let running = Running::start(dir.path(), &config);
    let kept = wait("the state", || Some(running.policy()).filter(|p| p["version"] == 1));
    assert!(kept["mistakes"][0].as_str().unwrap().contains("derate in [limits] = 95"), "{kept}");
    wait("the Finding", || {
        let state = running.get("/api/state")?;
        let found = |f: &Value| f["kind"] == "policy_refused" && f["severity"] == "critical";
        state["findings"].as_array()?.iter().any(found).then_some(())
    });
    std::fs::write(&policy, &good).unwrap();
    wait("the corrected file", || (running.policy()["mistakes"] == serde_json::json!([])).then_some(()));
    assert_eq!(running.policy()["version"], 1);
}

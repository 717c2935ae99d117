//! Policies as an operator works with them: checked, compared, tried on the record, taken over while the
//! controller runs, refused when they are bad, and brought back.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers too")]

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

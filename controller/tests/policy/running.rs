//! Policies of a running controller: taken over, refused, brought back, and kept over a restart.

use super::{example, program, said, site};
use serde_json::Value;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

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

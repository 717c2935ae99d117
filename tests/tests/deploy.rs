//! Every shipped file is loaded by what it is for: configs by our programs, units by systemd, YAML by
//! a YAML reader, Mosquitto's by Mosquitto, rules by Prometheus.

use headroom_tests::parts::{Start, content, until};
use headroom_tests::plant::Plant;
use headroom_tests::{http, peer, program, repository, succeed};
use serde_json::Value;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};

fn read(path: &str) -> String {
    std::fs::read_to_string(repository(path)).unwrap_or_else(|why| panic!("{path}: {why}"))
}

#[test]
fn the_example_configs_are_sound() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let password = dir.path().join("password");
    std::fs::write(&password, "secret").expect("a file");
    for kind in ["examples", "compose"] {
        for name in ["agent", "controller"] {
            let text = read(&format!("deploy/{kind}/{name}.toml"));
            let text = text.replace("/run/secrets/broker_password", &password.display().to_string());
            let file = dir.path().join(format!("{kind}-{name}.toml"));
            std::fs::write(&file, text).expect("a file");
            let mut check = Command::new(program(&format!("headroom-{name}")));
            check.args(["check", "--config"]).arg(&file);
            check.env("HEADROOM_MQTT_PASSWORD", "a").env("HEADROOM_INFLUX_TOKEN", "b");
            let said = succeed(&mut check, "nothing");
            assert!(said.contains("rack"), "{said}");
        }
    }
}

#[test]
fn systemd_has_nothing_to_say_against_the_units() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    for name in ["headroom-agent", "headroom-controller"] {
        let text = read(&format!("deploy/systemd/{name}.service"));
        let built = program(name).display().to_string();
        let unit = dir.path().join(format!("{name}.service"));
        std::fs::write(&unit, text.replace(&format!("/usr/bin/{name}"), &built)).expect("a unit");
        let said = succeed(Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(&unit), "systemd");
        assert_eq!(said, "", "{name}");
        for line in text.lines().filter(|l| l.starts_with("Exec")) {
            let words: Vec<&str> = line.split_once('=').expect("a value").1.split(' ').collect();
            succeed(Command::new(program(name)).args([words[1], "--help"]), "nothing");
        }
    }
    assert!(
        read("deploy/systemd/headroom-agent.service").contains("\nExecStopPost=/usr/bin/headroom-agent safe-share")
    );
}

/// Documents of YAML files, by file.
fn yaml(files: &[&str]) -> Value {
    let paths: Vec<_> = files.iter().map(|f| repository(f)).collect();
    let said = succeed(peer::script("yaml_files.py").args(&paths), "PyYAML");
    let all: Value = serde_json::from_str(&said).unwrap_or_else(|why| panic!("{why}: {said}"));
    files.iter().zip(&paths).map(|(f, p)| ((*f).to_owned(), all[p.display().to_string()].clone())).collect()
}

#[test]
fn the_compose_file_mounts_what_is_there_and_names_what_it_asks_for() {
    let all = yaml(&["deploy/compose.yaml"]);
    let compose = &all["deploy/compose.yaml"][0];
    let services = compose["services"].as_object().expect("services");
    for name in ["mosquitto", "influxdb", "prometheus", "grafana", "controller", "agent"] {
        assert!(services.contains_key(name), "{name} is missing");
    }
    for (name, service) in services {
        for volume in service["volumes"].as_array().into_iter().flatten() {
            let from = volume.as_str().expect("a text").split(':').next().expect("a source");
            if from.starts_with('.') {
                let path = repository("deploy").join(from);
                assert!(path.exists(), "{name} mounts {from}, which is not there");
            } else if !from.starts_with('$') {
                assert!(compose["volumes"].as_object().is_some_and(|v| v.contains_key(from)), "{name}: volume {from}");
            }
        }
    }
    let dockerfile = services["controller"]["build"]["dockerfile"].as_str().expect("a file");
    assert!(repository(dockerfile).exists(), "{dockerfile}");
    let (text, readme) = (read("deploy/compose.yaml"), read("deploy/README.md"));
    for variable in text.split("${").skip(1).filter_map(|rest| rest.split([':', '}']).next()) {
        assert!(readme.contains(variable), "README.md does not tell of {variable}");
    }
}

#[test]
fn the_kubernetes_files_hold_sound_configs() {
    let files = ["deploy/kubernetes/agent.yaml", "deploy/kubernetes/controller.yaml"];
    let all = yaml(&files);
    let dir = tempfile::tempdir().expect("a temporary folder");
    let password = dir.path().join("password");
    std::fs::write(&password, "secret").expect("a file");
    let mut configs = 0;
    for (file, name) in files.iter().zip(["headroom-agent", "headroom-controller"]) {
        for object in all[file].as_array().expect("documents") {
            assert!(object["kind"].is_string() && object["metadata"]["name"].is_string(), "{file}: {object}");
            for (_, text) in object["data"].as_object().into_iter().flatten().filter(|(k, _)| k.ends_with(".toml")) {
                let text = text.as_str().expect("a text");
                let text = text.replace("/etc/headroom/broker/rack-1", &password.display().to_string());
                let config = dir.path().join(format!("{configs}.toml"));
                std::fs::write(&config, text).expect("a file");
                let mut check = Command::new(program(name));
                check.args(["check", "--config"]).arg(&config);
                check.env("HEADROOM_MQTT_PASSWORD", "a").env("HEADROOM_INFLUX_TOKEN", "b");
                succeed(&mut check, "nothing");
                configs += 1;
            }
        }
    }
    assert!(configs >= 1, "no config in the ConfigMaps");
}

/// Killed when dropped.
struct Mosquitto(Child);

impl Drop for Mosquitto {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Mosquitto with the shipped config and ACL and one user per role, on a free port.
fn mosquitto(dir: &Path) -> (Mosquitto, String) {
    let (acl, passwords) = (dir.join("acl"), dir.join("passwd"));
    std::fs::write(&acl, read("deploy/mosquitto/acl.example")).expect("a file");
    for (i, user) in ["controller", "rack-1", "rack-2"].iter().enumerate() {
        let mut set = Command::new("mosquitto_passwd");
        set.args(if i == 0 { &["-c", "-b"][..] } else { &["-b"] }).arg(&passwords).args([user, "secret"]);
        succeed(&mut set, "mosquitto");
    }
    let port = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a free port").port();
    let text = read("deploy/mosquitto/mosquitto.conf")
        .replace("listener 1883", &format!("listener {port} 127.0.0.1\nuser root"))
        .replace("/mosquitto/config/acl", &acl.display().to_string())
        .replace("\npassword_file /mosquitto/config/passwd", &format!("\npassword_file {}", passwords.display()));
    let config = dir.join("mosquitto.conf");
    std::fs::write(&config, text).expect("a file");
    let log = std::fs::File::create(dir.join("mosquitto.log")).expect("a log");
    let child = Command::new("mosquitto")
        .arg("-c")
        .arg(&config)
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("a log"))
        .stderr(log)
        .spawn()
        .unwrap_or_else(|why| panic!("mosquitto: {why}; install mosquitto or run ./tests/run"));
    let mut broker = Mosquitto(child);
    let address = format!("127.0.0.1:{port}");
    until("mosquitto", || {
        let ended = broker.0.try_wait().ok().flatten();
        let log = || std::fs::read_to_string(dir.join("mosquitto.log")).unwrap_or_default();
        assert!(ended.is_none(), "mosquitto refuses the config:\n{}", log());
        std::net::TcpStream::connect(&address).ok()
    });
    (broker, address)
}

#[test]
fn an_agent_and_the_controller_meet_at_mosquitto_under_the_shipped_rules() {
    let plant = Plant::start();
    let (_broker, address) = mosquitto(plant.dir());
    let secret = plant.file("secret", "secret").display().to_string();
    let user = |name: &str| format!("username = \"{name}\"\npassword_file = \"{secret}\"\n");
    let broker = |name: &str| format!("[broker]\nurl = \"mqtt://{address}\"\n{}", user(name));
    let control = "[control]\nenabled = true\nsafe_gpu_watts = 400\nbreaker_amperes = 16.0\n";
    let old = format!("[broker]\nurl = \"mqtt://{}\"\n", plant.broker);
    let agents: Vec<_> = plant.racks[..2]
        .iter()
        .map(|rack| {
            // The agent of rack-2 signs in as rack-1: what it says must reach nobody.
            let text = rack.agent_config(&plant.broker, "").replace(&old, &broker("rack-1"));
            assert!(text.contains("password_file"), "{text}");
            let config = plant.file(&format!("{}.toml", rack.id), &(text + control)).display().to_string();
            let state = [("HEADROOM_NVML_STATE", rack.nvml_state.as_str())];
            let log = plant.dir().join(format!("{}.log", rack.id));
            Start::new("headroom-agent", &["run", "--config", &config], &state, log).start()
        })
        .collect();
    let default = succeed(Command::new(program("headroom-controller")).arg("default-config"), "nothing");
    let text = default
        .replace(
            "url = \"mqtt://127.0.0.1:1883\"",
            &format!("url = \"mqtt://{address}\"\nuser = \"controller\"\npassword_env = \"PASSWORD\""),
        )
        .replace("dir = \"record\"", &format!("dir = \"{}\"", plant.dir().join("record").display()))
        .replace("127.0.0.1:7878", "127.0.0.1:0");
    let config = plant.file("controller.toml", &text).display().to_string();
    let port = plant.dir().join("console.port");
    let port_text = port.display().to_string();
    let args = ["run", "--config", &config, "--port-file", &port_text];
    let log = plant.dir().join("controller.log");
    let controller = Start::new("headroom-controller", &args, &[("PASSWORD", "secret")], log).start();
    let console = content(&port);
    let rack = |state: &Value, id: &str| {
        let racks = state["racks"].as_array().cloned().unwrap_or_default();
        racks.into_iter().find(|r| r["id"] == id).unwrap_or_default()
    };
    let state = until("Orders that rack-1 confirms", || {
        let state = http::json(&console, "/api/state");
        let applied = state["counts"]["receipts"]["applied"].as_f64()?;
        (rack(&state, "rack-1")["power_watts"].is_number() && applied >= 8.0).then_some(state)
    });
    assert!(rack(&state, "rack-2")["power_watts"].is_null(), "a user spoke for another's rack: {state:#}");
    assert!(controller.stop());
    agents.into_iter().for_each(drop);
}

#[test]
fn prometheus_accepts_config_and_rules_and_the_rules_fire_as_told() {
    let at = |path: &str| repository(path);
    let promtool = |args: &[&str], path: &str| succeed(Command::new("promtool").args(args).arg(at(path)), "prometheus");
    let said = promtool(&["check", "rules"], "dashboards/rules/headroom.yaml");
    assert!(said.contains("rules found"), "{said}");
    let said = promtool(&["test", "rules"], "dashboards/rules/headroom.test.yaml");
    assert!(said.contains("SUCCESS"), "{said}");
    promtool(&["check", "config", "--syntax-only"], "deploy/compose/prometheus.yaml");
}

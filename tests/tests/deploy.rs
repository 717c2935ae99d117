//! Every shipped file is loaded by what it is for: configs by our programs, units by systemd, YAML by
//! a YAML reader, Mosquitto's by Mosquitto, rules by Prometheus.

use headroom_tests::mosquitto::Mosquitto;
use headroom_tests::parts::{Start, content, until};
use headroom_tests::plant::Plant;
use headroom_tests::{http, peer, program, repository, succeed};
use serde_json::Value;
use std::path::Path;
use std::process::Command;

fn read(path: &str) -> String {
    std::fs::read_to_string(repository(path)).unwrap_or_else(|why| panic!("{path}: {why}"))
}

/// The texts between two others.
fn between<'a>(text: &'a str, before: &'a str, after: &'a str) -> impl Iterator<Item = &'a str> {
    text.split(before).skip(1).filter_map(move |rest| rest.split(after).next())
}

/// `check` on a config whose secrets are given, and on nothing else that is not in it.
fn sound(name: &str, text: &str) {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let (config, password) = (dir.path().join("config.toml"), dir.path().join("password"));
    std::fs::write(&password, "secret").expect("a file");
    let mut check = Command::new(program(name));
    check.envs(between(text, "_env = \"", "\"").map(|variable| (variable, "secret")));
    let file = between(text, "\npassword_file = \"", "\"").next();
    let text = file.map_or(text.to_owned(), |file| text.replace(file, &password.display().to_string()));
    std::fs::write(&config, text).expect("a file");
    let said = succeed(check.args(["check", "--config"]).arg(&config), "nothing");
    assert!(said.contains("site hall-2"), "{said}");
}

#[test]
fn the_example_configs_are_sound() {
    for kind in ["examples", "compose"] {
        for name in ["agent", "controller"] {
            sound(&format!("headroom-{name}"), &read(&format!("deploy/{kind}/{name}.toml")));
        }
    }
}

#[test]
fn what_the_example_configs_offer_as_a_comment_is_sound_too() {
    for (name, offered) in [("agent", 20), ("controller", 10)] {
        let setting = |line: &str| {
            let rest = line.strip_prefix("# ").unwrap_or_default();
            let key = rest.split(" = ").next().filter(|key| key.len() < rest.len()).unwrap_or_default();
            let key = !key.is_empty() && key.chars().all(|c| c.is_ascii_lowercase() || c == '_');
            // What lies at a path of the operator's machine is not here to be loaded.
            (key || rest.starts_with('['), rest.starts_with("path") || rest.starts_with("library"))
        };
        let text = read(&format!("deploy/examples/{name}.toml"));
        assert_eq!(text.lines().filter(|l| setting(l).0).count(), offered, "{name}");
        let all = text.lines().map(|l| if setting(l) == (true, false) { &l[2..] } else { l });
        sound(&format!("headroom-{name}"), &(all.collect::<Vec<_>>().join("\n") + "\n"));
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
            if words[0] != format!("/usr/bin/{name}") {
                continue;
            }
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
    let build = &services["controller"]["build"];
    let context = repository("deploy").join(build["context"].as_str().expect("a folder"));
    let recipe = build["dockerfile"].as_str().and_then(|f| std::fs::read_to_string(context.join(f)).ok());
    let recipe = recipe.unwrap_or_else(|| panic!("{build} is not there"));
    for line in recipe.lines().filter_map(|l| l.strip_prefix("COPY ")).filter(|l| !l.starts_with("--")) {
        let files: Vec<&str> = line.split(' ').collect();
        assert!(files[..files.len() - 1].iter().all(|f| context.join(f).exists()), "COPY {line}");
    }
    for (name, profile) in [("agent", "slim"), ("controller", "release")] {
        let command = services[name]["command"][0].as_str().expect("a program");
        assert!(recipe.contains(&format!("target/{profile}/{command}")), "the image has no {command}");
        let config = read(&format!("deploy/compose/{name}.toml"));
        for variable in between(&config, "_env = \"", "\"") {
            assert!(services[name]["environment"][variable].is_string(), "{name} is not given {variable}");
        }
        let port = between(&config, "listen = \"0.0.0.0:", "\"").next().expect("a port that others reach");
        let target = format!("targets: [\"{name}:{port}\"]");
        assert!(read("deploy/compose/prometheus.yaml").contains(&target), "Prometheus does not scrape {name}:{port}");
    }
    for file in ["deploy/compose/agent.toml", "deploy/compose/controller.toml", "deploy/compose.yaml"] {
        let text = read(file);
        for host in between(&text, "://", "\"").filter_map(|rest| rest.split([':', '/', '\n']).next()) {
            assert!(services.contains_key(host) || host.starts_with("192.0.2."), "{file}: nobody is called {host}");
        }
    }
    for file in ["provisioning/datasources/headroom.yaml", "provisioning/dashboards/headroom.yaml"] {
        let text = read(&format!("dashboards/{file}"));
        for variable in between(&text, "${", "}") {
            assert!(services["grafana"]["environment"][variable].is_string(), "Grafana is not given {variable}");
        }
        for path in between(&text, "path: ", "\n") {
            let mount = format!("../dashboards/generated:{path}:ro");
            let mounts = services["grafana"]["volumes"].as_array().expect("volumes");
            assert!(mounts.iter().any(|m| *m == *mount), "Grafana looks into {path}, where nothing is mounted");
        }
    }
    for port in services.values().flat_map(|s| s["ports"].as_array().into_iter().flatten()) {
        assert!(port.as_str().is_some_and(|p| p.starts_with("127.0.0.1:")), "{port} is open to the world");
    }
    let (text, readme) = (read("deploy/compose.yaml"), read("deploy/README.md"));
    for variable in text.split("${").skip(1).filter_map(|rest| rest.split([':', '}']).next()) {
        assert!(readme.contains(variable), "README.md does not tell of {variable}");
    }
}

#[test]
fn the_kubernetes_files_hold_sound_configs() {
    let files = ["deploy/kubernetes/agent.yaml", "deploy/kubernetes/controller.yaml"];
    let all = yaml(&files);
    let objects = files.iter().flat_map(|f| all[f].as_array().expect("documents"));
    let objects: Vec<&Value> = objects.collect();
    let of =
        |kind: &str| *objects.iter().find(|o| o["kind"] == kind).unwrap_or_else(|| panic!("no {kind} in {files:?}"));
    for object in &objects {
        assert!(object["kind"] == "Namespace" || object["metadata"]["namespace"] == "headroom", "{object}");
    }
    let agents = of("ConfigMap")["data"].as_object().expect("configs");
    let agent = agents.values().next().and_then(Value::as_str).expect("a config");
    agents.values().filter_map(Value::as_str).for_each(|text| sound("headroom-agent", text));
    // How the controller's config is made is told in a comment, as a command: run here.
    let text = read(files[1]);
    let told = text.lines().filter_map(|l| l.strip_prefix("#   ")).find(|l| l.starts_with("sed ")).expect("a command");
    let (edit, made) = told.split_once(" > ").expect("into a file");
    assert!(text.contains(&format!("--from-file={made}\n")), "{made} does not become the ConfigMap");
    let controller = succeed(Command::new("sh").args(["-c", edit]).current_dir(repository("")), "sed");
    sound("headroom-controller", &controller);
    let broker = |config| between(config, "\nurl = \"", "\"").next().expect("a broker").to_owned();
    assert_eq!(broker(agent), broker(&controller), "agents and controller do not meet");
    for (set, config) in [(of("DaemonSet"), agent), (of("StatefulSet"), &controller)] {
        let pod = &set["spec"]["template"];
        assert_eq!(set["spec"]["selector"]["matchLabels"], pod["metadata"]["labels"]);
        let container = &pod["spec"]["containers"][0];
        let (name, port) = (&container["name"], &container["ports"][0]);
        let listen = format!("listen = \"0.0.0.0:{}\"", port["containerPort"]);
        assert!(config.contains(&listen), "{name}: probes and scrapes find nobody without {listen}");
        let alive = if name == "agent" { "/livez" } else { "/healthz" };
        for (probe, path) in [("livenessProbe", alive), ("readinessProbe", "/healthz")] {
            let get = &container[probe]["httpGet"];
            assert_eq!((&get["port"], get["path"].as_str()), (&port["name"], Some(path)), "{name}");
        }
        let args: Vec<&str> = container["args"].as_array().expect("args").iter().filter_map(Value::as_str).collect();
        succeed(Command::new(program(args[0])).args([args[1], "--help"]), "nothing");
        let mounts = container["volumeMounts"].as_array().expect("mounts");
        let mounts: Vec<&str> = mounts.iter().filter_map(|m| m["mountPath"].as_str()).collect();
        let paths = between(config, "\ndir = \"", "\"").chain(between(config, "\npassword_file = \"", "\""));
        for path in paths.chain([args[3]]) {
            assert!(mounts.iter().any(|m| path.starts_with(m)), "{name}: {path} is on none of {mounts:?}");
        }
    }
}

/// Mosquitto with the shipped config and ACL and one user per role, on a free port.
fn mosquitto(dir: &Path) -> (Mosquitto, String) {
    let (acl, passwords) = (dir.join("acl"), dir.join("passwd"));
    std::fs::write(&acl, read("deploy/mosquitto/acl.example")).expect("a file");
    for (i, user) in ["controller", "rack-1", "rack-2", "bms", "scada"].iter().enumerate() {
        let mut set = Command::new("mosquitto_passwd");
        set.args(if i == 0 { &["-c", "-b"][..] } else { &["-b"] }).arg(&passwords).args([user, "secret"]);
        succeed(&mut set, "mosquitto");
    }
    let text = read("deploy/mosquitto/mosquitto.conf")
        .replace("listener 1883", "LISTENER")
        .replace("/mosquitto/config/acl", &acl.display().to_string())
        .replace("\npassword_file /mosquitto/config/passwd", &format!("\npassword_file {}", passwords.display()));
    Mosquitto::start(dir, &text)
}

#[test]
fn mosquitto_lets_each_say_and_hear_what_is_theirs_and_nothing_else() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let (_broker, address) = mosquitto(dir.path());
    let (host, port) = address.split_once(':').expect("a port");
    succeed(peer::script("mqtt_acl.py").args([host, port, "secret"]), "paho-mqtt");
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
    // The first is the controller's own broker; another is offered to load-flexibility partners as a comment.
    let text = default
        .replacen(
            "url = \"mqtt://127.0.0.1:1883\"",
            &format!("url = \"mqtt://{address}\"\nuser = \"controller\"\npassword_env = \"PASSWORD\""),
            1,
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

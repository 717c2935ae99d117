//! TLS to peers nobody here wrote, with certificates of OpenSSL: Modbus/TCP Security to pymodbus, MQTT
//! to Mosquitto, by the agent and by the controller. Who shows no certificate, a strange one or an expired
//! one gets no data and is told why.

use headroom_controller::config::DEFAULT;
use headroom_tests::mosquitto::Mosquitto;
use headroom_tests::parts::{Part, Start, content, until};
use headroom_tests::peer::{self, Peer};
use headroom_tests::{http, program, succeed};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Two authorities, and certificates of both.
struct Papers {
    dir: tempfile::TempDir,
}

impl Papers {
    fn new() -> Self {
        let papers = Self { dir: tempfile::tempdir().expect("a temporary folder") };
        let config = "[req]\ndistinguished_name = name\n[name]\n[authority]\nbasicConstraints = critical, CA:TRUE\n\
            [leaf]\nbasicConstraints = CA:FALSE\nsubjectAltName = IP:127.0.0.1\n\
            [named]\nbasicConstraints = CA:FALSE\nsubjectAltName = DNS:broker.example\n";
        std::fs::write(papers.path("openssl.cnf"), config).expect("a file");
        for authority in ["plant", "strange"] {
            papers.issue(authority, "authority", None);
            papers.issue(&format!("{authority}-agent"), "leaf", Some(authority));
        }
        papers.issue("server", "leaf", Some("plant"));
        papers.issue("named-server", "named", Some("plant"));
        papers.issue("expired", "leaf", None);
        papers.expire("expired", "plant");
        papers
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn pem(&self, name: &str) -> String {
        self.path(&format!("{name}.pem")).display().to_string()
    }

    fn key(&self, name: &str) -> String {
        self.path(&format!("{name}.key")).display().to_string()
    }

    fn issue(&self, name: &str, kind: &str, by: Option<&str>) {
        let subject = format!("/CN={name}");
        let mut make = Command::new("openssl");
        make.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-config"])
            .arg(self.path("openssl.cnf"))
            .args(["-extensions", kind, "-subj", &subject, "-days", "2"])
            .args(["-keyout", &self.key(name), "-out", &self.pem(name)]);
        if let Some(by) = by {
            make.args(["-CA", &self.pem(by), "-CAkey", &self.key(by)]);
        }
        succeed(&mut make, "openssl");
    }

    /// Lets an authority sign what was self-signed, valid until yesterday.
    fn expire(&self, name: &str, by: &str) {
        let old = self.path(&format!("{name}.old"));
        std::fs::rename(self.pem(name), &old).expect("it was issued");
        let mut sign = Command::new("openssl");
        sign.args(["x509", "-days", "-1", "-CA", &self.pem(by), "-CAkey", &self.key(by), "-out", &self.pem(name)]);
        succeed(sign.arg("-in").arg(&old), "openssl");
    }

    /// The keys of a config: whom to trust, and who we are.
    fn keys(&self, authority: &str, identity: Option<&str>) -> String {
        let own = identity
            .map(|name| format!("certificate_file = \"{}\"\nkey_file = \"{}\"\n", self.pem(name), self.key(name)));
        format!("ca_file = \"{}\"\n{}", self.pem(authority), own.unwrap_or_default())
    }
}

/// What an agent reads once, and what it logs.
fn probe(dir: &Path, text: &str) -> (Value, String) {
    let config = dir.join("agent.toml");
    std::fs::write(&config, text).expect("a file");
    let mut probe = Command::new(program("headroom-agent"));
    let output = probe.args(["probe", "--format", "json", "--config"]).arg(&config).output().expect("it starts");
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    let said = String::from_utf8_lossy(&output.stdout);
    (serde_json::from_str(&said).unwrap_or_else(|why| panic!("{why}: {said}\n{log}")), log)
}

fn volts(said: &Value) -> &Value {
    &said["devices"]["meter"]["signals"]["pdu_voltage_l1_volts"]
}

#[test]
fn pymodbus_is_read_through_tls_and_only_with_papers_that_both_sides_accept() {
    let papers = Papers::new();
    let server = |certificate: &str| {
        let (ca, own, key) = (papers.pem("plant"), papers.pem(certificate), papers.key(certificate));
        Peer::start("modbus_server.py", &["tls", &ca, &own, &key], &[])
    };
    let config = |port: &Value, keys: &str| {
        format!(
            "site = \"s\"\nrack = \"r\"\n[broker]\nurl = \"mqtt://127.0.0.1:1\"\n[nvml]\nenabled = false\n[[modbus]]\n\
             device = \"meter\"\nprofile = \"eastron-sdm630\"\naddress = \"127.0.0.1:{port}\"\ntransport = \"tls\"\n{keys}"
        )
    };
    let read = |port: &Value, keys: &str| probe(papers.dir.path(), &config(port, keys));
    let mut good = server("server");
    let port = good.answer()["port"].clone();
    let (said, log) = read(&port, &papers.keys("plant", Some("plant-agent")));
    assert_eq!(volts(&said)["value"], 230.5, "{said:#}\n{log}");

    for (authority, identity, why) in [
        ("strange", "plant-agent", "UnknownIssuer"),
        ("plant", "strange-agent", "may not accept the agent's certificate"),
        ("plant", "expired", "may not accept the agent's certificate"),
    ] {
        let (said, log) = read(&port, &papers.keys(authority, Some(identity)));
        assert_eq!(volts(&said)["quality"], "disconnected", "{authority} {identity}: {said:#}");
        assert!(log.contains(why), "{authority} {identity}: {log}");
    }
    let other_name = papers.keys("plant", Some("plant-agent")) + "server_name = \"ups.example\"\n";
    assert!(read(&port, &other_name).1.contains("not valid for name"), "a certificate for another name");
    let mut expired = server("expired");
    let (said, log) = read(&expired.answer()["port"], &papers.keys("plant", Some("plant-agent")));
    assert!(volts(&said)["value"].is_null() && log.contains("xpired"), "{said:#}\n{log}");
}

fn agent(dir: &Path, text: &str) -> (Part, String) {
    let (config, port) = (dir.join("agent.toml"), dir.join("agent.port"));
    std::fs::write(&config, text).expect("a file");
    let args = ["run", "--config", &config.display().to_string(), "--port-file", &port.display().to_string()];
    let part = Start::new("headroom-agent", &args, &[], dir.join("agent.log")).start();
    (part, content(&port))
}

#[test]
fn mosquitto_is_reached_through_tls_and_what_a_device_publishes_there_in_its_own_json_is_read() {
    let papers = Papers::new();
    let plain = tempfile::tempdir().expect("a temporary folder");
    let (_plain, open) = Mosquitto::start(plain.path(), "LISTENER\nallow_anonymous true\n");
    let text = format!(
        "LISTENER\nallow_anonymous true\nrequire_certificate true\ncafile {}\ncertfile {}\nkeyfile {}\n",
        papers.pem("plant"),
        papers.pem("server"),
        papers.key("server")
    );
    let (_secure, address) = Mosquitto::start(papers.dir.path(), &text);
    let config = |keys: &str| {
        format!(
            "site = \"s\"\nrack = \"r\"\n[broker]\nurl = \"mqtts://{address}\"\n{keys}[nvml]\nenabled = false\n[serve]\n\
             listen = \"127.0.0.1:0\"\n[[mqtt]]\ndevice = \"crah-1\"\nurl = \"mqtt://{open}\"\nstale_ms = 60000\n\
             [[mqtt.point]]\nsignal = \"cooling_supply_temperature_celsius\"\ntopic = \"plant/crah-1\"\npointer = \"/air/supply\"\n\
             [[mqtt.point]]\nsignal = \"cooling_flow_liters_per_minute\"\ntopic = \"plant/flow\"\nfactor = 60\n"
        )
    };
    let metric = |port: &str, name: &str| {
        let page = http::get(port, "/metrics").ok()?;
        page.lines().find(|l| l.starts_with(name)).and_then(|l| l.rsplit(' ').next()?.parse::<f64>().ok())
    };
    let (running, port) = agent(papers.dir.path(), &config(&papers.keys("plant", Some("plant-agent"))));
    let log = || std::fs::read_to_string(papers.path("agent.log")).unwrap_or_default();
    until("the uplink", || log().contains("connected broker").then_some(()));
    let (host, number) = open.split_once(':').expect("a port");
    let send = |topic: &str, payload: &str| {
        let hex: String = payload.bytes().map(|b| format!("{b:02x}")).collect();
        peer::ask("mqtt_send.py", &[host, number, topic, &hex], &[]);
    };
    // Said again: whether the agent has subscribed already is not to be seen from here.
    until("what the unit says", || {
        send("plant/crah-1", r#"{"air": {"supply": 21.5}}"#);
        send("plant/flow", "0.5");
        let supply = metric(&port, "headroom_cooling_supply_temperature_celsius{")?;
        (supply == 21.5 && metric(&port, "headroom_cooling_flow_liters_per_minute{")? == 30.0).then_some(())
    });
    send("plant/crah-1", "<html>");
    until("the reason", || {
        let said: Value = http::json(&port, "/readings");
        let supply = &said["devices"]["crah-1"]["signals"]["cooling_supply_temperature_celsius"];
        (supply["quality"] == "malformed" && supply["value"].is_null()).then_some(())
    });
    assert!(running.stop());

    std::fs::remove_file(papers.path("agent.log")).expect("the first one's");
    let (nobody, _) = agent(papers.dir.path(), &config(&papers.keys("plant", None)));
    until("a refusal", || log().contains("CertificateRequired").then_some(()));
    assert!(!log().contains("connected broker"), "{}", log());
    assert!(nobody.stop());
}

/// Mosquitto with this certificate; whether it wants one of its clients.
fn mosquitto(papers: &Papers, certificate: &str, wants_one: bool) -> (Mosquitto, String) {
    let (ca, own, key) = (papers.pem("plant"), papers.pem(certificate), papers.key(certificate));
    let text = format!(
        "LISTENER\nallow_anonymous true\nrequire_certificate {wants_one}\ncafile {ca}\ncertfile {own}\nkeyfile {key}\n"
    );
    Mosquitto::start(papers.dir.path(), &text)
}

/// A running controller, and where its console is.
fn controller(dir: &Path, address: &str, keys: &str) -> (Part, String) {
    let (config, port) = (dir.join("controller.toml"), dir.join("controller.port"));
    let text = DEFAULT
        .replacen("url = \"mqtt://127.0.0.1:1883\"", &format!("url = \"mqtts://{address}\"\n{keys}"), 1)
        .replace("127.0.0.1:7878", "127.0.0.1:0")
        .replace("dir = \"record\"", &format!("dir = \"{}\"", dir.join("record").display()));
    std::fs::write(&config, text).expect("a file");
    let _ = std::fs::remove_file(&port);
    let args = ["run", "--config", &config.display().to_string(), "--port-file", &port.display().to_string()];
    let part = Start::new("headroom-controller", &args, &[], dir.join("controller.log")).start();
    (part, content(&port))
}

/// Runs agent and controller until both have said `words`, and returns what they said.
fn both_say(papers: &Papers, address: &str, keys: &str, words: &[&str]) {
    let log = |name: &str| std::fs::read_to_string(papers.path(name)).unwrap_or_default();
    for name in ["agent.log", "controller.log", "agent.port"] {
        let _ = std::fs::remove_file(papers.path(name));
    }
    let text = format!(
        "site = \"demo\"\nrack = \"rack-1\"\n[broker]\nurl = \"mqtts://{address}\"\n{keys}[nvml]\nenabled = false\n\
         [serve]\nlisten = \"127.0.0.1:0\"\n"
    );
    let (agent, _) = agent(papers.dir.path(), &text);
    let (controller, _) = controller(papers.dir.path(), address, keys);
    for name in ["agent.log", "controller.log"] {
        until(&format!("{words:?} in {name} with {keys}"), || {
            words.iter().any(|w| log(name).contains(w)).then_some(())
        });
        let connected = ["connected broker", "connected to the broker"].iter().any(|w| log(name).contains(w));
        assert_eq!(connected, words.contains(&"connected broker"), "{name} with {keys}: {}", log(name));
    }
    assert!(agent.stop() && controller.stop());
}

const BOTH_CONNECT: &[&str] = &["connected broker", "connected to the broker"];

#[test]
fn agent_and_controller_meet_at_a_broker_that_knows_both_and_are_refused_by_the_reason() {
    let papers = Papers::new();
    let keys = |identity| papers.keys("plant", identity);
    let (strict, address) = mosquitto(&papers, "server", true);
    both_say(&papers, &address, &keys(Some("plant-agent")), BOTH_CONNECT);
    for (authority, identity, why) in [
        ("plant", None, "CertificateRequired"),
        ("plant", Some("strange-agent"), "UnknownCA"),
        ("plant", Some("expired"), "CertificateExpired"),
        ("strange", Some("plant-agent"), "UnknownIssuer"),
    ] {
        both_say(&papers, &address, &papers.keys(authority, identity), &[why]);
    }
    let misnamed = keys(Some("plant-agent")) + "server_name = \"broker.example\"\n";
    both_say(&papers, &address, &misnamed, &["not valid for name"]);
    drop(strict);

    // Anybody may come: encrypted, and the broker known by its certificate.
    let (open, address) = mosquitto(&papers, "named-server", false);
    both_say(&papers, &address, &keys(None), &["not valid for name"]);
    both_say(&papers, &address, &(keys(None) + "server_name = \"broker.example\"\n"), BOTH_CONNECT);
    drop(open);
    let (_expired, address) = mosquitto(&papers, "expired", false);
    both_say(&papers, &address, &keys(None), &["xpired"]);
}

#[test]
fn what_an_agent_reads_reaches_the_controllers_record_through_tls() {
    let papers = Papers::new();
    let (_broker, address) = mosquitto(&papers, "server", true);
    let keys = papers.keys("plant", Some("plant-agent"));
    let text = format!(
        "site = \"demo\"\nrack = \"rack-1\"\n[broker]\nurl = \"mqtts://{address}\"\n{keys}[nvml]\nenabled = false\n\
         [serve]\nlisten = \"127.0.0.1:0\"\n"
    );
    let (controller, console) = controller(papers.dir.path(), &address, &keys);
    let (agent, port) = agent(papers.dir.path(), &text);
    let value = |port: &str, start: &str| {
        let page = http::get(port, "/metrics").ok()?;
        page.lines().find(|l| l.starts_with(start)).and_then(|l| l.rsplit(' ').next()?.parse::<f64>().ok())
    };
    until("the record to acknowledge what the agent made", || {
        let made = value(&port, "headroom_agent_snapshots_total")?;
        (made >= 5.0 && value(&port, "headroom_agent_spool_snapshots")? <= 2.0).then_some(())
    });
    assert!(http::get(&console, "/metrics").is_ok_and(|page| page.contains("headroom_")));
    assert!(agent.stop() && controller.stop());
}

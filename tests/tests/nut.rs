//! UPS drivers of Network UPS Tools (Debian's nut-server and nut-modbus) read the simulated UPSs on a serial
//! line; what they say is what the agent reads from the same device with the shipped profile.

use headroom_tests::peer::Peer;
use headroom_tests::plant::Plant;
use headroom_tests::{http, program};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

/// The agent's signal, NUT's variable, from the signal's unit to NUT's, and how coarse NUT's is.
type Pair = (&'static str, &'static str, f64, f64);

const HUAWEI: &[Pair] = &[
    ("ups_input_voltage_volts", "input.voltage", 1.0, 0.1),
    ("ups_input_frequency_hz", "input.frequency", 1.0, 0.1),
    ("ups_output_voltage_volts", "output.voltage", 1.0, 0.1),
    ("ups_output_frequency_hz", "output.frequency", 1.0, 0.1),
    ("ups_output_power_l1_watts", "output.realpower", 1.0, 100.0),
    ("ups_load_ratio", "ups.load", 100.0, 0.1),
    ("ups_battery_voltage_volts", "battery.voltage", 1.0, 0.1),
    ("ups_battery_charge_ratio", "battery.charge", 100.0, 1.0),
    ("ups_battery_runtime_seconds", "battery.runtime", 1.0, 1.0),
];
const SOCOMEC: &[Pair] = &[
    ("ups_load_ratio", "ups.load", 100.0, 1.0),
    ("ups_battery_charge_ratio", "battery.charge", 100.0, 1.0),
    ("ups_output_voltage_volts", "output.voltage", 1.0, 1.0),
    // Tenths in the register; NUT divides whole numbers.
    ("ups_output_frequency_hz", "output.frequency", 1.0, 1.0),
    ("ups_battery_voltage_volts", "battery.voltage", 1.0, 1.0),
    ("ups_battery_current_amperes", "battery.current", 1.0, 0.1),
];
const QUINT: &[Pair] = &[
    // NUT cuts millivolts down to volts.
    ("ups_output_voltage_volts", "output.voltage", 1.0, 1.0),
    ("ups_battery_charge_ratio", "battery.charge", 100.0, 1.0),
    ("ups_battery_voltage_volts", "battery.voltage", 1.0, 0.001),
    ("ups_battery_temperature_celsius", "battery.temperature", 1.0, 1.0),
    ("ups_battery_runtime_seconds", "battery.runtime", 1.0, 1.0),
];

/// What a driver has found after its first round.
fn driver(name: &str, port: &str, dir: &Path, more: &[&str]) -> BTreeMap<String, String> {
    let state = dir.join("nut");
    std::fs::create_dir_all(&state).expect("a folder");
    let output = Command::new(format!("/lib/nut/{name}"))
        .args(["-s", "ups", "-x", &format!("port={port}"), "-u", "root", "-d", "1"])
        .args(more.iter().flat_map(|setting| ["-x", setting]))
        .env("NUT_STATEPATH", &state)
        .output()
        .unwrap_or_else(|why| panic!("{name}: {why}; install nut-server and nut-modbus or run ./tests/run"));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let found: BTreeMap<_, _> =
        said.lines().filter_map(|l| l.split_once(": ")).map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
    assert!(found.contains_key("ups.status"), "{name}:\n{said}\n{}", String::from_utf8_lossy(&output.stderr));
    found
}

fn agrees(make: &str, driver_name: &str, pairs: &[Pair]) {
    let mut cable = Peer::start("serial_pair.py", &[], &[]);
    let ends = cable.answer()["ends"].clone();
    let end = |n: usize| ends[n].as_str().expect("a path").to_owned();
    let row = format!(
        "site = \"demo\"\n[devices]\nups = \"{make}\"\n[[rack]]\nid = \"rack-1\"\ngpus = 8\nworkload = \"batch\"\nlevel = [[0, 0.6]]\n\
         [[rack]]\nid = \"rack-2\"\ngpus = 8\nworkload = \"idle\"\nlevel = [[0, 0.1]]\n"
    );
    let plant = Plant::with(Some(&row), &["--serial", &format!("rack-1/ups-a={}", end(0))]);
    plant.until("a load on the UPS", |t| t["rack-1"]["ups-a"]["ups_load_ratio"].as_f64().is_some_and(|l| l > 0.05));
    for outage in [false, true] {
        if outage {
            http::post(&plant.http, "/resume", &Value::Null).expect("the plant goes on");
            plant.fault("feed_lost", "feed-a", None);
            plant.until("the UPS on battery", |t| t["rack-1"]["ups-a"]["ups_on_battery_flag"] == 1);
        }
        plant.hold();
        let nut = driver(driver_name, &end(1), plant.dir(), &[]);
        let ups = plant.racks[0].devices.iter().find(|d| d.id == "ups-a").expect("the rack reads a UPS");
        let config = plant.file(
            "nut.toml",
            &format!(
                "site = \"demo\"\nrack = \"rack-1\"\n[broker]\nurl = \"mqtt://{}\"\n[nvml]\nenabled = false\n[[modbus]]\ndevice = \"ups-a\"\n\
                 profile = \"{make}\"\naddress = \"{}\"\nunit = {}\n",
                plant.broker, ups.address, ups.unit
            ),
        );
        let mut probe = Command::new(program("headroom-agent"));
        let output = probe.args(["probe", "--format", "json", "--config"]).arg(&config).output().expect("it starts");
        let said: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let ours = &said["devices"]["ups-a"]["signals"];
        for (signal, variable, factor, step) in pairs {
            let Some(theirs) = nut.get(*variable).and_then(|v| v.parse::<f64>().ok()) else {
                panic!("NUT has no {variable}: {nut:#?}")
            };
            let value = ours[*signal]["value"].as_f64().unwrap_or_else(|| panic!("{signal}: {}", ours[*signal]));
            assert!(
                (value * factor - theirs).abs() <= *step + 1e-9,
                "{make}: {signal} is {value}, {variable} is {theirs}"
            );
        }
        let on_battery = nut["ups.status"].split(' ').any(|word| word == "OB");
        assert_eq!(on_battery, outage, "{make}: {}", nut["ups.status"]);
        assert_eq!(ours["ups_on_battery_flag"]["value"], f64::from(u8::from(outage)), "{make}");
    }
}

#[test]
fn nuts_huawei_driver_and_the_agent_agree() {
    agrees("huawei-ups2000", "huawei-ups2000", HUAWEI);
}

#[test]
fn nuts_socomec_driver_and_the_agent_agree() {
    agrees("socomec-jbus", "socomec_jbus", SOCOMEC);
}

#[test]
fn nuts_phoenix_contact_driver_and_the_agent_agree() {
    agrees("phoenix-quint", "phoenixcontact_modbus", QUINT);
}

/// The contacts of a QUINT as the driver for any remote I/O is told them: input registers (type 2) that are 1
/// while the state holds, and for OL the one that is 0 then.
const CONTACTS: &[&str] = &[
    "rio_slave_id=192",
    "ser_baud_rate=115200",
    "ser_parity=E",
    "OB_addr=29697",
    "OB_regtype=2",
    "OB_noro=0",
    "OL_addr=29697",
    "OL_regtype=2",
    "OL_noro=1",
    "LB_addr=29698",
    "LB_regtype=2",
    "LB_noro=0",
    "CHRG_addr=29699",
    "CHRG_regtype=2",
    "CHRG_noro=0",
];

#[test]
fn nuts_generic_driver_tells_the_same_state_over_tcp_and_a_serial_line() {
    let mut cable = Peer::start("serial_pair.py", &[], &[]);
    let ends = cable.answer()["ends"].clone();
    let end = |n: usize| ends[n].as_str().expect("a path").to_owned();
    let row = "site = \"demo\"\n[devices]\nups = \"phoenix-quint\"\n[[rack]]\nid = \"rack-1\"\ngpus = 8\n\
        workload = \"batch\"\nlevel = [[0, 0.6]]\n";
    let plant = Plant::with(Some(row), &["--serial", &format!("rack-1/ups-a={}", end(0))]);
    let ups = plant.racks[0].devices.iter().find(|d| d.id == "ups-a").expect("the rack reads a UPS");
    // It takes a port for a serial one by its name.
    let line = plant.dir().join("dev/ttyUPS");
    std::fs::create_dir_all(plant.dir().join("dev")).expect("a folder");
    std::os::unix::fs::symlink(end(1), &line).expect("a link");
    for outage in [false, true] {
        if outage {
            plant.fault("feed_lost", "feed-a", None);
            plant.until("the UPS on battery", |t| t["rack-1"]["ups-a"]["ups_on_battery_flag"] == 1);
        }
        for port in [&line.display().to_string(), &ups.address] {
            let status = &driver("generic_modbus", port, plant.dir(), CONTACTS)["ups.status"];
            let words: Vec<&str> = status.split(' ').collect();
            assert_eq!((words.contains(&"OL"), words.contains(&"OB")), (!outage, outage), "{port}: {status}");
            assert!(!words.contains(&"LB"), "{port}: {status}");
        }
    }
}

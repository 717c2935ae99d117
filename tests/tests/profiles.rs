//! Every shipped profile over the wire: pymodbus serves the raw words of its worked example, which
//! were written by hand from the document the profile names, and the agent must read what the
//! example says, signal by signal.

use headroom_tests::comparison::probed;
use headroom_tests::peer::Peer;
use headroom_tests::program;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

#[test]
fn every_shipped_profile_reads_its_worked_example_from_a_server_of_pymodbus() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../agent/profiles");
    let names = |folder: &Path| -> BTreeSet<String> {
        let files = std::fs::read_dir(folder).expect("a folder").flatten();
        files.filter_map(|f| Some(f.file_name().to_str()?.strip_suffix(".toml")?.to_owned())).collect()
    };
    let examples = folder.join("examples");
    assert_eq!(names(&folder), names(&examples), "left are the profiles, right those with a worked example");
    let mut server = Peer::start("modbus_server.py", &["examples", &examples.display().to_string()], &[]);
    let said = server.answer();
    let mut config =
        "site = \"demo\"\nrack = \"rack-1\"\n[broker]\nurl = \"mqtt://127.0.0.1:1\"\n[nvml]\nenabled = false\n"
            .to_owned();
    for (name, unit) in said["units"].as_object().expect("units") {
        let address = format!("address = \"127.0.0.1:{}\"", said["port"]);
        config += &format!("[[modbus]]\ndevice = \"{name}\"\nprofile = \"{name}\"\n{address}\nunit = {unit}\n");
    }
    let dir = tempfile::tempdir().expect("a temporary folder");
    let file = dir.path().join("agent.toml");
    std::fs::write(&file, config).expect("a config");
    let mut probe = Command::new(program("headroom-agent"));
    let probe = probe.args(["probe", "--format", "json", "--config"]).arg(&file).output().expect("it starts");
    let complaint = String::from_utf8_lossy(&probe.stderr);
    assert!(!probe.stdout.is_empty(), "{complaint}");
    let read = probed(&String::from_utf8_lossy(&probe.stdout));
    let mut wrong = Vec::new();
    for name in names(&examples) {
        let text = std::fs::read_to_string(examples.join(format!("{name}.toml"))).expect("UTF-8");
        let example: toml::Table = text.parse().unwrap_or_else(|e| panic!("{name}: {e}"));
        let expect = example["expect"].as_table().expect("what must be read").iter();
        let expect: BTreeMap<String, Result<f64, String>> = expect
            .map(|(signal, value)| {
                let number = value.as_float().or_else(|| value.as_integer().map(|n| n as f64));
                (signal.clone(), number.ok_or_else(|| value.as_str().expect("a number or a reason").to_owned()))
            })
            .collect();
        let read = &read[&name];
        for signal in expect.keys().chain(read.keys()).collect::<BTreeSet<_>>() {
            let same = match (expect.get(signal), read.get(signal)) {
                // Scaling by tenths and singles read as doubles cost the last bits.
                (Some(Ok(a)), Some(Ok(b))) => (a - b).abs() <= 1e-6 * a.abs() + 1e-9,
                (a, b) => a == b,
            };
            if !same {
                wrong.push(format!("{name} {signal}: read {:?}, and it is {:?}", read.get(signal), expect.get(signal)));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn discover_finds_each_device_of_a_bus_and_the_profile_it_has() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../agent/profiles/examples");
    let mut server = Peer::start("modbus_server.py", &["examples", &examples.display().to_string()], &[]);
    let said = server.answer();
    let units = said["units"].as_object().expect("units");
    let address = format!("127.0.0.1:{}", said["port"]);
    let mut discover = Command::new(program("headroom-agent"));
    let last = units.len() + 2;
    let range = format!("1-{last}");
    let output = discover.args(["discover", "--tcp", &address, "--units", &range, "--format", "json"]).output();
    let output = output.expect("it starts");
    let found: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&output.stderr)));
    let found = found["units"].as_array().expect("units");
    // pymodbus answers for ids that nobody has, with an exception.
    let nobody: Vec<_> = found.iter().filter(|f| f["unit"].as_u64() > Some(units.len() as u64)).collect();
    assert!(nobody.iter().all(|f| f["fits"].as_array().is_some_and(Vec::is_empty)), "{nobody:?}");
    for (name, unit) in units {
        let found = found.iter().find(|f| f["unit"] == *unit).unwrap_or_else(|| panic!("{name} was not found"));
        let fits = found["fits"].as_array().expect("fits");
        let text = std::fs::read_to_string(examples.join(format!("../{name}.toml"))).expect("UTF-8");
        let profile: toml::Table = text.parse().expect("TOML");
        let proves = profile["probe"].as_table().expect("a table").contains_key("expect");
        let fit = fits.iter().find(|f| f["profile"] == *name).unwrap_or_else(|| panic!("{name}: only {fits:?}"));
        assert_eq!(fit["identified"], proves, "{name}");
        // Whoever proves what it is comes first.
        assert!(!proves || fits[0]["identified"] == true, "{name}: {fits:?}");
    }
}

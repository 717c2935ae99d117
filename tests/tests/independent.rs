//! Against parts of other projects, none of which shares a line with ours: pymodbus as client and as
//! server, NVIDIA's Python binding, nvitop and gpustat, paho-mqtt and pysparkplug. What both sides of
//! this project agree on by mistake shows here.

use headroom_tests::http;
use headroom_tests::parts::until;
use headroom_tests::peer::{Peer, ask};
use headroom_tests::plant::{Device, Plant, Rack};
use headroom_tests::program;
use headroom_tests::row::Row;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

/// One rack of eight GPUs, busy from the first second on, behind breakers that carry them.
const BUSY_RACK: &str = r#"
site = "demo"
[breaker]
rating_amperes = 63.0

[[rack]]
id = "rack-1"
gpus = 8
overhead_watts = 1700.0
cooling_watts = 250.0
cooling_feed = "a"
workload = "batch"
level = [[0, 1.0], [600, 1.0]]
repeat_from_s = 0.0
"#;
/// Two meters of 15 values, two UPSs of 23, one cooling unit of 12.
const VALUES_OF_A_RACK: usize = 2 * 15 + 2 * 23 + 12;

fn busy_rack() -> Plant {
    let plant = Plant::of(Some(BUSY_RACK));
    plant.until("busy GPUs", |truth| (0..8).all(|gpu| is_busy(truth, gpu)));
    plant
}

fn is_busy(truth: &Value, gpu: usize) -> bool {
    truth["rack-1"][format!("gpu-{gpu}")]["gpu_power_watts"].as_f64().is_some_and(|watts| watts > 600.0)
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number"))
}

/// What pymodbus reads from a device.
fn read_device(device: &Device) -> Value {
    let (host, port) = device.address.split_once(':').expect("host and port");
    ask("modbus_devices.py", &[&device.profile, host, port, &device.unit.to_string()], &[])
}

/// Runs one of the scripts as an NVML client on the host of a rack.
fn on_host<T>(rack: &Rack, run: impl FnOnce(&[(&str, &Path)]) -> T) -> T {
    let folder = Path::new(&rack.nvml_library).parent().expect("in a folder");
    run(&[("LD_LIBRARY_PATH", folder), ("HEADROOM_NVML_STATE", Path::new(&rack.nvml_state))])
}

/// pymodbus reads every device of a held plant; how many values were compared.
fn compare_devices(plant: &Plant) -> usize {
    let truth = plant.hold();
    let mut compared = 0;
    for device in &plant.racks[0].devices {
        let (id, read) = (&device.id, read_device(device));
        for reading in read["readings"].as_array().expect("readings") {
            let signal = reading[0].as_str().expect("a name");
            let of = if signal == "_up_s" { &truth["_plant"]["time_s"] } else { &truth["rack-1"][id][signal] };
            let (true_value, value, within) = (number(of), number(&reading[1]), number(&reading[2]));
            // What a double makes of tenths must not decide.
            let within = within + 1e-9 * true_value.abs();
            assert!((value - true_value).abs() <= within, "{id} {signal}: reads {value}, is {true_value}");
            compared += 1;
        }
        let mut refusals =
            json!({"nothing there": 2, "past the end": 2, "other function": 1, "a write": 1, "other unit": 11});
        let texts = match device.profile.as_str() {
            "delta-dph" => json!({"model": "DPH 30K"}),
            "openrack-rpu" => json!({"model": "RDF040DSS5193E0"}),
            _ => {
                refusals["too many at once"] = json!(3);
                json!({})
            }
        };
        assert_eq!(read["texts"], texts, "{id}");
        assert_eq!(read["refusals"], refusals, "{id}");
    }
    plant.resume();
    compared
}

#[test]
fn pymodbus_reads_from_the_simulated_devices_what_the_plant_is() {
    let plant = busy_rack();
    assert_eq!(compare_devices(&plant), VALUES_OF_A_RACK);
    // Most registers of a UPS and of a cooling unit are dull while nothing is wrong.
    plant.fault("feed_lost", "feed-a", None);
    plant.fault("battery_weak", "ups-b", None);
    plant.fault("leak", "rack-1/cooling", None);
    plant.fault("pump_stopped", "rack-1/cooling", Some(2.0));
    plant.until("the faults to act", |truth| {
        let rack = &truth["rack-1"];
        let is =
            |device: &str, signal: &str, good: &dyn Fn(f64) -> bool| rack[device][signal].as_f64().is_some_and(good);
        is("ups-a", "ups_on_battery_flag", &|flag| flag == 1.0)
            && is("ups-a", "ups_battery_charge_ratio", &|charge| charge < 0.995)
            && is("ups-b", "ups_battery_weak_flag", &|flag| flag == 1.0)
            && is("cooling", "cooling_leak_flag", &|flag| flag == 1.0)
            && is("cooling", "cooling_pump1_rpm", &|rpm| rpm > 100.0)
            && is("cooling", "cooling_pump2_rpm", &|rpm| rpm < 100.0)
    });
    assert_eq!(compare_devices(&plant), VALUES_OF_A_RACK);
}

/// A client's view of each GPU against the truth: name of its value, and what that is in truth.
fn compare_gpus(client: &str, read: &Value, truth: &Value, limit_mw: &[f64]) {
    let gpus = read.as_array().expect("GPUs");
    assert_eq!(gpus.len(), 8, "{client}");
    for (index, gpu) in gpus.iter().enumerate() {
        let truth = &truth["rack-1"][format!("gpu-{index}")];
        let of = |signal: &str| number(&truth[signal]);
        let expected = [
            ("power_mw", of("gpu_power_watts") * 1000.0, 0.5),
            // gpustat rounds to whole watts, and mebibytes.
            ("power_w", of("gpu_power_watts"), 1.0),
            ("energy_mj", of("gpu_energy_joules") * 1000.0, 0.5),
            ("limit_mw", limit_mw[index], 0.0),
            ("limit_w", limit_mw[index] / 1000.0, 0.0),
            ("celsius", of("gpu_temperature_celsius"), 0.5),
            ("sm_mhz", of("gpu_sm_clock_mhz"), 0.5),
            ("busy_percent", of("gpu_utilization_ratio") * 100.0, 0.5),
            ("memory_bytes", of("gpu_memory_used_bytes"), 0.5),
            ("memory_mib", of("gpu_memory_used_bytes") / f64::from(1 << 20), 1.0),
        ];
        let mut compared = 0;
        for (name, true_value, within) in expected {
            if let Some(value) = gpu[name].as_f64() {
                let off = (value - true_value).abs();
                assert!(off <= within + 1e-6, "{client}, GPU {index}, {name}: reads {value}, is {true_value}");
                compared += 1;
            }
        }
        assert_eq!(
            compared,
            gpu.as_object().expect("values").len() - 1,
            "{client}: all but the UUID have a truth: {gpu}"
        );
    }
}

#[test]
fn nvml_clients_read_and_cap_the_simulated_gpus() {
    let plant = busy_rack();
    let client = |args: &[&str]| on_host(&plant.racks[0], |environment| ask("gpu_clients.py", args, environment));
    for (name, capped, watts) in [("pynvml", 2, 300.0), ("nvitop", 5, 350.0)] {
        let (index, milliwatts) = (capped.to_string(), watts * 1000.0);
        let set = client(&[name, "cap", &index, &milliwatts.to_string()]);
        assert_eq!(set, json!({"asked_mw": milliwatts as u64, "enforced_mw": milliwatts as u64}), "{name}");
        // It is the limit and not the work: the neighbours go on as before.
        plant.until("power below the limit of one GPU alone", |truth| {
            let power = truth["rack-1"][format!("gpu-{capped}")]["gpu_power_watts"].as_f64();
            power.is_some_and(|w| w <= watts) && (0..8).all(|gpu| gpu == capped || is_busy(truth, gpu))
        });
        let truth = plant.hold();
        let mut limits = [700_000.0; 8];
        limits[capped] = milliwatts;
        for reader in ["pynvml", "nvitop", "gpustat"] {
            compare_gpus(reader, &client(&[reader, "read"]), &truth, &limits);
        }
        plant.resume();
        let back = client(&[name, "cap", &index, "700000"]);
        assert_eq!(back, json!({"asked_mw": 700_000, "enforced_mw": 700_000}), "{name}");
        plant.until("a GPU that is busy again", |truth| is_busy(truth, capped));
    }
}

#[test]
fn nvidias_own_binding_finds_every_call_and_every_refusal() {
    let plant = busy_rack();
    let (good, told) = on_host(&plant.racks[0], |environment| Peer::start("nvml_clients.py", &[], environment).end());
    assert!(good && told.contains(" passed, 0 failed"), "{told}");
}

#[test]
fn the_agent_reads_a_server_of_pymodbus_over_tcp() {
    let mut server = Peer::start("modbus_server.py", &[], &[]);
    let port = server.answer()["port"].as_u64().expect("a port");
    the_agent_reads(&format!("address = \"127.0.0.1:{port}\""));
}

#[test]
fn the_agent_reads_a_server_of_pymodbus_over_a_serial_line() {
    let mut server = Peer::start("modbus_server.py", &["rtu"], &[]);
    let said = server.answer();
    the_agent_reads(&format!("serial = {}\nbaud = 19200", said["serial"]));
}

fn the_agent_reads(bus: &str) {
    let mut config =
        "site = \"demo\"\nrack = \"rack-1\"\n[broker]\nurl = \"mqtt://127.0.0.1:1\"\n[nvml]\nenabled = false\n"
            .to_owned();
    for (device, profile, unit) in [
        ("pdu-a", "eastron-sdm630", 1),
        ("ups-a", "delta-dph", 2),
        ("cooling", "openrack-rpu", 12),
        ("pdu-b", "eastron-sdm630", 7),
    ] {
        config += &format!(
            "[[modbus]]\ndevice = \"{device}\"\nprofile = \"{profile}\"\n{bus}\nunit = {unit}\ntimeout_ms = 5000\n"
        );
    }
    let dir = tempfile::tempdir().expect("a temporary folder");
    let file = dir.path().join("agent.toml");
    std::fs::write(&file, config).expect("a config");
    let mut probe = Command::new(program("headroom-agent"));
    let probe = probe.args(["probe", "--format", "json", "--config"]).arg(&file).output().expect("it starts");
    let said = String::from_utf8_lossy(&probe.stdout);
    let read: Value = serde_json::from_str(&said).unwrap_or_else(|e| panic!("{e}: {said}"));
    let expected = [
        ("cooling", "cooling_flow_liters_per_minute", Some(63.5), "l/min"),
        ("cooling", "cooling_leak_flag", Some(1.0), "flag"),
        ("cooling", "cooling_power_watts", None, "W"),
        ("cooling", "cooling_pump1_rpm", Some(3021.0), "rpm"),
        ("cooling", "cooling_pump2_rpm", Some(0.0), "rpm"),
        ("cooling", "cooling_pump_speed_ratio", Some(0.72), "1"),
        ("cooling", "cooling_return_pressure_kilopascals", Some(-2.0), "kPa"),
        ("cooling", "cooling_return_temperature_celsius", None, "°C"),
        ("cooling", "cooling_supply_pressure_kilopascals", Some(187.5), "kPa"),
        ("cooling", "cooling_supply_setpoint_celsius", Some(32.0), "°C"),
        ("cooling", "cooling_supply_temperature_celsius", Some(-1.0), "°C"),
        ("pdu-a", "pdu_apparent_power_va", Some(5052.0), "VA"),
        ("pdu-a", "pdu_current_l1_amperes", Some(12.5), "A"),
        ("pdu-a", "pdu_current_l2_amperes", Some(10.0), "A"),
        ("pdu-a", "pdu_current_l3_amperes", Some(0.5), "A"),
        ("pdu-a", "pdu_energy_joules", Some(4_444_200_000.0), "J"),
        ("pdu-a", "pdu_frequency_hz", Some(50.0), "Hz"),
        ("pdu-a", "pdu_power_factor_ratio", Some(0.984375), "1"),
        ("pdu-a", "pdu_power_l1_watts", Some(2800.0), "W"),
        ("pdu-a", "pdu_power_l2_watts", Some(2300.0), "W"),
        ("pdu-a", "pdu_power_l3_watts", Some(-100.0), "W"),
        ("pdu-a", "pdu_power_watts", Some(5000.0), "W"),
        ("pdu-a", "pdu_voltage_l1_volts", Some(230.5), "V"),
        ("pdu-a", "pdu_voltage_l2_volts", Some(231.0), "V"),
        ("pdu-a", "pdu_voltage_l3_volts", Some(229.25), "V"),
        ("ups-a", "ups_battery_charge_ratio", Some(0.83), "1"),
        ("ups-a", "ups_battery_current_amperes", None, "A"),
        ("ups-a", "ups_battery_runtime_seconds", Some(420.0), "s"),
        ("ups-a", "ups_battery_temperature_celsius", Some(27.0), "°C"),
        ("ups-a", "ups_battery_voltage_volts", Some(432.1), "V"),
        ("ups-a", "ups_battery_weak_flag", Some(1.0), "flag"),
        ("ups-a", "ups_input_frequency_hz", Some(49.9), "Hz"),
        ("ups-a", "ups_input_voltage_volts", Some(230.4), "V"),
        ("ups-a", "ups_load_ratio", Some(0.62), "1"),
        ("ups-a", "ups_on_battery_flag", Some(1.0), "flag"),
        ("ups-a", "ups_output_frequency_hz", Some(50.1), "Hz"),
        ("ups-a", "ups_output_power_l1_watts", Some(2010.0), "W"),
        ("ups-a", "ups_output_power_l2_watts", Some(2020.0), "W"),
        ("ups-a", "ups_output_power_l3_watts", Some(2030.0), "W"),
        ("ups-a", "ups_output_voltage_volts", Some(240.1), "V"),
        ("ups-a", "ups_rated_power_watts", Some(30_000.0), "W"),
    ];
    let mut devices: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (device, signal, value, unit) in expected {
        let told = &read["devices"][device]["signals"][signal];
        let same = match value {
            None => told["value"].is_null() && told["quality"] == "not_available",
            // What a double makes of tenths must not decide.
            Some(value) => (number(&told["value"]) - value).abs() <= 1e-12 * value.abs() && told["quality"] == "good",
        };
        assert!(same && told["unit"] == unit, "{device} {signal}: {told}, and it is {value:?} {unit}");
        devices.entry(device).or_default().insert(signal);
    }
    let signals = |device: &str| read["devices"][device]["signals"].as_object().expect("signals").iter();
    for (device, expected) in devices {
        assert_eq!(signals(device).map(|(name, _)| name.as_str()).collect::<BTreeSet<_>>(), expected, "{device}");
    }
    // Nobody is unit 7: no value, and the others none the worse.
    let absent = |(_, told): (&String, &Value)| told["value"].is_null() && told["quality"] == "exception_4";
    assert!(signals("pdu-b").len() == 14 && signals("pdu-b").all(absent), "{said}");
}

/// A host application of pysparkplug that listens to the row, and what it understood so far.
struct Host {
    peer: Peer,
    broker: String,
}

impl Host {
    fn start(broker: &str) -> Self {
        let (host, port) = broker.split_once(':').expect("host and port");
        let peer = Peer::start("sparkplug_host.py", &[host, port, "demo"], &[]);
        let mut host = Self { peer, broker: broker.to_owned() };
        host.listens(1);
        host
    }

    /// Waits until it has subscribed for the `times`th time.
    fn listens(&mut self, times: usize) {
        until("the host to listen", || {
            (self.peer.values().iter().filter(|v| v["listening"] == true).count() >= times).then_some(())
        });
    }

    fn frames(&mut self, kind: &str, rack: &str) -> Vec<Value> {
        self.peer.values().into_iter().filter(|v| v["kind"] == kind && v["node"] == rack).collect()
    }

    /// Waits until there are more than `before` frames of a kind; the last one.
    fn after(&mut self, before: usize, kind: &str, rack: &str) -> Value {
        until(&format!("{kind} of {rack}"), || self.frames(kind, rack).drain(..).skip(before).next_back())
    }

    /// Publishes as an outsider.
    fn send(&self, topic: &str, what: &str) {
        let (host, port) = self.broker.split_once(':').expect("host and port");
        assert_eq!(ask("mqtt_send.py", &[host, port, topic, what], &[]), json!({"sent": true}), "{topic}");
    }

    /// Asks a rack for its birth as any Sparkplug host may, and waits for it.
    fn rebirth(&mut self, rack: &str) -> Value {
        let before = self.frames("NBIRTH", rack).len();
        self.send(&format!("spBv1.0/demo/NCMD/{rack}"), "rebirth");
        self.after(before, "NBIRTH", rack)
    }
}

fn metrics(frame: &Value) -> &[Value] {
    frame["metrics"].as_array().map_or(&[], Vec::as_slice)
}

fn metric<'a>(frame: &'a Value, name: &str) -> &'a Value {
    metrics(frame).iter().find(|m| m["name"] == name).unwrap_or_else(|| panic!("{name} is not in {frame}"))
}

/// The unit that the end of a signal's name says.
fn unit_of(signal: &str) -> &'static str {
    const UNITS: [(&str, &str); 19] = [
        ("_watts", "W"),
        ("_va", "VA"),
        ("_joules", "J"),
        ("_amperes", "A"),
        ("_volts", "V"),
        ("_mhz", "MHz"),
        ("_hz", "Hz"),
        ("_celsius", "°C"),
        ("_kelvins", "K"),
        ("_ratio", "1"),
        ("_bytes", "B"),
        ("_seconds", "s"),
        ("_liters_per_minute", "l/min"),
        ("_kilopascals", "kPa"),
        ("_rpm", "rpm"),
        ("_count", "count"),
        ("_bits", "bits"),
        ("_flag", "flag"),
        ("_code", "count"),
    ];
    UNITS.iter().find(|(end, _)| signal.ends_with(end)).unwrap_or_else(|| panic!("{signal} ends in no unit")).1
}

/// A birth by the Sparkplug specification 3.0, chapters 5 and 6.
fn check_birth(birth: &Value) {
    assert_eq!((&birth["seq"], &birth["qos"], &birth["retain"]), (&json!(0), &json!(0), &json!(false)));
    let bd_seq = metric(birth, "bdSeq");
    assert!(bd_seq["type"] == "UINT64" && bd_seq["value"].as_u64().is_some_and(|n| n < 256), "{bd_seq}");
    let rebirth = metric(birth, "Node Control/Rebirth");
    assert!(rebirth["type"] == "BOOLEAN" && rebirth["value"] == false, "{rebirth}");
    let names: BTreeSet<&str> = metrics(birth).iter().filter_map(|m| m["name"].as_str()).collect();
    let aliases: Vec<u64> = metrics(birth).iter().filter_map(|m| m["alias"].as_u64()).collect();
    assert_eq!(names.len(), metrics(birth).len(), "each has a name of its own");
    assert_eq!(aliases.iter().collect::<BTreeSet<_>>().len(), aliases.len(), "each alias is given once");
    let of_devices = |m: &&Value| {
        let device = m["name"].as_str().unwrap_or_default().split('/').next().unwrap_or_default();
        ["gpu-", "pdu-", "ups-", "cooling"].iter().any(|start| device.starts_with(start))
    };
    let readings: Vec<&Value> = metrics(birth).iter().filter(of_devices).collect();
    for device in ["gpu-0", "gpu-7", "pdu-a", "pdu-b", "ups-a", "cooling"] {
        assert!(
            readings.iter().any(|m| m["name"].as_str().is_some_and(|n| n.starts_with(device))),
            "{device}: {names:?}"
        );
    }
    for reading in readings {
        let properties = &reading["properties"];
        // Types 12 and 10 are String and Double.
        assert_eq!(properties["engUnit"], json!([12, unit_of(reading["name"].as_str().expect("a name"))]), "{reading}");
        let bound = |name: &str| properties[name][1].as_f64().filter(|_| properties[name][0] == 10);
        let (low, high) = (bound("engLow").expect("a bound"), bound("engHigh").expect("a bound"));
        assert!(reading["type"] == "DOUBLE" && reading["alias"].is_u64() && reading["at"].is_u64(), "{reading}");
        check_value(reading);
        if let Some(value) = reading["value"].as_f64() {
            assert!((low..=high).contains(&value), "{reading}");
        }
    }
}

/// There is a value, or none with a reason; type 3 is Int32.
fn check_value(reading: &Value) {
    let properties = &reading["properties"];
    let absent =
        properties["Quality"][0] == 3 && properties["Quality"][1] != 192 && properties["reason"][1].is_string();
    assert_eq!((reading["null"] == true, reading["value"].is_null()), (absent, absent), "{reading}");
}

/// Counting 0 to 255 from each birth on, as long as the host was listening all the time.
fn check_sequence(values: &[Value], rack: &str) -> usize {
    let mut last = None;
    let mut counted = 0;
    for value in values {
        assert!(value["undecodable"].is_null(), "{value}");
        let seq = value["seq"].as_u64();
        if value["listening"] == true {
            last = None;
        } else if value["node"] == rack && seq.is_some() {
            match value["kind"].as_str() {
                Some("NDATA") if last.is_some() => {
                    assert_eq!(seq, last.map(|n: u64| (n + 1) % 256), "{rack}");
                    counted += 1;
                }
                _ => {}
            }
            last = seq;
        }
    }
    counted
}

/// What clients of other projects read from the devices of a rack: name, value, resolution.
fn read_rack(rack: &Rack) -> Vec<(String, f64, f64)> {
    let mut all = Vec::new();
    for device in &rack.devices {
        for reading in read_device(device)["readings"].as_array().expect("readings") {
            let signal = reading[0].as_str().expect("a name");
            if !signal.starts_with('_') {
                all.push((format!("{}/{signal}", device.id), number(&reading[1]), number(&reading[2])));
            }
        }
    }
    let gpus = on_host(rack, |environment| ask("gpu_clients.py", &["pynvml", "read"], environment));
    for (index, gpu) in gpus.as_array().expect("GPUs").iter().enumerate() {
        for (name, signal, scale) in [
            ("power_mw", "gpu_power_watts", 1e-3),
            ("energy_mj", "gpu_energy_joules", 1e-3),
            ("celsius", "gpu_temperature_celsius", 1.0),
            ("sm_mhz", "gpu_sm_clock_mhz", 1.0),
            ("busy_percent", "gpu_utilization_ratio", 0.01),
            ("memory_bytes", "gpu_memory_used_bytes", 1.0),
        ] {
            all.push((format!("gpu-{index}/{signal}"), number(&gpu[name]) * scale, 0.0));
        }
    }
    all
}

#[test]
fn pysparkplug_understands_every_frame_of_the_agents() {
    let mut row = Row::start();
    let mut host = Host::start(&row.plant.broker);
    let birth = host.rebirth("rack-1");
    check_birth(&birth);

    row.plant.hold();
    let expected = read_rack(&row.plant.racks[0]);
    until("data that say what other clients read", || {
        let frame = host.frames("NDATA", "rack-1").pop()?;
        let same = |(name, value, within): &(String, f64, f64)| {
            let told = metrics(&frame).iter().find(|m| m["name"] == name.as_str()).and_then(|m| m["value"].as_f64());
            told.is_some_and(|told| (told - value).abs() <= within + 1e-9 * value.abs())
        };
        expected.iter().all(same).then_some(())
    });
    row.plant.resume();
    let data = host.frames("NDATA", "rack-1").pop().expect("there was one");
    assert_eq!((&data["qos"], &data["retain"]), (&json!(0), &json!(false)));
    for told in metrics(&data) {
        let born = metric(&birth, told["name"].as_str().expect("resolved by its alias"));
        assert!(told["named"] == false && told["alias"] == born["alias"] && told["type"] == born["type"], "{told}");
        check_value(told);
    }

    // A killed agent cannot say goodbye: its will does, for the session that was born last.
    let killed = host.rebirth("rack-2");
    row.kill("rack-2");
    let will = host.after(0, "NDEATH", "rack-2");
    check_death(&will, &killed);
    assert_eq!(will["qos"], 1, "the specification demands it of a will");
    let births = host.frames("NBIRTH", "rack-2").len();
    row.begin("rack-2");
    let again = host.after(births, "NBIRTH", "rack-2");
    check_birth_of_session(&again, &killed);
    // One that is stopped says it itself.
    let stopped = host.rebirth("rack-3");
    assert!(row.stop("rack-3"));
    check_death(&host.after(0, "NDEATH", "rack-3"), &stopped);
    // A new session has a new number, and its will has the same.
    row.kill("broker");
    row.begin("broker");
    host.listens(2);
    let next = host.rebirth("rack-1");
    check_birth_of_session(&next, &birth);
    let deaths = host.frames("NDEATH", "rack-1").len();
    row.kill("rack-1");
    check_death(&host.after(deaths, "NDEATH", "rack-1"), &next);

    let values = host.peer.values();
    for rack in ["rack-1", "rack-2", "rack-3", "rack-4"] {
        let counted = check_sequence(&values, rack);
        assert!(rack == "rack-4" || counted > 0, "{rack}: no two frames in a row");
    }
}

fn check_birth_of_session(birth: &Value, before: &Value) {
    assert_eq!(birth["seq"], 0);
    assert_ne!(metric(birth, "bdSeq")["value"], metric(before, "bdSeq")["value"], "bdSeq tells sessions apart");
}

fn check_death(death: &Value, birth: &Value) {
    assert_eq!((&death["name"], &death["bd_seq"]), (&json!("bdSeq"), &metric(birth, "bdSeq")["value"]), "{death}");
    assert_eq!((&death["has_seq"], &death["retain"]), (&json!(false), &json!(false)), "{death}");
}

/// Frames the controller has dropped, by reason.
fn dropped(row: &Row) -> BTreeMap<String, u64> {
    let page = http::get(&row.console(), "/metrics").expect("the controller answers");
    let counts = page.lines().filter_map(|line| {
        let (reason, count) = line.strip_prefix("headroom_frames_dropped_total{reason=\"")?.split_once("\"} ")?;
        Some((reason.to_owned(), count.parse().expect("a count")))
    });
    counts.collect()
}

#[test]
fn frames_that_make_no_sense_are_counted_and_dropped_while_the_fleet_goes_on() {
    let row = Row::start();
    let mut host = Host::start(&row.plant.broker);
    let all_live = || {
        let racks = row.state()["racks"].as_array().cloned()?;
        (racks.len() == 4 && racks.iter().all(|r| r["age_ms"].as_f64().is_some_and(|ms| ms < 3000.0))).then_some(())
    };
    until("all racks to be live", all_live);
    // It may have come after their births, and data means nothing without one.
    for rack in ["rack-1", "rack-2", "rack-3", "rack-4"] {
        host.rebirth(rack);
    }
    let mut expected = dropped(&row);
    for (topic, hex, reason) in [
        ("spBv1.0/demo/NDATA/rack-1", "ffffff", "protobuf"),
        ("spBv1.0/demo/NBIRTH/rack-1", "ffffff", "protobuf"),
        ("spBv1.0/demo/NDEATH/rack-1", "ffffff", "protobuf"),
        // Well-formed, and yet nothing in it.
        ("spBv1.0/demo/NDATA/rack-1", "", "metric"),
        ("spBv1.0/demo/NBIRTH/rack-1", "", "metric"),
        ("spBv1.0/demo/NDEATH/rack-1", "", "metric"),
        ("spBv1.0/demo/NDATA/rack-9", "", "unknown_rack"),
        ("spBv1.0/demo/DDATA/rack-1/gpu-0", "", "topic"),
    ] {
        host.send(topic, hex);
        *expected.entry(reason.to_owned()).or_default() += 1;
    }
    until("every frame to be counted", || {
        (expected.iter().all(|(reason, n)| dropped(&row).get(reason) >= Some(n))).then_some(())
    });
    let told = host.peer.values().len();
    until("the fleet to go on", || {
        let new = host.peer.values().split_off(told);
        let frames =
            |rack: &str| new.iter().filter(|v| v["kind"] == "NDATA" && v["node"] == rack && v["seq"] != 0).count();
        ["rack-1", "rack-2", "rack-3", "rack-4"].iter().all(|rack| frames(rack) >= 3).then_some(())
    });
    until("all racks to be live", all_live);
    // Not one more: what the birth of rack-1 had said still holds.
    assert_eq!(dropped(&row), expected);
}

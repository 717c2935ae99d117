//! The simulated devices and the agent's way of reading, by pymodbus, NVIDIA's Python binding, nvitop and gpustat.

use super::{number, on_host, read_device};
use headroom_tests::peer::{Peer, ask};
use headroom_tests::plant::Plant;
use headroom_tests::program;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
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
/// Two meters of 15 values, two UPSs of 23, one cooling unit of 13.
const VALUES_OF_A_RACK: usize = 2 * 15 + 2 * 23 + 13;

fn busy_rack() -> Plant {
    let plant = Plant::of(Some(BUSY_RACK));
    plant.until("busy GPUs", |truth| (0..8).all(|gpu| is_busy(truth, gpu)));
    plant
}

fn is_busy(truth: &Value, gpu: usize) -> bool {
    truth["rack-1"][format!("gpu-{gpu}")]["gpu_power_watts"].as_f64().is_some_and(|watts| watts > 600.0)
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

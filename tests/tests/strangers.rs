//! Programs nobody here wrote look at the simulated devices, over TCP and over a pair of serial lines:
//! pysunspec2, mbpoll, pymodbus and nvtop. What they see is what the plant is, and what the agent reads.

use headroom_tests::peer::{Peer, ask};
use headroom_tests::plant::{Device, Plant};
use headroom_tests::{program, succeed};
use serde_json::Value;
use std::path::Path;
use std::process::Command;

const RACK: &str = "[[rack]]\nid = \"rack-1\"\ngpus = 8\nworkload = \"batch\"\nlevel = [[0, 1.0], [600, 1.0]]\n";
/// Bits per second of the simulated meters, without parity, and their unit.
const BAUD: &str = "9600";
const UNIT: &str = "1";

/// A held plant with meters of one make, one of them on a serial line as well.
struct Bench {
    plant: Plant,
    truth: Value,
    line: String,
    _cable: Peer,
}

impl Bench {
    fn new(make: &str) -> Self {
        let mut cable = Peer::start("serial_pair.py", &[], &[]);
        let ends = cable.answer()["ends"].clone();
        let end = |n: usize| ends[n].as_str().expect("a path").to_owned();
        let row = format!("site = \"demo\"\n[devices]\nmeter = \"{make}\"\n[breaker]\nrating_amperes = 63.0\n{RACK}");
        let plant = Plant::with(Some(&row), &["--serial", &format!("rack-1/pdu-a={}", end(0))]);
        let is = |t: &Value, signal: &str, more: f64| t["rack-1"]["pdu-a"][signal].as_f64().is_some_and(|v| v > more);
        // A SunSpec counter that stands at 0 is one that the meter does not have.
        plant.until("a load", |t| is(t, "pdu_power_watts", 3000.0) && is(t, "pdu_energy_joules", 10_000.0));
        let truth = plant.hold();
        Self { plant, truth, line: end(1), _cable: cable }
    }

    fn meter(&self) -> &Device {
        self.plant.racks[0].devices.iter().find(|d| d.id == "pdu-a").expect("a meter")
    }

    /// Host and port.
    fn address(&self) -> (&str, &str) {
        self.meter().address.split_once(':').expect("host and port")
    }

    /// What the agent reads from the meter on each way.
    fn agent(&self) -> [Value; 2] {
        let tcp = format!("address = \"{}\"\n", self.meter().address);
        let serial = format!("serial = \"{}\"\nbaud = {BAUD}\nparity = \"none\"\nstop_bits = 1\n", self.line);
        [("tcp", tcp), ("serial", serial)].map(|(name, bus)| {
            let config = self.plant.file(
                &format!("{name}.toml"),
                &format!(
                    "site = \"demo\"\nrack = \"rack-1\"\n[broker]\nurl = \"mqtt://127.0.0.1:1\"\n[nvml]\nenabled = false\n[[modbus]]\n\
                     device = \"pdu-a\"\nprofile = \"{}\"\nunit = {UNIT}\ntimeout_ms = 5000\n{bus}",
                    self.meter().profile
                ),
            );
            let mut probe = Command::new(program("headroom-agent"));
            let output = probe.args(["probe", "--format", "json", "--config"]).arg(&config).output().expect("it starts");
            let said: Value = serde_json::from_slice(&output.stdout).expect("JSON");
            said["devices"]["pdu-a"]["signals"].clone()
        })
    }

    /// Holds what a stranger reads against the truth and against the agent, `rounding` being the
    /// stranger's own. How many values.
    fn compare(&self, who: &str, readings: &[(String, f64, f64)], rounding: f64) -> usize {
        let agent = self.agent();
        for (signal, value, within) in readings {
            let true_value = self.truth["rack-1"]["pdu-a"][signal].as_f64().expect("a truth");
            let within = within + rounding * true_value.abs();
            assert!((value - true_value).abs() <= within, "{who}, {signal}: reads {value}, is {true_value}");
            for (way, ours) in ["tcp", "serial"].iter().zip(&agent) {
                let ours = ours[signal]["value"].as_f64().unwrap_or_else(|| panic!("{way} {signal}: {}", ours[signal]));
                let same = (value - ours).abs() <= rounding * ours.abs();
                assert!(same, "{signal}: {who} reads {value}, the agent over {way} {ours}");
            }
        }
        readings.len()
    }
}

/// `[signal, value, within]` for each value.
fn readings(said: &Value) -> Vec<(String, f64, f64)> {
    let reading = |r: &Value| {
        (r[0].as_str().expect("a name").to_owned(), r[1].as_f64().expect("a number"), r[2].as_f64().expect("a number"))
    };
    said["readings"].as_array().expect("readings").iter().map(reading).collect()
}

#[test]
fn pysunspec2_finds_the_models_of_a_meter_and_reads_what_the_agent_reads() {
    for (make, model) in [("sunspec-203", 203), ("sunspec-213", 213)] {
        let bench = Bench::new(make);
        let (host, port) = bench.address();
        for args in [["tcp", host, port, UNIT], ["rtu", &bench.line, BAUD, UNIT]] {
            let said = ask("sunspec_scan.py", &args, &[]);
            assert_eq!(said["models"], serde_json::json!([1, model]), "{args:?}: {said}");
            assert_eq!(said["common"]["Mn"], "Headroom", "{args:?}: {said}");
            assert_eq!(bench.compare(&format!("pysunspec2 {args:?}"), &readings(&said), 1e-9), 13);
        }
    }
}

/// What mbpoll shows of the first registers of an SDM630, floats from input registers.
fn mbpoll(how: &[&str], device: &str) -> Vec<f64> {
    let mut command = Command::new("mbpoll");
    command
        .args(how)
        .args(["-a", UNIT, "-t", "3:float", "-B", "-0", "-r", "0", "-c", "9", "-1", "-q", "-o", "5", device]);
    let said = succeed(&mut command, "mbpoll");
    let value = |l: &str| l.strip_prefix('[')?.split_once("]:")?.1.trim().parse().ok();
    said.lines().filter_map(value).collect()
}

#[test]
fn mbpoll_and_pymodbus_read_over_tcp_and_a_serial_line_what_the_agent_reads() {
    let signals = [
        "pdu_voltage_l1_volts",
        "pdu_voltage_l2_volts",
        "pdu_voltage_l3_volts",
        "pdu_current_l1_amperes",
        "pdu_current_l2_amperes",
        "pdu_current_l3_amperes",
        "pdu_power_l1_watts",
        "pdu_power_l2_watts",
        "pdu_power_l3_watts",
    ];
    let bench = Bench::new("eastron-sdm630");
    let (host, port) = bench.address();
    for (how, device) in [
        (&["-m", "tcp", "-p", port][..], host),
        (&["-m", "rtu", "-b", BAUD, "-P", "none", "-d", "8", "-s", "1"], &bench.line),
    ] {
        let values = mbpoll(how, device);
        assert_eq!(values.len(), signals.len(), "{how:?}");
        let said: Vec<_> = signals.iter().zip(values).map(|(s, v)| ((*s).to_owned(), v, 0.0)).collect();
        // It shows six digits.
        bench.compare(&format!("mbpoll {how:?}"), &said, 1e-5);
    }
    for (place, number) in [(host, port), (&*bench.line, BAUD)] {
        let said = ask("modbus_devices.py", &["eastron-sdm630", place, number, UNIT], &[]);
        // Energy comes a second time as the sum of three singles.
        assert_eq!(bench.compare(&format!("pymodbus at {place}"), &readings(&said), 1e-6), 15);
    }
}

#[test]
fn nvtop_shows_the_simulated_gpus() {
    let row = format!("site = \"demo\"\n[breaker]\nrating_amperes = 63.0\n{RACK}");
    let plant = Plant::of(Some(&row));
    let busy = |t: &Value, gpu: usize| {
        t["rack-1"][format!("gpu-{gpu}")]["gpu_power_watts"].as_f64().is_some_and(|w| w > 600.0)
    };
    plant.until("busy GPUs", |truth| (0..8).all(|gpu| busy(truth, gpu)));
    let truth = plant.hold();
    let rack = &plant.racks[0];
    let folder = Path::new(&rack.nvml_library).parent().expect("in a folder");
    let said = ask(
        "nvtop_screen.py",
        &["8"],
        &[("LD_LIBRARY_PATH", folder), ("HEADROOM_NVML_STATE", Path::new(&rack.nvml_state))],
    );
    for gpu in said["gpus"].as_array().expect("GPUs") {
        let truth = &truth["rack-1"][format!("gpu-{}", gpu["index"])];
        let of = |signal: &str| truth[signal].as_f64().expect("a truth");
        let near = |key: &str, value: f64| gpu[key].as_f64().is_some_and(|shown| (shown - value).abs() <= 1.0);
        assert!(
            near("watts", of("gpu_power_watts")) && near("celsius", of("gpu_temperature_celsius")),
            "{gpu} {truth}"
        );
        assert!(near("limit_watts", 700.0), "{gpu}");
    }
    assert_eq!(said["gpus"].as_array().map(Vec::len), Some(8), "{said}");
}

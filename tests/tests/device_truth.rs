//! Each signal of each profile, of NVML and of DSX, decoded by the agent over the real protocols,
//! equals the plant's own value within what the device can tell; and a device that fails says why
//! and takes nobody along.

use headroom_tests::comparison::{
    RESOLUTIONS, differences, measured, probed, profile_texts, resolution, simulated_profiles,
};
use headroom_tests::comparison::{Read, Resolution, Subject};
use headroom_tests::http;
use headroom_tests::parts::{Part, Start, content, until};
use headroom_tests::plant::{Plant, Rack};
use headroom_tests::program;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

/// What a single read of a GPU cannot give: the look-alike has neither links nor these policies, Xids come
/// as events.
const NOT_BY_ONE_READ: &[(&str, &str)] = &[
    ("gpu_sync_boost_throttled_seconds", "not_supported"),
    ("gpu_board_limit_throttled_seconds", "not_supported"),
    ("gpu_nvlink_crc_errors_count", "not_supported"),
    ("gpu_nvlink_replays_count", "not_supported"),
    ("gpu_nvlink_recoveries_count", "not_supported"),
    ("gpu_xid_last_count", "not_yet_read"),
    ("gpu_xid_events_count", "not_yet_read"),
];
const XIDS: [&str; 2] = ["gpu_xid_last_count", "gpu_xid_events_count"];
/// The plant has no errors, no brake and one process on each GPU.
const ALWAYS_THE_SAME: &[&str] = &[
    "gpu_thermal_throttled_seconds",
    "gpu_power_brake_seconds",
    "gpu_ecc_corrected_count",
    "gpu_ecc_uncorrected_count",
    "gpu_ecc_uncorrected_lifetime_count",
    "gpu_remapped_rows_corrected_count",
    "gpu_remapped_rows_uncorrected_count",
    "gpu_remap_pending_flag",
    "gpu_remap_failed_flag",
    "gpu_pcie_replays_count",
    "gpu_recovery_action_code",
    "gpu_processes_count",
];

/// A row in which no two racks, phases or feeds are alike and every flag is up somewhere and down
/// somewhere else, standing still.
fn mixed_row() -> (Plant, Value) {
    loop {
        let row = Plant::start();
        mix(&row);
        let truth = row.hold();
        // The plant went on between the look and the hold.
        if differ(&row, &truth) {
            return (row, truth);
        }
    }
}

fn mix(row: &Plant) {
    row.fault("feed_lost", "feed-a", None);
    row.fault("battery_weak", "ups-a", Some(0.5));
    row.fault("leak", "rack-1/cooling", None);
    row.fault("pump_stopped", "rack-2/cooling", Some(1.0));
    row.fault("bmc_limit", "rack-3/gpu-1", Some(300.0));
    row.until("loads that differ", |truth| differ(row, truth));
}

/// Whether no two registers that could be taken for each other hold the same.
fn differ(row: &Plant, truth: &Value) -> bool {
    let number = |rack: &str, device: &str, signal: &str| truth[rack][device][signal].as_f64().unwrap_or(0.0);
    let apart = |values: &[f64], least: f64| {
        values.iter().enumerate().all(|(i, a)| values[i + 1..].iter().all(|b| (a - b).abs() > least))
    };
    let phases = |rack: &str, device: &str, name: &str| -> Vec<f64> {
        (1..=3).map(|line| number(rack, device, &format!("{name}_l{line}_watts"))).collect()
    };
    let inlets: Vec<f64> = row.racks.iter().map(|r| number(&r.id, "pdu-a", "pdu_power_watts")).collect();
    apart(&inlets, 2.0)
        && row.racks.iter().all(|r| apart(&phases(&r.id, "pdu-a", "pdu_power"), 0.02))
        && apart(&phases("rack-1", "ups-a", "ups_output_power"), 11.0)
        && number("rack-1", "ups-a", "ups_battery_charge_ratio") < 0.98
        && number("rack-3", "gpu-1", "gpu_power_capped_seconds") > 0.5
}

/// Every Modbus device and GPU of a rack, with all signals that a single read gives.
fn subjects(rack: &Rack) -> Vec<Subject> {
    let profiles = simulated_profiles();
    let modbus = rack.devices.iter().map(|d| subject(&d.id, &d.profile, profiles[&d.profile].clone()));
    let of_gpus: Vec<String> = told("nvml").filter(|signal| !XIDS.contains(&signal.as_str())).collect();
    modbus.chain((0..rack.gpus).map(|g| subject(&format!("gpu-{g}"), "nvml", of_gpus.clone()))).collect()
}

fn subject(device: &str, way: &str, signals: Vec<String>) -> Subject {
    Subject { device: device.to_owned(), truth: device.to_owned(), way: way.to_owned(), signals }
}

fn told(way: &str) -> impl Iterator<Item = String> + use<> {
    let signals = RESOLUTIONS.iter().find(|(name, _)| *name == way).map_or(&[][..], |(_, signals)| signals);
    signals.iter().map(|(signal, _)| (*signal).to_owned())
}

/// What the agent reads of one rack, and whether it says that every device answered.
fn probe(row: &Plant, rack: &Rack, more: &str) -> (Read, bool) {
    let config = row.file(&format!("{}.toml", rack.id), &rack.agent_config(&row.broker, more));
    let mut command = Command::new(program("headroom-agent"));
    command.args(["probe", "--format", "json", "--config"]).arg(&config).env("HEADROOM_NVML_STATE", &rack.nvml_state);
    let output = command.output().expect("the agent starts");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let all_answered = match output.status.code() {
        Some(0) => true,
        Some(1) => false,
        other => panic!("probe of {} ended with {other:?}:\n{}", rack.id, String::from_utf8_lossy(&output.stderr)),
    };
    (probed(&text), all_answered)
}

#[test]
fn every_signal_of_every_profile_and_of_nvml_is_the_plants_own_value() {
    let (row, truth) = mixed_row();
    let mut wrong = Vec::new();
    for rack in &row.racks {
        let (read, all_answered) = probe(&row, rack, "");
        assert!(all_answered, "{}", rack.id);
        let subjects = subjects(rack);
        let of_rack = differences(&read, &truth[&rack.id], &subjects);
        wrong.extend(of_rack.into_iter().map(|line| format!("{}: {line}", rack.id)));
        wrong.extend(unasked(&read, &subjects).into_iter().map(|line| format!("{}: {line}", rack.id)));
    }
    assert!(wrong.is_empty(), "{} differences:\n{}", wrong.len(), wrong.join("\n"));
    let blind = indistinct(&row, &truth);
    assert!(blind.is_empty(), "these prove nothing, as a wrong decoding would give the same:\n{}", blind.join("\n"));
    assert_eq!(row.truth()["_plant"]["time_s"], truth["_plant"]["time_s"], "the plant moved meanwhile");
}

/// What was read and nobody compared, other than what cannot be read so, which must say why.
fn unasked(read: &Read, subjects: &[Subject]) -> Vec<String> {
    let mut found = Vec::new();
    for (device, signals) in read {
        let asked = subjects.iter().find(|s| s.device == *device).map_or(&[][..], |s| &s.signals);
        for (signal, value) in signals.iter().filter(|(signal, _)| !asked.contains(signal)) {
            let known = NOT_BY_ONE_READ.iter().find(|(name, _)| name == signal).map(|(_, reason)| *reason);
            if device.starts_with("gpu-") && known.is_some() && value.as_ref().err().map(String::as_str) == known {
                continue;
            }
            found.push(format!("{device} {signal}: {value:?} was compared with nothing"));
        }
    }
    found
}

/// Signals whose truth is too near to zero, or the same flag everywhere, to tell right from wrong;
/// and profiles that no device of the row is read with.
fn indistinct(row: &Plant, truth: &Value) -> Vec<String> {
    let mut seen: BTreeMap<(String, String), Vec<f64>> = BTreeMap::new();
    for rack in &row.racks {
        for Subject { truth: device, way, signals, .. } in subjects(rack) {
            for signal in signals {
                let value = truth[&rack.id][&device][&signal].as_f64().expect("compared before");
                seen.entry((way.clone(), signal)).or_default().push(value);
            }
        }
    }
    for (profile, signals) in simulated_profiles() {
        for signal in signals {
            seen.entry((profile.clone(), signal)).or_default();
        }
    }
    let is_blind = |way: &str, signal: &str, values: &[f64]| match resolution(way, signal) {
        Some(Resolution::Exact) => !(values.contains(&0.0) && values.iter().any(|v| *v != 0.0)),
        Some(Resolution::Nearest(step) | Resolution::Below(step)) => !values.iter().any(|v| v.abs() > 2.0 * step),
        _ => !values.iter().any(|v| *v != 0.0),
    };
    let exempt = |signal: &str| ALWAYS_THE_SAME.contains(&signal);
    let blind = seen.iter().filter(|((way, signal), values)| !exempt(signal) && is_blind(way, signal, values));
    blind.map(|((way, signal), values)| format!("{way} {signal}: {values:?}")).collect()
}

#[test]
fn a_wrong_scale_order_address_or_flag_in_a_profile_shows() {
    let (row, truth) = mixed_row();
    for (name, slip) in SLIPS {
        let mut slipped: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (file, text) in profile_texts() {
            let mut profile: toml::Table = text.parse().expect("TOML");
            let signals = slip(&mut profile);
            slipped.insert(profile["name"].as_str().expect("a name").to_owned(), signals);
            row.file(&format!("{name}/{file}"), &toml::to_string(&profile).expect("TOML"));
        }
        let more = format!("profiles_dir = \"{name}\"");
        let mut found: BTreeSet<(String, String)> = BTreeSet::new();
        for rack in &row.racks {
            let (read, _) = probe(&row, rack, &more);
            for subject in subjects(rack) {
                for signal in &subject.signals {
                    let alone = Subject { signals: vec![signal.clone()], ..subject.clone() };
                    if !differences(&read, &truth[&rack.id], &[alone]).is_empty() {
                        found.insert((subject.way.clone(), signal.clone()));
                    }
                }
            }
        }
        let made: BTreeSet<(String, String)> =
            slipped.into_iter().flat_map(|(p, s)| s.into_iter().map(move |s| (p.clone(), s))).collect();
        assert!(!made.is_empty(), "{name} changes nothing");
        assert_eq!(found, made, "{name}: left is what showed, right is what was made wrong");
    }
}

/// Makes a profile wrong; the signals that are.
type Slip = fn(&mut toml::Table) -> Vec<String>;
const SLIPS: &[(&str, Slip)] = &[
    ("scale", |profile| {
        slip(profile, is_number, |p| {
            let scale = p.get("scale").and_then(toml::Value::as_float).unwrap_or(1.0);
            p.insert("scale".to_owned(), (scale * 10.0).into());
        })
    }),
    ("word_order", |profile| {
        slip(
            profile,
            |p| p["type"].as_str() == Some("f32"),
            |p| {
                p.insert("words".to_owned(), "low_first".into());
            },
        )
    }),
    ("flag", |profile| {
        slip(
            profile,
            |p| !is_number(p),
            |p| {
                let rule =
                    if p.contains_key("one_of") { ("one_of", vec![0x7000].into()) } else { ("any_bit_of", 1.into()) };
                p.insert(rule.0.to_owned(), rule.1);
            },
        )
    }),
    ("address", neighbours),
];

fn is_number(point: &toml::Table) -> bool {
    !point.contains_key("one_of") && !point.contains_key("any_bit_of")
}

fn points(profile: &mut toml::Table) -> impl Iterator<Item = &mut toml::Table> {
    let points = profile.get_mut("point").and_then(toml::Value::as_array_mut).expect("points");
    points.iter_mut().map(|point| point.as_table_mut().expect("a table"))
}

fn signal_of(point: &toml::Table) -> String {
    point["signal"].as_str().expect("a signal").to_owned()
}

fn slip(
    profile: &mut toml::Table,
    fits: impl Fn(&toml::Table) -> bool,
    change: impl Fn(&mut toml::Table),
) -> Vec<String> {
    let mut changed = Vec::new();
    for point in points(profile).filter(|p| fits(p)) {
        change(point);
        changed.push(signal_of(point));
    }
    changed
}

/// Every number is read from the next one's register.
fn neighbours(profile: &mut toml::Table) -> Vec<String> {
    let is_one = |p: &toml::Table| is_number(p) && p.contains_key("address");
    let mut addresses: Vec<toml::Value> = points(profile).filter(|p| is_one(p)).map(|p| p["address"].clone()).collect();
    addresses.rotate_left(1);
    let mut next = addresses.into_iter();
    let mut changed = Vec::new();
    for point in points(profile).filter(|p| is_one(p)) {
        point.insert("address".to_owned(), next.next().expect("one for each"));
        changed.push(signal_of(point));
    }
    changed
}

#[test]
fn what_a_running_agent_hears_by_dsx_and_as_xid_is_the_plants_own_value() {
    let row = Plant::start();
    let agents: Vec<(Part, String)> = row.racks.iter().map(|rack| agent(&row, rack)).collect();
    let heard = |agent: &(Part, String)| measured(&http::get(&agent.1, "/metrics").expect("the agent answers"));
    // An Xid is heard only by who listens.
    until("agents that listen for Xids", || {
        let listens = |agent| heard(agent).get("gpu-7").is_some_and(|gpu| gpu.contains_key("gpu_xid_events_count"));
        agents.iter().all(listens).then_some(())
    });
    // A point is published when it changes, and an agent that came later has missed it: every pump
    // stops and starts again while all agents listen.
    let dsx = |agent: &(Part, String), signal: &str| heard(agent).get("cooling-dsx")?.get(signal)?.clone().ok();
    let all = |is_so: &dyn Fn(&(Part, String)) -> bool| agents.iter().all(is_so).then_some(());
    let (warmth, turns) = ("cooling_return_temperature_celsius", "cooling_pump1_rpm");
    until("agents that hear DSX", || all(&|agent| dsx(agent, warmth).is_some()));
    row.racks.iter().for_each(|rack| row.fault("pump_stopped", &format!("{}/cooling", rack.id), None));
    until("every pump to stop", || all(&|agent| dsx(agent, turns).is_some_and(|rpm| rpm < 100.0)));
    row.racks.iter().for_each(|rack| row.fault("clear", &format!("{}/cooling", rack.id), None));
    until("every pump to turn", || all(&|agent| dsx(agent, turns).is_some_and(|rpm| rpm > 500.0)));
    row.fault("xid", "rack-1/gpu-2", Some(63.0));
    row.fault("xid", "rack-1/gpu-2", Some(94.0));
    row.fault("xid", "rack-4/gpu-7", Some(31.0));
    mix(&row);
    let truth = row.hold();
    assert_eq!(truth["rack-1"]["gpu-2"]["gpu_xid_events_count"], 2);
    for (rack, agent) in row.racks.iter().zip(&agents) {
        let mut subjects: Vec<Subject> =
            (0..rack.gpus).map(|g| subject(&format!("gpu-{g}"), "nvml", XIDS.map(str::to_owned).to_vec())).collect();
        subjects.push(Subject { truth: "cooling".to_owned(), ..subject("cooling-dsx", "dsx", told("dsx").collect()) });
        // The building management system looks once a second, the agent makes a Snapshot once a second.
        let mut last = Vec::new();
        let read = until_equal(|| {
            let read = heard(agent);
            last = differences(&read, &truth[&rack.id], &subjects);
            last.is_empty().then_some(read)
        })
        .unwrap_or_else(|| panic!("{}:\n{}", rack.id, last.join("\n")));
        let published: BTreeSet<String> = told("dsx").collect();
        let heard: BTreeSet<String> = read["cooling-dsx"].keys().cloned().collect();
        assert_eq!(heard, published, "{}: a DSX signal is compared with nothing", rack.id);
    }
}

/// As `until`, but leaves it to the caller to say what is missing.
fn until_equal<T>(mut ready: impl FnMut() -> Option<T>) -> Option<T> {
    let began = std::time::Instant::now();
    while began.elapsed().as_secs() < 20 {
        if let Some(value) = ready() {
            return Some(value);
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    None
}

/// A running agent of a rack that also listens to the DSX topics of its cooling unit, and its address.
fn agent(row: &Plant, rack: &Rack) -> (Part, String) {
    let id = &rack.id;
    let dsx = format!("[[dsx]]\ndevice = \"cooling-dsx\"\ntopic_prefix = \"demo/row-1/{id}/cooling\"\n");
    let config = row.file(&format!("{id}-run.toml"), &(rack.agent_config(&row.broker, "") + &dsx));
    let port = row.dir().join(format!("{id}.port"));
    let (config, port_text) = (config.display().to_string(), port.display().to_string());
    let args = ["run", "--config", &config, "--port-file", &port_text];
    let env = [("HEADROOM_NVML_STATE", rack.nvml_state.as_str())];
    let running = Start::new("headroom-agent", &args, &env, row.dir().join(format!("{id}.log"))).start();
    (running, content(&port))
}

/// Kind, value, rack and device, and what may be said of every signal of it.
type WireFault = (&'static str, Option<f64>, &'static str, &'static str, &'static [&'static str]);

#[test]
fn a_faulty_device_says_why_and_every_other_stays_true() {
    let (row, _) = mixed_row();
    let before = 5;
    let garbled: &'static [&'static str] = &["malformed", "timeout", "disconnected"];
    let faults: &[WireFault] = &[
        ("device_silent", None, "rack-1", "ups-a", &["timeout"]),
        ("device_exception", None, "rack-1", "pdu-b", &["exception_4"]),
        ("device_garbage", None, "rack-2", "pdu-a", garbled),
        ("device_garbage", None, "rack-2", "ups-b", garbled),
        ("device_late", Some(1500.0), "rack-3", "cooling", &["timeout"]),
        ("device_exception", Some(6.0), "rack-4", "cooling", &["exception_6"]),
        // Late, but within the time-out: no fault at all for who waits.
        ("device_late", Some(100.0), "rack-4", "pdu-b", &[]),
    ];
    for (kind, value, rack, device, _) in faults {
        row.fault(kind, &format!("{rack}/{device}"), *value);
    }
    row.faults_act(before + faults.len());
    let truth = row.truth();
    for rack in &row.racks {
        let (read, all_answered) = probe(&row, rack, "");
        let faulty: BTreeMap<&str, &[&str]> =
            faults.iter().filter(|f| f.2 == rack.id && !f.4.is_empty()).map(|f| (f.3, f.4)).collect();
        let (bad, good): (Vec<Subject>, Vec<Subject>) =
            subjects(rack).into_iter().partition(|s| faulty.contains_key(s.device.as_str()));
        assert_eq!(bad.len(), faulty.len(), "{}", rack.id);
        let wrong = differences(&read, &truth[&rack.id], &good);
        assert!(wrong.is_empty(), "{}: a fault took others along:\n{}", rack.id, wrong.join("\n"));
        for Subject { device, signals, .. } in &bad {
            let reasons = faulty[device.as_str()];
            for signal in signals {
                let said = read[device][signal].as_ref().err().map(String::as_str);
                assert!(said.is_some_and(|s| reasons.contains(&s)), "{} {device} {signal}: {said:?}", rack.id);
            }
        }
        // An exception is an answer.
        let answers = faulty.values().all(|reasons| reasons[0].starts_with("exception"));
        assert_eq!(all_answered, answers, "{}", rack.id);
    }
}

#[test]
fn a_frozen_meter_repeats_itself_and_every_other_stays_true() {
    let (row, then) = mixed_row();
    row.fault("meter_frozen", "rack-2/pdu-a", None);
    row.faults_act(6);
    row.resume();
    let energy = |truth: &Value| truth["rack-2"]["pdu-a"]["pdu_energy_joules"].as_f64().expect("energy");
    row.until("energy to flow", |now| energy(now) > 1.1 * energy(&then));
    let now = row.hold();
    for rack in &row.racks {
        let (read, all_answered) = probe(&row, rack, "");
        assert!(all_answered, "a frozen meter answers");
        let is_frozen = |s: &Subject| rack.id == "rack-2" && s.device == "pdu-a";
        let (frozen, alive): (Vec<Subject>, Vec<Subject>) = subjects(rack).into_iter().partition(is_frozen);
        let wrong = differences(&read, &now[&rack.id], &alive);
        assert!(wrong.is_empty(), "{}:\n{}", rack.id, wrong.join("\n"));
        let wrong = differences(&read, &then[&rack.id], &frozen);
        assert!(wrong.is_empty(), "the frozen meter does not repeat what it said:\n{}", wrong.join("\n"));
    }
}

#[test]
fn a_lost_gpu_says_so_and_its_neighbours_stay_true() {
    let (row, _) = mixed_row();
    row.resume();
    row.fault("gpu_lost", "rack-3/gpu-5", None);
    row.until("the GPU to be lost", |truth| truth["rack-3"]["gpu-5"]["lost"] == true);
    let truth = row.hold();
    let rack = row.racks.iter().find(|r| r.id == "rack-3").expect("there is one");
    let (read, all_answered) = probe(&row, rack, "");
    assert!(!all_answered);
    let (lost, alive): (Vec<Subject>, Vec<Subject>) = subjects(rack).into_iter().partition(|s| s.device == "gpu-5");
    let wrong = differences(&read, &truth["rack-3"], &alive);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    for signal in &lost[0].signals {
        assert_eq!(read["gpu-5"][signal], Err("device_lost".to_owned()), "{signal}");
    }
}

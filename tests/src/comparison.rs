//! What an agent read beside what the plant says: which signals there are, how finely each device can
//! tell them, and where the two differ. The resolutions are written by hand from the documents that
//! the profiles name, not taken from the profiles: a wrong scale there must show.

use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;

/// How far a value read may be from the plant's.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Resolution {
    /// IEEE 754 single precision: a rounding of the 24th bit, twice.
    Single,
    /// The nearest multiple of this.
    Nearest(f64),
    /// The multiple of this below.
    Below(f64),
    /// As it was when it last changed by this much.
    Change(f64),
    /// Exactly.
    Exact,
}

use Resolution::{Below, Change, Exact, Nearest, Single};

impl Resolution {
    /// Whether `read` can stand for `truth`.
    pub fn allows(self, read: f64, truth: f64) -> bool {
        // Scaling in binary costs a few bits beside the register's own rounding.
        let bits = 1e-12 * truth.abs() + 1e-12;
        match self {
            Single => (read - truth).abs() <= 2.0 * f64::from(f32::EPSILON) * truth.abs(),
            Nearest(step) => (read - truth).abs() <= step / 2.0 + bits,
            Below(step) => (-bits..step + bits).contains(&(truth - read)),
            // Published with three decimals.
            Change(step) => (read - truth).abs() <= step + 0.0005,
            Exact => read == truth,
        }
    }
}

/// A way a device is read, and how finely it tells each signal.
pub type Resolutions = (&'static str, &'static [(&'static str, Resolution)]);

/// By profile; `nvml` and `dsx` are the two ways without one.
pub const RESOLUTIONS: &[Resolutions] = &[
    (
        // Protocol document: every value is a 32-bit float.
        "eastron-sdm630",
        &[
            ("pdu_voltage_l1_volts", Single),
            ("pdu_voltage_l2_volts", Single),
            ("pdu_voltage_l3_volts", Single),
            ("pdu_current_l1_amperes", Single),
            ("pdu_current_l2_amperes", Single),
            ("pdu_current_l3_amperes", Single),
            ("pdu_power_l1_watts", Single),
            ("pdu_power_l2_watts", Single),
            ("pdu_power_l3_watts", Single),
            ("pdu_power_watts", Single),
            ("pdu_apparent_power_va", Single),
            ("pdu_power_factor_ratio", Single),
            ("pdu_frequency_hz", Single),
            ("pdu_energy_joules", Single),
        ],
    ),
    (
        // Owner's manual 201003113: the column "unit" of each register.
        "delta-dph",
        &[
            ("ups_rated_power_watts", Nearest(10.0)),
            ("ups_battery_weak_flag", Exact),
            ("ups_on_battery_flag", Exact),
            ("ups_battery_runtime_seconds", Below(60.0)),
            ("ups_battery_charge_ratio", Nearest(0.01)),
            ("ups_battery_voltage_volts", Nearest(0.1)),
            ("ups_battery_current_amperes", Nearest(0.1)),
            ("ups_battery_temperature_celsius", Nearest(1.0)),
            ("ups_input_frequency_hz", Nearest(0.1)),
            ("ups_input_voltage_volts", Nearest(0.1)),
            ("ups_output_frequency_hz", Nearest(0.1)),
            ("ups_output_voltage_volts", Nearest(0.1)),
            ("ups_output_power_l1_watts", Nearest(10.0)),
            ("ups_output_power_l2_watts", Nearest(10.0)),
            ("ups_output_power_l3_watts", Nearest(10.0)),
            ("ups_load_ratio", Nearest(0.01)),
        ],
    ),
    (
        // facebook/openbmc orv3_rpu.json: tenths, whole per cent, whole turns per minute.
        "openrack-rpu",
        &[
            ("cooling_flow_liters_per_minute", Nearest(0.1)),
            ("cooling_supply_temperature_celsius", Nearest(0.1)),
            ("cooling_supply_setpoint_celsius", Nearest(0.1)),
            ("cooling_return_temperature_celsius", Nearest(0.1)),
            ("cooling_supply_pressure_kilopascals", Nearest(0.1)),
            ("cooling_return_pressure_kilopascals", Nearest(0.1)),
            ("cooling_power_watts", Nearest(0.1)),
            ("cooling_pump_speed_ratio", Nearest(0.01)),
            ("cooling_pump1_rpm", Nearest(1.0)),
            ("cooling_pump2_rpm", Nearest(1.0)),
            ("cooling_leak_flag", Exact),
        ],
    ),
    (
        // nvml.h: mW, mJ, MHz, per cent, bytes, whole degrees, ns.
        "nvml",
        &[
            ("gpu_power_watts", Nearest(1e-3)),
            ("gpu_power_instant_watts", Nearest(1e-3)),
            ("gpu_energy_joules", Nearest(1e-3)),
            ("gpu_limit_enforced_watts", Nearest(1e-3)),
            ("gpu_limit_requested_watts", Nearest(1e-3)),
            ("gpu_limit_min_watts", Nearest(1e-3)),
            ("gpu_limit_max_watts", Nearest(1e-3)),
            ("gpu_limit_default_watts", Nearest(1e-3)),
            ("gpu_sm_clock_mhz", Nearest(1.0)),
            ("gpu_memory_clock_mhz", Nearest(1.0)),
            ("gpu_utilization_ratio", Nearest(0.01)),
            ("gpu_memory_used_bytes", Nearest(1.0)),
            ("gpu_temperature_celsius", Nearest(1.0)),
            ("gpu_memory_temperature_celsius", Nearest(1.0)),
            ("gpu_throttle_reasons_bits", Exact),
            ("gpu_power_capped_seconds", Nearest(1e-9)),
            ("gpu_thermal_throttled_seconds", Nearest(1e-9)),
            ("gpu_power_brake_seconds", Nearest(1e-9)),
            ("gpu_memory_utilization_ratio", Nearest(0.01)),
            ("gpu_memory_total_bytes", Nearest(1.0)),
            ("gpu_processes_count", Exact),
            ("gpu_temperature_margin_kelvins", Nearest(1.0)),
            ("gpu_ecc_corrected_count", Exact),
            ("gpu_ecc_uncorrected_lifetime_count", Exact),
            ("gpu_remapped_rows_corrected_count", Exact),
            ("gpu_remapped_rows_uncorrected_count", Exact),
            ("gpu_remap_pending_flag", Exact),
            ("gpu_remap_failed_flag", Exact),
            ("gpu_pcie_replays_count", Exact),
            ("gpu_recovery_action_code", Exact),
            ("gpu_ecc_uncorrected_count", Exact),
            ("gpu_xid_last_count", Exact),
            ("gpu_xid_events_count", Exact),
        ],
    ),
    (
        // The simulated building management system tells a change of this much, and looks each second.
        "dsx",
        &[
            ("cooling_supply_temperature_celsius", Change(0.05)),
            ("cooling_return_temperature_celsius", Change(0.05)),
            ("cooling_flow_liters_per_minute", Change(0.02)),
            ("cooling_pump1_rpm", Change(5.0)),
        ],
    ),
];

/// How finely a signal is told, when that is known.
pub fn resolution(way: &str, signal: &str) -> Option<Resolution> {
    let (_, signals) = RESOLUTIONS.iter().find(|(name, _)| *name == way)?;
    signals.iter().find(|(name, _)| *name == signal).map(|(_, resolution)| *resolution)
}

/// What was read of each device: a value, or the reason for its absence, by signal.
pub type Read = BTreeMap<String, BTreeMap<String, Result<f64, String>>>;

/// What `headroom-agent probe --format json` printed.
///
/// # Panics
/// When it is not that.
pub fn probed(text: &str) -> Read {
    let answer: Value = serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}:\n{text}"));
    let reading = |(signal, reading): (&String, &Value)| {
        let quality = reading["quality"].as_str().expect("a quality").to_owned();
        let value = reading["value"].as_f64().ok_or(quality.clone());
        assert_eq!(value.is_ok(), quality == "good", "{signal}: {reading}");
        (signal.clone(), value)
    };
    let devices = answer["devices"].as_object().expect("devices").iter();
    let signals = |device: &Value| device["signals"].as_object().expect("signals").iter().map(reading).collect();
    devices.map(|(id, device)| (id.clone(), signals(device))).collect()
}

/// What `/metrics` of a running agent says of signals. What is absent there is absent here.
pub fn measured(metrics: &str) -> Read {
    let mut read = Read::new();
    for line in metrics.lines().filter(|line| !line.starts_with('#')) {
        let parts = line.strip_prefix("headroom_").and_then(|rest| rest.split_once('{'));
        let Some((signal, rest)) = parts.filter(|(signal, _)| !signal.starts_with("agent_")) else { continue };
        let device = rest.split_once("device=\"").and_then(|(_, rest)| rest.split_once('"'));
        let value = rest.rsplit_once(' ').and_then(|(_, value)| value.parse().ok());
        if let (Some((device, _)), Some(value)) = (device, value) {
            read.entry(device.to_owned()).or_default().insert(signal.to_owned(), Ok(value));
        }
    }
    read
}

/// Every signal of every profile that the simulator has a device for, by profile: read from the files themselves, so that a point
/// added there is asked for here.
///
/// # Panics
/// When the profiles cannot be read.
pub fn simulated_profiles() -> BTreeMap<String, Vec<String>> {
    let text = |value: &toml::Value| value.as_str().expect("a text").to_owned();
    let signals = |profile: &toml::Table| {
        let points = profile["point"].as_array().expect("points");
        points.iter().map(|point| text(&point["signal"])).collect()
    };
    profile_texts()
        .values()
        .map(|t| t.parse::<toml::Table>().expect("TOML"))
        .map(|p| (text(&p["name"]), signals(&p)))
        .collect()
}

/// The shipped profiles that the simulator has a device for, by file name. `tests/profiles.rs` has the others.
///
/// # Panics
/// When they cannot be read.
pub fn profile_texts() -> BTreeMap<String, String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../agent/profiles");
    let files = std::fs::read_dir(folder).expect("the shipped profiles").flatten();
    let read = |file: std::fs::DirEntry| {
        let text = std::fs::read_to_string(file.path()).expect("UTF-8");
        (file.file_name().to_string_lossy().into_owned(), text)
    };
    let simulated = |file: &std::fs::DirEntry| {
        let name = file.file_name();
        let name = name.to_string_lossy();
        name.strip_suffix(".toml").is_some_and(|name| RESOLUTIONS.iter().any(|(way, _)| *way == name))
    };
    files.filter(simulated).map(read).collect()
}

/// One device to compare: its id in what was read, its id in the truth, the way it is read and the
/// signals that must be there.
#[derive(Debug, Clone)]
pub struct Subject {
    /// In what was read.
    pub device: String,
    /// In the truth.
    pub truth: String,
    /// A name of [`RESOLUTIONS`].
    pub way: String,
    /// All of them.
    pub signals: Vec<String>,
}

/// Every place where what was read of a rack is not what its truth says. A signal without a
/// resolution or without a truth is such a place too.
pub fn differences(read: &Read, truth: &Value, subjects: &[Subject]) -> Vec<String> {
    let mut found = Vec::new();
    for Subject { device, truth: name, way, signals } in subjects {
        for signal in signals {
            let told = read.get(device).and_then(|signals| signals.get(signal));
            let wrong = match (told, truth[name][signal].as_f64(), resolution(way, signal)) {
                (_, None, _) => "the truth does not have it".to_owned(),
                (_, _, None) => format!("no resolution is written down for {way}"),
                (None, ..) => "it was not read".to_owned(),
                (Some(Err(reason)), ..) => format!("no data: {reason}"),
                (Some(Ok(value)), Some(truth), Some(resolution)) => {
                    if resolution.allows(*value, truth) {
                        continue;
                    }
                    format!("read {value}, the plant says {truth} ({resolution:?})")
                }
            };
            found.push(format!("{device} {signal}: {wrong}"));
        }
    }
    found
}

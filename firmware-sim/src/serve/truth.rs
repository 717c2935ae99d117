//! The plant's own values under the names of the signal catalogue, for tests and for people. Flat
//! numbers in the catalogue's units; written by hand, not derived from any profile.

use super::bench::Bench;
use super::nvml::Driver;
use super::ups_reader;
use crate::plant::FEEDS;
use crate::plant::cooling::CoolingReadout;
use crate::plant::gpu::{GpuReadout, MAX_OPERATING_CELSIUS, MEMORY_BYTES};
use crate::plant::pdu::PduReadout;
use crate::plant::spec::GpuSpec;
use crate::plant::ups::UpsReadout;
use serde_json::{Map, Value, json};

/// Everything, now.
pub fn json(bench: &Bench) -> Value {
    // Before the picture: who reads that the plant stands must not get a picture from before.
    let stands = bench.stands();
    let view = bench.view();
    let spec = bench.spec();
    let mut all = Map::new();
    let mut racks = Map::new();
    for (r, rack) in view.racks.iter().enumerate() {
        let mut devices = Map::new();
        for (g, reading) in rack.gpus.iter().enumerate() {
            devices.insert(format!("gpu-{g}"), gpu(reading, bench.driver(r, g), &spec.gpu));
        }
        for (f, feed) in FEEDS.iter().enumerate() {
            devices.insert(format!("pdu-{feed}"), pdu(&rack.pdus[f]));
            if ups_reader(f, view.racks.len()) == r {
                devices.insert(format!("ups-{feed}"), ups(&view.feeds[f].ups));
            }
        }
        devices.insert("cooling".to_owned(), cooling(&rack.cooling));
        all.insert(rack.id.clone(), Value::Object(devices));
        let inlet_watts: f64 = rack.pdus.iter().map(|p| p.power_watts).sum();
        let of_rack = json!({"inlet_watts": inlet_watts, "host_watts": rack.host_watts, "workload": rack.workload});
        racks.insert(rack.id.clone(), of_rack);
    }
    let mut feeds = Map::new();
    for (f, feed) in FEEDS.iter().enumerate() {
        let of = &view.feeds[f];
        feeds.insert(
            format!("breaker-{feed}"),
            json!({
                "amperes": of.breaker_amperes,
                "watts": of.breaker_watts,
                "rating_amperes": spec.breaker.rating_amperes,
                "tripped": of.breaker_tripped,
                "heat": of.breaker_heat_ratio,
                "utility": of.utility,
            }),
        );
    }
    all.insert(
        "_plant".to_owned(),
        json!({"time_s": view.time_s, "held": bench.is_held(), "stands": stands, "feeds": feeds, "racks": racks}),
    );
    Value::Object(all)
}

fn flag(on: bool) -> u8 {
    u8::from(on)
}

fn gpu(r: &GpuReadout, driver: Option<Driver>, spec: &GpuSpec) -> Value {
    json!({
        "gpu_power_watts": r.power_watts,
        "gpu_power_instant_watts": r.power_instant_watts,
        "gpu_energy_joules": r.energy_joules,
        "gpu_limit_enforced_watts": r.limit_watts,
        "gpu_limit_requested_watts": driver.map(|d| d.limit_requested_watts),
        "gpu_limit_min_watts": spec.min_watts,
        "gpu_limit_max_watts": spec.max_watts,
        "gpu_limit_default_watts": spec.max_watts,
        "gpu_sm_clock_mhz": r.sm_clock_mhz,
        "gpu_memory_clock_mhz": r.memory_clock_mhz,
        "gpu_utilization_ratio": r.utilization_ratio,
        "gpu_memory_used_bytes": r.memory_used_bytes,
        "gpu_temperature_celsius": r.temperature_celsius,
        "gpu_temperature_margin_kelvins": MAX_OPERATING_CELSIUS - r.temperature_celsius,
        "gpu_memory_temperature_celsius": r.memory_temperature_celsius,
        "gpu_throttle_reasons_bits": r.throttle_reasons,
        "gpu_power_capped_seconds": r.power_capped_s,
        "gpu_thermal_throttled_seconds": r.sw_thermal_s + r.hw_thermal_s,
        "gpu_power_brake_seconds": 0,
        "gpu_memory_utilization_ratio": r.utilization_ratio * 0.5,
        "gpu_memory_total_bytes": MEMORY_BYTES,
        "gpu_processes_count": flag(r.memory_used_bytes > 0.0),
        "gpu_ecc_corrected_count": 0,
        "gpu_ecc_uncorrected_count": 0,
        "gpu_ecc_uncorrected_lifetime_count": 0,
        "gpu_remapped_rows_corrected_count": 0,
        "gpu_remapped_rows_uncorrected_count": 0,
        "gpu_remap_pending_flag": 0,
        "gpu_remap_failed_flag": 0,
        "gpu_pcie_replays_count": 0,
        "gpu_recovery_action_code": 0,
        "gpu_xid_last_count": driver.map(|d| d.xid_last),
        "gpu_xid_events_count": driver.map(|d| d.xid_events),
        "lost": r.lost,
    })
}

fn pdu(r: &PduReadout) -> Value {
    json!({
        "pdu_power_watts": r.power_watts,
        "pdu_power_l1_watts": r.phase_watts[0],
        "pdu_power_l2_watts": r.phase_watts[1],
        "pdu_power_l3_watts": r.phase_watts[2],
        "pdu_current_l1_amperes": r.phase_amperes[0],
        "pdu_current_l2_amperes": r.phase_amperes[1],
        "pdu_current_l3_amperes": r.phase_amperes[2],
        "pdu_voltage_l1_volts": r.phase_volts[0],
        "pdu_voltage_l2_volts": r.phase_volts[1],
        "pdu_voltage_l3_volts": r.phase_volts[2],
        "pdu_apparent_power_va": r.apparent_va(),
        "pdu_power_factor_ratio": r.power_factor,
        "pdu_frequency_hz": r.frequency_hz,
        "pdu_energy_joules": r.energy_joules,
        "energised": r.energised,
    })
}

fn ups(r: &UpsReadout) -> Value {
    json!({
        "ups_input_voltage_volts": r.input_volts,
        "ups_input_frequency_hz": r.input_frequency_hz,
        "ups_output_voltage_volts": r.output_volts,
        "ups_output_frequency_hz": r.output_frequency_hz,
        "ups_output_power_l1_watts": r.output_phase_watts[0],
        "ups_output_power_l2_watts": r.output_phase_watts[1],
        "ups_output_power_l3_watts": r.output_phase_watts[2],
        "ups_load_ratio": r.load_ratio,
        "ups_rated_power_watts": r.rating_watts,
        "ups_battery_charge_ratio": r.battery_charge_ratio,
        "ups_battery_voltage_volts": r.battery_volts,
        "ups_battery_current_amperes": r.battery_amperes.abs(),
        "ups_battery_temperature_celsius": r.battery_celsius,
        "ups_battery_runtime_seconds": r.runtime_s,
        "ups_on_battery_flag": flag(r.on_battery),
        "ups_battery_weak_flag": flag(r.battery_weak),
    })
}

fn cooling(r: &CoolingReadout) -> Value {
    json!({
        "cooling_supply_temperature_celsius": r.supply_celsius,
        "cooling_supply_setpoint_celsius": r.setpoint_celsius,
        "cooling_return_temperature_celsius": r.return_celsius,
        "cooling_flow_liters_per_minute": r.flow_lpm,
        "cooling_supply_pressure_kilopascals": r.supply_kpa,
        "cooling_return_pressure_kilopascals": r.return_kpa,
        "cooling_pump_speed_ratio": r.pump_ratio,
        "cooling_pump1_rpm": r.pump_rpm[0],
        "cooling_pump2_rpm": r.pump_rpm[1],
        "cooling_power_watts": r.power_watts,
        "cooling_leak_flag": flag(r.leak),
    })
}

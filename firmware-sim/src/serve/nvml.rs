//! The GPUs of a rack as NVML clients see them: telemetry out, limits and clocks in, each step.
//! The file behind it is `nvml_state`'s business, the library in front of it `nvml/`'s.

use crate::fault::{Fault, Kind, Target};
use crate::nvml_state::{GpuIdentity, GpuTelemetry, NvmlState};
use crate::plant::gpu::{GpuReadout, Requests};
use crate::plant::{Plant, rack::Rack};
use std::io;
use std::path::Path;

/// "GPU has fallen off the bus" (NVIDIA Xid catalogue).
const FALLEN_OFF_THE_BUS: u64 = 79;

/// What the driver of a GPU knows and the physics does not.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Driver {
    /// Power limit last asked for in band.
    pub limit_requested_watts: f64,
    /// Number of the last Xid, 0 before the first.
    pub xid_last: u64,
    /// Xids so far.
    pub xid_events: u64,
}

/// The NVML side of one rack.
#[derive(Debug)]
pub struct Panel {
    rack: usize,
    state: NvmlState,
    lost: Vec<bool>,
    drivers: Vec<Driver>,
}

impl Panel {
    /// Creates the state file of rack number `rack`.
    ///
    /// # Errors
    /// When the file cannot be made or mapped.
    pub fn create(path: &Path, rack: usize, plant: &Plant) -> io::Result<Self> {
        let of = &plant.racks()[rack];
        let identities: Vec<GpuIdentity> =
            (0..of.gpus.len()).map(|g| GpuIdentity::h100_sxm(&of.spec().id, g)).collect();
        let state = NvmlState::create(path, &identities)?;
        let count = identities.len();
        let panel = Self { rack, state, lost: vec![false; count], drivers: vec![Driver::default(); count] };
        for (g, gpu) in of.gpus.iter().enumerate() {
            panel.state.publish(g, &telemetry(&gpu.readout));
        }
        Ok(panel)
    }

    /// Hands what clients asked for to the physics.
    pub fn take_requests(&self, plant: &mut Plant) {
        for g in 0..self.state.gpu_count() {
            let asked = self.state.requests(g);
            let locked_mhz = asked.locked_clocks_mhz.map(|(low, high)| (f64::from(low), f64::from(high)));
            let limit_watts = asked.enforced_limit_mw as f64 / 1000.0;
            plant.request(self.rack, g, Requests { limit_watts, locked_mhz });
        }
    }

    /// Publishes what the physics came to, and says that it lives.
    pub fn publish(&mut self, plant: &Plant) {
        let rack = &plant.racks()[self.rack];
        for (g, gpu) in rack.gpus.iter().enumerate() {
            self.state.publish(g, &telemetry(&gpu.readout));
            let lost = gpu.readout.lost;
            if lost != self.lost[g] {
                self.lost[g] = lost;
                if !lost {
                    // Nothing brings a GPU back but a reset or a boot.
                    self.state.forget_requests(g);
                }
                self.state.set_lost(g, lost);
                // Without supply the whole host is dark and nobody is there to hear an Xid.
                if lost && powered(rack) {
                    self.raise(g, FALLEN_OFF_THE_BUS);
                }
            }
        }
        self.state.beat();
    }

    /// What the drivers know now.
    pub fn drivers(&self) -> Vec<Driver> {
        let asked = |g: usize| self.state.requests(g).power_limit_mw as f64 / 1000.0;
        let drivers = self.drivers.iter().enumerate();
        drivers.map(|(g, driver)| Driver { limit_requested_watts: asked(g), ..*driver }).collect()
    }

    fn raise(&mut self, gpu: usize, xid: u64) {
        self.state.raise_xid(gpu, xid);
        let driver = &mut self.drivers[gpu];
        (driver.xid_last, driver.xid_events) = (xid, driver.xid_events + 1);
    }

    /// Says that the simulator lives while the physics is held.
    pub fn beat(&self) {
        self.state.beat();
    }

    /// Lets a fault act that NVML shows and the physics does not know.
    pub fn act(&mut self, fault: &Fault) {
        let Target::Gpu(rack, gpu) = fault.target else { return };
        if rack != self.rack {
            return;
        }
        match fault.kind {
            Kind::Xid => self.raise(gpu, fault.value.map_or(FALLEN_OFF_THE_BUS, |xid| xid as u64)),
            Kind::BmcLimit => {
                self.state.set_out_of_band_limit(gpu, Some((fault.value.unwrap_or(300.0) * 1000.0) as u64));
            }
            Kind::DriverUpgraded => {
                self.state.set_driver_version(&format!("580.{:.0}.08", fault.value.unwrap_or(105.0)));
            }
            Kind::Clear => self.state.set_out_of_band_limit(gpu, None),
            _ => {}
        }
    }
}

fn powered(rack: &Rack) -> bool {
    rack.pdus.iter().any(|pdu| pdu.energised)
}

fn milli(value: f64) -> u64 {
    (value * 1000.0).round().max(0.0) as u64
}

fn nanoseconds(seconds: f64) -> u64 {
    (seconds * 1e9).round() as u64
}

fn telemetry(r: &GpuReadout) -> GpuTelemetry {
    let busy = r.utilization_ratio;
    let loaded = r.memory_used_bytes > 0.0;
    GpuTelemetry {
        power_average_mw: milli(r.power_watts),
        power_instant_mw: milli(r.power_instant_watts),
        energy_mj: milli(r.energy_joules),
        temperature_celsius: r.temperature_celsius.round() as i64,
        memory_temperature_celsius: r.memory_temperature_celsius.round() as i64,
        sm_clock_mhz: r.sm_clock_mhz.round() as u64,
        memory_clock_mhz: r.memory_clock_mhz.round() as u64,
        utilization_percent: (busy * 100.0).round() as u64,
        // Not modelled apart: a transformer keeps the memory busy for about half of its kernels.
        memory_utilization_percent: (busy * 50.0).round() as u64,
        memory_used_bytes: r.memory_used_bytes.round() as u64,
        throttle_reasons: r.throttle_reasons,
        power_capped_ns: nanoseconds(r.power_capped_s),
        sw_thermal_ns: nanoseconds(r.sw_thermal_s),
        hw_thermal_ns: nanoseconds(r.hw_thermal_s),
        // The job is no process of this machine; this one stands for it, so that tools find a name.
        process_id: if loaded { u64::from(std::process::id()) } else { 0 },
        process_memory_bytes: r.memory_used_bytes.round() as u64,
        ..GpuTelemetry::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nvml_state::layout;
    use crate::scenario::Scenario;

    #[test]
    fn telemetry_says_what_the_physics_says() {
        let readout = GpuReadout {
            power_watts: 512.3456,
            power_instant_watts: 600.0,
            energy_joules: 10.5,
            temperature_celsius: 61.4,
            sm_clock_mhz: 1755.2,
            utilization_ratio: 0.97,
            throttle_reasons: 4,
            power_capped_s: 1.5,
            ..GpuReadout::default()
        };
        let told = telemetry(&readout);
        assert_eq!((told.power_average_mw, told.power_instant_mw, told.energy_mj), (512_346, 600_000, 10_500));
        assert_eq!((told.temperature_celsius, told.sm_clock_mhz, told.utilization_percent), (61, 1755, 97));
        assert_eq!((told.throttle_reasons, told.power_capped_ns), (4, 1_500_000_000));
    }

    #[test]
    fn a_limit_asked_for_in_the_file_acts_on_the_physics() {
        let dir = tempfile::tempdir().expect("a folder");
        let mut plant = Plant::new(&Scenario::load(None).expect("valid").plant);
        let mut panel = Panel::create(&dir.path().join("rack-1.nvml"), 0, &plant).expect("created");
        assert_eq!(panel.state.gpu_count(), 8);
        let bmc = Fault::new(Kind::BmcLimit, "rack-1/gpu-3", Some(250.0), &plant.spec().racks).expect("fits");
        panel.act(&bmc);
        (0..1500).for_each(|_| {
            panel.take_requests(&mut plant);
            plant.step(0.02);
        });
        panel.publish(&plant);
        let gpus = &plant.racks()[0].gpus;
        assert_eq!((gpus[3].readout.limit_watts, gpus[4].readout.limit_watts), (250.0, 700.0));
        assert!(gpus[3].readout.power_watts < 260.0 && gpus[4].readout.power_watts > 600.0);
        assert_eq!(panel.state.requests(3).enforced_limit_mw, 250_000);
        let lift = Fault::new(Kind::Clear, "rack-1/gpu-3", None, &plant.spec().racks).expect("fits");
        panel.act(&lift);
        assert_eq!(panel.state.requests(3).enforced_limit_mw, 700_000);
        assert_eq!(layout::MAX_GPUS, 72, "the scenario's range of gpus is this");
    }
}

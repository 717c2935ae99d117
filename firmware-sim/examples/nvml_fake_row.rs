//! Eight simulated H100s for trying NVML clients by hand, without scenario, servers or plant:
//!
//! ```text
//! cargo run -p headroom-sim --example nvml_fake_row -- STATEFILE LIBDIR
//! HEADROOM_NVML_STATE=STATEFILE LD_LIBRARY_PATH=LIBDIR nvtop
//! ```
//!
//! Physics of the first order at 100 Hz: each GPU's demand goes up and down, power settles on the
//! lower of demand and limit. A line of standard input acts: `xid GPU NUMBER`, `lost GPU`, `back GPU`.

use headroom_sim::nvml_library;
use headroom_sim::nvml_state::{GpuIdentity, GpuRequests, GpuTelemetry, NvmlState};
use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

const GPUS: usize = 8;
const STEP_S: f64 = 0.01;
/// The power control of the driver settles within about a second; a third of that as time constant.
const SETTLING_S: f64 = 0.3;
/// `nvmlDeviceGetPowerUsage` is a mean of one second.
const AVERAGING_S: f64 = 1.0;
const THERMAL_S: f64 = 12.0;
/// Highest SM clock of an H100 SXM.
const BOOST_MHZ: f64 = 1980.0;
const IDLE_WATTS: f64 = 72.0;
const COOLANT_CELSIUS: f64 = 30.0;
const KELVIN_PER_WATT: f64 = 0.045;
const REASON_IDLE: u64 = 0x1;
const REASON_POWER_CAP: u64 = 0x4;

struct Gpu {
    phase_s: f64,
    instant_watts: f64,
    average_watts: f64,
    celsius: f64,
    joules: f64,
    capped_s: f64,
}

impl Gpu {
    fn new(index: usize) -> Self {
        let (instant_watts, average_watts) = (IDLE_WATTS, IDLE_WATTS);
        Self { phase_s: index as f64 * 4.0, instant_watts, average_watts, celsius: 33.0, joules: 0.0, capped_s: 0.0 }
    }

    fn step(&mut self, time_s: f64, requests: &GpuRequests) -> GpuTelemetry {
        let limit_watts = requests.enforced_limit_mw as f64 / 1e3;
        let locked_mhz = requests.locked_clocks_mhz.map_or(BOOST_MHZ, |(_, greatest)| f64::from(greatest));
        let load = (0.5 - 0.7 * ((time_s + self.phase_s) / 20.0 * std::f64::consts::TAU).cos()).clamp(0.0, 1.0);
        // Dynamic power goes about with f^2.4.
        let full_watts = IDLE_WATTS + (700.0 - IDLE_WATTS) * (locked_mhz / BOOST_MHZ).powf(2.4);
        let demand_watts = IDLE_WATTS + load * (full_watts - IDLE_WATTS);
        let target_watts = demand_watts.min(limit_watts);
        self.instant_watts += (target_watts - self.instant_watts) * STEP_S / SETTLING_S;
        self.average_watts += (self.instant_watts - self.average_watts) * STEP_S / AVERAGING_S;
        let settled_celsius = COOLANT_CELSIUS + self.instant_watts * KELVIN_PER_WATT;
        self.celsius += (settled_celsius - self.celsius) * STEP_S / THERMAL_S;
        self.joules += self.instant_watts * STEP_S;
        let capped = demand_watts > limit_watts;
        self.capped_s += if capped { STEP_S } else { 0.0 };
        // The share of the dynamic power that is left gives the clock.
        let clock_ratio = ((target_watts - IDLE_WATTS) / (demand_watts - IDLE_WATTS).max(1.0)).clamp(0.05, 1.0);
        let memory_used_bytes = (load * 60e9) as u64;
        GpuTelemetry {
            power_average_mw: (self.average_watts * 1e3) as u64,
            power_instant_mw: (self.instant_watts * 1e3) as u64,
            energy_mj: (self.joules * 1e3) as u64,
            temperature_celsius: self.celsius.round() as i64,
            memory_temperature_celsius: (self.celsius + 8.0).round() as i64,
            sm_clock_mhz: if load > 0.0 { (locked_mhz * clock_ratio.powf(1.0 / 2.4)) as u64 } else { 345 },
            memory_clock_mhz: 2619,
            utilization_percent: (load * 100.0) as u64,
            memory_utilization_percent: (load * 50.0) as u64,
            memory_used_bytes,
            throttle_reasons: if capped { REASON_POWER_CAP } else { u64::from(load == 0.0) * REASON_IDLE },
            power_capped_ns: (self.capped_s * 1e9) as u64,
            pcie_tx_kb_per_s: (load * 2e6) as u64,
            pcie_rx_kb_per_s: (load * 3e6) as u64,
            process_id: if load > 0.0 { std::process::id().into() } else { 0 },
            process_memory_bytes: memory_used_bytes,
            ..GpuTelemetry::default()
        }
    }
}

fn main() -> ExitCode {
    let arguments: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let [state, library_dir] = arguments.as_slice() else {
        eprintln!("usage: nvml_fake_row STATEFILE LIBDIR");
        return ExitCode::from(2);
    };
    match run(state, library_dir) {
        Ok(never) => never,
        Err(error) => {
            eprintln!("nvml_fake_row: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(path: &Path, library_dir: &Path) -> Result<ExitCode, Box<dyn Error>> {
    let identities: Vec<_> = (0..GPUS).map(|gpu| GpuIdentity::h100_sxm("rack-1", gpu)).collect();
    let state = Arc::new(NvmlState::create(path, &identities)?);
    let library = nvml_library::write_to(library_dir)?;
    println!("HEADROOM_NVML_STATE={} LD_LIBRARY_PATH={}", path.display(), library_dir.display());
    println!("library: {}", library.display());
    let listening = state.clone();
    thread::spawn(move || std::io::stdin().lines().map_while(Result::ok).for_each(|line| act(&listening, &line)));
    let mut gpus: Vec<_> = (0..GPUS).map(Gpu::new).collect();
    let start = Instant::now();
    for step in 1_u32.. {
        for (index, gpu) in gpus.iter_mut().enumerate() {
            state.publish(index, &gpu.step(f64::from(step) * STEP_S, &state.requests(index)));
        }
        state.beat();
        let due = Duration::from_secs_f64(STEP_S) * step;
        thread::sleep(due.saturating_sub(start.elapsed()));
    }
    Ok(ExitCode::SUCCESS)
}

fn act(state: &NvmlState, line: &str) {
    let words: Vec<&str> = line.split_whitespace().collect();
    let gpu = words.get(1).and_then(|word| word.parse().ok()).filter(|gpu| *gpu < state.gpu_count());
    let xid = words.get(2).and_then(|word| word.parse().ok());
    match (words.as_slice(), gpu, xid) {
        (["xid", _, _], Some(gpu), Some(xid)) => state.raise_xid(gpu, xid),
        (["lost", _], Some(gpu), None) => state.set_lost(gpu, true),
        (["back", _], Some(gpu), None) => state.set_lost(gpu, false),
        _ => eprintln!("not understood: {line:?}; try `xid 3 79`, `lost 3`, `back 3` (GPUs 0 to {})", GPUS - 1),
    }
}

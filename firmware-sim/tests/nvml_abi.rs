//! The NVML look-alike through the real ABI: nvml-wrapper loads the embedded library, the test plays
//! the simulator. The library finds its state file by an environment variable, so that each test
//! runs itself again in a process of its own, where the variable is set from the start.

use headroom_sim::nvml_library;
use headroom_sim::nvml_state::{DRIVER_VERSION, GpuConstants, GpuIdentity, GpuTelemetry, NVML_VERSION, NvmlState};
use nvml_wrapper::Nvml;
use nvml_wrapper::bitmasks::event::EventTypes;
use nvml_wrapper::enum_wrappers::device::*;
use nvml_wrapper::enums::device::{GpuLockedClocksSetting, SampleValue, UsedGpuMemory};
use nvml_wrapper::error::NvmlError;
use nvml_wrapper::structs::device::FieldId;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const VARIABLE: &str = "HEADROOM_NVML_STATE";
const GPUS: usize = 3;

struct Row {
    state: NvmlState,
    nvml: Nvml,
    beating: AtomicBool,
}

/// Runs `test`, named `name`, in a process of its own with a state file and a heart that beats.
fn row(name: &str, test: impl FnOnce(&Row)) {
    let Some(path) = std::env::var_os(VARIABLE) else { return in_its_own_process(name) };
    let path = Path::new(&path);
    let identities: Vec<_> = (0..GPUS).map(|gpu| GpuIdentity::h100_sxm("rack-1", gpu)).collect();
    let state = NvmlState::create(path, &identities).expect("state file");
    let library = nvml_library::write_to(path.parent().expect("in a folder")).expect("written");
    let nvml = Nvml::builder().lib_path(library.as_os_str()).init().expect("initialised");
    let row = Row { state, nvml, beating: AtomicBool::new(true) };
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                if row.beating.load(Ordering::Relaxed) {
                    row.state.beat();
                }
                thread::sleep(Duration::from_millis(20));
            }
        });
        // The heart must stop also when the test fails, or the scope would wait for ever.
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| test(&row)));
        over.store(true, Ordering::Relaxed);
        outcome.unwrap_or_else(|cause| std::panic::resume_unwind(cause));
    });
}

fn in_its_own_process(name: &str) {
    let dir = tempfile::tempdir().expect("a folder");
    let mut again = Command::new(std::env::current_exe().expect("this program"));
    again.args(["--exact", name, "--nocapture"]).env(VARIABLE, dir.path().join("rack-1.nvml"));
    let output = again.output().expect("started");
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && told.contains("1 passed"), "{told}{}", String::from_utf8_lossy(&output.stderr));
}

fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !condition() {
        assert!(Instant::now() < deadline, "never: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Different in every field, so that a mix-up shows.
fn sample() -> GpuTelemetry {
    GpuTelemetry {
        power_average_mw: 512_300,
        power_instant_mw: 634_200,
        energy_mj: 9_876_543_210_123,
        temperature_celsius: 61,
        memory_temperature_celsius: 72,
        sm_clock_mhz: 1755,
        memory_clock_mhz: 2619,
        utilization_percent: 97,
        memory_utilization_percent: 43,
        memory_used_bytes: 40 << 30,
        throttle_reasons: 0x4,
        performance_state: 0,
        power_capped_ns: 11_000_000_001,
        sw_thermal_ns: 12_000_000_002,
        hw_thermal_ns: 13_000_000_003,
        power_brake_ns: 14_000_000_004,
        ecc_corrected_volatile: 15,
        ecc_uncorrected_volatile: 16,
        ecc_corrected_aggregate: 17,
        ecc_uncorrected_aggregate: 18,
        remapped_corrected_rows: 19,
        remapped_uncorrected_rows: 20,
        remap_pending: true,
        remap_failed: true,
        pcie_replays: 21,
        pcie_tx_kb_per_s: 22_000,
        pcie_rx_kb_per_s: 23_000,
        recovery_action: 2,
        process_id: 4242,
        process_memory_bytes: 39 << 30,
    }
}

#[test]
fn every_value_published_is_read_back_by_a_client() {
    row("every_value_published_is_read_back_by_a_client", |row| {
        row.state.publish(1, &sample());
        let gpu = row.nvml.device_by_index(1).unwrap();
        assert_eq!(gpu.power_usage().unwrap(), 512_300);
        assert_eq!(gpu.total_energy_consumption().unwrap(), 9_876_543_210_123);
        assert_eq!(gpu.temperature(TemperatureSensor::Gpu).unwrap(), 61);
        assert_eq!(gpu.clock_info(Clock::SM).unwrap(), 1755);
        assert_eq!(gpu.clock_info(Clock::Graphics).unwrap(), 1755);
        assert_eq!(gpu.clock_info(Clock::Memory).unwrap(), 2619);
        assert_eq!(gpu.max_clock_info(Clock::SM).unwrap(), 1980);
        let used = gpu.utilization_rates().unwrap();
        assert_eq!((used.gpu, used.memory), (97, 43));
        let memory = gpu.memory_info().unwrap();
        assert_eq!((memory.total, memory.used), (81_559 << 20, 40 << 30));
        assert_eq!(memory.total, memory.used + memory.free + memory.reserved);
        assert_eq!(gpu.current_throttle_reasons().unwrap().bits(), 0x4);
        assert_eq!(gpu.performance_state().unwrap(), PerformanceState::Zero);
        for (kind, counter, count) in [
            (MemoryError::Corrected, EccCounter::Volatile, 15),
            (MemoryError::Uncorrected, EccCounter::Volatile, 16),
            (MemoryError::Corrected, EccCounter::Aggregate, 17),
            (MemoryError::Uncorrected, EccCounter::Aggregate, 18),
        ] {
            assert_eq!(gpu.total_ecc_errors(kind, counter).unwrap(), count);
        }
        assert_eq!(gpu.pcie_replay_counter().unwrap(), 21);
        assert_eq!(gpu.pcie_throughput(PcieUtilCounter::Send).unwrap(), 22_000);
        assert_eq!(gpu.pcie_throughput(PcieUtilCounter::Receive).unwrap(), 23_000);
        let processes = gpu.running_compute_processes().unwrap();
        assert_eq!(processes.len(), 1);
        assert_eq!((processes[0].pid, &processes[0].used_gpu_memory), (4242, &UsedGpuMemory::Used(39 << 30)));
        assert!(gpu.running_graphics_processes().unwrap().is_empty());
        assert_eq!(gpu.process_utilization_stats(None).unwrap()[0].sm_util, 97);
        assert_eq!(gpu.violation_status(PerformancePolicy::Thermal).unwrap().violation_time, 25_000_000_005);
        assert!(matches!(gpu.fan_speed(0), Err(NvmlError::NotSupported)));
    });
}

#[test]
fn field_values_are_read_in_one_call_with_the_time_of_the_sample() {
    row("field_values_are_read_in_one_call_with_the_time_of_the_sample", |row| {
        row.state.publish(1, &sample());
        let gpu = row.nvml.device_by_index(1).unwrap();
        // Ids as nvml-wrapper names them: 251 to 253 become 269 to 271 for this driver version.
        let wanted = [
            (3, 15),
            (4, 16),
            (6, 18),
            (74, 11_000_000_001),
            (75, 25_000_000_005),
            (82, 72),
            (83, 9_876_543_210_123),
            (94, 21),
            (142, 19),
            (143, 20),
            (144, 1),
            (145, 1),
            (185, 512_300),
            (186, 634_200),
            (187, 200_000),
            (188, 700_000),
            (189, 700_000),
            (190, 700_000),
            (191, 9_876_543_210_123),
            (192, 700_000),
            (193, -8),
            (194, -2),
            (195, 0),
            (196, 0),
            (230, 2),
            (251, 12_000_000_002),
            (252, 13_000_000_003),
            (253, 14_000_000_004),
        ];
        let ids: Vec<FieldId> = wanted.iter().map(|(id, _)| FieldId(*id)).collect();
        let now_us = unix_us();
        let read = |ids: &[FieldId]| gpu.field_values_for(ids).unwrap();
        for (answer, (id, expected)) in read(&ids).into_iter().zip(wanted) {
            let answer = answer.unwrap();
            assert!((now_us - answer.timestamp).abs() < 30_000_000, "field {id}: time {}", answer.timestamp);
            let value: i64 = match answer.value.unwrap() {
                SampleValue::U32(value) => value.into(),
                SampleValue::U64(value) => value.try_into().unwrap(),
                SampleValue::I64(value) => value,
                SampleValue::F64(_) => panic!("field {id} is a number with a fraction"),
            };
            assert_eq!(value, expected, "field {id}");
        }
        let time = |ids: &[FieldId]| read(ids)[0].as_ref().unwrap().timestamp;
        let first = time(&ids);
        assert_eq!(first, time(&ids), "read twice, published once");
        until("a later sample has a later time", || {
            row.state.publish(1, &sample());
            time(&ids) > first
        });
        let unknown = &read(&[FieldId(38)])[0];
        assert!(matches!(unknown.as_ref().unwrap().value, Err(NvmlError::NotSupported)));
    });
}

fn unix_us() -> i64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_micros() as i64
}

#[test]
fn a_gpu_is_known_by_index_uuid_and_bus_and_says_what_it_is() {
    row("a_gpu_is_known_by_index_uuid_and_bus_and_says_what_it_is", |row| {
        let nvml = &row.nvml;
        assert_eq!(nvml.device_count().unwrap() as usize, GPUS);
        assert_eq!(nvml.sys_driver_version().unwrap(), DRIVER_VERSION);
        assert_eq!(nvml.sys_nvml_version().unwrap(), NVML_VERSION);
        assert_eq!(nvml.sys_cuda_driver_version().unwrap(), 13_000);
        for index in 0..GPUS {
            let identity = GpuIdentity::h100_sxm("rack-1", index);
            let gpu = nvml.device_by_index(index as u32).unwrap();
            let GpuConstants { pci_bus, .. } = identity.constants;
            assert_eq!(gpu.name().unwrap(), "NVIDIA H100 80GB HBM3");
            assert_eq!((gpu.uuid().unwrap(), gpu.serial().unwrap()), (identity.uuid.clone(), identity.serial));
            assert_eq!((gpu.index().unwrap(), gpu.minor_number().unwrap()), (index as u32, index as u32));
            let pci = gpu.pci_info().unwrap();
            assert_eq!(pci.bus_id, format!("00000000:{pci_bus:02X}:00.0"));
            assert_eq!(
                (pci.bus, pci.pci_device_id, pci.pci_sub_system_id),
                (pci_bus as u32, 0x2330_10de, Some(0x16c1_10de))
            );
            assert_eq!(nvml.device_by_uuid(identity.uuid).unwrap().index().unwrap() as usize, index);
            assert_eq!(nvml.device_by_pci_bus_id(pci.bus_id).unwrap().index().unwrap() as usize, index);
        }
        let gpu = nvml.device_by_index(0).unwrap();
        assert_eq!(gpu.brand().unwrap(), Brand::Nvidia);
        let capability = gpu.cuda_compute_capability().unwrap();
        assert_eq!((capability.major, capability.minor), (9, 0));
        assert!(gpu.is_in_persistent_mode().unwrap());
        for (threshold, celsius) in [
            (TemperatureThreshold::Shutdown, 95),
            (TemperatureThreshold::Slowdown, 89),
            (TemperatureThreshold::MemoryMax, 95),
            (TemperatureThreshold::GpuMax, 87),
        ] {
            assert_eq!(gpu.temperature_threshold(threshold).unwrap(), celsius);
        }
        assert!(matches!(nvml.device_by_index(GPUS as u32), Err(NvmlError::InvalidArg)));
        assert!(matches!(nvml.device_by_uuid("GPU-none"), Err(NvmlError::NotFound)));
    });
}

#[test]
fn a_limit_is_enforced_at_once_and_the_simulator_sees_who_asked_when() {
    row("a_limit_is_enforced_at_once_and_the_simulator_sees_who_asked_when", |row| {
        let mut gpu = row.nvml.device_by_index(2).unwrap();
        let limits = gpu.power_management_limit_constraints().unwrap();
        assert_eq!((limits.min_limit, limits.max_limit), (200_000, 700_000));
        assert_eq!(gpu.power_management_limit_default().unwrap(), 700_000);
        let before = row.state.requests(2);
        assert_eq!((before.power_limit_mw, before.changes, before.changed_monotonic_ns), (700_000, 0, None));
        gpu.set_power_management_limit(300_000).unwrap();
        assert_eq!(gpu.enforced_power_limit().unwrap(), 300_000);
        assert_eq!(gpu.power_management_limit().unwrap(), 300_000);
        let after = row.state.requests(2);
        assert_eq!((after.power_limit_mw, after.enforced_limit_mw, after.changes), (300_000, 300_000, 1));
        assert!(after.changed_monotonic_ns.unwrap() <= headroom_sim::nvml_state::monotonic_ns());
        for wrong in [0, 199_999, 700_001] {
            assert!(matches!(gpu.set_power_management_limit(wrong), Err(NvmlError::InvalidArg)), "{wrong}");
        }
        assert_eq!(row.state.requests(2), after, "a refused call leaves no trace");
        assert_eq!(row.state.requests(1), before, "nor does a call for another GPU");
    });
}

#[test]
fn the_lower_of_in_band_and_out_of_band_limit_is_enforced() {
    row("the_lower_of_in_band_and_out_of_band_limit_is_enforced", |row| {
        let mut gpu = row.nvml.device_by_index(0).unwrap();
        row.state.set_out_of_band_limit(0, Some(350_000));
        assert_eq!(gpu.enforced_power_limit().unwrap(), 350_000);
        gpu.set_power_management_limit(500_000).unwrap();
        assert_eq!((gpu.power_management_limit().unwrap(), gpu.enforced_power_limit().unwrap()), (500_000, 350_000));
        gpu.set_power_management_limit(250_000).unwrap();
        assert_eq!(gpu.enforced_power_limit().unwrap(), 250_000);
        row.state.set_out_of_band_limit(0, None);
        gpu.set_power_management_limit(500_000).unwrap();
        assert_eq!(gpu.enforced_power_limit().unwrap(), 500_000);
        assert_eq!(row.state.requests(0).enforced_limit_mw, 500_000);
    });
}

#[test]
fn clocks_are_locked_within_what_the_board_has_and_released() {
    row("clocks_are_locked_within_what_the_board_has_and_released", |row| {
        let mut gpu = row.nvml.device_by_index(0).unwrap();
        let range = |min_clock_mhz, max_clock_mhz| GpuLockedClocksSetting::Numeric { min_clock_mhz, max_clock_mhz };
        gpu.set_gpu_locked_clocks(range(0, 1410)).unwrap();
        assert_eq!(row.state.requests(0).locked_clocks_mhz, Some((210, 1410)));
        gpu.set_gpu_locked_clocks(range(990, 5000)).unwrap();
        assert_eq!(row.state.requests(0).locked_clocks_mhz, Some((990, 1980)));
        assert!(matches!(gpu.set_gpu_locked_clocks(range(990, 980)), Err(NvmlError::InvalidArg)));
        gpu.reset_gpu_locked_clocks().unwrap();
        let released = row.state.requests(0);
        assert_eq!((released.locked_clocks_mhz, released.changes), (None, 3));
    });
}

#[test]
fn an_xid_wakes_who_registered_for_that_gpu_and_nobody_hears_the_past() {
    row("an_xid_wakes_who_registered_for_that_gpu_and_nobody_hears_the_past", |row| {
        row.state.raise_xid(1, 31);
        let events = row.nvml.create_event_set().unwrap();
        let gpu = row.nvml.device_by_index(1).unwrap();
        let events = gpu.register_events(EventTypes::CRITICAL_XID_ERROR, events).map_err(|e| e.error).unwrap();
        row.state.raise_xid(0, 48);
        assert!(matches!(events.wait(50), Err(NvmlError::Timeout)));
        thread::scope(|scope| {
            scope.spawn(|| {
                // Passes either way, but a pause lets the waiter sleep before it is woken.
                thread::sleep(Duration::from_millis(100));
                row.state.raise_xid(1, 79);
                row.state.raise_xid(1, 94);
            });
            let event = events.wait(30_000).unwrap();
            let heard = (event.device.index().unwrap(), event.event_data);
            assert_eq!((heard.0, format!("{:?}", heard.1)), (1, "Some(Value(79))".to_owned()));
        });
        assert_eq!(format!("{:?}", events.wait(30_000).unwrap().event_data), "Some(Value(94))");
        assert!(matches!(events.wait(0), Err(NvmlError::Timeout)));
    });
}

#[test]
fn a_listener_that_lags_behind_the_ring_hears_the_latest_events() {
    row("a_listener_that_lags_behind_the_ring_hears_the_latest_events", |row| {
        let events = row.nvml.create_event_set().unwrap();
        let gpu = row.nvml.device_by_index(0).unwrap();
        let events = gpu.register_events(EventTypes::CRITICAL_XID_ERROR, events).map_err(|e| e.error).unwrap();
        (0..900).for_each(|xid| row.state.raise_xid(0, xid));
        let mut heard = 0;
        while let Ok(event) = events.wait(0) {
            let latest = format!("{:?}", event.event_data);
            heard += 1;
            assert_eq!(latest, format!("Some(Value({}))", 900 - 256 + heard - 1));
        }
        assert_eq!(heard, 256);
    });
}

#[test]
fn a_lost_gpu_is_lost_alone_and_may_come_back() {
    row("a_lost_gpu_is_lost_alone_and_may_come_back", |row| {
        let mut lost = row.nvml.device_by_index(1).unwrap();
        row.state.set_lost(1, true);
        assert!(matches!(lost.power_usage(), Err(NvmlError::GpuLost)));
        assert!(matches!(lost.set_power_management_limit(300_000), Err(NvmlError::GpuLost)));
        assert!(matches!(lost.field_values_for(&[FieldId(186)]), Err(NvmlError::GpuLost)));
        assert!(matches!(row.nvml.device_by_index(1), Err(NvmlError::GpuLost)));
        assert_eq!(row.state.requests(1).changes, 0);
        assert!(row.nvml.device_by_index(0).unwrap().power_usage().is_ok());
        row.state.set_lost(1, false);
        assert!(lost.power_usage().is_ok());
    });
}

#[test]
fn a_reset_gpu_forgets_limit_and_clocks_and_its_neighbour_does_not() {
    row("a_reset_gpu_forgets_limit_and_clocks_and_its_neighbour_does_not", |row| {
        let ask = |index: u32| {
            let mut gpu = row.nvml.device_by_index(index).unwrap();
            gpu.set_power_management_limit(300_000).unwrap();
            let range = GpuLockedClocksSetting::Numeric { min_clock_mhz: 210, max_clock_mhz: 1200 };
            gpu.set_gpu_locked_clocks(range).unwrap();
        };
        (0..2).for_each(ask);
        row.state.set_out_of_band_limit(0, Some(500_000));
        row.state.forget_requests(0);
        let (reset, other) = (row.state.requests(0), row.state.requests(1));
        assert_eq!((reset.power_limit_mw, reset.locked_clocks_mhz), (700_000, None));
        assert_eq!((other.power_limit_mw, other.locked_clocks_mhz), (300_000, Some((210, 1200))));
        let gpu = row.nvml.device_by_index(0).unwrap();
        assert_eq!((gpu.power_management_limit().unwrap(), gpu.enforced_power_limit().unwrap()), (700_000, 500_000));
    });
}

#[test]
fn without_a_heartbeat_every_gpu_is_lost_until_it_beats_again() {
    row("without_a_heartbeat_every_gpu_is_lost_until_it_beats_again", |row| {
        let gpus: Vec<_> = (0..GPUS as u32).map(|index| row.nvml.device_by_index(index).unwrap()).collect();
        row.beating.store(false, Ordering::Relaxed);
        let stopped = Instant::now();
        until("the heartbeat is stale", || matches!(gpus[0].power_usage(), Err(NvmlError::GpuLost)));
        assert!(stopped.elapsed() > Duration::from_millis(1900), "{:?}", stopped.elapsed());
        assert!(gpus.iter().all(|gpu| matches!(gpu.power_usage(), Err(NvmlError::GpuLost))));
        assert_eq!(row.nvml.device_count().unwrap() as usize, GPUS);
        row.beating.store(true, Ordering::Relaxed);
        until("it beats again", || gpus.iter().all(|gpu| gpu.power_usage().is_ok()));
    });
}

#[test]
fn a_simulator_that_starts_again_is_seen_without_another_init() {
    row("a_simulator_that_starts_again_is_seen_without_another_init", |row| {
        let mut gpu = row.nvml.device_by_index(0).unwrap();
        gpu.set_power_management_limit(300_000).unwrap();
        let path = std::env::var_os(VARIABLE).unwrap();
        let again = NvmlState::create(Path::new(&path), &[GpuIdentity::h100_sxm("rack-1", 0)]).unwrap();
        assert_eq!(gpu.enforced_power_limit().unwrap(), 700_000, "limits do not outlive the driver");
        again.publish(0, &sample());
        assert_eq!(gpu.power_usage().unwrap(), 512_300);
        assert_eq!(row.nvml.device_count().unwrap(), 1);
    });
}

#[test]
fn many_readers_never_see_half_a_sample() {
    row("many_readers_never_see_half_a_sample", |row| {
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                for step in 0..200_000_u64 {
                    let sample =
                        GpuTelemetry { power_average_mw: step, power_instant_mw: step, ..GpuTelemetry::default() };
                    row.state.publish(0, &sample);
                }
                over.store(true, Ordering::Relaxed);
            });
            let gpu = row.nvml.device_by_index(0).unwrap();
            while !over.load(Ordering::Relaxed) {
                let pair = gpu.field_values_for(&[FieldId(185), FieldId(186)]).unwrap();
                let watts: Vec<_> =
                    pair.into_iter().map(|field| format!("{:?}", field.unwrap().value.unwrap())).collect();
                assert_eq!(watts[0], watts[1]);
            }
        });
    });
}

#[test]
fn the_state_file_is_for_its_owner_alone_and_a_wrong_number_of_gpus_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("rack-1.nvml");
    let identity = GpuIdentity::h100_sxm("rack-1", 0);
    for count in [0, 73] {
        let refused = NvmlState::create(&path, &vec![identity.clone(); count]).unwrap_err();
        assert!(refused.to_string().contains("1 to 72"), "{refused}");
    }
    NvmlState::create(&path, &vec![identity.clone(); 72]).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let link = dir.path().join("link");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    assert!(NvmlState::create(&link, &[identity]).is_err());
}

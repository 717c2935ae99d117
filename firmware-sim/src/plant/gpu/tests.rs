//! Behaviour of one GPU under demand, limits, locked clocks and heat.

use super::*;

const DT: f64 = 0.02;
const FULL: Demand = Demand { busy: 1.0, intensity: 1.0, loaded: true, memory_ratio: 0.8, clock_sensitivity: 1.0 };

fn gpu() -> Gpu {
    Gpu::new(&GpuSpec::h100(), 32.0, Chance::new(1, "gpu"))
}

fn run(gpu: &mut Gpu, seconds: f64, demand: &Demand) -> f64 {
    (0..(seconds / DT) as usize).map(|_| gpu.step(DT, true, demand, 32.0, 1.0)).last().expect("some steps")
}

#[test]
fn full_demand_draws_the_maximum_and_idle_draws_little() {
    let mut gpu = gpu();
    assert!((run(&mut gpu, 5.0, &Demand::default()) - 75.0).abs() < 1.0);
    run(&mut gpu, 5.0, &FULL);
    assert!((gpu.readout.power_watts - 700.0).abs() < 15.0, "{}", gpu.readout.power_watts);
}

#[test]
fn a_limit_settles_in_about_a_second_and_costs_work() {
    let mut gpu = gpu();
    run(&mut gpu, 5.0, &FULL);
    gpu.request(Requests { limit_watts: 400.0, locked_mhz: None });
    assert!(run(&mut gpu, 0.1, &FULL) > 520.0, "the excursion is short but there");
    run(&mut gpu, 1.4, &FULL);
    assert!(gpu.readout.power_instant_watts < 420.0, "{}", gpu.readout.power_instant_watts);
    run(&mut gpu, 2.0, &FULL);
    assert!((gpu.readout.power_watts - 400.0).abs() < 10.0, "{}", gpu.readout.power_watts);
    assert_ne!(gpu.readout.throttle_reasons & reason::POWER_CAP, 0);
    assert!(gpu.lost_work_s > 0.3);
}

#[test]
fn a_gpu_that_ignores_its_limit_reports_it_all_the_same() {
    let mut gpu = gpu();
    gpu.set_ignores_limit(true);
    gpu.request(Requests { limit_watts: 300.0, locked_mhz: None });
    run(&mut gpu, 5.0, &FULL);
    assert_eq!(gpu.readout.limit_watts, 300.0);
    assert!(gpu.readout.power_watts > 680.0);
}

#[test]
fn a_locked_clock_lowers_power_without_a_limit() {
    let mut gpu = gpu();
    gpu.request(Requests { limit_watts: 700.0, locked_mhz: Some((345.0, 990.0)) });
    run(&mut gpu, 5.0, &FULL);
    assert!(gpu.readout.power_watts < 260.0, "{}", gpu.readout.power_watts);
    assert_ne!(gpu.readout.throttle_reasons & reason::CLOCK_SETTING, 0);
}

#[test]
fn energy_is_the_sum_of_power_over_time() {
    let mut gpu = gpu();
    let sum: f64 = (0..5000).map(|_| gpu.step(DT, true, &FULL, 32.0, 1.0) * DT).sum();
    assert!((gpu.readout.energy_joules - sum).abs() < 1e-6 * sum);
}

#[test]
fn without_coolant_flow_it_slows_down_and_at_last_shuts_down() {
    let mut gpu = gpu();
    let mut slowed = false;
    for i in 0..20_000 {
        gpu.step(DT, true, &FULL, (32.0 + f64::from(i) * DT * 0.5).min(110.0), 3.0);
        slowed |= gpu.readout.throttle_reasons & reason::SW_THERMAL != 0;
    }
    assert!(slowed && gpu.readout.lost && gpu.readout.power_instant_watts == 0.0);
}

#[test]
fn the_steady_temperature_follows_power_and_coolant() {
    let mut gpu = gpu();
    run(&mut gpu, 200.0, &FULL);
    assert!((gpu.readout.temperature_celsius - (32.0 + 31.5)).abs() < 2.0);
}

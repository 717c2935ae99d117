//! A rack of 7.3 kW against sums made by hand.

use super::*;

const WATTS: f64 = 7300.0;

fn run(unit: &mut AirUnit, seconds: f64, heat_watts: f64) {
    (0..(seconds / 0.02) as usize).for_each(|_| unit.step(0.02, true, heat_watts, 1.0));
}

fn settled() -> AirUnit {
    let mut unit = AirUnit::new(WATTS, 250.0);
    run(&mut unit, 1500.0, WATTS);
    unit
}

#[test]
fn the_steady_state_supplies_the_inlets_at_the_setpoint_and_removes_what_comes_in() {
    let unit = settled();
    let r = &unit.readout;
    assert!((r.inlet_celsius - SUPPLY_SETPOINT_CELSIUS).abs() < 0.3, "{r:?}");
    assert!((r.removed_watts - WATTS).abs() < 50.0, "{r:?}");
    // 7.3 kW into 0.379 m3/s of 1191 J/(m3 K), of which the unit moves a tenth more past the servers.
    assert!((unit.servers_celsius - r.inlet_celsius - 16.2).abs() < 0.3, "{unit:?}");
    assert!((r.return_celsius - r.supply_celsius - 14.7).abs() < 0.5 && r.power_watts < 250.0, "{r:?}");
}

#[test]
fn without_its_fans_the_inlets_warm_by_a_kelvin_in_seconds_and_then_as_fast_as_the_metal_lets_them() {
    let mut unit = settled();
    unit.set_stopped(None, true);
    let mut after = |seconds| {
        let before = unit.readout.inlet_celsius;
        run(&mut unit, seconds, WATTS);
        (unit.readout.inlet_celsius - before) / seconds
    };
    after(10.0);
    // 7.3 kW into 17.9 kJ/K of air are 0.41 K/s, less what still blows and what the metal keeps.
    let first = after(5.0);
    assert!((0.2..0.41).contains(&first), "{first}");
    after(300.0);
    // And into 17.9 and 43.8 kJ/K together 0.118 K/s.
    let last = after(60.0);
    assert!((last - 0.118).abs() < 0.004, "{last}");
}

#[test]
fn heat_is_neither_made_nor_lost_between_servers_room_and_coil() {
    let mut unit = settled();
    unit.set_stopped(Some(0), true);
    unit.set_wear(0.6);
    let stored = |unit: &AirUnit| {
        ROOM_M3 * AIR_J_PER_M3_K * unit.readout.inlet_celsius + unit.servers_j_per_k * unit.servers_celsius
    };
    let (before, mut in_and_out) = (stored(&unit), 0.0);
    for _ in 0..10_000 {
        unit.step(0.02, true, WATTS, 0.9);
        in_and_out += 0.02 * (WATTS - unit.readout.removed_watts);
    }
    assert!((stored(&unit) - before - in_and_out).abs() < 1e-3 * WATTS * 200.0, "{unit:?}");
}

#[test]
fn one_bank_alone_blows_seven_tenths_and_some_hot_air_comes_back() {
    let mut unit = settled();
    let nominal = unit.readout.flow_m3_per_s;
    unit.set_stopped(Some(1), true);
    run(&mut unit, 1500.0, WATTS);
    let r = &unit.readout;
    assert!((r.flow_m3_per_s / nominal - 0.71).abs() < 0.02, "{r:?}");
    // 7.3 kW (1 / 387 W/K - 1 / 451 W/K) above what is supplied.
    assert!((r.inlet_celsius - r.supply_celsius - 4.6).abs() < 0.4, "{r:?}");
}

#[test]
fn warm_water_ends_where_dry_coolers_hold_it_and_a_gpu_at_full_power_keeps_out_of_slowdown_at_35_degrees() {
    let mut unit = settled();
    unit.set_water_drift(0.1);
    run(&mut unit, 1500.0, WATTS);
    let r = &unit.readout;
    assert_eq!(unit.water_celsius, WATER_HOTTEST_CELSIUS);
    // 0.7 (dT + 14.7) = 14.7 with dT from water to inlet.
    assert!((r.inlet_celsius - WATER_HOTTEST_CELSIUS - 6.3).abs() < 0.3, "{r:?}");
    let gpu = 35.0 + 700.0 * RESISTANCE_K_PER_W * unit.resistance_factor();
    assert!((80.0..82.0).contains(&gpu), "{gpu}");
    unit.set_water_drift(0.0);
    run(&mut unit, 1500.0, WATTS);
    assert!((unit.readout.inlet_celsius - SUPPLY_SETPOINT_CELSIUS).abs() < 0.3, "{:?}", unit.readout);
}

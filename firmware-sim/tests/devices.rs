//! Every register of every simulated device, read through a Modbus client and compared with the
//! plant's own values. Addresses, types and scales are written here a second time by hand from the
//! public documents, so that a slip in the firmware shows.

use headroom_sim::fault::{Fault, Kind, Target};
use headroom_sim::firmware::Device;
use headroom_sim::plant::Plant;
use headroom_sim::plant::gpu::Requests;
use headroom_sim::plant::view::PlantView;
use headroom_sim::scenario::Scenario;
use headroom_sim::serve::bench::Bench;
use headroom_sim::serve::modbus;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio_modbus::ExceptionCode;
use tokio_modbus::client::{Context, Reader, Writer, tcp};
use tokio_modbus::slave::Slave;

/// A plant after a while, so that no value is zero by chance: one feed on battery, a leak.
fn bench() -> (Arc<Bench>, Plant) {
    let scenario = Scenario::load(None).expect("valid");
    let mut plant = Plant::new(&scenario.plant);
    for rack in 0..4 {
        (0..8).for_each(|gpu| plant.request(rack, gpu, Requests { limit_watts: 400.0, locked_mhz: None }));
    }
    (0..2000).for_each(|_| plant.step(0.02));
    plant.feeds_mut()[0].utility = false;
    plant.feeds_mut()[0].ups.set_health(0.6);
    plant.racks_mut()[0].cooling.set_leak(0.5);
    (0..500).for_each(|_| plant.step(0.02));
    let bench = Bench::new(&plant);
    bench.show(plant.view());
    (Arc::new(bench), plant)
}

async fn device(bench: &Arc<Bench>, device: Device, target: Target) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(modbus::serve(listener, Arc::clone(bench), device, target));
    address
}

async fn client(address: SocketAddr, unit: u8) -> Context {
    tcp::connect_slave(address, Slave(unit)).await.expect("connects")
}

async fn float(client: &mut Context, address: u16) -> f64 {
    let words = client.read_input_registers(address, 2).await.expect("transport").expect("no exception");
    f64::from(f32::from_bits(u32::from(words[0]) << 16 | u32::from(words[1])))
}

async fn input(client: &mut Context, address: u16) -> u16 {
    client.read_input_registers(address, 1).await.expect("transport").expect("no exception")[0]
}

async fn holding(client: &mut Context, address: u16) -> u16 {
    client.read_holding_registers(address, 1).await.expect("transport").expect("no exception")[0]
}

fn close(name: &str, got: f64, want: f64, tolerance: f64) {
    assert!((got - want).abs() <= tolerance, "{name}: read {got}, the plant says {want}");
}

fn view(bench: &Bench) -> Arc<PlantView> {
    bench.view()
}

#[tokio::test]
async fn every_value_of_the_meter_is_the_plants() {
    let (bench, _) = bench();
    let mut meter = client(device(&bench, Device::Sdm630, Target::Pdu(2, 1)).await, 1).await;
    let view = view(&bench);
    let pdu = &view.racks[2].pdus[1];
    assert!(pdu.power_watts > 1000.0);
    let var = |p: usize| (pdu.phase_va()[p].powi(2) - pdu.phase_watts[p].powi(2)).sqrt();
    let kwh = |joules: f64| joules / 3_600_000.0;
    let tangent = pdu.power_factor.acos().tan();
    let mut expected = vec![
        (48, pdu.phase_amperes.iter().sum()),
        (52, pdu.power_watts),
        (56, pdu.apparent_va()),
        (60, var(0) + var(1) + var(2)),
        (62, 0.99),
        (66, 8.1096),
        (70, 50.0),
        (72, kwh(pdu.energy_joules)),
        (74, 0.0),
        (76, kwh(pdu.energy_joules) * tangent),
        (78, 0.0),
        (248, 1.8),
        (342, kwh(pdu.energy_joules)),
        (344, kwh(pdu.energy_joules) * tangent),
    ];
    for p in 0..3 {
        let at = 2 * p as u16;
        let energy = kwh(pdu.phase_energy_joules[p]);
        expected.extend([
            (at, pdu.phase_volts[p]),
            (6 + at, pdu.phase_amperes[p]),
            (12 + at, pdu.phase_watts[p]),
            (18 + at, pdu.phase_va()[p]),
            (24 + at, var(p)),
            (30 + at, pdu.power_factor),
            (234 + at, 1.8),
            (346 + at, energy),
            (352 + at, 0.0),
            (358 + at, energy),
            (364 + at, energy * tangent),
            (370 + at, 0.0),
            (376 + at, energy * tangent),
        ]);
    }
    for (address, want) in expected {
        let got = float(&mut meter, address).await;
        close(&format!("SDM630 register {address}"), got, want, 1e-4 * want.abs() + 1e-6);
    }
    // One request for everything up to the first hole, as a driver does it.
    let block = meter.read_input_registers(0, 36).await.expect("transport").expect("no exception");
    assert_eq!(block.len(), 36);
}

#[tokio::test]
async fn every_value_of_the_ups_is_the_plants() {
    let (bench, _) = bench();
    let mut card = client(device(&bench, Device::Dph, Target::Ups(0)).await, 1).await;
    let view = view(&bench);
    let ups = &view.feeds[0].ups;
    assert!(ups.on_battery && ups.battery_amperes < 0.0 && ups.battery_charge_ratio < 1.0);
    let expected = [
        (1025, 240.0, 1.0),
        (1026, 50.0, 0.1),
        (1027, 240.0, 1.0),
        (1028, 50.0, 0.1),
        (1029, 30_000.0, 10.0),
        (1030, 30_000.0, 10.0),
        (1038, 3.0, 1.0), // three-phase
        (1039, 240.0, 1.0),
        (1054, 1.0, 1.0), // weak
        (1055, 0.0, 1.0), // charge is fine
        (1056, 3.0, 1.0), // discharging
        (1057, ups.on_battery_s.floor(), 1.0),
        (1058, (ups.runtime_s / 60.0).floor(), 1.0),
        (1059, ups.battery_charge_ratio * 100.0, 1.0),
        (1060, ups.battery_volts, 0.1),
        (1061, -ups.battery_amperes, 0.1),
        (1062, ups.battery_celsius, 1.0),
        (1063, ups.battery_charge_ratio * 100.0, 1.0),
        (1064, 0.0, 1.0),
        (1073, 0.0, 0.1), // the utility is gone
        (1074, 0.0, 0.1),
        (1075, 0.0, 0.1),
        (1076, 0.0, 10.0),
        (1091, 50.0, 0.1),
        (1093, ups.output_volts, 0.1),
        (1094, ups.output_phase_amperes[0], 0.1),
        (1095, ups.output_phase_watts[0], 10.0),
        (1096, ups.output_phase_watts[0] / 100.0, 1.0), // 10 kW per line
        (1098, ups.output_phase_amperes[1], 0.1),
        (1099, ups.output_phase_watts[1], 10.0),
        (1102, ups.output_phase_amperes[2], 0.1),
        (1103, ups.output_phase_watts[2], 10.0),
        (1104, ups.output_phase_watts[2] / 100.0, 1.0),
        (1110, 0.0, 0.1),
        (1112, 0.0, 0.1),
    ];
    for (address, want, unit) in expected {
        let got = f64::from(input(&mut card, address).await) * unit;
        close(&format!("DPH register {address}"), got, want, unit * 0.5 + 1e-9);
    }
    for absent in [1065, 1066, 1067, 1068, 1124, 1129, 1130] {
        assert_eq!(input(&mut card, absent).await, 0xffff, "register {absent} is not supported by this UPS");
    }
    let model = card.read_input_registers(0x503, 4).await.expect("transport").expect("no exception");
    assert_eq!(model[..2], [u16::from_be_bytes(*b"DP"), u16::from_be_bytes(*b"H ")]);
    let mut other = client(device(&bench, Device::Dph, Target::Ups(1)).await, 1).await;
    let b = &view.feeds[1].ups;
    for (address, want, unit) in
        [(1054, 0.0, 1.0), (1056, 0.0, 1.0), (1074, 240.0, 0.1), (1076, b.input_watts / 3.0, 10.0)]
    {
        close(&format!("DPH b {address}"), f64::from(input(&mut other, address).await) * unit, want, unit * 0.5 + 1e-9);
    }
}

#[tokio::test]
async fn every_value_of_the_cooling_unit_is_the_plants() {
    let (bench, _) = bench();
    let mut unit = client(device(&bench, Device::Rpu, Target::Cooling(0)).await, 12).await;
    let view = view(&bench);
    let cooling = &view.racks[0].cooling;
    let expected = [
        (0x9000, cooling.flow_lpm, 0.1),
        (0x9001, cooling.supply_celsius, 0.1), // outlet of the unit
        (0x9002, cooling.return_celsius, 0.1), // inlet of the unit
        (0x9003, cooling.supply_kpa, 0.1),
        (0x9004, cooling.return_kpa, 0.1),
        (0x9005, cooling.power_watts, 0.1),
        (0x9006, cooling.power_watts, 0.1),
        (0x9009, cooling.pump_ratio * 100.0, 1.0),
        (0x900a, cooling.pump_rpm[0], 1.0),
        (0x900b, cooling.pump_rpm[1], 1.0),
        (0x900c, 0.0, 1.0),
        (0x9011, cooling.removed_watts, 0.1),
        (0x9012, 0.0, 1.0),
        (0x9400, 8.008, 0.1),
        (0x9401, 32.0, 0.1),
        (0xa02d, cooling.power_watts, 1.0),
    ];
    for (address, want, scale) in expected {
        let word = holding(&mut unit, address).await;
        let signed = (0x9001..=0x9004).contains(&address);
        let got = if signed { f64::from(word as i16) } else { f64::from(word) } * scale;
        close(&format!("RPU register {address:#x}"), got, want, scale * 0.5 + 1e-9);
    }
    let sensors = holding(&mut unit, 0x9200).await;
    assert_eq!(sensors & 0b1_1111, 0, "coolant sensors are good");
    assert_ne!(sensors & (1 << 5), 0, "there is no air heat exchanger, and the unit says so");
    assert_eq!(holding(&mut unit, 0x9202).await, 1 << 5, "an external leak");
    assert_eq!(holding(&mut unit, 0x19a6).await, 1);
    let runtime = unit.read_holding_registers(0x9030, 2).await.expect("transport").expect("no exception");
    close("pump runtime", f64::from(u32::from(runtime[0]) << 16 | u32::from(runtime[1])), 50.0, 1.0);
    let model = unit.read_holding_registers(0x19cc, 8).await.expect("transport").expect("no exception");
    assert_eq!(model[0], u16::from_be_bytes(*b"RD"));
}

#[tokio::test]
async fn what_a_device_does_not_have_is_an_exception() {
    let (bench, _) = bench();
    let mut meter = client(device(&bench, Device::Sdm630, Target::Pdu(0, 0)).await, 1).await;
    let address = Err(ExceptionCode::IllegalDataAddress);
    let function = Err(ExceptionCode::IllegalFunction);
    assert_eq!(meter.read_input_registers(36, 2).await.expect("transport"), address, "a hole");
    assert_eq!(meter.read_input_registers(30, 40).await.expect("transport"), address, "across a hole");
    assert_eq!(meter.read_input_registers(9000, 2).await.expect("transport"), address);
    let too_many = meter.read_input_registers(0, 82).await.expect("transport");
    assert_eq!(too_many, Err(ExceptionCode::IllegalDataValue), "40 values at most");
    assert_eq!(meter.read_holding_registers(0, 2).await.expect("transport"), function);
    assert_eq!(meter.read_coils(0, 2).await.expect("transport"), Err(ExceptionCode::IllegalFunction));
    assert_eq!(meter.write_single_register(0, 2).await.expect("transport"), Err(ExceptionCode::IllegalFunction));
    let mut unit = client(device(&bench, Device::Rpu, Target::Cooling(0)).await, 12).await;
    assert_eq!(unit.read_input_registers(0x9000, 1).await.expect("transport"), function);
    assert_eq!(unit.read_holding_registers(0x9020, 1).await.expect("transport"), address);
    let stranger =
        client(device(&bench, Device::Rpu, Target::Cooling(0)).await, 3).await.read_holding_registers(0x9000, 1).await;
    assert_eq!(stranger.expect("transport"), Err(ExceptionCode::GatewayTargetDevice), "nobody has unit 3");
}

fn fault(plant: &Plant, kind: Kind, value: Option<f64>) -> Fault {
    Fault::new(kind, "rack-1/pdu-a", value, &plant.spec().racks).expect("fits")
}

#[tokio::test]
async fn faults_on_the_wire_are_what_they_say_and_touch_no_other_device() {
    let (bench, mut plant) = bench();
    let sick = device(&bench, Device::Sdm630, Target::Pdu(0, 0)).await;
    let well = device(&bench, Device::Sdm630, Target::Pdu(0, 1)).await;
    let mut other = client(well, 1).await;
    let truth = view(&bench).racks[0].pdus[0].power_watts;
    let short = Duration::from_millis(300);

    bench.act_on_wire(&fault(&plant, Kind::MeterLying, Some(0.5)));
    close("a lie", float(&mut client(sick, 1).await, 52).await, truth * 0.5, 0.1);
    bench.act_on_wire(&fault(&plant, Kind::Clear, None));

    bench.act_on_wire(&fault(&plant, Kind::MeterFrozen, None));
    plant.racks_mut()[0].gpus.iter_mut().for_each(|g| g.set_lost(true));
    (0..50).for_each(|_| plant.step(0.02));
    bench.show(plant.view());
    close("a frozen value", float(&mut client(sick, 1).await, 52).await, truth, 0.1);
    let moved = view(&bench).racks[0].pdus[0].power_watts;
    assert!((moved - truth).abs() > 100.0);
    bench.act_on_wire(&fault(&plant, Kind::Clear, None));
    close("moving again", float(&mut client(sick, 1).await, 52).await, moved, 0.1);

    bench.act_on_wire(&fault(&plant, Kind::DeviceException, Some(6.0)));
    let busy = client(sick, 1).await.read_input_registers(52, 2).await.expect("transport");
    assert_eq!(busy, Err(ExceptionCode::ServerDeviceBusy));
    bench.act_on_wire(&fault(&plant, Kind::Clear, None));

    bench.act_on_wire(&fault(&plant, Kind::DeviceSilent, None));
    let mut silent = client(sick, 1).await;
    assert!(tokio::time::timeout(short, silent.read_input_registers(52, 2)).await.is_err(), "no answer");
    bench.act_on_wire(&fault(&plant, Kind::Clear, None));

    bench.act_on_wire(&fault(&plant, Kind::DeviceLate, Some(400.0)));
    let asked = Instant::now();
    float(&mut client(sick, 1).await, 52).await;
    assert!(asked.elapsed() >= Duration::from_millis(400));
    bench.act_on_wire(&fault(&plant, Kind::Clear, None));

    bench.act_on_wire(&fault(&plant, Kind::DeviceGarbage, None));
    let mut garbled = client(sick, 1).await;
    let answer = tokio::time::timeout(short, garbled.read_input_registers(52, 2)).await;
    assert!(!matches!(answer, Ok(Ok(Ok(_)))), "random bytes are no answer: {answer:?}");
    assert!(float(&mut other, 52).await > 500.0, "the other meter never noticed");
}

#[tokio::test]
async fn a_meter_without_voltage_is_silent() {
    let (bench, mut plant) = bench();
    let mut meter = client(device(&bench, Device::Sdm630, Target::Pdu(0, 0)).await, 1).await;
    plant.feeds_mut()[0].breaker.step(0.02, [headroom_rack::units::Amperes::new(500.0); 3]);
    (0..2).for_each(|_| plant.step(0.02));
    bench.show(plant.view());
    let waited = tokio::time::timeout(Duration::from_millis(300), meter.read_input_registers(52, 2)).await;
    assert!(waited.is_err());
}

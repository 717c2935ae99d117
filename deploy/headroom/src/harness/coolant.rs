//! The seconds that the decision says are left until a rack's coolant, or the air at its inlets, is at its limit, against
//! the plant's cooling units, which know nothing of them: two sides of a loop, an exchanger, pumps that run down;
//! a room, the metal of servers, a coil, fans.

use super::INLET_LIMIT_CELSIUS;
use headroom_controller_core::{Change, CoolantView, CoolingAdvice, Decider, Fleet, Policy};
use headroom_rack::{DeviceId, Generation, LimitKind, Mode, Mono, Plan, Reading, Signal, SignalPath, Snapshot, UnixMs};
use headroom_sim::plant::air::AirUnit;
use headroom_sim::plant::cooler::{Cooler, Heat};
use headroom_sim::plant::cooling::Cooling;
use std::collections::BTreeMap;

const HEAT_WATTS: f64 = 5600.0;
const RACK_WATTS: f64 = 7300.0;
const LIMIT_CELSIUS: f64 = 60.0;

fn liquid() -> Cooler {
    Cooler::Liquid(Cooling::new(HEAT_WATTS, 250.0))
}

/// A rack of 8 GPUs at full power, whatever is ordered, and its cooling unit.
struct Row {
    unit: Cooler,
    decider: Decider,
    fleet: Fleet,
    second: u64,
    plan: Option<Plan>,
    advice: Vec<CoolingAdvice>,
}

impl Row {
    fn new(unit: Cooler) -> Self {
        let scenario = headroom_sim::scenario::Scenario::parse("row", headroom_sim::scenario::DEFAULT).unwrap();
        let topology = super::wiring::topology(&scenario.plant, &[true, false, false, false]);
        let fleet = Fleet::new(&topology);
        let policy = Policy { inlet_limit_celsius: Some(INLET_LIMIT_CELSIUS), ..Policy::default() };
        let decider = Decider::new(topology, policy);
        let mut row = Self { unit, decider, fleet, second: 0, plan: None, advice: Vec::new() };
        (0..900).for_each(|_| drop(row.pass(true)));
        row
    }

    /// One second in the plant, one Snapshot, one decision. `pipe`: the return sensor is read.
    fn pass(&mut self, pipe: bool) -> Option<CoolantView> {
        let heat = Heat { gpus_watts: HEAT_WATTS, rack_watts: RACK_WATTS, fan_ratio: 1.0 };
        (0..50).for_each(|_| self.unit.step(0.02, true, heat));
        self.second += 1;
        let at = UnixMs::new(self.second * 1000);
        let mut readings = headroom_rack::Readings::new();
        let mut put = |device: DeviceId, signal, value| {
            readings.insert(SignalPath::new(device, signal), Reading::new(value, at));
        };
        (0..8).for_each(|gpu| put(DeviceId::gpu(gpu), Signal::GpuPower, HEAT_WATTS / 8.0));
        let cooling = DeviceId::new("cooling").unwrap();
        if let Some(seen) = self.unit.liquid() {
            put(cooling.clone(), Signal::CoolingFlow, seen.flow_lpm);
            put(cooling.clone(), Signal::CoolingSupplyTemperature, seen.supply_celsius);
            if pipe {
                put(cooling.clone(), Signal::CoolingReturnTemperature, seen.return_celsius);
            }
        }
        if let Some(seen) = self.unit.air() {
            put(cooling, Signal::CoolingSupplyTemperature, (seen.inlet_celsius * 10.0).round() / 10.0);
        }
        ["pdu-a", "pdu-b"]
            .into_iter()
            .for_each(|pdu| put(DeviceId::new(pdu).unwrap(), Signal::PduPower, HEAT_WATTS / 2.0));
        let rack = headroom_rack::RackId::new("rack-1").unwrap();
        let snapshot = Snapshot { rack, boot: 1, seq: self.second, at, historical: false, readings, receipts: vec![] };
        let now = Mono::from_ms(self.second * 1000);
        self.fleet.fold(&snapshot, now);
        let generation = Generation { epoch: 1, counter: self.second };
        let plan = self.decider.decide(&self.fleet, &BTreeMap::new(), now, at, generation, Mode::Automatic);
        self.advice = self.decider.advise(&self.fleet, &plan, now).to_vec();
        self.plan = Some(plan);
        self.decider.coolants().pop()
    }

    fn is_held(&self) -> bool {
        let cap = &self.plan.as_ref().unwrap().caps[0];
        cap.kind == LimitKind::Cooling && cap.binding
    }

    /// What was told each second until the limit, with the seconds that it really took from there.
    fn until_the_limit(mut self, pipe: bool) -> Vec<(f64, f64)> {
        let mut told = Vec::new();
        let over = |unit: &Cooler| {
            unit.liquid().is_some_and(|r| r.return_celsius >= LIMIT_CELSIUS)
                || unit.air().is_some_and(|r| r.inlet_celsius >= INLET_LIMIT_CELSIUS)
        };
        while !over(&self.unit) && told.len() < 1000 {
            told.push(self.pass(pipe).map(|coolant| coolant.left_s));
        }
        let all = told.len();
        told.iter().enumerate().filter_map(|(i, told)| Some(((*told)?, (all - 1 - i) as f64))).collect()
    }
}

#[test]
fn with_both_pumps_stopped_the_seconds_told_are_those_it_takes_with_and_without_a_sensor_in_the_pipe() {
    for pipe in [true, false] {
        let mut row = Row::new(liquid());
        assert_eq!(row.pass(pipe), None, "it carries its heat for ever");
        row.unit.set_stopped(None, true);
        let seconds = row.until_the_limit(pipe);
        assert!(seconds.len() > 10, "told late: {seconds:?}");
        for (told, took) in &seconds[2..] {
            assert!(*told <= took + 2.5 && *told >= took * 0.7 - 4.5, "{pipe}: {told} {took} of {seconds:?}");
        }
    }
}

#[test]
fn with_little_flow_or_a_supply_that_warms_the_last_minute_is_foretold() {
    let mut worn = Row::new(liquid());
    worn.unit.set_wear(0.1);
    let mut warming = Row::new(liquid());
    warming.unit.set_water_drift(0.25);
    for (what, row) in [("worn", worn), ("warming", warming)] {
        let seconds = row.until_the_limit(true);
        let (first, took) = seconds[0];
        assert!(took > 15.0, "{what}: foretold {first} s before, {took} s were left");
        // Before that the valve still makes up for what comes.
        for (told, took) in seconds.iter().filter(|(_, took)| *took <= 60.0) {
            assert!(*told <= took * 1.1 + 4.0 && *told >= took * 0.5 - 4.0, "{what}: {told} {took} of {seconds:?}");
        }
    }
}

#[test]
fn air_that_warms_is_foretold_sooner_rather_than_later_than_it_comes() {
    let mut still = Row::new(Cooler::Air(AirUnit::new(RACK_WATTS, 250.0)));
    still.unit.set_stopped(None, true);
    let mut warming = Row::new(Cooler::Air(AirUnit::new(RACK_WATTS, 250.0)));
    warming.unit.set_water_drift(0.1);
    // The rise is smoothed over 15 s, and a coil makes up for warmer water for as long as it can.
    for (what, row, ahead_s) in [("still", still, 38.0), ("warming", warming, 120.0)] {
        let seconds = row.until_the_limit(true);
        assert!(seconds[0].1 > ahead_s, "{what}: {seconds:?}");
        for (told, took) in seconds.iter().filter(|(_, took)| *took <= ahead_s) {
            assert!(*told <= took + 3.0 && *told >= took * 0.5 - 4.0, "{what}: {told} {took} of {seconds:?}");
        }
    }
}

#[test]
fn with_the_supply_that_is_advised_nothing_is_held_back_and_a_loss_of_all_flow_leaves_the_response_time() {
    let mut row = Row::new(liquid());
    row.unit.set_setpoint(54.0);
    (0..600).for_each(|_| drop(row.pass(true)));
    let advice = row.advice[0].clone();
    assert!(row.is_held() && advice.change == Change::Cooler && advice.held.get() > 0.0, "{advice:?}");
    row.unit.set_setpoint(advice.at_most_celsius.unwrap());
    (0..600).for_each(|_| drop(row.pass(true)));
    assert!(!row.is_held(), "{:?}", row.plan);
    // All that can be wanted is drawn as the pumps stop, and nothing gives way.
    row.unit.set_stopped(None, true);
    let response_s = Policy::default().response.as_secs();
    (0..response_s).for_each(|_| drop(row.pass(true)));
    let reached = row.unit.liquid().unwrap().return_celsius;
    assert!(reached < LIMIT_CELSIUS, "{reached} after {response_s} s of no flow, with {advice:?}");
}

#[test]
fn as_warm_as_it_is_said_a_supply_may_be_it_can_be() {
    for (unit, most_told) in
        [(liquid(), 45.0), (Cooler::Air(AirUnit::new(RACK_WATTS, 250.0)), INLET_LIMIT_CELSIUS - 3.0)]
    {
        let mut row = Row::new(unit);
        (0..1000).for_each(|_| drop(row.pass(true)));
        let advice = row.advice[0].clone();
        let most = advice.at_most_celsius.unwrap();
        assert!(
            advice.change == Change::Warmer && most > advice.supply_celsius + 5.0 && most < most_told,
            "{advice:?}"
        );
        row.unit.set_setpoint(most);
        (0..900).for_each(|_| drop(row.pass(true)));
        assert!(!row.is_held() && row.decider.coolants().is_empty(), "{:?}", row.plan);
    }
}

//! The seconds that the decision says are left until a rack's coolant is at its limit, against the plant's cooling
//! unit, which knows nothing of them: two sides of a loop, an exchanger, pumps that run down.

use headroom_controller_core::{CoolantView, Decider, Fleet, Policy};
use headroom_rack::{DeviceId, Generation, Mode, Mono, Reading, Signal, SignalPath, Snapshot, UnixMs};
use headroom_sim::plant::cooling::Cooling;
use std::collections::BTreeMap;

const HEAT_WATTS: f64 = 5600.0;
const LIMIT_CELSIUS: f64 = 60.0;

/// A rack of 8 GPUs at full power, whatever is ordered, and its cooling unit.
struct Row {
    unit: Cooling,
    decider: Decider,
    fleet: Fleet,
    second: u64,
}

impl Row {
    fn new() -> Self {
        let scenario = headroom_sim::scenario::Scenario::parse("row", headroom_sim::scenario::DEFAULT).unwrap();
        let topology = super::wiring::topology(&scenario.plant, &[true, false, false, false]);
        let fleet = Fleet::new(&topology);
        let mut row = Self {
            unit: Cooling::new(HEAT_WATTS, 250.0),
            decider: Decider::new(topology, Policy::default()),
            fleet,
            second: 0,
        };
        (0..400).for_each(|_| drop(row.pass(true)));
        row
    }

    /// One second in the plant, one Snapshot, one decision. `pipe`: the return sensor is read.
    fn pass(&mut self, pipe: bool) -> Option<CoolantView> {
        (0..50).for_each(|_| self.unit.step(0.02, true, HEAT_WATTS));
        self.second += 1;
        let at = UnixMs::new(self.second * 1000);
        let mut readings = headroom_rack::Readings::new();
        let mut put = |device: DeviceId, signal, value| {
            readings.insert(SignalPath::new(device, signal), Reading::new(value, at));
        };
        (0..8).for_each(|gpu| put(DeviceId::gpu(gpu), Signal::GpuPower, HEAT_WATTS / 8.0));
        let (cooling, seen) = (DeviceId::new("cooling").unwrap(), &self.unit.readout);
        put(cooling.clone(), Signal::CoolingFlow, seen.flow_lpm);
        put(cooling.clone(), Signal::CoolingSupplyTemperature, seen.supply_celsius);
        if pipe {
            put(cooling, Signal::CoolingReturnTemperature, seen.return_celsius);
        }
        ["pdu-a", "pdu-b"]
            .into_iter()
            .for_each(|pdu| put(DeviceId::new(pdu).unwrap(), Signal::PduPower, HEAT_WATTS / 2.0));
        let rack = headroom_rack::RackId::new("rack-1").unwrap();
        let snapshot = Snapshot { rack, boot: 1, seq: self.second, at, historical: false, readings, receipts: vec![] };
        let now = Mono::from_ms(self.second * 1000);
        self.fleet.fold(&snapshot, now);
        let generation = Generation { epoch: 1, counter: self.second };
        self.decider.decide(&self.fleet, &BTreeMap::new(), now, at, generation, Mode::Automatic);
        self.decider.coolants().pop()
    }

    /// What was told each second until the limit, with the seconds that it really took from there.
    fn until_the_limit(mut self, pipe: bool) -> Vec<(f64, f64)> {
        let mut told = Vec::new();
        while self.unit.readout.return_celsius < LIMIT_CELSIUS && told.len() < 1000 {
            told.push(self.pass(pipe).map(|coolant| coolant.left_s));
        }
        let all = told.len();
        told.iter().enumerate().filter_map(|(i, told)| Some(((*told)?, (all - 1 - i) as f64))).collect()
    }
}

#[test]
fn with_both_pumps_stopped_the_seconds_told_are_those_it_takes_with_and_without_a_sensor_in_the_pipe() {
    for pipe in [true, false] {
        let mut row = Row::new();
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
    let mut worn = Row::new();
    worn.unit.set_wear(0.1);
    let mut warming = Row::new();
    warming.unit.set_facility_drift(0.25);
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
